//! From a file on disk to its text: what it is packed with, what it is really, and how its text is encoded.
//!
//! All three are told by the first bytes, never by the name: a `.csv` may be anything.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Seek};

use encoding_rs::{Decoder, DecoderResult, Encoding, UTF_8, UTF_16BE, UTF_16LE};
use flate2::read::MultiGzDecoder;

use crate::job::mapping::FileFormat;

/// As much of the text as is looked at before it is read.
pub(super) const HEAD_BYTES: usize = 1 << 16;

/// The text of a file.
pub(super) struct Input {
    /// The whole of it, in UTF-8 and without a byte order mark.
    pub(super) text: Box<dyn Read + Send>,
    /// How it begins.
    pub(super) head: Vec<u8>,
    /// What was found out about it, for people.
    pub(super) notes: Vec<String>,
}

/// What stands at the beginning of files that are packed: how it is called, and what unpacks it.
const PACKED: [(&[u8], &str, &str); 7] = [
    (b"\xfd7zXZ\0", "xz", "xz -dk"),
    (b"BZh", "bzip2", "bzip2 -dk"),
    (b"\x04\"M\x18", "lz4", "lz4 -dk"),
    (b"7z\xbc\xaf'\x1c", "7z", "7z e"),
    (b"Rar!", "rar", "unrar e"),
    (b"\x1f\x9d", "compress", "uncompress -k"),
    (b"\xff\x06\0\0sNaPpY", "snappy", "snzip -dk"),
];

/// What stands at the beginning of files that have no rows of text.
const OTHERS: [(&[u8], &str); 8] = [
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Excel workbook (or another document of old Office): save it as CSV"),
    (b"%PDF", "a PDF document: only CSV, JSON and Parquet have rows"),
    (b"Obj\x01", "an Avro file: convert it to Parquet or JSON lines"),
    (b"ORC", "an ORC file: convert it to Parquet"),
    (b"ARROW1", "an Arrow file: convert it to Parquet"),
    (b"SQLite format 3\0", "an SQLite database: export the table as CSV"),
    (b"\xff\xfe\0\0", "text in UTF-32: convert it, as by `iconv -f utf-32 -t utf-8`"),
    (b"\0\0\xfe\xff", "text in UTF-32: convert it, as by `iconv -f utf-32 -t utf-8`"),
];

/// Opens the text of a file; none where there is no text in it, once it is unpacked and without a byte order mark.
pub(super) fn open(
    mut file: File,
    format: FileFormat,
    encoding: Option<&'static Encoding>,
) -> Result<Option<Input>, String> {
    let mut notes = Vec::new();
    let magic = head(&mut file, 512).map_err(|error| error.to_string())?;
    file.rewind().map_err(|error| format!("cannot be read twice ({error}): write it to a file on disk first"))?;
    let mut unpacked: Box<dyn Read + Send> = if magic.starts_with(b"\x1f\x8b") {
        notes.push("unpacked with gzip".to_owned());
        Box::new(MultiGzDecoder::new(BufReader::with_capacity(HEAD_BYTES, file)))
    } else if magic.starts_with(b"\x28\xb5\x2f\xfd") || (magic.get(1..4) == Some(b"\x2a\x4d\x18") && magic[0] >> 4 == 5)
    {
        notes.push("unpacked with zstd".to_owned());
        Box::new(zstd::Decoder::new(file).map_err(|error| error.to_string())?)
    } else {
        refuse_packed(&magic)?;
        Box::new(file)
    };
    let broken = |error: io::Error| format!("breaks off within its first {HEAD_BYTES} bytes of text: {error}");
    let start = head(&mut unpacked, HEAD_BYTES).map_err(broken)?;
    refuse_others(&start, format)?;
    let rest = Box::new(Cursor::new(start.clone()).chain(unpacked));
    let encoding = match encoding {
        Some(encoding) => encoding,
        None => {
            let found = sniff(&start)?;
            if found != UTF_8 {
                notes.push(format!("read as {}", found.name()));
            }
            found
        }
    };
    let mut text: Box<dyn Read + Send> = if encoding == UTF_8 {
        let mark = start.starts_with(b"\xef\xbb\xbf");
        let mut rest = rest;
        if mark {
            rest.read_exact(&mut [0; 3]).map_err(broken)?;
        }
        rest
    } else {
        Box::new(Transcoded::new(rest, encoding))
    };
    let head = head(&mut text, HEAD_BYTES).map_err(broken)?;
    if head.is_empty() {
        return Ok(None);
    }
    if memchr::memchr(0, &head).is_some() {
        return Err(format!(
            "is no text in {} (it has NUL bytes): if it is text, name its encoding, as encoding: utf-16le",
            encoding.name()
        ));
    }
    let text = Box::new(Cursor::new(head.clone()).chain(text));
    Ok(Some(Input { text, head, notes }))
}

/// Checks that a file is a Parquet file; false where it has no byte.
pub(super) fn check_parquet(file: &mut File) -> Result<bool, String> {
    let magic = head(file, 512).and_then(|magic| file.rewind().map(|()| magic)).map_err(|error| error.to_string())?;
    if magic.is_empty() || magic.starts_with(b"PAR1") {
        return Ok(!magic.is_empty());
    }
    refuse_packed(&magic)?;
    if magic.starts_with(b"\x1f\x8b") || magic.starts_with(b"\x28\xb5\x2f\xfd") {
        return Err("is packed as a whole, which Parquet files are not: unpack it first".to_owned());
    }
    refuse_others(&magic, FileFormat::Parquet)?;
    let what = match magic.trim_ascii_start().first() {
        Some(b'{' | b'[') => ": it looks like JSON, write format: jsonl",
        _ if magic.is_ascii() => ": it looks like text, write format: csv",
        _ => "",
    };
    Err(format!("is no Parquet file{what}"))
}

fn refuse_packed(magic: &[u8]) -> Result<(), String> {
    if magic.starts_with(b"PK\x03\x04") {
        let names = String::from_utf8_lossy(magic);
        if names.contains("[Content_Types].xml") || names.contains("xl/") || names.contains("_rels/") {
            return Err("is an Excel workbook: save it as CSV".to_owned());
        }
        return Err("is a zip archive: unpack it first, as by `unzip -p FILE.zip > FILE`".to_owned());
    }
    if let Some((_, name, by)) = PACKED.iter().find(|(start, _, _)| magic.starts_with(start)) {
        return Err(format!(
            "is packed with {name}: unpack it first, as by `{by} FILE` (gzip and zstd are read as they are)"
        ));
    }
    Ok(())
}

fn refuse_others(start: &[u8], format: FileFormat) -> Result<(), String> {
    if let Some((_, what)) = OTHERS.iter().find(|(magic, _)| start.starts_with(magic)) {
        return Err(format!("is {what}"));
    }
    if start.get(257..262) == Some(b"ustar") {
        return Err("is an archive (tar): take the file out of it first".to_owned());
    }
    if start.starts_with(b"PAR1") {
        return Err("is a Parquet file: write format: parquet in the mapping".to_owned());
    }
    let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start).trim_ascii_start();
    let after = text.get(1..).unwrap_or_default().trim_ascii_start().first();
    match text.first() {
        Some(b'<') if after.is_some_and(|byte| byte.is_ascii_alphabetic() || b"!?".contains(byte)) => {
            Err("is HTML or XML, perhaps a page that says why there is no file: look into it".to_owned())
        }
        Some(b'{') if format == FileFormat::Csv && matches!(after, Some(b'"' | b'}')) => {
            Err("looks like JSON: write format: jsonl in the mapping".to_owned())
        }
        Some(b'[') if format == FileFormat::Csv && matches!(after, Some(b'{' | b'[')) => {
            Err("looks like JSON: write format: jsonl in the mapping".to_owned())
        }
        _ => Ok(()),
    }
}

/// The encoding of a text that none is named for: by its byte order mark, or by where its NULs are.
fn sniff(start: &[u8]) -> Result<&'static Encoding, String> {
    if let Some((encoding, _)) = Encoding::for_bom(start) {
        return Ok(encoding);
    }
    let nuls = |from: usize| start.iter().skip(from).step_by(2).filter(|byte| **byte == 0).count();
    let (even, odd, half) = (nuls(0), nuls(1), start.len() / 2);
    match (even, odd) {
        (0, 0) => Ok(UTF_8),
        // Letters of Latin scripts have a NUL each; four in five leave room for others.
        (0, odd) if odd * 5 >= half * 4 => Ok(UTF_16LE),
        (even, 0) if even * 5 >= half * 4 => Ok(UTF_16BE),
        _ => Err(
            "has NUL bytes, so that it is no text in UTF-8: if it is text, name its encoding, as encoding: utf-16le"
                .into(),
        ),
    }
}

/// The first bytes, or all if there are fewer.
fn head(input: &mut impl Read, bytes: usize) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    input.by_ref().take(bytes as u64).read_to_end(&mut head)?;
    Ok(head)
}

/// Text of another encoding as UTF-8. What is no text in it is an error.
struct Transcoded {
    input: Box<dyn Read + Send>,
    encoding: &'static Encoding,
    decoder: Decoder,
    data: Vec<u8>,
    start: usize,
    end: usize,
    at_end: bool,
    /// Bytes before the window.
    before: u64,
    /// Whether the decoder was told that nothing comes any more.
    finished: bool,
}

impl Transcoded {
    fn new(input: Box<dyn Read + Send>, encoding: &'static Encoding) -> Transcoded {
        // A byte order mark is no text.
        let decoder = encoding.new_decoder_with_bom_removal();
        Transcoded {
            input,
            encoding,
            decoder,
            data: vec![0; HEAD_BYTES],
            start: 0,
            end: 0,
            at_end: false,
            before: 0,
            finished: false,
        }
    }
}

impl Read for Transcoded {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while !self.finished {
            if self.start == self.end && !self.at_end {
                self.before += self.end as u64;
                self.end = self.input.read(&mut self.data)?;
                (self.start, self.at_end) = (0, self.end == 0);
            }
            let from = &self.data[self.start..self.end];
            let (result, read, written) = self.decoder.decode_to_utf8_without_replacement(from, to, self.at_end);
            self.start += read;
            if let DecoderResult::Malformed(..) = result {
                let at = self.before + self.start as u64;
                let error = format!("the bytes before byte {at} are no text in {}", self.encoding.name());
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
            self.finished = self.at_end && result == DecoderResult::InputEmpty;
            if written > 0 {
                return Ok(written);
            }
        }
        Ok(0)
    }
}
