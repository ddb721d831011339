//! Files of every format, both arrivals, resuming, and rows that cannot be read.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use schemas::{PayloadHash, wire};

use super::super::Payload;
use super::*;

const NOW_MS: i64 = 1_800_000_000_000;

/// What was handed over: offset, arrival, event or reason, text.
#[derive(Clone, Debug, PartialEq)]
struct Got {
    offset: i64,
    arrival_ms: i64,
    event: Result<wire::Event, String>,
    hash: PayloadHash,
    text: String,
}

fn open(path: &Path, mapping: &str, resumes: &[Resume], now_ms: i64) -> Result<FileSource, SourceError> {
    open_known(path, mapping, &Known { resumes: resumes.to_vec(), ..Known::default() }, now_ms)
}

fn open_known(path: &Path, mapping: &str, known: &Known, now_ms: i64) -> Result<FileSource, SourceError> {
    let mapping = Mapping::parse(Path::new("map.yaml"), mapping).unwrap();
    FileSource::open(&Input::read(path)?, mapping, known, Clock::manual(now_ms))
}

/// Polls once with an open frontier.
fn poll(source: &mut FileSource, records_max: usize, all: &mut Vec<Got>) -> Progress {
    let mut each = |arrived: Arrived<'_>| {
        let Payload::Row { event, hash, raw, .. } = arrived.payload else { panic!("a file has rows") };
        all.push(Got {
            offset: arrived.offset,
            arrival_ms: arrived.arrival_ms,
            event: event.cloned().map_err(str::to_owned),
            hash,
            text: String::from_utf8_lossy(raw).into_owned(),
        });
    };
    source.poll(Tick::MAX, records_max, &mut each).unwrap()
}

fn read(source: &mut FileSource) -> Vec<Got> {
    let mut all = Vec::new();
    while !poll(source, 3, &mut all).finished {}
    all
}

struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Dir {
        Dir(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

const MAPPING: &str = r#"
format: csv
tenant: t
earliest: 1970-01-01
event_time: { column: time, format: epoch_ms }
emit:
  - { type: click, when: { first_of: session }, set: { user: user } }
  - { type: event, set: { user: user, name: name } }
"#;

const FILE: &str = "\
time,session,user,name
5000,s1,u1,home
4000,s1,u1,\"a \"\"b\"\", c\"
soon,s2,u2,home
1000,s2,u2
3000,s3,u3,home
";

fn summary(all: &[Got]) -> Vec<(i64, i64, String)> {
    let what = |got: &Got| match &got.event {
        Ok(event) => format!("{} {}", event.r#type, event.user),
        Err(reason) => reason.clone(),
    };
    all.iter().map(|got| (got.offset, got.arrival_ms, what(got))).collect()
}

#[test]
fn a_file_is_read_in_its_order_at_one_moment() {
    let dir = Dir::new();
    let path = dir.file("a.csv", FILE.as_bytes());
    let mut source = open(&path, MAPPING, &[], NOW_MS).unwrap();
    let all = read(&mut source);
    let soon = "column time: \"soon\" is no time in the format epoch_ms".to_owned();
    let expected = [
        (0, NOW_MS, "2 u1".to_owned()),
        (1, NOW_MS, "5 u1".to_owned()),
        (3, NOW_MS, "5 u1".to_owned()),
        (4, NOW_MS, soon.clone()),
        (5, NOW_MS, soon),
        (6, NOW_MS, "row has 3 fields, the header 4".to_owned()),
        (8, NOW_MS, "2 u3".to_owned()),
        (9, NOW_MS, "5 u3".to_owned()),
    ];
    assert_eq!(summary(&all), expected);
    assert_eq!(all[2].event.as_ref().unwrap().name, "a \"b\", c");
    assert_eq!(all[2].text, "4000,s1,u1,\"a \"\"b\"\", c\"");
    assert_eq!(all[5].text, "1000,s2,u2");
    assert_eq!(source.position(0), 10);
    // The same row under two entries has two hashes.
    let hashes: std::collections::HashSet<_> = all.iter().map(|got| got.hash).collect();
    assert_eq!(hashes.len(), all.len());
    let topic = &source.partitions()[0].topic;
    assert!(topic.starts_with("file:") && topic.len() == 5 + 64, "{topic}");
}

#[test]
fn a_file_is_known_with_its_mapping() {
    let dir = Dir::new();
    let path = dir.file("a.csv", FILE.as_bytes());
    let topic_ids = open(&path, MAPPING, &[], NOW_MS).unwrap().topic_ids();
    let mut known = Known { topic_ids, ..Known::default() };
    let again =
        |mapping: &str| open_known(&path, mapping, &known, NOW_MS).map(|_| ()).map_err(|error| error.to_string());
    assert_eq!(again(&format!("# a remark\n{MAPPING}")), Ok(()));
    let error = again(&MAPPING.replace("tenant: t", "tenant: other")).unwrap_err();
    assert!(error.contains("imported by another mapping"), "{error}");
    // Once that import is void, the content is another topic, under any mapping.
    let first = known.topic_ids.keys().next().unwrap().clone();
    known.voids.insert(first.clone());
    let source = open_known(&path, &MAPPING.replace("tenant: t", "tenant: other"), &known, NOW_MS).unwrap();
    assert_eq!(*source.partitions()[0].topic, format!("{first}@2"));
}

#[test]
fn a_file_that_changes_while_it_is_read_ends_the_run() {
    let dir = Dir::new();
    let path = dir.file("a.csv", FILE.as_bytes());
    let mut source = open(&path, MAPPING, &[], NOW_MS).unwrap();
    poll(&mut source, 1, &mut Vec::new());
    std::fs::write(&path, format!("{FILE}6000,s4,u4,home\n")).unwrap();
    let error = source.poll(Tick::MAX, 1, &mut |_| {}).unwrap_err().to_string();
    assert!(error.ends_with("a.csv: changes while it is read: import it when it is complete"), "{error}");
}

#[test]
fn a_survey_counts_what_an_import_will_do() {
    let dir = Dir::new();
    let rows = format!("{FILE}99999999999999,s4,u4,home\n7000,,,\n");
    let input = Input::read(&dir.file("a.csv", rows.as_bytes())).unwrap();
    let mapping = Mapping::parse(
        Path::new("map.yaml"),
        &MAPPING.replace("  - { type: event,", "  - { type: event, when: { present: user },"),
    )
    .unwrap();
    let ids = (&schemas::ids::IdHasher::new(b"test"), &schemas::decode::IdRules::default());
    let found = survey(&input, &mapping, ids, &Clock::manual(NOW_MS), true, &mut |_| {}).unwrap();
    let counted = (found.rows, found.unmatched_rows, found.wanted_rows(), found.dead_rows);
    // Of the fourth row the fields do not match, of the third the time is none, of the sixth it is in the future.
    assert_eq!(counted, (7, 1, 6, 3));
    let events: Vec<_> = found.events.iter().map(|(kind, count)| (kind.name(), *count)).collect();
    assert_eq!(events, [("click", 2), ("event", 3)]);
    assert_eq!((found.first_ms, found.last_ms), (Some(3_000), Some(5_000)));
    let reasons: Vec<_> = found.dead.most_frequent().iter().map(|(_, at)| (at.count, at.first_row)).collect();
    assert_eq!(reasons, [(2, 3), (2, 6), (1, 4)]);
    let shown: Vec<_> = found.shown[&schemas::EventType::Event].iter().map(|event| event.user.as_str()).collect();
    assert_eq!(shown, ["u1", "u1", "u3"]);
}

#[test]
fn a_survey_refuses_what_breaks_midway() {
    let dir = Dir::new();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(FILE.as_bytes()).unwrap();
    let bytes = gzip.finish().unwrap();
    let input = Input::read(&dir.file("a.csv.gz", &bytes[..bytes.len() - 4])).unwrap();
    let mapping = Mapping::parse(Path::new("map.yaml"), MAPPING).unwrap();
    let ids = (&schemas::ids::IdHasher::new(b"test"), &schemas::decode::IdRules::default());
    let broken = survey(&input, &mapping, ids, &Clock::manual(NOW_MS), false, &mut |_| {});
    assert!(matches!(broken, Err(SourceError::File { .. })));
}

#[test]
fn a_file_resumes_wherever_it_stopped_and_at_its_end_has_nothing_new() {
    let dir = Dir::new();
    let path = dir.file("a.csv", FILE.as_bytes());
    for mapping in [MAPPING.to_owned(), format!("{MAPPING}\narrival: event_time")] {
        let whole = read(&mut open(&path, &mapping, &[], NOW_MS).unwrap());
        for stop in 0..=whole.len() {
            let mut source = open(&path, &mapping, &[], NOW_MS).unwrap();
            let mut first = Vec::new();
            while first.len() < stop {
                poll(&mut source, 1, &mut first);
            }
            let arrival_ms = first.last().map_or(NOW_MS, |got| got.arrival_ms);
            let resume = Resume { partition: source.partitions()[0].clone(), offset: source.position(0), arrival_ms };
            let moved = dir.file("moved.csv", FILE.as_bytes());
            let resumes = if first.is_empty() { vec![] } else { vec![resume] };
            let later_ms = if first.is_empty() { NOW_MS } else { NOW_MS + 60_000 };
            first.extend(read(&mut open(&moved, &mapping, &resumes, later_ms).unwrap()));
            assert_eq!(first, whole, "stopped after {stop}");
        }
    }
}

#[test]
fn a_file_of_which_nothing_was_committed_but_its_position_arrives_now() {
    let dir = Dir::new();
    let path = dir.file("a.csv", FILE.as_bytes());
    let partition = open(&path, MAPPING, &[], NOW_MS).unwrap().partitions()[0].clone();
    let resume = Resume { partition, offset: 0, arrival_ms: 0 };
    let mut all = Vec::new();
    poll(&mut open(&path, MAPPING, &[resume], NOW_MS).unwrap(), 1, &mut all);
    assert_eq!((all[0].offset, all[0].arrival_ms), (0, NOW_MS));
}

#[test]
fn history_comes_in_the_order_of_event_time() {
    let dir = Dir::new();
    let path = dir.file("a.csv", FILE.as_bytes());
    let mut source = open(&path, &format!("{MAPPING}\narrival: event_time"), &[], NOW_MS).unwrap();
    let mut all = Vec::new();
    let progress = poll(&mut source, 2, &mut all);
    assert_eq!((progress.tick, progress.finished), (3_000, false));
    all.extend(read(&mut source));
    let soon = "column time: \"soon\" is no time in the format epoch_ms".to_owned();
    let expected = [
        (0, 3_000, "2 u3".to_owned()),
        (1, 3_000, "5 u3".to_owned()),
        (2, 4_000, "5 u1".to_owned()),
        // Rows without a time come with the one before them in the file.
        (3, 4_000, soon.clone()),
        (4, 4_000, soon),
        (5, 4_000, "row has 3 fields, the header 4".to_owned()),
        // The click is of the first row of the session in the file, not in time.
        (6, 5_000, "2 u1".to_owned()),
        (7, 5_000, "5 u1".to_owned()),
    ];
    assert_eq!(summary(&all), expected);
}

#[test]
fn a_replay_waits_for_the_frontier_but_not_for_a_gap_in_history() {
    let dir = Dir::new();
    let path = dir.file("a.csv", b"time,session,user,name\n1000,s,u,n\n86401001,s,u,n\n900000001,s,u,n\n");
    let mut source = open(&path, &format!("{MAPPING}\narrival: event_time"), &[], NOW_MS).unwrap();
    let mut count = |frontier: Tick| source.poll(frontier, 10, &mut |_| {}).unwrap().records;
    // The first session's click and event, and the event that takes it a day ahead of the frontier.
    assert_eq!(count(0), 3);
    assert_eq!(count(0), 0);
    assert_eq!(count(1_001), 1);
}

#[test]
fn gzip_jsonl_and_their_bad_lines_are_read() {
    let dir = Dir::new();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let lines = concat!(
        "{\"time\": 1, \"user\": \"u\\u00e9\", \"deep\": {\"price\": 0.10}}\r\n",
        "\n",
        "{\"time\": 2, \"user\": null}\n",
        "{\"time\": 3, \n",
        "[1]\n",
        "{\"time\": 4, \"user\": 12345678901234567890}",
    );
    gzip.write_all(lines.as_bytes()).unwrap();
    let path = dir.file("a.jsonl.gz", &gzip.finish().unwrap());
    let mapping = r#"
format: jsonl
tenant: t
earliest: 1970-01-01
event_time: { column: time, format: epoch_ms }
emit:
  - { type: conversion, set: { user: user, name: { const: buy }, revenue_micros: { column: deep.price, unit: units }, currency: { const: EUR } } }
"#;
    let all = read(&mut open(&path, mapping, &[], NOW_MS).unwrap());
    let offsets: Vec<i64> = all.iter().map(|got| got.offset).collect();
    assert_eq!(offsets, [0, 2, 3, 4, 5]);
    let first = all[0].event.as_ref().unwrap();
    assert_eq!((first.user.as_str(), first.revenue_micros), ("ué", Some(100_000)));
    assert_eq!(all[1].event.as_ref().unwrap().user, "");
    assert!(all[2].event.as_ref().unwrap_err().starts_with("malformed JSON: EOF"), "{:?}", all[2]);
    assert!(all[3].event.as_ref().unwrap_err().starts_with("malformed JSON: invalid type: sequence"), "{:?}", all[3]);
    assert_eq!(all[4].event.as_ref().unwrap().user, "12345678901234567890");
}

#[test]
fn bad_utf8_costs_the_field_and_rows_too_large_are_dead() {
    let dir = Dir::new();
    let mut bytes = b"time,session,user,name\n1,s,\xff\xfe,n\n2,s,u,".to_vec();
    bytes.extend(std::iter::repeat_n(b'x', 1 << 20));
    bytes.extend(b"\n3,s,u,n\n");
    let all = read(&mut open(&dir.file("a.csv", &bytes), MAPPING, &[], NOW_MS).unwrap());
    let first = all[0].event.as_ref().unwrap();
    assert_eq!((first.event_time, first.user.as_str()), (Some(1), ""));
    let rest = &all[2..];
    assert_eq!(rest[0].event, Err("row is larger than 1048576 bytes".to_owned()));
    assert_eq!(rest[1].event.as_ref().unwrap().event_time, Some(3));
    let mut line = b"{\"time\": \"".to_vec();
    line.extend(std::iter::repeat_n(b'x', 2 << 20));
    line.extend(b"\"}\n{\"time\": 1}\n");
    let jsonl = "{format: jsonl, tenant: t, earliest: 1970-01-01, event_time: {column: time, format: epoch_ms}, emit: [{type: open}]}";
    let all = read(&mut open(&dir.file("a.jsonl", &line), jsonl, &[], NOW_MS).unwrap());
    assert_eq!(all[0].event, Err("row is larger than 1048576 bytes".to_owned()));
    assert_eq!(all[0].text.len(), (1 << 20) + 1);
    assert_eq!(all[1].event.as_ref().unwrap().event_time, Some(1));
}

#[test]
fn parquet_is_read_with_exact_amounts() {
    use arrow::array::{Float64Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray};
    use parquet::arrow::ArrowWriter;
    let columns: [(&str, arrow::array::ArrayRef); 5] = [
        ("when", Arc::new(TimestampMillisecondArray::from(vec![1_710_325_274_123, 1_710_325_275_000]))),
        ("price", Arc::new(Float64Array::from(vec![2.55, 0.1]))),
        ("quantity", Arc::new(Int64Array::from(vec![-12, 3]))),
        ("item", Arc::new(Float64Array::from(vec![Some(13085.0), None]))),
        ("user", Arc::new(StringArray::from(vec![Some("u, 1"), None]))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    let dir = Dir::new();
    let path = dir.file("a.parquet", &writer.into_inner().unwrap());
    let mapping = r#"
format: parquet
tenant: t
event_time: { column: when, format: rfc3339 }
emit:
  - type: conversion
    set: { user: user, item: item, quantity: quantity, name: { const: buy }, revenue_micros: { product: [price, quantity], unit: units }, currency: { const: EUR } }
"#;
    let all = read(&mut open(&path, mapping, &[], NOW_MS).unwrap());
    let event = all[0].event.as_ref().unwrap();
    assert_eq!((event.user.as_str(), event.event_time), ("u, 1", Some(1_710_325_274_123)));
    assert_eq!((event.quantity, event.revenue_micros), (Some(-12), Some(-30_600_000)));
    assert_eq!(event.item, "13085");
    assert_eq!(all[1].event.as_ref().unwrap().revenue_micros, Some(300_000));
    assert_eq!(all[1].event.as_ref().unwrap().item, "");
    assert_eq!(all[1].event.as_ref().unwrap().user, "");
}

#[test]
fn files_that_cannot_be_imported_say_why() {
    let dir = Dir::new();
    let error =
        |name: &str, bytes: &[u8]| open(&dir.file(name, bytes), MAPPING, &[], NOW_MS).err().unwrap().to_string();
    let lacking = error("a.csv", b"time,user\n");
    assert!(lacking.ends_with("the file has no column \"session\"; it has time, user"), "{lacking}");
    let missing = open(Path::new("/no/such/file.csv"), MAPPING, &[], NOW_MS).err().unwrap().to_string();
    assert!(missing.starts_with("/no/such/file.csv: "), "{missing}");
    let parquet = MAPPING.replace("csv", "parquet");
    let not_parquet = open(&dir.file("a.parquet", b"nothing like it"), &parquet, &[], NOW_MS).err().unwrap();
    assert!(matches!(not_parquet, SourceError::File { .. }), "{not_parquet}");
    // A truncated archive fails, and says that it breaks off.
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(FILE.as_bytes()).unwrap();
    let bytes = gzip.finish().unwrap();
    let truncated = error("b.csv.gz", &bytes[..bytes.len() - 4]);
    assert!(truncated.contains("breaks off"), "{truncated}");
}

/// The shop's real file, where `BIDSTREAM_DATA` says it is.
#[test]
fn the_shop_has_its_sessions_and_purchases() {
    let Some(data) = std::env::var_os("BIDSTREAM_DATA") else {
        // Written past the test harness, which would keep it to itself: `./check` counts these lines.
        writeln!(std::io::stderr(), "SKIPPED the_shop_has_its_sessions_and_purchases: BIDSTREAM_DATA is not set")
            .unwrap();
        return;
    };
    let mapping = std::fs::read_to_string("jobs/mappings/ecom.yaml").unwrap();
    let path = Path::new(&data).join("clickstream/ecom.csv.gz");
    let all = read(&mut open(&path, &mapping, &[], NOW_MS).unwrap());
    let count =
        |kind: schemas::EventType| all.iter().filter(|got| got.event.as_ref().unwrap().r#type == kind as i32).count();
    assert_eq!(count(schemas::EventType::Click), 3_605);
    assert_eq!(count(schemas::EventType::Conversion), 470);
    assert_eq!(count(schemas::EventType::Event), 31_106 - 470);
}
