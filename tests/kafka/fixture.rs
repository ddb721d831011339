//! A real Apache Kafka for the time of a test run, and what tests do to it. `kafka.sh` fetches, formats and runs it; the
//! broker goes when this process does, however that ends, because it watches our end of its stdin.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use bidstream::ingest::source::kafka::produce::{self, Delivered};
use futures::executor::block_on;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use tempfile::TempDir;

/// How long a test waits for the broker to do something.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

/// A broker with its own ports and data.
pub(crate) struct Kafka {
    port: u16,
    controller_port: u16,
    /// Where it also listens with TLS and logins.
    secure_port: Option<u16>,
    dir: TempDir,
    process: Mutex<Option<Process>>,
}

struct Process {
    script: Child,
    // The script ends the broker when this closes.
    _stdin: ChildStdin,
}

/// The broker that all tests share. Each test uses topics of its own, and none stops it.
pub(crate) fn shared() -> &'static Kafka {
    static SHARED: OnceLock<Kafka> = OnceLock::new();
    SHARED.get_or_init(|| {
        let kafka = Kafka::absent();
        kafka.start();
        kafka
    })
}

impl Kafka {
    /// A broker that does not run yet; its address is already known.
    pub(crate) fn absent() -> Kafka {
        let dir = TempDir::with_prefix("bidstream-kafka-").expect("a temporary directory");
        let [port, controller_port] = free_ports();
        Kafka { port, controller_port, secure_port: None, dir, process: Mutex::new(None) }
    }

    /// A broker that also listens with TLS and logins.
    pub(crate) fn secure() -> Kafka {
        let [port, controller_port, secure_port] = free_ports();
        let dir = TempDir::with_prefix("bidstream-kafka-").expect("a temporary directory");
        let kafka = Kafka { port, controller_port, secure_port: Some(secure_port), dir, process: Mutex::new(None) };
        kafka.start();
        kafka
    }

    /// The address with TLS and logins, and the directory that holds `ca.pem` and `other-ca.pem`.
    pub(crate) fn secure_at(&self) -> (String, &Path) {
        (format!("127.0.0.1:{}", self.secure_port.expect("a secure broker")), self.dir.path())
    }

    /// Starts the broker on what its directory holds, and waits until it answers.
    pub(crate) fn start(&self) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kafka/kafka.sh");
        let mut command = Command::new(&script);
        command.env_remove("KAFKA_SECURE_PORT");
        if let Some(port) = self.secure_port {
            command.env("KAFKA_SECURE_PORT", port.to_string());
        }
        let mut child = command
            .arg("run")
            .args([&self.port.to_string(), &*self.dir.path().to_string_lossy(), &self.controller_port.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", script.display()));
        let stdin = child.stdin.take().expect("a piped stdin");
        let mut said = String::new();
        BufReader::new(child.stdout.take().expect("a piped stdout")).read_line(&mut said).expect("output of kafka.sh");
        assert_eq!(said, "ready\n", "Kafka did not start: see the message of kafka.sh above");
        *self.process.lock().unwrap() = Some(Process { script: child, _stdin: stdin });
    }

    /// Kills the broker without warning.
    pub(crate) fn kill(&self) {
        let pid = std::fs::read_to_string(self.dir.path().join("pid")).expect("the broker's pid");
        let status = Command::new("kill").args(["-9", pid.trim()]).status().expect("kill");
        assert!(status.success(), "no broker to kill");
        let mut process = self.process.lock().unwrap().take().expect("a running broker");
        process.script.wait().expect("kafka.sh");
    }

    /// The address of the broker.
    pub(crate) fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// A new topic with stamps by the log, under a name that no other test has. Returns the name.
    pub(crate) fn topic(&self, name: &str, partitions: i32) -> String {
        static TOPICS: AtomicU32 = AtomicU32::new(0);
        let topic = format!("{name}-{}", TOPICS.fetch_add(1, Ordering::Relaxed));
        self.create(&topic, partitions, &[]);
        topic
    }

    /// Makes a topic; settings beside or in place of stamps by the log.
    pub(crate) fn create(&self, topic: &str, partitions: i32, settings: &[(&str, &str)]) {
        let mut new =
            NewTopic::new(topic, partitions, TopicReplication::Fixed(1)).set("message.timestamp.type", "LogAppendTime");
        for (name, value) in settings {
            new = new.set(name, value);
        }
        let results = block_on(self.admin().create_topics([&new], &options())).expect("an answer");
        results.into_iter().for_each(|result| drop(result.expect("a new topic")));
    }

    /// Deletes a topic.
    pub(crate) fn delete(&self, topic: &str) {
        let results = block_on(self.admin().delete_topics(&[topic], &options())).expect("an answer");
        results.into_iter().for_each(|result| drop(result.expect("a deleted topic")));
    }

    /// Lets a topic have this many partitions.
    pub(crate) fn grow(&self, topic: &str, partitions: usize) {
        let new = NewPartitions::new(topic, partitions);
        let results = block_on(self.admin().create_partitions([&new], &options())).expect("an answer");
        results.into_iter().for_each(|result| drop(result.expect("more partitions")));
    }

    /// Drops all records of a partition before an offset, as retention does.
    pub(crate) fn forget(&self, topic: &str, partition: i32, before: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(before)).expect("a valid offset");
        let done = block_on(self.admin().delete_records(&list, &options())).expect("an answer");
        done.elements().iter().for_each(|element| element.error().expect("records deleted"));
    }

    /// Sends records through the project's own producer, spread over the partitions; returns where they went.
    pub(crate) fn produce(&self, topic: &str, payloads: impl IntoIterator<Item = String>) -> Vec<Delivered> {
        let records = payloads.into_iter().map(|payload| (Some(payload.clone()), payload));
        let none = BTreeMap::new();
        produce::produce(&self.brokers(), &none, topic, 1, records, |_| ()).expect("records delivered")
    }

    /// Sends records to one partition, one batch each, and waits for them.
    pub(crate) fn send(&self, topic: &str, partition: i32, payloads: &[&str]) {
        let producer: BaseProducer = self.client().create().expect("a producer");
        for payload in payloads {
            queue(&producer, topic, partition, payload.as_bytes());
            producer.flush(TIMEOUT).expect("a record delivered");
        }
    }

    /// Sends one record as it is: a key, a value or none, and headers.
    pub(crate) fn send_whole(&self, topic: &str, key: &[u8], value: Option<&[u8]>, headers: &[(&str, &[u8])]) {
        let producer: BaseProducer = self.client().create().expect("a producer");
        let headers = headers
            .iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(*value) }));
        let mut record = BaseRecord::<[u8], [u8]>::to(topic).partition(0).key(key).headers(headers);
        record.payload = value;
        producer.send(record).map_err(|(error, _)| error).expect("room in the queue");
        producer.flush(TIMEOUT).expect("a record delivered");
    }

    /// A transaction that is begun and whose records are in the log, neither committed nor aborted.
    pub(crate) fn open_transaction(
        &self,
        id: &str,
        topic: &str,
        partition: i32,
        payloads: &[impl AsRef<[u8]>],
    ) -> Transaction {
        let mut client = self.client();
        // Longer than any test leaves it open: the broker aborts what is.
        client.set("transactional.id", id).set("transaction.timeout.ms", "300000");
        let producer: BaseProducer = client.create().expect("a producer");
        producer.init_transactions(TIMEOUT).expect("a transactional producer");
        producer.begin_transaction().expect("a transaction");
        for payload in payloads {
            queue(&producer, topic, partition, payload.as_ref());
        }
        producer.flush(TIMEOUT).expect("records delivered");
        Transaction(producer)
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.brokers()).set("message.max.bytes", "8000000");
        config
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client().create().expect("an admin client")
    }
}

/// Ports that nobody listens on, held at once, so that they differ.
fn free_ports<const N: usize>() -> [u16; N] {
    let held = std::array::from_fn::<_, N, _>(|_| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    held.map(|listener| listener.local_addr().expect("a bound port").port())
}

impl Drop for Kafka {
    fn drop(&mut self) {
        if let Some(Process { mut script, _stdin }) = self.process.lock().unwrap().take() {
            drop(_stdin);
            let _gone = script.wait();
        }
    }
}

/// An open transaction.
pub(crate) struct Transaction(BaseProducer);

impl Transaction {
    /// Lets its records count.
    pub(crate) fn commit(self) {
        self.0.commit_transaction(TIMEOUT).expect("a commit");
    }

    /// Takes its records back.
    pub(crate) fn abort(self) {
        self.0.abort_transaction(TIMEOUT).expect("an abort");
    }
}

fn queue(producer: &BaseProducer, topic: &str, partition: i32, payload: &[u8]) {
    let record = BaseRecord::<(), [u8]>::to(topic).partition(partition).payload(payload);
    producer.send(record).map_err(|(error, _)| error).expect("room in the queue");
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(TIMEOUT)).request_timeout(Some(TIMEOUT))
}
