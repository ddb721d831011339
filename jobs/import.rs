//! `bidstream import`: a file, by a mapping, into a lake or through Kafka.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::bail;
use bidstream::clock::Clock;
use bidstream::config::{self, COMMIT_EVERY_DEFAULT, Lateness};
use bidstream::gate::Gate;
use bidstream::ledger::{Lake, State};
use bidstream::mapping::{Arrival, Mapping};
use bidstream::pipeline::{self, Plan};
use bidstream::source::file::FileSource;
use bidstream::source::kafka::produce::{PARTITIONS_DEFAULT, Producer, ensure_topic};
use bidstream::source::{Arrived, Payload, Source};
use bidstream::telemetry;
use dataflows::params::Params;
use schemas::decode::IdRules;
use schemas::table::Verdict;

use crate::IdKey;
use crate::produce::{EncodingName, FLUSH_MAX};
use crate::service;

/// Import a file.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  bidstream import clicks.csv --mapping clicks.yaml --lake ./lake
  bidstream import history.parquet --mapping history.yaml --brokers 127.0.0.1:9092 --topic site-events

An import into a lake has no gate: however old a row is, it counts (a mapping with `arrival: event_time` is gated as live
traffic is). Interrupted, it goes on where it was; importing a file again adds nothing. A lake that reads Kafka takes
files through Kafka only.")]
pub struct Import {
    /// CSV, JSONL (both also gzipped) or Parquet.
    file: PathBuf,
    /// How rows become events.
    #[arg(long, value_name = "M.yaml")]
    mapping: PathBuf,
    /// Directory of the lake; made when it is missing.
    #[arg(long, required_unless_present = "brokers", conflicts_with = "brokers")]
    lake: Option<PathBuf>,
    /// Kafka's bootstrap servers: host:port, several with commas between.
    #[arg(long)]
    brokers: Option<String>,
    /// Topic of --brokers; made with stamps by the log where it is missing.
    #[arg(long, default_value = "ad-events")]
    topic: String,
    /// How events are encoded for --brokers.
    #[arg(long, value_enum, default_value_t = EncodingName::Protobuf)]
    encoding: EncodingName,
    /// With --lake: where to serve /metrics, /healthz and /readyz, as 127.0.0.1:9464.
    #[arg(long, value_name = "ADDRESS", requires = "lake")]
    http: Option<SocketAddr>,
    #[command(flatten)]
    id_key: IdKey,
}

const STATUS_EVERY: Duration = Duration::from_secs(1);
/// Records that a poll of the file may hand over on their way to Kafka.
const POLL_RECORDS_MAX: usize = 4_096;

impl Import {
    /// Imports the file.
    pub fn run(self) -> anyhow::Result<()> {
        let mapping = Mapping::read(&self.mapping)?;
        match (&self.lake, &self.brokers) {
            (Some(lake), _) => self.to_lake(lake.clone(), mapping),
            (None, Some(brokers)) => self.through_kafka(brokers, mapping),
            (None, None) => bail!("say where to: --lake DIR or --brokers HOST:PORT"),
        }
    }

    fn to_lake(&self, lake: PathBuf, mapping: Mapping) -> anyhow::Result<()> {
        let (clock, hasher) = (Clock::system(), config::id_hasher(self.id_key.id_key_file.as_deref())?);
        let settings = if Lake::exists(&lake) {
            let made = Lake::read(&lake)?.settings;
            Plan::settings(made.allowed_lateness_ms, made.views, &hasher)
        } else {
            Plan::settings(Lateness::default().ms(), Params::default(), &hasher)
        };
        let gated = mapping.arrival == Arrival::EventTime;
        let gate = Gate { allowed_lateness_ms: settings.allowed_lateness_ms.filter(|_| gated) };
        let commit_every = Duration::from_millis(COMMIT_EVERY_DEFAULT.0 as u64);
        // Read before the lake is claimed: a file that cannot be read is no reason to touch it.
        FileSource::check(&self.file, &mapping)?;
        let replays = Some(FileSource::topic(&self.file)?);
        let plan = Plan {
            lake,
            settings,
            gate,
            replays,
            workers: 1,
            commit_every,
            take_over: false,
            void: Vec::new(),
            hasher,
            id_rules: IdRules::default(),
            clock: clock.clone(),
        };
        let http = match self.http {
            Some(address) => Some((address, telemetry::install_metrics()?)),
            None => None,
        };
        let file = self.file.clone();
        let run = pipeline::start(plan, move |state| {
            let kafka = kafka_topic(state);
            let State { resumes, topic_ids, .. } = state.clone();
            Box::new(move |_, _| match &kafka {
                Some(topic) => Err(bidstream::source::SourceError::Setup(format!(
                    "this lake reads the Kafka topic {topic}: import through Kafka (--brokers), so that one log orders all"
                ))),
                None => {
                    let source = FileSource::open(&file, mapping.clone(), &resumes, &topic_ids, clock.clone())?;
                    Ok(Box::new(source) as Box<dyn Source>)
                }
            })
        })?;
        let served = service::serve(&run, http)?;
        let mut shown = Instant::now();
        while !run.is_over() {
            std::thread::sleep(Duration::from_millis(20));
            if shown.elapsed() >= STATUS_EVERY {
                shown = Instant::now();
                eprintln!("{} events imported so far", run.status.records_all());
            }
        }
        let status = run.status.clone();
        let cut = run.wait()?;
        drop(served);
        println!(
            "{}: {} events, {} late, {} dead letters; durable at cut {cut}.",
            self.file.display(),
            status.records(Verdict::Ok),
            status.records(Verdict::Late),
            status.records(Verdict::Dead),
        );
        if status.records_all() == 0 {
            println!("Nothing new: this file was imported before, or no row matches the mapping.");
        }
        Ok(())
    }

    fn through_kafka(&self, brokers: &str, mapping: Mapping) -> anyhow::Result<()> {
        let properties = Default::default();
        let mut source = FileSource::open(&self.file, mapping, &[], &Default::default(), Clock::system())?;
        ensure_topic(brokers, &properties, &self.topic, PARTITIONS_DEFAULT)?;
        let producer = Producer::new(brokers, &properties, &self.topic, false)?;
        let encoding = self.encoding.into();
        let mut failed = Ok(());
        let mut shown = Instant::now();
        loop {
            let mut send = |arrived: Arrived<'_>| {
                let sent = match arrived.payload {
                    Payload::Row { event: Ok(event), .. } => {
                        let key = [&event.user, &event.device, &event.click_id].into_iter().find(|id| !id.is_empty());
                        producer.send(key.map(|key| key.as_bytes()), &schemas::wire::Encoding::encode(encoding, event))
                    }
                    // A row that is no event goes as it is: it becomes a dead letter there, and is not lost.
                    Payload::Row { event: Err(_), raw, .. } => producer.send(None, raw),
                    Payload::Bytes { bytes, .. } => producer.send(None, bytes),
                };
                if failed.is_ok() {
                    failed = sent;
                }
            };
            let progress = source.poll(u64::MAX, POLL_RECORDS_MAX, &mut send)?;
            std::mem::replace(&mut failed, Ok(()))?;
            if shown.elapsed() >= STATUS_EVERY {
                shown = Instant::now();
                eprintln!("{} records acknowledged so far", producer.acknowledged());
            }
            if progress.finished {
                break;
            }
        }
        producer.flush(FLUSH_MAX)?;
        println!("{}: {} records are in topic {}.", self.file.display(), producer.acknowledged(), self.topic);
        Ok(())
    }
}

/// A topic of Kafka that the lake reads: names of other sources have a colon, which Kafka does not allow.
fn kafka_topic(state: &State) -> Option<String> {
    let topics = state.resumes.iter().map(|resume| &resume.partition.topic);
    topics.filter(|topic| !topic.contains(':')).map(|topic| topic.to_string()).next()
}
