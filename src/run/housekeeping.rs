//! Housekeeping inside a running job: a thread that keeps house in the lake now and then, with handles of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use schemas::Tick;

use crate::lake::maintain::{Report, maintain};
use crate::run::cuts::Cuts;

/// The longest time between two passes.
const EVERY_MAX: Duration = Duration::from_secs(600);
/// The shortest. No job comes to it: its retention is at least a minute.
const EVERY_MIN: Duration = Duration::from_secs(1);

/// Keeps house until it is dropped. A pass that is under way then goes on until the process ends: it may break off
/// anywhere.
pub struct Housekeeping {
    _stop: Sender<()>,
}

impl Housekeeping {
    /// Starts to keep house in a run's lake.
    pub fn start(cuts: &Arc<Cuts>, lake: PathBuf, retention: Duration) -> std::io::Result<Housekeeping> {
        let (stop, stopped) = channel();
        let cuts = Arc::clone(cuts);
        std::thread::Builder::new()
            .name("bidstream-keep".to_owned())
            .spawn(move || keep(&cuts, cuts.committed(), &lake, retention, every(retention), &stopped))?;
        Ok(Housekeeping { _stop: stop })
    }
}

/// The time between two passes: several of them in a retention, so that its length is what bounds the files.
fn every(retention: Duration) -> Duration {
    (retention / 6).clamp(EVERY_MIN, EVERY_MAX)
}

/// Keeps house every so often, once there are commits after `committed`.
fn keep(cuts: &Cuts, mut committed: Tick, lake: &Path, retention: Duration, every: Duration, stopped: &Receiver<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
    while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
        // Without a commit there is nothing new to do; and before the first one, recovery may still be reading files.
        if cuts.committed() == committed {
            continue;
        }
        match runtime.block_on(maintain(lake, retention)) {
            Ok(report) => {
                committed = cuts.committed();
                log(&report);
            }
            // The next pass does what this one did not.
            Err(error) => tracing::warn!(%error, "housekeeping broke off"),
        }
    }
}

fn log(report: &Report) {
    for table in &report.tables {
        tracing::info!(
            table = table.table,
            files_before = table.files_before,
            files_after = table.files_after,
            files_removed = table.files_removed,
            log_files_removed = table.log_files_removed,
            since = report.since,
            "kept house"
        );
    }
}

#[cfg(test)]
mod tests {
    use dataflows::params::Params;
    use schemas::ids::IdHasher;
    use schemas::symbols::{Name, Symbols};

    use super::*;
    use crate::job::Lateness;
    use crate::lake::{Ledger, Part};
    use crate::run::pipeline::Plan;

    #[test]
    fn a_job_keeps_house_once_it_has_committed() {
        let dir = tempfile::TempDir::new().unwrap();
        let settings = Plan::settings(&Lateness::Unbounded, Params::default(), &IdHasher::new(b"k"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut ledger, _) = Ledger::open(dir.path(), &settings, false, &[], &Symbols::new()).await.unwrap();
            for cut in [1_000, 2_000] {
                let named = vec![Name::of(&format!("name {cut}"))];
                ledger.commit(cut, vec![Part::default()], named).await.unwrap();
            }
        });
        let files = || {
            let entries = std::fs::read_dir(dir.path().join("symbols")).unwrap();
            entries.filter(|entry| entry.as_ref().unwrap().path().extension().is_some()).count()
        };
        let (every, cuts) = (Duration::from_millis(20), Cuts::new(1, Duration::ZERO, 2_000));
        let run = |committed, waits: u32| {
            let (stop, stopped) = channel();
            let (cuts, lake) = (&cuts, dir.path());
            std::thread::scope(|scope| {
                scope.spawn(move || keep(cuts, committed, lake, Duration::ZERO, every, &stopped));
                let mut waited = 0;
                while files() != 1 && waited < waits {
                    std::thread::sleep(every);
                    waited += 1;
                }
                drop(stop);
            });
            files()
        };
        assert_eq!(files(), 2);
        assert_eq!(run(2_000, 5), 2, "nothing was committed since");
        assert_eq!(run(1_000, 1_000), 1);
    }

    #[test]
    fn there_are_several_passes_in_a_retention() {
        let secs = Duration::from_secs;
        assert_eq!((every(secs(60)), every(secs(600)), every(secs(604_800))), (secs(10), secs(100), secs(600)));
        assert_eq!(every(secs(0)), secs(1));
    }
}
