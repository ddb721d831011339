//! `bidstream demo`: generated traffic through the real gate, ledger and dataflow, then five questions.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bidstream::clock::Clock;
use bidstream::ingest::gate::Gate;
use bidstream::ingest::generator::{Generator, GeneratorPlan, GeneratorSource, SEED_DEFAULT, USERS_DEFAULT};
use bidstream::ingest::source::Source;
use bidstream::ingest::source::kafka::KafkaConfig;
use bidstream::ingest::source::kafka::produce::{PARTITIONS_DEFAULT, produce};
use bidstream::job;
use bidstream::lake::Lake;
use bidstream::run::pipeline::{self, Plan, Run};
use bidstream::run::recovery::RECOVERY;
use schemas::Tick;
use schemas::decode::IdRules;
use schemas::table::Verdict;
use schemas::units::DAY_MS;
use schemas::wire::Encoding;

use crate::{run, service, tables};

/// See it work.
#[derive(clap::Args)]
#[command(after_help = "\
The events are generated (seeded, plausible, not real): ten days of history as fast as it goes, then, unless --exit is
given, live traffic until Ctrl-C. Run again on the same lake, it goes on. With --brokers every event goes through that
Kafka first, and arrives now.")]
pub struct Demo {
    /// Events of history.
    #[arg(long, default_value_t = 100_000)]
    events: u64,
    /// Directory of the lake.
    #[arg(long, default_value = "./demo-lake", value_parser = job::lake_directory)]
    lake: PathBuf,
    /// Send the events through this Kafka: host:port, several with commas between.
    #[arg(long)]
    brokers: Option<String>,
    /// The topic of --brokers; made where it is missing.
    #[arg(long, default_value = "bidstream-demo")]
    topic: String,
    /// Exit after the answers, without live traffic.
    #[arg(long)]
    exit: bool,
    /// Worker threads.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    workers: u16,
}

const HISTORY_MS: i64 = 10 * DAY_MS;
const LIVE_PER_SECOND: f64 = 500.0;
const COMMIT_EVERY: Duration = Duration::from_secs(1);
const STATUS_EVERY: Duration = Duration::from_secs(1);
/// The questions and their SQL, each headed by a comment.
const QUESTIONS: &str = include_str!("questions.sql");

impl Demo {
    /// Runs the demo.
    pub fn run(self) -> anyhow::Result<()> {
        let clock = Clock::system();
        let hasher = job::id_hasher(None)?;
        // A lake that is there stays as it was made.
        let lake = Lake::exists(&self.lake).then(|| Lake::read(&self.lake)).transpose()?;
        let lateness = Plan::lateness(None, lake.as_ref());
        let views = lake.map(|lake| lake.settings.views).unwrap_or_default();
        let plan = |workers| Plan {
            lake: self.lake.clone(),
            settings: Plan::settings(&lateness, views.clone(), &hasher),
            gate: Gate::of(&lateness),
            replays: None,
            workers,
            commit_every: COMMIT_EVERY,
            take_over: false,
            void: Vec::new(),
            hasher: hasher.clone(),
            id_rules: IdRules::default(),
            clock: clock.clone(),
        };
        println!("Generated traffic (not real) into the lake {}.", self.lake.display());
        // History first; it ends by itself, so that the questions see all of it.
        self.history(plan(self.workers.into()), &clock)?;
        self.answer()?;
        if !self.exit {
            println!("Live traffic now, {LIVE_PER_SECOND} events a second, until Ctrl-C (--exit leaves here).");
            self.live(plan(self.workers.into()), &clock)?;
        }
        println!("Ask for yourself: bidstream sql --lake {}", self.lake.display());
        Ok(())
    }

    /// Few enough people that some come as far as a purchase: a journey takes twelve events of each.
    fn users(&self) -> u64 {
        (self.events / 25).clamp(20, USERS_DEFAULT)
    }

    fn history(&self, plan: Plan, clock: &Clock) -> anyhow::Result<()> {
        match &self.brokers {
            None => self.finish(self.generate(plan, clock, self.events, None)?),
            Some(brokers) => {
                let mut generator = Generator::new(clock.now_ms() as u64, 0, self.users());
                let records = (0..self.events).map(|index| {
                    let record = generator.record(index, clock.now_ms());
                    (Some(record.key.clone().into_bytes()), record.encode(Encoding::Protobuf))
                });
                let progress = |sent| eprintln!("{sent} of {} events are on their way to Kafka", self.events);
                produce(brokers, &BTreeMap::new(), &self.topic, PARTITIONS_DEFAULT, records, progress)?;
                let run = self.read_topic(plan, brokers)?;
                // The topic is read once as many records came as were sent; then stop.
                self.watch(&run, |run| run.status.records_all() >= self.events && !run.cuts.has_work());
                run.cuts.stop();
                self.finish(run)
            }
        }
    }

    fn live(&self, plan: Plan, clock: &Clock) -> anyhow::Result<()> {
        let run = match &self.brokers {
            None => self.generate(plan, clock, 0, Some(LIVE_PER_SECOND))?,
            Some(brokers) => {
                let run = self.read_topic(plan, brokers)?;
                let (brokers, topic, cuts) = (brokers.clone(), self.topic.clone(), run.cuts.clone());
                let clock = clock.clone();
                std::thread::spawn(move || {
                    let mut generator = Generator::new(clock.now_ms() as u64, 1, USERS_DEFAULT);
                    let started = Instant::now();
                    let records = (0..).map_while(|index| {
                        let due = Duration::from_secs_f64(index as f64 / LIVE_PER_SECOND);
                        std::thread::sleep(due.saturating_sub(started.elapsed()));
                        let record = generator.record(index, clock.now_ms());
                        let record = (Some(record.key.clone().into_bytes()), record.encode(Encoding::Protobuf));
                        (!cuts.stopping()).then_some(record)
                    });
                    if let Err(error) = produce(&brokers, &BTreeMap::new(), &topic, PARTITIONS_DEFAULT, records, |_| {})
                    {
                        tracing::error!(%error, "live traffic stopped");
                    }
                });
                run
            }
        };
        let served = service::serve(&run, None)?;
        self.watch(&run, |_| false);
        drop(served);
        self.finish(run)
    }

    fn generate(&self, plan: Plan, clock: &Clock, history_events: u64, live: Option<f64>) -> anyhow::Result<Run> {
        let clock = clock.clone();
        let generator = GeneratorPlan {
            seed: SEED_DEFAULT,
            users: self.users(),
            history_events,
            history_ms: HISTORY_MS,
            live_per_second: live,
        };
        Ok(pipeline::start(plan, move |state| {
            let (resumes, committed) = (state.resumes.clone(), state.committed.unwrap_or(0));
            Box::new(move |worker, workers| {
                let at = (worker, workers);
                let source = GeneratorSource::new(&generator, at, &resumes, committed, clock.clone());
                Ok(Box::new(source) as Box<dyn Source>)
            })
        })?)
    }

    fn read_topic(&self, plan: Plan, brokers: &str) -> anyhow::Result<Run> {
        let config = KafkaConfig::new(brokers, [(self.topic.clone(), Encoding::Protobuf)]);
        let clock = plan.clock.clone();
        Ok(pipeline::start(plan, move |state| run::sources(config, state, clock))?)
    }

    /// Shows the status line until the run is over or `enough` says so.
    fn watch(&self, run: &Run, enough: impl Fn(&Run) -> bool) {
        let (mut shown, mut records) = (Instant::now(), run.status.records_all());
        while !run.is_over() && !enough(run) {
            std::thread::sleep(Duration::from_millis(50));
            if shown.elapsed() >= STATUS_EVERY {
                let now = run.status.records_all();
                let rate = (now - records) as f64 / shown.elapsed().as_secs_f64();
                (shown, records) = (Instant::now(), now);
                eprintln!("{}", status_line(run, rate));
            }
        }
    }

    fn finish(&self, run: Run) -> anyhow::Result<()> {
        self.watch(&run, |_| false);
        let status = run.status.clone();
        run.wait()?;
        let count = |verdict| status.records(verdict);
        println!(
            "{} records: {} accepted, {} late, {} dead letters; {} rows written.",
            status.records_all(),
            count(Verdict::Ok),
            count(Verdict::Late),
            count(Verdict::Dead),
            status.rows_written()
        );
        Ok(())
    }

    fn answer(&self) -> anyhow::Result<()> {
        for question in QUESTIONS.split_inclusive(';').map(str::trim).filter(|text| !text.is_empty()) {
            let (title, query) = question.split_once('\n').unwrap_or(("", question));
            println!("\n{}", title.trim_start_matches("-- "));
            tables::query(&self.lake, query, &job::id_hasher(None)?)?;
        }
        println!();
        Ok(())
    }
}

fn status_line(run: &Run, rate: f64) -> String {
    let fresh = how_fresh(run.health.reasons().remove(RECOVERY), run.status.freshness_ms(), run.reads.live.tick());
    format!(
        "{rate:>8.0} events/s | {} records | {fresh} | {} rows written",
        run.status.records_all(),
        run.status.rows_written(),
    )
}

/// How far a start has come; else how fresh views are. While history is read, arrivals are of the past: then the time that views have
/// reached says more.
fn how_fresh(recovering: Option<String>, fresh_ms: i64, tick: Option<Tick>) -> String {
    match (recovering, tick) {
        (Some(recovering), _) => recovering,
        (None, None) => "nothing is read yet".to_owned(),
        (None, Some(_)) if fresh_ms < 60_000 => format!("fresh within {fresh_ms} ms"),
        (None, Some(tick)) => format!("views as of {}", time(tick)),
    }
}

fn time(tick: Tick) -> String {
    let time = chrono::DateTime::from_timestamp_millis(tick as i64).unwrap_or_default();
    time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_tells_how_far_it_has_come_before_anything_is_fresh() {
        let loading = "records of earlier runs are being loaded: 7 of 9";
        assert_eq!(how_fresh(Some(loading.to_owned()), 0, None), loading);
        assert_eq!(how_fresh(Some(loading.to_owned()), 0, Some(0)), loading);
        assert_eq!(how_fresh(None, 0, None), "nothing is read yet");
        assert_eq!(how_fresh(None, 12, Some(1)), "fresh within 12 ms");
        assert_eq!(how_fresh(None, 60_000, Some(1_000)), "views as of 1970-01-01T00:00:01Z");
    }
}
