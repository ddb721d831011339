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
        ip: format!("198.{}.{}.{}", 18 + (home >> 16 & 1), home >> 8 & 0xff, (home & 0xff).max(1)),
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

#[cfg(test)]
mod tests {
    use schemas::decode::{Decoder, IdRules};
    use schemas::ids::IdHasher;
    use schemas::symbols::Symbols;
    use schemas::wire::Encoding;
    use schemas::{Event, EventType};

    use crate::ingest::generator::{Generator, Traffic};

    #[test]
    fn shares_are_as_documented_and_every_event_decodes() {
        const RECORDS: usize = 40_000;
        let mut decoder = Decoder::new(IdHasher::new(b"test"), Symbols::new().into(), &IdRules::default());
        let mut generator = Generator::new(1, 0, 1_000).with(Traffic::Flat);
        let (mut events, mut bytes) = (Vec::new(), 0);
        for index in 0..RECORDS {
            let record = generator.record(index as u64, 1_700_000_000_000).encode(Encoding::Protobuf);
            bytes += record.len();
            events.push(decoder.decode(&record, Encoding::Protobuf).unwrap().event);
        }
        let share = |which: &dyn Fn(&Event) -> bool| {
            events.iter().filter(|event| which(event)).count() as f64 * 1_000.0 / RECORDS as f64
        };
        let near =
            |share: f64, expected: f64, by: f64| assert!((share - expected).abs() < by, "{share} for {expected}");
        near(share(&|event| event.event_type.is_touch()), 980.0, 5.0);
        near(share(&|event| event.event_type == EventType::Click), 196.0, 10.0);
        near(share(&|event| event.event_type == EventType::Install), 2.0, 1.0);
        near(share(&|event| !event.device.is_none()), 700.0, 50.0);
        near(share(&|event| !event.click.is_none()), 200.0, 10.0);
        near(share(&|event| !event.fingerprint.is_none()), 1_000.0, 0.5);
        near((bytes / RECORDS) as f64, 250.0, 30.0);
        let mut fingerprints: Vec<_> = events.iter().map(|event| event.fingerprint).collect();
        fingerprints.sort_unstable();
        fingerprints.dedup();
        near(fingerprints.len() as f64, 500.0, 5.0);
    }
}
