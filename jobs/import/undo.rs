//! The way back: an import is declared void in the ledger, and the views are made anew without it.

use bidstream::clock::Clock;
use bidstream::gate::Gate;
use bidstream::ledger::imports::accepted;
use bidstream::pipeline::{self, Plan};
use bidstream::source::file::imported::{self, NotFound};
use bidstream::source::{Nothing, Source};

use super::{Import, ReportFormat, Target, Usage, waiting};
use crate::service;

/// The report of an undone import.
#[derive(serde::Serialize)]
struct Undone {
    outcome: &'static str,
    import: String,
    topic: Option<String>,
    rows: Option<i64>,
    events: Option<u64>,
    cut: u64,
}

impl Import {
    pub(super) fn undo(&self, what: &str) -> anyhow::Result<()> {
        let target = self.target()?;
        let path = target.path()?;
        let Some(lake) = &target.lake else {
            return Err(Usage(format!("there is no lake in {}", path.display())).into());
        };
        let topic = match imported::find(&target.imports, what) {
            Ok(topic) => topic,
            Err(NotFound::Void(import)) => {
                // An undo that was interrupted after its claim is brought to its end.
                let cut = self.bring_up(&target, Vec::new())?;
                let (topic, rows, events) = (None, None, None);
                self.print_undone(&Undone { outcome: "void_already", import, topic, rows, events, cut });
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let mut events = 0;
        waiting(accepted(lake, |row| events += u64::from(*row.topic == *topic)))?;
        let cut = self.bring_up(&target, vec![topic.clone()])?;
        let import = imported::shown(&target.imports, &topic);
        let rows = target.imports.files.get(&topic).and_then(|import| import.rows());
        let events = Some(events);
        self.print_undone(&Undone { outcome: "undone", import, topic: Some(topic), rows, events, cut });
        Ok(())
    }

    /// A run without records: it declares topics void and brings the tables of the views up to that.
    fn bring_up(&self, target: &Target, void: Vec<String>) -> anyhow::Result<u64> {
        let clock = Clock::system();
        let plan = Plan {
            lake: target.path()?,
            // Nothing of any age enters.
            gate: Gate { allowed_lateness_ms: target.settings.allowed_lateness_ms },
            settings: target.settings.clone(),
            replays: None,
            workers: 1,
            commit_every: target.commit_every,
            take_over: false,
            void,
            hasher: target.hasher.clone(),
            id_rules: target.id_rules.clone(),
            clock: clock.clone(),
        };
        let run = pipeline::start(plan, move |_| {
            Box::new(move |_, _| Ok(Box::new(Nothing(clock.clone())) as Box<dyn Source>))
        })?;
        let served = service::serve(&run, None)?;
        let cut = run.wait()?;
        drop(served);
        Ok(cut)
    }

    fn print_undone(&self, undone: &Undone) {
        match self.format {
            ReportFormat::Json => {
                println!("{}", serde_json::to_string(undone).expect("a report has text keys and no fallible parts"));
            }
            ReportFormat::Human if undone.events.is_none() => println!("{} is void already.", undone.import),
            ReportFormat::Human => println!(
                "{} is void: its {} events{} count no more; the views are without them from cut {} on.",
                undone.import,
                undone.events.unwrap_or_default(),
                undone.rows.map(|rows| format!(" of {rows} rows")).unwrap_or_default(),
                undone.cut,
            ),
        }
    }
}
