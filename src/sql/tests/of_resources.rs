//! Queries that do not fit into memory, and queries that never end.

use std::time::{Duration, Instant};

use tokio::signal::unix::SignalKind;

use super::*;
use crate::sql::interrupt::unless_interrupted;

async fn with_memory(lake: &TempDir, memory: &str) -> Session {
    let resources = Resources::new(memory.parse::<Memory>().unwrap()).unwrap();
    open(lake.path(), None, &hasher(), resources).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_spills_into_a_directory_that_is_removed() {
    let lake = lake().await;
    let session = with_memory(&lake, "64MiB").await;
    let spilled = || session.resources().runtime().disk_manager.temp_dir_paths();
    assert!(printed(&session, "SELECT count(*) FROM credits").await.ends_with("\n12\n"));
    assert!(spilled().is_empty(), "{:?}", spilled());
    // 96 MB of numbers, and what it takes to sort them.
    let sorted = "SELECT count(*) n, sum(place) FROM (
        SELECT value, row_number() OVER (ORDER BY -value) AS place FROM generate_series(1, 6000000))";
    assert_eq!(printed(&session, sorted).await.lines().nth(1), Some("6000000,18000003000000"));
    let directories = spilled();
    assert!(!directories.is_empty() && directories.iter().all(|directory| directory.exists()));
    drop(session);
    assert!(directories.iter().all(|directory| !directory.exists()), "{directories:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_spill_fails_and_says_what_to_do() {
    let lake = lake().await;
    let session = with_memory(&lake, "64MiB").await;
    let all = "SELECT cardinality(array_agg(value)) FROM generate_series(1, 20000000)";
    let error = execute(&session, all, Format::Csv, Vec::new()).await.unwrap_err();
    assert!(matches!(error, SqlError::TooLarge(_)), "{error:?}");
    let said = error.to_string();
    assert!(said.starts_with("the query needs more than it may take: ") && said.contains("--memory 8GiB"), "{said}");
    // The session goes on.
    assert_eq!(printed(&session, "SELECT count(*) n FROM installs").await, "n\n1\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_a_statement_at_once_and_the_shell_goes_on() {
    let (lake, hasher) = (lake().await, hasher());
    let session = with_memory(&lake, "64MiB").await;
    let mut shell = repl::Shell::new(session, lake.path().to_owned(), &hasher, Format::Csv);
    let endless = "SELECT sum(value % 7) FROM generate_series(1, 100000000000);";
    // A signal that nothing else in the process of the tests listens to.
    let killer = std::thread::spawn(|| {
        std::thread::sleep(Duration::from_secs(1));
        let pid = std::process::id().to_string();
        assert!(std::process::Command::new("kill").args(["-USR1", &pid]).status().unwrap().success());
        Instant::now()
    });
    let ended = unless_interrupted(&[SignalKind::user_defined1()], shell.line(endless, Vec::new())).await;
    let since = killer.join().unwrap().elapsed();
    assert!(matches!(ended, Err(SqlError::Interrupted(_))), "{ended:?}");
    assert!(since < Duration::from_millis(500), "{since:?}");
    let mut out = Vec::new();
    shell.line("SELECT count(*) n FROM installs;", &mut out).await.unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), "n\n1\n");
}
