//! How a run claims a lake: the epoch that fences whoever wrote before, and what comes with it.

use std::collections::BTreeMap;

use super::directory::Lake;
use super::error::LedgerError;
use super::log::{EPOCH, Put, TableLog};
use super::widen::widening;
use super::writer::{OVERTAKEN_MAX, Writer};
use super::{COLUMN, VOID, zones};
use crate::clock::Clock;

/// Claims the next epoch of `records`, which is also beyond `above`. The same commit declares topics void, gives tenants their
/// zones, and adds the columns that the table lacks.
pub(super) async fn claim(
    (records, names): (&mut TableLog, &mut TableLog),
    lake: &Lake,
    writer: &Writer,
    above: i64,
    void: &[String],
) -> Result<i64, LedgerError> {
    for _ in 0..OVERTAKEN_MAX {
        let zones = zones::news(lake, records, names).await?;
        let epoch = records.txn(EPOCH).unwrap_or(0).max(above) + 1;
        let now_ms = Clock::system().now_ms();
        let mut txns = BTreeMap::from([(EPOCH.to_owned(), epoch)]);
        let declared = void.iter().map(|topic| format!("{VOID}{topic}"));
        // The first declaration stands.
        txns.extend(declared.filter(|app_id| records.txn(app_id).is_none()).map(|app_id| (app_id, now_ms)));
        txns.extend(zones.into_iter().map(|app_id| (app_id, now_ms)));
        let widening = widening(records).await?;
        let added = widening.iter().flat_map(|widening| &widening.fields);
        txns.extend(added.map(|field| (format!("{COLUMN}{}", field.name()), now_ms)));
        let commit = records.prepare_claim(writer, txns, widening);
        if records.put(&commit).await? == Put::Done {
            return Ok(epoch);
        }
    }
    Err(LedgerError::overtaken("records"))
}

/// Carries a claimed epoch into another table, whose last cut stands from then on, and adds the columns that it lacks.
pub(super) async fn follow(log: &mut TableLog, writer: &Writer, epoch: i64) -> Result<(), LedgerError> {
    for _ in 0..OVERTAKEN_MAX {
        log.check_epoch(epoch)?;
        let commit = log.prepare_claim(writer, BTreeMap::from([(EPOCH.to_owned(), epoch)]), widening(log).await?);
        if log.put(&commit).await? == Put::Done {
            return Ok(());
        }
    }
    Err(LedgerError::overtaken(log.name()))
}
