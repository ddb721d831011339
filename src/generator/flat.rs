//! Flat traffic, to measure with: no stories, an even load. Of the records 98 % are touches (one in five a click), 2 %
//! targets (one in ten an install, the others conversions), of people drawn evenly; 70 % of people have a device id, two
//! share a fingerprint, and clicks and one target in five carry a click id.

use schemas::wire::{Event, EventType};

use super::{Dice, mix};

/// Targets among so many records.
const PER: u64 = 1_000;
const TARGETS: u64 = 20;

/// A record of flat traffic.
pub(super) fn record(users: u64, dice: &mut Dice) -> Event {
    let user = dice.below(users);
    let (is_target, kind) = (dice.below(PER) < TARGETS, dice.below(10));
    let event_type = match (is_target, kind) {
        (true, 0) => EventType::Install,
        (true, _) => EventType::Conversion,
        (false, 0 | 1) => EventType::Click,
        (false, _) => EventType::Impression,
    };
    let (device, home) = (mix(user ^ 0xde), mix(user / 2));
    let mut event = Event {
        r#type: event_type as i32,
        tenant: "acme".to_owned(),
        app: "shop-android".to_owned(),
        user: format!("u{user}"),
        ip: format!("198.{}.{}.{}", 18 + (home >> 16 & 1), home >> 8 & 0xff, home & 0xff),
        user_agent: format!("Mozilla/5.0 (Linux; Android 14; SM-S9{:02}B) AppleWebKit/537.36", (home >> 17) % 100),
        device_model: format!("SM-S9{:02}B", (home >> 17) % 100),
        language: "en".to_owned(),
        country: "US".to_owned(),
        ..Event::default()
    };
    if device % 10 < 7 {
        event.device = format!("{:08x}-{:04x}-4000-8000-{:012x}", device >> 32, device >> 16 & 0xffff, user);
    }
    if kind < 2 {
        event.click_id = format!("c{:x}", mix(user));
    }
    if is_target {
        event.name = dice.of(&["purchase", "subscribe"]).to_owned();
        event.revenue_micros =
            (event_type == EventType::Conversion).then(|| 10_000 * (100 + dice.below(20_000) as i64));
        event.currency = if event_type == EventType::Conversion { "USD" } else { "" }.to_owned();
    } else {
        event.channel = dice.of(&["display", "video", "social", "affiliate", "search", "email"]).to_owned();
        event.campaign = format!("campaign-{}", dice.below(500));
        event.ad_group = format!("group-{}", dice.below(5_000));
        event.creative = format!("creative-{}", dice.below(20_000));
        event.source = format!("source-{}", dice.below(300));
    }
    event
}
