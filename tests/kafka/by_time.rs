//! What changes though no record comes.

use std::time::{Duration, Instant};

use super::fixture::shared;
use super::jobs::{Job, event};
use crate::exactly_once::{assert_every_table_equals_its_sql, terminate};

/// A session closes at most two minutes after its last event here; the rest is for a busy machine.
const CLOSED_MAX: Duration = Duration::from_secs(240);

const VIEWS: &str = "views:\n  sessions: { gap: 1m }";

#[test]
fn a_session_is_closed_in_its_table_while_no_record_comes() {
    let kafka = shared();
    let topic = kafka.topic("sessions", 2);
    let topics = format!("{{ {topic}: json }}");
    let job = Job::new(&kafka.brokers(), &topics, VIEWS);
    kafka.send(&topic, 0, &[&event("click", "e1", "u1"), &event("conversion", "e2", "u1")]);
    job.until(&[], 2);
    assert_eq!(job.sql("SELECT count(*) FROM sessions"), ["0"], "it is open, and is not written");
    // Whoever starts next with other workers closes it.
    job.write(&kafka.brokers(), &topics, &format!("{VIEWS}\nworkers: 2"));
    let started = Instant::now();
    let mut running = job.run(&[]);
    while job.sql("SELECT count(*) FROM sessions") != ["1"] {
        assert!(running.try_wait().unwrap().is_none(), "the job ended");
        assert!(started.elapsed() < CLOSED_MAX, "it was not closed");
        std::thread::sleep(Duration::from_millis(500));
    }
    assert_eq!(terminate(running), Some(0));
    let session = "SELECT visitor = user_id('shop', 'u1'), events, touches, conversions, channel FROM sessions";
    assert_eq!(job.sql(session), ["true,2,1,1,search"]);
    assert_eq!(job.sql("SELECT count(*) FROM records"), ["2"]);
    assert_every_table_equals_its_sql(&job.lake());
}
