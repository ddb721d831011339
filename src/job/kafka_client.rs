//! How the Kafka client library is set up: our settings, those of a job, and what the library says of both.

use std::collections::BTreeMap;
use std::fmt;

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::{ClientConfig, ClientContext};

/// Settings of the client library on which exactly-once rests, so that a job cannot choose them.
pub const KAFKA_PROPERTIES_RESERVED: [&str; 8] = [
    "auto.offset.reset",
    "bootstrap.servers",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.partition.eof",
    "isolation.level",
    "metadata.broker.list",
    "partition.assignment.strategy",
];

/// What is wrong with the settings of the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The setting; none where it is about several.
    pub property: Option<String>,
    /// What is wrong and what to write.
    pub message: String,
}

impl Wrong {
    /// About one setting.
    pub fn of(property: &str, message: impl Into<String>) -> Wrong {
        Wrong { property: Some(property.to_owned()), message: message.into() }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.property {
            Some(property) => write!(f, "{property}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// What a partition's queue holds back at most. Each partition has a queue of its own, so this is per partition.
const QUEUED_KILOBYTES_MAX: u32 = 8 * 1024;
/// What one answer carries at most for one partition; a single larger record still comes, alone.
const FETCH_PARTITION_BYTES_MAX: u32 = 2 * 1024 * 1024;
/// What one answer carries at most.
const FETCH_BYTES_MAX: u32 = 16 * 1024 * 1024;
/// How long a broker may hold an answer for want of records: so long after the last record its end is known.
const FETCH_WAIT_MS: u32 = 50;
/// How long a full queue is left alone before more is asked for.
const FETCH_AGAIN_MS: u32 = 10;
/// Pauses between attempts to connect: they double from the first to the second.
const RECONNECT_MS: (u32, u32) = (100, 2_000);

/// Settings of every client: where the brokers are, how to reconnect, and what the job adds.
pub fn common(brokers: &str, properties: &BTreeMap<String, String>) -> Result<ClientConfig, Wrong> {
    let mut client = base(brokers);
    add(&mut client, properties)?;
    Ok(client)
}

fn base(brokers: &str) -> ClientConfig {
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", brokers)
        .set("client.id", "bidstream")
        .set("socket.keepalive.enable", "true")
        .set("log.connection.close", "false")
        .set("reconnect.backoff.ms", RECONNECT_MS.0.to_string())
        .set("reconnect.backoff.max.ms", RECONNECT_MS.1.to_string());
    client
}

/// Adds what a job says. (Settings are never copied from one `ClientConfig` to another: it hands passwords out masked.)
fn add(client: &mut ClientConfig, properties: &BTreeMap<String, String>) -> Result<(), Wrong> {
    // Our OpenSSL is linked in and does not know where this system keeps its certificates: the library looks around.
    if properties.get("security.protocol").is_some_and(|protocol| protocol.to_ascii_lowercase().ends_with("ssl"))
        && !properties.contains_key("ssl.ca.pem")
    {
        client.set("ssl.ca.location", "probe");
    }
    for (name, value) in properties {
        if KAFKA_PROPERTIES_RESERVED.contains(&name.as_str()) {
            return Err(Wrong::of(name, "is set by Bidstream and cannot be changed"));
        }
        client.set(name, value);
    }
    Ok(())
}

/// Settings of the client that reads records.
pub fn reader(properties: &BTreeMap<String, String>, brokers: &str) -> Result<ClientConfig, Wrong> {
    let mut client = base(brokers);
    client
        // Only so that the library lets us assign partitions: no group is ever joined, nothing is committed to it.
        .set("group.id", "bidstream")
        .set("check.crcs", "true")
        .set("queued.max.messages.kbytes", QUEUED_KILOBYTES_MAX.to_string())
        .set("fetch.message.max.bytes", FETCH_PARTITION_BYTES_MAX.to_string())
        .set("fetch.max.bytes", FETCH_BYTES_MAX.to_string())
        .set("fetch.wait.max.ms", FETCH_WAIT_MS.to_string())
        .set("fetch.queue.backoff.ms", FETCH_AGAIN_MS.to_string());
    add(&mut client, properties)?;
    client
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "error");
    Ok(client)
}

/// What the library logs of settings that are only tried is in the error.
struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, _: KafkaError, _: &str) {}
}

impl ConsumerContext for Quiet {}

/// What the library itself refuses in the settings of a job. It knows no broker meanwhile, so that it asks none.
pub fn check_settings(properties: &BTreeMap<String, String>) -> Result<(), Wrong> {
    let mut config = reader(properties, "")?;
    config.remove("bootstrap.servers");
    match config.create_with_context::<Quiet, BaseConsumer<Quiet>>(Quiet) {
        Ok(_) => Ok(()),
        Err(KafkaError::ClientConfig(_, message, name, _)) if properties.contains_key(&name) => {
            // It ends like a sentence, and ours go on.
            Err(Wrong::of(&name, message.trim_end_matches(['.', ' '])))
        }
        Err(KafkaError::ClientConfig(_, message, ..) | KafkaError::ClientCreation(message)) => {
            Err(Wrong { property: None, message: format!("are refused by the client library: {message}") })
        }
        Err(error) => Err(Wrong { property: None, message: format!("are refused by the client library: {error}") }),
    }
}
