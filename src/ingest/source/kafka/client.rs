//! How the client library is set up, and where its complaints go.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{ClientConfig, ClientContext};

use super::KafkaConfig;
use crate::ingest::source::SourceError;
use crate::job::{Wrong, kafka_client};

/// One warning of a kind in this time; what comes between is counted.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// Settings of every client: where the brokers are, how to reconnect, and what the job adds.
pub(super) fn common(brokers: &str, properties: &BTreeMap<String, String>) -> Result<ClientConfig, SourceError> {
    kafka_client::common(brokers, properties).map_err(refused)
}

/// Settings of the client that reads records.
pub(super) fn reader(properties: &BTreeMap<String, String>, brokers: &str) -> Result<ClientConfig, SourceError> {
    kafka_client::reader(properties, brokers).map_err(refused)
}

fn refused(wrong: Wrong) -> SourceError {
    SourceError::Setup(format!("Kafka property {wrong}"))
}

/// Settings of the client that asks for watermarks. It reads nothing; uncommitted, because it must tell the true end.
pub(super) fn prober(config: &KafkaConfig) -> Result<ClientConfig, SourceError> {
    let mut client = common(&config.brokers, &config.properties)?;
    client.remove("group.id").set("isolation.level", "read_uncommitted");
    Ok(client)
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
