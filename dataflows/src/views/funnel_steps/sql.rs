//! The SQL of `funnel_steps`, made of the funnels that a job defines.

use schemas::EventType;

use crate::funnels::{Funnel, Per, Step, symbols};
use crate::local_time;
use crate::params::Params;
use crate::sql_text::quoted;

/// Of one funnel, which reached what at which event, and by which first step.
const FUNNEL: &str = "\
{f}_dated AS (
  -- What may be a step, by the period and the value that it would count in if it were the first.
  SELECT events.tenant, coalesce(user_id, device_id) AS visitor, event_time, {breakdown} AS breakdown, {period} AS period,
    {is_step}
  FROM {events}
  WHERE coalesce(user_id, device_id) IS NOT NULL AND type IN ({types}) AND ({is_any})
), {f}_groups AS (
  SELECT tenant, visitor, breakdown, period, min(event_time) AS first_time, max(event_time) AS last_time
  FROM {f}_dated WHERE is_1
  GROUP BY tenant, visitor, breakdown, period
), {f}_1 AS (
  SELECT {f}_groups.tenant, {f}_groups.visitor, {f}_groups.breakdown, {f}_groups.period, event_time, {is_later},
    CASE WHEN is_1 AND {f}_dated.period = {f}_groups.period AND {f}_dated.breakdown IS NOT DISTINCT FROM {f}_groups.breakdown
      THEN event_time END AS first_1
  FROM {f}_groups JOIN {f}_dated ON {f}_groups.tenant = {f}_dated.tenant AND {f}_groups.visitor = {f}_dated.visitor
    AND event_time >= first_time AND event_time <= last_time + {max_ms}
)";

/// A further step of it: at each event the latest first step that leads there. Where that lies too long ago, so do all.
const STEP: &str = ", {f}_{step} AS (
  SELECT *, CASE WHEN is_{step} AND event_time - before_{step} <= {max_ms} THEN before_{step} END AS first_{step}
  FROM (
    SELECT *, max(first_{before}) OVER (
      PARTITION BY tenant, visitor, breakdown, period ORDER BY event_time
      RANGE BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) AS before_{step}
    FROM {f}_{before}
  ) AS {f}_before_{step}
)";

const REACHED: &str = ", {f}_reached AS (
  SELECT {name} AS funnel, tenant, visitor, breakdown, step, CASE step {first_of_step} END AS first_time, event_time
  FROM (SELECT *, unnest(make_array({steps})) AS step FROM {f}_{last}) AS {f}_each
)";

const ALL: &str = "\
, dated AS (
  SELECT reached.tenant, visitor, funnel, breakdown, step, {day} AS day, event_time - first_time AS ms
  FROM {with_spans}
  WHERE first_time IS NOT NULL
)
SELECT tenant, visitor, funnel, day, breakdown, step, min(ms) / 1000 AS seconds
FROM dated
GROUP BY tenant, visitor, funnel, day, breakdown, step
";

/// Where no funnel is defined.
const NONE: &str = "\
SELECT tenant, coalesce(user_id, device_id) AS visitor, '' AS funnel, event_time AS day, channel AS breakdown,
  event_time AS step, event_time AS seconds
FROM events WHERE FALSE
";

pub(super) fn sql(params: &Params) -> String {
    if params.funnels.is_empty() {
        return NONE.to_owned();
    }
    let each: Vec<String> =
        params.funnels.iter().enumerate().map(|(place, funnel)| of_funnel(place, funnel, params)).collect();
    let reached: Vec<String> = (0..each.len()).map(|place| format!("SELECT * FROM f{place}_reached")).collect();
    let all = ALL
        .replace("{day}", &local_time::day("first_time"))
        .replace("{with_spans}", &local_time::with_spans("reached", "first_time"));
    format!("WITH {}\n, reached AS (\n  {}\n){all}", each.join("\n, "), reached.join(" UNION ALL "))
}

fn of_funnel(place: usize, funnel: &Funnel, params: &Params) -> String {
    let count = funnel.steps.len();
    let is: Vec<String> = funnel.steps.iter().map(is_step).collect();
    let each = |text: &dyn Fn(usize) -> String, join: &str| (1..=count).map(text).collect::<Vec<_>>().join(join);
    let types = EventType::ALL.into_iter().filter(|of| of.is_of_visitors()).map(EventType::name);
    let period = period(funnel.per);
    let events = match funnel.per {
        Per::All => "events".to_owned(),
        _ => local_time::with_spans("events", "event_time"),
    };
    let texts = [
        ("{breakdown}", funnel.by.map_or("CAST(NULL AS BIGINT)", |by| by.name()).to_owned()),
        ("{period}", period),
        ("{is_step}", each(&|step| format!("{} AS is_{step}", is[step - 1]), ",\n    ")),
        ("{is_later}", (2..=count).map(|step| format!("is_{step}")).collect::<Vec<_>>().join(", ")),
        ("{events}", events),
        ("{types}", types.map(|of| format!("'{of}'")).collect::<Vec<_>>().join(", ")),
        ("{is_any}", is.join(" OR ")),
        ("{max_ms}", funnel.max_time.ms(params.forget_after).to_string()),
        ("{first_of_step}", each(&|step| format!("WHEN {step} THEN first_{step}"), " ")),
        ("{steps}", each(&|step| step.to_string(), ", ")),
        ("{last}", count.to_string()),
        ("{f}", format!("f{place}")),
        // The last, as it may hold anything.
        ("{name}", quoted(&funnel.name)),
    ];
    let further = (2..=count).map(|step| {
        STEP.replace("{step}", &step.to_string()).replace("{before}", &(step - 1).to_string())
    });
    let sql: String = std::iter::once(FUNNEL.to_owned()).chain(further).chain([REACHED.to_owned()]).collect();
    texts.iter().fold(sql, |sql, (name, text)| sql.replace(name, text))
}

/// Whether an event is a step.
fn is_step(step: &Step) -> String {
    let mut all = Vec::new();
    if !step.types.is_empty() {
        let types: Vec<String> = step.types.iter().map(|of| format!("'{}'", of.name())).collect();
        all.push(format!("type IN ({})", types.join(", ")));
    }
    for (column, names) in step.columns.all().into_iter().filter(|(_, names)| !names.is_empty()) {
        let symbols: Vec<String> = symbols(names).map(|symbol| symbol.0.to_string()).collect();
        all.push(format!("{column} IN ({})", symbols.join(", ")));
        if column == "name" {
            // Only what is no touch has a name here.
            all.push("type NOT IN ('impression', 'click')".to_owned());
        }
    }
    format!("coalesce({}, FALSE)", all.join(" AND "))
}

/// The number of the period of an event.
fn period(per: Per) -> String {
    let date = local_time::date("event_time");
    match per {
        Per::All => "0".to_owned(),
        Per::Day => date,
        // The first day of 1970 was a Thursday; weeks begin with Mondays.
        Per::Week => format!("({date} / 86400000 + 3) / 7"),
        Per::Month => format!("CAST(date_trunc('month', to_timestamp_millis({date})) AS BIGINT)"),
    }
}
