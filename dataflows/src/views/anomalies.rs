//! In which hours was a metric of a campaign far from what the weeks before let expect?
//!
//! Ten minutes after an hour of the tenant's time zone each metric of each group is compared with its *samples*: the same hour of the week
//! by the local clock, the one before it and the one after it, in the 4 weeks before. Their median is what was expected, the median
//! of their distances from it (MAD, with a floor) how much they vary, and *z* how many deviations the hour lies from the median (the
//! modified z-score of Iglewicz and Hoaglin, 1993: 0.6745 MADs are one deviation). An hour out of bounds is a row; an alert where it
//! is at least the second in a row on the same side.
//!
//! *What is expected does not change once an hour was judged.* A sample must have been final then: no record of it can be accepted
//! any more ([`Bounds::final_after_ms`](crate::horizon::Bounds)). So the baseline is a function of the events, as all else, whenever
//! it is computed, and need not be kept or loaded. The hour's own value is corrected by what comes late, and *z* with it. (A lake
//! that lets records be two weeks late has too few samples. One that lets in records of any age corrects baselines, too.)
//!
//! A group lives from the first hour on, of the 29 days before, in which it had anything: hours from then on are samples, with zero
//! where nothing was. Medians of an even number of samples, and quotients, are truncated to whole numbers. Spend is not judged:
//! networks tell it hours to weeks later.
//!
//! **State.** Of each group the sums of hours, for 29 days and as long as an hour can change: some 70 bytes an hour. What rows say, as
//! long as they can change. A group goes when nothing of that is left.

mod baseline;

use std::collections::BTreeMap;
use std::ops::Range;

use operators::{ByKey, Expires, Keyed, arrange_forgetting, keyed};
use schemas::units::{HOUR_MS, MINUTE_MS};
use schemas::{EventTime, Symbol, Tick, Zones, columns};
use serde::{Deserialize, Serialize};

use crate::overflow::fits;
use crate::changes::AsArranged;
use crate::group_metrics::{self, GroupKey};
use crate::groupings::{GROUP_COLUMNS, GROUPED_COLUMNS, Grouping};
use crate::horizon::{Horizons, Until};
use crate::inputs::Inputs;
use crate::local_time;
use crate::needs::Needs;
use crate::params::{AnomaliesParams, Params};
use crate::view::{Maintained, Output, View};
use baseline::{Baseline, SAMPLES_MIN, WINDOW_MS, before, samples};

const SQL: &str = "\
WITH groupings AS (
  {groupings}
), grouped AS (
  SELECT {grouped}, currency, hour, impressions, clicks, installs, conversions, revenue_micros
  FROM metrics_hourly CROSS JOIN groupings
), hourly AS (
  SELECT {group}, currency, hour, sum(impressions) AS impressions, sum(clicks) AS clicks, sum(installs) AS installs,
    sum(conversions) AS conversions, sum(revenue_micros) AS revenue
  FROM grouped
  GROUP BY {group}, currency, hour
  HAVING sum(impressions + clicks + installs + conversions) > 0
), amounts AS (
  -- Amounts of money have a currency; impressions, clicks and installs have none.
  SELECT {group}, currency, hour, metric,
    CASE metric WHEN 'impressions' THEN impressions WHEN 'clicks' THEN clicks WHEN 'installs' THEN installs
      WHEN 'conversions' THEN conversions ELSE revenue END AS amount
  FROM (
    SELECT *, unnest(CASE WHEN currency IS NULL THEN make_array('impressions', 'clicks', 'installs', 'conversions')
      ELSE make_array('conversions', 'revenue') END) AS metric
    FROM hourly
  )
), {hours_of_tenants}
), brought AS (
  SELECT *, unnest(make_array(0, {before})) AS before
  FROM (SELECT amounts.*, local AS at, ends AS over_at FROM amounts JOIN hours ON whose = tenant AND begins = hour)
), compared AS (
  -- What a group had in an hour, and in those of its samples that were final when it was judged.
  SELECT {group}, currency, metric, begins, local, ends, before, hour AS sample, amount
  FROM brought JOIN hours ON whose = tenant AND local = at + before
  WHERE before = 0 AND begins = hour
    OR before > 0 AND over_at + (SELECT cut - final_before FROM as_of) <= ends + {after}
), lives AS (
  SELECT *, min(CASE WHEN before = 0 THEN begins END) OVER (
    PARTITION BY {group}, currency, metric ORDER BY begins RANGE BETWEEN {window} PRECEDING AND CURRENT ROW) AS since
  FROM compared
), judged AS (
  SELECT {group}, currency, metric, begins AS hour, local AS at, ends AS over_at, since,
    sum(CASE WHEN before = 0 THEN amount ELSE 0 END) AS measured,
    array_agg(sample ORDER BY sample) AS known, array_agg(amount ORDER BY sample) AS amounts
  FROM lives
  GROUP BY {group}, currency, metric, begins, local, ends, since
), samples AS (
  SELECT {group}, currency, metric, hour, over_at, measured,
    coalesce(amounts[CAST(array_position(known, begins) AS BIGINT)], 0) AS amount
  FROM (SELECT *, unnest(make_array({before})) AS before FROM judged) AS judged JOIN hours ON whose = tenant AND local = at - before
  WHERE begins >= since AND ends + (SELECT cut - final_before FROM as_of) <= over_at + {after}
), medians AS (
  -- Where two are in the middle the median is half their sum, truncated.
  SELECT *, CAST(median(amount) OVER (PARTITION BY {group}, currency, metric, hour) AS BIGINT) AS middle,
    count(*) OVER (PARTITION BY {group}, currency, metric, hour) AS samples
  FROM samples
), expected AS (
  SELECT {group}, currency, metric, hour, over_at, measured, middle, samples,
    greatest(
      CAST(median(greatest(amount - middle, middle - amount)) AS BIGINT),
      CASE WHEN metric = 'revenue' THEN {floor_micros} ELSE {floor_events} END,
      greatest(middle, -middle) * {floor_percent} / 100
    ) AS mad,
    CASE WHEN metric = 'revenue' THEN 1 ELSE 1000000 END AS scale
  FROM medians
  WHERE samples >= {samples_min}
  GROUP BY {group}, currency, metric, hour, over_at, measured, middle, samples
), scored AS (
  SELECT *, (measured - middle) * scale / (mad * scale * 2 / 1349) AS z, CASE WHEN measured > middle THEN 'up' ELSE 'down' END AS direction
  FROM expected
), outliers AS (
  SELECT *, CASE WHEN lag(over_at) OVER (PARTITION BY {group}, currency, metric, direction ORDER BY hour) = hour THEN 0 ELSE 1 END AS breaks
  FROM scored
  WHERE greatest(z, -z) >= {bound}
), runs AS (
  SELECT *, sum(breaks) OVER (
    PARTITION BY {group}, currency, metric, direction ORDER BY hour ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS run
  FROM outliers
)
SELECT {group}, currency, metric, hour, measured, middle AS median, mad, samples, z AS z_thousandths, direction,
  row_number() OVER (PARTITION BY {group}, currency, metric, direction, run ORDER BY hour) >= {hours} AS alert
FROM runs
";

/// How long after it is over an hour is judged.
const JUDGED_AFTER_MS: i64 = 10 * MINUTE_MS;

/// `anomalies`.
pub static ANOMALIES: View = View {
    name: "anomalies",
    question: "In which hours was a metric far from what the same hours of the four weeks before let expect, and is that an alert?",
    key: &["grouping", "tenant", "campaign", "source", "channel", "country", "currency", "metric", "hour"],
    read_by: &[&["tenant", "grouping"], &["tenant", "campaign"]],
    code: 1,
    reads: &["metrics_hourly", "as_of", "zone_spans"],
    sql,
    maintained: Some(Maintained::rows::<AnomalyRow>(|params, retention| {
        // What can still change or is still kept, the hours before it that make it an alert, and what these are compared with.
        let changes_ms = retention.ms + 2 * params.anomalies.alert_ms() + 2 * HOUR_MS;
        Needs::attributed_until_final(retention).at_least(WINDOW_MS + changes_ms)
    })),
};

fn sql(params: &Params) -> String {
    let AnomaliesParams { groupings, bound, hours, floor_events, floor_micros, floor_percent } = &params.anomalies;
    let before: Vec<String> = before().map(|before| before.to_string()).collect();
    let texts = [
        ("{hours_of_tenants}", local_time::hours_of_tenants("metrics_hourly", &format!("cut - 1 - {JUDGED_AFTER_MS}"), [0, 0])),
        ("{groupings}", Grouping::table(groupings)),
        ("{grouped}", GROUPED_COLUMNS.to_owned()),
        ("{group}", GROUP_COLUMNS.to_owned()),
        ("{after}", JUDGED_AFTER_MS.to_string()),
        ("{before}", before.join(", ")),
        ("{window}", WINDOW_MS.to_string()),
        ("{floor_micros}", floor_micros.to_string()),
        ("{floor_events}", floor_events.to_string()),
        ("{floor_percent}", floor_percent.to_string()),
        ("{samples_min}", SAMPLES_MIN.to_string()),
        ("{bound}", bound.0.to_string()),
        ("{hours}", hours.to_string()),
    ];
    texts.iter().fold(SQL.to_owned(), |sql, (name, text)| sql.replace(name, text))
}

impl AnomaliesParams {
    /// As long as the hours last at most that make an alert.
    fn alert_ms(&self) -> i64 {
        self.hours * HOUR_MS
    }
}

/// What is judged, by its place among the measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Metric {
    Impressions,
    Clicks,
    Installs,
    Conversions,
    Revenue,
}

/// The measures that are judged: the first of `metrics_hourly`.
type Amounts = [i64; 5];

impl Metric {
    /// The metrics of groups with a currency, or without one.
    fn of(currency: Symbol) -> &'static [Metric] {
        match currency {
            Symbol::NONE => &[Metric::Impressions, Metric::Clicks, Metric::Installs, Metric::Conversions],
            _ => &[Metric::Conversions, Metric::Revenue],
        }
    }

    fn name(self) -> &'static str {
        ["impressions", "clicks", "installs", "conversions", "revenue"][self as usize]
    }

    fn floor(self, params: &AnomaliesParams) -> i64 {
        if self == Metric::Revenue { params.floor_micros } else { params.floor_events }
    }

    fn scale(self) -> i64 {
        if self == Metric::Revenue { 1 } else { 1_000_000 }
    }
}

/// What rows are unique by, and until when one can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AnomalyKey {
    of: GroupKey,
    metric: Metric,
    hour: EventTime,
    until: Until,
}

impl Expires<Tick> for AnomalyKey {
    fn expiry(&self) -> Tick {
        self.until.expiry()
    }
}

/// What is told of an hour that is out of bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Outlier {
    measured: i64,
    median: i64,
    mad: i64,
    samples: i64,
    z: i64,
    alert: bool,
}

/// One row of `anomalies`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AnomalyRow {
    of: GroupKey,
    metric: Metric,
    hour: EventTime,
    outlier: Outlier,
}

columns! {
    AnomalyRow, |row| {
        grouping: &'static str = row.of.group.grouping.name(),
        tenant: Symbol = row.of.group.tenant,
        campaign: Option<Symbol> = row.of.group.campaign.some(),
        source: Option<Symbol> = row.of.group.source.some(),
        channel: Option<Symbol> = row.of.group.channel.some(),
        country: Option<Symbol> = row.of.group.country.some(),
        currency: Option<Symbol> = row.of.currency.some(),
        /// what is judged: impressions, clicks, installs, conversions or revenue
        metric: &'static str = row.metric.name(),
        hour: EventTime = row.hour,
        /// what the metric was in the hour: a number, or millionths of the currency
        measured: i64 = row.outlier.measured,
        /// what was expected: the median of the samples, in the unit of what was measured
        median: i64 = row.outlier.median,
        /// how much the samples vary: the median of their distances from their median, or its floor
        mad: i64 = row.outlier.mad,
        /// number of hours of the weeks before that it was compared with
        samples: i64 = row.outlier.samples,
        /// how far it is from the median, in thousandths of a deviation; below 0 where it was less
        z_thousandths: i64 = row.outlier.z,
        /// up or down
        direction: &'static str = if row.outlier.z > 0 { "up" } else { "down" },
        /// whether so many hours in a row were out of bounds on that side (views.anomalies.hours), this one the last of them
        alert: bool = row.outlier.alert,
    }
}

/// Judges the hours of groups.
struct Judge {
    params: AnomaliesParams,
    zones: Zones,
    horizons: Horizons,
    final_after_ms: i64,
}

/// What is kept of a group.
#[derive(Clone, Default)]
struct Hours {
    amounts: BTreeMap<EventTime, Amounts>,
    told: BTreeMap<(EventTime, Metric), Outlier>,
    /// When the last hour was over that is judged.
    until: Option<EventTime>,
    /// When the hour after it is over.
    next: EventTime,
    /// Hours to be judged again, from where one begins.
    stale: Vec<Range<EventTime>>,
}

impl Judge {
    /// When the last hour of a tenant was over that is judged at a tick.
    fn until(&self, tenant: Symbol, now: Tick) -> EventTime {
        self.zones.hour(tenant, EventTime(now as i64 - JUDGED_AFTER_MS))
    }

    /// When nothing changes what is told of an hour any more, nor what follows from that.
    fn told_until(&self, hour: EventTime) -> Until {
        self.horizons.target(EventTime(hour.0 + HOUR_MS + self.params.alert_ms()))
    }

    /// The hours of which rows can change where a group has more or less in an hour than before.
    fn touched(&self, tenant: Symbol, hour: EventTime, now: Tick) -> Range<EventTime> {
        let is_final = self.zones.hour_end(tenant, hour).0 + self.final_after_ms <= now as i64;
        // One that is final is a sample of others. Where records come in time it changes only while a start loads them.
        let compared_ms = if is_final { WINDOW_MS + HOUR_MS } else { 0 };
        hour..EventTime(hour.0 + compared_ms + self.params.alert_ms())
    }

    /// What a metric of a group is expected to be in an hour.
    fn expected(&self, tenant: Symbol, record: &Hours, hour: EventTime) -> impl Fn(Metric) -> Option<Baseline> {
        let first = record.amounts.range(EventTime(hour.0 - WINDOW_MS)..hour).next();
        let compared: Vec<Option<&Amounts>> = first.map_or_else(Vec::new, |(lives_since, _)| {
            let samples = samples(&self.zones, tenant, hour, self.final_after_ms);
            samples.filter(|sample| sample >= lives_since).map(|sample| record.amounts.get(&sample)).collect()
        });
        move |metric| {
            let samples = compared.iter().map(|amounts| amounts.map_or(0, |amounts| amounts[metric as usize]));
            Baseline::of(samples.collect(), metric.floor(&self.params), self.params.floor_percent)
        }
    }

    /// Judges an hour, those before it being judged.
    fn judge(&self, key: GroupKey, record: &mut Hours, hour: EventTime, out: &mut impl FnMut((AnomalyKey, AnomalyRow), isize)) {
        let tenant = key.group.tenant;
        let found: Vec<_> = {
            let expected = self.expected(tenant, record, hour);
            let amounts = record.amounts.get(&hour).copied().unwrap_or_default();
            let outlier = |metric: &Metric| {
                let (baseline, measured) = (expected(*metric)?, amounts[*metric as usize]);
                let z = baseline.score(measured, metric.scale());
                (z.abs() >= self.params.bound.0).then(|| {
                    let alert = self.is_alert(tenant, record, *metric, hour, z);
                    let Baseline { median, mad, samples } = baseline;
                    Outlier { measured, median, mad, samples, z, alert }
                })
            };
            Metric::of(key.currency).iter().map(|metric| (*metric, outlier(metric))).collect()
        };
        let until = self.told_until(hour);
        for (metric, outlier) in found {
            let before = match outlier {
                Some(outlier) => record.told.insert((hour, metric), outlier),
                None => record.told.remove(&(hour, metric)),
            };
            if before != outlier {
                let of = AnomalyKey { of: key, metric, hour, until };
                let row = |outlier| (of, AnomalyRow { of: key, metric, hour, outlier });
                before.into_iter().for_each(|before| out(row(before), -1));
                outlier.into_iter().for_each(|outlier| out(row(outlier), 1));
            }
        }
    }

    /// Whether the hours before one that is out of bounds were it, too, on the same side.
    fn is_alert(&self, tenant: Symbol, record: &Hours, metric: Metric, hour: EventTime, z: i64) -> bool {
        let mut hour = hour;
        (1..self.params.hours).all(|_| {
            hour = self.zones.hour(tenant, EventTime(hour.0 - 1));
            record.told.get(&(hour, metric)).is_some_and(|before| before.z.signum() == z.signum())
        })
    }

    /// Drops what nothing follows from any more.
    fn forget(&self, record: &mut Hours, now: Tick) {
        let is_used = |hour: EventTime| self.told_until(EventTime(hour.0 + WINDOW_MS + HOUR_MS)).expiry() > now;
        while let Some(hour) = record.amounts.first_entry().filter(|hour| !is_used(*hour.key())) {
            hour.remove();
        }
        while let Some(told) = record.told.first_entry().filter(|told| self.told_until(told.key().0).expiry() <= now) {
            told.remove();
        }
    }
}

impl Keyed for Judge {
    type Key = GroupKey;
    type Event = (EventTime, Amounts);
    type Record = Hours;
    type Output = (AnomalyKey, AnomalyRow);

    fn on_event(
        &mut self,
        key: GroupKey,
        record: &mut Hours,
        (hour, more): &(EventTime, Amounts),
        diff: isize,
        now: Tick,
        _: &mut impl FnMut((AnomalyKey, AnomalyRow), isize),
    ) {
        let tenant = key.group.tenant;
        let until = *record.until.get_or_insert_with(|| self.until(tenant, now));
        let amounts = record.amounts.entry(*hour).or_default();
        for (amount, more) in amounts.iter_mut().zip(more) {
            let more = more.checked_mul(diff as i64);
            *amount = fits(more.and_then(|more| amount.checked_add(more)), "what an hour brings");
        }
        if *amounts == Amounts::default() {
            record.amounts.remove(hour);
        }
        if *hour < until {
            record.stale.push(self.touched(tenant, *hour, now));
        }
    }

    fn on_timer(
        &mut self,
        key: GroupKey,
        record: &mut Hours,
        now: Tick,
        out: &mut impl FnMut((AnomalyKey, AnomalyRow), isize),
    ) {
        let tenant = key.group.tenant;
        let until = self.until(tenant, now);
        let judged = record.until.replace(until).unwrap_or(until);
        record.next = self.zones.hour_end(tenant, until);
        self.forget(record, now);
        let mut stale = std::mem::take(&mut record.stale);
        stale.push(judged..until);
        stale.sort_unstable_by_key(|hours| hours.start);
        let mut next = EventTime(i64::MIN);
        for Range { start, end } in stale {
            next = next.max(start);
            while next < end.min(until) {
                self.judge(key, record, next, out);
                next = self.zones.hour_end(tenant, next);
            }
        }
    }

    fn due(&self, record: &Hours) -> Option<Tick> {
        record.until?;
        // What comes late is told at once.
        let is_due = !record.stale.is_empty();
        Some(if is_due { 0 } else { (record.next.0 + JUDGED_AFTER_MS).max(0) as Tick })
    }

    fn is_empty(&self, record: &Hours) -> bool {
        record.amounts.is_empty() && record.told.is_empty() && record.stale.is_empty()
    }
}

/// Builds it.
pub fn build<'scope>(inputs: &mut Inputs<'scope>) -> Output<'scope> {
    let (params, zones) = (inputs.params.anomalies.clone(), inputs.params.zones.clone());
    let judge = Judge { params, zones, horizons: inputs.horizons, final_after_ms: inputs.bounds.final_after_ms };
    let additions = group_metrics::additions(inputs, &judge.params.groupings.clone(), "metrics to be judged");
    let amounts = additions.flat_map(|(key, (hour, [amounts @ .., _spend, _rows]))| {
        let amounts: Amounts = amounts;
        (amounts != Amounts::default()).then_some((key, (hour, amounts)))
    });
    let rows = keyed(amounts, ANOMALIES.name, judge);
    Output::rows(&ANOMALIES, arrange_forgetting(rows, ANOMALIES.name, ByKey), AsArranged)
}
