//! The views over `records`: which records are events, which came too late, which could not be read, and what did media
//! cost? Each test writes its records to a lake of its own.

use arrow::util::pretty::pretty_format_batches;
use dataflows::views;
use datafusion::prelude::DataFrame;
use proptest::prelude::*;
use schemas::units::HOUR_MS;

use super::*;

/// A lake of these records. Wherever it is read, the views that look for contested events alone are what they are defined as.
async fn written(records: Records) -> TempDir {
    let lake = lake_of(records).await;
    for cut in CUTS {
        let Ok(session) = open(lake.path(), Some(cut), &hasher(), resources()).await else { continue };
        for view in [&views::ledger::EVENTS, &views::ledger::SUPERSEDED] {
            let defined = session.raw().sql(&(view.sql)(session.params())).await.unwrap();
            let read = session.raw().table(view.name).await.unwrap();
            assert_eq!(sorted(read).await, sorted(defined).await, "{} at {cut}", view.name);
        }
    }
    lake
}

async fn sorted(rows: DataFrame) -> Vec<String> {
    let batches = rows.collect().await.unwrap();
    let mut lines: Vec<_> = pretty_format_batches(&batches).unwrap().to_string().lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

fn none() -> Records {
    Records { symbols: Symbols::new(), rows: Vec::new() }
}

/// The largest and the smallest of payload hashes are easy to say.
fn hash(byte: u8) -> PayloadHash {
    PayloadHash(schemas::Id::from_bytes([byte; 16]))
}

impl Records {
    fn last(&mut self) -> &mut RecordRow {
        self.rows.last_mut().unwrap()
    }

    /// An accepted event, told from the others by its `placement`; returned so that it can come again.
    fn named(&mut self, placement: &str, event: Event, payload: u8) -> Event {
        let event = Event { placement: self.symbols.intern(placement).unwrap(), ..event };
        self.push(event, CUTS[0]);
        self.last().payload_hash = hash(payload);
        event
    }

    /// An accepted `cost` of a campaign; the ad group and the hour are told.
    fn cost(&mut self, ad_group: &str, at_ms: i64, version: Option<i64>, payload: u8, amount: (i64, &str)) -> Event {
        let symbol = |name: &str| self.symbols.intern(name).unwrap();
        let event = Event {
            source: symbol("network"),
            campaign: symbol("spring"),
            ad_group: symbol(ad_group),
            cost: Some(Micros(amount.0)),
            currency: symbol(amount.1),
            version,
            subject: Subject::default(),
            user: UserId::default(),
            ..self.event(EventType::Cost, "", &format!("{ad_group} {at_ms} {version:?} {payload}"), at_ms)
        };
        self.push(event, CUTS[0]);
        self.last().payload_hash = hash(payload);
        event
    }

    fn withdraw(&mut self, event: Event, cut: Tick) {
        self.push(Event { event_type: EventType::Tombstone, ..event }, cut);
    }
}

#[tokio::test]
async fn an_event_stands_once() {
    let mut all = none();
    let click = all.event(EventType::Click, "u1", "k1", 0);
    all.named("larger hash", click, 9);
    all.named("smallest hash", click, 3);
    all.named("smallest hash", click, 3);
    all.named("between", click, 5);
    // The identity is all four: tenant, subject, id and time.
    all.named("other time", Event { event_time: EventTime(START_MS + 1), ..click }, 9);
    all.named("other subject", Event { subject: Subject::default(), user: UserId::default(), ..click }, 9);
    let other = all.symbols.intern("other").unwrap();
    all.named("other tenant", Event { tenant: other, ..click }, 9);
    // A copy may differ in anything else, its type too.
    all.named("a view", Event { event_type: EventType::Impression, ..all.event(EventType::Click, "u1", "k2", 0) }, 1);
    all.named("a click", all.event(EventType::Click, "u1", "k2", 0), 2);
    let lake = written(all).await;
    let session = at(&lake, None).await;
    assert_eq!(
        printed(&session, "SELECT placement, tenant, type, \"offset\" FROM events ORDER BY \"offset\"").await,
        "placement,tenant,type,offset\n\
         smallest hash,shop,click,1\n\
         other time,shop,click,4\n\
         other subject,shop,click,5\n\
         other tenant,other,click,6\n\
         a view,shop,impression,7\n"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, failure_persistence: None, ..ProptestConfig::default() })]

    /// Of few identities many copies and withdrawals, in any order: [`written`] compares.
    #[test]
    fn few_events_many_copies(records in prop::collection::vec((0..8u8, 0..3u8, 0..4u8, 0..8u8, 0..3usize), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut all = none();
            for (identity, kind, payload, capped, cut) in records {
                let kind = [EventType::Click, EventType::Conversion, EventType::Tombstone][usize::from(kind)];
                let (user, id) = (format!("u{}", identity % 2), format!("k{}", identity % 4));
                all.push(all.event(kind, &user, &id, i64::from(identity / 4)), CUTS[cut]);
                let last = all.last();
                (last.payload_hash, last.capped) = (hash(payload + 1), Capped(capped));
            }
            written(all).await;
        });
    }
}

#[tokio::test]
async fn superseded_records_say_why() {
    let mut all = none();
    let click = all.event(EventType::Click, "u1", "k1", 0);
    all.named("copy", click, 9);
    all.named("stands", click, 3);
    let gone = all.event(EventType::Conversion, "u1", "c1", 0);
    all.named("withdrawn", gone, 1);
    all.withdraw(gone, CUTS[1]);
    all.named("alone", all.event(EventType::Click, "u1", "k2", 0), 1);
    let lake = written(all).await;
    assert_eq!(
        printed(&at(&lake, None).await, "SELECT \"offset\", reason FROM superseded ORDER BY 1").await,
        "offset,reason\n0,copy\n2,withdrawn\n"
    );
}

#[tokio::test]
async fn a_key_is_capped_where_all_copies_of_the_content_are() {
    let mut all = none();
    let click = all.event(EventType::Click, "u1", "k1", 0);
    for (payload, capped) in [(3, 0b111), (3, 0b101), (4, 0b000)] {
        all.named("twice capped", click, payload);
        all.last().capped = Capped(capped);
    }
    let click = all.event(EventType::Click, "u1", "k2", 0);
    for capped in [0b011, 0b100] {
        all.named("never in both", click, 3);
        all.last().capped = Capped(capped);
    }
    let lake = written(all).await;
    assert_eq!(
        printed(&at(&lake, None).await, "SELECT placement, capped FROM events ORDER BY 2 DESC").await,
        "placement,capped\ntwice capped,5\nnever in both,0\n"
    );
}

#[tokio::test]
async fn what_was_withdrawn_is_no_event() {
    let [first, second, third] = CUTS;
    let mut all = none();
    // The withdrawal is there first, and holds for copies that come later.
    let early = all.event(EventType::Conversion, "u1", "c0", 0);
    all.withdraw(early, first);
    all.push(early, second);
    all.push(early, third);
    // Withdrawn after both of its copies, which differ.
    let click = all.event(EventType::Click, "u1", "k1", 0);
    all.named("one", click, 3);
    all.named("other", click, 4);
    all.withdraw(click, third);
    // None of these withdraws what stands.
    let stands = all.event(EventType::Click, "u1", "k2", 0);
    all.named("stands", stands, 3);
    all.withdraw(Event { event_time: EventTime(START_MS + 1), ..stands }, first);
    all.withdraw(Event { subject: Subject::default(), ..stands }, first);
    all.withdraw(Event { event_id: EventId::default(), ..stands }, first);
    let too_late = Event { event_type: EventType::Tombstone, ..stands };
    all.row(Verdict::Late, Some(too_late), third);
    let lake = written(all).await;
    let events = "SELECT type, placement FROM events ORDER BY 1, 2";
    assert_eq!(printed(&at(&lake, None).await, events).await, "type,placement\nclick,stands\n");
    let before = at(&lake, Some(second)).await;
    assert_eq!(printed(&before, events).await, "type,placement\nclick,one\nclick,stands\n");
}

#[tokio::test]
async fn late_records_are_told_by_their_lateness() {
    let mut all = none();
    let on_time = all.event(EventType::Click, "u1", "k1", 0);
    all.push(on_time, CUTS[0]);
    // A late copy of what stands, and two that are late alone; each record is a row.
    all.row(Verdict::Late, Some(on_time), CUTS[1]);
    let late = all.event(EventType::Install, "u1", "n1", -300_000_000);
    all.row(Verdict::Late, Some(late), CUTS[1]);
    all.row(Verdict::Late, Some(late), CUTS[2]);
    all.row(Verdict::Dead, None, CUTS[2]);
    let lake = written(all).await;
    let session = at(&lake, None).await;
    // Arrival is half a second before the cut.
    assert_eq!(
        printed(
            &session,
            "SELECT type, event_time, lateness_ms, topic, \"offset\" FROM late_events ORDER BY \"offset\""
        )
        .await,
        "type,event_time,lateness_ms,topic,offset\n\
         click,2026-01-01T00:00:00.000Z,101500,ad-events,1\n\
         install,2025-12-28T12:40:00.000Z,300101500,ad-events,2\n\
         install,2025-12-28T12:40:00.000Z,300102500,ad-events,3\n"
    );
    assert_eq!(printed(&session, "SELECT type, \"offset\" FROM events").await, "type,offset\nclick,0\n");
}

#[tokio::test]
async fn dead_letters_keep_their_bytes_and_say_why() {
    let mut all = none();
    all.push(all.event(EventType::Click, "u1", "k1", 0), CUTS[0]);
    for (reason, raw) in
        [("invalid UTF-8", b"\xff\x00\xfe".as_slice()), ("empty", b""), ("invalid UTF-8", b"\xff\x00\xfe")]
    {
        all.row(Verdict::Dead, None, CUTS[1]);
        let row = all.last();
        (row.reason, row.raw, row.partition) = (Some(reason.into()), Some(raw.into()), 7);
    }
    let lake = written(all).await;
    let session = at(&lake, None).await;
    assert_eq!(
        printed(
            &session,
            "SELECT reason, raw, raw IS NULL AS lost, topic, \"partition\", \"offset\", arrival \
             FROM dead_letters ORDER BY \"offset\""
        )
        .await,
        "reason,raw,lost,topic,partition,offset,arrival\n\
         invalid UTF-8,ff00fe,false,ad-events,7,1,2026-01-01T00:01:41.500Z\n\
         empty,,false,ad-events,7,2,2026-01-01T00:01:41.500Z\n\
         invalid UTF-8,ff00fe,false,ad-events,7,3,2026-01-01T00:01:41.500Z\n"
    );
}

#[tokio::test]
async fn the_largest_version_of_a_cost_counts() {
    let mut all = none();
    // The larger version, though it came first and is the smaller amount and hash; its currency goes with it.
    all.cost("version", 0, Some(2), 1, (90, "USD"));
    all.cost("version", 0, Some(1), 9, (100, "EUR"));
    // Of one version the larger hash, whatever came last.
    all.cost("hash", 0, Some(1), 8, (80, "GBP"));
    all.cost("hash", 0, Some(1), 9, (70, "USD"));
    all.cost("hash", 0, Some(1), 7, (95, "EUR"));
    // No version is version zero.
    all.cost("no version", 0, None, 9, (50, "EUR"));
    all.cost("no version", 0, Some(1), 1, (40, "USD"));
    all.cost("no version is zero", 0, None, 9, (50, "EUR"));
    all.cost("no version is zero", 0, Some(0), 1, (40, "USD"));
    // Any moment of an hour says the hour; the next one is another.
    all.cost("hour", 0, Some(1), 1, (10, "EUR"));
    all.cost("hour", HOUR_MS - 1, Some(2), 1, (11, "EUR"));
    all.cost("hour", HOUR_MS, Some(1), 1, (12, "EUR"));
    // What was withdrawn leaves its place to the version before; what is late or dead has none.
    all.cost("withdrawn", 0, Some(1), 1, (20, "EUR"));
    let wrong = all.cost("withdrawn", 0, Some(2), 1, (21, "USD"));
    all.withdraw(wrong, CUTS[1]);
    all.cost("late", 0, Some(1), 1, (30, "EUR"));
    all.cost("late", 0, Some(2), 1, (31, "USD"));
    all.last().verdict = Verdict::Late;
    // Another tenant, and no ad group at all.
    let other = all.symbols.intern("other").unwrap();
    all.cost("version", 0, Some(1), 1, (7, "EUR"));
    all.last().event.as_mut().unwrap().tenant = other;
    all.cost("", 0, Some(1), 1, (6, "EUR"));
    let lake = lake_of(all).await;
    let audited = audited(&lake, &["costs"]).await;
    assert!(audited.is_clean(), "{}", audited.text());
    let session = at(&lake, None).await;
    assert_eq!(
        printed(
            &session,
            "SELECT tenant, ad_group, hour, cost_micros, currency, version FROM costs ORDER BY tenant, ad_group, hour"
        )
        .await,
        "tenant,ad_group,hour,cost_micros,currency,version\n\
         other,version,2026-01-01T00:00:00.000Z,7,EUR,1\n\
         shop,hash,2026-01-01T00:00:00.000Z,70,USD,1\n\
         shop,hour,2026-01-01T00:00:00.000Z,11,EUR,2\n\
         shop,hour,2026-01-01T01:00:00.000Z,12,EUR,1\n\
         shop,late,2026-01-01T00:00:00.000Z,30,EUR,1\n\
         shop,no version,2026-01-01T00:00:00.000Z,40,USD,1\n\
         shop,no version is zero,2026-01-01T00:00:00.000Z,50,EUR,\n\
         shop,version,2026-01-01T00:00:00.000Z,90,USD,2\n\
         shop,withdrawn,2026-01-01T00:00:00.000Z,20,EUR,1\n\
         shop,,2026-01-01T00:00:00.000Z,6,EUR,1\n"
    );
    let before = at(&lake, Some(CUTS[0])).await;
    let withdrawn = "SELECT cost_micros, currency FROM costs WHERE ad_group = 'withdrawn'";
    assert_eq!(printed(&before, withdrawn).await, "cost_micros,currency\n21,USD\n");
}

#[tokio::test]
async fn a_void_topic_counts_in_no_view_and_is_told_as_void() {
    let mut all = none();
    let topic = |all: &mut Records, topic: &str| all.last().topic = topic.into();
    let kept = all.event(EventType::Click, "u1", "k1", 0);
    all.named("kept", kept, 1);
    all.named("void", all.event(EventType::Click, "u1", "k2", 0), 2);
    topic(&mut all, "file:0a");
    // A copy and a withdrawal that were undone leave what others said.
    all.named("void copy", kept, 0);
    topic(&mut all, "file:0a");
    all.withdraw(kept, CUTS[0]);
    topic(&mut all, "file:0a");
    for verdict in [Verdict::Late, Verdict::Dead] {
        let event = (verdict == Verdict::Late).then(|| all.event(EventType::Click, "u1", "k3", 0));
        all.row(verdict, event, CUTS[0]);
        topic(&mut all, "file:0a");
    }
    let lake = written(all).await;
    let counts = "SELECT (SELECT count(*) FROM events) e, (SELECT count(*) FROM late_events) l, \
                  (SELECT count(*) FROM dead_letters) d, (SELECT count(*) FROM records) r";
    assert_eq!(printed(&at(&lake, None).await, counts).await, "e,l,d,r\n1,1,1,6\n");
    let stands = "SELECT placement FROM events";
    assert_eq!(printed(&at(&lake, None).await, stands).await, "placement\nvoid\n", "k1 is withdrawn");

    let void = ["file:0a".to_owned()];
    let (mut ledger, _) = Ledger::open(lake.path(), &settings(), false, &void, &Symbols::new()).await.unwrap();
    assert_eq!(printed(&at(&lake, None).await, counts).await, "e,l,d,r\n1,1,1,6\n", "not in effect yet");
    let told = "SELECT topic, file, records, ok, late, dead, is_void, declared_at IS NOT NULL d FROM imports";
    let header = "topic,file,records,ok,late,dead,is_void,d\n";
    assert_eq!(printed(&at(&lake, None).await, told).await, format!("{header}file:0a,,5,3,1,1,false,true\n"));
    ledger.commit(CUTS[1], vec![Part::default()], Vec::new()).await.unwrap();
    let session = at(&lake, None).await;
    assert_eq!(printed(&session, counts).await, "e,l,d,r\n1,0,0,6\n");
    assert_eq!(printed(&session, stands).await, "placement\nkept\n");
    assert_eq!(printed(&session, told).await, format!("{header}file:0a,,5,3,1,1,true,true\n"));
    // What was before it is gone with the tables that held it.
    let before = open(lake.path(), Some(CUTS[0] - 1_000), &hasher(), resources()).await.err().unwrap().to_string();
    assert!(before.contains("is summed, or was made anew: ask for that one or a later one"), "{before}");
}

#[tokio::test]
async fn faults_and_unknown_fields_are_counted() {
    use schemas::fault::{Extras, Fault};

    let mut all = none();
    let mut faulty = |user: &str, faults: &[(&'static str, &'static str, Option<&str>)], unknown: &[&str]| {
        all.named("", all.event(EventType::Click, user, user, 0), 1);
        let faults = faults.iter().map(|(field, reason, value)| Fault { field, reason, value: value.map(Box::from) });
        all.last().extras = Some(Box::new(Extras {
            faults: faults.collect(),
            unknown_fields: unknown.iter().map(|name| Box::from(*name)).collect(),
            ..Extras::default()
        }));
    };
    faulty("u1", &[("click_id", "placeholder", Some("{gclid}")), ("ip", "masked", None)], &["utm_id"]);
    faulty("u2", &[("click_id", "placeholder", Some("{gclid}"))], &["utm_id", "gclsrc"]);
    faulty("u3", &[], &[]);
    all.row(Verdict::Dead, None, CUTS[0]);
    let (key, headers) = (Some(b"k7".as_slice().into()), Some("{\"trace\":\"1\"}".into()));
    all.last().extras = Some(Box::new(Extras { key, headers, ..Extras::default() }));
    let lake = written(all).await;
    let session = at(&lake, None).await;
    let faults = "SELECT tenant, field, reason, value, records, first_arrival FROM field_faults ORDER BY field";
    assert_eq!(
        printed(&session, faults).await,
        "tenant,field,reason,value,records,first_arrival\n\
         shop,click_id,placeholder,{gclid},2,2026-01-01T00:01:40.500Z\n\
         shop,ip,masked,,1,2026-01-01T00:01:40.500Z\n"
    );
    assert_eq!(
        printed(&session, "SELECT field, records FROM unknown_fields ORDER BY field").await,
        "field,records\ngclsrc,1\nutm_id,2\n"
    );
    assert_eq!(
        printed(&session, "SELECT key, headers FROM dead_letters").await,
        "key,headers\n6b37,\"{\"\"trace\"\":\"\"1\"\"}\"\n"
    );
}
