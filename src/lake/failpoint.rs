//! Failpoints: named places in the life of a commit where a test ends the process, makes a step fail or makes it wait.
//!
//! They are armed by the variable `BIDSTREAM_FAILPOINT` alone, read once at the start of `bidstream`; unarmed, each
//! costs one atomic load. Its value is one or more of `NAME:ACTION[:HIT]`, with commas between:
//!
//! * *NAME* is one of [`all`]. A table's `put.before` and `put.after` are the two sides of a commit to its log, the
//!   claims of a start included; `upload` is that of a data file.
//! * *ACTION* is `kill` (the process ends at once, by `SIGABRT`: nothing is run or flushed any more, as with
//!   `SIGKILL`), `error` (the step fails as if the store had; after a put that is a lost response), or `sleep=MS`.
//! * *HIT* is when: `3` is the third time that the place is reached, `3-9` the third to the ninth, `3-` the third and all
//!   after it; default `1`.
//!
//! `BIDSTREAM_FAILPOINT=records.put.after:kill:2` ends the process after the second commit to `records` (the first is
//! the claim) and before anyone is told of it.

use std::io;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::lake::directory;

/// The variable that arms failpoints.
pub const VARIABLE: &str = "BIDSTREAM_FAILPOINT";

/// The steps of a start and of a commit before its tables'.
const START: [&str; 9] = [
    "open.locked",
    "open.claimed",
    "open.followed",
    "recovery.symbols",
    "recovery.begin",
    "recovery.file",
    "recovery.end",
    "recovery.worker",
    "commit.begin",
];
/// The steps of a commit to each table.
const COMMIT: [&str; 4] = ["upload.before", "upload.after", "put.before", "put.after"];
/// The steps after those.
const AFTER: [&str; 3] = ["commit.end", "checkpoint.before", "checkpoint.after"];
/// The steps of a compaction of each table.
const COMPACT: [&str; 2] = ["compact.read", "compact.put"];
/// The steps of housekeeping after those.
const HOUSEKEEPING: [&str; 5] = ["compact.end", "clean.before", "clean.after", "vacuum.before", "vacuum.after"];

/// The names of all failpoints, in the order of a run: claim, recovery, commit, and what goes on beside.
pub fn all() -> Vec<String> {
    let of_tables = |steps: &'static [&str]| {
        directory::tables().flat_map(move |table| steps.iter().map(move |step| format!("{table}.{step}")))
    };
    let plain = |steps: &'static [&str]| steps.iter().map(|step| (*step).to_owned());
    let commit = plain(&START).chain(of_tables(&COMMIT)).chain(plain(&AFTER));
    commit.chain(of_tables(&COMPACT)).chain(plain(&HOUSEKEEPING)).collect()
}

static ARMED: OnceLock<Vec<Armed>> = OnceLock::new();

/// A value of [`VARIABLE`] that does not arm anything.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFailpoint {
    /// It has another form.
    #[error(
        "{VARIABLE}: {0:?} is not NAME:ACTION[:HIT], as records.put.after:kill:2, with action kill, error or sleep=MS"
    )]
    Form(String),
    /// There is no such place.
    #[error("{VARIABLE}: there is no failpoint {0:?}; there are: {all}", all = all().join(", "))]
    Name(String),
}

#[derive(Debug)]
struct Armed {
    name: String,
    action: Action,
    hits: RangeInclusive<u64>,
    reached: AtomicU64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Kill,
    Error,
    Sleep(Duration),
}

impl FromStr for Armed {
    type Err = BadFailpoint;

    fn from_str(text: &str) -> Result<Armed, BadFailpoint> {
        let form = || BadFailpoint::Form(text.to_owned());
        let mut parts = text.split(':');
        let (name, action) = parts.next().zip(parts.next()).ok_or_else(form)?;
        let hit = parts.next().unwrap_or("1");
        let (from, to) = hit.split_once('-').unwrap_or((hit, hit));
        let to = if to.is_empty() { Some(u64::MAX) } else { to.parse().ok() };
        let (from, to) = from.parse().ok().zip(to).filter(|(from, _)| *from > 0).ok_or_else(form)?;
        let action = match action.split_once('=') {
            None if action == "kill" => Action::Kill,
            None if action == "error" => Action::Error,
            Some(("sleep", ms)) => Action::Sleep(Duration::from_millis(ms.parse().map_err(|_| form())?)),
            _ => return Err(form()),
        };
        if parts.next().is_some() {
            return Err(form());
        }
        if !all().iter().any(|known| known == name) {
            return Err(BadFailpoint::Name(name.to_owned()));
        }
        Ok(Armed { name: name.to_owned(), action, hits: from..=to, reached: AtomicU64::new(0) })
    }
}

impl Armed {
    /// What is to be done at this hit.
    fn hit(&self) -> Option<Action> {
        let hit = self.reached.fetch_add(1, Ordering::SeqCst) + 1;
        self.hits.contains(&hit).then_some(self.action)
    }
}

fn parse(text: &str) -> Result<Vec<Armed>, BadFailpoint> {
    text.split(',').filter(|one| !one.trim().is_empty()).map(|one| one.trim().parse()).collect()
}

/// Arms what [`VARIABLE`] names; to be called once, at the start of the process.
pub fn arm() -> Result<(), BadFailpoint> {
    let armed = parse(&std::env::var(VARIABLE).unwrap_or_default())?;
    if !armed.is_empty() {
        tracing::warn!(?armed, "failpoints are armed: this process will fail on purpose");
        let _ = ARMED.set(armed);
    }
    Ok(())
}

/// The place `what.step` is reached.
pub(crate) fn hit(what: &str, step: &str) -> io::Result<()> {
    let Some(armed) = ARMED.get() else { return Ok(()) };
    let name = format!("{what}.{step}");
    debug_assert!(all().contains(&name), "{name} is not listed");
    let Some(action) = armed.iter().filter(|armed| armed.name == name).find_map(Armed::hit) else { return Ok(()) };
    tracing::warn!(name, ?action, "failpoint");
    match action {
        Action::Kill => std::process::abort(),
        Action::Error => Err(io::Error::other(format!("failpoint {name}"))),
        // Not a timer: a process that is stopped does nothing else on this thread either.
        Action::Sleep(wait) => {
            std::thread::sleep(wait);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failpoint_acts_at_its_hits() {
        let text = "records.put.after:kill:2, open.claimed:sleep=250 ,commit.end:error:2-3,clean.before:error:3-";
        let armed = parse(text).unwrap();
        let hits = |armed: &Armed| [(); 4].map(|()| armed.hit());
        assert_eq!(hits(&armed[0]), [None, Some(Action::Kill), None, None]);
        let sleep = Action::Sleep(Duration::from_millis(250));
        assert_eq!(hits(&armed[1]), [Some(sleep), None, None, None]);
        assert_eq!(hits(&armed[2]), [None, Some(Action::Error), Some(Action::Error), None]);
        assert_eq!(hits(&armed[3]), [None, None, Some(Action::Error), Some(Action::Error)]);
        assert!(parse("").unwrap().is_empty());
    }

    #[test]
    fn what_would_arm_nothing_is_refused() {
        for wrong in [
            "records.put.after",
            "open.claimed:kill:0",
            "open.claimed:die",
            "open.claimed:kill:1:2",
            "clean.after:kill:-2",
        ] {
            assert_eq!(parse(wrong).unwrap_err(), BadFailpoint::Form(wrong.to_owned()));
        }
        assert_eq!(parse("records.pat.after:kill").unwrap_err(), BadFailpoint::Name("records.pat.after".to_owned()));
    }

    #[test]
    fn every_name_is_listed_once() {
        let names: std::collections::BTreeSet<_> = all().into_iter().collect();
        assert_eq!(names.len(), all().len());
    }
}
