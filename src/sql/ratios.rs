//! Ratios over measures, as aggregate functions: `ctr(clicks, impressions)`, `roas(revenue_micros, spend_micros, currency)` and the
//! like. Sums are divided, never ratios added up; amounts of several currencies have no ratio.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, Decimal128Type, Int64Type};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::{Accumulator, AggregateUDF, Volatility, create_udaf};
use serde::Serialize;

/// A ratio of two sums.
#[derive(Debug, Serialize)]
pub struct Ratio {
    /// The name of its function.
    pub name: &'static str,
    /// The columns that the function takes: what is divided, by what, and the currency where it is about amounts.
    pub arguments: &'static [&'static str],
    /// What it says, with its unit.
    pub meaning: &'static str,
    /// The same in plain SQL, for other engines.
    pub sql: &'static str,
    /// The quotient of the sums is multiplied by this,
    #[serde(skip)]
    scale: f64,
    /// once so many times what divides was taken from what is divided.
    #[serde(skip)]
    less: i128,
}

/// All of them.
pub const RATIOS: [Ratio; 8] = [
    Ratio {
        name: "ctr",
        arguments: &["clicks", "impressions"],
        meaning: "clicks an impression",
        sql: "sum(clicks) * 1.0 / nullif(sum(impressions), 0)",
        scale: 1.0,
        less: 0,
    },
    Ratio {
        name: "cvr",
        arguments: &["conversions", "clicks"],
        meaning: "conversions a click",
        sql: "sum(conversions) * 1.0 / nullif(sum(clicks), 0)",
        scale: 1.0,
        less: 0,
    },
    Ratio {
        name: "cpc",
        arguments: &["spend_micros", "clicks", "currency"],
        meaning: "media cost of a click, in units of the currency",
        sql: "CASE WHEN count(DISTINCT currency) <= 1 THEN sum(spend_micros) / 1e6 / nullif(sum(clicks), 0) END",
        scale: 1e-6,
        less: 0,
    },
    Ratio {
        name: "cpm",
        arguments: &["spend_micros", "impressions", "currency"],
        meaning: "media cost of a thousand impressions, in units of the currency",
        sql: "CASE WHEN count(DISTINCT currency) <= 1 THEN sum(spend_micros) / 1e3 / nullif(sum(impressions), 0) END",
        scale: 1e-3,
        less: 0,
    },
    Ratio {
        name: "cpa",
        arguments: &["spend_micros", "conversions", "currency"],
        meaning: "media cost of a conversion (or install), in units of the currency",
        sql: "CASE WHEN count(DISTINCT currency) <= 1 THEN sum(spend_micros) / 1e6 / nullif(sum(conversions), 0) END",
        scale: 1e-6,
        less: 0,
    },
    Ratio {
        name: "roas",
        arguments: &["revenue_micros", "spend_micros", "currency"],
        meaning: "revenue for what media cost",
        sql: "CASE WHEN count(DISTINCT currency) <= 1 THEN sum(revenue_micros) * 1.0 / nullif(sum(spend_micros), 0) END",
        scale: 1.0,
        less: 0,
    },
    Ratio {
        name: "roi",
        arguments: &["revenue_micros", "spend_micros", "currency"],
        meaning: "revenue less media cost, for what media cost",
        sql: "CASE WHEN count(DISTINCT currency) <= 1 \
              THEN (sum(revenue_micros) - sum(spend_micros)) * 1.0 / nullif(sum(spend_micros), 0) END",
        scale: 1.0,
        less: 1,
    },
    Ratio {
        name: "conversion",
        arguments: &["visitors", "entrants"],
        meaning: "visitors that reached a step, of those that began; of those at the step before with previous instead of entrants",
        sql: "sum(visitors) * 1.0 / nullif(sum(entrants), 0)",
        scale: 1.0,
        less: 0,
    },
];

/// The aggregate functions.
pub fn ratios() -> impl Iterator<Item = AggregateUDF> {
    RATIOS.iter().map(|ratio| {
        let mut input = vec![DataType::Int64, DataType::Int64];
        input.extend(ratio.arguments.get(2).map(|_| DataType::Utf8));
        let sum = DataType::Decimal128(SUM_DIGITS, 0);
        create_udaf(
            ratio.name,
            input,
            Arc::new(DataType::Float64),
            Volatility::Immutable,
            Arc::new(move |arguments| match arguments.is_distinct {
                true => plan_err!("{} takes no DISTINCT: it divides sums", ratio.name),
                false => Ok(Box::new(Sums::of(ratio)) as Box<dyn Accumulator>),
            }),
            Arc::new(vec![sum.clone(), sum, DataType::Utf8, DataType::Boolean]),
        )
    })
}

/// Digits of a sum: of more values than any table has.
const SUM_DIGITS: u8 = 38;

/// The sums of a group.
#[derive(Debug)]
struct Sums {
    ratio: &'static Ratio,
    divided: Option<i128>,
    by: Option<i128>,
    currency: Option<Box<str>>,
    /// Whether several currencies came.
    mixed: bool,
}

impl Sums {
    fn of(ratio: &'static Ratio) -> Sums {
        Sums { ratio, divided: None, by: None, currency: None, mixed: false }
    }

    fn currencies(&mut self, currencies: &ArrayRef) {
        for currency in currencies.as_string::<i32>().iter().flatten() {
            match &self.currency {
                Some(known) => self.mixed |= **known != *currency,
                None => self.currency = Some(currency.into()),
            }
        }
    }
}

fn add(sum: &mut Option<i128>, values: impl Iterator<Item = i128>) {
    for value in values {
        *sum = Some(sum.unwrap_or(0) + value);
    }
}

impl Accumulator for Sums {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let longs = |at: usize| values[at].as_primitive::<Int64Type>().iter().flatten().map(i128::from);
        add(&mut self.divided, longs(0));
        add(&mut self.by, longs(1));
        values.get(2).into_iter().for_each(|currencies| self.currencies(currencies));
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let sums = self.divided.zip(self.by).filter(|(_, by)| *by != 0 && !self.mixed);
        Ok(ScalarValue::Float64(sums.map(|(divided, by)| {
            let Ratio { scale, less, .. } = self.ratio;
            (divided - less * by) as f64 / by as f64 * scale
        })))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.currency.as_ref().map_or(0, |currency| currency.len())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let sum = |sum| ScalarValue::Decimal128(sum, SUM_DIGITS, 0);
        let currency = ScalarValue::Utf8(self.currency.as_deref().map(str::to_owned));
        Ok(vec![sum(self.divided), sum(self.by), currency, ScalarValue::Boolean(Some(self.mixed))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let sums = |at: usize| states[at].as_primitive::<Decimal128Type>().iter().flatten();
        add(&mut self.divided, sums(0));
        add(&mut self.by, sums(1));
        self.currencies(&states[2]);
        self.mixed |= states[3].as_boolean().iter().flatten().any(|mixed| mixed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{empty_session, printed};
    use super::*;

    /// Rows of several groups: no clicks, no rows of cost, two currencies, nulls.
    const ROWS: &str =
        "(VALUES ('a', 10, 1000, 2, 5000000, 2000000, 'EUR', 3, 4), ('a', 5, 0, 0, 0, 1000000, NULL, 0, 1),
        ('b', 0, 0, 0, 1, 0, 'USD', 0, 0), ('c', 7, 70, 1, 3, 4, 'USD', 5, 5), ('c', 1, 2, 3, 4, 5, 'EUR', 1, 7),
        ('d', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL), ('e', 3, 9, 1, -7000000, 3000000, 'GBP', 2, 9))
        AS rows(k, clicks, impressions, conversions, revenue_micros, spend_micros, currency, visitors, entrants)";

    #[tokio::test]
    async fn a_ratio_is_its_plain_sql() {
        let session = empty_session().await;
        for ratio in &RATIOS {
            let call = format!("{}({})", ratio.name, ratio.arguments.join(", "));
            for group in ["k", "clicks > 3", "1"] {
                let of = |what: &str| {
                    format!(
                        "SELECT g, round(x, 9) AS x FROM (SELECT {group} AS g, CAST({what} AS DOUBLE) AS x
                             FROM {ROWS} GROUP BY {group}) AS t ORDER BY g, x"
                    )
                };
                let (by_function, plain) =
                    (printed(&session, &of(&call)).await, printed(&session, &of(ratio.sql)).await);
                assert_eq!(by_function, plain, "{call} by {group}");
            }
        }
        let some = printed(
            &session,
            &format!(
                "SELECT k, ctr(clicks, impressions) AS ctr, cpm(spend_micros, impressions, currency) AS cpm,
                      roi(revenue_micros, spend_micros, currency) AS roi FROM {ROWS} GROUP BY k ORDER BY k"
            ),
        )
        .await;
        let rows: Vec<&str> = some.lines().skip(1).collect();
        assert_eq!(rows[0], "a,0.015,3,0.6666666666666666");
        assert_eq!(rows[1..4], ["b,,,", "c,0.1111111111111111,,", "d,,,"], "undefined, or of two currencies");
    }

    #[test]
    fn parts_of_a_group_come_to_the_same() {
        let mut whole = Sums::of(&RATIOS[5]);
        for (revenue, spend, currency) in [(3, 4, Some("EUR")), (5, 6, None), (7, 8, Some("EUR"))] {
            let mut part = Sums::of(&RATIOS[5]);
            let array = |value: ScalarValue| value.to_array().unwrap();
            let values: [ArrayRef; 3] = [
                array(ScalarValue::Int64(Some(revenue))),
                array(ScalarValue::Int64(Some(spend))),
                array(ScalarValue::Utf8(currency.map(str::to_owned))),
            ];
            part.update_batch(&values).unwrap();
            let state: Vec<ArrayRef> = part.state().unwrap().into_iter().map(array).collect();
            whole.merge_batch(&state).unwrap();
        }
        assert_eq!(whole.evaluate().unwrap(), ScalarValue::Float64(Some(15.0 / 18.0)));
        let other: ArrayRef = ScalarValue::Utf8(Some("USD".into())).to_array().unwrap();
        whole.currencies(&other);
        assert_eq!(whole.evaluate().unwrap(), ScalarValue::Float64(None));
    }
}
