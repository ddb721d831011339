//! By which ids touches, conversions and installs came together, so that a random test can tell that it tested them.

use std::collections::{BTreeSet, HashMap};

use dataflows::params::PersonRule;
use dataflows::views::installs::InstallRow;
use schemas::event::Accepted;
use schemas::table::Verdict;
use schemas::view::Method;
use schemas::{Capped, Event, EventKey};

use crate::oracle::Rows;

/// What must come up. That a device goes before a later install of its user is too rare here to be counted on (`golden_persons.rs`).
pub(crate) const WANTED: [&str; 14] = [
    "DeviceOrUser: touch by device and user",
    "DeviceOrUser: touch by device, of another user",
    "DeviceOrUser: touch by user, of another device",
    "DeviceOrUser: touch by user, without a device",
    "DeviceOrUser: touch by user, the target without a device",
    "DeviceOrUser: touch of a hot user by device",
    "DeviceOrUser: governed by device and user",
    "DeviceOrUser: governed by device, of another user",
    "DeviceOrUser: governed by user, of another device",
    "DeviceOrUser: again by device",
    "DeviceOrUser: again by user",
    "DeviceOrUser: first though its user has another device",
    "DeviceElseUser: touch by device, of another user",
    "DeviceElseUser: governed by device, of another user",
];

/// What came up.
pub(crate) fn seen(rows: &Rows, records: &[(Accepted, Verdict)], rule: PersonRule) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let mut saw = |what: &str| seen.insert(format!("{rule:?}: {what}"));
    // Where copies differ, any of them will do.
    let records: HashMap<EventKey, &Accepted> =
        records.iter().map(|(record, _)| (record.event.key(), record)).collect();

    let of_installs = rows.installs.iter().map(|row| (row.key(), row.tenant, row.touch));
    let own = rows.credits.iter().filter(|row| row.install.is_none()).map(|row| (row.key(), row.tenant, row.touch));
    for (target, tenant, touch) in of_installs.chain(own) {
        let Some(touch) = touch.filter(|touch| touch.method == Method::Person) else { continue };
        let touch = &records[&EventKey::of(tenant, touch.subject, touch.event_id, touch.event_time)];
        saw(&format!("touch {}", how(&records[&target].event, &touch.event)));
        let is_by_device = same_device(&records[&target].event, &touch.event);
        if is_by_device && touch.capped.has(Capped::USER) && !touch.event.user.is_none() {
            saw("touch of a hot user by device");
        }
    }

    let installs: HashMap<EventKey, &InstallRow> = rows.installs.iter().map(|row| (row.key(), row)).collect();
    for row in &rows.credits {
        let Some(install) = row.install else { continue };
        let install = installs[&EventKey::of(row.tenant, install.subject, install.event_id, install.event_time)];
        let conversion = &records[&row.key()].event;
        saw(&format!("governed {}", how(conversion, &event(install))));
    }

    for row in &rows.installs {
        let earlier = rows
            .installs
            .iter()
            .filter(|other| (other.tenant, other.app) == (row.tenant, row.app) && other.event_time < row.event_time);
        let earlier: Vec<Event> = earlier.map(event).collect();
        let by_device = earlier.iter().any(|other| same_device(&event(row), other));
        let by_user = earlier.iter().any(|other| same_user(&event(row), other));
        match (row.reinstall, by_device, by_user) {
            (true, true, false) => saw("again by device"),
            (true, false, true) => saw("again by user"),
            (false, false, true) if !row.device.is_none() => saw("first though its user has another device"),
            _ => false,
        };
    }
    seen
}

fn event(install: &InstallRow) -> Event {
    Event { device: install.device, user: install.user, ..Event::default() }
}

fn same_device(one: &Event, other: &Event) -> bool {
    !one.device.is_none() && one.device == other.device
}

fn same_user(one: &Event, other: &Event) -> bool {
    !one.user.is_none() && one.user == other.user
}

/// By which ids a target found something.
fn how(target: &Event, found: &Event) -> &'static str {
    match (same_device(target, found), same_user(target, found)) {
        (true, true) => "by device and user",
        (true, false) => "by device, of another user",
        (false, true) if target.device.is_none() => "by user, the target without a device",
        (false, true) if found.device.is_none() => "by user, without a device",
        (false, true) => "by user, of another device",
        (false, false) => "by an id of a copy",
    }
}
