//! `bidstream generate`: generated events to a Kafka topic.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use bidstream::clock::Clock;
use bidstream::ingest::generator::{Generator, SEED_DEFAULT, Traffic, USERS_DEFAULT};
use bidstream::ingest::source::kafka::produce::{Delivered, PARTITIONS_DEFAULT, Producer, ensure_topic};
use bidstream::job::{ConfigError, check_properties, environment};
use clap::ValueEnum;
use schemas::wire::Encoding;

use crate::service;

/// Produce generated events.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  bidstream generate --events 1000000 --brokers 127.0.0.1:9092
  bidstream generate --events 60000 --rate 1000 --topic site-events --encoding json --brokers 127.0.0.1:9092

SIGTERM or Ctrl-C ends it early: what was sent is waited for.")]
pub struct Generate {
    /// Number of records.
    #[arg(long)]
    events: u64,
    /// Kafka's bootstrap servers: host:port, several with commas between.
    #[arg(long)]
    brokers: String,
    #[command(flatten)]
    properties: Properties,
    /// Topic; made with stamps by the log where it is missing.
    #[arg(long, default_value = "ad-events")]
    topic: String,
    /// Partitions of a topic that is made.
    #[arg(long, default_value_t = PARTITIONS_DEFAULT)]
    partitions: i32,
    /// How events are encoded.
    #[arg(long, value_enum, default_value_t = EncodingName::Protobuf)]
    encoding: EncodingName,
    /// Records a second; as fast as possible unless given.
    #[arg(long)]
    rate: Option<f64>,
    /// Another seed gives other events; the same gives the same events (but for their times).
    #[arg(long, default_value_t = SEED_DEFAULT)]
    seed: u64,
    /// Number of people.
    #[arg(long, default_value_t = USERS_DEFAULT)]
    users: u64,
    /// What the stream is made of.
    #[arg(long, value_enum, default_value_t = TrafficName::Journeys)]
    traffic: TrafficName,
    /// Write where each record went, as lines of partition,offset,payload_hash.
    #[arg(long, value_name = "FILE")]
    delivered: Option<PathBuf>,
}

/// Settings of the Kafka client, for what needs no job file.
#[derive(clap::Args)]
pub struct Properties {
    /// Setting of the Kafka client for --brokers, as security.protocol=ssl; may be repeated. ${VAR} in a value is a variable
    /// of the environment: in single quotes, so that a password is on no command line.
    #[arg(long = "property", value_name = "NAME=VALUE", value_parser = property)]
    properties: Vec<(String, String)>,
}

fn property(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("is no setting: write NAME=VALUE")?;
    Ok((name.to_owned(), environment::expand(value, &environment::of_process)?))
}

impl Properties {
    /// The settings, if the client takes them.
    pub fn checked(&self) -> Result<BTreeMap<String, String>, ConfigError> {
        let properties = self.properties.iter().cloned().collect();
        check_properties(&properties).map_err(|wrong| ConfigError::of_file(Path::new("--property"), wrong))?;
        Ok(properties)
    }
}

/// The encodings by name.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum EncodingName {
    /// One JSON object a record.
    Json,
    /// One `bidstream.v1.Event` a record.
    Protobuf,
}

impl From<EncodingName> for Encoding {
    fn from(name: EncodingName) -> Encoding {
        match name {
            EncodingName::Json => Encoding::Json,
            EncodingName::Protobuf => Encoding::Protobuf,
        }
    }
}

/// Kinds of traffic by name.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum TrafficName {
    /// People's journeys, with copies, late and malformed records.
    Journeys,
    /// An even load to measure with: 98 % touches, 2 % installs and conversions.
    Flat,
}

impl From<TrafficName> for Traffic {
    fn from(name: TrafficName) -> Traffic {
        match name {
            TrafficName::Journeys => Traffic::Journeys,
            TrafficName::Flat => Traffic::Flat,
        }
    }
}

/// How often progress is told.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// How long the broker may take for what is still on its way at the end.
pub const FLUSH_MAX: Duration = Duration::from_secs(60);
/// A shorter sleep costs more than it is worth.
const SLEEP_MIN: Duration = Duration::from_millis(1);
/// Records between two looks at the time and at what was delivered.
const BATCH: u64 = 500;

impl Generate {
    /// Produces the events.
    pub fn run(self) -> anyhow::Result<()> {
        let mut list = match &self.delivered {
            Some(path) => {
                let file = std::fs::File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
                Some(std::io::BufWriter::new(file))
            }
            None => None,
        };
        let properties = self.properties.checked()?;
        ensure_topic(&self.brokers, &properties, &self.topic, self.partitions)?;
        let producer = Producer::new(&self.brokers, &properties, &self.topic, list.is_some())?;
        let mut generator = Generator::new(self.seed, 0, self.users).with(self.traffic.into());
        let (clock, started, mut told) = (Clock::system(), Instant::now(), Instant::now());
        let stopping = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&stopping);
        let _signals = service::on_signal(move || stop.store(true, Ordering::SeqCst))?;
        for index in 0..self.events {
            if stopping.load(Ordering::SeqCst) {
                break;
            }
            let record = generator.record(index, clock.now_ms());
            let key = (!record.key.is_empty()).then_some(record.key.as_bytes());
            producer.send(key, &record.encode(self.encoding.into()))?;
            if index % BATCH == 0 {
                note(&producer, &mut list)?;
            }
            if told.elapsed() >= PROGRESS_EVERY {
                told = Instant::now();
                let rate = index as f64 / started.elapsed().as_secs_f64();
                eprintln!("{index} of {} records sent, {rate:.0} a second", self.events);
            }
            if let Some(rate) = self.rate {
                let due = Duration::from_secs_f64((index + 1) as f64 / rate);
                let ahead = due.saturating_sub(started.elapsed());
                if ahead >= SLEEP_MIN {
                    std::thread::sleep(ahead);
                }
            }
        }
        producer.flush(FLUSH_MAX)?;
        note(&producer, &mut list)?;
        eprintln!("{} records are in topic {}", producer.acknowledged(), self.topic);
        Ok(())
    }
}

fn note(producer: &Producer, list: &mut Option<impl Write>) -> anyhow::Result<()> {
    let Some(file) = list else { return Ok(()) };
    for Delivered { partition, offset, hash } in producer.take_delivered() {
        let hex: String = hash.0.to_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(file, "{partition},{offset},{hex}")?;
    }
    file.flush()?;
    Ok(())
}
