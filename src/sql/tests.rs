//! A small lake, written through the ledger with what the dataflow says, and read in every way that people have.

mod of_charts;
mod of_explain;
mod of_forecasts;
mod of_gets;
mod of_markov;
mod of_plans;
mod of_records;
mod of_resources;
mod of_steps;
mod of_sums;
mod of_zones;

use std::sync::Arc;

use arrow::array::RecordBatch;
use dataflows::changes::{CutChanges, Cutover};
use dataflows::params::Params;
use dataflows::views::build;
use deltalake_core::DeltaTable;
use operators::Hub;
use schemas::event::Accepted;
use schemas::ids::{IdHasher, IdKind};
use schemas::symbols::{NO_CHANNEL, Symbols};
use schemas::table::{RecordRow, Verdict};
use schemas::{Capped, Event, EventId, EventTime, EventType, Micros, PayloadHash, Subject, Tick, UserId};
use tempfile::TempDir;
use timely::dataflow::ProbeHandle;

use super::audit::{Report, audit};
use super::{Format, Memory, Resources, Session, SqlError, catalog, execute, open, repl, statements};
use crate::lake::directory::id_key_check;
use crate::lake::{Lake, LakeSettings, Ledger, Part};

/// 2026-01-01T00:00:00Z.
const START_MS: i64 = 1_767_225_600_000;
const CUTS: [Tick; 3] = [START_MS as Tick + 101_000, START_MS as Tick + 102_000, START_MS as Tick + 103_000];

fn hasher() -> IdHasher {
    IdHasher::new(b"a key of tests")
}

fn settings() -> LakeSettings {
    LakeSettings {
        allowed_lateness_ms: Some(3 * 24 * 3_600_000),
        lateness_by_type_ms: Default::default(),
        lateness_bound_ms: 3_600_000,
        cut_ms: 1_000,
        hot_key_touches: 64,
        id_key_check: id_key_check(&hasher()),
        zones: Default::default(),
        views: Params::default(),
    }
}

/// Builds records one after the other.
struct Records {
    symbols: Symbols,
    rows: Vec<RecordRow>,
}

impl Records {
    fn event(&self, kind: EventType, user: &str, id: &str, after_ms: i64) -> Event {
        let hash = |kind, raw: &str| hasher().hash(kind, "shop", raw.as_bytes());
        let user = UserId(hash(IdKind::User, user));
        Event {
            event_type: kind,
            tenant: self.symbols.intern("shop").unwrap(),
            app: self.symbols.intern("web").unwrap(),
            event_id: EventId(hash(IdKind::Event, id)),
            event_time: EventTime(START_MS + after_ms),
            subject: Subject(user.0),
            user,
            ..Event::default()
        }
    }

    fn touch(&mut self, kind: EventType, user: &str, id: &str, after_ms: i64, channel: &str, cut: Tick) {
        let channel = self.symbols.intern(channel).unwrap();
        let event = Event { channel, ..self.event(kind, user, id, after_ms) };
        self.push(event, cut);
    }

    fn push(&mut self, event: Event, cut: Tick) {
        self.row(Verdict::Ok, Some(event), cut);
    }

    fn row(&mut self, verdict: Verdict, event: Option<Event>, cut: Tick) {
        let offset = self.rows.len() as i64;
        let dead = verdict == Verdict::Dead;
        self.rows.push(RecordRow {
            verdict,
            reason: dead.then(|| "not JSON".into()),
            topic: Arc::from("ad-events"),
            partition: 0,
            offset,
            arrival_ms: cut as i64 - 500,
            cut,
            payload_hash: PayloadHash(hasher().hash(IdKind::Event, "", &offset.to_be_bytes())),
            event,
            capped: Capped::default(),
            items: None,
            raw: dead.then(|| b"{nonsense".as_slice().into()),
            extras: None,
        });
    }
}

/// Three cuts: an install and its conversion; a late click that changes both; a withdrawal that changes them again.
fn records() -> Records {
    let mut all = Records { symbols: Symbols::new(), rows: Vec::new() };
    all.symbols.intern(NO_CHANNEL).unwrap();
    let [first, second, third] = CUTS;
    all.touch(EventType::Impression, "u1", "i1", 10_000, "display", first);
    all.push(all.event(EventType::Install, "u1", "n1", 50_000), first);
    let currency = all.symbols.intern("USD").unwrap();
    let revenue = Some(Micros(9_000_001));
    let conversion = |user, id| {
        let name = all.symbols.intern("purchase").unwrap();
        Event { revenue, currency, name, ..all.event(EventType::Conversion, user, id, 60_000) }
    };
    let (governed, alone) = (conversion("u1", "c1"), conversion("u2", "c2"));
    all.push(governed, first);
    all.push(alone, first);
    all.row(Verdict::Dead, None, first);
    all.touch(EventType::Click, "u1", "k1", 20_000, "search", second);
    let late = all.event(EventType::Click, "u1", "k0", -400_000_000);
    all.row(Verdict::Late, Some(late), second);
    all.push(all.event(EventType::Tombstone, "u1", "i1", 10_000), third);
    all
}

/// What the dataflow makes of the records: of each cut the changes of each view.
fn changes(rows: &[RecordRow], params: &Params) -> Vec<Vec<Arc<dyn CutChanges>>> {
    let (mut rows, params) = (rows.to_vec(), params.clone());
    rows.sort_by_key(|row| row.cut);
    timely::execute_directly(move |worker| {
        let (hub, probe) = (Hub::new(1), ProbeHandle::new());
        let (mut feed, mut backlogs) = worker.dataflow::<Tick, _, _>(|scope| {
            let (feed, outputs) = build(scope, &params, Default::default());
            let (mut publisher, cutover) = (hub.publisher(0), Cutover { replay_from: 0, snapshot_at: None });
            let attached = outputs.into_iter().map(|output| output.attach(&mut publisher, &probe, cutover));
            (feed, attached.collect::<Vec<_>>())
        });
        let mut batch = feed.batch();
        for row in rows.iter().filter(|row| row.verdict == Verdict::Ok) {
            let event = row.event.expect("an accepted record is an event");
            let tick = row.cut - 1;
            feed.advance_to(tick);
            batch.push(
                &Accepted { event, arrival_ms: row.arrival_ms, payload_hash: row.payload_hash, capped: row.capped },
                tick,
            );
            feed.take(&mut batch);
        }
        feed.advance_to(CUTS[2]);
        feed.flush();
        worker.step_while(|| probe.less_than(&CUTS[2]));
        CUTS.map(|cut| backlogs.iter_mut().map(|backlog| backlog.take_through(cut)).collect()).to_vec()
    })
}

/// Writes the lake, a commit for each cut.
async fn lake() -> TempDir {
    lake_of(records()).await
}

async fn lake_of(records: Records) -> TempDir {
    lake_with(&settings(), records).await
}

async fn lake_with(settings: &LakeSettings, records: Records) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (mut ledger, _) = Ledger::open(dir.path(), settings, false, &[], &Symbols::new()).await.unwrap();
    let changes = changes(&records.rows, &ledger.lake().settings.views);
    let mut names = records.symbols.take_unsaved();
    let last = records.rows.iter().map(|row| row.cut).max().unwrap();
    for (cut, changes) in CUTS.into_iter().zip(changes).filter(|(cut, _)| *cut <= last) {
        let part = Part {
            rows: vec![records.rows.iter().filter(|row| row.cut == cut).cloned().collect::<Vec<_>>().into()],
            changes,
            ..Part::default()
        };
        ledger.commit(cut, vec![part], std::mem::take(&mut names)).await.unwrap();
    }
    dir
}

/// A session without a lake.
pub(super) async fn empty_session() -> Session {
    catalog::empty(Params::default(), &hasher()).await.unwrap()
}

pub(super) async fn printed(session: &Session, statement: &str) -> String {
    let mut out = Vec::new();
    execute(session, statement, Format::Csv, &mut out).await.unwrap();
    String::from_utf8(out).unwrap()
}

fn resources() -> Arc<Resources> {
    Resources::of_machine().unwrap()
}

async fn at(lake: &TempDir, as_of: Option<Tick>) -> Session {
    open(lake.path(), as_of, &hasher(), resources()).await.unwrap()
}

#[tokio::test]
async fn an_outer_join_by_names_is_refused_where_it_would_lose_the_key() {
    let session = empty_session().await;
    let sides = ("(VALUES (1, 2)) AS a(k, v)", "(VALUES (3, 4)) AS b(k, w)");
    for (join, refused) in [("FULL", true), ("RIGHT", true), ("NATURAL FULL", true), ("LEFT", false), ("INNER", false)]
    {
        let using = if join.starts_with("NATURAL") { "" } else { "USING (k)" };
        let asked = format!("SELECT * FROM (SELECT k, v, w FROM {} {join} JOIN {} {using}) AS t", sides.0, sides.1);
        let answer = session.query(&asked).await;
        assert_eq!(matches!(answer, Err(SqlError::OuterUsing(_))), refused, "{join}");
    }
    let by_hand =
        "SELECT coalesce(a.k, b.k) AS k FROM (VALUES (1)) AS a(k) FULL JOIN (VALUES (3)) AS b(k) ON a.k = b.k";
    assert_eq!(printed(&session, &format!("{by_hand} ORDER BY k")).await, "k\n1\n3\n");
}

#[tokio::test]
async fn people_see_names_times_and_paths() {
    let lake = lake().await;
    let session = at(&lake, None).await;
    let installs = printed(
        &session,
        "SELECT app, event_time, method, channel, touch_type, ctit_ms, path FROM installs WHERE user_id = user_id('shop', 'u1')",
    )
    .await;
    let k1 = super::format::hex(&hasher().hash(IdKind::Event, "shop", b"k1").to_bytes());
    let u1 = super::format::hex(&hasher().hash(IdKind::User, "shop", b"u1").to_bytes());
    let path = format!(
        "[{{\"event_time\":\"2026-01-01T00:00:20.000Z\",\"event_id\":\"{k1}\",\"subject\":\"{u1}\",\"type\":\"click\",\
         \"method\":\"person\",\"channel\":\"search\",\"campaign\":null,\"ad_group\":null,\"creative\":null,\
         \"source\":null}}]"
    );
    assert_eq!(
        installs,
        format!(
            "app,event_time,method,channel,touch_type,ctit_ms,path\n\
             web,2026-01-01T00:00:50.000Z,person,search,click,30000,\"{}\"\n",
            path.replace('"', "\"\"")
        )
    );
    assert_eq!(
        printed(
            &session,
            "SELECT channel, sum(credit_ppm) ppm, sum(revenue_micros) micros, currency FROM credits \
             WHERE model = 'linear' AND name = 'purchase' GROUP BY channel, currency ORDER BY channel"
        )
        .await,
        "channel,ppm,micros,currency\n(none),1000000,9000001,USD\nsearch,1000000,9000001,USD\n"
    );
    assert_eq!(
        printed(&session, "SELECT reason, raw FROM dead_letters").await,
        "reason,raw\nnot JSON,7b6e6f6e73656e7365\n"
    );
    assert_eq!(
        printed(&session, "SELECT type, lateness_ms, lateness FROM late_events").await,
        "type,lateness_ms,lateness\nclick,400101500,4d 15h\n"
    );
    assert_eq!(
        printed(&session, "SELECT type, count(*) n FROM events GROUP BY 1 ORDER BY 1").await,
        "type,n\nclick,1\nconversion,2\ninstall,1\n"
    );
    assert_eq!(printed(&session, "SELECT count(*) n FROM costs").await, "n\n0\n");
}

#[tokio::test]
async fn lists_are_filtered_and_taken_apart() {
    let mut all = records();
    let fault = schemas::fault::Fault { field: "user_id", reason: "placeholder", value: Some("null".into()) };
    let extras = schemas::fault::Extras { faults: vec![fault], unknown_fields: vec!["x".into()], ..Default::default() };
    all.rows[1].extras = Some(Box::new(extras));
    let lake = lake_of(all).await;
    let session = at(&lake, None).await;
    for (query, expected) in [
        ("count(*) n FROM records WHERE faults IS NOT NULL", "1"),
        ("count(*) n FROM records WHERE faults IS NULL", "7"),
        ("count(*) n FROM records WHERE unknown_fields IS NOT NULL AND verdict = 'ok'", "1"),
        ("count(*) n FROM records WHERE array_length(faults) = 1", "1"),
        ("count(*) n FROM records WHERE faults[1]['reason'] = 'placeholder'", "1"),
        ("count(*) n FROM records WHERE array_has(unknown_fields, 'x')", "1"),
        ("f['value'] n FROM (SELECT unnest(faults) f FROM records WHERE faults IS NOT NULL)", "null"),
        ("unnest(unknown_fields) n FROM records", "x"),
        ("count(*) n FROM installs WHERE path IS NOT NULL", "1"),
        ("sum(array_length(path)) n FROM installs WHERE array_length(path) > 0", "1"),
        ("count(*) n FROM installs WHERE path[1]['channel'] = 'search'", "1"),
        ("count(*) n FROM installs WHERE path[1]['event_time'] > '2026-01-01T00:00:00Z'", "1"),
        ("count(*) n FROM raw.installs WHERE path IS NOT NULL AND array_length(path) = 1", "1"),
        ("count(*) n FROM installs_changes WHERE path IS NOT NULL AND _diff < 0", "2"),
        ("count(*) n FROM raw.records WHERE faults IS NOT NULL AND unknown_fields IS NOT NULL", "1"),
        (
            "count(*) n FROM (SELECT path, faults FROM installs LEFT JOIN records ON path IS NOT NULL AND faults IS NOT NULL)",
            "1",
        ),
    ] {
        assert_eq!(printed(&session, &format!("SELECT {query}")).await, format!("n\n{expected}\n"), "{query}");
    }
}

#[tokio::test]
async fn lists_of_a_lake_of_0_1_0_are_filtered_too() {
    let old = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/lake-0.1.0/lake");
    let session = open(&old, None, &hasher(), resources()).await.unwrap();
    for (query, expected) in [
        ("count(*) n FROM records WHERE faults IS NOT NULL OR unknown_fields IS NOT NULL", "0"),
        ("count(*) n FROM records WHERE array_length(faults) > 0", "0"),
        ("count(*) n FROM (SELECT unnest(faults) FROM records)", "0"),
        ("count(*) n FROM installs WHERE path IS NOT NULL AND array_length(path) > 0", "3"),
        ("count(*) n FROM (SELECT unnest(path) t FROM installs WHERE path IS NOT NULL) WHERE t['type'] = 'click'", "3"),
    ] {
        assert_eq!(printed(&session, &format!("SELECT {query}")).await, format!("n\n{expected}\n"), "{query}");
    }
}

#[tokio::test]
async fn the_questions_of_the_demo_run() {
    let lake = lake().await;
    let session = at(&lake, None).await;
    let (questions, rest) = statements(include_str!("../../jobs/questions.sql"));
    assert_eq!((questions.len(), rest.trim()), (5, ""));
    for question in questions {
        printed(&session, &question).await;
    }
}

#[tokio::test]
async fn functions_take_and_give_ids_and_symbols() {
    let lake = lake().await;
    let session = at(&lake, None).await;
    assert_eq!(
        printed(
            &session,
            "SELECT symbol_name(symbol('search')) a, symbol_name(7) b, symbol('') c, symbol_name(NULL) d, \
             user_id('shop', 'u1') = device_id('shop', 'u1') e, user_id(NULL, 'u1') f, \
             (SELECT count(*) FROM raw.events WHERE channel = symbol('search')) g"
        )
        .await,
        "a,b,c,d,e,f,g\nsearch,#0000000000000007,,,false,,1\n"
    );
    let click = super::format::hex(&hasher().hash(IdKind::Click, "shop", b"x").to_bytes());
    let same = "SELECT device_id('shop', 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11') \
                = device_id('shop', ' a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11') a, device_id('shop', '0000-0000') b";
    assert_eq!(printed(&session, same).await, "a,b\ntrue,\n");
    assert_eq!(printed(&session, "SELECT click_id('shop', 'x') id").await, format!("id\n{click}\n"));
}

#[tokio::test]
async fn time_travel_shows_what_was_current() {
    let lake = lake().await;
    let all = "SELECT * FROM raw.credits ORDER BY 3, 7, 10";
    for (cut, touches) in CUTS.into_iter().zip(["display", "display search", "search"]) {
        let session = at(&lake, Some(cut)).await;
        assert_eq!(session.cut(), cut);
        let mut names: Vec<String> = printed(
            &session,
            "SELECT DISTINCT touch['channel'] FROM (SELECT unnest(path) touch FROM installs) ORDER BY 1",
        )
        .await
        .lines()
        .skip(1)
        .map(str::to_owned)
        .collect();
        names.sort();
        assert_eq!(names.join(" "), touches, "at {cut}");
        assert!(audit(&session, &[]).await.unwrap().is_clean());
        // Between two cuts the earlier one is read.
        let between = at(&lake, Some((cut + 999).min(CUTS[2]))).await;
        assert_eq!(printed(&between, all).await, printed(&session, all).await);
    }
    let before = at(&lake, Some(CUTS[0] - 1)).await;
    assert_eq!(printed(&before, "SELECT count(*) n FROM records").await, "n\n0\n");
    let beyond = open(lake.path(), Some(CUTS[2] + 1), &hasher(), resources()).await.err().unwrap();
    assert!(beyond.to_string().contains("the last cut is 1767225703000 (2026-01-01T00:01:43.000Z)"), "{beyond}");
}

/// A table of the lake as another client opens it.
async fn table(lake: &TempDir, name: &str) -> DeltaTable {
    let path = Lake::read(lake.path()).unwrap().table(name).canonicalize().unwrap();
    deltalake_core::open_table(url::Url::from_directory_path(path).unwrap()).await.unwrap()
}

/// Stored rows of a table, all columns, for another client to write again.
async fn stored(lake: &TempDir, query: &str) -> Vec<RecordBatch> {
    let session = at(lake, None).await;
    session.raw().sql(query).await.unwrap().collect().await.unwrap()
}

async fn audited(lake: &TempDir, views: &[&str]) -> Report {
    let views: Vec<String> = views.iter().map(|view| (*view).to_owned()).collect();
    audit(&at(lake, None).await, &views).await.unwrap()
}

#[tokio::test]
async fn audit_finds_exactly_what_was_planted() {
    let lake = lake().await;
    let clean = audited(&lake, &[]).await;
    let expected = "at cut 1767225703000 (2026-01-01T00:01:43.000Z)\n\
         contested_events: 1 rows expected, 1 present: no difference\n\
         costs: 0 rows expected, 0 present: no difference\n\
         activity: 2 rows expected, 2 present: no difference\n\
         installs: 1 rows expected, 1 present: no difference\n\
         credits: 12 rows expected, 12 present: no difference\n\
         metrics_hourly: 3 rows expected, 3 present: no difference\n";
    assert!(clean.text().starts_with(expected) && clean.is_clean(), "{}", clean.text());

    let current = format!("_diff = 1 AND _cut = {}", CUTS[2]);
    let changed = table(&lake, "installs").await.update().with_predicate(current.as_str());
    changed.with_update("ctit_ms", "12345").await.unwrap();
    let deleted = format!("{current} AND model = 'linear'");
    table(&lake, "credits").await.delete().with_predicate(deleted.as_str()).await.unwrap();
    let again = "SELECT * FROM credits_changes WHERE _diff = 1 AND model = 'last' AND touch_event_id IS NULL";
    table(&lake, "credits").await.write(stored(&lake, again).await).await.unwrap();
    let other =
        again.replace("SELECT *", "SELECT * REPLACE (event_time + 1 AS event_time)").replace("'last'", "'first'");
    table(&lake, "credits").await.write(stored(&lake, &other).await).await.unwrap();
    let more = "SELECT * REPLACE (2 AS clicks) FROM metrics_hourly_changes WHERE clicks > 0 LIMIT 1";
    table(&lake, "metrics_hourly").await.write(stored(&lake, more).await).await.unwrap();

    let report = audited(&lake, &[]).await;
    let text = report.text();
    let ids = |id: &str| super::format::hex(&hasher().hash(IdKind::Event, "shop", id.as_bytes()).to_bytes());
    let lines: Vec<&str> = text.lines().skip(3).collect();
    assert_eq!(lines[1], "installs: 1 rows expected, 1 present: 1 difference");
    assert!(lines[2].starts_with("~ {\"tenant\":\"shop\",\"subject\":") && lines[2].contains(&ids("n1")), "{text}");
    assert_eq!(lines[3], "    ctit_ms: expected 30000, present 12345");
    assert_eq!(lines[4], "credits: 12 rows expected, 13 present: 3 differences");
    let end = lines.iter().position(|line| line.starts_with("metrics_hourly")).unwrap();
    let mut planted = lines[5..end].to_vec();
    planted.sort_unstable();
    assert_eq!(lines[end], "metrics_hourly: 3 rows expected, 3 present: 1 difference", "{text}");
    assert_eq!(planted.len(), 3, "{text}");
    let metrics = lines[end + 1..].join("\n");
    assert!(
        metrics.contains("clicks: expected 1, present 3") && metrics.contains("rows: expected 2, present 4"),
        "{text}"
    );
    let linear = "\"model\":\"linear\",\"touch_event_id\":\"";
    assert!(planted[0].starts_with('+') && planted[0].contains(linear), "{text}");
    let first = "\"event_time\":\"2026-01-01T00:01:00.001Z\",\"name\":\"purchase\",\"model\":\"first\"";
    assert!(planted[1..].iter().any(|line| line.starts_with('-') && line.contains(first)), "{text}");
    let last = "\"event_time\":\"2026-01-01T00:01:00.000Z\",\"name\":\"purchase\",\"model\":\"last\"";
    assert!(planted[1..].iter().any(|line| line.starts_with('-') && line.contains(last)), "{text}");

    // A view is judged by what its inputs should be, not by what they are.
    let credits = audited(&lake, &["credits"]).await;
    assert_eq!((credits.views.len(), credits.views[0].differences.len()), (1, 3));
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["views"][3]["differences"][0]["difference"], "changed");
    assert_eq!(json["views"][3]["differences"][0]["columns"][0]["present"], 12345);
    let unknown = audit(&at(&lake, None).await, &["events".to_owned()]).await.unwrap_err();
    let expected =
        "there is no view \"events\"; there are: contested_events, costs, activity, installs, credits, metrics_hourly";
    assert!(unknown.to_string().starts_with(expected), "{unknown}");
}

#[tokio::test]
async fn audit_finds_rows_that_stand_less_than_never_and_what_is_stored_twice() {
    let lake = lake().await;
    let gone = format!("_diff = 1 AND _cut = {} AND touch_event_id IS NULL AND model = 'last'", CUTS[0]);
    let changed = table(&lake, "credits").await.update().with_predicate(gone.as_str());
    changed.with_update("_diff", "-1").await.unwrap();
    let twice = stored(&lake, "SELECT * FROM records WHERE \"offset\" = 4").await;
    table(&lake, "records").await.write(twice).await.unwrap();
    let renamed = stored(&lake, "SELECT * REPLACE ('Search' AS name) FROM symbols WHERE name = 'search'").await;
    table(&lake, "symbols").await.write(renamed).await.unwrap();

    let report = audited(&lake, &["credits"]).await;
    let signs: String = report.views[0].differences.iter().map(|difference| difference.text().remove(0)).collect();
    assert_eq!(signs, "+!", "{}", report.text());
    assert_eq!(report.findings[0], "records holds ad-events partition 0 offset 4 2 times");
    assert!(report.findings[1].ends_with("has the names [\"Search\",\"search\"]"), "{}", report.text());
    assert!(!report.is_clean());
}

#[tokio::test]
async fn an_empty_lake_has_empty_tables() {
    let dir = tempfile::tempdir().unwrap();
    drop(Ledger::open(dir.path(), &settings(), false, &[], &Symbols::new()).await.unwrap());
    for session in [at(&dir, None).await, catalog::empty(Params::default(), &hasher()).await.unwrap()] {
        for table in session.tables().await.unwrap().into_keys() {
            assert_eq!(printed(&session, &format!("SELECT count(*) n FROM {table}")).await, "n\n0\n", "{table}");
        }
        // All definitions run.
        assert!(audit(&session, &[]).await.unwrap().is_clean());
    }
    let none = open(tempfile::tempdir().unwrap().path(), None, &hasher(), resources()).await.err().unwrap();
    assert!(none.to_string().ends_with("is no lake: it has no lake.json"), "{none}");
}

#[tokio::test]
async fn only_reading_is_allowed_and_errors_are_short() {
    let lake = lake().await;
    let session = at(&lake, None).await;
    for statement in
        ["CREATE TABLE t AS SELECT 1", "INSERT INTO installs SELECT * FROM installs", "DROP TABLE installs"]
    {
        assert!(execute(&session, statement, Format::Csv, Vec::new()).await.is_err(), "{statement}");
    }
    let error = execute(&session, "SELECT chanel FROM credits", Format::Csv, Vec::new()).await.unwrap_err().to_string();
    assert!(error.contains("chanel") && !error.contains("Backtrace"), "{error}");
}

#[tokio::test]
async fn the_shell() {
    let (lake, hasher) = (lake().await, hasher());
    let mut shell = repl::Shell::new(at(&lake, None).await, lake.path().to_owned(), &hasher, Format::Csv);
    let mut typed = async |line: &str| {
        let mut out = Vec::new();
        let goes_on = shell.line(line, &mut out).await.unwrap();
        (goes_on, String::from_utf8(out).unwrap())
    };
    assert_eq!(typed("SELECT count(*)").await, (true, String::new()));
    assert_eq!(typed("  AS n -- not; yet").await, (true, String::new()));
    assert_eq!(typed("FROM installs; SELECT 1").await.1, "n\n1\n");
    assert_eq!(typed("AS one;").await.1, "one\n1\n");
    assert!(typed("\\d").await.1.contains("\ninstalls_changes\n"));
    assert!(typed("\\d credits").await.1.contains("credit_ppm          bigint     share of the conversion"));
    let first = typed(&format!("\\as-of {}", CUTS[0])).await.1;
    assert_eq!(first, "reading at cut 1767225701000 (2026-01-01T00:01:41.000Z)\n");
    assert_eq!(typed("SELECT channel FROM installs;").await.1, "channel\ndisplay\n");
    assert_eq!(typed("\\timing").await.1, "timing is on\n");
    assert!(typed("\\x").await.1.starts_with("there is no \\x"));
    assert!(!typed("\\q").await.0);
}

#[test]
fn statements_end_at_semicolons_outside_of_quotes_and_comments() {
    let split = |text: &str| statements(text);
    assert_eq!(split("a; ;b"), (vec!["a".to_owned()], "b".to_owned()));
    assert_eq!(split("select ';''' ; x").0, ["select ';'''"]);
    assert_eq!(split("select 1 -- a;b\n, 2;").0, ["select 1 \n, 2"]);
    assert_eq!(split("select /* ; */ 1 - 2 / 3;").0, ["select   1 - 2 / 3"]);
    assert_eq!(split("select 'open; "), (vec![], "select 'open; ".to_owned()));
}

#[test]
fn cuts_are_milliseconds_or_times() {
    assert_eq!(catalog::parse_cut("1767225701000").unwrap(), CUTS[0]);
    assert_eq!(catalog::parse_cut("2026-01-01T01:01:41+01:00").unwrap(), CUTS[0]);
    for text in ["", "yesterday", "-5", "1960-01-01T00:00:00Z"] {
        assert!(catalog::parse_cut(text).unwrap_err().to_string().contains("is no cut"), "{text}");
    }
}
