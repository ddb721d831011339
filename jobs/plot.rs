//! `bidstream plot`: charts that have names.

use std::path::PathBuf;

use bidstream::job::{self, lake_directory};
use bidstream::sql;
use bidstream::sql::plot::{Metric, NamedChart, PlotOptions};

use crate::IdKey;
use crate::tables::finish;

/// Draw a chart.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  bidstream plot funnel --lake ./lake                                in the terminal
  bidstream plot retention --lake ./lake --out retention.svg
  bidstream plot ltv --lake ./lake --out ltv.png --where \"milestone = 'purchase' AND cohort_period = 'month' AND age_unit = 'month' AND grouping = 'tenant'\"
  bidstream plot metric --lake ./lake --metric revenue --where \"campaign = 'spring'\" --out spring.svg
  bidstream plot paths --lake ./lake --print-sql                     the query, to change it: bidstream sql --plot FILE --chart flows
Without --where, `retention` and `ltv` show cohorts by day of install (milestone, cohort_period, age_unit, grouping of `cohorts`),
`funnel` all visitors (grouping of `funnels`), the others all rows of `path_counts`, `metrics_hourly` and `credits`. `ltv` shows the
latest 12 cohorts, `paths` the first four channels of paths, the eight most frequent by name.")]
pub struct Plot {
    /// The chart.
    #[arg(value_enum)]
    chart: NamedChart,
    /// Directory of the lake.
    #[arg(long, value_parser = lake_directory, required_unless_present = "print_sql")]
    lake: Option<PathBuf>,
    /// The picture to write, .svg or .png; without it the terminal shows the chart.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Which rows of the chart's view, as a condition in SQL.
    #[arg(long = "where", value_name = "CONDITION")]
    condition: Option<String>,
    /// What `metric` shows.
    #[arg(long, value_enum, default_value_t = Metric::Clicks)]
    metric: Metric,
    /// Draw what was known at a cut: ms since the epoch or RFC 3339.
    #[arg(long, value_name = "CUT")]
    as_of: Option<String>,
    /// Print the query instead of asking it.
    #[arg(long)]
    print_sql: bool,
    /// The memory that the query may take, as 512MiB or 4GiB. Half of what is available by default, and at least 512MiB.
    #[arg(long, value_name = "SIZE")]
    memory: Option<sql::Memory>,
    #[command(flatten)]
    id_key: IdKey,
}

impl Plot {
    /// Draws.
    pub fn run(self) -> anyhow::Result<()> {
        let Plot { chart, lake, out, condition, metric, as_of, print_sql, memory, id_key } = self;
        if print_sql {
            println!("{}", chart.sql(condition.as_deref().unwrap_or(chart.condition()), metric));
            return Ok(());
        }
        let hasher = job::id_hasher(id_key.id_key_file.as_deref())?;
        let lake = lake.expect("a lake is given where the query is asked");
        let memory = memory.unwrap_or_else(sql::Memory::of_machine);
        let options = PlotOptions { lake, chart, condition, metric, out, as_of, memory };
        finish(sql::plot::run(&options, &hasher, std::io::stdout().lock()))??;
        Ok(())
    }
}
