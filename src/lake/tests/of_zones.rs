//! The time zones of tenants: given once, before their first record, and kept.

use schemas::symbols::Name;

use super::*;
use crate::lake::directory::{FORMAT, FORMAT_ZONES};

fn zoned(zones: &[(&str, &str)]) -> LakeSettings {
    let zones = zones.iter().map(|(tenant, zone)| ((*tenant).to_owned(), (*zone).to_owned())).collect();
    LakeSettings { zones, ..settings() }
}

async fn open_zoned(lake: &Path, zones: &[(&str, &str)]) -> Result<(Ledger, State), LedgerError> {
    Ledger::open(lake, &zoned(zones), false, &[], &Symbols::new()).await
}

async fn refused(lake: &Path, zones: &[(&str, &str)]) -> String {
    let error = open_zoned(lake, zones).await.map(|_| ()).unwrap_err();
    assert!(error.is_refusal());
    error.to_string()
}

/// Commits a record of a tenant.
async fn commit_of(ledger: &mut Ledger, tenant: &str, cut: Tick, offset: i64) {
    let mut part = part(cut, offset..offset + 1);
    let mut rows: Vec<_> = part.rows[0].iter().cloned().collect();
    rows.iter_mut().flat_map(|row| &mut row.event).for_each(|event| event.tenant = Symbol::of(tenant));
    part.rows = vec![rows.into()];
    let name = Name { symbol: Symbol::of(tenant), name: tenant.to_owned(), first: None };
    ledger.commit(cut, vec![part], vec![name]).await.unwrap();
}

fn hour_of(lake: &Path, tenant: &str) -> i64 {
    let zones = Lake::read(lake).unwrap().settings.views.zones;
    let noon = EventTime(T0 as i64 + 12 * 3_600_000);
    noon.0 - zones.hour(Symbol::of(tenant), noon).0
}

#[tokio::test]
async fn a_tenants_zone_is_kept() {
    let dir = TempDir::new().unwrap();
    let path = dir.path();
    let (mut ledger, _) = open_zoned(path, &[("acme", "Asia/Kolkata")]).await.unwrap();
    commit_of(&mut ledger, "acme", T0 + 1_000, 0).await;
    drop(ledger);
    assert_eq!((hour_of(path, "acme"), hour_of(path, "globex")), (1_800_000, 0));
    let wanted = format!(
        "lake {}: tenant acme has the time zone Asia/Kolkata, and the job says Europe/Berlin: hours and days that were \
         counted stay, so a tenant's zone does too (write Asia/Kolkata, or use another lake)",
        path.display()
    );
    assert_eq!(refused(path, &[("acme", "Europe/Berlin")]).await, wanted);
    // A job that does not say it has it.
    let (ledger, _) = open(path).await;
    let zones = &ledger.lake().settings.views.zones;
    assert_eq!(*zones, zoned(&[]).with_zones(zoned(&[("acme", "Asia/Kolkata")]).zones).unwrap().views.zones);
}

#[tokio::test]
async fn a_new_tenant_rebuilds_nothing() {
    let dir = TempDir::new().unwrap();
    let path = dir.path();
    let (mut ledger, _) = open(path).await;
    commit_of(&mut ledger, "acme", T0 + 1_000, 0).await;
    drop(ledger);
    let before = Lake::read(path).unwrap();
    assert_eq!(before.format(), FORMAT);
    let (mut ledger, state) = open_zoned(path, &[("globex", "Asia/Kathmandu")]).await.unwrap();
    assert!(!state.behind && !state.fresh.contains(&true), "{state:?}");
    // It is there for readers before its first record.
    let after = Lake::read(path).unwrap();
    assert_eq!((&after.views, after.format(), hour_of(path, "globex")), (&before.views, FORMAT_ZONES, 2_700_000));
    commit_of(&mut ledger, "globex", T0 + 2_000, 1).await;
    drop(ledger);
    let (_, state) = open_zoned(path, &[("globex", "Asia/Kathmandu")]).await.unwrap();
    assert!(!state.behind, "{state:?}");
}

#[tokio::test]
async fn a_tenant_with_records_gets_no_zone_but_utc() {
    let dir = TempDir::new().unwrap();
    let path = dir.path();
    let (mut ledger, _) = open(path).await;
    commit_of(&mut ledger, "acme", T0 + 1_000, 0).await;
    drop(ledger);
    let said = refused(path, &[("acme", "Europe/Berlin"), ("globex", "Asia/Kolkata")]).await;
    assert!(said.contains("tenant acme has records already") && said.contains("Europe/Berlin"), "{said}");
    // What was refused left nothing behind.
    assert!(Lake::read(path).unwrap().settings.zones.is_empty());
    let (ledger, state) = open_zoned(path, &[("acme", "UTC"), ("globex", "Asia/Kolkata")]).await.unwrap();
    assert!(!state.behind);
    drop(ledger);
    assert!(refused(path, &[("acme", "Europe/Berlin")]).await.contains("has the time zone UTC"));
}

#[tokio::test]
async fn zones_outlive_a_crash_and_a_restored_copy() {
    let dir = TempDir::new().unwrap();
    let (path, file) = (dir.path(), dir.path().join("lake.json"));
    drop(open(path).await);
    let before = std::fs::read(&file).unwrap();
    let copy = dir.path().join("copy");
    let copied = std::process::Command::new("cp").arg("-r").args([&path.join("records"), &copy]).status().unwrap();
    assert!(copied.success());
    drop(open_zoned(path, &[("acme", "Asia/Kolkata")]).await.unwrap());
    // Killed before `lake.json` was written: the log knows.
    std::fs::write(&file, before).unwrap();
    assert!(refused(path, &[("acme", "Europe/Berlin")]).await.contains("has the time zone Asia/Kolkata"));
    drop(open(path).await);
    assert_eq!(hour_of(path, "acme"), 1_800_000);
    // An older copy of the log: `lake.json` knows, whatever records came since.
    std::fs::remove_dir_all(path.join("records")).unwrap();
    std::fs::rename(&copy, path.join("records")).unwrap();
    let (mut ledger, _) = open_zoned(path, &[("acme", "Asia/Kolkata")]).await.unwrap();
    commit_of(&mut ledger, "acme", T0 + 1_000, 0).await;
    drop(ledger);
    drop(open(path).await);
    assert_eq!(hour_of(path, "acme"), 1_800_000);
}
