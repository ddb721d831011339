//! Weights of the touches of a path under each model, and the exact split of an amount by them. Integers only, so that
//! SQL and Rust agree to the last unit.

use schemas::units::HOUR_MS;
use schemas::view::{Model, PathTouch};
use schemas::{EventTime, Symbol};

use crate::params::CreditsParams;

/// Bits of a full time-decay weight: a touch of the same hour weighs 2^20.
const DECAY_BITS: u32 = 20;

/// What the weights of a touch depend on.
#[derive(Clone, Debug)]
pub struct Weights {
    /// `TABLE[k]` = round(2^20 · 2^(−k/N)) for the N hours of a half-life.
    pub decay_table: Vec<i64>,
    /// Channels that `last_non_direct` passes over.
    pub direct_channels: Vec<Symbol>,
}

impl Weights {
    /// The weights of these parameters.
    pub fn of(params: &CreditsParams) -> Weights {
        Weights {
            decay_table: decay_table((params.half_life.0 / HOUR_MS) as usize),
            direct_channels: params.direct_channels.iter().map(|channel| Symbol::of(channel)).collect(),
        }
    }

    /// The weight of each touch of a path, which is ordered from first to last and not empty. `reference` is the time
    /// of the install that froze the path, else of the conversion.
    pub fn weigh(&self, model: Model, path: &[PathTouch], reference: EventTime) -> Vec<i64> {
        let last = path.len() - 1;
        let all_to = |winner: usize| (0..path.len()).map(|place| i64::from(place == winner)).collect();
        match model {
            Model::First => all_to(0),
            Model::Last => all_to(last),
            Model::LastNonDirect => {
                let non_direct = path.iter().rposition(|touch| !self.direct_channels.contains(&touch.channel));
                all_to(non_direct.unwrap_or(last))
            }
            Model::Linear => vec![1; path.len()],
            Model::TimeDecay => path.iter().map(|touch| self.decayed(reference.0 - touch.event_time.0)).collect(),
            Model::Position if path.len() <= 2 => vec![1; path.len()],
            Model::Position => {
                let edge = 2 * (path.len() as i64 - 2);
                (0..path.len()).map(|place| if place == 0 || place == last { edge } else { 1 }).collect()
            }
        }
    }

    /// `TABLE[h mod N] >> (h div N)` for the `h` whole hours of an age, at least 1: a path of old touches alone has a weight.
    fn decayed(&self, age_ms: i64) -> i64 {
        let hours = (age_ms / HOUR_MS) as usize;
        let half_lives = (hours / self.decay_table.len()).min(63);
        (self.decay_table[hours % self.decay_table.len()] >> half_lives).max(1)
    }
}

/// Splits an amount by weights: each gets floor(|amount| · w / W), what is left over goes one unit each to the largest
/// remainders (ties to the earlier), then the sign. The parts sum to the amount exactly.
///
/// # Panics
/// When no weight is positive.
pub fn split(amount: i64, weights: &[i64]) -> Vec<i64> {
    let total: i128 = weights.iter().map(|weight| i128::from(*weight)).sum();
    assert!(total > 0, "a path has a touch of positive weight");
    let magnitude = i128::from(amount).abs();
    let products = || weights.iter().map(|weight| magnitude * i128::from(*weight));
    let mut parts: Vec<i128> = products().map(|product| product / total).collect();
    let left_over = (magnitude - parts.iter().sum::<i128>()) as usize;

    let mut by_remainder: Vec<(i128, usize)> =
        products().enumerate().map(|(place, product)| (-(product % total), place)).collect();
    by_remainder.sort_unstable();
    for (_, place) in &by_remainder[..left_over] {
        parts[*place] += 1;
    }
    parts.into_iter().map(|part| (part * i128::from(amount.signum())) as i64).collect()
}

/// round(2^20 · 2^(−k/N)) for 0 ≤ k < N, in fixed point with 62 fractional bits.
///
/// 2^(−f) is the product of 2^(−2^−i) over the binary digits i of f = k/N that are set; these factors come from
/// repeated integer square roots. The error stays below 2^−34 of a unit of the table, and no entry is that close to
/// a half (a test looks), so each is the exact rounding.
fn decay_table(half_life_hours: usize) -> Vec<i64> {
    const FRACTION_BITS: u32 = 62;
    let mut factors = Vec::with_capacity(FRACTION_BITS as usize);
    let mut factor = 1u128 << (FRACTION_BITS - 1);
    for _ in 0..FRACTION_BITS {
        factor = (factor << FRACTION_BITS).isqrt();
        factors.push(factor);
    }
    (0..half_life_hours)
        .map(|hour| {
            let mut remainder = hour;
            let mut power = 1u128 << FRACTION_BITS;
            for factor in &factors {
                remainder *= 2;
                if remainder >= half_life_hours {
                    remainder -= half_life_hours;
                    power = (power * factor) >> FRACTION_BITS;
                }
            }
            let shift = FRACTION_BITS - DECAY_BITS;
            ((power + (1 << (shift - 1))) >> shift) as i64
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_decay_table_is_the_exact_rounding() {
        for hours in [36, 37, 100, 168, 720, 8760] {
            for (hour, entry) in decay_table(hours).into_iter().enumerate() {
                let exact = (f64::from(DECAY_BITS) - hour as f64 / hours as f64).exp2();
                assert_eq!(entry, exact.round() as i64, "half-life {hours} h, hour {hour}");
                // Far enough from a half for both ways to be certain.
                assert!(((exact - exact.floor()) - 0.5).abs() > 1e-8, "half-life {hours} h, hour {hour}");
            }
        }
    }

    #[test]
    fn weights_by_position() {
        let weights = Weights::of(&CreditsParams::default());
        let touch = |hours: i64, channel: &str| PathTouch {
            event_time: EventTime(hours * HOUR_MS),
            event_id: Default::default(),
            subject: Default::default(),
            event_type: schemas::EventType::Click,
            method: schemas::view::Method::Person,
            channel: Symbol::of(channel),
            campaign: Symbol::NONE,
            ad_group: Symbol::NONE,
            creative: Symbol::NONE,
            source: Symbol::NONE,
        };
        let path = [touch(0, "search"), touch(1, "social"), touch(168, "direct"), touch(336, "direct")];
        let check = |model, expected: &[i64]| {
            assert_eq!(weights.weigh(model, &path, EventTime(336 * HOUR_MS + 5)), expected, "{model:?}");
        };
        check(Model::First, &[1, 0, 0, 0]);
        check(Model::Last, &[0, 0, 0, 1]);
        check(Model::LastNonDirect, &[0, 1, 0, 0]);
        check(Model::Linear, &[1, 1, 1, 1]);
        check(Model::TimeDecay, &[1 << 18, decay_table(168)[167] >> 1, 1 << 19, 1 << 20]);
        check(Model::Position, &[4, 1, 1, 4]);
        assert_eq!(weights.weigh(Model::LastNonDirect, &path[2..], EventTime(0)), [0, 1], "falls back to last");
        assert_eq!(weights.weigh(Model::Position, &path[..1], EventTime(0)), [1]);
        assert_eq!(weights.weigh(Model::Position, &path[..2], EventTime(0)), [1, 1]);
        assert_eq!(weights.weigh(Model::Position, &path[..3], EventTime(0)), [2, 1, 2]);
    }

    #[test]
    fn left_over_units_go_to_the_largest_remainders_then_the_earlier() {
        assert_eq!(split(1_000_000, &[1, 1, 1]), [333_334, 333_333, 333_333]);
        assert_eq!(split(10, &[4, 1, 1, 4]), [4, 1, 1, 4]);
        assert_eq!(split(5, &[2, 1, 2]), [2, 1, 2]);
        assert_eq!(split(4, &[2, 1, 2]), [2, 1, 1]);
        assert_eq!(split(-4, &[2, 1, 2]), [-2, -1, -1]);
        assert_eq!(split(0, &[3, 0]), [0, 0]);
    }

    proptest! {
        #[test]
        fn parts_sum_to_the_amount(
            amount in prop_oneof![-20i64..20, -(1i64 << 53)..=(1 << 53)],
            weights in prop::collection::vec(prop_oneof![0i64..5, 0i64..=(1 << 20)], 1..128),
        ) {
            prop_assume!(weights.iter().any(|weight| *weight > 0));
            let parts = split(amount, &weights);
            prop_assert_eq!(parts.iter().sum::<i64>(), amount);
            let total: i128 = weights.iter().map(|weight| i128::from(*weight)).sum();
            for (part, weight) in parts.iter().zip(&weights) {
                let exact = i128::from(amount) * i128::from(*weight);
                prop_assert!((i128::from(*part) * total - exact).abs() < total, "no part is a unit off");
            }
        }
    }
}
