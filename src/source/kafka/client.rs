//! How the client library is set up, and where its complaints go.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{ClientConfig, ClientContext};

use super::KafkaConfig;
use crate::config::{KAFKA_PROPERTIES_RESERVED, Wrong};
use crate::source::SourceError;

/// One warning of a kind in this time; what comes between is counted.
const WARN_EVERY: Duration = Duration::from_secs(10);

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
pub(super) fn common(brokers: &str, properties: &BTreeMap<String, String>) -> Result<ClientConfig, SourceError> {
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
fn add(client: &mut ClientConfig, properties: &BTreeMap<String, String>) -> Result<(), SourceError> {
    // Our OpenSSL is linked in and does not know where this system keeps its certificates: the library looks around.
    if properties.get("security.protocol").is_some_and(|protocol| protocol.to_ascii_lowercase().ends_with("ssl"))
        && !properties.contains_key("ssl.ca.pem")
    {
        client.set("ssl.ca.location", "probe");
    }
    for (name, value) in properties {
        if KAFKA_PROPERTIES_RESERVED.contains(&name.as_str()) {
            return Err(SourceError::Setup(format!("Kafka property {name} is set by Bidstream and cannot be changed")));
        }
        client.set(name, value);
    }
    Ok(())
}

/// Settings of the client that reads records.
pub(super) fn reader(properties: &BTreeMap<String, String>, brokers: &str) -> Result<ClientConfig, SourceError> {
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

/// Settings of the client that asks for watermarks. It reads nothing; uncommitted, because it must tell the true end.
pub(super) fn prober(config: &KafkaConfig) -> Result<ClientConfig, SourceError> {
    let mut client = common(&config.brokers, &config.properties)?;
    client.remove("group.id").set("isolation.level", "read_uncommitted");
    Ok(client)
}

/// What the library itself refuses in the settings of a job. It knows no broker meanwhile, so that it asks none.
pub fn check_settings(properties: &BTreeMap<String, String>) -> Result<(), Wrong> {
    let mut config = reader(properties, "").map_err(|error| Wrong { property: None, message: error.to_string() })?;
    config.remove("bootstrap.servers");
    let context = Context::new("");
    match config.create_with_context::<Context, BaseConsumer<Context>>(context) {
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

/// A client with a context of its own, or the reason why the library refuses the settings.
pub(super) fn create<T: rdkafka::config::FromClientConfigAndContext<Context>>(
    config: &ClientConfig,
    brokers: &str,
) -> Result<T, SourceError> {
    let context = Context::new(brokers);
    config.create_with_context(context).map_err(|error| SourceError::Setup(format!("Kafka at {brokers}: {error}")))
}

/// Receives what a client has to say.
pub(super) struct Context {
    brokers: String,
    last_error: Mutex<Option<String>>,
    /// When the brokers last let this client in no further, and why.
    refusal: Mutex<Option<(Instant, String)>>,
    limit: Limit,
}

/// How long a refusal counts: clients that are refused try again every few seconds.
const REFUSAL_FRESH: Duration = Duration::from_secs(30);

impl Context {
    fn new(brokers: &str) -> Context {
        let (last_error, refusal) = (Mutex::default(), Mutex::default());
        Context { brokers: brokers.to_owned(), last_error, refusal, limit: Limit::default() }
    }

    /// Takes note where an error says that the client may not come in or may not read: other clients with the same
    /// settings may fare better, so that nothing else would tell.
    pub(super) fn note_refusal(&self, code: Option<RDKafkaErrorCode>, reason: &str) {
        let refused = matches!(
            code,
            Some(
                RDKafkaErrorCode::Authentication
                    | RDKafkaErrorCode::SSL
                    | RDKafkaErrorCode::SaslAuthenticationFailed
                    | RDKafkaErrorCode::TopicAuthorizationFailed
                    | RDKafkaErrorCode::GroupAuthorizationFailed
                    | RDKafkaErrorCode::ClusterAuthorizationFailed
            )
        );
        if refused {
            let mut refusal = self.refusal.lock().expect("no holder of this lock panics");
            *refusal = Some((Instant::now(), reason.to_owned()));
        }
    }

    /// Why the brokers refuse this client, where they do.
    pub(super) fn refusal(&self) -> Option<String> {
        let refusal = self.refusal.lock().expect("no holder of this lock panics");
        refusal.as_ref().filter(|(at, _)| at.elapsed() < REFUSAL_FRESH).map(|(_, reason)| reason.clone())
    }

    /// The last error of the client, until it is taken.
    pub(super) fn take_error(&self) -> Option<String> {
        self.last_error.lock().expect("no holder of this lock panics").take()
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // What matters of errors also comes to `error`, so the library's own lines are for those who look for them.
        match level {
            RDKafkaLogLevel::Warning => tracing::warn!(facility, "librdkafka: {message}"),
            _ => tracing::debug!(facility, "librdkafka: {message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // The end of a partition comes by the same way, and is none.
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF) {
            return;
        }
        self.note_refusal(error.rdkafka_error_code(), reason);
        if let Some(left_out) = self.limit.pass() {
            tracing::warn!(brokers = %self.brokers, left_out, "Kafka: {reason} ({error}); trying again");
        }
        *self.last_error.lock().expect("no holder of this lock panics") = Some(reason.to_string());
    }
}

impl ConsumerContext for Context {}

/// Lets one message in a while through.
#[derive(Default)]
pub(super) struct Limit(Mutex<(Option<Instant>, u64)>);

impl Limit {
    /// Whether to speak now; if so, how many were left out since the last.
    pub(super) fn pass(&self) -> Option<u64> {
        let mut state = self.0.lock().expect("no holder of this lock panics");
        if state.0.is_some_and(|last| last.elapsed() < WARN_EVERY) {
            state.1 += 1;
            return None;
        }
        state.0 = Some(Instant::now());
        Some(std::mem::take(&mut state.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_reach_the_client_as_they_are() {
        let properties = [
            ("security.protocol", "sasl_ssl"),
            ("sasl.mechanisms", "PLAIN"),
            ("sasl.username", "u"),
            ("sasl.password", "p"),
            ("ssl.key.password", "k"),
        ];
        let properties = properties.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let mut config = KafkaConfig::new("127.0.0.1:1", []);
        config.properties = properties;
        for client in [reader(&config.properties, &config.brokers).unwrap(), prober(&config).unwrap()] {
            assert_eq!((client.get("sasl.password"), client.get("ssl.key.password")), (Some("p"), Some("k")));
            assert_eq!(client.get("ssl.ca.location"), Some("probe"));
        }
    }

    #[test]
    fn a_client_that_is_let_in_no_further_says_so() {
        let context = Context::new("b");
        context.error(KafkaError::Global(RDKafkaErrorCode::AllBrokersDown), "down");
        assert_eq!(context.refusal(), None, "brokers come and go");
        context.error(KafkaError::Global(RDKafkaErrorCode::Authentication), "wrong password");
        assert_eq!(context.refusal().as_deref(), Some("wrong password"));
    }
}
