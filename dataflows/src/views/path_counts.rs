//! How many paths of channels led to a conversion, and how many to none?

use crate::view::View;

const SQL: &str = "\
SELECT tenant, app, channels, count(*) FILTER (WHERE outcome = 'conversion') AS conversions,
  count(*) FILTER (WHERE outcome = 'null') AS nulls
FROM paths
GROUP BY tenant, app, channels
";

/// `path_counts`.
pub static PATH_COUNTS: View = View {
    name: "path_counts",
    question: "How many paths of channels led to a conversion, and how many to none?",
    key: &["tenant", "app", "channels"],
    read_by: &[&["tenant", "app"]],
    code: 1,
    reads: &["paths"],
    sql: |_| SQL.to_owned(),
    maintained: None,
};
