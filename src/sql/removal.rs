//! `removal_effects(source, target, converts, times)`: what each channel does for conversions, by a Markov chain of the first order.
//!
//! A row says how often something followed directly on a source in paths: a target, or where that is null their end, a conversion or
//! none (`converts`). A null source is the beginning. The *removal effect* of a channel is the share of all conversions that would be
//! none if whoever comes to it went to none (Anderl, Becker, von Wangenheim, Schumann: *Mapping the customer journey*, 2016). With the
//! expected visits *N* = (1 − *Q*)⁻¹ from channel to channel, and the chance *x* to convert from each, that is
//! (*N*₀꜀ / *N*꜀꜀) · *x*꜀ / *x*₀: the chance to come to it at all, times that to convert from there.
//!
//! Counts are summed before anything is divided, and channels are taken in their order, so the result does not depend on the order of
//! rows. It is in millionths, rounded to the nearest: one inversion in 64-bit floats, some 10^-12 off.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, ListArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields, Int64Type};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::{Accumulator, AggregateUDF, Volatility, create_udaf};

/// The most channels of a group: their visits are a square of numbers.
const CHANNELS_MAX: usize = 1_000;

fn fields() -> Fields {
    Fields::from(vec![Field::new("channel", DataType::Int64, false), Field::new("effect_ppm", DataType::Int64, false)])
}

fn item() -> Arc<Field> {
    Arc::new(Field::new_list_field(DataType::Struct(fields()), true))
}

/// The aggregate function.
pub fn removal_effects() -> AggregateUDF {
    create_udaf(
        "removal_effects",
        vec![DataType::Int64, DataType::Int64, DataType::Boolean, DataType::Int64],
        Arc::new(DataType::List(item())),
        Volatility::Immutable,
        Arc::new(|_| Ok(Box::new(Steps::default()) as Box<dyn Accumulator>)),
        Arc::new(vec![DataType::Binary]),
    )
}

/// From where to where: none before the first channel and after the last.
type Step = (Option<i64>, Option<i64>, bool);

/// How often each step was taken.
#[derive(Debug, Default)]
struct Steps(BTreeMap<Step, i64>);

impl Steps {
    fn add(&mut self, step: Step, times: i64) -> Result<()> {
        let sum = self.0.entry(step).or_default();
        match sum.checked_add(times) {
            Some(more) => *sum = more,
            None => return exec_err!("removal_effects: a sum of `times` does not fit 64 bits"),
        }
        Ok(())
    }
}

impl Accumulator for Steps {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let [sources, targets, times] = [0, 1, 3].map(|at| values[at].as_primitive::<Int64Type>());
        let converts = values[2].as_boolean();
        for (((source, target), converts), times) in sources.iter().zip(targets).zip(converts).zip(times) {
            // Where a step goes on, how its path ends says nothing.
            let converts = target.is_none() && converts == Some(true);
            self.add((source, target, converts), times.unwrap_or(0))?;
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let effects = effects(&self.0)?;
        let (channels, ppm): (Vec<i64>, Vec<i64>) =
            effects.iter().map(|(channel, effect)| (*channel, (effect * 1e6).round() as i64)).unzip();
        let columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(channels)), Arc::new(Int64Array::from(ppm))];
        let offsets = OffsetBuffer::from_lengths([effects.len()]);
        let rows = StructArray::try_new_with_length(fields(), columns, None, effects.len())?;
        Ok(ScalarValue::List(Arc::new(ListArray::try_new(item(), offsets, Arc::new(rows), None)?)))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.0.len() * (size_of::<Step>() + size_of::<i64>())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let bytes = self.0.iter().flat_map(|((source, target, converts), times)| {
            let known = u8::from(source.is_some()) | u8::from(target.is_some()) << 1 | u8::from(*converts) << 2;
            let longs = [source.unwrap_or(0), target.unwrap_or(0), *times];
            std::iter::once(known).chain(longs.into_iter().flat_map(i64::to_le_bytes))
        });
        Ok(vec![ScalarValue::Binary(Some(bytes.collect()))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for state in states[0].as_binary::<i32>().iter().flatten() {
            for step in state.as_chunks::<25>().0 {
                let long = |at: usize| i64::from_le_bytes(step[at..at + 8].try_into().expect("8 bytes"));
                let source = (step[0] & 1 != 0).then(|| long(1));
                let target = (step[0] & 2 != 0).then(|| long(9));
                self.add((source, target, step[0] & 4 != 0), long(17))?;
            }
        }
        Ok(())
    }
}

/// The effect of removing each channel, between 0 and 1.
fn effects(steps: &BTreeMap<Step, i64>) -> Result<Vec<(i64, f64)>> {
    let channels: Vec<i64> = {
        let ends = steps.keys().flat_map(|(source, target, _)| [*source, *target]).flatten();
        ends.collect::<std::collections::BTreeSet<_>>().into_iter().collect()
    };
    let count = channels.len();
    if count > CHANNELS_MAX {
        return exec_err!("removal_effects: {count} channels: it takes {CHANNELS_MAX}; group them");
    }
    let place =
        |channel: &Option<i64>| channel.map(|channel| channels.binary_search(&channel).expect("it was gathered"));
    // From each channel, and at last from the beginning: to each channel, to a conversion, in all.
    let mut to = vec![vec![0.0; count]; count + 1];
    let (mut converts, mut all) = (vec![0.0; count + 1], vec![0.0; count + 1]);
    for ((source, target, is_conversion), times) in steps {
        let from = place(source).unwrap_or(count);
        let times = *times as f64;
        all[from] += times;
        match place(target) {
            Some(target) => to[from][target] += times,
            None if *is_conversion => converts[from] += times,
            None => {}
        }
    }
    for (from, all) in all.iter().enumerate().filter(|(_, all)| **all > 0.0) {
        to[from].iter_mut().for_each(|times| *times /= all);
        converts[from] /= all;
    }
    let begin = to.pop().expect("one for the beginning");
    let visits = visits(&to);
    let dot = |one: &[f64], other: &[f64]| -> f64 { one.iter().zip(other).map(|(one, other)| one * other).sum() };
    let chance: Vec<f64> = visits.iter().map(|visits| dot(visits, &converts)).collect();
    let total = dot(&begin, &chance) + converts[count];
    let effect = |at: usize| {
        let comes: f64 = (0..count).map(|from| begin[from] * visits[from][at]).sum();
        if total > 0.0 { comes / visits[at][at] * chance[at] / total } else { 0.0 }
    };
    Ok(channels.iter().enumerate().map(|(at, channel)| (*channel, effect(at))).collect())
}

/// (1 − `to`)⁻¹: how often each is visited, from each. Every path ends, so there is an inverse, and no pivot is needed.
fn visits(to: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let count = to.len();
    let mut left: Vec<Vec<f64>> =
        (0..count).map(|row| (0..count).map(|at| f64::from(u8::from(row == at)) - to[row][at]).collect()).collect();
    let mut right: Vec<Vec<f64>> =
        (0..count).map(|row| (0..count).map(|at| f64::from(u8::from(row == at))).collect()).collect();
    for pivot in 0..count {
        let scale = left[pivot][pivot];
        for values in [&mut left[pivot], &mut right[pivot]] {
            values.iter_mut().for_each(|value| *value /= scale);
        }
        let (of_left, of_right) = (left[pivot].clone(), right[pivot].clone());
        for row in (0..count).filter(|row| *row != pivot) {
            let factor = left[row][pivot];
            if factor != 0.0 {
                left[row].iter_mut().zip(&of_left).for_each(|(value, of)| *value -= factor * of);
                right[row].iter_mut().zip(&of_right).for_each(|(value, of)| *value -= factor * of);
            }
        }
    }
    right
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn steps(paths: &[(Vec<i64>, bool, i64)]) -> BTreeMap<Step, i64> {
        let mut steps = Steps::default();
        for (channels, converts, times) in paths {
            let ends = std::iter::once(None).chain(channels.iter().copied().map(Some)).chain([None]);
            let ends: Vec<_> = ends.collect();
            for pair in ends.windows(2) {
                steps.add((pair[0], pair[1], pair[1].is_none() && *converts), *times).unwrap();
            }
        }
        steps.0
    }

    /// As the definition says: remove the channel, and follow whoever walks until hardly any is left.
    fn by_walking(steps: &BTreeMap<Step, i64>, removed: Option<i64>) -> f64 {
        let mut at: BTreeMap<Option<i64>, f64> = BTreeMap::from([(None, 1.0)]);
        let mut converted = 0.0;
        for _ in 0..20_000 {
            let mut next = BTreeMap::new();
            for (source, share) in &at {
                let of_source = || steps.iter().filter(|((from, ..), _)| from == source);
                let all: i64 = of_source().map(|(_, times)| times).sum();
                for ((_, target, converts), times) in of_source() {
                    let share = share * *times as f64 / all as f64;
                    match target {
                        Some(target) if Some(*target) == removed => {}
                        Some(target) => *next.entry(Some(*target)).or_insert(0.0) += share,
                        None if *converts => converted += share,
                        None => {}
                    }
                }
            }
            at = next;
            if at.values().sum::<f64>() < 1e-13 {
                break;
            }
        }
        converted
    }

    #[test]
    fn the_case_by_hand() {
        let steps = steps(&[(vec![1, 2, 3], true, 1), (vec![1], false, 1), (vec![2, 3], false, 1)]);
        let effects = effects(&steps).unwrap();
        let expected = [(1, 0.5), (2, 1.0), (3, 1.0)];
        for ((channel, effect), (of, expected)) in effects.iter().zip(expected) {
            assert!(*channel == of && (effect - expected).abs() < 1e-12, "{effects:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn an_effect_is_what_is_lost_without_the_channel(
            paths in prop::collection::vec((prop::collection::vec(1..6i64, 1..6), any::<bool>(), 1..20i64), 1..12),
        ) {
            let steps = steps(&paths);
            let all = by_walking(&steps, None);
            for (channel, effect) in effects(&steps).unwrap() {
                let without = by_walking(&steps, Some(channel));
                let expected = if all > 0.0 { (all - without) / all } else { 0.0 };
                prop_assert!((effect - expected).abs() < 1e-9, "{}: {} and {}", channel, effect, expected);
            }
        }
    }
}
