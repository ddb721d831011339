//! Removal effects of final paths, and what conversions earn by them.

use schemas::Symbol;

use super::*;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// The case by hand: one came by c1, c2 and c3 and bought, one by c1 and one by c2 and c3 bought nothing; later one buys by c1 and c3.
fn journeys() -> Records {
    let mut all = Records { symbols: Symbols::new(), rows: Vec::new() };
    all.symbols.intern(NO_CHANNEL).unwrap();
    let [first, ..] = CUTS;
    for (user, end, channels, buys) in [
        ("a", -20 * DAY_MS, &["c1", "c2", "c3"][..], true),
        ("b", -45 * DAY_MS, &["c1"], false),
        ("c", -45 * DAY_MS, &["c2", "c3"], false),
        ("d", 60_000, &["c1", "c3"], true),
        ("e", 60_000, &[], true),
    ] {
        for (channel, before) in channels.iter().rev().zip(1..) {
            all.touch(EventType::Click, user, &format!("{user} {channel}"), end - before * HOUR_MS, channel, first);
        }
        if buys {
            let revenue = Some(Micros(-9_000_001));
            let event = all.event(EventType::Conversion, user, &format!("buys {user}"), end);
            all.push(Event { revenue, currency: Symbol::of("USD"), ..event }, first);
        }
    }
    all.symbols.intern("USD").unwrap();
    all
}

#[tokio::test]
async fn channels_earn_by_what_is_lost_without_them() {
    let lake = lake_of(journeys()).await;
    let session = at(&lake, None).await;
    let effects =
        "SELECT DISTINCT channel, effect_ppm FROM removal_effects WHERE effects_of = '2026-01-01' ORDER BY channel";
    assert_eq!(printed(&session, effects).await, "channel,effect_ppm\nc1,500000\nc2,1000000\nc3,1000000\n");
    let last_day = "SELECT max(effects_of) AS day FROM removal_effects";
    assert_eq!(printed(&session, last_day).await, "day\n2026-01-01T00:00:00.000Z\n", "no day that has not begun");
    let credits = "SELECT CAST(event_time AS DATE) AS day, place, channel, effects_of IS NOT NULL AS known, credit_ppm, revenue_micros \
                   FROM credits_markov ORDER BY day, channel, place";
    let expected = "day,place,channel,known,credit_ppm,revenue_micros\n\
                    2025-12-12,1,c1,false,333334,-3000001\n\
                    2025-12-12,2,c2,false,333333,-3000000\n\
                    2025-12-12,3,c3,false,333333,-3000000\n\
                    2026-01-01,1,(none),false,1000000,-9000001\n\
                    2026-01-01,1,c1,true,333334,-3000001\n\
                    2026-01-01,2,c3,true,666666,-6000000\n";
    assert_eq!(printed(&session, credits).await, expected);
}
