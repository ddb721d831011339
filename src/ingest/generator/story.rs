//! What generated people do: scripts of twelve steps, from first touch to refund.

use schemas::wire::{Event, EventType};

use super::{Dice, mix};

/// Steps of a journey.
const STEPS: u64 = 12;
/// The device of the bot.
pub(super) const BOT_DEVICE: &str = "b07b07b0-0000-4000-8000-000000000001";

/// The marketing channels, in the order in which people tend to meet them, each with its source.
const CHANNELS: [(&str, &str); 8] = [
    ("display", "adnet"),
    ("video", "tube"),
    ("social", "friendly"),
    ("influencer", "friendly"),
    ("affiliate", "coupons"),
    ("search", "finder"),
    ("email", "newsletter"),
    ("direct", ""),
];

/// A person, as far as events tell.
struct Person {
    user: String,
    number: u64,
    devices: u64,
    opted_out: bool,
    tenant: &'static str,
    country: &'static str,
    iphone: bool,
}

impl Person {
    fn of(number: u64) -> Person {
        let mut dice = Dice(mix(number ^ 0x7065_7273_6f6e));
        Person {
            user: format!("u{number}"),
            number,
            devices: 1 + dice.below(10) / 7 + dice.below(20) / 19,
            opted_out: dice.one_in(4),
            tenant: if dice.one_in(4) { "globex" } else { "acme" },
            country: dice.of(&["US", "US", "DE", "GB", "BR", "JP", "IN"]),
            iphone: dice.one_in(2),
        }
    }

    fn device(&self, which: u64) -> String {
        if self.opted_out {
            return "00000000-0000-0000-0000-000000000000".to_owned();
        }
        let word = mix(self.number * 4 + which);
        format!("{:08x}-{:04x}-4000-8000-{:012x}", word >> 32, word >> 16 & 0xffff, mix(word) & 0xffff_ffff_ffff)
    }

    /// An event on one of the person's phones.
    fn on_phone(&self, kind: EventType, which: u64) -> Event {
        let home = mix(self.number * 4 + which) & 0xffff;
        let model = ["15,2", "14,5", "16,1"][(home % 3) as usize];
        let user_agent = match (self.iphone, home % 3) {
            (true, _) => "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15".to_owned(),
            (false, 0) => "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 Chrome/124.0".to_owned(),
            (false, 1) => "Mozilla/5.0 (Linux; Android 13; SM-S911B) AppleWebKit/537.36 Chrome/124.0".to_owned(),
            (false, _) => "Mozilla/5.0 (Linux; Android 14; CPH2581) AppleWebKit/537.36 Chrome/123.0".to_owned(),
        };
        Event {
            r#type: kind as i32,
            tenant: self.tenant.to_owned(),
            app: if self.iphone { "shop-ios" } else { "shop-android" }.to_owned(),
            device: self.device(which),
            ip: format!("198.{}.{}.{}", 18 + home % 2, home >> 8, (home & 0xff).max(1)),
            device_model: if self.iphone { format!("iPhone{model}") } else { String::new() },
            user_agent,
            language: "en".to_owned(),
            country: self.country.to_owned(),
            ..Event::default()
        }
    }

    /// An event in the browser of a computer: a user, no device.
    fn on_web(&self, kind: EventType) -> Event {
        Event {
            r#type: kind as i32,
            tenant: self.tenant.to_owned(),
            app: "web".to_owned(),
            user: self.user.clone(),
            country: self.country.to_owned(),
            language: "en".to_owned(),
            ..Event::default()
        }
    }
}

/// The event of a record: the step of the journey that is in its lane.
pub(super) fn step(seed: u64, index: u64, users: u64, dice: &mut Dice) -> Event {
    let (lane, round) = (index % users, index / users);
    let (step, cycle) = (round % STEPS, round / STEPS);
    let journey = mix(seed ^ mix(lane ^ mix(cycle)));
    let person = Person::of(journey % users);
    if mix(journey).is_multiple_of(3) {
        on_web(&person, journey, step, dice)
    } else {
        in_app(&person, journey, step, dice)
    }
}

fn in_app(person: &Person, journey: u64, step: u64, dice: &mut Dice) -> Event {
    let which = mix(journey ^ 1) % person.devices;
    let mut event = match step {
        0 | 2 => touch(person.on_phone(EventType::Impression, which), step, dice),
        1 | 3 => touch(person.on_phone(EventType::Click, which), step + 2, dice),
        4 if mix(journey ^ 2) % 10 < 7 => {
            let mut install = person.on_phone(EventType::Install, which);
            // Stores pass the referrer on; it carries the click id of the last click.
            if journey.is_multiple_of(3) {
                install.referrer = format!("utm_source=store&click_id=c{journey:x}");
            }
            install
        }
        7 if journey.is_multiple_of(4) => touch(person.on_phone(EventType::Click, which), 7, dice),
        7 => {
            let mut identify = person.on_phone(EventType::Identify, which);
            identify.user = person.user.clone();
            identify.login = format!("{}@example.com", person.user);
            identify
        }
        8 if journey.is_multiple_of(2) => purchase(person.on_phone(EventType::Conversion, which), dice),
        10 if journey.is_multiple_of(10) => refund(person.on_phone(EventType::Conversion, which), dice),
        10 if journey.is_multiple_of(5) => purchase(person.on_phone(EventType::Conversion, which), dice),
        5 | 11 => person.on_phone(EventType::Open, which),
        _ => browse(person.on_phone(EventType::Event, which), dice),
    };
    if step == 3 && journey.is_multiple_of(3) {
        event.click_id = format!("c{journey:x}");
    }
    event
}

fn on_web(person: &Person, journey: u64, step: u64, dice: &mut Dice) -> Event {
    match step {
        0 => touch(person.on_web(EventType::Impression), 0, dice),
        1 | 4 => touch(person.on_web(EventType::Click), step + 1, dice),
        7 => touch(person.on_web(EventType::Click), 8, dice),
        8 if journey.is_multiple_of(3) => purchase(person.on_web(EventType::Conversion), dice),
        _ => browse(person.on_web(EventType::Event), dice),
    }
}

/// A touch by a channel that fits how far the journey is: 0 begins it, 8 ends it.
fn touch(mut event: Event, stage: u64, dice: &mut Dice) -> Event {
    let channel = (stage * 7 / 8 + dice.below(3)).saturating_sub(1).min(7);
    let (name, source) = CHANNELS[channel as usize];
    event.channel = name.to_owned();
    event.source = source.to_owned();
    if name != "direct" {
        let campaign = dice.below(3) + 1;
        event.campaign = format!("{name}-{campaign}");
        event.ad_group = format!("{name}-{campaign}-{}", dice.of(&["a", "b"]));
        event.creative = format!("{name}-{}", dice.of(&["red", "blue", "green"]));
        event.placement = dice.of(&["top", "feed", "side"]).to_owned();
    }
    event
}

fn browse(mut event: Event, dice: &mut Dice) -> Event {
    event.name = dice.of(&["product_view", "search", "add_to_cart"]).to_owned();
    event.item = format!("sku-{}", dice.below(200));
    event
}

fn purchase(mut event: Event, dice: &mut Dice) -> Event {
    event.name = "purchase".to_owned();
    event.item = format!("sku-{}", dice.below(200));
    event.quantity = Some(1 + dice.below(3) as i64);
    event.revenue_micros = Some(10_000 * (100 + dice.below(20_000) as i64));
    event.currency = if event.country == "DE" { "EUR" } else { "USD" }.to_owned();
    event
}

fn refund(event: Event, dice: &mut Dice) -> Event {
    let mut event = purchase(event, dice);
    event.name = "refund".to_owned();
    event.revenue_micros = event.revenue_micros.map(|micros| -micros);
    event
}

/// A row of media cost; a later record of the same hour has a larger version.
pub(super) fn cost(dice: &mut Dice, index: u64) -> Event {
    let (channel, source) = CHANNELS[dice.below(7) as usize];
    let campaign = dice.below(3) + 1;
    Event {
        r#type: EventType::Cost as i32,
        tenant: dice.of(&["acme", "acme", "acme", "globex"]).to_owned(),
        channel: channel.to_owned(),
        source: source.to_owned(),
        campaign: format!("{channel}-{campaign}"),
        ad_group: format!("{channel}-{campaign}-{}", dice.of(&["a", "b"])),
        cost_micros: Some(10_000 * (500 + dice.below(20_000) as i64)),
        currency: "USD".to_owned(),
        version: Some(index as i64),
        ..Event::default()
    }
}

/// A click of the bot.
pub(super) fn bot_click(dice: &mut Dice) -> Event {
    Event {
        r#type: EventType::Click as i32,
        tenant: "acme".to_owned(),
        app: "shop-android".to_owned(),
        device: BOT_DEVICE.to_owned(),
        ip: "203.0.113.66".to_owned(),
        user_agent: "Mozilla/5.0 (Linux; Android 9; Generic) AppleWebKit/537.36".to_owned(),
        channel: "affiliate".to_owned(),
        source: "clickfarm".to_owned(),
        campaign: "affiliate-1".to_owned(),
        creative: dice.of(&["affiliate-red", "affiliate-blue"]).to_owned(),
        country: "US".to_owned(),
        ..Event::default()
    }
}
