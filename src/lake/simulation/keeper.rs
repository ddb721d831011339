//! Housekeeping beside the writers: the real compaction, and now and then a checkpoint and a log cut short.

use schemas::Tick;
use schemas::units::DAY_MS;

use super::CUT_MS;
use super::dice::Dice;
use crate::clock::Clock;
use crate::lake::compact::compact;
use crate::lake::{Lake, LedgerError, Writer, directory, maintain};

/// Keeps house in one table.
pub(super) async fn keep(lake: Lake, mut dice: Dice) -> Result<(), LedgerError> {
    let tables: Vec<&str> = directory::tables().filter(|table| lake.has(table)).collect();
    let name = tables[dice.from(0, tables.len() as u64 - 1) as usize];
    let writer = Writer { id: "keeper".to_owned(), host: "simulation".to_owned(), pid: 0 };
    let mut log = maintain::open(&lake, name).await?;
    let cut = log.cut().unwrap_or(0);
    let since: Tick = cut.saturating_sub(CUT_MS * dice.from(0, 4));
    compact(&mut log, &writer, since, dice.from(4, 40)).await?;
    // Slow, for delta-rs writes it.
    if dice.one_in(8) {
        log.checkpoint_after(1).await?;
        // Of any age, so that nothing depends on the clock.
        let tomorrow_ms = Clock::system().now_ms() + DAY_MS;
        maintain::clean(&log, tomorrow_ms).await.map_err(LedgerError::delta(name))?;
    }
    Ok(())
}
