//! What do the last 7 and 30 days sum to, hour by hour?
//!
//! A window is whole hours of the tenant's time zone and ends with the last hour that is over (`until`): it has the hours that
//! began in the 7 or 30 times 24 hours before that. A minute after each hour the windows step, at half past for India, also where no
//! record comes. What comes late for an hour within a window changes it at once. Of a group of the declared groupings the sums of each hour
//! are kept while the longest window has it, and two rows: one a window. A group goes when nothing is left in its window.

use std::collections::BTreeMap;

use operators::{Keyed, keyed};
use schemas::units::{DAY_MS, MINUTE_MS};
use schemas::zones::HALF_YEAR_MS;
use schemas::{EventTime, Micros, Symbol, Tick, Zones, columns};
use serde::{Deserialize, Serialize};

use crate::overflow::fits;
use crate::group_metrics::{GroupKey, Measures, additions};
use crate::groupings::{GROUP_COLUMNS, GROUPED_COLUMNS, Grouping};
use crate::inputs::Inputs;
use crate::needs::Needs;
use crate::params::Params;
use crate::view::{Maintained, Output, View};
use crate::views::metrics_hourly::MEASURES;

const SQL: &str = "\
WITH groupings AS (
  {groupings}
), grouped AS (
  SELECT {grouped}, currency, hour, impressions, clicks, installs, conversions, revenue_micros, spend_micros, rows
  FROM metrics_hourly CROSS JOIN groupings
), spans AS (
  SELECT *, (SELECT cut - 60001 FROM as_of) AS at FROM zone_spans
), ends AS (
  -- Of tenants with a zone: the end of the last hour that was over for a minute at the cut.
  SELECT of_tenant, greatest(at - (at + offset_ms) % 3600000, starts) AS zoned_until
  FROM spans
  WHERE half_year = at / {half_year} AND at >= starts AND at < ends
), windowed AS (
  SELECT grouped.*, unnest(make_array(7, 30)) AS days,
    coalesce(zoned_until, (SELECT (cut - 60001) / 3600000 * 3600000 FROM as_of)) AS until
  FROM ends RIGHT JOIN grouped ON of_tenant = tenant
)
SELECT {group}, currency, concat(days, 'd') AS period, until,
  sum(impressions) AS impressions, sum(clicks) AS clicks, sum(installs) AS installs, sum(conversions) AS conversions,
  sum(revenue_micros) AS revenue_micros, sum(spend_micros) AS spend_micros, sum(rows) AS rows
FROM windowed
WHERE hour < until AND hour >= until - days * 86400000
GROUP BY {group}, currency, days, until
";

/// How long after an hour the windows step.
const STEP_AFTER_MS: i64 = MINUTE_MS;

/// The windows.
const WINDOWS: [(&str, i64); 2] = [("7d", 7 * DAY_MS), ("30d", LONGEST_MS)];
const LONGEST_MS: i64 = 30 * DAY_MS;

/// `metrics_sliding`.
pub static METRICS_SLIDING: View = View {
    name: "metrics_sliding",
    question: "What do the last 7 and 30 days, up to the last full hour, sum to?",
    key: &["grouping", "tenant", "campaign", "source", "channel", "country", "currency", "period"],
    read_by: &[&["tenant", "grouping"]],
    code: 1,
    reads: &["metrics_hourly", "as_of", "zone_spans"],
    sql,
    maintained: Some(Maintained::rows::<SlidingRow>(|_, retention| {
        Needs::attributed_until_final(retention).at_least(LONGEST_MS + DAY_MS)
    })),
};

fn sql(params: &Params) -> String {
    let groupings = Grouping::table(&params.metrics_sliding.groupings);
    let half_year = HALF_YEAR_MS.to_string();
    let names = [("{grouped}", GROUPED_COLUMNS), ("{group}", GROUP_COLUMNS), ("{half_year}", &*half_year)];
    let texts = [("{groupings}", &*groupings)].into_iter().chain(names);
    texts.fold(SQL.to_owned(), |sql, (name, text)| sql.replace(name, text))
}

/// One row of `metrics_sliding`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SlidingRow {
    key: GroupKey,
    /// The place of its window.
    window: u8,
    until: EventTime,
    sums: Measures,
}

columns! {
    SlidingRow, |row| {
        grouping: &'static str = row.key.group.grouping.name(),
        tenant: Symbol = row.key.group.tenant,
        campaign: Option<Symbol> = row.key.group.campaign.some(),
        source: Option<Symbol> = row.key.group.source.some(),
        channel: Option<Symbol> = row.key.group.channel.some(),
        country: Option<Symbol> = row.key.group.country.some(),
        currency: Option<Symbol> = row.key.currency.some(),
        /// the window: 7d or 30d
        period: &'static str = WINDOWS[row.window as usize].0,
        /// when the last hour of the window was over
        until: EventTime = row.until,
        impressions: i64 = row.sums[0],
        clicks: i64 = row.sums[1],
        installs: i64 = row.sums[2],
        conversions: i64 = row.sums[3],
        revenue_micros: Micros = Micros(row.sums[4]),
        spend_micros: Micros = Micros(row.sums[5]),
        rows: i64 = row.sums[6],
    }
}

/// Keeps the windows of groups.
struct Windows {
    zones: Zones,
}

impl Windows {
    /// When the last hour of a tenant was over that is told at a tick.
    fn until(&self, tenant: Symbol, now: Tick) -> EventTime {
        self.zones.hour(tenant, EventTime(now as i64 - STEP_AFTER_MS))
    }
}

/// What is kept of a group.
#[derive(Clone, Default)]
struct Hours {
    /// The sums of the hours of the longest window, and of those to come.
    hours: BTreeMap<EventTime, Measures>,
    /// When the last hour of the windows was over.
    until: Option<EventTime>,
    /// When the hour after it is over.
    next: EventTime,
    /// The sums of the windows.
    sums: [Measures; WINDOWS.len()],
    /// What its rows say, and until when.
    told: Option<(EventTime, [Measures; WINDOWS.len()])>,
}

fn add(sums: &mut Measures, more: &Measures, times: i64) {
    for (sum, more) in sums.iter_mut().zip(more) {
        let more = more.checked_mul(times);
        *sum = fits(more.and_then(|more| sum.checked_add(more)), "a sum of 7 or 30 days");
    }
}

impl Hours {
    /// Has the windows end with the hour that ends at `next`, the one after those that they have.
    fn step(&mut self, ended: EventTime, next: EventTime) {
        for (sums, (_, window_ms)) in self.sums.iter_mut().zip(WINDOWS) {
            if let Some(hour) = self.hours.get(&ended) {
                add(sums, hour, 1);
            }
            let (from, to) = (EventTime(ended.0 - window_ms), EventTime(next.0 - window_ms));
            // One, but where the offset has changed within the window: none or two.
            self.hours.range(from..to).for_each(|(_, hour)| add(sums, hour, -1));
        }
        while let Some(hour) = self.hours.first_entry().filter(|hour| hour.key().0 < next.0 - LONGEST_MS) {
            hour.remove();
        }
    }

    /// The rows that say this.
    fn rows((until, sums): &(EventTime, [Measures; WINDOWS.len()]), key: GroupKey) -> impl Iterator<Item = SlidingRow> {
        let until = *until;
        let row = move |(window, sums): (usize, Measures)| SlidingRow { key, window: window as u8, until, sums };
        // Without a summand there is no row.
        sums.iter().copied().enumerate().filter(|(_, sums)| sums[MEASURES - 1] != 0).map(row).collect::<Vec<_>>().into_iter()
    }
}

impl Keyed for Windows {
    type Key = GroupKey;
    type Event = (EventTime, Measures);
    type Record = Hours;
    type Output = (GroupKey, SlidingRow);

    fn on_event(
        &mut self,
        key: GroupKey,
        record: &mut Hours,
        (hour, more): &(EventTime, Measures),
        diff: isize,
        now: Tick,
        _: &mut impl FnMut((GroupKey, SlidingRow), isize),
    ) {
        let until = *record.until.get_or_insert_with(|| self.until(key.group.tenant, now));
        if hour.0 < until.0 - LONGEST_MS {
            return;
        }
        let sums = record.hours.entry(*hour).or_default();
        add(sums, more, diff as i64);
        if *sums == Measures::default() {
            record.hours.remove(hour);
        }
        for (sums, (_, window_ms)) in record.sums.iter_mut().zip(WINDOWS) {
            if (until.0 - window_ms..until.0).contains(&hour.0) {
                add(sums, more, diff as i64);
            }
        }
    }

    fn on_timer(
        &mut self,
        key: GroupKey,
        record: &mut Hours,
        now: Tick,
        out: &mut impl FnMut((GroupKey, SlidingRow), isize),
    ) {
        let tenant = key.group.tenant;
        let until = self.until(tenant, now);
        let mut reached = record.until.unwrap_or(until);
        while reached < until {
            let next = self.zones.hour_end(tenant, reached);
            record.step(reached, next);
            reached = next;
        }
        record.until = Some(reached);
        record.next = self.zones.hour_end(tenant, reached);
        let tells = (reached, record.sums);
        if record.told != Some(tells) {
            let before = record.told.replace(tells);
            before.iter().flat_map(|told| Hours::rows(told, key)).for_each(|row| out((key, row), -1));
            Hours::rows(&tells, key).for_each(|row| out((key, row), 1));
        }
    }

    fn due(&self, record: &Hours) -> Option<Tick> {
        record.until?;
        // What changes within a window is told at once.
        let told = record.told.is_some_and(|(_, sums)| sums == record.sums);
        Some(if told { (record.next.0 + STEP_AFTER_MS).max(0) as Tick } else { 0 })
    }

    fn is_empty(&self, record: &Hours) -> bool {
        let nothing = [Measures::default(); WINDOWS.len()];
        record.hours.is_empty() && record.told.is_none_or(|(_, sums)| sums == nothing)
    }
}

/// Builds it.
pub fn build<'scope>(inputs: &mut Inputs<'scope>) -> Output<'scope> {
    let (groupings, zones) = (inputs.params.metrics_sliding.groupings.clone(), inputs.params.zones.clone());
    let additions = additions(inputs, &groupings, "metrics by group");
    let name = METRICS_SLIDING.name;
    Output::rows_of_keys(&METRICS_SLIDING, keyed(additions, name, Windows { zones }))
}
