//! Reads by key from a running job: while records come, and beside what its lake says.

use std::process::Command;
use std::time::{Duration, Instant};

use bidstream::clock::Clock;
use schemas::units::HOUR_MS;
use serde_json::Value;

use super::fixture::shared;
use super::jobs::Job;
use crate::endpoints::Endpoints;
use crate::exactly_once::{CATCH_UP_MAX, assert_every_table_equals_its_sql, bidstream, terminate};

const PEOPLE: u64 = 12;
const ROUNDS: u64 = 12;
/// Models of credit: each conversion without touches has a row of each.
const MODELS: usize = 6;

/// The JSON that a command prints.
fn answer(command: &mut Command) -> Value {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What a path answers: the status, and the JSON.
fn http(endpoints: Endpoints, path: &str) -> Option<(u16, Value)> {
    let answer = endpoints.get(path)?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, serde_json::from_str(body).ok()?))
}

/// An event of a person, as it happened hours ago.
fn event(kind: &str, round: u64, person: u64, hours: i64) -> String {
    event_at(kind, round, person, Clock::system().now_ms() / HOUR_MS * HOUR_MS - hours * HOUR_MS + round as i64 * 1_000)
}

fn event_at(kind: &str, round: u64, person: u64, at: i64) -> String {
    let more = match kind {
        "conversion" => r#","name":"purchase","revenue_micros":1000000,"currency":"EUR""#,
        "identify" => r#","login":"someone@shop.example""#,
        "cost" => r#","source":"net","version":1,"cost_micros":2500000,"currency":"EUR""#,
        _ => "",
    };
    format!(
        r#"{{"type":"{kind}","tenant":"shop","event_id":"{kind}{round}","event_time":{at},"user":"u{person}","channel":"search","campaign":"spring"{more}}}"#
    )
}

#[test]
fn views_are_read_by_key_from_a_running_job_and_its_lake_alike() {
    let kafka = shared();
    let topic = kafka.topic("reads", 2);
    let endpoints = Endpoints::free();
    let job = Job::new(&kafka.brokers(), &format!("{{ {topic}: json }}"), &format!("workers: 2\n{}", endpoints.line()));
    let running = job.run(&[]);
    endpoints.until("/readyz", |answer| answer.starts_with("HTTP/1.1 200"));
    let url = format!("http://{}", endpoints.line().trim_start_matches("http: "));

    // Readers while records come: conversions are credited at once, all of a tick or none, and no tick is before the last.
    let all = MODELS * ROUNDS as usize;
    let rows_seen = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|person| {
                scope.spawn(move || {
                    let (mut last, mut seen, started) = (0, Vec::new(), Instant::now());
                    while seen.last() != Some(&all) {
                        assert!(started.elapsed() < CATCH_UP_MAX, "{seen:?}");
                        let path = format!("/v1/views/credits?tenant=shop&subject=user:u{person}&limit=10000");
                        let Some((200, answer)) = http(endpoints, &path) else { continue };
                        let (tick, rows) = (answer["tick"].as_u64().unwrap(), answer["rows"].as_array().unwrap().len());
                        assert!(tick >= last, "{tick} after {last}");
                        assert_eq!(rows % MODELS, 0, "{answer}");
                        (last, seen) = (tick, [seen, vec![rows]].concat());
                    }
                    seen
                })
            })
            .collect();
        for round in 0..ROUNDS {
            let kinds = ["conversion", "open"];
            let of_round = |kind: &&str| (0..PEOPLE).map(|person| event(kind, round, person, 3)).collect::<Vec<_>>();
            let records: Vec<String> = kinds.iter().flat_map(of_round).collect();
            kafka.send(&topic, (round % 2) as i32, &records.iter().map(String::as_str).collect::<Vec<_>>());
            std::thread::sleep(Duration::from_millis(20));
        }
        // What is read by the other views.
        let others = ["click", "install", "cost", "identify"].map(|kind| event(kind, 7, 1, 6));
        kafka.send(&topic, 0, &others.each_ref().map(String::as_str));
        kafka.send(&topic, 0, &[&event("impression", 7, 1, 0)]);
        // A session that has just begun.
        kafka.send(&topic, 1, &[&event_at("click", 99, 99, Clock::system().now_ms())]);
        readers.into_iter().map(|reader| reader.join().unwrap()).collect::<Vec<_>>()
    });
    for seen in &rows_seen {
        assert!(seen.len() > 2, "a reader read often: {seen:?}");
        assert!(seen.windows(2).all(|pair| pair[0] <= pair[1]), "credits only come here: {seen:?}");
    }

    // Nothing comes any more: what the job has in memory is what its lake holds.
    let records = ROUNDS as usize * PEOPLE as usize * 2 + 6;
    let started = Instant::now();
    while job.sql("SELECT count(*) FROM raw.records") != [records.to_string()] {
        assert!(started.elapsed() < CATCH_UP_MAX);
        std::thread::sleep(Duration::from_millis(200));
    }
    for (view, keys, from) in [
        ("credits", vec!["tenant=shop", "subject=user:u3", "model=last"], "tick"),
        ("credits", vec!["tenant=shop", "event_id=conversion7"], "tick"),
        ("installs", vec!["tenant=shop", "user_id=u1"], "tick"),
        ("installs", vec!["tenant=shop", "user_id=u2"], "tick"),
        ("sessions", vec!["tenant=shop", "visitor=user:u2"], "tick"),
        ("frequency_now", vec!["tenant=shop", "visitor=user:u1", "period=day"], "tick"),
        ("costs", vec!["tenant=shop", "campaign=spring"], "tick"),
        ("contested_events", vec!["tenant=shop", "subject=user:u1"], "tick"),
        ("metrics_sliding", vec!["tenant=shop", "grouping=campaign"], "tick"),
        ("metrics_hourly", vec!["tenant=shop", "campaign=spring"], "cut"),
        ("uniques", vec!["tenant=shop", "grouping=tenant", "period=hour"], "cut"),
        ("activity", vec!["tenant=shop", "visitor=user:u1"], "cut"),
        ("identity", vec!["tenant=shop", "id=login:someone@shop.example"], "tick"),
        ("identity_links", vec!["tenant=shop", "id=user:u1"], "cut"),
    ] {
        let get = |of: &[&str]| {
            let mut command = bidstream();
            answer(command.args(["get", view, "--format", "json"]).args(of).args(&keys))
        };
        let lake = job.lake();
        let (mut live, stored) = (get(&["--url", &url]), get(&["--lake", lake.to_str().unwrap()]));
        assert!(live[from].is_u64(), "{view}: {live}");
        if view == "sessions" {
            // The table has those that are closed alone.
            assert_eq!(live["columns"].as_array_mut().unwrap().pop(), Some("open".into()));
            for row in live["rows"].as_array_mut().unwrap() {
                assert_eq!(row.as_object_mut().unwrap().remove("open"), Some(false.into()));
            }
        }
        assert_eq!(live["rows"], stored["rows"], "{view} {keys:?}");
        assert_eq!(live["columns"], stored["columns"], "{view}");
        let is_empty = stored["rows"].as_array().unwrap().is_empty();
        assert_eq!(is_empty, view == "contested_events" || keys.contains(&"user_id=u2"), "{view} {keys:?}: {stored}");
        if keys.contains(&"model=last") {
            let finals = get(&["--url", &url, "--final"]);
            assert!(finals["cut"].is_u64() && finals["rows"] == stored["rows"], "{view}: {finals}");
        }
    }

    // Who is there now has an open session, which is no row of the table.
    let of = |more: &str| {
        let (status, answer) =
            http(endpoints, &format!("/v1/views/sessions?tenant=shop&visitor=user:u99{more}")).unwrap();
        assert_eq!(status, 200, "{answer}");
        let opens = answer["rows"].as_array().unwrap().iter().map(|row| row["open"].clone());
        opens.collect::<Vec<_>>()
    };
    let one = vec![Value::Bool(true)];
    assert_eq!([of(""), of("&open=true"), of("&open=false")], [one.clone(), one, vec![]]);
    assert_eq!(of("&final=1"), Vec::<Value>::new());

    // In the order of the key, up to a limit, and whether there are more.
    let some = http(endpoints, "/v1/views/credits?tenant=shop&subject=user:u3&limit=5").unwrap().1;
    let all = http(endpoints, "/v1/views/credits?tenant=shop&subject=user:u3&limit=10000").unwrap().1;
    assert_eq!(some["rows"].as_array().unwrap()[..], all["rows"].as_array().unwrap()[..5]);
    assert_eq!((&some["more"], &all["more"]), (&Value::Bool(true), &Value::Bool(false)));

    for (path, status, told) in [
        ("/v1/views/nothing?tenant=shop", 404, "there is no view"),
        ("/v1/views/installs?tenant=shop", 400, "installs is read by tenant=… user_id=…"),
        ("/v1/views/installs?tenant=shop&user_id=u1&colour=red", 400, "there is no column colour"),
        ("/v1/views/installs?tenant=shop&user_id=u1&limit=0", 400, "limit=0: write a number"),
        ("/v1/views/installs?tenant=shop&user_id=u1&final=perhaps", 400, "final=perhaps: write 1 or 0"),
    ] {
        let (is, answer) = http(endpoints, path).unwrap();
        assert_eq!(is, status, "{path}: {answer}");
        assert!(answer["error"].as_str().unwrap().contains(told), "{path}: {answer}");
    }
    let (_, listed) = http(endpoints, "/v1/views").unwrap();
    let installs = listed["views"].as_array().unwrap().iter().find(|view| view["view"] == "installs").unwrap();
    assert_eq!(installs["from"], "memory");

    assert_eq!(terminate(running), Some(0));
    assert_every_table_equals_its_sql(&job.lake());
    let mut gone = bidstream();
    let output = gone.args(["get", "installs", "--url", &url, "tenant=shop", "user_id=u1"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("does not answer"));
}
