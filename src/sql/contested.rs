//! Which events are contested: have several accepted records, copies or a tombstone. Nearly none is, so that `events` is a scan of
//! `records` but for these (`dataflows/src/views/contested_events.rs`).

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray};
use arrow::datatypes::DataType;
use datafusion::logical_expr::{ScalarUDF, Volatility, create_udf};
use datafusion::prelude::SessionContext;
use foldhash::fast::FixedState;
use futures::TryStreamExt;

use super::SqlError;
use super::current::changes;
use super::functions::pure;

/// With more contested events than this, `events` is computed by its definition, which can spill.
const CONTESTED_MAX: usize = 4 << 20;

/// The first eight bytes of the ids of contested events. Ids are keyed hashes: some other event may share them, which costs time and
/// changes nothing.
type EventIds = HashSet<u64, FixedState>;

/// The function `is_contested(event_id)`; none where there are too many.
pub async fn is_contested(raw: &SessionContext, view: &str) -> Result<Option<ScalarUDF>, SqlError> {
    let mut contested = EventIds::default();
    let mut rows = raw.table(changes(view)).await?.select_columns(&["event_id"])?.execute_stream().await?;
    while let Some(batch) = rows.try_next().await? {
        contested.extend(batch.column(0).as_binary::<i32>().iter().flatten().map(first_bytes));
        if contested.len() > CONTESTED_MAX {
            return Ok(None);
        }
    }
    let is_in = move |id: Option<&[u8]>| Some(id.is_some_and(|id| contested.contains(&first_bytes(id))));
    let of_arrays = pure(move |arrays| {
        let ids = arrays[0].as_binary::<i32>();
        Ok(Arc::new(ids.iter().map(&is_in).collect::<BooleanArray>()))
    });
    Ok(Some(create_udf("is_contested", vec![DataType::Binary], DataType::Boolean, Volatility::Immutable, of_arrays)))
}

fn first_bytes(id: &[u8]) -> u64 {
    id.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
