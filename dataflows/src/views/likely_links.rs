//! Which visitors are likely to be one person, and how likely?
//!
//! Those that shared an address and agent within one hour on enough days, most of the time with few others: where `views.identity.likely`
//! is given, `identity` takes them for one person, as it does those that `identify` events link. The score is the mean over the
//! hours they shared of the chance that another visitor of the hour, drawn by lot, is the other one: 1000 where nobody else was there, 500 where
//! one more was. It measures how exclusively two ids share their hours, which is no probability that they are one.

use crate::params::Params;
use crate::view::View;

const SQL: &str = "\
SELECT tenant, id_kind, id, other_kind, other_id, count(*) AS days, sum(hours) AS hours_shared,
  min(day) AS first_day, max(day) AS last_day, sum(chance_thousandths) / sum(hours) AS score_thousandths
FROM shared_hours
GROUP BY tenant, id_kind, id, other_kind, other_id
HAVING count(*) >= {days} AND sum(chance_thousandths) >= {score} * sum(hours)
";

/// `likely_links`.
pub static LIKELY_LINKS: View = View {
    name: "likely_links",
    question: "Which visitors are likely to be one person, and how likely?",
    key: &["tenant", "id_kind", "id", "other_kind", "other_id"],
    read_by: &[&["tenant", "id"], &["tenant", "other_id"]],
    code: 1,
    reads: &["shared_hours"],
    sql,
    maintained: None,
};

fn sql(params: &Params) -> String {
    // Where it is not given nobody shares an hour.
    let likely = params.identity.likely.unwrap_or_default();
    SQL.replace("{days}", &likely.days.to_string()).replace("{score}", &likely.score.0.to_string())
}
