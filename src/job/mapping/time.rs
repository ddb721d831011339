//! Times of a mapping: which column, in which format and zone, and between which bounds a time is believed.

use schemas::times::{TimeFormat, Zone, show};

use super::{Cells, Flaw};

/// Where a time comes from, and how it is read.
#[derive(Clone, Debug)]
pub(super) struct Time {
    pub(super) column: usize,
    pub(super) format: TimeFormat,
    pub(super) zone: ZoneOf,
}

/// The zone of a text that names no offset.
#[derive(Clone, Debug)]
pub(super) enum ZoneOf {
    /// Always this one.
    Fixed(Zone),
    /// As a column says, or else this one.
    Column(usize, Zone),
}

/// Between which times an event is believed to have happened: beyond them, the unit is wrong.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// The first, ms since the Unix epoch.
    pub(super) earliest_ms: i64,
}

impl Bounds {
    /// The first time that is believed where a mapping names no other: 2000-01-01.
    pub(super) const EARLIEST_MS_DEFAULT: i64 = 946_684_800_000;
    /// No event is believed to be of 2100-01-01 or later.
    const LATEST_MS: i64 = 4_102_444_800_000;

    fn hold(&self, time_ms: i64) -> bool {
        (self.earliest_ms..Bounds::LATEST_MS).contains(&time_ms)
    }
}

impl Time {
    /// What is wrong with its column, or with that of its zone.
    pub(super) fn flaw(&self, cells: &Cells) -> Option<(usize, Flaw)> {
        let is_used =
            |column: usize| self.column == column || matches!(self.zone, ZoneOf::Column(zone, _) if zone == column);
        cells.flaws().iter().find(|(column, _)| is_used(*column)).copied()
    }

    /// The time that a text tells, or why it does not, with the column that is to blame.
    pub(super) fn read(&self, text: &str, cells: &Cells, bounds: &Bounds) -> Result<i64, (usize, String)> {
        let read = match &self.zone {
            ZoneOf::Fixed(zone) => self.format.read_in(text, zone),
            ZoneOf::Column(column, otherwise) => match cells.get(*column).map(Zone::parse) {
                None => self.format.read_in(text, otherwise),
                Some(Ok(zone)) => self.format.read_in(text, &zone),
                // A text with an offset is the same instant in any zone.
                Some(Err(reason)) => match self.format.read_in(text, &Zone::UTC) {
                    Ok(time_ms) if self.format.read_in(text, &Zone::Fixed(3_600)) != Ok(time_ms) => {
                        return Err((*column, reason));
                    }
                    read => read,
                },
            },
        };
        let time_ms = read.map_err(|reason| (self.column, reason))?;
        if bounds.hold(time_ms) { Ok(time_ms) } else { Err((self.column, self.unbelieved(text, time_ms, bounds))) }
    }

    /// Why a time is not believed, with the format that would make it one that is.
    fn unbelieved(&self, text: &str, time_ms: i64, bounds: &Bounds) -> String {
        let bound = if time_ms < bounds.earliest_ms {
            format!("before {}", &show(bounds.earliest_ms)[..10])
        } else {
            "after 2099".to_owned()
        };
        let said = format!("{text:?} would be {} in the format {}, {bound}", show(time_ms), self.format);
        let meant = TimeFormat::EPOCHS.into_iter().find_map(|format| {
            let meant_ms = format.read(text).ok().filter(|time_ms| bounds.hold(*time_ms))?;
            Some(format!("write {format}, which makes it {}", show(meant_ms)))
        });
        match meant {
            Some(meant) if self.format.is_epoch() => format!("{said}: {meant}"),
            _ if time_ms < bounds.earliest_ms => {
                format!("{said}: if such times are right, write `earliest: 1970-01-01` in the mapping")
            }
            _ => said,
        }
    }
}
