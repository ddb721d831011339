//! Kinds of Parquet columns, and times as old writers have them.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Decimal128Array, DictionaryArray, Int64Array, ListArray, RecordBatch};
use arrow::array::{Date32Array, StringArray, StructArray, TimestampMicrosecondArray, TimestampNanosecondArray};
use arrow::datatypes::{Field, Int32Type};

use super::*;

fn parquet(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ::parquet::arrow::ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

fn parquet_rows(columns: Vec<(&str, ArrayRef)>, names: &str) -> Result<Vec<String>, String> {
    let (all, _) = rows(&parquet(columns), &mapping("parquet", "", names))?;
    Ok(all.into_iter().map(|row| row.unwrap().join("|")).collect())
}

#[test]
fn parquet_columns_of_every_kind_are_text() {
    let text = |values: [Option<&str>; 2]| -> ArrayRef { Arc::new(StringArray::from(values.to_vec())) };
    let micros = TimestampMicrosecondArray::from(vec![Some(1_772_359_200_123_456), None]);
    let nanos = TimestampNanosecondArray::from(vec![1_772_359_200_000_000_001, 0]).with_timezone("Europe/Berlin");
    let amounts = Decimal128Array::from(vec![1250, -5]).with_precision_and_scale(10, 2).unwrap();
    let dictionary: DictionaryArray<Int32Type> = vec!["x", "y"].into_iter().collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("ts", Arc::new(micros)),
        ("zoned", Arc::new(nanos)),
        ("day", Arc::new(Date32Array::from(vec![20_513, 0]))),
        ("amount", Arc::new(amounts)),
        ("kind", Arc::new(dictionary)),
        ("bytes", Arc::new(BinaryArray::from(vec![Some("ü1".as_bytes()), Some(b"\xff\x01")]))),
        ("id", Arc::new(Int64Array::from(vec![Some(i64::MAX), None]))),
        ("user", text([Some("a, \"b\""), Some("")])),
    ];
    assert_eq!(
        parquet_rows(columns, "zoned, day, amount, kind, bytes, id, user").unwrap(),
        [
            "2026-03-01T10:00:00.123456|2026-03-01T11:00:00.000000001+01:00|2026-03-01|12.50|x|ü1|9223372036854775807|a, \"b\"",
            "-|1970-01-01T01:00:00+01:00|1970-01-01|-0.05|y|ff01|-|-",
        ]
    );
}

#[test]
fn times_of_parquet_in_96_bits_are_read() {
    use ::parquet::data_type::{ByteArrayType, Int96, Int96Type};
    use ::parquet::file::writer::SerializedFileWriter;
    use ::parquet::schema::parser::parse_message_type;
    let schema =
        "message rows { REQUIRED INT96 ts; REQUIRED BYTE_ARRAY kind (UTF8); REQUIRED BYTE_ARRAY user (UTF8); }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    // Nanoseconds of the day in the lower two words, and the Julian day: 2,440,588 is 1970-01-01.
    let time = |day: u32, nanos: u64| {
        let mut time = Int96::new();
        time.set_data(nanos as u32, (nanos >> 32) as u32, day);
        time
    };
    let times = [time(2_440_588 + 20_513, 36_000_123_456_789), time(2_440_587, 0)];
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<Int96Type>().write_batch(&times, None, None).unwrap();
    column.close().unwrap();
    for text in ["click", "u"] {
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&[text.into(), text.into()], None, None).unwrap();
        column.close().unwrap();
    }
    group.close().unwrap();
    let (all, _) = rows(&writer.into_inner().unwrap(), &mapping("parquet", "", "kind, user")).unwrap();
    let all: Vec<String> = all.into_iter().map(|row| row.unwrap().join("|")).collect();
    assert_eq!(all, ["2026-03-01T10:00:00.123456789|click|u", "1969-12-31T00:00:00|click|u"]);
}

#[test]
fn members_of_parquet_structs_are_columns() {
    let kinds: ArrayRef = Arc::new(StringArray::from(vec!["click", "buy", "lost"]));
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    let field = |name: &str, array: &ArrayRef| Arc::new(Field::new(name, array.data_type().clone(), true));
    let inner: ArrayRef = Arc::new(StructArray::from(vec![(field("id", &ids), ids.clone())]));
    let members = vec![field("kind", &kinds), field("user", &inner)];
    let nulls = arrow::buffer::NullBuffer::from(vec![true, true, false]);
    let outer: ArrayRef = Arc::new(StructArray::new(members.into(), vec![kinds, inner], Some(nulls)));
    let list =
        ListArray::from_iter_primitive::<arrow::datatypes::Int64Type, _, _>(vec![Some(vec![Some(1)]), None, None]);
    let columns = || -> Vec<(&str, ArrayRef)> {
        vec![("ts", ids.clone()), ("e", outer.clone()), ("tags", Arc::new(list.clone()))]
    };
    assert_eq!(parquet_rows(columns(), "e.kind, e.user.id").unwrap(), ["1|click|1", "2|buy|2", "3|-|-"]);
    for (names, expected) in [
        ("e", "column \"e\" is a struct: name a member of it, as e.kind, e.user"),
        ("e.user", "column \"e.user\" is a struct: name a member of it, as e.user.id"),
        ("tags", "column \"tags\" is a list or map, which has no place in a row"),
        ("tags.item", "column \"tags.item\" is a list or map"),
        ("e.none", "the file has no column \"e.none\"; it has ts, e.kind, e.user.id, tags"),
    ] {
        let error = parquet_rows(columns(), names).expect_err(names);
        assert!(error.contains(expected), "{error}");
    }
}
