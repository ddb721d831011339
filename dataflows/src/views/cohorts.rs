//! Of the visitors who first installed, bought or came in the same day, week or month: how many are still there at each age, and what
//! have they brought?
//!
//! A log of sums of cells. A visitor counts once in `users`, at age 0, and once in `active_users` at each age at which it is there;
//! what it brings counts at the age at which it brings it, refunds as negative revenue. Ages are counted in whole days, weeks or months
//! of the calendar, by the tenant's time zone: a visitor that installs at eleven in the evening is a day old an hour later. A visitor whose
//! first event is withdrawn, or was won by another touch after all, moves with all that it did ([`crate::lives`]).
//!
//! `retention` says the same as shares of the users and as revenue up to each age.

use schemas::{EventTime, Micros, Symbol, columns};

use crate::changes::Sum;
use crate::cohort::{AGE_DAYS_MAX, Cohort, Milestone, Unit};
use crate::groupings::{GROUP_COLUMNS, GROUPED_COLUMNS, Group};
use crate::local_time;
use crate::needs::Needs;
use crate::params::Params;
use crate::view::{Maintained, View};

const SQL: &str = "\
WITH definitions AS (
  {definitions}
), groupings AS (
  {groupings}
), paid AS (
  SELECT tenant, app, coalesce(user_id, device_id) AS visitor, currency, revenue_micros, {date_of_event} AS date
  FROM {events}
  WHERE type = 'conversion' AND revenue_micros IS NOT NULL AND coalesce(user_id, device_id) IS NOT NULL
), done AS (
  SELECT tenant, app, visitor, {date_of_day} AS date, true AS is_there, CAST(NULL AS BIGINT) AS currency,
    0 AS revenue_micros, 0 AS conversions
  FROM {activity}
  WHERE whose = 'visitor'
  UNION ALL
  SELECT tenant, app, visitor, date, false, currency, sum(revenue_micros), count(*)
  FROM paid
  GROUP BY tenant, app, visitor, date, currency
), seen AS (
  SELECT *, max(CASE WHEN is_there THEN date END) OVER (PARTITION BY tenant, app, visitor ORDER BY date) AS seen_on,
    max(CASE WHEN is_there THEN date END) OVER (PARTITION BY tenant, app, visitor ORDER BY date
      RANGE BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS last_date
  FROM done
), lived AS (
  -- A life is told by the date on which it began.
  SELECT *, max(CASE WHEN is_there AND (last_date IS NULL OR date - last_date > {forget_after}) THEN date END)
    OVER (PARTITION BY tenant, app, visitor ORDER BY date) AS life
  FROM seen
  -- A refund belongs to a life as long as that would go on.
  WHERE date - seen_on <= {forget_after}
), firsts_dated AS (
  SELECT firsts.*, {date_of_event} AS first_date
  FROM {firsts}
), members AS (
  SELECT *, max(CASE milestone WHEN 'event' THEN first_date END)
    OVER (PARTITION BY tenant, app, visitor ORDER BY first_date) AS life
  FROM firsts_dated
), joined AS (
  SELECT tenant, app, visitor, life, first_date, campaign, source, channel, country, members.milestone, cohort_period, age_unit,
    {first_date_of_period} AS period_date, {number_of_first} AS first_number
  FROM members JOIN definitions ON members.milestone = definitions.milestone
), followed AS (
  SELECT joined.*, lived.date, is_there, currency, revenue_micros, conversions, {number} - first_number AS age
  FROM joined JOIN lived ON joined.tenant = lived.tenant AND (joined.app IS NOT DISTINCT FROM lived.app)
    AND joined.visitor = lived.visitor AND joined.life = lived.life
  WHERE lived.date >= first_date
), ages AS (
  -- A visitor is there once at an age, on however many days.
  SELECT tenant, app, visitor, life, campaign, source, channel, country, milestone, cohort_period, age_unit, period_date, age,
    is_there, currency, sum(revenue_micros) AS revenue_micros, sum(conversions) AS conversions
  FROM followed
  WHERE age_unit <> 'day' OR age <= {age_days_max}
  GROUP BY tenant, app, visitor, life, campaign, source, channel, country, milestone, cohort_period, age_unit, period_date, age,
    is_there, currency
), grouped AS (
  SELECT ages.milestone, ages.cohort_period, ages.age_unit, app, {grouped}, period_date, age, currency,
    CASE WHEN is_there AND age = 0 THEN 1 ELSE 0 END AS users, CASE WHEN is_there THEN 1 ELSE 0 END AS active_users,
    revenue_micros, conversions
  FROM ages JOIN groupings ON ages.milestone = groupings.milestone AND ages.cohort_period = groupings.cohort_period
    AND ages.age_unit = groupings.age_unit
), summed AS (
  SELECT milestone, cohort_period, age_unit, app, {group}, period_date, age, currency,
    sum(users) AS users, sum(active_users) AS active_users, sum(revenue_micros) AS revenue_micros,
    sum(users + active_users + conversions) AS rows
  FROM grouped
  GROUP BY milestone, cohort_period, age_unit, app, {group}, period_date, age, currency
)
SELECT milestone, cohort_period, age_unit, app, {group}, {begins} AS cohort_start, age, currency,
  users, active_users, revenue_micros, rows
FROM {begun}
";

/// `cohorts`.
pub static COHORTS: View = View {
    name: "cohorts",
    question: "How many of those who came in the same day, week or month are there at each age, and what have they brought?",
    key: &[
        "milestone", "cohort_period", "age_unit", "tenant", "app", "grouping", "campaign", "source", "channel", "country",
        "cohort_start", "age", "currency",
    ],
    read_by: &[&["tenant", "milestone"]],
    code: 1,
    reads: &["events", "activity", "firsts", "zone_spans", "zone_days"],
    sql,
    maintained: Some(Maintained::sums::<CohortKey, MEASURES>(Needs::of_lives)),
};

fn sql(params: &Params) -> String {
    let definitions = &params.cohorts.definitions;
    let texts = [
        ("{definitions}", Cohort::table(definitions)),
        ("{groupings}", Cohort::groupings_table(definitions)),
        ("{date_of_event}", local_time::date("event_time")),
        ("{date_of_day}", local_time::date("day")),
        ("{events}", local_time::with_spans("events", "event_time")),
        ("{activity}", local_time::with_spans("activity", "day")),
        ("{firsts}", local_time::with_spans("firsts", "event_time")),
        ("{first_date_of_period}", Unit::first_date_sql("cohort_period", "first_date")),
        ("{number_of_first}", Unit::number_sql("age_unit", "first_date")),
        ("{number}", Unit::number_sql("age_unit", "lived.date")),
        ("{grouped}", GROUPED_COLUMNS.to_owned()),
        ("{group}", GROUP_COLUMNS.to_owned()),
        ("{begins}", local_time::begins("period_date")),
        ("{begun}", local_time::with_days("summed", "period_date")),
        ("{age_days_max}", AGE_DAYS_MAX.to_string()),
        ("{forget_after}", params.forget_after.0.to_string()),
    ];
    texts.iter().fold(SQL.to_owned(), |sql, (name, text)| sql.replace(name, text))
}

/// The number of its measures.
pub const MEASURES: usize = 4;

/// A cell: who is counted, and at which age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CohortKey {
    /// What they did first.
    pub first: Milestone,
    /// In the same day, week or month.
    pub period: Unit,
    /// What their age is counted in.
    pub unit: Unit,
    /// App.
    pub app: Symbol,
    /// What led to the first.
    pub group: Group,
    /// When the period began.
    pub begins: EventTime,
    /// The age.
    pub age: i64,
    /// Currency of the revenue.
    pub currency: Symbol,
}

/// One row of `cohorts`.
pub type CohortRow = Sum<CohortKey, MEASURES>;

columns! {
    CohortRow, |row| {
        milestone: &'static str = row.key.first.name(),
        /// the first events of a cohort lie in the same day, week or month
        cohort_period: &'static str = row.key.period.name(),
        /// what ages are counted in: day, week or month
        age_unit: &'static str = row.key.unit.name(),
        tenant: Symbol = row.key.group.tenant,
        app: Option<Symbol> = row.key.app.some(),
        grouping: &'static str = row.key.group.grouping.name(),
        campaign: Option<Symbol> = row.key.group.campaign.some(),
        source: Option<Symbol> = row.key.group.source.some(),
        channel: Option<Symbol> = row.key.group.channel.some(),
        country: Option<Symbol> = row.key.group.country.some(),
        /// when the day, week or month began in which the visitors of a cohort did it first, by the tenant's time zone
        cohort_start: EventTime = row.key.begins,
        /// how many days, weeks or months of the calendar lie between the first event and this
        age: i64 = row.key.age,
        currency: Option<Symbol> = row.key.currency.some(),
        /// visitors of the cohort; they are counted at age 0 (of `retention`: at each age)
        users: i64 = row.sums[0],
        /// visitors of the cohort that were there at this age
        active_users: i64 = row.sums[1],
        revenue_micros: Micros = Micros(row.sums[2]),
        /// number of visitors, at age 0 and at each age at which they are there, and of conversions that the row sums
        rows: i64 = row.sums[3],
    }
}
