//! How often has a visitor seen and clicked each campaign and channel this hour, this day, this week, this month, and ever?
//!
//! What caps are asked for: `frequency` has days that are final alone. A running job answers from what it keeps of the visitor, at the
//! tick of the answer, without the whole life of one, which is in the table.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use chrono::{DateTime, Datelike};
use schemas::table::Columns;
use schemas::units::{DAY_MS, HOUR_MS};
use schemas::{EventTime, Subject, Symbol, Tick, columns};

use crate::live::{Equal, KeyRows, id_of};
use crate::sealing::day_of;
use crate::view::View;
use crate::views::frequency::{COUNTED_SQL, Counts, Series, SeriesNames};

const SQL: &str = "\
, days AS (
  SELECT tenant, visitor, grouping, campaign, channel, kind, day AS hour, day, events FROM frequency
  UNION ALL
  SELECT tenant, visitor, grouping, campaign, channel, kind, hour, day, count(*) AS events
  FROM counted
  WHERE day + 86400000 + stagger >= (SELECT final_before FROM as_of) AND day > (SELECT final_before FROM as_of) - 172800000
  GROUP BY tenant, visitor, grouping, campaign, channel, kind, hour, day
), begun AS (
  -- What is dated ahead counts once its hour begins.
  SELECT *, (SELECT (cut - 1) / 3600000 * 3600000 FROM as_of) AS this_hour, (SELECT (cut - 1) / 86400000 * 86400000 FROM as_of) AS today
  FROM days
  WHERE hour < (SELECT cut FROM as_of)
), gaps AS (
  SELECT *, CASE WHEN day - lag(day) OVER visitor > {forget_after} THEN 1 ELSE 0 END AS begins,
    max(day) OVER (PARTITION BY tenant, visitor) AS last_day
  FROM begun
  WINDOW visitor AS (PARTITION BY tenant, visitor ORDER BY day)
), lives AS (
  SELECT *, sum(begins) OVER (PARTITION BY tenant, visitor ORDER BY day) AS life, sum(begins) OVER (PARTITION BY tenant, visitor) AS last_life
  FROM gaps
), periods AS (
  SELECT *, unnest(make_array('hour', 'day', 'week', 'month', 'life')) AS period FROM lives
)
SELECT tenant, visitor, grouping, campaign, channel, kind, period, sum(events) AS events
FROM periods
WHERE CASE period
  WHEN 'hour' THEN hour = this_hour
  WHEN 'day' THEN day = today
  -- The first day of 1970 was a Thursday; weeks begin with Mondays.
  WHEN 'week' THEN day >= today - (today / 86400000 + 3) % 7 * 86400000
  WHEN 'month' THEN day >= CAST(date_trunc('month', to_timestamp_millis(today)) AS BIGINT)
  -- Who was not there for so long begins anew.
  ELSE life = last_life AND today - last_day <= {forget_after}
END
GROUP BY tenant, visitor, grouping, campaign, channel, kind, period
";

/// `frequency_now`.
pub static FREQUENCY_NOW: View = View {
    name: "frequency_now",
    question: "How often has a visitor seen and clicked each campaign and channel this hour, day, week and month, and ever?",
    key: &["tenant", "visitor", "grouping", "campaign", "channel", "kind", "period"],
    read_by: &[&["tenant", "visitor"]],
    code: 1,
    reads: &["events", "frequency", "as_of"],
    sql: |params| format!("{COUNTED_SQL} {}", SQL.replace("{forget_after}", &params.forget_after.0.to_string())),
    maintained: None,
};

/// The periods that are answered from memory.
const PERIODS: [&str; 4] = ["hour", "day", "week", "month"];

/// One row of `frequency_now`.
struct NowRow {
    visitor: Subject,
    series: Series,
    /// The place of its period.
    period: usize,
    events: i64,
}

columns! {
    NowRow, |row| {
        tenant: Symbol = row.series.tenant,
        /// user, else device
        visitor: Subject = row.visitor,
        /// what the visitor's events are counted by: campaign or channel
        grouping: &'static str = row.series.grouping(),
        campaign: Option<Symbol> = row.series.campaign.some(),
        channel: Option<Symbol> = row.series.channel.some(),
        /// impression or click
        kind: &'static str = row.series.kind.name(),
        /// hour, day, week or month, of the calendar: since when is counted
        period: &'static str = PERIODS[row.period],
        /// number of impressions or clicks
        events: i64 = row.events,
    }
}

/// When the hour, day, week and month of a tick began.
fn begins(now: Tick) -> [EventTime; PERIODS.len()] {
    let (hour, day) = (now as i64 / HOUR_MS * HOUR_MS, day_of(EventTime(now as i64)).start);
    let date = DateTime::from_timestamp_millis(day.0).unwrap_or_default();
    let days_ago = |days: u32| EventTime(day.0 - i64::from(days) * DAY_MS);
    [EventTime(hour), day, days_ago(date.weekday().num_days_from_monday()), days_ago(date.day0())]
}

/// Makes rows of what a worker keeps of a visitor.
pub struct Now(pub Arc<SeriesNames>);

impl KeyRows for Now {
    type Key = Subject;
    type Section = Counts;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(NowRow::fields()))
    }

    fn key(equals: &[Equal]) -> Option<Subject> {
        id_of(equals, "visitor").map(Subject)
    }

    fn rows(&self, visitor: Subject, counts: &Counts, now: Tick) -> RecordBatch {
        let begins = begins(now);
        let mut sums: BTreeMap<(usize, usize), i64> = BTreeMap::new();
        for (series, time, count) in counts.all().filter(|(_, time, _)| time.0 <= now as i64) {
            for (period, _) in begins.iter().enumerate().filter(|(_, begins)| time >= **begins) {
                *sums.entry((series, period)).or_default() += count;
            }
        }
        let names = self.0.read().expect("no panic while locked");
        let row = |((series, period), events)| NowRow { visitor, series: names[series], period, events };
        let rows: Vec<NowRow> = sums.into_iter().map(row).collect();
        NowRow::batch(rows.iter())
    }
}
