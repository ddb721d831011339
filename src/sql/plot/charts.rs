//! Charts that are asked for by name: a query of views, and how its rows are drawn.

use std::io::Write;
use std::path::PathBuf;

use schemas::ids::IdHasher;

use super::{Chart, PlotError, as_text, check_name, draw};
use crate::sql::{Memory, Resources, SqlError, catalog, interrupt, open};

/// A chart that has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum NamedChart {
    /// Which share of a cohort was there at each age.
    Retention,
    /// What a user of a cohort had brought until each age.
    Ltv,
    /// How many visitors reached each step of funnels.
    Funnel,
    /// From which channel to which visitors went until they converted or left.
    Paths,
    /// A metric by hour, with its anomalies.
    Metric,
    /// What each channel earned by each model.
    Credit,
}

impl NamedChart {
    /// Which rows it takes where nobody says.
    pub fn condition(self) -> &'static str {
        match self {
            NamedChart::Retention | NamedChart::Ltv => {
                "milestone = 'install' AND cohort_period = 'day' AND age_unit = 'day' AND grouping = 'tenant'"
            }
            NamedChart::Funnel => "grouping = 'tenant'",
            NamedChart::Paths | NamedChart::Metric | NamedChart::Credit => "TRUE",
        }
    }

    fn chart(self) -> Chart {
        match self {
            NamedChart::Retention => Chart::Heatmap,
            NamedChart::Ltv | NamedChart::Metric => Chart::Lines,
            NamedChart::Funnel | NamedChart::Credit => Chart::Bars,
            NamedChart::Paths => Chart::Flows,
        }
    }

    /// Its query, of the rows for which `condition` holds.
    pub fn sql(self, condition: &str, metric: Metric) -> String {
        let sql = match self {
            NamedChart::Retention => RETENTION,
            NamedChart::Ltv => LTV,
            NamedChart::Funnel => FUNNEL,
            NamedChart::Paths => return paths(condition),
            NamedChart::Metric => METRIC,
            NamedChart::Credit => CREDIT,
        };
        let [measure, scale, kept, currency] = metric.measure();
        let texts = [
            ("{metric}", metric.name()),
            ("{measure}", measure),
            ("{scale}", scale),
            ("{kept}", kept),
            ("{currency}", currency),
            ("{where}", condition),
        ];
        texts.iter().fold(sql.to_owned(), |sql, (name, text)| sql.replace(name, text))
    }
}

/// What `metric` shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Metric {
    /// Impressions.
    Impressions,
    /// Clicks.
    #[default]
    Clicks,
    /// Installs.
    Installs,
    /// Conversions.
    Conversions,
    /// Revenue, in units of its currency: a line each.
    Revenue,
}

impl Metric {
    fn name(self) -> &'static str {
        match self {
            Metric::Impressions => "impressions",
            Metric::Clicks => "clicks",
            Metric::Installs => "installs",
            Metric::Conversions => "conversions",
            Metric::Revenue => "revenue",
        }
    }

    /// The measure of `metrics_hourly`, what makes its unit that of the chart, which rows have it, and its currency.
    fn measure(self) -> [&'static str; 4] {
        match self {
            Metric::Revenue => ["revenue_micros", " / 1e6", "currency IS NOT NULL", "currency"],
            other => [other.name(), "", "TRUE", "CAST(NULL AS VARCHAR)"],
        }
    }
}

const RETENTION: &str = "\
WITH cells AS (
  SELECT cohort_start, age, sum(users) AS users, sum(active_users) AS active FROM cohorts WHERE {where} GROUP BY 1, 2
), sizes AS (SELECT cohort_start, sum(users) AS size FROM cells GROUP BY 1)
SELECT cells.cohort_start, age, 100.0 * active / size AS \"there, %\"
FROM cells JOIN sizes ON cells.cohort_start = sizes.cohort_start
WHERE size > 0 AND active > 0
ORDER BY 1, 2";

/// An age at which nothing came in is as the one before.
const LTV: &str = "\
WITH chosen AS (SELECT * FROM cohorts WHERE {where}),
sizes AS (
  SELECT cohort_start, sum(users) AS size, max(age) AS oldest FROM chosen GROUP BY 1 HAVING sum(users) > 0 ORDER BY 1 DESC LIMIT 12
), currencies AS (SELECT DISTINCT cohort_start AS start, currency FROM chosen WHERE currency IS NOT NULL),
ages AS (
  SELECT cohort_start, size, currency, unnest(range(0, oldest + 1)) AS age
  FROM sizes JOIN currencies ON start = cohort_start
), brought AS (
  SELECT cohort_start AS start, currency AS unit, age AS at, sum(revenue_micros) AS micros
  FROM chosen WHERE currency IS NOT NULL GROUP BY 1, 2, 3
)
SELECT age, CAST(CAST(cohort_start AS DATE) AS VARCHAR) || ' ' || currency AS cohort,
  sum(coalesce(micros, 0)) OVER (PARTITION BY cohort_start, currency ORDER BY age) / 1e6 / size AS \"brought a user\"
FROM ages LEFT JOIN brought ON start = cohort_start AND unit = currency AND at = age
ORDER BY 2, 1";

const FUNNEL: &str = "\
SELECT CAST(step AS VARCHAR) || ' ' || step_name AS reached, funnel, sum(visitors) AS visitors
FROM funnels WHERE {where}
GROUP BY step, step_name, funnel ORDER BY funnel, step";

const METRIC: &str = "\
WITH hours AS (
  SELECT hour, {currency} AS currency, sum({measure}){scale} AS measured FROM metrics_hourly WHERE ({where}) AND {kept} GROUP BY 1, 2
), odd AS (
  SELECT DISTINCT hour, {currency} AS currency, TRUE AS is_odd FROM anomalies WHERE metric = '{metric}' AND ({where})
), span AS (
  SELECT currency AS unit, min(hour) AS since, max(hour) AS until
  FROM (SELECT hour, currency FROM hours UNION ALL SELECT hour, currency FROM odd) GROUP BY 1
), beside AS (
  -- The hours before and after each: where one has no row, nothing was measured, and the line is at 0.
  SELECT hour + INTERVAL '1 hour' AS hour, currency FROM hours UNION SELECT hour - INTERVAL '1 hour', currency FROM hours
  UNION SELECT hour, currency FROM odd
), measured AS (
  SELECT * FROM hours
  UNION ALL
  SELECT beside.hour, beside.currency, 0
  FROM beside JOIN span ON coalesce(unit, '') = coalesce(beside.currency, '') AND beside.hour >= since AND beside.hour <= until
  WHERE NOT EXISTS (SELECT 1 FROM hours WHERE hours.hour = beside.hour AND coalesce(hours.currency, '') = coalesce(beside.currency, ''))
), told AS (
  SELECT measured.*, is_odd
  FROM measured LEFT JOIN odd ON measured.hour = odd.hour AND coalesce(measured.currency, '') = coalesce(odd.currency, '')
)
SELECT hour, '{metric}' || coalesce(' ' || currency, '') AS series, measured AS {metric} FROM told
UNION ALL SELECT hour, 'anomalies' || coalesce(' ' || currency, ''), CASE WHEN is_odd THEN measured END FROM told
ORDER BY 1";

/// Each view is summed by itself: no two have a model in common, and a sum over all of them is one that DataFusion 55 does not plan.
const CREDIT: &str = "\
SELECT channel, model, conversions
FROM (
  SELECT coalesce(channel, '(no channel)') AS channel, model, sum(credit_ppm) / 1e6 AS conversions
  FROM credits WHERE {where} GROUP BY 1, 2
  UNION ALL
  SELECT coalesce(channel, '(no channel)') AS channel, model, sum(credit_ppm) / 1e6 AS conversions
  FROM credits_shapley WHERE {where} GROUP BY 1, 2
  UNION ALL
  SELECT coalesce(channel, '(no channel)') AS channel, 'markov' AS model, sum(credit_ppm) / 1e6 AS conversions
  FROM credits_markov WHERE {where} GROUP BY 1
)
ORDER BY 1, 2";

/// Channels that a path shows; longer paths end with `…`.
const STEPS: usize = 4;
/// Channels that are told apart, those with the most visitors; what is left is `(others)`.
const CHANNELS: usize = 8;

/// A band for each step of paths.
fn paths(condition: &str) -> String {
    let each_step = |of: &dyn Fn(usize) -> String| (1..=STEPS).map(of).collect::<Vec<_>>().join("\n  UNION ALL ");
    let used = each_step(&|at| {
        format!(
            "SELECT channels[{at}]['channel'] AS channel, conversions + nulls AS many FROM counted WHERE length >= {at}"
        )
    });
    let of_outcome = |at: usize, outcome: &str, counted: &str| {
        format!(
            "SELECT {at} AS at, channels[{at}]['channel'] AS channel, length > {at} AS goes_on, channels[{}]['channel'] AS next, \
             '{outcome}' AS outcome, {counted} AS many FROM counted WHERE length >= {at}",
            at + 1
        )
    };
    let steps = each_step(&|at| {
        [("converted", "conversions"), ("left", "nulls")]
            .map(|(outcome, counted)| of_outcome(at, outcome, counted))
            .join("\n  UNION ALL ")
    });
    let name = |known: &str, channel: &str| {
        format!("coalesce({known}.channel, CASE WHEN {channel} IS NULL THEN '(no channel)' ELSE '(others)' END)")
    };
    format!(
        "WITH counted AS (SELECT *, array_length(channels) AS length FROM path_counts WHERE {condition}),\n\
         used AS (\n  {used}\n),\n\
         known AS (SELECT channel FROM used WHERE channel IS NOT NULL GROUP BY 1 ORDER BY sum(many) DESC, 1 LIMIT {CHANNELS}),\n\
         steps AS (\n  {steps}\n), flows AS (\n  \
         SELECT CAST(at AS VARCHAR) || ' ' || {} AS source, CASE WHEN NOT goes_on THEN outcome WHEN at = {STEPS} THEN '…' \
         ELSE CAST(at + 1 AS VARCHAR) || ' ' || {} END AS target, many\n  \
         FROM steps LEFT JOIN known AS these ON these.channel = steps.channel LEFT JOIN known AS those ON those.channel = steps.next\n  \
         UNION ALL SELECT '…', 'converted', conversions FROM counted WHERE length > {STEPS}\n  \
         UNION ALL SELECT '…', 'left', nulls FROM counted WHERE length > {STEPS}\n)\n\
         SELECT source, target, sum(many) AS visitors FROM flows GROUP BY 1, 2 HAVING sum(many) > 0 ORDER BY 3 DESC, 1, 2",
        name("these", "steps.channel"),
        name("those", "steps.next")
    )
}

/// What `bidstream plot` is asked for.
pub struct PlotOptions {
    /// Directory of the lake.
    pub lake: PathBuf,
    /// The chart.
    pub chart: NamedChart,
    /// Which rows of its view; none takes those that it takes by itself.
    pub condition: Option<String>,
    /// What `metric` shows.
    pub metric: Metric,
    /// A file to draw into; none prints it.
    pub out: Option<PathBuf>,
    /// As it was at a cut.
    pub as_of: Option<String>,
    /// The memory that the query may take.
    pub memory: Memory,
}

/// Draws a chart of a lake.
pub async fn run(options: &PlotOptions, hasher: &IdHasher, mut out: impl Write) -> Result<(), SqlError> {
    options.out.as_deref().map(check_name).transpose()?;
    let as_of = options.as_of.as_deref().map(catalog::parse_cut).transpose()?;
    let session = open(&options.lake, as_of, hasher, Resources::new(options.memory)?).await?;
    let chart = options.chart;
    let sql = chart.sql(options.condition.as_deref().unwrap_or(chart.condition()), options.metric);
    let asked = async { Ok::<_, SqlError>(session.query(&sql).await?.collect().await?) };
    let rows = interrupt::unless_interrupted(&interrupt::ANY, asked).await?;
    if rows.iter().all(|batch| batch.num_rows() == 0) {
        let condition = options.condition.as_deref().unwrap_or(chart.condition());
        return Err(PlotError::Rows(format!("no row is there where {condition}: say which with --where")).into());
    }
    match &options.out {
        Some(path) => draw(&rows, Some(chart.chart()), path)?,
        None => out.write_all(as_text(&rows, chart.chart())?.as_bytes())?,
    }
    Ok(())
}
