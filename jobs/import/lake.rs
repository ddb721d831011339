//! Into a lake: check, warn, import, report.

use std::path::Path;
use std::time::Duration;

use bidstream::clock::Clock;
use bidstream::ingest::gate::Gate;
use bidstream::ingest::source::file::overlap::{Overlap, Shared};
use bidstream::ingest::source::file::report::{Outcome, Report, Written, printable};
use bidstream::ingest::source::file::survey::Survey;
use bidstream::ingest::source::file::{FileSource, Input, Known, imported};
use bidstream::ingest::source::{Source, SourceError};
use bidstream::job::mapping::{Arrival, Mapping};
use bidstream::lake::imports::{Import as Held, Imports, accepted};
use bidstream::lake::{Lake, State};
use bidstream::observe::telemetry;
use bidstream::run::pipeline::{self, Plan};
use bidstream::sql::steps;
use schemas::table::Verdict;

use super::{Import, Interrupted, Target, Told, Usage, exit_code, waiting};
use crate::run::EXIT_REFUSED;
use crate::service;
use crate::tables::finish;

/// How often the run is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

impl Import {
    pub(super) fn to_lake(&self) -> anyhow::Result<()> {
        let (mapping_path, mapping) = self.mapping()?;
        let input = Input::read(self.file()?)?;
        let target = self.target()?;
        if !self.dry_run {
            target.path()?;
        }
        let imports = &target.imports;
        let replaced = self.replaced(&target, &input, &mapping)?;
        let others = imported::has_others(imports, &input);
        let found = self.survey(&input, &mapping, (&target.hasher, &target.id_rules), others)?;
        let mut report = Report::of(&input, &mapping_path.display().to_string(), &found);
        report.replaced = replaced.iter().map(|topic| imported::shown(imports, topic)).collect();
        report.warnings = warnings(&target, &input, &found, &replaced)?;
        self.accept(&mut report, &found)?;
        let mut voids = imported::voids(imports);
        voids.extend(replaced.iter().cloned());
        report.topic = Some(imported::topic(&input, &voids));
        let done = self.enter(&target, &input, mapping, &found, replaced, &mut report);
        match &done {
            Err(error) if exit_code(error) == EXIT_REFUSED => report.outcome = Outcome::Refused,
            // What was written before a failure is for the same command to tell.
            Err(error) if !error.is::<Interrupted>() => return done,
            _ => {}
        }
        self.print(&report);
        if done.is_ok() && !self.dry_run {
            let lake = target.path()?;
            // What was imported is there, whether or not this can be told.
            let warnings = match finish(steps::unmatched(&lake, &target.settings.views.funnels, &target.hasher))? {
                Ok(warnings) => warnings,
                Err(error) => vec![format!("steps of funnels could not be compared with the lake: {error}")],
            };
            warnings.iter().for_each(|warning| eprintln!("warning: {}", printable(warning)));
        }
        done
    }

    /// The second pass, where the lake takes the file; of a dry run, only whether it would.
    fn enter(
        &self,
        target: &Target,
        input: &Input,
        mapping: Mapping,
        found: &Survey,
        replaced: Vec<String>,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        if !replaced.iter().any(|topic| imported::is_content(topic, input)) {
            imported::check(&target.imports, input, &mapping.identity)?;
        }
        if let Some(lake) = &target.lake {
            lake.check(&target.settings)?;
        }
        if self.dry_run {
            report.show(found);
            return Ok(());
        }
        self.write(target, input, mapping, found, replaced, report)
    }

    /// The imports that this one makes void.
    fn replaced(&self, target: &Target, input: &Input, mapping: &Mapping) -> anyhow::Result<Vec<String>> {
        match &self.replace {
            None => Ok(Vec::new()),
            Some(None) => Ok(imported::replaced(&target.imports, input, &mapping.identity)),
            Some(Some(what)) => match imported::find(&target.imports, what) {
                // Interrupted after its first commit, the same command goes on.
                Ok(topic) if resumes(&target.imports, &topic, input, &mapping.identity) => Ok(Vec::new()),
                Ok(topic) if imported::is_the_same(&target.imports, &topic, input, &mapping.identity) => {
                    let what = imported::shown(&target.imports, &topic);
                    Err(Usage(format!(
                        "{what} is this very file by this very mapping: to import it anew, first undo it (--undo {})",
                        input.path().display()
                    ))
                    .into())
                }
                Ok(topic) => Ok(vec![topic]),
                // Interrupted between the two, the same command goes on.
                Err(imported::NotFound::Void { .. }) => Ok(Vec::new()),
                Err(error) => Err(error.into()),
            },
        }
    }

    /// The second pass: the rows enter the lake.
    fn write(
        &self,
        target: &Target,
        input: &Input,
        mapping: Mapping,
        found: &Survey,
        replaced: Vec<String>,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let clock = Clock::system();
        let gated = mapping.arrival == Arrival::EventTime;
        let settings = target.settings.clone();
        let plan = Plan {
            lake: target.path()?,
            gate: if gated { Gate::of(&settings.lateness()) } else { Gate::OPEN },
            settings,
            replays: report.topic.clone(),
            workers: 1,
            commit_every: target.commit_every,
            take_over: false,
            void: replaced,
            hasher: target.hasher.clone(),
            id_rules: target.id_rules.clone(),
            clock: clock.clone(),
        };
        let http = match self.http {
            Some(address) => Some((address, telemetry::install_metrics()?)),
            None => None,
        };
        let (rows, lines, input) = (found.rows, found.lines, input.clone());
        let run = pipeline::start(plan, move |state| {
            let (kafka, known) = (kafka_topic(state), Known::of(state));
            Box::new(move |_, _| match &kafka {
                Some(topic) => Err(SourceError::Refused(format!(
                    "this lake reads the Kafka topic {topic}: import through Kafka (--brokers), so that one log orders all"
                ))),
                None => {
                    let source = FileSource::open(&input, mapping.clone(), &known, clock.clone())?;
                    Ok(Box::new(source.note(rows, lines)) as Box<dyn Source>)
                }
            })
        })?;
        let served = service::serve(&run, http)?;
        let mut told = Told::new();
        let total = found.events_total() + found.dead.total();
        while !run.is_over() {
            std::thread::sleep(LOOK_EVERY);
            let records = run.status.records_all();
            let percent = 100 * records / total.max(1);
            told.tell(
                |per_second| format!("{records} events imported so far, {percent} %, {per_second:.0} a second"),
                records,
            );
        }
        let (status, cuts) = (run.status.clone(), run.cuts.clone());
        let cut = run.wait()?;
        drop(served);
        let [accepted, late, dead] = [Verdict::Ok, Verdict::Late, Verdict::Dead].map(|verdict| status.records(verdict));
        report.written = Some(Written { accepted, late, dead, cut: Some(cut) });
        if !cuts.finished() {
            return Err(interrupted(&target.path()?, report)?.into());
        }
        let nothing = status.records_all() == 0 && report.replaced.is_empty();
        report.outcome = if nothing { Outcome::NothingNew } else { Outcome::Imported };
        Ok(())
    }
}

/// Whether an import is of this very file by this very mapping and was left off midway.
fn resumes(imports: &Imports, topic: &str, input: &Input, identity: &str) -> bool {
    imported::is_the_same(imports, topic, input, identity) && imports.files.get(topic).is_some_and(Held::is_in_part)
}

/// What an interrupted import has done, by what the ledger says now.
fn interrupted(path: &Path, report: &mut Report) -> anyhow::Result<Interrupted> {
    let lake = Lake::read(path)?;
    let imports = waiting(Imports::read(&lake))?;
    let held = report.topic.as_ref().and_then(|topic| imports.files.get(topic));
    let durable = held.and_then(Held::durable_rows).unwrap_or_default();
    report.outcome = Outcome::Interrupted;
    report.durable_rows = Some(u64::try_from(durable).unwrap_or_default());
    let mut message = report.interruption();
    if imports.files.keys().any(|topic| imported::is_pending(&imports, topic)) {
        message += "; what it replaces is declared void, but the views are not made anew yet";
    }
    Ok(Interrupted(format!("{}: {message}", report.file)))
}

/// What a person should know before the file enters: events that count already, and another file of this name.
fn warnings(target: &Target, input: &Input, found: &Survey, replaced: &[String]) -> anyhow::Result<Vec<String>> {
    let imports = &target.imports;
    let voids = imported::voids(imports);
    let counts = |topic: &str| !voids.contains(topic) && !replaced.iter().any(|replaced| replaced == topic);
    let mut shared = Vec::new();
    if let (Some(sample), Some(lake)) = (&found.sample, &target.lake) {
        let mut overlap = Overlap::of(sample);
        waiting(accepted(lake, |row| {
            if counts(&row.topic) && !imported::is_content(&row.topic, input) {
                overlap.look_at(row);
            }
        }))?;
        shared = overlap.told();
    }
    let name = |path: &Path| path.display().to_string();
    let mut warnings: Vec<String> = shared
        .iter()
        .map(|Shared { topic, events, exact }| {
            format!(
                "{} shares {}{events} of {} events with {}, and they count twice. Remedy: an `event_id` column in the \
                 mapping of both, or --replace {}",
                name(input.path()),
                if *exact { "" } else { "about " },
                found.events_total(),
                imported::shown(imports, topic),
                imported::handle(imports, topic),
            )
        })
        .collect();
    for (topic, import) in imported::in_part(imports, input).filter(|(topic, _)| counts(topic)) {
        warnings.push(format!(
            "{} was imported in part: {} of {} rows; import it again to complete it, or --undo {}",
            imported::shown(imports, topic),
            import.durable_rows().unwrap_or_default(),
            import.rows().unwrap_or_default(),
            imported::handle(imports, topic),
        ));
    }
    for topic in imported::namesakes(imports, input) {
        if counts(&topic) && !shared.iter().any(|shared| shared.topic == topic) {
            warnings.push(format!(
                "{} was imported before with other content, as {}, and both count. Where it stands for that one: \
                 --replace {}",
                name(input.path()),
                imported::shown(imports, &topic),
                imported::handle(imports, &topic),
            ));
        }
    }
    Ok(warnings)
}

/// A topic of Kafka that the lake reads: names of other sources have a colon, which Kafka does not allow.
fn kafka_topic(state: &State) -> Option<String> {
    let topics = state.resumes.iter().map(|resume| &resume.partition.topic);
    topics.filter(|topic| !topic.contains(':')).map(|topic| topic.to_string()).next()
}
