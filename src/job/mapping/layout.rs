//! How the text of a file is laid out, where a mapping says it: the encoding, and what lines of CSV are made of.

use encoding_rs::Encoding;
use serde::{Deserialize, Deserializer, de};

/// What a mapping says about the lines of a CSV file; what it does not say is found out, or as RFC 4180 has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Csv {
    /// The sign between fields; found out by the header where it is not said.
    pub delimiter: Option<u8>,
    /// What quotes a field; none where a quote is a sign like any other.
    pub quote: Quote,
    /// Where the names of columns come from.
    pub header: Header,
    /// Lines that begin with it are none.
    pub comment: Option<u8>,
    /// Whether quoted fields may have lines that look like rows; refused otherwise, as a stray quote makes such fields.
    pub multiline: bool,
}

/// What quotes a field of CSV.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote(pub Option<u8>);

impl Default for Quote {
    fn default() -> Quote {
        Quote(Some(b'"'))
    }
}

/// Where the names of a CSV file's columns come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Header {
    /// The first line.
    #[default]
    Line,
    /// The file has none: the columns are `1`, `2` and so on.
    Numbers,
    /// The file has none: the mapping names its columns.
    Names(Vec<String>),
}

/// `csv` of a mapping, as serde reads it.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CsvText {
    delimiter: Option<String>,
    quote: Option<String>,
    #[serde(default)]
    header: Header,
    comment: Option<String>,
    #[serde(default)]
    multiline: bool,
}

impl CsvText {
    /// What it says, or which key is wrong and why.
    pub(super) fn checked(self) -> Result<Csv, (&'static str, String)> {
        let sign = |key: &'static str, text: Option<String>| match text.as_deref().map(str::as_bytes) {
            None => Ok(None),
            Some(b"\\t") => Ok(Some(b'\t')),
            Some([sign]) if sign.is_ascii() && !sign.is_ascii_alphanumeric() && !b"\r\n".contains(sign) => {
                Ok(Some(*sign))
            }
            Some(_) => Err((key, "is one sign of ASCII, no letter and no digit, as \";\" or \"\\t\"".to_owned())),
        };
        let quote = match self.quote.as_deref() {
            Some("none") => Quote(None),
            Some(_) => Quote(sign("csv.quote", self.quote)?),
            None => Quote::default(),
        };
        let (delimiter, comment) = (sign("csv.delimiter", self.delimiter)?, sign("csv.comment", self.comment)?);
        let signs: Vec<u8> = [delimiter.or(Some(b',')), quote.0, comment].into_iter().flatten().collect();
        if (1..signs.len()).any(|index| signs[..index].contains(&signs[index])) {
            return Err(("csv", "uses one sign for two things: delimiter, quote and comment must differ".to_owned()));
        }
        if let Header::Names(names) = &self.header {
            let twice = names.iter().enumerate().find(|(index, name)| names[..*index].contains(name));
            if let Some((_, name)) = twice {
                return Err(("csv.header", format!("names the column {name:?} twice")));
            }
            if names.is_empty() {
                return Err(("csv.header", "names no column: write them all, or `header: false`".to_owned()));
            }
        }
        Ok(Csv { delimiter, quote, header: self.header, comment, multiline: self.multiline })
    }
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Header, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Text {
            Is(bool),
            Names(Vec<String>),
        }
        match Text::deserialize(from) {
            Ok(Text::Is(true)) => Ok(Header::Line),
            Ok(Text::Is(false)) => Ok(Header::Numbers),
            Ok(Text::Names(names)) => Ok(Header::Names(names)),
            Err(_) => Err(de::Error::custom("write true, false or a list of the names of all columns")),
        }
    }
}

/// The encoding with a name that browsers know (`utf-8`, `utf-16le`, `windows-1252`, `iso-8859-1`, `shift_jis`).
pub(super) fn encoding(name: &str) -> Result<&'static Encoding, String> {
    Encoding::for_label(name.as_bytes()).ok_or_else(|| {
        format!(
            "{name:?} is no encoding that is known: write utf-8, utf-16le, utf-16be, windows-1252 or another name of \
                 the WHATWG's list"
        )
    })
}
