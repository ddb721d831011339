//! As of when links between ids count for an install, open or conversion: once that has passed, no later link changes what it is credited with.
//!
//! A record of event time *e* may arrive until *e* + *L*, the allowed lateness of its type; links count that arrived by then. What passed no gate
//! may have come much later, and all of an import counts together: for what was too late for a gate it is all that had arrived when the last
//! record without one had. So it follows from what the ledger holds, not from the order in which a dataflow is told of it.

use schemas::units::{DAY_MS, HOUR_MS};
use schemas::{EventTime, EventType, Tick};

/// When a record enters after it arrived, at the latest, where there is a gate: a tick may run ahead of a partition by an hour, and
/// a start loads a day at its end.
pub const ENTERS_WITHIN_MS: Tick = (DAY_MS + 2 * HOUR_MS) as Tick;

/// As of when links count.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moments {
    /// How late a record of each type may be, in the order of [`EventType::ALL`]; none where none is too late.
    pub lateness_ms: Option<[i64; EventType::ALL.len()]>,
    /// Up to when records came that passed no gate; [`Tick::MAX`] while they do.
    pub any_age_until: Tick,
}

impl Moments {
    /// Whether a gate would have refused the record.
    pub fn is_late(&self, event_type: EventType, event_time: EventTime, arrival_ms: i64) -> bool {
        self.allowed_ms(event_type).is_some_and(|allowed_ms| arrival_ms.saturating_sub(event_time.0) > allowed_ms)
    }

    /// Up to which arrival links count for an event, which was late or not.
    pub fn of(&self, event_type: EventType, event_time: EventTime, is_late: bool) -> Tick {
        match self.allowed_ms(event_type) {
            None => Tick::MAX,
            Some(_) if is_late => self.any_age_until,
            Some(allowed_ms) => event_time.0.saturating_add(allowed_ms).max(0) as Tick,
        }
    }

    /// The columns that SQL has of them: what it reads of the time beside the cut.
    pub fn columns_sql(&self) -> String {
        let lateness =
            [("installs", EventType::Install), ("opens", EventType::Open), ("conversions", EventType::Conversion)];
        let lateness = lateness.map(|(name, of)| {
            let ms = self.allowed_ms(of).map_or("NULL".to_owned(), |ms| ms.to_string());
            format!("CAST({ms} AS BIGINT) AS lateness_of_{name}")
        });
        let until = self.any_age_until.min(i64::MAX as Tick);
        format!("CAST({until} AS BIGINT) AS any_age_until, {}", lateness.join(", "))
    }

    fn allowed_ms(&self, event_type: EventType) -> Option<i64> {
        let place = EventType::ALL.iter().position(|of| *of == event_type).expect("it is one of all");
        self.lateness_ms.map(|ms| ms[place])
    }
}
