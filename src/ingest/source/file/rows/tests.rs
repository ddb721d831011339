//! Files as people have them: delimiters, headers, quotes, encodings, packing, forms of JSON, kinds of Parquet columns;
//! and what is refused, with its remedy.

mod of_parquet;
mod properties;

use super::*;
use std::io::Write;

/// The rows of a file under a mapping whose columns are those of `device`: their cells, or why they cannot be read.
fn rows(bytes: &[u8], mapping: &str) -> Result<(Vec<Result<Vec<String>, String>>, Vec<String>), String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    std::fs::write(&path, bytes).unwrap();
    let mapping = Mapping::parse(Path::new("m.yaml"), mapping).unwrap();
    let clean = |error: SourceError| error.to_string().replace(&path.display().to_string(), "FILE");
    let (mut rows, layout) = Rows::open(&path, &mapping).map_err(clean)?;
    let (mut cells, mut again, mut text) = (Cells::default(), Cells::default(), Vec::new());
    let mut all = Vec::new();
    // Cells with a flaw have a question mark behind them.
    let mark = |cells: &Cells, at: usize| if cells.flaws().iter().any(|(flawed, _)| *flawed == at) { "?" } else { "" };
    let show = |cells: &Cells| {
        (0..mapping.columns().len()).map(|at| format!("{}{}", cells.get(at).unwrap_or("-"), mark(cells, at))).collect()
    };
    while {
        text.clear();
        rows.next(&mut text).map_err(clean)?
    } {
        let read = rows.cells(&mut cells);
        // What a replay reads from the text is the same.
        assert_eq!(layout.read(&text, &mut again), read, "{:?}", String::from_utf8_lossy(&text));
        match read {
            Ok(true) => {
                assert_eq!(show(&again), show(&cells) as Vec<String>);
                all.push(Ok(show(&cells)));
            }
            Ok(false) => {}
            Err(reason) => all.push(Err(reason)),
        }
    }
    Ok((all, rows.notes().to_vec()))
}

fn mapping(format: &str, more: &str, columns: &str) -> String {
    format!(
        "{{format: {format}, {more} tenant: t, event_time: {{column: ts, format: iso8601}}, \
         emit: [{{type: click, set: {{device: [{columns}]}}}}]}}"
    )
}

/// The rows of a CSV file with the columns ts, kind and user, with `|` between cells.
fn csv(more: &str, bytes: impl AsRef<[u8]>) -> Result<Vec<String>, String> {
    let (all, _) = rows(bytes.as_ref(), &mapping("csv", more, "kind, user"))?;
    Ok(all.into_iter().map(|row| row.map_or_else(|reason| format!("! {reason}"), |cells| cells.join("|"))).collect())
}

fn jsonl(bytes: impl AsRef<[u8]>) -> Result<Vec<String>, String> {
    let (all, _) = rows(bytes.as_ref(), &mapping("jsonl", "", "kind, user"))?;
    Ok(all.into_iter().map(|row| row.map_or_else(|reason| format!("! {reason}"), |cells| cells.join("|"))).collect())
}

const PLAIN: &str = "ts,kind,user\n1,click,u1\n2,buy,ü2\n";
const ROWS: [&str; 2] = ["1|click|u1", "2|buy|ü2"];

#[test]
fn delimiters_and_ends_of_lines_are_found_out() {
    for (name, text) in [
        ("comma", PLAIN.to_owned()),
        ("semicolon", PLAIN.replace(',', ";")),
        ("tab", PLAIN.replace(',', "\t")),
        ("bar", PLAIN.replace(',', "|")),
        ("CRLF", PLAIN.replace('\n', "\r\n")),
        ("CR", PLAIN.replace('\n', "\r")),
        ("no last line break", PLAIN.trim_end().to_owned()),
        ("empty lines", PLAIN.replace('\n', "\n\n\r\n")),
        ("blanks after delimiters", PLAIN.replace(',', ", ")),
        ("blanks around", PLAIN.replace(',', "  ,\t")),
        ("blanks and quotes", "ts, \"kind\", user\n1, \"click\", u1\n2, buy, \"ü2\"\n".to_owned()),
        ("quotes", "\"ts\";\"kind\";\"user\"\n\"1\";\"click\";\"u1\"\n2;buy;ü2\n".to_owned()),
        ("byte order mark", format!("\u{feff}{PLAIN}")),
        ("byte order mark and quotes", format!("\u{feff}{}", PLAIN.replace("ts,", "\"ts\","))),
        ("sep=", format!("sep=;\r\n{}", PLAIN.replace(',', ";"))),
        ("a comma in another header", "ts;kind;user;\"a, b\"\n1;click;u1;x\n2;buy;ü2;\n".to_owned()),
    ] {
        assert_eq!(csv("", &text).as_deref(), Ok(&ROWS.map(str::to_owned)[..]), "{name}");
    }
    let (_, notes) = rows(PLAIN.replace(',', ";").as_bytes(), &mapping("csv", "", "kind, user")).unwrap();
    assert_eq!(notes, ["fields are separated by ';'"]);
}

#[test]
fn a_mapping_says_what_cannot_be_found_out() {
    let body = PLAIN.split_once('\n').unwrap().1;
    for (more, text) in [
        ("csv: {delimiter: ':'},", PLAIN.replace(',', ":")),
        ("csv: {delimiter: '\\t'},", PLAIN.replace(',', "\t")),
        ("csv: {comment: '#'},", format!("# a remark\n{}", PLAIN.replace("2,", "# another\n2,"))),
        ("csv: {quote: \"'\"},", PLAIN.replace("click", "'click'")),
        ("csv: {header: [ts, kind, user]},", body.to_owned()),
        ("csv: {header: [ts, kind, user]},", body.replace(',', ";")),
    ] {
        assert_eq!(csv(more, &text).as_deref(), Ok(&ROWS.map(str::to_owned)[..]), "{more}");
    }
    let numbers = "{format: csv, csv: {header: false}, tenant: t, event_time: {column: 1, format: iso8601}, \
                   emit: [{type: click, set: {device: ['3', '2']}}]}";
    let (all, _) = rows(body.as_bytes(), numbers).unwrap();
    assert_eq!(
        all,
        [Ok(["1", "u1", "click"].map(str::to_owned).to_vec()), Ok(["2", "ü2", "buy"].map(str::to_owned).to_vec())]
    );
    assert_eq!(csv("csv: {quote: none},", "ts,kind,user\n1,\"click,u1\n").unwrap(), ["1|\"click|u1"]);
    let few = csv("csv: {header: [ts, kind, user, more]},", body).unwrap_err();
    assert_eq!(few, "FILE: its first row has 3 fields, but `csv.header` of the mapping names 4 columns");
}

#[test]
fn headers_that_cannot_be_used_are_refused() {
    let error = |text: &str| csv("", text).unwrap_err();
    assert_eq!(
        error("ts,kind,user,user\n1,click,WRONG,u1\n"),
        "FILE: has the column \"user\" twice, and which one is meant cannot be told: rename one of them"
    );
    // One that the mapping does not name may be there twice.
    assert_eq!(csv("", "ts,kind,user,x,x\n1,click,u1,,\n").unwrap(), ["1|click|u1"]);
    let headless = error("2026-03-01T10:00:00Z,click,u1\n");
    assert!(headless.contains("it has 2026-03-01T10:00:00Z, click, u1; that looks like a row"), "{headless}");
    assert!(headless.contains("csv: { header: false }"), "{headless}");
    let lacking = error("ts,kind,usr\n");
    assert!(lacking.ends_with("the file has no column \"user\"; it has ts, kind, usr"), "{lacking}");
    let control = error("ts,kind,\u{1b}[31muser\n");
    assert!(control.ends_with(r"it has ts, kind, \u{1b}[31muser"), "{control}");
}

#[test]
fn bad_rows_are_told_and_the_next_is_read() {
    let text = b"ts,kind,user\n1,click\n2,click,u,x\n3,\xff,u\n\n4,click,\"a \"\"b\"\", c\"\n5,cl\"ick,u\n";
    assert_eq!(
        csv("", text).unwrap(),
        [
            "! row has 2 fields, the header 3",
            "! row has 4 fields, the header 3",
            "3|\u{fffd}?|u",
            "4|click|a \"b\", c",
            "5|cl\"ick|u",
        ]
    );
}

#[test]
fn a_quote_that_swallows_rows_is_found() {
    let many = |count: usize| (0..count).map(|row| format!("{row},click,u{row}\n")).collect::<String>();
    let head = "ts,kind,user\n1,click,u1\n";
    for (name, text) in [
        ("to the end", format!("{head}2,\"click,u2\n{}", many(100))),
        ("in the last row", format!("{head}2,click,\"u2\n")),
        ("of the last byte", format!("{head}2,click,\"")),
        ("to the next", format!("{head}2,\"click,u2\n{}3,\"click,u3\n", many(1))),
        ("over a megabyte", format!("{head}2,\"click,u2\n{}\"\n", many(300_000))),
    ] {
        let error = csv("", &text).expect_err(name);
        assert!(error.starts_with("FILE: the quote on line 3 (byte "), "{name}: {error}");
        assert!(error.contains("in row 2") && error.contains("csv: { quote: none }"), "{name}: {error}");
    }
    // One that is closed where a field ends is told by the lines within, in files of enough fields.
    let wide = |line: &str| format!("ts,kind,user,x\n1,\"click,u1,x\n{}5,click\",u5,x\n", line.repeat(4));
    assert!(csv("", wide("2,click,u2,x\n")).unwrap_err().contains("the quote on line 2 (byte 17), in row 1"));
    assert_eq!(csv("", wide("2,click,u2\n")).unwrap().len(), 1);
    // Few columns, an odd line between, line ends of CR alone, one row or none between two torn ones.
    let narrow = format!("ts,kind,user\n1,\"abc,u1\n{}5,12\",u5\n", many(900));
    let odd =
        format!("a,b,c,d,e\n1,\"x,1,2,3\n{}short\n{}6,y\",1,2,3\n", "2,x,1,2,3\n".repeat(3), "2,x,1,2,3\n".repeat(3));
    let odd = odd.replacen("a,b,c", "ts,kind,user", 1);
    for (name, text) in [
        ("few columns", narrow.clone()),
        ("an odd line", odd.clone()),
        ("carriage returns", narrow.replace('\n', "\r")),
        ("both", narrow.replace('\n', "\r\n")),
        ("one row", wide("").replace("5,click\"", "2,click,u2,x\n5,click\"")),
        ("no row", wide("")),
    ] {
        let error = csv("", &text).expect_err(name);
        assert!(error.contains("in row 1") && error.contains("csv: { multiline: true }"), "{name}: {error}");
        assert_eq!(csv("csv: {multiline: true},", &text).expect(name).len(), 1, "{name}");
    }
    let address = "ts,kind,user\n1,\"Flat 3, Main St 5\nBerlin, DE, Europe\nx, y, z\n12345, z\",u1\n";
    assert_eq!(csv("", address).unwrap().len(), 1);
    // Texts of several lines are what quotes are for.
    let note = "ts,kind,user\n1,\"dear all,\n\nI said \"\"hello, you\"\",\nbye\",u1\n2,buy,\"a\nb\"\n";
    assert_eq!(csv("", note).unwrap(), ["1|dear all,\n\nI said \"hello, you\",\nbye|u1", "2|buy|a\nb"]);
}

#[test]
fn encodings_are_found_out_or_named() {
    let utf16 = |text: &str, little: bool| -> Vec<u8> {
        text.encode_utf16().flat_map(|unit| if little { unit.to_le_bytes() } else { unit.to_be_bytes() }).collect()
    };
    let latin: Vec<u8> = PLAIN.chars().map(|letter| letter as u8).collect();
    for (name, more, bytes) in [
        ("LE with mark", "", utf16(&format!("\u{feff}{PLAIN}"), true)),
        ("BE with mark", "", utf16(&format!("\u{feff}{PLAIN}"), false)),
        ("LE", "", utf16(PLAIN, true)),
        ("BE", "", utf16(PLAIN, false)),
        ("LE named", "encoding: utf-16le,", utf16(&format!("\u{feff}{PLAIN}"), true)),
        ("Windows-1252 named", "encoding: windows-1252,", latin.clone()),
        ("Latin 1 named", "encoding: iso-8859-1,", latin.clone()),
        ("UTF-8 named", "encoding: utf-8,", PLAIN.as_bytes().to_vec()),
    ] {
        assert_eq!(csv(more, &bytes).as_deref(), Ok(&ROWS.map(str::to_owned)[..]), "{name}");
    }
    let unnamed = csv("", &latin).unwrap();
    assert_eq!(unnamed, ["1|click|u1", "2|buy|\u{fffd}2?"]);
    let header = csv("", b"ts,kind,user,stra\xdfe\n").unwrap_err();
    assert!(header.contains("first row is no UTF-8") && header.contains("encoding: windows-1252"), "{header}");
    let odd = csv("", b"ts,kind,user\n1,cl\0ick,u\n").unwrap_err();
    assert!(odd.contains("NUL bytes") && odd.contains("encoding: utf-16le"), "{odd}");
    let half = csv("encoding: shift_jis,", b"ts,kind,user\n1,click,\x81\n").unwrap_err();
    assert!(half.contains("no text in Shift_JIS"), "{half}");
    let json = utf16("\u{feff}{\"ts\": 1, \"kind\": \"click\", \"user\": \"ü\"}\n", true);
    assert_eq!(jsonl(json).unwrap(), ["1|click|ü"]);
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

#[test]
fn packed_files_are_known_by_their_bytes() {
    let (one, two) = PLAIN.split_at(20);
    let zstd = |text: &str| zstd::encode_all(text.as_bytes(), 1).unwrap();
    for (name, bytes) in [
        ("gzip", gzip(PLAIN.as_bytes())),
        ("gzip of two members", [gzip(one.as_bytes()), gzip(two.as_bytes())].concat()),
        ("zstd", zstd(PLAIN)),
        ("zstd of two frames", [zstd(one), zstd(two)].concat()),
    ] {
        assert_eq!(csv("", &bytes).as_deref(), Ok(&ROWS.map(str::to_owned)[..]), "{name}");
        // One that breaks off is not one that ends.
        let broken = csv("", &bytes[..bytes.len() - 3]).expect_err(name);
        assert!(broken.starts_with("FILE: "), "{name}: {broken}");
    }
    let long: String = PLAIN.to_owned() + &"3,click,u3\n".repeat(100_000);
    for bytes in [gzip(long.as_bytes()), zstd(&long)] {
        assert_eq!(csv("", &bytes).unwrap().len(), 100_002);
        let broken = csv("", &bytes[..bytes.len() - 9]).unwrap_err();
        assert!(broken.starts_with("FILE: breaks off on line "), "{broken}");
    }
}

#[test]
fn files_that_are_something_else_are_named() {
    let parquet = b"PAR1\x15\x04\x15\x10";
    for (format, bytes, expected) in [
        ("csv", &parquet[..], "is a Parquet file: write format: parquet"),
        ("jsonl", &parquet[..], "is a Parquet file: write format: parquet"),
        ("csv", b"{\"ts\": 1}\n", "looks like JSON: write format: jsonl"),
        ("csv", b"[\n{\"ts\": 1}]", "looks like JSON: write format: jsonl"),
        ("jsonl", b"ts,kind,user\n1,2,3\n", "write format: csv"),
        ("jsonl", b"[1, 2]", "array of values that are no objects"),
        ("parquet", b"ts,kind,user\n", "no Parquet file: it looks like text, write format: csv"),
        ("parquet", b"{\"ts\": 1}", "no Parquet file: it looks like JSON, write format: jsonl"),
        ("csv", b"PK\x03\x04\x14\0\0\0\x08\0aaaa[Content_Types].xml", "Excel workbook: save it as CSV"),
        ("csv", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "Excel workbook"),
        ("csv", b"PK\x03\x04\x14\0\0\0\x08\0aaaaclicks.csv", "zip archive: unpack it first, as by `unzip -p"),
        ("parquet", b"PK\x03\x04\x14\0\0\0\x08\0aaaaclicks.csv", "zip archive"),
        ("csv", b"\xfd7zXZ\0rest", "packed with xz: unpack it first, as by `xz -dk FILE`"),
        ("jsonl", b"BZh91AY&SY", "packed with bzip2"),
        ("csv", b"<!DOCTYPE html><html>", "HTML or XML"),
        ("jsonl", b"  <html>", "HTML or XML"),
        ("csv", b"%PDF-1.7", "PDF"),
        ("csv", b"Obj\x01\x04", "Avro"),
        ("csv", b"\xff\xfe\0\0t\0\0\0", "UTF-32"),
    ] {
        let error = rows(bytes, &mapping(format, "", "kind, user")).expect_err(expected);
        assert!(error.starts_with("FILE: ") && error.contains(expected), "{format}: {error}");
        assert!(!error.contains(char::is_control), "{error:?}");
    }
    let packed = rows(&gzip(parquet), &mapping("parquet", "", "kind, user")).unwrap_err();
    assert!(packed.contains("unpack it first"), "{packed}");
    assert!(csv("", gzip(parquet)).unwrap_err().contains("format: parquet"));
}

#[test]
fn json_is_read_by_lines_in_an_array_or_one_after_another() {
    let one = "{\"ts\": 1, \"kind\": \"click\", \"user\": \"u1\"}";
    let two = "{\"ts\": 2, \"kind\": \"b}u]y\\\"\", \"user\": {\"a\": [1, {}]}}";
    let expected = ["1|click|u1".to_owned(), "2|b}u]y\"|{\"a\": [1, {}]}?".to_owned()];
    let pretty = |text: &str| text.replace(", \"", ",\n  \"").replacen('{', "{\n  ", 1);
    for (name, text) in [
        ("lines", format!("{one}\n{two}\n")),
        ("lines with CRLF, blanks and no last line break", format!("\r\n{one}\r\n\r\n  {two}")),
        ("byte order mark", format!("\u{feff}{one}\n{two}\n")),
        ("on one line", format!("{one}{two}\n")),
        ("on one line with blanks", format!("{one} {two}")),
        ("over several lines", format!("{}\n{}\n", pretty(one), pretty(two))),
        ("array", format!("[\n{one},\n{two}\n]\n")),
        ("array on one line", format!("[{one},{two}]")),
        ("array over several lines", format!("\u{feff} [{} , {}\n]", pretty(one), pretty(two))),
    ] {
        let all = jsonl(&text).map(|all| all.iter().map(|row| row.replace("\n  ", " ")).collect::<Vec<_>>());
        assert_eq!(all.as_deref(), Ok(&expected[..]), "{name}: {text}");
        assert_eq!(jsonl(gzip(text.as_bytes())).unwrap().len(), 2, "{name}");
    }
    assert_eq!(jsonl("[]").unwrap(), Vec::<String>::new());
    assert_eq!(jsonl(format!("[{}{one}]", format!("{one},").repeat(50_000))).unwrap().len(), 50_001);
    // By lines, a bad one is one bad row.
    let bad = jsonl(format!("{one}\n{{\"ts\": 3,\n[1]\n{{\"ts\": 4, \"ts\": 5}}\n{one}\n")).unwrap();
    assert_eq!((bad.len(), bad.iter().filter(|row| row.starts_with("! malformed JSON: ")).count()), (5, 2), "{bad:?}");
    assert_eq!(bad[3], "5?|-|-");
}

#[test]
fn bytes_of_json_that_are_no_utf8_concern_their_member() {
    let line = |user: &[u8]| [br#"{"ts": 1, "kind": "click", "user": "#, user, b", \"x\": \"\xff\"}\n"].concat();
    assert_eq!(jsonl([line(b"\"u\""), line(b"\"\xe9\"")].concat()).unwrap(), ["1|click|u", "1|click|\u{fffd}?"]);
    let broken = jsonl(b"{\"ts\": 1, \"kind\": \"\xff\n{\"ts\": 2}\n").unwrap();
    assert!(broken[0].starts_with("! byte 19: invalid UTF-8: ") && broken[1] == "2|-|-", "{broken:?}");
}

#[test]
fn files_that_hold_nothing_have_no_rows() {
    let zstd = zstd::encode_all(&b""[..], 0).unwrap();
    let blank = "\n".repeat(1 << 16);
    for (format, bytes) in [
        ("csv", &b""[..]),
        ("jsonl", b""),
        ("parquet", b""),
        ("csv", b"\xef\xbb\xbf"),
        ("jsonl", b"\xef\xbb\xbf"),
        ("csv", b"\xff\xfe"),
        ("csv", b"\n\r\n"),
        ("csv", b"\xef\xbb\xbf\n"),
        ("csv", b"sep=;\n"),
        ("jsonl", b"\n \n"),
        ("csv", &gzip(b"")),
        ("jsonl", &gzip(b"")),
        ("csv", &gzip(b"\xef\xbb\xbf")),
        ("csv", &zstd),
        ("jsonl", &zstd),
    ] {
        let (all, _) =
            rows(bytes, &mapping(format, "", "kind, user")).unwrap_or_else(|error| panic!("{bytes:?}: {error}"));
        assert_eq!(all, [], "{format} {bytes:?}");
    }
    assert_eq!(rows(b"# none\n", &mapping("csv", "csv: {comment: '#'},", "kind, user")).unwrap().0, []);
    // What comes after many blank lines may be rows.
    let late = csv("", format!("{blank}{PLAIN}")).unwrap_err();
    assert_eq!(late, "FILE: has no row within its first 65536 bytes");
    // A stream that breaks off is no empty one.
    let whole = gzip(b"");
    assert!(csv("", &whole[..whole.len() - 4]).unwrap_err().contains("breaks off"));
}

#[test]
fn json_that_breaks_off_says_where() {
    let one = "{\"ts\": 1, \"kind\": \"click\", \"user\": \"u1\"}";
    for (text, expected) in [
        (format!("[{one},\n{one},\n]"), "line 3 (byte 85), after row 2: found ']' where an object should be"),
        (format!("[{one}\n{one}]"), "line 2 (byte 42), after row 1: found '{' where a comma or the end"),
        (format!("[{one},\n"), "found the end of the file where an object should be"),
        (format!("[{one}"), "found the end of the file where a comma or the end"),
        (format!("[{one}]\n{one}"), "found '{' where nothing after the array should be"),
        (format!("[{one}, {{\"ts\": 1"), "the object on line 1 (byte 43), row 2, does not end"),
        ("{\n\"ts\": 1\n}\nx".to_owned(), "line 4 (byte 12), after row 1: found 'x' where an object should be"),
        ("{\n\"ts\": 1\n".to_owned(), "the object on line 1 (byte 0), row 1, does not end"),
    ] {
        let error = jsonl(&text).expect_err(&text);
        assert!(error.starts_with("FILE: ") && error.contains(expected), "{text}: {error}");
    }
}

/// The small inputs on which 0.1.0 failed, where `BIDSTREAM_DATA` says they are.
#[test]
fn files_on_which_0_1_0_failed_are_read_or_refused_with_the_remedy() {
    let Some(data) = std::env::var_os("BIDSTREAM_DATA") else {
        // Written past the test harness, which would keep it to itself: `./check` counts these lines.
        writeln!(std::io::stderr(), "SKIPPED files_on_which_0_1_0_failed: BIDSTREAM_DATA is not set").unwrap();
        return;
    };
    let field = Path::new(&data).join("field");
    let events = |file: &str, mapping: &str, more: &str| -> Result<Vec<String>, String> {
        let text = std::fs::read_to_string(field.join(mapping)).unwrap() + more;
        let text = if file.ends_with(".json") { text.replace("format: csv", "format: jsonl") } else { text };
        let mapping = Mapping::parse(Path::new(mapping), &text).unwrap();
        let (mut rows, _) = Rows::open(&field.join(file), &mapping).map_err(|error| error.to_string())?;
        let (mut cells, mut mapped, mut all) = (Cells::default(), crate::job::mapping::Mapped::default(), Vec::new());
        while rows.advance().map_err(|error| error.to_string())? {
            assert_eq!(rows.cells(&mut cells), Ok(true));
            let id = crate::job::mapping::RowId { content: &[0; 32], row: 0 };
            mapping.apply(id, &cells, 0, &mut mapped, |_, made| {
                all.push(match made {
                    Ok(made) => {
                        let event = &made.event;
                        let time = schemas::times::show(event.event_time.unwrap());
                        format!("{time} {} {:?} {}", event.user, event.revenue_micros, made.faults.len())
                    }
                    Err(reason) => reason.to_owned(),
                });
            });
        }
        Ok(all)
    };
    let click_and_buy = ["2026-03-01T10:00:00Z u1 None 0", "2026-03-02T10:00:00Z u1 Some(12500000) 0"];
    for file in ["semicolon.csv", "spaces.csv", "array.json"] {
        assert_eq!(events(file, "m.yaml", "").unwrap(), click_and_buy, "{file}");
    }
    for (file, expected) in [
        ("duplicate_header.csv", "has the column \"user\" twice"),
        ("stray_quote.csv", "the quote on line 2 (byte 59), in row 1"),
    ] {
        let error = events(file, "m.yaml", "").unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
    assert_eq!(events("nested.parquet", "nested.yaml", "").unwrap()[0].split(' ').nth(1), Some("u1"));
    let times = events("times.csv", "m.yaml", "").unwrap();
    assert!(times.len() == 4 && times.iter().all(|time| time.starts_with("2026-03-01T10:00:00Z ")), "{times:?}");
    let seconds = events("secs_as_ms.csv", "m.yaml", "").unwrap();
    assert!(seconds[0].contains("a number is epoch_s"), "{seconds:?}");
    let money = events("money.csv", "m.yaml", "").unwrap();
    assert_eq!(money[1], "2026-03-02T10:00:01Z u1 Some(59970000) 1");
    assert!(money[2].starts_with("column revenue: \"12,50\" has a comma"), "{money:?}");
    assert!(events("money.csv", "m.yaml", "decimal: \",\"\n").unwrap()[2].ends_with(" u4 Some(12500000) 0"));
}
