//! What is expected of hours and days to come.

use super::*;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Five weeks of a campaign that has ten clicks at noon and one at midnight, eleven in the last week; and thirty once on a noon before.
fn weeks() -> Records {
    let mut all = Records { symbols: Symbols::new(), rows: Vec::new() };
    all.symbols.intern(NO_CHANNEL).unwrap();
    let [first, ..] = CUTS;
    for day in 1..=35i64 {
        let at_noon = if day == 10 {
            30
        } else if day <= 7 {
            11
        } else {
            10
        };
        for (hour, clicks) in [(0, 1), (12, at_noon)] {
            for click in 0..clicks {
                let at = -day * DAY_MS + hour * HOUR_MS + click * 1_000;
                all.touch(EventType::Click, "u", &format!("{day} {hour} {click}"), at, "search", first);
            }
        }
    }
    all
}

#[tokio::test]
async fn hours_and_days_to_come_follow_from_those_of_the_weeks_before() {
    let lake = lake_of(weeks()).await;
    let session = at(&lake, None).await;
    let hours = "SELECT CAST(begins AS VARCHAR) AS begins, expected, low, high, samples, tried, error_ppm FROM forecasts \
                 WHERE metric = 'clicks' AND horizon = 'hour' AND expected > 0 ORDER BY begins";
    // Of noons 11, 10, 10 and 10 (one day 30): 10. In the last week noons were off by one: 7 of 7 * (11 + 1) clicks.
    let expected = "begins,expected,low,high,samples,tried,error_ppm\n\
                    2026-01-01T00:00:00Z,1,1,1,4,168,83333\n\
                    2026-01-01T12:00:00Z,10,10,10,4,168,83333\n";
    assert_eq!(printed(&session, hours).await, expected);
    let days = "SELECT CAST(begins AS VARCHAR) AS begins, expected, low, high, samples, tried, error_ppm FROM forecasts \
                WHERE metric = 'clicks' AND horizon = 'day' ORDER BY begins";
    let days = printed(&session, days).await;
    assert_eq!(days.lines().count(), 8, "{days}");
    assert_eq!(days.lines().nth(1), Some("2026-01-02T00:00:00Z,11,10,12,4,7,83333"), "{days}");
}
