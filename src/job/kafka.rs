//! The part of a job file that says what is read: brokers, topics, how their records are read, and settings of the client.
//!
//! ```yaml
//! source:
//!   kafka:
//!     brokers: kafka.example:9093
//!     topics:
//!       ad-events: protobuf
//!       site-events: json
//!       shop: { encoding: json, framing: confluent }      # records that a schema registry's serializer wrote
//!       orders: { mapping: jobs/mappings/orders.yaml }    # other people's JSON, made events by a mapping
//!     properties: { security.protocol: sasl_ssl, sasl.mechanisms: SCRAM-SHA-512, sasl.username: bidstream, sasl.password: "${KAFKA_PASSWORD}" }
//! ```
//! What a job says here is checked without asking any broker, so that `check` finds what `run` would refuse.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use schemas::wire::Encoding;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::kafka_client::{KAFKA_PROPERTIES_RESERVED, Wrong, check_settings};
use super::located::{ConfigError, Outline};

/// The longest name of a topic that Kafka allows.
pub const TOPIC_NAME_BYTES_MAX: usize = 249;

/// Where records come from: exactly one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub struct Source {
    /// Topics of an Apache Kafka.
    pub kafka: Kafka,
}

/// Topics of an Apache Kafka.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kafka {
    /// Bootstrap servers: `host:port`, several with commas between.
    pub brokers: String,
    /// The topics and how their records are read. At least one.
    pub topics: BTreeMap<String, Topic>,
    /// Further settings of the client library (librdkafka), as `security.protocol`; default: none. Those in
    /// [`KAFKA_PROPERTIES_RESERVED`] are refused.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, String>,
}

/// How the records of a topic are read: `json` or `protobuf` alone, or these fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Topic {
    /// How an event is encoded: `json` (the default where there is a mapping) or `protobuf`.
    pub encoding: Encoding,
    /// What stands around it: `none` (the default) or `confluent`.
    pub framing: Framing,
    /// A mapping (`format: jsonl`) that makes events of other people's JSON; default: records are events already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mapping: Option<PathBuf>,
}

impl Topic {
    /// Records that are events already.
    pub fn of(encoding: Encoding) -> Topic {
        Topic { encoding, framing: Framing::None, mapping: None }
    }
}

/// What stands around an event in a record's value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Framing {
    /// Nothing: the value is the event.
    #[default]
    None,
    /// A zero byte and the four bytes of a schema's id come first, as serializers with a schema registry write them; in
    /// Protobuf also the place of the message in its schema.
    Confluent,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Detailed {
    encoding: Option<Encoding>,
    #[serde(default)]
    framing: Framing,
    mapping: Option<PathBuf>,
}

impl<'de> Deserialize<'de> for Topic {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Topic, D::Error> {
        deserializer.deserialize_any(TopicVisitor)
    }
}

struct TopicVisitor;

impl<'de> Visitor<'de> for TopicVisitor {
    type Value = Topic;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("json, protobuf, { encoding: json, framing: confluent } or { mapping: FILE }")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Topic, E> {
        Encoding::deserialize(serde::de::value::StrDeserializer::new(name)).map(Topic::of)
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Topic, A::Error> {
        let Detailed { encoding, framing, mapping } = Detailed::deserialize(MapAccessDeserializer::new(entries))?;
        let error = <A::Error as serde::de::Error>::custom;
        let encoding = match (encoding, &mapping) {
            (Some(Encoding::Protobuf), Some(_)) => {
                return Err(error("a mapping reads JSON: leave `encoding` out, or write json"));
            }
            (Some(encoding), _) => encoding,
            (None, Some(_)) => Encoding::Json,
            (None, None) => return Err(error("says neither `encoding` (json or protobuf) nor `mapping`")),
        };
        Ok(Topic { encoding, framing, mapping })
    }
}

impl Kafka {
    pub(super) fn validate(&self, outline: &Outline) -> Result<(), ConfigError> {
        check_brokers(&self.brokers).map_err(|message| outline.error("source.kafka.brokers", message))?;
        if self.topics.is_empty() {
            let message = "names no topic: write at least one, as { ad-events: protobuf }";
            return Err(outline.error("source.kafka.topics", message));
        }
        for (name, topic) in &self.topics {
            let field = format!("source.kafka.topics.{name}");
            check_topic(name).map_err(|message| outline.error(&field, message))?;
            if topic.mapping.as_ref().is_some_and(|mapping| mapping.as_os_str().is_empty()) {
                return Err(outline.error(&format!("{field}.mapping"), "is empty: write the name of a mapping file"));
            }
        }
        check_properties(&self.properties).map_err(|Wrong { property, message }| {
            let under = property.map(|name| format!(".{name}")).unwrap_or_default();
            outline.error(&format!("source.kafka.properties{under}"), message)
        })
    }
}

/// Checks bootstrap servers.
fn check_brokers(brokers: &str) -> Result<(), String> {
    for broker in brokers.split(',') {
        let port = broker.trim().rsplit_once(':').and_then(|(host, port)| {
            let port = port.parse::<u16>().ok()?;
            (!host.is_empty() && port > 0).then_some(port)
        });
        if port.is_none() {
            return Err(format!("{broker:?} is no broker: write host:port, several with commas between"));
        }
    }
    Ok(())
}

/// Checks the name of a topic by the rules of Kafka.
fn check_topic(name: &str) -> Result<(), String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if name.is_empty() || name.len() > TOPIC_NAME_BYTES_MAX || matches!(name, "." | "..") || !name.bytes().all(allowed)
    {
        return Err(format!(
            "is no name of a topic: Kafka allows 1 to {TOPIC_NAME_BYTES_MAX} letters, digits, dots, underscores and hyphens"
        ));
    }
    Ok(())
}

/// The ways to log in that the client of this build has.
const MECHANISMS: [&str; 3] = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"];
/// Settings that name a file.
const FILES: [&str; 5] =
    ["ssl.ca.location", "ssl.certificate.location", "ssl.crl.location", "ssl.key.location", "ssl.keystore.location"];

/// Checks settings of the client: those that a job cannot choose, those that contradict each other, files that are not
/// there, and what the client library itself refuses. Asks no broker.
pub fn check_properties(properties: &BTreeMap<String, String>) -> Result<(), Wrong> {
    if let Some(name) = properties.keys().find(|name| KAFKA_PROPERTIES_RESERVED.contains(&name.as_str())) {
        return Err(Wrong::of(name, format!("cannot be chosen, nor can {}", KAFKA_PROPERTIES_RESERVED.join(", "))));
    }
    // Names, values and files first: what they are for is worth nothing where they are wrong.
    for name in FILES {
        let Some(file) = properties.get(name).filter(|file| *file != "probe") else { continue };
        // A directory of certificates is right, too.
        if let Err(error) = std::fs::metadata(file).and_then(|found| match found.is_dir() {
            true => Ok(()),
            false => std::fs::File::open(Path::new(file)).map(|_| ()),
        }) {
            return Err(Wrong::of(name, format!("{file} cannot be read: {error}")));
        }
    }
    check_security(properties)?;
    check_settings(properties)
}

fn check_security(properties: &BTreeMap<String, String>) -> Result<(), Wrong> {
    let get = |name: &str| properties.get(name).map(String::as_str);
    let protocol = get("security.protocol").unwrap_or("plaintext").to_ascii_lowercase();
    if !["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"].contains(&protocol.as_str()) {
        let message = format!("is {protocol:?}: it may be plaintext, ssl, sasl_plaintext or sasl_ssl");
        return Err(Wrong::of("security.protocol", message));
    }
    let without = |prefix: &str, protocols: &str| {
        let name = properties.keys().find(|name| name.starts_with(prefix));
        name.map_or(Ok(()), |name| {
            let message = format!("is not used while security.protocol is {protocol}: set that to {protocols}");
            Err(Wrong::of(name, message))
        })
    };
    if !protocol.starts_with("sasl") {
        without("sasl.", "sasl_ssl (or sasl_plaintext)")?;
    }
    if !protocol.ends_with("ssl") {
        without("ssl.", "ssl or sasl_ssl")?;
        without("enable.ssl.", "ssl or sasl_ssl")?;
    }
    if protocol.starts_with("sasl") {
        let either = ["sasl.mechanisms", "sasl.mechanism"];
        let named = either.into_iter().find(|name| properties.contains_key(*name));
        let (name, mechanism) = named.map_or((either[0], ""), |name| (name, properties[name].as_str()));
        if !MECHANISMS.contains(&mechanism) {
            let what = match mechanism {
                "" => "is missing, and the library's default, GSSAPI, is not in this build".to_owned(),
                "GSSAPI" => "is GSSAPI (Kerberos), which is not in this build".to_owned(),
                "OAUTHBEARER" => "is OAUTHBEARER, whose tokens nothing in this build asks for".to_owned(),
                other => format!("is {other:?}"),
            };
            return Err(Wrong::of(name, format!("{what}: it may be {}", MECHANISMS.join(", "))));
        }
        for name in ["sasl.username", "sasl.password"] {
            if get(name).is_none_or(str::is_empty) {
                return Err(Wrong::of(name, format!("is missing: {mechanism} needs it")));
            }
        }
    }
    Ok(())
}
