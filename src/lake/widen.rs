//! Columns that come to a table: a build that writes columns which an older one did not.
//!
//! Every start compares the columns that it writes with those that the table's log names. What is missing is added by a
//! `metaData` action in the very commit that claims the epoch: no file with the columns can come before it, it is fenced
//! as the claim is, and a start that finds them does nothing. Older files stay as they are; readers take the absent columns
//! for null, so a column that comes must be one that may be null. Columns are never taken away and never change their type.
//!
//! A table may have columns that this build does not know: a newer one wrote them. This one must not write then, for its
//! rows would lack what the newer one counts on; reading is fine.

use deltalake_core::DeltaTable;
use deltalake_core::kernel::{MetadataExt, StructField, StructType};

use super::columns::Widening;
use super::error::LedgerError;
use super::log::TableLog;

/// What has to be committed so that the table has all columns that this build writes; none where it has them.
///
/// # Panics
/// If a column that the table lacks may not be null: rows of older files have no value of it.
pub(super) async fn widening(log: &TableLog) -> Result<Option<Widening>, LedgerError> {
    let fields = log.lacking()?;
    if fields.is_empty() {
        return Ok(None);
    }
    assert!(fields.iter().all(StructField::is_nullable), "{}: a column comes that may not be null", log.name());
    let read = async {
        // Rare, so that a log need not keep what nothing else asks for.
        let mut table = DeltaTable::new(log.store());
        table.load_version(log.version()).await?;
        let held = table.snapshot()?.metadata().clone();
        let known = table.snapshot()?.schema();
        let wider = StructType::try_new(known.fields().cloned().chain(fields.iter().cloned()))?;
        Ok((serde_json::to_string(&wider)?, held.with_schema(&wider)?))
    };
    let (schema, metadata) = read.await.map_err(LedgerError::delta::<deltalake_core::DeltaTableError>(log.name()))?;
    Ok(Some(Widening { fields, schema, metadata }))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::time::Duration;

    use arrow::array::RecordBatch;
    use arrow::datatypes::{DataType, Field, Schema};
    use schemas::fault::{Extras, Fault};
    use schemas::table::{records_batch, records_schema};
    use schemas::units::DAY_MS;
    use tempfile::TempDir;

    use super::super::columns::parse;
    use super::super::file::encode;
    use super::super::imports::Imports;
    use super::super::log::{CUT, Put};
    use super::super::tests::{T0, commit, loaded, open, open_error, part, settings, sql};
    use super::super::writer::Writer;
    use super::super::{Lake, load, maintain};
    use super::*;

    /// How many columns the files of `records` had in release 0.1.0.
    fn columns_were() -> usize {
        records_schema().index_of("referrer").unwrap()
    }

    /// `records` with another schema, before the first start that writes the lake.
    async fn made(path: &Path, schema: &Schema) -> TableLog {
        std::fs::create_dir_all(path).unwrap();
        let lake = Lake::read_or_make(path, &settings()).unwrap();
        TableLog::open(&lake, "records", &load::with_arrival_date(schema), Some(load::ARRIVAL_DATE)).await.unwrap()
    }

    /// A lake as an older release left it, with ten records.
    async fn old_lake(path: &Path) {
        let mut log = made(path, &Schema::new(records_schema().fields()[..columns_were()].to_vec())).await;
        let cut = T0 + 1_000;
        let rows = records_batch(part(cut, 0..10).rows[0].iter());
        let rows: RecordBatch = rows.project(&(0..columns_were()).collect::<Vec<_>>()).unwrap();
        let file = encode([rows]).unwrap().unwrap();
        let add = log.upload(&file, Some((load::ARRIVAL_DATE, &load::date(T0 as i64 / DAY_MS)))).await.unwrap();
        let txns = BTreeMap::from([(CUT.to_owned(), cut as i64), ("bidstream/offset/ads/0".to_owned(), 10)]);
        let commit = log.prepare(&Writer::here(), vec![add], txns);
        assert_eq!(log.put(&commit).await.unwrap(), Put::Done);
    }

    /// How often the log of `records` says its schema, and how many columns that has at last.
    fn schemas(path: &Path) -> (usize, usize) {
        let mut entries: Vec<_> =
            std::fs::read_dir(path.join("records/_delta_log")).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.retain(|entry| entry.extension().is_some_and(|kind| kind == "json"));
        entries.sort();
        let lines = entries.iter().flat_map(|entry| {
            let text = std::fs::read_to_string(entry).unwrap();
            text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()).collect::<Vec<_>>()
        });
        let said: Vec<_> =
            lines.filter_map(|line| Some(line["metaData"]["schemaString"].as_str()?.to_owned())).collect();
        (said.len(), parse("records", said.last().unwrap()).unwrap().fields().count())
    }

    #[tokio::test]
    async fn columns_come_with_the_claim_and_older_rows_have_none() {
        let dir = TempDir::new().unwrap();
        old_lake(dir.path()).await;
        let all = records_schema().fields().len() + 1;
        assert_eq!(schemas(dir.path()), (1, columns_were() + 1));
        // Killed after the claim, however often: the columns came once.
        for _ in 0..2 {
            drop(open(dir.path()).await);
            assert_eq!(schemas(dir.path()), (2, all));
        }
        let (mut ledger, state) = open(dir.path()).await;
        assert_eq!(state.resumes[0].offset, 10);
        let mut more = part(T0 + 2_000, 10..20);
        let mut rows: Vec<_> = more.rows[0].iter().cloned().collect();
        let fault = Fault { field: "ip", reason: "masked", value: Some("x.x.x.x".into()) };
        rows[3].extras = Some(Box::new(Extras {
            faults: vec![fault],
            unknown_fields: vec!["utm_id".into()],
            referrer: Some("utm_source=google".into()),
            ..Extras::default()
        }));
        more.rows = vec![rows.into()];
        commit(&mut ledger, T0 + 2_000, more).await.unwrap();
        let query = "select count(*), count(referrer), min(referrer), min(unknown_fields[1]), min(faults[1]['value']), \
                     sum(\"offset\") from t";
        let expected = [["20", "1", "utm_source=google", "utm_id", "x.x.x.x", "190"]];
        assert_eq!(sql(&ledger, "records", query).await, expected, "old files beside new ones");
        let before = loaded(&ledger, 0, T0 + 2_000).await;
        assert_eq!(before.len(), 20);

        // One file of both: all its rows have all columns.
        let kept = maintain::maintain(dir.path(), Duration::from_secs(3_600)).await.unwrap();
        assert_eq!((kept.tables[0].compacted.files_read, kept.tables[0].files_after), (2, 1));
        assert_eq!(sql(&ledger, "records", query).await, expected, "one file of both");
        let log = maintain::open(ledger.lake(), "records").await.unwrap();
        log.checkpoint_after(0).await.unwrap();
        drop(ledger);
        let (ledger, _) = open(dir.path()).await;
        assert_eq!(schemas(dir.path()), (2, all), "a checkpoint tells the columns too");
        assert_eq!(loaded(&ledger, 0, T0 + 2_000).await, before);
    }

    #[tokio::test]
    async fn a_table_of_a_newer_release_is_read_but_not_written() {
        let dir = TempDir::new().unwrap();
        let newer = Field::new("from_the_future", DataType::Utf8, true);
        let ours = records_schema();
        let fields = ours.fields().iter().cloned().chain([std::sync::Arc::new(newer)]);
        drop(made(dir.path(), &Schema::new(fields.collect::<Vec<_>>())).await);
        let error = open_error(dir.path(), &settings()).await;
        assert!(error.contains("table records has columns") && error.contains("from_the_future"), "{error}");
        assert!(error.contains("a newer release wrote them"), "{error}");
        let error = maintain::maintain(dir.path(), Duration::from_secs(3_600)).await.unwrap_err();
        assert!(error.is_refusal(), "{error}");
        Imports::read(&Lake::read(dir.path()).unwrap()).await.unwrap();
    }

    #[tokio::test]
    async fn a_column_of_another_type_is_refused() {
        let dir = TempDir::new().unwrap();
        let fields = records_schema()
            .fields()
            .iter()
            .map(|field| match field.name().as_str() {
                "referrer" => std::sync::Arc::new(Field::new("referrer", DataType::Int64, true)),
                _ => field.clone(),
            })
            .collect::<Vec<_>>();
        drop(made(dir.path(), &Schema::new(fields)).await);
        let error = open_error(dir.path(), &settings()).await;
        assert!(error.contains("column referrer is long, and this bidstream writes string"), "{error}");
    }
}
