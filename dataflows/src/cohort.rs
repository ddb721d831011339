//! What a cohort is, as a job file defines it: visitors who did something for the first time in the same day, week or month.

use schemas::units::DAY_MS;
use serde::{Deserialize, Serialize};

use crate::groupings::{Grouping, check_groupings};

/// What a visitor does in an app for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Milestone {
    /// An install that is neither a reinstall nor a reattribution.
    Install,
    /// A conversion that is no refund.
    Purchase,
    /// Anything for which a visitor is there (`activity`).
    Event,
}

impl Milestone {
    /// All of them.
    pub const ALL: [Milestone; 3] = [Milestone::Install, Milestone::Purchase, Milestone::Event];

    /// As job files and tables have it.
    pub fn name(self) -> &'static str {
        match self {
            Milestone::Install => "install",
            Milestone::Purchase => "purchase",
            Milestone::Event => "event",
        }
    }

    /// The milestone of a name.
    pub fn from_name(name: &str) -> Option<Milestone> {
        Milestone::ALL.into_iter().find(|milestone| milestone.name() == name)
    }
}

/// What days are counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Days.
    Day,
    /// ISO weeks, which begin with Mondays.
    Week,
    /// Months of the calendar.
    Month,
}

/// From the first day of 1970, a Thursday, back to its Monday.
const DAYS_FROM_MONDAY: i64 = 3;

impl Unit {
    /// As job files and tables have it.
    pub fn name(self) -> &'static str {
        match self {
            Unit::Day => "day",
            Unit::Week => "week",
            Unit::Month => "month",
        }
    }

    /// The number of the unit in which a day lies, of days that are counted from 1970: consecutive ones have consecutive numbers.
    pub fn number(self, day: i64) -> i64 {
        match self {
            Unit::Day => day,
            Unit::Week => (day + DAYS_FROM_MONDAY).div_euclid(7),
            Unit::Month => month(day).0,
        }
    }

    /// The first day of the unit in which a day lies.
    pub fn first_day(self, day: i64) -> i64 {
        match self {
            Unit::Day => day,
            Unit::Week => day - (day + DAYS_FROM_MONDAY).rem_euclid(7),
            Unit::Month => month(day).1,
        }
    }

    /// [`Unit::number`] in SQL, by the unit's name, of a date that is written as its midnight of UTC.
    pub fn number_sql(unit: &str, date: &str) -> String {
        let part = |part: &str| format!("CAST(date_part('{part}', to_timestamp_millis({date})) AS BIGINT)");
        format!(
            "CASE {unit} WHEN 'day' THEN {date} / {DAY_MS} WHEN 'week' THEN ({date} / {DAY_MS} + {DAYS_FROM_MONDAY}) / 7\n    \
             ELSE {} * 12 + {} END",
            part("year"),
            part("month")
        )
    }

    /// [`Unit::first_day`] in SQL.
    pub fn first_date_sql(unit: &str, date: &str) -> String {
        format!(
            "CASE {unit} WHEN 'day' THEN {date} WHEN 'week' THEN {date} - ({date} / {DAY_MS} + {DAYS_FROM_MONDAY}) % 7 * {DAY_MS}\n    \
             ELSE CAST(date_trunc('month', to_timestamp_millis({date})) AS BIGINT) END"
        )
    }
}

/// The number of the month of a day, and its first day.
fn month(day: i64) -> (i64, i64) {
    use chrono::{DateTime, Datelike};
    let date = DateTime::from_timestamp_millis(day * DAY_MS).expect("a day of the years 1970 to 9999");
    (i64::from(date.year()) * 12 + i64::from(date.month()), day - i64::from(date.day0()))
}

/// Visitors who did something for the first time in the same period, followed by their age.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cohort {
    /// What they did: `install`, `purchase` or `event`.
    pub first: Milestone,
    /// In the same `day`, `week` or `month`.
    pub period: Unit,
    /// What their age is counted in; the same as the period where it is left out. Ages in days go up to 180.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age: Option<Unit>,
    /// What they are counted by: the tenant, or campaign, source, channel and country of what led to the first.
    #[serde(default = "by_tenant")]
    pub groupings: Vec<Grouping>,
}

/// Retention is looked at for half a year by day; by week and month for as long as anybody is there.
pub const AGE_DAYS_MAX: i64 = 180;

fn by_tenant() -> Vec<Grouping> {
    vec![Grouping::TENANT]
}

/// The most cohorts of a job: each is counted with each visitor and day.
const COHORTS_MAX: usize = 8;

impl Cohort {
    /// What their age is counted in.
    pub fn unit(&self) -> Unit {
        self.age.unwrap_or(self.period)
    }

    /// What tells it from the others.
    fn identity(&self) -> (Milestone, Unit, Unit) {
        (self.first, self.period, self.unit())
    }

    /// Its columns in SQL.
    fn columns(&self) -> String {
        let (first, period, unit) = self.identity();
        let [first, period, unit] = [first.name(), period.name(), unit.name()];
        format!("'{first}' AS milestone, '{period}' AS cohort_period, '{unit}' AS age_unit")
    }

    /// The cohorts of a job as rows in SQL.
    pub fn table(cohorts: &[Cohort]) -> String {
        cohorts.iter().map(|cohort| format!("SELECT {}", cohort.columns())).collect::<Vec<_>>().join(" UNION ALL ")
    }

    /// What each is counted by as rows in SQL.
    pub fn groupings_table(cohorts: &[Cohort]) -> String {
        let of = |cohort: &Cohort| {
            format!(
                "SELECT {}, groupings.* FROM ({}) AS groupings",
                cohort.columns(),
                Grouping::table(&cohort.groupings)
            )
        };
        cohorts.iter().map(of).collect::<Vec<_>>().join(" UNION ALL ")
    }
}

/// Parameters of `cohorts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CohortsParams {
    /// The cohorts.
    pub definitions: Vec<Cohort>,
}

impl Default for CohortsParams {
    fn default() -> CohortsParams {
        let cohort = |first, period, groupings| Cohort { first, period, age: None, groupings };
        let led_by = vec![Grouping::TENANT, Grouping::CAMPAIGN, Grouping::SOURCE, Grouping::COUNTRY];
        CohortsParams {
            definitions: vec![
                cohort(Milestone::Install, Unit::Day, led_by.clone()),
                cohort(Milestone::Purchase, Unit::Month, led_by),
                cohort(Milestone::Event, Unit::Week, by_tenant()),
            ],
        }
    }
}

impl CohortsParams {
    /// Checks them; the error names the field and what it may be.
    pub(crate) fn check(&self) -> Result<(), String> {
        let name = "views.cohorts.definitions";
        let Self { definitions } = self;
        if definitions.is_empty() || definitions.len() > COHORTS_MAX {
            return Err(format!("{name} has {}: it may have 1 to {COHORTS_MAX}", definitions.len()));
        }
        for (at, cohort) in definitions.iter().enumerate() {
            check_groupings(&format!("{name}[{at}].groupings"), &cohort.groupings)?;
            if definitions[..at].iter().any(|before| before.identity() == cohort.identity()) {
                let (first, period, unit) = cohort.identity();
                return Err(format!(
                    "{name}[{at}] is the second of first: {}, period: {}, age: {}: name all groupings of a cohort in one definition",
                    first.name(),
                    period.name(),
                    unit.name()
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weeks_begin_with_mondays_and_months_with_their_first() {
        // 2024-03-03 was a Sunday, day 19,785.
        assert_eq!([19_785, 19_786].map(|day| Unit::Week.first_day(day)), [19_779, 19_786]);
        assert_eq!(Unit::Week.number(19_786) - Unit::Week.number(19_785), 1);
        assert_eq!(Unit::Month.first_day(19_785), 19_783);
        assert_eq!(Unit::Month.number(19_783) - Unit::Month.number(19_782), 1);
        assert_eq!(Unit::Month.number(19_783) - Unit::Month.number(19_782 - 366), 13);
        assert_eq!(Unit::Day.number(19_785), 19_785);
    }

    #[test]
    fn a_cohort_is_defined_once() {
        let mut params = CohortsParams::default();
        assert_eq!(params.check(), Ok(()));
        params.definitions.push(Cohort { age: Some(Unit::Day), ..params.definitions[0].clone() });
        let error = params.check().unwrap_err();
        assert!(
            error.starts_with("views.cohorts.definitions[3] is the second of first: install, period: day, age: day:")
        );
        params.definitions.clear();
        assert_eq!(params.check().unwrap_err(), "views.cohorts.definitions has 0: it may have 1 to 8");
    }
}
