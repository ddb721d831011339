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
use schemas::units::DAY_MS;
use schemas::{EventTime, Subject, Symbol, Tick, Zones, columns};

use crate::live::{Equal, KeyRows, Value, id_of};
use crate::local_time;
use crate::params::Params;
use crate::view::View;
use crate::views::frequency::{Counts, Series, SeriesNames, counted_sql};

const SQL: &str = "\
, days AS (
  SELECT frequency.tenant, visitor, grouping, campaign, channel, kind, day AS hour, {date_of_day} AS date, events
  FROM {sealed}
  UNION ALL
  SELECT tenant, visitor, grouping, campaign, channel, kind, hour, date, count(*) AS events
  FROM counted
  WHERE ends + stagger >= (SELECT final_before FROM as_of)
  GROUP BY tenant, visitor, grouping, campaign, channel, kind, hour, date
), begun AS (
  -- What is dated ahead counts once its hour begins.
  SELECT *, (SELECT cut - 1 FROM as_of) AS now
  FROM days
  WHERE hour < (SELECT cut FROM as_of)
), gaps AS (
  SELECT begun.*, {hour_of_now} AS this_hour, {date_of_now} AS today,
    CASE WHEN date - lag(date) OVER visitor > {forget_after} THEN 1 ELSE 0 END AS begins,
    max(date) OVER (PARTITION BY tenant, visitor) AS last_date
  FROM {begun_now}
  WINDOW visitor AS (PARTITION BY tenant, visitor ORDER BY date)
), lives AS (
  SELECT *, sum(begins) OVER (PARTITION BY tenant, visitor ORDER BY date) AS life,
    sum(begins) OVER (PARTITION BY tenant, visitor) AS last_life
  FROM gaps
), periods AS (
  SELECT *, unnest(make_array('hour', 'day', 'week', 'month', 'life')) AS period FROM lives
)
SELECT tenant, visitor, grouping, campaign, channel, kind, period, sum(events) AS events
FROM periods
WHERE CASE period
  WHEN 'hour' THEN hour = this_hour
  WHEN 'day' THEN date = today
  -- The first day of 1970 was a Thursday; weeks begin with Mondays.
  WHEN 'week' THEN date >= today - (today / 86400000 + 3) % 7 * 86400000
  WHEN 'month' THEN date >= CAST(date_trunc('month', to_timestamp_millis(today)) AS BIGINT)
  -- Who was not there for so long begins anew.
  ELSE life = last_life AND today - last_date <= {forget_after}
END
GROUP BY tenant, visitor, grouping, campaign, channel, kind, period
";

fn sql(params: &Params) -> String {
    let texts = [
        ("{date_of_day}", local_time::date("day")),
        ("{sealed}", local_time::with_spans("frequency", "day")),
        ("{hour_of_now}", local_time::hour("now")),
        ("{date_of_now}", local_time::date("now")),
        ("{begun_now}", local_time::with_spans("begun", "now")),
        ("{forget_after}", params.forget_after.0.to_string()),
    ];
    let sql = texts.iter().fold(SQL.to_owned(), |sql, (name, text)| sql.replace(name, text));
    format!("{} {sql}", counted_sql())
}

/// `frequency_now`.
pub static FREQUENCY_NOW: View = View {
    name: "frequency_now",
    question: "How often has a visitor seen and clicked each campaign and channel this hour, day, week and month, and ever?",
    key: &["tenant", "visitor", "grouping", "campaign", "channel", "kind", "period"],
    read_by: &[&["tenant", "visitor"]],
    code: 1,
    reads: &["events", "frequency", "as_of", "zone_spans", "zone_days"],
    sql,
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

/// Makes rows of what a worker keeps of a visitor.
pub struct Now {
    names: Arc<SeriesNames>,
    zones: Zones,
}

impl Now {
    /// With the series that tiles have the places of.
    pub fn new(names: Arc<SeriesNames>, zones: Zones) -> Now {
        Now { names, zones }
    }

    /// When the hour, day, week and month of a tick began for a tenant.
    fn begins(&self, tenant: Symbol, now: Tick) -> [EventTime; PERIODS.len()] {
        let now = EventTime(now as i64);
        let day = self.zones.day(tenant, now);
        let date = DateTime::from_timestamp_millis(day.number * DAY_MS).unwrap_or_default();
        let days_ago = |days: u32| self.zones.day_of_number(tenant, day.number - i64::from(days)).begins;
        let week = days_ago(date.weekday().num_days_from_monday());
        [self.zones.hour(tenant, now), day.begins, week, days_ago(date.day0())]
    }
}

impl KeyRows for Now {
    type Key = Subject;
    type Section = Counts;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(NowRow::fields()))
    }

    fn key(equals: &[Equal]) -> Option<Subject> {
        id_of(equals, "visitor").map(Subject)
    }

    fn answers(equals: &[Equal]) -> bool {
        let in_memory = |value: &Value| PERIODS.iter().any(|period| *value == Value::Text((*period).to_owned()));
        equals.iter().all(|(name, value)| name != "period" || in_memory(value))
    }

    fn rows(&self, visitor: Subject, counts: &Counts, now: Tick) -> RecordBatch {
        let names = self.names.read().expect("no panic while locked");
        let mut sums: BTreeMap<(usize, usize), i64> = BTreeMap::new();
        let mut begins = None;
        for (series, time, count) in counts.all().filter(|(_, time, _)| time.0 <= now as i64) {
            // A visitor is of one tenant.
            let begins = begins.get_or_insert_with(|| self.begins(names[series].tenant, now));
            for (period, _) in begins.iter().enumerate().filter(|(_, begins)| time >= **begins) {
                *sums.entry((series, period)).or_default() += count;
            }
        }
        let row = |((series, period), events)| NowRow { visitor, series: names[series], period, events };
        let rows: Vec<NowRow> = sums.into_iter().map(row).collect();
        NowRow::batch(rows.iter())
    }
}
