//! Builds of tables beside writers, and who gives way to whom.

use super::*;
use crate::lake::build::{Building, Found, History};

async fn claim(history: &History, view: &str) -> Result<Building, LedgerError> {
    let (view, maintained) = views::maintained().find(|(known, _)| known.name == view).unwrap();
    match history.claim(view, maintained).await? {
        Found::Building(building) => Ok(*building),
        Found::There(cut) => panic!("{} is there up to {cut}", view.name),
    }
}

async fn refused(history: &History, view: &str) -> String {
    claim(history, view).await.map(|_| ()).unwrap_err().to_string()
}

fn built_files(lake: &Lake, view: &str) -> usize {
    let files =
        std::fs::read_dir(lake.table(view)).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    files.filter(|name| name.starts_with("built-")).count()
}

/// A lake whose job maintains `costs` alone, with some records.
async fn of_costs(dir: &Path) -> Ledger {
    let mut costs = settings();
    costs.views.only = vec!["costs".to_owned()];
    let (mut ledger, _) = Ledger::open(dir, &costs, false, &[], &Symbols::new()).await.unwrap();
    commit(&mut ledger, T0 + 1_000, part(T0 + 1_000, 0..10)).await.unwrap();
    ledger
}

#[tokio::test]
async fn a_built_table_is_behind_and_not_fresh_and_the_start_names_it() {
    let dir = TempDir::new().unwrap();
    let mut ledger = of_costs(dir.path()).await;
    let history = History::open(dir.path(), Some(Params::default())).await.unwrap();
    let (cut, mut building) = (history.cut(), claim(&history, "installs").await.unwrap());
    assert!(refused(&history, "installs").await.contains("installs is being built by process"));
    // What comes and goes before it is written never is.
    let changes = |number, diff| InstallRow::changes(&[install(number, cut, diff)]);
    building.add([changes(1, 1), changes(2, 1), changes(1, -1)].into_iter()).await.unwrap();
    // The job goes on.
    commit(&mut ledger, T0 + 2_000, part(T0 + 2_000, 10..20)).await.unwrap();
    let built = building.commit().await.unwrap();
    assert_eq!((built.rows, built.files), (1, 1));
    commit(&mut ledger, T0 + 3_000, part(T0 + 3_000, 20..30)).await.unwrap();
    drop(ledger);
    assert!(history.lacking().await.unwrap().contains(&"credits"));
    assert!(!history.lacking().await.unwrap().contains(&"installs"));

    let mut two = settings();
    two.views.only = vec!["costs".to_owned(), "installs".to_owned()];
    let (mut ledger, state) = Ledger::open(dir.path(), &two, false, &[], &Symbols::new()).await.unwrap();
    assert_eq!((state.fresh, state.behind, state.load_to), (vec![false, false], true, T0 + 1_000));
    let more = vec![install(2, T0 + 1_000, 1), install(3, T0 + 2_000, 1)];
    let of_two = views::maintained().zip(all(more)).filter(|((view, _), _)| two.views.maintains(view.name));
    let changes = of_two.map(|(_, changes)| changes).collect();
    commit(&mut ledger, T0 + 4_000, Part { changes, ..Part::default() }).await.unwrap();
    let query = "select event_time, _cut - 1795219200000, _diff from t order by 1";
    assert_eq!(sql(&ledger, "installs", query).await, [["2", "1000", "1"], ["3", "2000", "1"]]);
    assert!(Lake::read(dir.path()).unwrap().views.contains_key("installs"));
}

#[tokio::test]
async fn a_start_and_a_build_do_not_both_make_a_table() {
    let dir = TempDir::new().unwrap();
    drop(of_costs(dir.path()).await);
    let history = History::open(dir.path(), Some(Params::default())).await.unwrap();
    let cut = history.cut();
    let changes = |number| InstallRow::changes(&[install(number, cut, 1)]);
    let mut early = claim(&history, "installs").await.unwrap();
    early.add([changes(1)].into_iter()).await.unwrap();
    // A start that makes it: what was begun before gives way, and none begins beside it.
    let (mut ledger, state) = open(dir.path()).await;
    assert!(fresh(&state).contains(&"installs"));
    let error = early.commit().await.unwrap_err().to_string();
    assert!(error.starts_with("table installs: another process made it"), "{error}");
    assert_eq!(built_files(ledger.lake(), "installs"), 0, "what it wrote is gone");
    let refused = refused(&history, "installs").await;
    assert!(refused.contains("the job that runs in this lake makes installs itself"), "{refused}");

    // Where the run holds no lock, as after one was taken over, both may be at it: then the run gives way.
    ledger.lock = None;
    let mut late = claim(&history, "installs").await.unwrap();
    late.add([changes(1)].into_iter()).await.unwrap();
    late.commit().await.unwrap();
    let whole = Part { changes: all(vec![install(1, cut, 1)]), ..Part::default() };
    let error = commit(&mut ledger, T0 + 2_000, whole).await.unwrap_err().to_string();
    assert!(error.contains("a new start goes on from what is there"), "{error}");
    drop(ledger);
    let (ledger, state) = open(dir.path()).await;
    assert!(!fresh(&state).contains(&"installs") && state.load_to == cut, "{state:?}");
    assert_eq!(sql(&ledger, "installs", "select sum(_diff), count(*) from t").await, [["1", "1"]]);
}

#[tokio::test]
async fn a_table_that_was_left_for_long_is_built_over_what_it_held() {
    let dir = TempDir::new().unwrap();
    let (mut ledger, _) = open(dir.path()).await;
    let held = Part { changes: all(vec![install(0, T0 + 1_000, 1)]), ..part(T0 + 1_000, 0..1) };
    commit(&mut ledger, T0 + 1_000, held).await.unwrap();
    drop(ledger);
    let mut costs = settings();
    costs.views.only = vec!["costs".to_owned()];
    let last = T0 + 10_000 + settings().changes_within_ms().unwrap() as Tick;
    let (mut ledger, _) = Ledger::open(dir.path(), &costs, false, &[], &Symbols::new()).await.unwrap();
    commit(&mut ledger, last, part(last, 1..2)).await.unwrap();
    let history = History::open(dir.path(), Some(Params::default())).await.unwrap();
    let mut building = claim(&history, "installs").await.unwrap();
    building.add([InstallRow::changes(&[install(7, last, 1)])].into_iter()).await.unwrap();
    building.commit().await.unwrap();
    drop(ledger);
    let (ledger, state) = open(dir.path()).await;
    assert!(!fresh(&state).contains(&"installs") && fresh(&state).contains(&"credits"), "{state:?}");
    assert_eq!(sql(&ledger, "installs", "select event_time, _diff from t").await, [["7", "1"]]);
}

#[tokio::test]
async fn a_table_that_is_built_beyond_a_restored_copy_of_records_is_made_anew() {
    let dir = TempDir::new().unwrap();
    let mut ledger = of_costs(dir.path()).await;
    let copy = dir.path().join("copy");
    let copied =
        std::process::Command::new("cp").arg("-r").args([&dir.path().join("records"), &copy]).status().unwrap();
    assert!(copied.success());
    commit(&mut ledger, T0 + 5_000, part(T0 + 5_000, 10..20)).await.unwrap();
    let history = History::open(dir.path(), Some(Params::default())).await.unwrap();
    let mut building = claim(&history, "installs").await.unwrap();
    building.add([InstallRow::changes(&[install(1, T0 + 5_000, 1)])].into_iter()).await.unwrap();
    building.commit().await.unwrap();
    drop(ledger);
    std::fs::remove_dir_all(dir.path().join("records")).unwrap();
    std::fs::rename(&copy, dir.path().join("records")).unwrap();
    let (mut ledger, state) = open(dir.path()).await;
    assert!(fresh(&state).contains(&"installs") && state.load_to == T0 + 1_000, "{state:?}");
    let whole = Part { changes: all(vec![install(2, T0 + 1_000, 1)]), ..Part::default() };
    commit(&mut ledger, T0 + 2_000, whole).await.unwrap();
    assert_eq!(sql(&ledger, "installs", "select event_time, _cut - 1795219200000 from t").await, [["2", "1000"]]);
}

#[tokio::test]
async fn a_lake_without_records_has_nothing_to_build_from() {
    let dir = TempDir::new().unwrap();
    drop(open(dir.path()).await);
    let error = History::open(dir.path(), None).await.map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("holds no records yet"), "{error}");
}
