//! Reads the queues of a worker's partitions in turns, and asks the client where it stands.

use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Timestamp;
use rdkafka::{Message, Offset};

use super::{KafkaSource, POLL_BYTES_MAX, Partition, value};
use crate::ingest::source::{Arrived, SourceError};

/// So many records of a partition are taken at a time, so that partitions move together.
const TURN_RECORDS: usize = 256;

/// The client's position is asked for at most so often. It tells of offsets without records.
const POSITION_EVERY: Duration = Duration::from_millis(10);

/// What a poll has handed over so far.
#[derive(Default)]
pub(super) struct Handed {
    /// Records.
    pub records: usize,
    bytes: usize,
    /// Whether the position of some partition may have moved without a record.
    pub moved: bool,
}

impl KafkaSource {
    /// Hands records over, in turns, until there are `records_max` or [`POLL_BYTES_MAX`], or none waits.
    pub(super) fn read(
        &mut self,
        ahead_ms: i64,
        now_ms: i64,
        records_max: usize,
        each: &mut dyn FnMut(Arrived<'_>),
    ) -> Result<Handed, SourceError> {
        let count = self.partitions.len();
        let mut handed = Handed::default();
        let mut idle_turns = 0;
        for partition in &mut self.partitions {
            partition.follow.drained = partition.queue.is_none();
        }
        while handed.records < records_max && handed.bytes < POLL_BYTES_MAX && idle_turns < count {
            let index = self.turn % count;
            self.turn = (index + 1) % count;
            let before = handed.records;
            self.read_turn(index, ahead_ms, now_ms, records_max, &mut handed, each)?;
            idle_turns = if handed.records == before { idle_turns + 1 } else { 0 };
        }
        Ok(handed)
    }

    /// Hands over some records of one partition.
    fn read_turn(
        &mut self,
        index: usize,
        ahead_ms: i64,
        now_ms: i64,
        records_max: usize,
        handed: &mut Handed,
        each: &mut dyn FnMut(Arrived<'_>),
    ) -> Result<(), SourceError> {
        let Partition { topic, number, follow, queue: Some(queue), refused, .. } = &mut self.partitions[index] else {
            return Ok(());
        };
        let topic = &mut self.topics[*topic];
        let turn_end = records_max.min(handed.records + TURN_RECORDS);
        while handed.records < turn_end && handed.bytes < POLL_BYTES_MAX && follow.last_ms(now_ms) <= ahead_ms {
            match queue.poll(Duration::ZERO) {
                None => {
                    follow.drained = true;
                    handed.moved |= follow.answer.is_some_and(|answer| follow.position < answer.high);
                    break;
                }
                Some(Ok(record)) => {
                    let stamp_ms = match record.timestamp() {
                        Timestamp::LogAppendTime(ms) if ms >= 0 => Some(ms),
                        _ => None,
                    };
                    if stamp_ms.is_none() && !std::mem::replace(&mut topic.warned_of_create_time, true) {
                        tracing::warn!(topic = %topic.name, "records carry no LogAppendTime: they arrive when they are \
                             read, so an outage of this job makes them look late; set \
                             message.timestamp.type=LogAppendTime");
                    }
                    let arrival = follow.arrive(record.offset(), stamp_ms, self.tick_ms, now_ms);
                    let (_, committed_ms) = self.origin;
                    if committed_ms == 0 {
                        self.shared.arrived(arrival.ms);
                    }
                    if arrival.raised {
                        self.raised += 1;
                        if let Some(left_out) = self.raised_limit.pass() {
                            tracing::error!(topic = %topic.name, partition = *number, offset = record.offset(), left_out,
                                "a record came more than an hour behind the tick; its arrival is raised. Look for a \
                                 hanging transaction or a broker with a wrong clock");
                        }
                    }
                    let (offset, arrival_ms) = (record.offset(), arrival.ms);
                    value::hand_over(&record, &topic.reading, &mut self.scratch, |payload| {
                        each(Arrived { partition: index, offset, arrival_ms, payload });
                    });
                    handed.records += 1;
                    handed.bytes += record.payload_len();
                }
                Some(Err(KafkaError::PartitionEOF(_))) => {
                    follow.ended = true;
                    handed.moved = true;
                }
                Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
                    return Err(SourceError::Setup(format!("topic {} partition {number}: {code}", topic.name)));
                }
                Some(Err(error)) => {
                    // The client stands still after these; whether offsets are gone, the next answer tells.
                    let stands = matches!(
                        error.rdkafka_error_code(),
                        Some(
                            RDKafkaErrorCode::AutoOffsetReset
                                | RDKafkaErrorCode::OffsetOutOfRange
                                | RDKafkaErrorCode::NoOffset
                                | RDKafkaErrorCode::LogTruncation
                        )
                    );
                    self.consumer.context().note_refusal(error.rdkafka_error_code(), &error.to_string());
                    if stands {
                        *refused = Some(Instant::now());
                    }
                    self.last_error = Some(format!("topic {} partition {number}: {error}", topic.name));
                    self.prober.suspect();
                }
            }
        }
        Ok(())
    }

    /// Asks the client for its positions: they move past control records and aborted transactions, too.
    pub(super) fn ask_positions(&mut self) {
        if self.positions_asked.elapsed() < POSITION_EVERY {
            return;
        }
        self.positions_asked = Instant::now();
        let Ok(positions) = self.consumer.position() else { return };
        for element in positions.elements() {
            let Offset::Offset(position) = element.offset() else { continue };
            let topics = &self.topics;
            let mut mine = self.partitions.iter_mut();
            if let Some(Partition { follow, .. }) = mine.find(|partition| {
                partition.number == element.partition() && *topics[partition.topic].name == *element.topic()
            }) {
                follow.position = follow.position.max(position);
            }
        }
    }
}
