//! The ledger on a directory: what survives, what is told apart, who may write.

mod of_builds;
mod of_views;
mod of_zones;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use dataflows::changes::CutChanges;
use dataflows::params::{Params, PersonRule};
use dataflows::views;
use dataflows::views::installs::InstallRow;
use datafusion::prelude::SessionContext;
use differential_dataflow::consolidation::consolidate_updates;
use schemas::event::{Capped, Event, EventType};
use schemas::ids::{EventId, Id, PayloadHash, Subject};
use schemas::symbols::{Name, Symbols};
use schemas::table::{Columns, RecordRow, Verdict, symbols_batch};
use schemas::units::{DAY_MS, EventTime};
use schemas::view::Method;
use schemas::{Symbol, Tick};
use serde_json::Value;
use tempfile::TempDir;

use super::file::encode;
use super::log::{EPOCH, TableLog};
use super::{CommitStats, Lake, LakeSettings, Ledger, LedgerError, Part, State, Throttle, Wanted};
use crate::lake::{PartitionId, Resume};

/// 2026-11-21, 00:00 UTC.
pub(super) const T0: Tick = 1_795_219_200_000;

pub(super) fn settings() -> LakeSettings {
    LakeSettings {
        allowed_lateness_ms: Some(3 * DAY_MS),
        lateness_by_type_ms: BTreeMap::default(),
        lateness_bound_ms: 3_600_000,
        cut_ms: 1_000,
        hot_key_touches: 64,
        id_key_check: "a1b2".to_owned(),
        zones: BTreeMap::default(),
        views: Params::default(),
    }
}

pub(super) async fn open(lake: &Path) -> (Ledger, State) {
    Ledger::open(lake, &settings(), false, &[], &Symbols::new()).await.unwrap()
}

pub(super) async fn open_error(lake: &Path, settings: &LakeSettings) -> String {
    Ledger::open(lake, settings, false, &[], &Symbols::new()).await.map(|_| ()).unwrap_err().to_string()
}

async fn take_over(lake: &Path) -> (Ledger, State) {
    Ledger::open(lake, &settings(), true, &[], &Symbols::new()).await.unwrap()
}

fn partition(number: i32) -> PartitionId {
    PartitionId { topic: "ads".into(), partition: number }
}

fn record(offset: i64, arrival_ms: i64, cut: Tick) -> RecordRow {
    let mut id = [0; 16];
    id[8..].copy_from_slice(&(offset + 1).to_be_bytes());
    let id = Id::from_bytes(id);
    RecordRow {
        verdict: Verdict::Ok,
        reason: None,
        topic: "ads".into(),
        partition: 0,
        offset,
        arrival_ms,
        cut,
        payload_hash: PayloadHash(id),
        event: Some(Event {
            event_type: if offset % 2 == 0 { EventType::Click } else { EventType::Impression },
            tenant: Symbol(7),
            event_id: EventId(id),
            event_time: EventTime(arrival_ms - offset % 5),
            subject: Subject(id),
            ..Event::default()
        }),
        capped: Capped::default(),
        items: None,
        raw: None,
        extras: None,
    }
}

/// A part with one record for each offset, which arrived 1 ms apart just before the cut.
pub(super) fn part(cut: Tick, offsets: std::ops::Range<i64>) -> Part {
    let rows: Vec<_> = offsets.clone().map(|offset| record(offset, cut as i64 - 500 + offset % 100, cut)).collect();
    Part { rows: vec![rows.into()], positions: vec![(partition(0), offsets.end)], ..Part::default() }
}

/// Changes that are there already, each batch of one cut.
pub(super) struct AtHand(pub(super) Vec<(Tick, RecordBatch)>);

impl CutChanges for AtHand {
    fn after(&self, done: Tick) -> Box<dyn Iterator<Item = RecordBatch> + '_> {
        Box::new(self.0.iter().filter(move |(cut, _)| *cut > done).map(|(_, batch)| batch.clone()))
    }
}

/// What a part has of all views where it has this of one.
pub(super) fn changes_of(view: &str, batches: Vec<(Tick, RecordBatch)>) -> Vec<Arc<dyn CutChanges>> {
    let of = |name| if name == view { batches.clone() } else { Vec::new() };
    views::maintained().map(|(view, _)| Arc::new(AtHand(of(view.name))) as Arc<dyn CutChanges>).collect()
}

/// All changes of a part.
pub(super) fn all(mut changes: Vec<(InstallRow, Tick, i64)>) -> Vec<Arc<dyn CutChanges>> {
    consolidate_updates(&mut changes);
    changes.sort_by_key(|(_, cut, _)| *cut);
    let of_cut = changes.chunk_by(|(_, one, _), (_, other, _)| one == other);
    changes_of("installs", of_cut.map(|changes| (changes[0].1, InstallRow::changes(changes))).collect())
}

/// The rows written of a view.
pub(super) fn written(stats: &CommitStats, view: &str) -> u64 {
    stats.views.iter().find(|(name, _)| *name == view).expect("it is in the catalogue").1
}

/// The views that are fresh.
pub(super) fn fresh(state: &State) -> Vec<&'static str> {
    let views = views::maintained().zip(&state.fresh);
    views.filter_map(|((view, _), fresh)| fresh.then_some(view.name)).collect()
}

/// Where a view is among those that a dataflow maintains.
fn place(view: &str) -> usize {
    views::maintained().position(|(known, _)| known.name == view).expect("it is in the catalogue")
}

/// Writes and commits changes to one view's table alone.
async fn commit_view(
    ledger: &mut Ledger,
    view: &str,
    cut: Tick,
    changes: &[Arc<dyn CutChanges>],
) -> Result<u64, LedgerError> {
    let (writer, epoch, place) = (ledger.writer.clone(), ledger.epoch, place(view));
    let sink = &mut ledger.sinks[place];
    let file = sink.encode(cut, vec![changes[place].clone()]).await?;
    sink.commit(&writer, epoch, cut, file).await
}

/// Commits records alone, as a process does that dies before it comes to the views.
async fn commit_records(
    ledger: &mut Ledger,
    cut: Tick,
    part: Part,
    unwritten: &[&str],
) -> Result<CommitStats, LedgerError> {
    let mut files = Vec::new();
    for (view, _) in views::maintained() {
        let changed = unwritten.contains(&view.name);
        files.push(if changed { Some(encode([symbols_batch(&[Name::of("x")], cut)]).unwrap().unwrap()) } else { None });
    }
    ledger.commit_records(cut, vec![part], &files).await
}

pub(super) fn install(number: i64, cut: Tick, diff: i64) -> (InstallRow, Tick, i64) {
    let row = InstallRow {
        tenant: Symbol(7),
        app: Symbol::NONE,
        event_id: EventId(Id::from_bytes((number as u128).to_be_bytes())),
        subject: Subject::NONE,
        event_time: EventTime(number),
        user: Default::default(),
        device: Default::default(),
        country: Symbol::NONE,
        event_type: EventType::Install,
        reattribution: false,
        comes_back: false,
        reinstall: false,
        method: Method::Organic,
        candidates: 1,
        touch: None,
        ctit_ms: None,
        path: Vec::new(),
        path_dropped: 0,
    };
    (row, cut, diff)
}

pub(super) async fn commit(ledger: &mut Ledger, cut: Tick, part: Part) -> Result<CommitStats, LedgerError> {
    ledger.commit(cut, vec![part], Vec::new()).await
}

pub(super) async fn loaded(ledger: &Ledger, from: Tick, to: Tick) -> Vec<RecordRow> {
    let mut all = Vec::new();
    let wanted = Wanted { committed: to, needed: None, any_age: None };
    ledger.load(&wanted, &Arc::default(), |_, rows| all.extend(rows)).await.unwrap();
    all.retain(|row| row.cut > from);
    all.sort_by_key(|row| row.offset);
    all
}

/// Runs SQL over a table as another client of Delta sees it.
pub(super) async fn sql(ledger: &Ledger, table: &str, query: &str) -> Vec<Vec<String>> {
    let url = url::Url::from_directory_path(ledger.lake().table(table).canonicalize().unwrap()).unwrap();
    let opened = deltalake_core::open_table(url).await.unwrap();
    let context = SessionContext::new();
    context.register_table("t", opened.table_provider().await.unwrap()).unwrap();
    let batches = context.sql(query).await.unwrap().collect().await.unwrap();
    let mut rows = Vec::new();
    for batch in batches {
        let format = arrow::util::display::FormatOptions::default();
        let columns: Vec<_> = (batch.columns().iter())
            .map(|column| arrow::util::display::ArrayFormatter::try_new(column, &format).unwrap())
            .collect();
        rows.extend((0..batch.num_rows()).map(|row| columns.iter().map(|c| c.value(row).to_string()).collect()));
    }
    rows
}

#[tokio::test]
async fn a_lake_that_is_gone_gets_no_commits_in_its_place() {
    let dir = TempDir::new().unwrap();
    let (lake, away) = (dir.path().join("lake"), dir.path().join("away"));
    let (mut ledger, _) = open(&lake).await;
    commit(&mut ledger, T0 + 1_000, part(T0 + 1_000, 0..10)).await.unwrap();
    std::fs::rename(&lake, &away).unwrap();
    let error = commit(&mut ledger, T0 + 2_000, part(T0 + 2_000, 10..20)).await.unwrap_err().to_string();
    assert!(error.starts_with("records: ") && error.contains("its log is not where it was"), "{error}");
    assert!(!lake.exists(), "nothing is written where it was");
    std::fs::rename(&away, &lake).unwrap();
    commit(&mut ledger, T0 + 2_000, part(T0 + 2_000, 10..20)).await.unwrap();
    assert_eq!(loaded(&ledger, 0, T0 + 2_000).await.len(), 20);
}

#[tokio::test]
async fn what_is_committed_is_found_again() {
    let dir = TempDir::new().unwrap();
    let (mut ledger, state) = open(dir.path()).await;
    let empty = State {
        epoch: 1,
        committed: None,
        load_to: 0,
        fresh: vec![false; views::maintained().count()],
        any_age: None,
        behind: false,
        resumes: vec![],
        topic_ids: BTreeMap::new(),
        notes: BTreeMap::new(),
        voids: Default::default(),
    };
    assert_eq!(state, empty);

    let cut = T0 + 1_000;
    let mut first = part(cut, 0..300);
    first.topic_ids = BTreeMap::from([("ads".to_owned(), "tVr/w+4==".to_owned())]);
    first.rows[0][0].verdict = Verdict::Late;
    let dead = &mut first.rows[0][1];
    (dead.verdict, dead.event, dead.raw) = (Verdict::Dead, None, Some(b"{".to_vec().into()));
    dead.reason = Some("no JSON".into());
    first.positions.push((partition(1), 17));
    let rows = first.rows[0].clone();
    let stats = commit(&mut ledger, cut, first).await.unwrap();
    assert_eq!((stats.records, stats.files), (300, 1));
    // A position may move without a record.
    let moved = Part { positions: vec![(partition(1), 18)], ..Part::default() };
    commit(&mut ledger, cut + 1_000, moved).await.unwrap();
    drop(ledger);

    let (ledger, state) = open(dir.path()).await;
    assert_eq!((state.epoch, state.committed), (2, Some(cut + 1_000)));
    let arrival_ms = rows.iter().map(|row| row.arrival_ms).max().unwrap();
    assert_eq!(
        state.resumes,
        [
            Resume { partition: partition(0), offset: 300, arrival_ms },
            Resume { partition: partition(1), offset: 18, arrival_ms: 0 }
        ]
    );
    assert_eq!(state.topic_ids["ads"], "tVr/w+4==");
    // Only what was accepted is loaded.
    assert_eq!(loaded(&ledger, 0, cut + 1_000).await, rows[2..]);
    assert_eq!(loaded(&ledger, cut, cut + 1_000).await, []);
    let query = "select verdict, count(*), min(arrival_date) from t group by verdict order by verdict";
    assert_eq!(
        sql(&ledger, "records", query).await,
        [["dead", "1", "2026-11-21"], ["late", "1", "2026-11-21"], ["ok", "298", "2026-11-21"]]
    );
}

#[tokio::test]
async fn a_commit_writes_one_file_per_worker_and_date() {
    let dir = TempDir::new().unwrap();
    let (mut ledger, _) = open(dir.path()).await;
    let cut = T0 + 1_000;
    let mut first = part(cut, 0..10);
    // The log may have taken a record in long before it is read.
    first.rows[0][3].arrival_ms -= DAY_MS;
    let second = Part { worker: 1, rows: vec![vec![record(77, T0 as i64, cut)].into()], ..Part::default() };
    let stats = ledger.commit(cut, vec![first, second, Part { worker: 2, ..Part::default() }], vec![]).await.unwrap();
    assert_eq!((stats.records, stats.files), (11, 3));
    let query = "select arrival_date, count(*) from t group by 1 order by 1";
    assert_eq!(sql(&ledger, "records", query).await, [["2026-11-20", "1"], ["2026-11-21", "10"]]);
    // The log's statistics answer, or at least do not lie.
    let query = "select count(*), min(event_time), max(_cut) from t where type = 'click' and _cut = ";
    let rows = sql(&ledger, "records", &format!("{query}{cut}")).await;
    assert_eq!(rows[0][0], "5");
    assert_eq!(sql(&ledger, "records", &format!("{query}{}", cut + 1)).await[0][0], "0");
}

#[tokio::test]
async fn row_groups_hold_one_type() {
    let rows = |kind: EventType, range: std::ops::Range<i64>| {
        range.map(move |offset| {
            let mut row = record(offset, T0 as i64, T0 + 1_000);
            row.event.as_mut().unwrap().event_type = kind;
            row
        })
    };
    let both: Vec<_> = rows(EventType::Click, 0..10_000).chain(rows(EventType::Impression, 10_000..30_000)).collect();
    let files = super::encode_records(&[both.into()], &Throttle::default()).unwrap();
    let file = bytes::Bytes::from(files[0].1.payload().clone());
    let reader = parquet::file::serialized_reader::SerializedFileReader::new(file).unwrap();
    let groups = parquet::file::reader::FileReader::metadata(&reader).row_groups().iter();
    assert_eq!(groups.map(|group| group.num_rows()).collect::<Vec<_>>(), [20_000, 10_000]);
}

#[tokio::test]
async fn names_are_saved_once_and_loaded() {
    let dir = TempDir::new().unwrap();
    let (mut ledger, _) = open(dir.path()).await;
    let names = || vec![Name::of("shop"), Name::of("ios")];
    ledger.commit(T0 + 1_000, vec![], names()).await.unwrap();
    ledger.commit(T0 + 2_000, vec![], names()).await.unwrap();
    // Cut off after the first step: the name is there, the cut is not.
    ledger.commit_names(T0 + 9_000, vec![Name::of("web")]).await.unwrap();
    drop(ledger);
    let symbols = Symbols::new();
    let (mut ledger, state) = Ledger::open(dir.path(), &settings(), false, &[], &symbols).await.unwrap();
    assert_eq!(state.committed, Some(T0 + 2_000));
    assert_eq!(symbols.name(Symbol::of("web")).as_deref(), Some("web"));
    // The next cut may come before the one that was cut off.
    ledger.commit(T0 + 3_000, vec![], vec![Name::of("tv")]).await.unwrap();
    assert_eq!(sql(&ledger, "symbols", "select name from t order by name").await, [["ios"], ["shop"], ["tv"], ["web"]]);
}

#[tokio::test]
async fn changes_that_a_crash_cut_off_are_replayed_once() {
    let dir = TempDir::new().unwrap();
    let (mut ledger, _) = open(dir.path()).await;
    let (first, second, third) = (T0 + 1_000, T0 + 2_000, T0 + 5_000);
    let mut with_change = part(first, 0..10);
    with_change.changes = all(vec![install(1, first, 1), install(2, first, 1), install(2, first, -1)]);
    let stats = commit(&mut ledger, first, with_change).await.unwrap();
    assert_eq!((written(&stats, "installs"), written(&stats, "credits")), (1, 0), "what cancels is not written");

    // Cut off after records, and after the first of the sinks.
    commit_records(&mut ledger, second, part(second, 10..20), &["installs", "credits"]).await.unwrap();
    drop(ledger);
    let (mut ledger, state) = open(dir.path()).await;
    assert_eq!((state.committed, state.load_to), (Some(second), first));
    assert_eq!(loaded(&ledger, state.load_to, second).await.len(), 10);
    // The replay yields the changes of (m, N], and again those that are held; the next cut comes with them.
    let replayed = vec![install(1, first, 1), install(3, second, 1), install(4, third, 1), install(1, third, -1)];
    commit_records(&mut ledger, third, part(third, 20..30), &["installs", "credits"]).await.unwrap();
    let rows = commit_view(&mut ledger, "installs", third, &all(replayed.clone())).await.unwrap();
    assert_eq!(rows, 3);
    drop(ledger);

    let (mut ledger, state) = open(dir.path()).await;
    assert_eq!((state.committed, state.load_to), (Some(third), first), "credits say nothing after the first cut");
    let mut last = part(third + 1_000, 30..31);
    last.changes = all(replayed);
    let stats = commit(&mut ledger, third + 1_000, last).await.unwrap();
    assert_eq!(written(&stats, "installs"), 0);
    let query = "select event_time, _cut - 1795219200000, _diff from t order by _cut, event_time";
    assert_eq!(
        sql(&ledger, "installs", query).await,
        [["1", "1000", "1"], ["3", "2000", "1"], ["1", "5000", "-1"], ["4", "5000", "1"]]
    );
    drop(ledger);
    // A sink that a cut does not change moves with it.
    let (mut ledger, _) = open(dir.path()).await;
    commit(&mut ledger, third + 2_000, part(third + 2_000, 31..32)).await.unwrap();
    drop(ledger);
    let (_, state) = open(dir.path()).await;
    assert_eq!((state.committed, state.load_to), (Some(third + 2_000), third + 2_000));
}

#[tokio::test]
async fn a_sink_ahead_of_the_ledger_stops_the_start() {
    let dir = TempDir::new().unwrap();
    let (mut ledger, _) = open(dir.path()).await;
    let cut = T0 + 7_000;
    commit_view(&mut ledger, "installs", cut, &all(vec![install(1, cut, 1)])).await.unwrap();
    drop(ledger);
    let error = open_error(dir.path(), &settings()).await;
    assert!(
        error.contains("table installs holds changes up to cut 1795219207000, but records ends at cut 0"),
        "{error}"
    );
    assert!(error.contains("repair"), "{error}");
}

#[tokio::test]
async fn a_lake_has_one_writer() {
    let dir = TempDir::new().unwrap();
    let (mut first, _) = open(dir.path()).await;
    let error = open_error(dir.path(), &settings()).await;
    assert!(error.contains(&format!("is in use by process {} on", std::process::id())), "{error}");
    assert!(error.contains("--take-over"), "{error}");
    commit(&mut first, T0 + 1_000, part(T0 + 1_000, 0..10)).await.unwrap();

    // Taken over while the first runs: it is stopped at its next commit, and told by whom.
    let (mut second, state) = take_over(dir.path()).await;
    assert_eq!((state.epoch, state.committed), (2, Some(T0 + 1_000)));
    let fenced = commit(&mut first, T0 + 2_000, part(T0 + 2_000, 10..20)).await.unwrap_err();
    assert!(fenced.is_fenced());
    let text = fenced.to_string();
    assert!(text.contains("epoch 1 of this process was followed by epoch 2, process"), "{text}");
    assert!(text.contains(&second.writer.id), "{text}");
    commit(&mut second, T0 + 3_000, part(T0 + 3_000, 10..15)).await.unwrap();
    // Once the first is gone, its lock passes to the second, which keeps a third out.
    drop(first);
    commit(&mut second, T0 + 4_000, part(T0 + 4_000, 15..16)).await.unwrap();
    assert!(open_error(dir.path(), &settings()).await.contains(&second.writer.id));
    assert_eq!(sql(&second, "records", "select count(*), max(offset) from t").await, [["16", "15"]]);
}

#[tokio::test]
async fn a_fenced_writer_is_stopped_at_every_table() {
    let dir = TempDir::new().unwrap();
    let (mut first, _) = open(dir.path()).await;
    let cut = T0 + 1_000;
    commit_records(&mut first, cut, part(cut, 0..10), &["installs"]).await.unwrap();
    // Its records are durable; its changes are not, and now the successor replays them.
    let (mut second, state) = take_over(dir.path()).await;
    assert_eq!((state.committed, state.load_to), (Some(cut), 0));
    let changes = || all(vec![install(1, cut, 1)]);
    let fenced = commit_view(&mut first, "installs", cut, &changes()).await.unwrap_err();
    assert!(matches!(&fenced, LedgerError::Fenced { table, .. } if table == "installs"), "{fenced}");
    let fenced = first.commit_names(cut, vec![Name::of("a")]).await.unwrap_err();
    assert!(matches!(&fenced, LedgerError::Fenced { table, .. } if table == "symbols"), "{fenced}");
    let replayed = Part { changes: changes(), ..Part::default() };
    assert_eq!(written(&commit(&mut second, cut + 1_000, replayed).await.unwrap(), "installs"), 1);
    assert_eq!(sql(&second, "installs", "select count(*) from t").await, [["1"]]);
}

#[tokio::test]
async fn a_lost_answer_is_recognised() {
    let dir = TempDir::new().unwrap();
    let (mut ledger, _) = open(dir.path()).await;
    let commit_of = |ledger: &Ledger, version: i64| {
        let txns = BTreeMap::from([(EPOCH.to_owned(), ledger.epoch), ("x".to_owned(), version)]);
        ledger.records.prepare(&ledger.writer, vec![], txns)
    };
    // The put was done, the answer lost: the held version stayed behind.
    let prepared = commit_of(&ledger, 1);
    let mut behind = TableLog::look(ledger.lake(), "records").await.unwrap().unwrap();
    assert_eq!(ledger.records.put(&prepared).await.unwrap(), super::Put::Done);
    let version = ledger.records.version();
    assert_eq!(behind.put(&prepared).await.unwrap(), super::Put::Done);
    assert_eq!((behind.version(), behind.txn("x")), (version, Some(1)));
    // Another's commit at that place is no answer of ours; what it says is read.
    let other = commit_of(&ledger, 2);
    assert_eq!(ledger.records.put(&other).await.unwrap(), super::Put::Done);
    assert_eq!(behind.put(&commit_of(&ledger, 3)).await.unwrap(), super::Put::Overtaken);
    assert_eq!(behind.txn("x"), Some(2));
}

#[tokio::test]
async fn housekeeping_of_others_is_no_conflict() {
    let dir = TempDir::new().unwrap();
    let (mut ledger, _) = open(dir.path()).await;
    for n in 1..4 {
        commit(&mut ledger, T0 + n * 1_000, part(T0 + n * 1_000, n as i64 * 10..n as i64 * 10 + 10)).await.unwrap();
    }
    let url = url::Url::from_directory_path(ledger.lake().table("records").canonicalize().unwrap()).unwrap();
    let table = deltalake_core::open_table(url).await.unwrap();
    let (_, metrics) = table.optimize().await.unwrap();
    assert_eq!(metrics.num_files_removed, 3);
    commit(&mut ledger, T0 + 4_000, part(T0 + 4_000, 40..50)).await.unwrap();
    assert_eq!(loaded(&ledger, 0, T0 + 4_000).await.len(), 40);
    assert_eq!(loaded(&ledger, T0 + 1_000, T0 + 2_000).await.len(), 10);
    assert_eq!(sql(&ledger, "records", "select count(*) from t").await, [["40"]]);
}

#[tokio::test]
async fn app_ids_survive_a_checkpoint_and_the_logs_cleaning() {
    let dir = TempDir::new().unwrap();
    let (first, _) = open(dir.path()).await;
    let (mut stalled, _) = take_over(dir.path()).await;
    // The stalled one is taken over in turn, and does not know.
    let (mut ledger, _) = take_over(dir.path()).await;
    drop(first);
    let last = 130;
    for n in 1..=last {
        commit(&mut ledger, T0 + n * 1_000, part(T0 + n * 1_000, n as i64..n as i64 + 1)).await.unwrap();
    }
    let log = ledger.lake().table("records").join("_delta_log");
    ledger.close().await;
    let checkpoint = std::fs::read_to_string(log.join("_last_checkpoint")).unwrap();
    let checkpoint = serde_json::from_str::<Value>(&checkpoint).unwrap()["version"].as_u64().unwrap();
    assert_eq!(checkpoint, 99);
    for version in 0..checkpoint {
        std::fs::remove_file(log.join(format!("{version:020}.json"))).unwrap();
    }
    // Where the stalled one would put its commit, nothing is: it must not take that for success.
    let fenced = commit(&mut stalled, T0 + 1_000, part(T0 + 1_000, 0..5)).await.unwrap_err();
    assert!(matches!(fenced, LedgerError::Fenced { theirs: 3, .. }), "{fenced}");
    drop(stalled);
    let (ledger, state) = open(dir.path()).await;
    assert_eq!((state.epoch, state.committed), (4, Some(T0 + last * 1_000)));
    assert_eq!(state.resumes[0].offset, last as i64 + 1);
    assert_eq!(loaded(&ledger, 0, T0 + last * 1_000).await.len(), last as usize);
    assert_eq!(sql(&ledger, "records", "select count(*) from t").await, [[last.to_string()]]);
}

#[tokio::test]
async fn what_was_fixed_when_the_lake_was_made_stays() {
    let dir = TempDir::new().unwrap();
    drop(open(dir.path()).await);
    let check = async |change: fn(&mut LakeSettings), wanted: &str| {
        let mut other = settings();
        change(&mut other);
        let error = open_error(dir.path(), &other).await;
        assert!(error.contains("lake.json: ") && error.contains(wanted), "{error}");
    };
    check(|s| s.allowed_lateness_ms = None, "settings.allowed_lateness_ms is 259200000 in the lake and null in").await;
    check(|s| s.hot_key_touches = 9, "settings.hot_key_touches is 64 in the lake and 9 in the job").await;
    check(|s| s.id_key_check = "c3".into(), "made with another key of ids than is given now").await;

    let file = dir.path().join("lake.json");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("\"format\": 1", "\"format\": 4")).unwrap();
    let error = open_error(dir.path(), &settings()).await;
    assert!(error.contains("lake.json has format 4; this bidstream reads and writes formats 1 to 3"), "{error}");
}

#[tokio::test]
async fn a_lake_that_does_not_name_who_is_one_person_keeps_the_rule_that_it_was_made_by() {
    let dir = TempDir::new().unwrap();
    drop(open(dir.path()).await);
    let file = dir.path().join("lake.json");
    let person = || Lake::read(dir.path()).unwrap().settings.views.installs.person;
    assert_eq!(person(), PersonRule::DeviceOrUser);
    let mut json: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    json["settings"]["views"]["installs"].as_object_mut().unwrap().remove("person").expect("a new lake names it");
    std::fs::write(&file, json.to_string()).unwrap();
    assert_eq!(person(), PersonRule::DeviceElseUser);
}

#[tokio::test]
async fn trouble_with_the_disk_is_retried_and_then_told() {
    let dir = TempDir::new().unwrap();
    let (mut ledger, _) = open(dir.path()).await;
    let log = ledger.lake().table("records").join("_delta_log");
    let aside = dir.path().join("aside");
    std::fs::rename(&log, &aside).unwrap();
    std::fs::write(&log, "in the way").unwrap();
    let back = {
        let (log, aside) = (log.clone(), aside.clone());
        tokio::spawn(async move {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            std::fs::remove_file(&log).unwrap();
            std::fs::rename(&aside, &log).unwrap();
        })
    };
    commit(&mut ledger, T0 + 1_000, part(T0 + 1_000, 0..10)).await.unwrap();
    back.await.unwrap();
    std::fs::rename(&log, &aside).unwrap();
    std::fs::write(&log, "in the way").unwrap();
    let error = commit(&mut ledger, T0 + 2_000, part(T0 + 2_000, 10..20)).await.unwrap_err();
    assert!(error.to_string().starts_with("records: "), "{error}");
}
