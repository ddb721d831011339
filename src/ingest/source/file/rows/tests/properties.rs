//! The reader and the canonical text against the `csv` crate, which 0.1.0 used.

use proptest::prelude::*;

use super::super::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// The canonical text is what the `csv` crate writes, byte for byte: rows that 0.1.0 imported are known by it.
    #[test]
    fn canonical_text_is_that_of_the_csv_crate(cells in proptest::collection::vec("[ab,\"\r\n #ü]{0,5}", 1..5)) {
        let mut writer = ::csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
        writer.write_record(&cells).unwrap();
        let mut theirs = writer.into_inner().unwrap();
        theirs.pop();
        let mut ours = Vec::new();
        canonical::write(cells.iter().map(String::as_bytes), &mut ours);
        prop_assert_eq!(String::from_utf8_lossy(&ours), String::from_utf8_lossy(&theirs));
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        canonical::read(&ours, &mut bytes, &mut ends);
        prop_assert_eq!(bytes, cells.concat().into_bytes());
        prop_assert_eq!(ends.len(), cells.len());
    }

    /// Any text has the rows that the `csv` crate finds in it, but for quotes that are refused.
    #[test]
    fn rows_are_those_of_the_csv_crate(text in "[ab,\"\r\n]{0,40}") {
        let mut reader = ::csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
        let theirs: Vec<Vec<Vec<u8>>> =
            reader.byte_records().map(|record| record.unwrap().iter().map(<[u8]>::to_vec).collect()).collect();
        let quote = crate::job::mapping::Quote::default();
        let signs = csv::Signs { delimiter: b',', quote, comment: None, spaced: false, multiline: false };
        let mut lines = Lines::new(buffer::Buffer::new(Box::new(std::io::Cursor::new(text.clone().into_bytes()))), signs);
        let (mut record, mut ours) = (Record::default(), Vec::new());
        loop {
            match lines.next(&mut record) {
                Ok(true) => ours.push(record.iter().map(<[u8]>::to_vec).collect::<Vec<_>>()),
                Ok(false) => break,
                Err(_) => {
                    prop_assert!(text.contains('"'));
                    prop_assert_eq!(&ours[..], &theirs[..ours.len()]);
                    return Ok(());
                }
            }
        }
        prop_assert_eq!(ours, theirs);
    }
}
