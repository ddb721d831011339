//! Writes records to a topic: for the generator, imports and tests. Nothing of the pipeline's own state passes here.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext, Message};
use schemas::{Id, PayloadHash};
use sha2::{Digest, Sha256};

use super::client::{self, Context};
use crate::ingest::source::SourceError;

/// Partitions of a topic that is made here, unless said otherwise.
pub const PARTITIONS_DEFAULT: i32 = 4;

/// What waits to be sent: beyond it, [`Producer::send`] waits.
const QUEUED_RECORDS_MAX: u32 = 100_000;
const QUEUED_KILOBYTES_MAX: u32 = 64 * 1024;
/// The largest record that is sent; the broker has a limit of its own.
const RECORD_BYTES_MAX: u32 = 64 * 1024 * 1024;
const ADMIN_TIMEOUT: Duration = Duration::from_secs(30);

/// Where a record went, as the broker acknowledged it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Delivered {
    /// Partition of the topic.
    pub partition: i32,
    /// Offset within it.
    pub offset: i64,
    /// The hash of the record's value, as `records` keeps it.
    pub hash: PayloadHash,
}

/// Makes the topic if there is none, with stamps by the log. Whether it was made.
pub fn ensure_topic(
    brokers: &str,
    properties: &BTreeMap<String, String>,
    topic: &str,
    partitions: i32,
) -> Result<bool, SourceError> {
    let failed = |error: &dyn std::fmt::Display| {
        SourceError::Setup(format!("Kafka at {brokers}: topic {topic} could not be created: {error}"))
    };
    let settings = client::common(brokers, properties)?;
    reach(&settings, brokers, topic)?;
    let admin: AdminClient<Context> = client::create(&settings, brokers)?;
    let new =
        NewTopic::new(topic, partitions, TopicReplication::Fixed(-1)).set("message.timestamp.type", "LogAppendTime");
    let options = AdminOptions::new().operation_timeout(Some(ADMIN_TIMEOUT)).request_timeout(Some(ADMIN_TIMEOUT));
    let results = block_on(admin.create_topics([&new], &options)).map_err(|error| failed(&error))?;
    match results.into_iter().next() {
        Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(false),
        Some(Err((_, code))) => Err(failed(&code)),
        _ => Ok(true),
    }
}

/// Waits until the brokers answer. The clients that write do not tell why they do not.
fn reach(settings: &ClientConfig, brokers: &str, topic: &str) -> Result<(), SourceError> {
    const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
    let client: BaseConsumer<Context> = client::create(settings, brokers)?;
    let started = Instant::now();
    loop {
        let Err(error) = client.fetch_metadata(Some(topic), ANSWER_TIMEOUT) else { return Ok(()) };
        client.poll(Duration::ZERO);
        let refusal = client.context().refusal();
        if refusal.is_some() || started.elapsed() >= ADMIN_TIMEOUT {
            let reason = refusal.or_else(|| client.context().take_error());
            let reason = reason.unwrap_or_else(|| error.to_string());
            return Err(SourceError::Setup(format!("Kafka at {brokers} cannot be written to: {reason}")));
        }
    }
}

/// Sends records in order of each partition, each exactly once as far as the broker's idempotence goes.
pub struct Producer {
    producer: ThreadedProducer<Reports>,
    topic: String,
}

impl Producer {
    /// A producer for a topic. With `listed`, it keeps where each record went until it is asked.
    pub fn new(
        brokers: &str,
        properties: &BTreeMap<String, String>,
        topic: &str,
        listed: bool,
    ) -> Result<Producer, SourceError> {
        let mut config = client::common(brokers, properties)?;
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", "5")
            .set("message.max.bytes", RECORD_BYTES_MAX.to_string())
            .set("queue.buffering.max.messages", QUEUED_RECORDS_MAX.to_string())
            .set("queue.buffering.max.kbytes", QUEUED_KILOBYTES_MAX.to_string());
        let reports =
            Reports { list: listed.then(Mutex::default), acknowledged: AtomicU64::new(0), failure: Mutex::default() };
        let producer = config
            .create_with_context(reports)
            .map_err(|error| SourceError::Setup(format!("Kafka at {brokers}: {error}")))?;
        Ok(Producer { producer, topic: topic.to_string() })
    }

    /// Queues a record; waits while the queue is full. Records with the same key go to the same partition.
    pub fn send(&self, key: Option<&[u8]>, payload: &[u8]) -> Result<(), SourceError> {
        const FULL_PAUSE: Duration = Duration::from_millis(1);
        let mut record = BaseRecord::<[u8], [u8]>::to(&self.topic).payload(payload);
        if let Some(key) = key {
            record = record.key(key);
        }
        loop {
            self.reports().check()?;
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    std::thread::sleep(FULL_PAUSE);
                }
                Err((error, _)) => return Err(self.failed(&error)),
            }
        }
    }

    /// Waits until all records are acknowledged.
    pub fn flush(&self, timeout: Duration) -> Result<(), SourceError> {
        self.producer.flush(timeout).map_err(|error| self.failed(&error))?;
        self.reports().check()
    }

    /// How many records the broker has acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.reports().acknowledged.load(Ordering::Relaxed)
    }

    /// Where the records went that were acknowledged since this was last asked; only of a producer that lists them.
    pub fn take_delivered(&self) -> Vec<Delivered> {
        let list = self.reports().list.as_ref();
        list.map(|list| std::mem::take(&mut *list.lock().expect("no holder of this lock panics"))).unwrap_or_default()
    }

    fn reports(&self) -> &Reports {
        self.producer.context()
    }

    fn failed(&self, error: &KafkaError) -> SourceError {
        SourceError::Setup(format!("topic {}: a record could not be sent: {error}", self.topic))
    }
}

/// Sends all records to a topic, which is made if there is none, and waits for the last acknowledgement. `progress` is
/// told the number sent, every so often.
pub fn produce<K: AsRef<[u8]>, P: AsRef<[u8]>>(
    brokers: &str,
    properties: &BTreeMap<String, String>,
    topic: &str,
    partitions: i32,
    records: impl IntoIterator<Item = (Option<K>, P)>,
    mut progress: impl FnMut(u64),
) -> Result<Vec<Delivered>, SourceError> {
    const PROGRESS_EVERY: u64 = 10_000;
    const FLUSH_TIMEOUT: Duration = Duration::from_secs(60);
    ensure_topic(brokers, properties, topic, partitions)?;
    let producer = Producer::new(brokers, properties, topic, true)?;
    let mut delivered = Vec::new();
    let mut sent = 0;
    for (key, payload) in records {
        producer.send(key.as_ref().map(AsRef::as_ref), payload.as_ref())?;
        sent += 1;
        if sent % PROGRESS_EVERY == 0 {
            delivered.append(&mut producer.take_delivered());
            progress(sent);
        }
    }
    producer.flush(FLUSH_TIMEOUT)?;
    delivered.append(&mut producer.take_delivered());
    progress(sent);
    Ok(delivered)
}

struct Reports {
    list: Option<Mutex<Vec<Delivered>>>,
    acknowledged: AtomicU64,
    /// The first record that could not be sent ends it all.
    failure: Mutex<Option<String>>,
}

impl Reports {
    fn check(&self) -> Result<(), SourceError> {
        match &*self.failure.lock().expect("no holder of this lock panics") {
            Some(reason) => Err(SourceError::Setup(reason.clone())),
            None => Ok(()),
        }
    }
}

impl ClientContext for Reports {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!("Kafka: {reason} ({error}); trying again");
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(record) => {
                self.acknowledged.fetch_add(1, Ordering::Relaxed);
                if let Some(list) = &self.list {
                    let hash = payload_hash(record.payload().unwrap_or_default());
                    let delivered = Delivered { partition: record.partition(), offset: record.offset(), hash };
                    list.lock().expect("no holder of this lock panics").push(delivered);
                }
            }
            Err((error, record)) => {
                let reason = format!("topic {}: a record could not be sent: {error}", record.topic());
                self.failure.lock().expect("no holder of this lock panics").get_or_insert(reason);
            }
        }
    }
}

fn payload_hash(payload: &[u8]) -> PayloadHash {
    let digest = Sha256::digest(payload);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    PayloadHash(Id::from_bytes(bytes))
}
