//! Every mistake is one line that names file, line, field and what may be written.

use schemas::EventType;
use schemas::wire::Encoding;

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

fn topic(job: &Job, name: &str) -> Topic {
    job.kafka(Path::new("job.yaml")).unwrap().topics[name].clone()
}

/// What a job says when one piece of the good one is replaced.
fn mistake(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    parse(&GOOD.replace(from, to)).expect_err(to).to_string()
}

#[test]
fn the_job_of_the_documentation_is_read() {
    let job = parse(GOOD).unwrap();
    assert_eq!(topic(&job, "ad-events"), Topic::of(Encoding::Protobuf));
    assert_eq!(topic(&job, "site-events"), Topic::of(Encoding::Json));
    let within = |by_type| Some(Lateness::Within { default: Span(3 * DAY_MS), by_type });
    assert_eq!(job.allowed_lateness, within(Default::default()));
    assert_eq!(job.views.installs.click_window.by_channel["search"], Span(30 * DAY_MS));
    assert_eq!(job.workers, 1);
    assert!(job.zones.is_empty());
    let job =
        parse(&GOOD.replace("commit_every", "zones: { acme: Europe/Berlin, globex: UTC }\ncommit_every")).unwrap();
    assert_eq!(job.zones["acme"], "Europe/Berlin");
    let job = parse(&GOOD.replace("allowed_lateness: 3d", "allowed_lateness: unbounded")).unwrap();
    assert_eq!(job.allowed_lateness, Some(Lateness::Unbounded));
    for (text, open) in [("{ default: 3d, cost: 35d, open: 1d }", Some(DAY_MS)), ("{ cost: 35d }", None)] {
        let job = parse(&GOOD.replace("allowed_lateness: 3d", &format!("allowed_lateness: {text}"))).unwrap();
        let by_type = [(EventType::Cost, Some(35 * DAY_MS)), (EventType::Open, open)];
        let by_type = by_type.into_iter().filter_map(|(of, ms)| Some((of, Span(ms?)))).collect();
        assert_eq!(job.allowed_lateness, within(by_type));
    }
}

#[test]
fn defaults_stand_where_nothing_is_said() {
    let job = parse("{ lake: l, source: { kafka: { brokers: b:1, topics: { t: json } } } }").unwrap();
    assert_eq!(job.allowed_lateness, None);
    assert_eq!(Lateness::default().to_string(), "3d, cost 35d");
    assert_eq!((job.commit_every, job.retention), (Span(5_000), Span(7 * DAY_MS)));
    assert_eq!(job.views, Params::default());
    assert_eq!((job.http, job.workers, job.id_key_file), (None, 1, None));
}

#[test]
fn a_zone_is_one_of_the_database() {
    let said = mistake("commit_every: 5s", "zones: { acme: Asia/Kolkata, globex: Europe/Berln }");
    let place = r#"job.yaml:7: zones.globex: "Europe/Berln" is no time zone"#;
    assert!(said.starts_with(place) && said.contains("similar are Europe/Berlin, "), "{said}");
    let said = mistake("commit_every: 5s", "zones:\n  acme: CET\n");
    assert!(said.starts_with(r#"job.yaml:8: zones.acme: "CET" is no time zone"#), "{said}");
    assert!(said.ends_with("write one by its place, as Europe/Berlin, or UTC"), "{said}");
    let said = mistake("commit_every: 5s", "zones: { ' acme': UTC }");
    assert_eq!(
        said,
        "job.yaml:7: zones. acme: is no name of a tenant: write it as events have it, without spaces around it"
    );
}

#[test]
fn mistakes_name_file_line_field_and_what_to_write() {
    let cases = [
        (
            "commit_every",
            "commit_evry",
            r#"7: commit_evry: unknown field `commit_evry`, expected one of lake, source, allowed_lateness, zones, commit_every, retention, views, ids, http, workers, id_key_file"#,
        ),
        (
            "view_window",
            "view_windo",
            r#"9: views.installs.view_windo: unknown field `view_windo`, expected one of person, identity, click_window, view_window, fingerprint_window, attribution_lifetime, reattribution_after"#,
        ),
        (
            "commit_every: 5s",
            "commit_every: soon",
            r#"7: commit_every: "soon" is no duration: write a whole number and d, h, m, s or ms, as 7d"#,
        ),
        ("commit_every: 5s", "retention: 5s", r#"7: retention: is 5s: it may be 1m to 365d"#),
        ("commit_every: 5s", "commit_every: 1h", r#"7: commit_every: is 1h: it may be 100ms to 10m"#),
        (
            "views:\n",
            "views:\n  anomalies: { bound: 0.25 }\n",
            r#"9: views.anomalies.bound: is 0.25: it may be 0.5 to 100"#,
        ),
        (
            "views:\n",
            "views:\n  anomalies: { bound: 3.1234 }\n",
            r#"9: views.anomalies.bound: 3.1234 is no number with up to three decimals, as 3.5"#,
        ),
        (
            "views:\n",
            "views:\n  anomalies: { groupings: [campaigns] }\n",
            r#"9: views.anomalies.groupings[0]: "campaigns" is no grouping: write tenant, or some of campaign, source, channel, country, as campaign+source"#,
        ),
        ("search: 30d", "search: 91d", r#"9: views.installs.click_window.search: is 91d: it may be 1d to 90d"#),
        ("default: 7d, ", "", r#"9: views.installs.click_window.default: is missing"#),
        (
            "views:\n",
            "views:\n  only: [credits, credit]\n",
            r#"9: views.only: names "credit": a job can maintain contested_events, costs, activity, installs, credits, metrics_hourly, metrics_sliding, anomalies, sessions, frequency, firsts, cohorts, funnel_steps, paths, uniques, identity_links, shared_hours, identity"#,
        ),
        (
            "  installs: {",
            "  installs: { reattribution_after: 36h,",
            r#"9: views.installs.reattribution_after: is 36h: it may be whole days only, as 90d"#,
        ),
        (
            "  installs: {",
            "  forget_after: 62d\n  installs: { reattribution_after: 90d,",
            r#"10: views.installs.reattribution_after: is 90d: it must be less than views.forget_after, 62d, after which a device is a new one"#,
        ),
        (
            "views:\n",
            "views:\n  cohorts: { definitions: [{ first: click, period: day }] }\n",
            r#"9: views.cohorts.definitions[0].first: unknown variant `click`, expected one of install, purchase, event"#,
        ),
        (
            "views:\n",
            "views:\n  cohorts: { definitions: [{ first: install, period: day }, { first: install, period: day, age: day }] }\n",
            r#"9: views.cohorts.definitions[1]: is the second of first: install, period: day, age: day: name all groupings of a cohort in one definition"#,
        ),
        (
            "views:\n",
            "views:\n  identity: { large_above: 1 }\n",
            r#"9: views.identity.large_above: is 1: it may be 2 to 1000000"#,
        ),
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
            r#"6: allowed_lateness: is 0s: it may be 1s to 365d, or `unbounded`"#,
        ),
        (
            "allowed_lateness: 3d",
            "allowed_lateness: { costs: 35d }",
            r#"6: allowed_lateness: "costs" is no type of events: impression, click, install, open, event, conversion, identify, cost, tombstone"#,
        ),
        (
            "allowed_lateness: 3d",
            "allowed_lateness: { cost: 0s }",
            r#"6: allowed_lateness: of cost: is 0s: it may be 1s to 365d"#,
        ),
        ("half_life: 7d", "half_life: 37m", r#"10: views.credits.half_life: is 37m: it may be 36h to 365d"#),
        ("views:\n", "views:\n  paths: { idle: 91d }\n", "9: views.paths.idle: is 91d: it may be 1h to 90d"),
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

/// What a job says of its funnels.
fn funnels(yaml: &str) -> Result<Params, String> {
    let text = GOOD.replace("views:\n", &format!("views:\n  funnels:\n{yaml}\n"));
    parse(&text).map(|job| job.views).map_err(|error| error.to_string())
}

#[test]
fn funnels_are_read() {
    let read = funnels(
        "  - { name: shop, steps: [view, { step: cart, type: event, name: [cart, basket], channel: web }], max_time: unlimited }
  - { name: ads, steps: [{ step: seen, type: [impression, click] }, view], max_time: 7d, per: week, by: campaign }",
    )
    .unwrap();
    let [shop, ads] = &read.funnels[..] else { panic!("two funnels: {:?}", read.funnels) };
    assert_eq!((shop.steps[0].step.as_str(), &shop.steps[0].columns.name), ("view", &vec!["view".to_owned()]));
    assert_eq!(
        (&shop.steps[1].types, &shop.steps[1].columns.channel),
        (&vec![EventType::Event], &vec!["web".to_owned()])
    );
    assert_eq!((shop.per.name(), shop.by, shop.max_time.ms(read.forget_after)), ("all", None, 400 * DAY_MS));
    assert_eq!(
        (ads.per.name(), ads.by.map(|by| by.name()), ads.max_time.ms(Span(0))),
        ("week", Some("campaign"), 7 * DAY_MS)
    );
    // As a lake keeps them.
    assert_eq!(serde_json::from_str::<Params>(&serde_json::to_string(&read).unwrap()).unwrap(), read);
}

#[test]
fn mistakes_of_funnels_are_named() {
    let cases = [
        (
            "- { name: a, steps: [], max_time: 1d }",
            "10: views.funnels[0].steps: has 0: write 2 or more, as [product_view, add_to_cart, purchase]",
        ),
        (
            "- { name: a, steps: [x], max_time: 1d }",
            "10: views.funnels[0].steps: has 1: write 2 or more, as [product_view, add_to_cart, purchase]",
        ),
        ("- { steps: [x, w], max_time: 1d }", "10: views.funnels[0].name: is missing"),
        ("- { name: a, steps: [x, w] }", "10: views.funnels[0].max_time: is missing"),
        (
            "- { name: a, steps: [x, w], max_time: 1d }\n  - { name: a, steps: [w, z], max_time: 1d }",
            r#"11: views.funnels[1].name: is "a", as that of views.funnels[0]: give each its own name"#,
        ),
        (
            "- { name: '', steps: [x, w], max_time: 1d }",
            r#"10: views.funnels[0].name: is "": write a name of up to 100 bytes, without spaces around it"#,
        ),
        (
            "- name: a\n    steps: [x, { step: x, type: open }]\n    max_time: 1d",
            r#"11: views.funnels[0].steps[1].step: is "x", as that of views.funnels[0].steps[0]: call each otherwise"#,
        ),
        (
            "- { name: a, steps: [x, { step: w, type: clik }], max_time: 1d }",
            "10: views.funnels[0].steps[1].type: unknown variant `clik`, expected one of impression, click, install, open, event, conversion, identify, cost, tombstone",
        ),
        (
            "- { name: a, steps: [x, { step: w, type: cost }], max_time: 1d }",
            "10: views.funnels[0].steps[1].type: has cost: no visitor does that",
        ),
        (
            "- { name: a, steps: [x, { step: w, chanel: web }], max_time: 1d }",
            "10: views.funnels[0].steps[1].chanel: unknown field `chanel`, expected one of step, type, name, app, campaign, ad_group, creative, source, channel, country",
        ),
        (
            "- { name: a, steps: [x, { step: w }], max_time: 1d }",
            "10: views.funnels[0].steps[1]: is any event: say which by a type or a name, as { step: open, type: open }",
        ),
        (
            "- { name: a, steps: [x, { step: w, channel: '' }], max_time: 1d }",
            "10: views.funnels[0].steps[1].channel: has a name without letters: write those that events have",
        ),
        (
            "- { name: a, steps: [x, { step: w, type: click, name: z }], max_time: 1d }",
            "10: views.funnels[0].steps[1].name: is asked of impressions or clicks: only other events have names; leave out `name` or those types",
        ),
        (
            "- { name: a, steps: [x, 7], max_time: 1d }",
            "10: views.funnels[0].steps[1]: invalid type: integer `7`, expected the name of an event, as product_view, or a step, as { step: cart, type: event, name: [add, buy] }",
        ),
        (
            "- { name: a, steps: [x, { step: w, country: NO }], max_time: 1d }",
            "10: views.funnels[0].steps[1].country: invalid type: boolean `false`, expected a text, or a list of texts; one that YAML takes for a number or for yes or no stands in quotes: \"NO\"",
        ),
        (
            "- { name: a, steps: [x, w], max_time: 0s }",
            "10: views.funnels[0].max_time: is 0s: it may be 1s to 400d (views.forget_after), or `unlimited`, which is as long",
        ),
        (
            "- { name: a, steps: [x, w], max_time: 401d }",
            "10: views.funnels[0].max_time: is 401d: it may be 1s to 400d (views.forget_after), or `unlimited`, which is as long",
        ),
        (
            "- { name: a, steps: [x, w], max_time: soon }",
            r#"10: views.funnels[0].max_time: "soon" is no duration: write a whole number and d, h, m, s or ms, as 7d; or `unlimited`"#,
        ),
        (
            "- { name: a, steps: [x, w], max_time: 1d, per: year }",
            "10: views.funnels[0].per: unknown variant `year`, expected one of all, month, week, day",
        ),
        (
            "- { name: a, steps: [x, w], max_time: 1d, by: browser }",
            "10: views.funnels[0].by: unknown variant `browser`, expected one of app, campaign, source, channel, country",
        ),
    ];
    for (yaml, expected) in cases {
        assert_eq!(funnels(&format!("  {yaml}")).expect_err(yaml), format!("job.yaml:{expected}"));
    }
    let steps: Vec<String> = (0..65).map(|step| format!("s{step}")).collect();
    let many = funnels(&format!("  - {{ name: a, steps: [{}], max_time: 1d }}", steps.join(", ")));
    assert_eq!(many.unwrap_err(), "job.yaml:9: views.funnels: has 65 steps in all: it may have 64");
}

#[test]
fn a_file_that_is_missing_is_named() {
    let error = Job::read(Path::new("jobs/no-such-job.yaml")).unwrap_err().to_string();
    assert!(error.starts_with("jobs/no-such-job.yaml: cannot be read: "), "{error}");
}

/// What a job says of settings of the client.
fn properties(yaml: &str) -> Result<Job, String> {
    let text = GOOD.replace("    topics:", &format!("    properties: {yaml}\n    topics:"));
    parse(&text).map_err(|error| error.to_string())
}

#[test]
fn reserved_settings_of_the_client_are_refused() {
    let error = properties("{ isolation.level: read_uncommitted }").unwrap_err();
    assert!(error.starts_with("job.yaml:5: source.kafka.properties.isolation.level: cannot be chosen"), "{error}");
    let good = properties("{ fetch.wait.max.ms: 10 }").unwrap();
    assert_eq!(good.source.unwrap().kafka.properties["fetch.wait.max.ms"], "10");
}

#[test]
fn what_the_client_would_refuse_is_found_without_a_broker() {
    let certificates = tempfile::NamedTempFile::new().unwrap();
    let broken = certificates.path().display();
    for (yaml, expected) in [
        ("{ no.such.property: 1 }", r#"no.such.property: No such configuration property: "no.such.property""#),
        (
            "{ fetch.wait.max.ms: soon }",
            r#"fetch.wait.max.ms: Invalid value for configuration property "fetch.wait.max.ms""#,
        ),
        (
            "{ fetch.wait.max.ms: -1 }",
            "fetch.wait.max.ms: Configuration property \"fetch.wait.max.ms\" value -1 is outside allowed range 0..300000",
        ),
        (
            "{ ssl.truststore.location: a.jks, security.protocol: ssl }",
            "ssl.truststore.location: Java TrustStores are not supported",
        ),
        (
            "{ security.protocol: tls }",
            r#"security.protocol: is "tls": it may be plaintext, ssl, sasl_plaintext or sasl_ssl"#,
        ),
        (
            "{ sasl.username: u }",
            "sasl.username: is not used while security.protocol is plaintext: set that to sasl_ssl",
        ),
        ("{ security.protocol: ssl, sasl.password: p }", "sasl.password: is not used while security.protocol is ssl"),
        ("{ security.protocol: sasl_plaintext, ssl.ca.location: /x }", "ssl.ca.location: /x cannot be read"),
        ("{ ssl.ca.location: probe }", "ssl.ca.location: is not used while security.protocol is plaintext"),
        (
            "{ security.protocol: sasl_ssl }",
            "sasl.mechanisms: is missing, and the library's default, GSSAPI, is not in this build: it may be PLAIN",
        ),
        (
            "{ security.protocol: SASL_SSL, sasl.mechanism: GSSAPI }",
            "sasl.mechanism: is GSSAPI (Kerberos), which is not in this build",
        ),
        (
            "{ security.protocol: sasl_ssl, sasl.mechanisms: OAUTHBEARER }",
            "sasl.mechanisms: is OAUTHBEARER, whose tokens",
        ),
        (
            "{ security.protocol: sasl_ssl, sasl.mechanisms: scram }",
            r#"sasl.mechanisms: is "scram": it may be PLAIN, SCRAM-SHA-256"#,
        ),
        (
            "{ security.protocol: sasl_ssl, sasl.mechanisms: PLAIN, sasl.username: u }",
            "sasl.password: is missing: PLAIN needs it",
        ),
        (
            "{ security.protocol: ssl, ssl.key.location: none.pem }",
            "ssl.key.location: none.pem cannot be read: No such file",
        ),
    ] {
        let error = properties(yaml).unwrap_err();
        let expected = format!("job.yaml:5: source.kafka.properties.{expected}");
        assert!(error.starts_with(&expected), "{error}\ninstead of\n{expected}");
    }
    let error = properties(&format!("{{ security.protocol: ssl, ssl.ca.location: {broken} }}")).unwrap_err();
    assert!(error.contains("are refused by the client library: ssl.ca.location failed"), "{error}");
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let login = format!("sasl.mechanisms: {mechanism}, sasl.username: u, sasl.password: p");
        properties(&format!("{{ security.protocol: sasl_ssl, {login} }}")).unwrap();
    }
}

#[test]
fn names_that_kafka_does_not_allow_are_refused() {
    let long = "x".repeat(250);
    for name in ["ad/events", "'ad events'", "'..'", "'ads@2'", "ümlaut", "''", &long] {
        let error = parse(&GOOD.replace("ad-events", name)).unwrap_err().to_string();
        assert!(
            error.starts_with("job.yaml:5: source.kafka.topics.") && error.contains("is no name of a topic"),
            "{error}"
        );
    }
    parse(&GOOD.replace("ad-events", &long[1..])).unwrap();
}

#[test]
fn a_topic_says_how_its_records_are_read() {
    let of = |how: &str| parse(&GOOD.replace("site-events: json", &format!("site-events: {how}")));
    let read = |how: &str| topic(&of(how).unwrap(), "site-events");
    let framed = Topic { framing: Framing::Confluent, ..Topic::of(Encoding::Protobuf) };
    assert_eq!(read("{ encoding: protobuf, framing: confluent }"), framed);
    assert_eq!(read("{ encoding: json }"), Topic::of(Encoding::Json));
    let mapped = Topic { mapping: Some("m.yaml".into()), ..Topic::of(Encoding::Json) };
    assert_eq!(read("{ mapping: m.yaml }"), mapped);
    for (how, expected) in [
        ("{ framing: confluent }", "says neither `encoding` (json or protobuf) nor `mapping`"),
        ("{ mapping: m.yaml, encoding: protobuf }", "a mapping reads JSON"),
        ("{ encoding: json, framing: avro }", "unknown variant `avro`, expected one of none, confluent"),
        ("{ encoding: json, maping: m }", "unknown field `maping`"),
        ("{ mapping: '' }", "is empty: write the name of a mapping file"),
        ("7", "expected json, protobuf, { encoding: json, framing: confluent } or { mapping: FILE }"),
    ] {
        let error = of(how).unwrap_err().to_string();
        assert!(
            error.starts_with("job.yaml:5: source.kafka.topics.site-events") && error.contains(expected),
            "{error}"
        );
    }
}

#[test]
fn variables_are_put_in_after_the_file_is_read() {
    let lookup = |name: &str| match name {
        "HOST" => Some("kafka.example".to_owned()),
        "N" => Some("3".to_owned()),
        "LAKE" => Some("a: [b]\nworkers: 9".to_owned()),
        "EVERY" => Some("soon".to_owned()),
        "SECRET" => Some("p$word: {x}".to_owned()),
        _ => None,
    };
    let with = |text: &str| Job::parse_with(Path::new("job.yaml"), text, &lookup).map_err(|error| error.to_string());
    let text = GOOD.replace("127.0.0.1:9092", "${HOST}:${PORT:-9093}").replace("./lake", "${LAKE}") + "workers: ${N}\n";
    let job = with(
        &text.replace("    topics:", "    properties: { client.id: \"${SECRET}\", client.rack: a$$b }\n    topics:"),
    )
    .unwrap();
    let kafka = &job.source.as_ref().unwrap().kafka;
    assert_eq!(kafka.brokers, "kafka.example:9093");
    assert_eq!((&*kafka.properties["client.id"], &*kafka.properties["client.rack"]), ("p$word: {x}", "a$b"));
    assert_eq!((job.lake.to_str(), job.workers), (Some("a: [b]\nworkers: 9"), 3), "a value holds no YAML");

    let error = |from: &str, to: &str| with(&GOOD.replace(from, to)).unwrap_err();
    assert!(error("5s", "${NONE}").starts_with("job.yaml:7: commit_every: names the variable NONE, which is not set"));
    assert!(error("5s", "${EVERY}").starts_with("job.yaml:7: commit_every: "));
    assert!(
        error("[direct]", "[direct, $a]").starts_with("job.yaml:10: views.credits.direct_channels[1]: has a lone $")
    );
    assert!(error("./lake", "${A B}").starts_with("job.yaml:1: lake: has ${A B}, which names no variable"));
    let unknown = |how: &str| {
        with(&GOOD.replace("./lake", "${LAKE}").replace("site-events: json", &format!("site-events: {how}")))
            .unwrap_err()
    };
    for (how, expected) in [
        ("avro", "unknown value `avro`, expected one of"),
        ("\"${EVERY}\"", "`${EVERY}`, expected one of"),
        ("{ encoding: json, framing: avro }", "expected one of none, confluent"),
    ] {
        let error = unknown(how);
        assert!(
            error.starts_with("job.yaml:5: source.kafka.topics.site-events") && error.contains(expected),
            "{error}"
        );
        assert!(!error.contains("interpolated"), "{error}");
    }
    assert!(error("lake:", "${HOST}:").contains("unknown field `${HOST}`"), "keys are left alone");
}

#[test]
fn a_lake_is_a_local_directory() {
    let lake = |text: &str| parse(&GOOD.replace("./lake", text)).map(|job| job.lake);
    assert_eq!(lake("file:///data/my%20lake").unwrap(), Path::new("/data/my lake"));
    assert_eq!(lake("data:/x").unwrap(), Path::new("data:/x"));
    for text in ["s3://bucket/lake", "S3A://b", "gs://b/x", "abfss://c@a.dfs.core.windows.net/x", "hdfs://n:8020/x"] {
        let error = lake(text).unwrap_err().to_string();
        assert!(error.starts_with("job.yaml:1: lake: ") && error.contains("object stores come later"), "{error}");
    }
    assert!(lake("file://host/x").unwrap_err().to_string().contains("names no directory of this machine"));
    assert!(lake("''").unwrap_err().to_string().contains("is empty"));
    let file = tempfile::NamedTempFile::new().unwrap();
    assert!(lake(&file.path().display().to_string()).unwrap_err().to_string().contains("is a file: write a directory"));
}

#[test]
fn only_an_import_needs_no_source() {
    let job = parse("lake: l\nviews: { installs: { click_window: 30d } }").unwrap();
    let error = job.kafka(Path::new("job.yaml")).unwrap_err().to_string();
    assert!(error.starts_with("job.yaml:1: source: is missing: "), "{error}");
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
