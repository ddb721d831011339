//! Asks the brokers, in a thread of its own, what the reading client does not tell: ids and partition counts of topics,
//! and the first and next offset of each partition. Questions block; the source must not.

use std::collections::HashMap;
use std::ffi::CString;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};

use super::client::{self, Context, Limit};
use super::topic_id::{self, Described};
use super::{KafkaConfig, Timing};
use crate::ingest::source::SourceError;

/// How long one question may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// The shortest pause between two rounds, however often someone asks for one.
const PAUSE_MIN: Duration = Duration::from_millis(50);

/// The bounds of a partition, as its leader told them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    /// When the question was put.
    pub asked: Instant,
    /// The first offset that the log has.
    pub low: i64,
    /// The offset that the next record gets: the high watermark.
    pub high: i64,
}

/// What is known of a topic.
#[derive(Clone, Debug, Default)]
pub(super) struct TopicFinding {
    /// When the brokers were last asked with success.
    pub asked: Option<Instant>,
    /// What they said.
    pub described: Option<Described>,
    /// Since when they say, answer after answer, that there is no such topic.
    missing_since: Option<Instant>,
}

impl TopicFinding {
    /// Takes in what the brokers said when asked at `asked`.
    fn told(&mut self, asked: Instant, described: Option<Described>) {
        self.asked = Some(asked);
        match described {
            Some(described) => {
                self.described = Some(described);
                self.missing_since = None;
            }
            None => {
                self.missing_since.get_or_insert(asked);
            }
        }
    }

    /// Nobody answered: whether the topic is still missing is unknown.
    fn untold(&mut self) {
        self.missing_since = None;
    }

    /// How long the brokers have been saying, answer after answer, that there is no such topic.
    pub(super) fn missing_for(&self) -> Option<Duration> {
        Some(self.asked?.saturating_duration_since(self.missing_since?))
    }
}

/// What the brokers have said until now.
#[derive(Default)]
pub(super) struct Findings {
    /// By place of the topic in the source.
    pub topics: Vec<TopicFinding>,
    /// By place of the topic, and partition.
    pub answers: HashMap<(usize, i32), Answer>,
    /// Whether the last round got all its answers.
    pub connected: bool,
    /// Why not.
    pub error: Option<String>,
}

/// A thread that asks. It ends when this is dropped (soon after: an open question is waited for).
pub(super) struct Prober {
    shared: Arc<Shared>,
}

struct Shared {
    findings: Mutex<Findings>,
    /// Counts rounds, so that the source looks only when there is something new.
    round: AtomicU64,
    stop: AtomicBool,
    suspects: Mutex<bool>,
    wake: Condvar,
}

impl Prober {
    /// Starts asking about `topics`, and those of their partitions that `mine` picks.
    pub(super) fn start(
        config: &KafkaConfig,
        mine: impl Fn(usize, i32) -> bool + Send + 'static,
    ) -> Result<Prober, SourceError> {
        let names: Vec<String> = config.topics.keys().cloned().collect();
        let c_names = names
            .iter()
            .map(|name| CString::new(name.as_str()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| SourceError::Setup("a topic's name holds a zero byte".into()))?;
        let client: BaseConsumer<Context> = client::create(&client::prober(config)?, &config.brokers)?;
        let shared = Arc::new(Shared {
            findings: Mutex::new(Findings {
                topics: vec![TopicFinding::default(); names.len()],
                ..Findings::default()
            }),
            round: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            suspects: Mutex::new(false),
            wake: Condvar::new(),
        });
        let asker = Asker {
            client,
            names,
            c_names,
            brokers: config.brokers.clone(),
            timing: config.timing,
            shared: shared.clone(),
            limit: Limit::default(),
        };
        std::thread::Builder::new()
            .name("kafka-prober".into())
            .spawn(move || asker.run(mine))
            .map_err(|error| SourceError::Setup(format!("no thread for the Kafka prober: {error}")))?;
        Ok(Prober { shared })
    }

    /// How many rounds of questions were answered or given up.
    pub(super) fn round(&self) -> u64 {
        self.shared.round.load(Ordering::Acquire)
    }

    /// What is known.
    pub(super) fn findings(&self) -> MutexGuard<'_, Findings> {
        self.shared.findings.lock().expect("no holder of this lock panics")
    }

    /// Asks everything again now: something is strange.
    pub(super) fn suspect(&self) {
        *self.shared.suspects.lock().expect("no holder of this lock panics") = true;
        self.shared.wake.notify_one();
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.wake.notify_one();
    }
}

struct Asker {
    client: BaseConsumer<Context>,
    names: Vec<String>,
    c_names: Vec<CString>,
    brokers: String,
    timing: Timing,
    shared: Arc<Shared>,
    limit: Limit,
}

impl Asker {
    fn run(self, mine: impl Fn(usize, i32) -> bool) {
        let mut described_at: Option<Instant> = None;
        let mut connected = None;
        let mut detail = None;
        while !self.shared.stop.load(Ordering::Acquire) {
            let suspicious = std::mem::take(&mut *self.shared.suspects.lock().expect("no holder of this lock panics"));
            let due = described_at.is_none_or(|at| at.elapsed() >= self.timing.metadata_every);
            let mut error = None;
            if suspicious || due {
                match self.describe() {
                    // A topic that is missing is asked for again at the next round.
                    Ok(all_there) => described_at = all_there.then(Instant::now),
                    Err(reason) => {
                        self.findings().topics.iter_mut().for_each(TopicFinding::untold);
                        error = Some(reason);
                    }
                }
            }
            // Where nobody describes topics, nobody tells offsets either.
            if error.is_none() {
                error = self.ask_offsets(&mine);
                // A partition that does not answer may belong to a topic that went.
                if error.is_some() {
                    described_at = None;
                }
            }
            self.serve_events();
            // The client tells once why it cannot connect, and then only tries again.
            // That it was refused says more than what it tells later, that no broker is left.
            let context = self.client.context();
            let told = context.take_error();
            detail = context.refusal().or(told).or(detail).filter(|_| error.is_some());
            self.tell(
                &mut connected,
                error.map(|reason| match &detail {
                    Some(detail) => format!("{reason} ({detail})"),
                    None => reason,
                }),
            );
            self.pause();
        }
    }

    /// Asks for ids and partition counts. Whether all topics are there.
    fn describe(&self) -> Result<bool, String> {
        let asked = Instant::now();
        let described = topic_id::describe(self.client.client(), &self.c_names, ANSWER_TIMEOUT)?;
        let all_there = described.iter().all(Option::is_some);
        let mut findings = self.findings();
        for (finding, described) in findings.topics.iter_mut().zip(described) {
            finding.told(asked, described);
        }
        Ok(all_there)
    }

    /// Asks each partition for its bounds; the last failure, if any.
    fn ask_offsets(&self, mine: &impl Fn(usize, i32) -> bool) -> Option<String> {
        let counts: Vec<i32> = {
            let findings = self.findings();
            findings.topics.iter().map(|topic| topic.described.as_ref().map_or(0, |found| found.partitions)).collect()
        };
        let mut error = None;
        for (topic, &count) in counts.iter().enumerate() {
            for partition in (0..count).filter(|&partition| mine(topic, partition)) {
                if self.shared.stop.load(Ordering::Acquire) {
                    return error;
                }
                let asked = Instant::now();
                match self.client.fetch_watermarks(&self.names[topic], partition, ANSWER_TIMEOUT) {
                    Ok((low, high)) => {
                        self.findings().answers.insert((topic, partition), Answer { asked, low, high });
                    }
                    Err(reason) => error = Some(format!("topic {} partition {partition}: {reason}", self.names[topic])),
                }
            }
        }
        error
    }

    /// Hands the library's events to the context.
    fn serve_events(&self) {
        const EVENTS_MAX: usize = 100;
        for _ in 0..EVENTS_MAX {
            if self.client.poll(Duration::ZERO).is_none() {
                break;
            }
        }
    }

    /// Makes a round known, and says so when the brokers go or come.
    fn tell(&self, connected: &mut Option<bool>, error: Option<String>) {
        let now_connected = error.is_none();
        if let Some(reason) = &error {
            if let Some(left_out) = self.limit.pass() {
                tracing::warn!(brokers = %self.brokers, left_out, "Kafka does not answer: {reason}; trying again");
            }
        } else if *connected != Some(true) {
            tracing::info!(brokers = %self.brokers, "Kafka answers");
        }
        *connected = Some(now_connected);
        {
            let mut findings = self.findings();
            findings.connected = now_connected;
            findings.error = error;
        }
        self.shared.round.fetch_add(1, Ordering::Release);
    }

    fn pause(&self) {
        std::thread::sleep(PAUSE_MIN);
        let suspects = self.shared.suspects.lock().expect("no holder of this lock panics");
        let stop = || self.shared.stop.load(Ordering::Acquire);
        let _unused = self
            .shared
            .wake
            .wait_timeout_while(suspects, self.timing.probe_every, |suspects| !*suspects && !stop())
            .expect("no holder of this lock panics");
    }

    fn findings(&self) -> MutexGuard<'_, Findings> {
        self.shared.findings.lock().expect("no holder of this lock panics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_missing_only_while_the_brokers_say_so() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut finding = TopicFinding::default();
        assert_eq!(finding.missing_for(), None);
        finding.told(at(0), None);
        assert_eq!(finding.missing_for(), Some(Duration::ZERO));
        finding.told(at(5), None);
        assert_eq!(finding.missing_for(), Some(Duration::from_secs(5)));
        // The brokers go away for an hour; what they say then counts anew.
        finding.untold();
        assert_eq!(finding.missing_for(), None);
        finding.told(at(3_600), None);
        assert_eq!(finding.missing_for(), Some(Duration::ZERO));
        finding.told(at(3_602), Some(Described { id: "id".into(), partitions: 1 }));
        assert_eq!(finding.missing_for(), None);
    }
}
