//! Through Kafka: the events of a file are produced to a topic, which a running job reads.

use bidstream::clock::Clock;
use bidstream::ingest::source::file::report::{Outcome, Report, Written};
use bidstream::ingest::source::file::{FileSource, Input, Known};
use bidstream::ingest::source::kafka::produce::{PARTITIONS_DEFAULT, Producer, ensure_topic};
use bidstream::ingest::source::{Arrived, Payload, Source};
use schemas::decode::IdRules;

use super::{Import, Told};
use crate::produce::FLUSH_MAX;

/// Records that a poll of the file may hand over on their way to Kafka.
const POLL_RECORDS_MAX: usize = 4_096;

impl Import {
    pub(super) fn through_kafka(&self, brokers: &str) -> anyhow::Result<()> {
        let (mapping_path, mapping) = self.mapping()?;
        let input = Input::read(self.file()?)?;
        let hasher = bidstream::job::id_hasher(self.id_key.id_key_file.as_deref())?;
        let found = self.survey(&input, &mapping, (&hasher, &IdRules::default()), false)?;
        let mut report = Report::of(&input, &mapping_path.display().to_string(), &found);
        self.accept(&mut report, &found)?;
        if self.dry_run {
            report.show(&found);
            self.print(&report);
            return Ok(());
        }
        let properties = self.properties.checked()?;
        let mut source = FileSource::open(&input, mapping, &Known::default(), Clock::system())?;
        ensure_topic(brokers, &properties, &self.topic, PARTITIONS_DEFAULT)?;
        let producer = Producer::new(brokers, &properties, &self.topic, false)?;
        let encoding = self.encoding.into();
        let mut failed = Ok(());
        let mut told = Told::new();
        let (mut accepted, mut dead) = (0, 0);
        loop {
            let mut send = |arrived: Arrived<'_>| {
                let sent = match arrived.payload {
                    Payload::Row { event: Ok(event), .. } => {
                        accepted += 1;
                        let key = [&event.user, &event.device, &event.click_id].into_iter().find(|id| !id.is_empty());
                        producer.send(key.map(|key| key.as_bytes()), &schemas::wire::Encoding::encode(encoding, event))
                    }
                    // A row that is no event goes as it is: it becomes a dead letter there, and is not lost.
                    Payload::Row { event: Err(_), raw, .. } => {
                        dead += 1;
                        producer.send(None, raw)
                    }
                    Payload::Bytes { .. } | Payload::Mapped { .. } => unreachable!("a file has rows"),
                };
                if failed.is_ok() {
                    failed = sent;
                }
            };
            let progress = source.poll(u64::MAX, POLL_RECORDS_MAX, &mut send)?;
            std::mem::replace(&mut failed, Ok(()))?;
            let acknowledged = producer.acknowledged();
            told.tell(
                |per_second| format!("{acknowledged} records acknowledged so far, {per_second:.0} a second"),
                acknowledged,
            );
            if progress.finished {
                break;
            }
        }
        producer.flush(FLUSH_MAX)?;
        report.outcome = Outcome::Produced;
        report.written = Some(Written { accepted, late: 0, dead, cut: None });
        self.print(&report);
        Ok(())
    }
}
