//! Views that a job leaves out, and views with another definition.

use super::*;
use crate::lake::claims::follow;
use crate::lake::sink::Sink;

#[tokio::test]
async fn a_view_that_a_job_leaves_out_goes_on_where_it_was() {
    let dir = TempDir::new().unwrap();
    let (mut ledger, _) = open(dir.path()).await;
    let change = |number, cut| Part { changes: all(vec![install(number, cut, 1)]), ..part(cut, number..number + 1) };
    commit(&mut ledger, T0 + 1_000, change(0, T0 + 1_000)).await.unwrap();
    drop(ledger);
    let mut fewer = settings();
    fewer.views.only = vec!["costs".to_owned()];
    let (mut ledger, state) = Ledger::open(dir.path(), &fewer, false, &[], &Symbols::new()).await.unwrap();
    assert_eq!((state.fresh, state.behind, state.load_to), (vec![false], true, T0 + 1_000));
    let stats = commit(&mut ledger, T0 + 2_000, part(T0 + 2_000, 1..2)).await.unwrap();
    assert_eq!(stats.views, [("costs", 0)]);
    drop(ledger);
    // Readers find no table of it, so they read it by its SQL.
    let lake = Lake::read(dir.path()).unwrap();
    assert_eq!(lake.views.keys().collect::<Vec<_>>(), ["costs"]);
    // What it missed is replayed.
    let (mut ledger, state) = open(dir.path()).await;
    assert!((fresh(&state), state.behind) == (vec![], true), "{state:?}");
    assert_eq!((state.committed, state.load_to), (Some(T0 + 2_000), T0 + 1_000));
    let missed = all(vec![install(0, T0 + 1_000, 1), install(1, T0 + 2_000, 1)]);
    let stats = commit(&mut ledger, T0 + 3_000, Part { changes: missed, ..Part::default() }).await.unwrap();
    assert_eq!(written(&stats, "installs"), 1, "what it holds is not written again");
}

/// What views without changes cost a commit: `cargo test --lib views_without_changes -- --ignored --nocapture`.
#[tokio::test]
#[ignore = "a measurement"]
async fn views_without_changes_cost_a_commit_nothing() {
    const COMMITS: u64 = 40;
    let mut took = [std::time::Duration::ZERO; 2];
    for round in 0..6 {
        let idle = 28 * (round % 2);
        let dir = TempDir::new().unwrap();
        let mut two = settings();
        two.views.only = vec!["installs".to_owned()];
        let (mut ledger, _) = Ledger::open(dir.path(), &two, false, &[], &Symbols::new()).await.unwrap();
        for number in 0..1 + idle {
            let name: &'static str = format!("view_{number}").leak();
            ledger.lake.views.insert(name.to_owned(), "0123456789abcdef".to_owned());
            let mut sink = Sink::open(&ledger.lake, name, &InstallRow::changelog()).await.unwrap();
            follow(&mut sink.log, &ledger.writer, ledger.epoch).await.unwrap();
            sink.begin(&ledger.records, None, &ledger.lake).unwrap();
            ledger.sinks.push(sink);
        }
        let started = std::time::Instant::now();
        for number in 0..COMMITS {
            let cut = T0 + 1_000 * (number + 1);
            let mut part = part(cut, 1_000 * number as i64..1_000 * (number as i64 + 1));
            let rows: Vec<_> = (0..500)
                .map(|row| (InstallRow { event_time: EventTime(row), ..install(0, cut, 1).0 }, cut, 1))
                .collect();
            let batch = InstallRow::changes(&rows);
            part.changes = (0..2 + idle)
                .map(|view| {
                    let batches = if view < 2 { vec![(cut, batch.clone())] } else { Vec::new() };
                    Arc::new(AtHand(batches)) as Arc<dyn CutChanges>
                })
                .collect();
            commit(&mut ledger, cut, part).await.unwrap();
        }
        took[round % 2] += started.elapsed();
    }
    println!("{COMMITS} commits of two views: {:?}; beside 28 without changes: {:?}", took[0] / 3, took[1] / 3);
}

#[tokio::test]
async fn a_view_with_another_definition_is_built_beside_the_old_and_its_name_moves_at_one_cut() {
    let dir = TempDir::new().unwrap();
    let (mut ledger, _) = open(dir.path()).await;
    let change = |number, cut| Part { changes: all(vec![install(number, cut, 1)]), ..part(cut, number..number + 1) };
    commit(&mut ledger, T0 + 1_000, change(0, T0 + 1_000)).await.unwrap();
    commit(&mut ledger, T0 + 2_000, change(1, T0 + 2_000)).await.unwrap();
    drop(ledger);
    let mut shorter = settings();
    shorter.views.credits.half_life = "36h".parse().unwrap();
    let old = Lake::read(dir.path()).unwrap();
    // A start that comes to nothing moves nothing.
    for _ in 0..2 {
        let (_, state) = Ledger::open(dir.path(), &shorter, false, &[], &Symbols::new()).await.unwrap();
        assert!(
            (fresh(&state), state.behind) == (vec!["credits", "metrics_hourly", "metrics_sliding", "anomalies"], true),
            "{state:?}"
        );
        assert_eq!(state.load_to, T0 + 2_000, "the other view holds all");
        assert_eq!(Lake::read(dir.path()).unwrap().views, old.views);
    }
    let (mut ledger, _) = Ledger::open(dir.path(), &shorter, false, &[], &Symbols::new()).await.unwrap();
    commit(&mut ledger, T0 + 3_000, change(2, T0 + 3_000)).await.unwrap();
    let new = Lake::read(dir.path()).unwrap();
    assert_eq!(new.settings, shorter);
    assert!(new.views["credits"] != old.views["credits"] && new.views["installs"] == old.views["installs"]);
    assert!(old.table("credits").join("_delta_log").is_dir(), "the old table is still there");
    drop(ledger);
    // Back again: the old table goes on from where it was.
    let (_, state) = Ledger::open(dir.path(), &settings(), false, &[], &Symbols::new()).await.unwrap();
    assert!((fresh(&state), state.behind) == (vec![], true), "{state:?}");
    assert_eq!(state.load_to, T0 + 2_000);
}

#[tokio::test]
async fn a_view_that_was_left_for_longer_than_events_change_is_made_anew_over_what_it_held() {
    let dir = TempDir::new().unwrap();
    let change = |number, cut| Part { changes: all(vec![install(number, cut, 1)]), ..part(cut, number..number + 1) };
    let (mut ledger, _) = open(dir.path()).await;
    commit(&mut ledger, T0 + 1_000, change(0, T0 + 1_000)).await.unwrap();
    drop(ledger);
    let mut fewer = settings();
    fewer.views.only = vec!["costs".to_owned()];
    let within = settings().changes_within_ms().unwrap() as Tick;
    for (more, is_fresh) in [(0, false), (1_000, true)] {
        let last = T0 + 1_000 + within + more;
        let (mut ledger, _) = Ledger::open(dir.path(), &fewer, false, &[], &Symbols::new()).await.unwrap();
        commit(&mut ledger, last, part(last, 10 + more as i64..11 + more as i64)).await.unwrap();
        drop(ledger);
        let (_, state) = open(dir.path()).await;
        assert_eq!(fresh(&state).contains(&"installs"), is_fresh, "{state:?}");
        assert!(!fresh(&state).contains(&"costs") && state.behind, "{state:?}");
        assert_eq!(state.load_to, if is_fresh { last } else { T0 + 1_000 });
    }
    // The whole state, at the cut up to which all is loaded; what the table held is no part of it.
    let (mut ledger, state) = open(dir.path()).await;
    let cut = state.committed.unwrap();
    let whole = Part { changes: all(vec![install(5, cut, 1), install(6, cut + 1_000, 1)]), ..Part::default() };
    commit(&mut ledger, cut + 1_000, whole).await.unwrap();
    let query = "select event_time, _diff from t order by 1";
    assert_eq!(sql(&ledger, "installs", query).await, [["5", "1"], ["6", "1"]]);
    drop(ledger);
    let hasher = schemas::ids::IdHasher::new(b"");
    let resources = crate::sql::Resources::of_machine().unwrap();
    let early = crate::sql::open(dir.path(), Some(T0 + 1_000), &hasher, resources).await.map(|_| ()).unwrap_err();
    assert!(early.to_string().starts_with(&format!("history before cut {cut}")), "{early}");
    let (_, state) = open(dir.path()).await;
    assert!((fresh(&state), state.behind) == (vec![], false), "{state:?}");
}
