//! Why touches were credited, or were not.

use dataflows::params::PersonRule;
use serde_json::Value;

use super::*;
use crate::sql::explain::{ExplainOptions, run};

const DAY_MS: i64 = 24 * 3_600_000;

async fn explain(lake: &TempDir, tenant: Option<&str>, id: &str) -> Result<Value, String> {
    let options = ExplainOptions {
        lake: lake.path().to_owned(),
        id: id.to_owned(),
        tenant: tenant.map(str::to_owned),
        as_of: None,
        format: Format::Json,
        memory: Memory::of_machine(),
    };
    let mut out = Vec::new();
    run(&options, &hasher(), &mut out).await.map_err(|error| error.to_string())?;
    Ok(serde_json::from_slice(&out).unwrap())
}

/// The touches of the one event of that id: channel, what they share, and what became of them.
async fn verdicts(lake: &TempDir, id: &str) -> (String, Vec<String>) {
    let explained = explain(lake, Some("shop"), id).await.unwrap();
    let found = explained.as_array().unwrap();
    assert_eq!(found.len(), 1, "{id}");
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let touches = found[0]["touches"].as_array().unwrap().iter();
    let lines = touches
        .map(|touch| format!("{} ({}): {}", text(&touch["channel"]), text(&touch["shares"]), text(&touch["verdict"])));
    (text(&found[0]["text"]), lines.collect())
}

/// Touches of `u` and of others, two installs and conversions of them.
fn touched() -> Records {
    let mut all = Records { symbols: Symbols::new(), rows: Vec::new() };
    all.symbols.intern(NO_CHANNEL).unwrap();
    let [first, ..] = CUTS;
    let id = |kind, raw: &str| hasher().hash(kind, "shop", raw.as_bytes());
    all.touch(EventType::Click, "u", "early", -2 * DAY_MS, "early", first);
    all.touch(EventType::Click, "u", "winner", 10_000, "winner", first);
    all.touch(EventType::Impression, "u", "seen", 20_000, "seen", first);
    all.touch(EventType::Click, "u", "old", -DAY_MS * 8, "old", first);
    all.touch(EventType::Click, "u", "after", 90_000, "after", first);
    all.touch(EventType::Click, "u", "hot", 15_000, "hot", first);
    all.rows.last_mut().unwrap().capped = Capped::PERSON;
    all.touch(EventType::Click, "u", "elsewhere", 15_000, "elsewhere", first);
    let game = all.symbols.intern("game").unwrap();
    all.rows.last_mut().unwrap().event.as_mut().unwrap().app = game;
    all.push(all.event(EventType::Install, "u", "install", 50_000), first);
    all.push(all.event(EventType::Conversion, "u", "buys", 60_000), first);

    // A device and two others of one fingerprint.
    let fingerprint = schemas::Fingerprint(id(IdKind::Fingerprint, "same"));
    for (device, at) in [("d1", 1_000), ("d2", 2_000)] {
        all.touch(EventType::Click, "", &format!("by {device}"), at, device, first);
        let event = all.rows.last_mut().unwrap().event.as_mut().unwrap();
        (event.user, event.device, event.fingerprint) =
            (UserId::default(), schemas::DeviceId(id(IdKind::Device, device)), fingerprint);
    }
    let guessed =
        Event { user: UserId::default(), fingerprint, ..all.event(EventType::Install, "", "guessed", 50_000) };
    all.push(guessed, first);
    // A device that comes back.
    let device = schemas::DeviceId(id(IdKind::Device, "back"));
    let of_device = |event: Event| Event { user: UserId::default(), device, subject: Subject(device.0), ..event };
    let channel = all.symbols.intern("drew back").unwrap();
    for (kind, id, at) in [
        (EventType::Install, "came", -100 * DAY_MS),
        (EventType::Click, "drew back", 30_000),
        (EventType::Open, "came back", 50_000),
        (EventType::Open, "stayed", 70_000),
    ] {
        let event = of_device(all.event(kind, "", id, at));
        all.push(Event { channel: if kind == EventType::Click { channel } else { event.channel }, ..event }, first);
    }
    // One with a path of its own.
    all.touch(EventType::Impression, "v", "seen by v", 5_000, "seen", first);
    all.touch(EventType::Click, "v", "clicked by v", 1_000, "clicked", first);
    all.push(all.event(EventType::Conversion, "v", "alone", 60_000), first);
    all.push(all.event(EventType::Conversion, "nobody", "organic", 60_000), first);
    all
}

#[tokio::test]
async fn each_touch_is_told_why_it_won_lost_or_did_not_count() {
    let lake = lake_of(touched()).await;
    let (text, touches) = verdicts(&lake, "install").await;
    assert!(
        text.contains(", tenant shop, app web, at 2026-01-01T00:00:50.000Z\n  the install was won by the click "),
        "{text}"
    );
    assert!(text.ends_with(", matched by person"), "{text}");
    let expected = [
        "winner (user): won",
        "early (user): lost: the winner is later",
        "seen (user): lost: a click goes before an impression",
        "after (user): not eligible: it came after the install",
        "elsewhere (user): not eligible: it is of another app",
        "hot (user): not eligible: its key was hot in that hour, and it was not among the first of it",
        "old (user): not eligible: it is older than its window of 7 d",
    ];
    let mut sorted = touches.clone();
    sorted[3..].sort();
    assert_eq!(sorted, expected, "{touches:?}");

    let (text, touches) = verdicts(&lake, "guessed").await;
    assert!(text.ends_with("matched by fingerprint, one of 2 whom the fingerprint may stand for"), "{text}");
    assert_eq!(touches, ["d2 (fingerprint): won", "d1 (fingerprint): lost: the winner is later"]);
}

#[tokio::test]
async fn a_device_that_comes_back_is_told_so() {
    let lake = lake_of(touched()).await;
    let (text, touches) = verdicts(&lake, "came back").await;
    assert!(text.contains("\n  the reattribution was won by the click "), "{text}");
    assert!(text.contains("the device was back in the app with this open after more than 90d without it"), "{text}");
    assert_eq!(touches, ["drew back (device): won"]);
}

#[tokio::test]
async fn a_touch_of_a_linked_id_is_told_so_by_either_rule_for_who_is_one_person() {
    let by_rule = [
        (
            PersonRule::DeviceOrUser,
            [
                "of user x (user): won",
                "of the tablet (linked id): lost: the winner is later",
                "of user w (linked id): lost: the winner is later",
            ],
        ),
        (
            PersonRule::DeviceElseUser,
            [
                "of the tablet (linked id): won",
                "of user w (linked id): lost: the winner is later",
                "of user x (user): not eligible: a person is the device where there is one, not the user",
            ],
        ),
    ];
    for (person, expected) in by_rule {
        let mut all = Records { symbols: Symbols::new(), rows: Vec::new() };
        all.symbols.intern(NO_CHANNEL).unwrap();
        let [first, ..] = CUTS;
        let device = |raw: &str| schemas::DeviceId(hasher().hash(IdKind::Device, "shop", raw.as_bytes()));
        for (at, of) in [("phone", "w"), ("tablet", "w")].into_iter().enumerate() {
            let links = all.event(EventType::Identify, of.1, of.0, at as i64);
            all.push(Event { device: device(of.0), ..links }, first);
        }
        all.touch(EventType::Click, "w", "k1", 10_000, "of user w", first);
        all.touch(EventType::Click, "", "k2", 20_000, "of the tablet", first);
        let event = all.rows.last_mut().unwrap().event.as_mut().unwrap();
        (event.user, event.device, event.subject) = (UserId::default(), device("tablet"), Subject(device("tablet").0));
        all.touch(EventType::Click, "x", "k3", 30_000, "of user x", first);
        all.push(Event { device: device("phone"), ..all.event(EventType::Install, "x", "linked", 50_000) }, first);
        let mut settings = settings();
        (settings.views.installs.identity, settings.views.installs.person) = (true, person);
        let lake = lake_with(&settings, all).await;
        let (text, touches) = verdicts(&lake, "linked").await;
        assert!(text.ends_with(", matched by person"), "{text}");
        assert_eq!(touches, expected, "{person:?}");
    }
}

#[tokio::test]
async fn a_conversion_is_told_by_the_path_that_earns() {
    let lake = lake_of(touched()).await;
    let (text, touches) = verdicts(&lake, "buys").await;
    assert!(text.contains("\n  follows ") && text.contains("\n  the install was won by the click "), "{text}");
    assert_eq!((touches.len(), touches[0].as_str()), (7, "winner (user): won"));
    let explained = explain(&lake, Some("shop"), "buys").await.unwrap();
    let linear: i64 =
        explained[0]["touches"].as_array().unwrap().iter().map(|touch| touch["linear_ppm"].as_i64().unwrap()).sum();
    assert_eq!(linear, 1_000_000);

    let (text, touches) = verdicts(&lake, "alone").await;
    assert!(text.contains("it has a path of its own"), "{text}");
    assert_eq!(touches, ["clicked (user): in the path", "seen (user): in the path"]);

    let (text, touches) = verdicts(&lake, "organic").await;
    assert!(text.ends_with("no touch of its own was eligible, so its credit is of the channel (none)"), "{text}");
    assert_eq!(touches, [""; 0]);
}

#[tokio::test]
async fn what_cannot_be_explained_is_told_why() {
    let lake = lake().await;
    for (tenant, id, message) in [
        (None, "n1", "n1: an id is made with its tenant: give --tenant, or the 32 hexadecimal digits that tables show"),
        (Some("shop"), "nobody's", "there is no event of this id: "),
        (Some("shop"), "k1", "the event is no install or conversion: its type is click"),
        (Some("shop"), "k0", "the event came after the allowed lateness, so it counts nowhere: type click"),
        (Some("shop"), "i1", "the event does not stand: "),
    ] {
        let error = explain(&lake, tenant, id).await.unwrap_err();
        assert!(error.starts_with(message), "{id}: {error}");
    }
    let error = explain(&lake_of(touched()).await, Some("shop"), "stayed").await.unwrap_err();
    assert!(error.contains("its type is open: one with which no attribution began"), "{error}");
}
