//! The time zones of tenants, as a lake keeps them: set before a tenant's first record, and never changed.
//!
//! The log of `records` says them, in the commit that claims the lake: so no record can come between the look for records of a
//! tenant and its zone. `lake.json` says them too, for readers, and for a copy of `records` that is restored; it is written right
//! after the claim, before any record.

use std::collections::{BTreeMap, BTreeSet};

use schemas::{Symbol, Zones};

use super::directory::{Lake, LakeSettings};
use super::error::LedgerError;
use super::load;
use super::log::TableLog;

/// `bidstream/zone/<tenant>=<zone>`: when it was set.
const ZONE: &str = "bidstream/zone/";

/// What the log says.
fn kept(records: &TableLog) -> BTreeMap<String, String> {
    let zones = records.txns_under(ZONE).filter_map(|(name, _)| name.rsplit_once('='));
    zones.map(|(tenant, zone)| (tenant.to_owned(), zone.to_owned())).collect()
}

/// What a claim has the log say beyond what it says: the zones of the lake. Those that a job brings are refused for a tenant that
/// has another in the log, or that has records already, unless it is UTC, which these were counted by.
pub(super) async fn news(lake: &Lake, records: &TableLog, names: &mut TableLog) -> Result<Vec<String>, LedgerError> {
    let (kept, zones) = (kept(records), &lake.settings.zones);
    lake.agree(&kept, zones)?;
    let is_news = |tenant: &String| lake.new_zones.contains(tenant) && !kept.contains_key(tenant);
    let zoned: Vec<(&String, Symbol)> = zones
        .iter()
        .filter(|(tenant, zone)| is_news(tenant) && !Zones::is_utc(zone))
        .map(|(tenant, _)| (tenant, Symbol::of(tenant)))
        .collect();
    if let Some((tenant, _)) = with_records(&zoned, records, names).await? {
        return Err(LedgerError::ZoneTooLate {
            lake: lake.path.clone(),
            tenant: tenant.clone(),
            zone: zones[tenant].clone(),
        });
    }
    let news = zones.iter().filter(|(tenant, _)| !kept.contains_key(*tenant));
    Ok(news.map(|(tenant, zone)| format!("{ZONE}{tenant}={zone}")).collect())
}

/// The first of these tenants that has records.
async fn with_records<'a>(
    tenants: &[(&'a String, Symbol)],
    records: &TableLog,
    names: &mut TableLog,
) -> Result<Option<(&'a String, Symbol)>, LedgerError> {
    if tenants.is_empty() {
        return Ok(None);
    }
    // A name is written before the records that use it: of a tenant without one no file need be read.
    names.catch_up().await?;
    let mut named = BTreeSet::new();
    load::symbols(names, |name| {
        named.insert(name.symbol);
    })
    .await?;
    let wanted: BTreeSet<Symbol> =
        tenants.iter().map(|(_, symbol)| *symbol).filter(|symbol| named.contains(symbol)).collect();
    if wanted.is_empty() {
        return Ok(None);
    }
    let found = load::tenants(records, wanted).await?;
    Ok(tenants.iter().find(|(_, symbol)| found.contains(symbol)).copied())
}

impl Lake {
    /// Takes in what the log says once the lake is claimed, and has `lake.json` say all of it.
    pub(super) fn settle_zones(&mut self, records: &TableLog) -> Result<(), LedgerError> {
        let mut zones = kept(records);
        zones.extend(self.settings.zones.clone());
        self.set_zones(zones)?;
        self.new_zones.clear();
        if self.storage.objects.is_some() || self.settings.zones.is_empty() {
            return Ok(());
        }
        let written = Lake::read(&self.path)?;
        if written.settings.zones != self.settings.zones {
            // Nothing else of it is this run's before its first commit.
            let settings = LakeSettings { zones: self.settings.zones.clone(), ..written.settings.clone() };
            Lake { settings, ..written }.write()?;
        }
        Ok(())
    }
}
