//! The way back: an import is declared void in the ledger, and the views are made anew without it.

use bidstream::clock::Clock;
use bidstream::ingest::gate::Gate;
use bidstream::ingest::source::file::imported::{self, NotFound};
use bidstream::ingest::source::{Nothing, Source};
use bidstream::lake::Lake;
use bidstream::lake::imports::accepted;
use bidstream::run::pipeline::{self, Plan};

use super::{Import, Interrupted, ReportFormat, Target, Usage, waiting};
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
        let (topic, declares) = match imported::find(&target.imports, what) {
            Ok(topic) => (topic, true),
            // An undo that was interrupted after its claim is brought to its end.
            Err(NotFound::Void { topic, .. }) if imported::is_pending(&target.imports, &topic) => (topic, false),
            Err(NotFound::Void { shown: import, .. }) => {
                let cut = self.bring_up(&target, Vec::new())?;
                let (topic, rows, events) = (None, None, None);
                self.print_undone(&Undone { outcome: "void_already", import, topic, rows, events, cut });
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let mut events = 0;
        waiting(accepted(lake, |row| events += u64::from(*row.topic == *topic)))?;
        let cut = self.bring_up(&target, declares.then(|| topic.clone()).into_iter().collect())?;
        // Readers see the void once `lake.json` names the views without it.
        let done = Lake::read(&target.path()?)?.voids.contains(&topic);
        let outcome = match (done, declares) {
            (false, _) => "interrupted",
            (true, true) => "undone",
            (true, false) => "completed",
        };
        let import = imported::shown(&target.imports, &topic);
        let rows = target.imports.files.get(&topic).and_then(|import| import.rows());
        let events = Some(events);
        self.print_undone(&Undone { outcome, import: import.clone(), topic: Some(topic), rows, events, cut });
        if !done {
            let what = "declared void, but the views are not made anew yet: run the same command again";
            return Err(Interrupted(format!("{import}: {what}")).into());
        }
        Ok(())
    }

    /// A run without records: it declares topics void and brings the tables of the views up to that.
    fn bring_up(&self, target: &Target, void: Vec<String>) -> anyhow::Result<u64> {
        let clock = Clock::system();
        let plan = Plan {
            lake: target.path()?,
            // Nothing of any age enters.
            gate: Gate::of(&target.settings.lateness()),
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
            ReportFormat::Human if undone.outcome == "interrupted" => {
                println!("{} is declared void, but counts until the views are made anew.", undone.import);
            }
            ReportFormat::Human => println!(
                "{}{} is void: its {} events{} count no more; the views are without them from cut {} on.",
                if undone.outcome == "completed" { "Completed what was declared before: " } else { "" },
                undone.import,
                undone.events.unwrap_or_default(),
                undone.rows.map(|rows| format!(" of {rows} rows")).unwrap_or_default(),
                undone.cut,
            ),
        }
    }
}
