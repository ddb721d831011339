//! Every mistake is one line that names file, line, field and what may be written.

use super::*;

const GOOD: &str = "\
lake: ./lake
source:
  kafka:
    brokers: 127.0.0.1:9092
    topics: { ad-events: protobuf, site-events: json }
allowed_lateness: 3d
commit_every: 5s
views:
  installs: { click_window: { default: 7d, search: 30d }, view_window: 24h, fingerprint_window: 24h }
  credits: { half_life: 7d, direct_channels: [direct] }
http: 127.0.0.1:9464
";

fn parse(text: &str) -> Result<Job, ConfigError> {
    Job::parse(Path::new("job.yaml"), text)
}

/// What a job says when one piece of the good one is replaced.
fn mistake(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    parse(&GOOD.replace(from, to)).expect_err(to).to_string()
}

#[test]
fn the_job_of_the_documentation_is_read() {
    let job = parse(GOOD).unwrap();
    assert_eq!(job.source.kafka.topics["ad-events"], Encoding::Protobuf);
    assert_eq!(job.source.kafka.topics["site-events"], Encoding::Json);
    assert_eq!(job.allowed_lateness, Lateness::Within(Span(3 * DAY_MS)));
    assert_eq!(job.views.installs.click_window.by_channel["search"], Span(30 * DAY_MS));
    assert_eq!(job.workers, 1);
    let job = parse(&GOOD.replace("allowed_lateness: 3d", "allowed_lateness: unbounded")).unwrap();
    assert_eq!(job.allowed_lateness.ms(), None);
}

#[test]
fn defaults_stand_where_nothing_is_said() {
    let job = parse("{ lake: l, source: { kafka: { brokers: b:1, topics: { t: json } } } }").unwrap();
    assert_eq!(job.allowed_lateness.ms(), Some(3 * DAY_MS));
    assert_eq!((job.commit_every, job.retention), (Span(5_000), Span(7 * DAY_MS)));
    assert_eq!(job.views, Params::default());
    assert_eq!((job.http, job.workers, job.id_key_file), (None, 1, None));
}

#[test]
fn mistakes_name_file_line_field_and_what_to_write() {
    let cases = [
        (
            "commit_every",
            "commit_evry",
            r#"7: commit_evry: unknown field `commit_evry`, expected one of lake, source, allowed_lateness, commit_every, retention, views, http, workers, id_key_file"#,
        ),
        (
            "view_window",
            "view_windo",
            r#"9: views.installs.view_windo: unknown field `view_windo`, expected one of person, click_window, view_window, fingerprint_window, attribution_lifetime"#,
        ),
        (
            "commit_every: 5s",
            "commit_every: soon",
            r#"7: commit_every: "soon" is no duration: write a whole number and d, h, m, s or ms, as 7d"#,
        ),
        ("commit_every: 5s", "retention: 5s", r#"7: retention: is 5s: it may be 1m to 365d"#),
        ("commit_every: 5s", "commit_every: 1h", r#"7: commit_every: is 1h: it may be 100ms to 10m"#),
        ("search: 30d", "search: 91d", r#"9: views.installs.click_window.search: is 91d: it may be 1d to 90d"#),
        ("default: 7d, ", "", r#"9: views.installs.click_window.default: is missing"#),
        (
            "view_window: 24h",
            "view_window: 3",
            r#"9: views.installs.view_window: invalid type: integer `3`, expected a duration, as 7d, or one per channel, as { default: 7d, search: 30d }"#,
        ),
        ("    brokers: 127.0.0.1:9092\n", "", r#"3: source.kafka.brokers: is missing"#),
        (
            "127.0.0.1:9092",
            "localhost",
            r#"4: source.kafka.brokers: "localhost" is no broker: write host:port, several with commas between"#,
        ),
        (
            "{ ad-events: protobuf, site-events: json }",
            "{}",
            r#"5: source.kafka.topics: names no topic: write at least one, as { ad-events: protobuf }"#,
        ),
        (
            "site-events: json",
            "site-events: xml",
            r#"5: source.kafka.topics.site-events: unknown variant `xml`, expected one of json, protobuf"#,
        ),
        (
            "allowed_lateness: 3d",
            "allowed_lateness: forever",
            r#"6: allowed_lateness: "forever" is no duration: write a whole number and d, h, m, s or ms, as 7d; or `unbounded`"#,
        ),
        (
            "allowed_lateness: 3d",
            "allowed_lateness: 0s",
            r#"6: allowed_lateness: is 0d: it may be 1s to 365d, or `unbounded`"#,
        ),
        ("half_life: 7d", "half_life: 37m", r#"10: views.credits.half_life: is 37m: it may be 36h to 365d"#),
        (
            "http: 127.0.0.1:9464",
            "http: localhost",
            r#"11: http: "localhost" is no address: write ip:port, as 127.0.0.1:9464"#,
        ),
        ("http: 127.0.0.1:9464", "workers: 65", r#"11: workers: is 65: it may be 1 to 64"#),
        ("lake: ./lake", "lake: [", r#"3: while parsing a flow mapping, did not find expected ',' or '}'"#),
        ("lake: ./lake", "lake: ./lake\nlake: ./other", r#"2: duplicate mapping key: lake"#),
    ];
    for (from, to, expected) in cases {
        assert_eq!(mistake(from, to), format!("job.yaml:{expected}"));
    }
}

#[test]
fn a_file_that_is_missing_is_named() {
    let error = Job::read(Path::new("jobs/no-such-job.yaml")).unwrap_err().to_string();
    assert!(error.starts_with("jobs/no-such-job.yaml: cannot be read: "), "{error}");
}

#[test]
fn reserved_settings_of_the_client_are_refused() {
    let error = mistake("    topics:", "    properties: { isolation.level: read_uncommitted }\n    topics:");
    assert!(error.starts_with("job.yaml:5: source.kafka.properties.isolation.level: cannot be chosen"), "{error}");
    let good = GOOD.replace("    topics:", "    properties: { fetch.wait.max.ms: 10 }\n    topics:");
    assert_eq!(parse(&good).unwrap().source.kafka.properties["fetch.wait.max.ms"], "10");
}

#[test]
fn every_job_of_the_repository_is_read() {
    let jobs = Path::new(env!("CARGO_MANIFEST_DIR")).join("jobs");
    let files = std::fs::read_dir(jobs).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|end| end == "yaml")).collect();
    assert!(!files.is_empty());
    for file in files {
        Job::read(&file).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn keys_of_ids_are_read_from_a_file_and_not_too_short() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("key");
    std::fs::write(&file, "0123456789abcdef\n").unwrap();
    let tenant_user = |hasher: IdHasher| hasher.hash(schemas::ids::IdKind::User, "shop", b"u");
    assert_eq!(tenant_user(id_hasher(Some(&file)).unwrap()), tenant_user(IdHasher::new(b"0123456789abcdef")));
    std::fs::write(&file, "short\n").unwrap();
    assert!(id_hasher(Some(&file)).err().unwrap().to_string().ends_with("has 5 bytes: a key for ids has at least 16"));
}
