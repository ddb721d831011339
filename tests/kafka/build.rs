//! Views are built beside a job that goes on, over an imported history; the next start of the job has their tables, and reads no
//! more of the history than its views need.

use std::process::Command;

use serde_json::Value;

use super::fixture::shared;
use super::jobs::{Job, event};
use super::needs::{MAPPING, history, loaded};
use crate::exactly_once::{assert_every_table_equals_its_sql, bidstream, terminate};

/// Builds two views, by what the lake says.
fn build(job: &Job, failpoint: &str) -> (Option<i32>, Value, String) {
    let mut build: Command = bidstream();
    build.env("BIDSTREAM_FAILPOINT", failpoint).args(["build", "credits", "sessions", "--format", "json", "--lake"]);
    let output = build.arg(job.lake()).output().unwrap();
    let report = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output.status.code(), report, String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn views_are_built_beside_a_running_job_killed_midway_and_again() {
    let kafka = shared();
    let topic = kafka.topic("build", 2);
    let topics = format!("{{ {topic}: json }}");
    let few = "views: { only: [contested_events, costs, installs] }\nretention: 1m";
    let job = Job::new(&kafka.brokers(), &topics, few);
    let now_ms = bidstream::clock::Clock::system().now_ms();
    std::fs::write(job.dir().join("m.yaml"), MAPPING).unwrap();
    std::fs::write(job.dir().join("history.csv"), history(now_ms)).unwrap();
    let mut import = bidstream();
    import.current_dir(job.dir()).args(["import", "history.csv", "--mapping", "m.yaml", "--job", "job.yaml"]);
    let output = import.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut sent: usize = job.sql("SELECT count(*) FROM raw.records")[0].parse().unwrap();
    let mut send = |turn: usize| {
        for user in ["u1", "u2", "u3"] {
            let id = |of: &str| format!("{of}-{turn}-{user}");
            let events =
                [event("click", &id("c"), user), event("install", &id("i"), user), event("conversion", &id("b"), user)];
            kafka.send(&topic, 0, &events.each_ref().map(String::as_str));
            kafka.send(&topic, 1, &[&events[0]]);
            sent += 4;
        }
        sent
    };
    let sent = send(0);
    let mut running = job.run(&[]);
    job.wait_for(sent, &mut running);

    let (code, _, said) = build(&job, "sessions.put.before:kill");
    assert_eq!(code, None, "{said}");
    // It read up to a cut; what comes after that is for the next start.
    let sent = send(1);
    job.wait_for(sent, &mut running);
    let (code, report, said) = build(&job, "");
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(
        (&report["views"][0]["outcome"], &report["views"][1]["outcome"]),
        (&"there".into(), &"built".into()),
        "{report}"
    );
    let sent = send(2);
    job.wait_for(sent, &mut running);
    assert!(running.try_wait().unwrap().is_none(), "the job goes on");
    assert_every_table_equals_its_sql(&job.lake());
    assert_eq!(terminate(running), Some(0));

    let cut = report["cut"].as_i64().unwrap();
    job.write(
        &kafka.brokers(),
        &topics,
        "workers: 2\nviews: { only: [contested_events, costs, installs, credits, sessions] }",
    );
    let more = send(3);
    let said = job.until(&[], more);
    let (loaded, held) = loaded(&said);
    assert!(loaded * 3 < held, "{loaded} of {held} records were loaded");
    for view in ["credits", "sessions"] {
        let lake: Value =
            serde_json::from_str(&std::fs::read_to_string(job.lake().join("lake.json")).unwrap()).unwrap();
        assert!(lake["views"][view].is_string(), "{lake}");
    }
    let early = format!("SELECT count(*) FROM raw.credits_changes WHERE _cut < {cut}");
    assert!(job.sql(&early)[0] != "0", "credits go back to the first build");
    assert_every_table_equals_its_sql(&job.lake());
}
