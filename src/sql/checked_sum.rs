//! `sum` that says so where it does not fit 64 bits: DataFusion's would wrap, a wrong number without a word.
//!
//! Sums of 64-bit integers are kept in 128 bits and must fit when they are told, so it does not matter in which order or in which parts they
//! are added up. Sums of other types and of distinct values are DataFusion's.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Int64Array};
use arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef, Int64Type};
use datafusion::common::{Result, ScalarValue, exec_datafusion_err};
use datafusion::functions_aggregate::sum::Sum;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, ReversedUDAF, Signature,
};

static CHECKED_SUM: LazyLock<Arc<AggregateUDF>> =
    LazyLock::new(|| Arc::new(AggregateUDF::new_from_impl(CheckedSum { of_others: Sum::new() })));

/// The function.
pub fn checked_sum() -> Arc<AggregateUDF> {
    Arc::clone(&CHECKED_SUM)
}

/// What sums are between the parts of a query.
const STATE: DataType = DataType::Decimal128(38, 0);

#[derive(Debug, PartialEq, Eq, Hash)]
struct CheckedSum {
    of_others: Sum,
}

fn is_ours(args: &AccumulatorArgs<'_>) -> bool {
    !args.is_distinct && *args.return_field.data_type() == DataType::Int64
}

fn told(sum: i128) -> Result<i64> {
    i64::try_from(sum).map_err(|_| {
        exec_datafusion_err!(
            "a sum of {sum} does not fit 64 bits: sum fewer rows, or cast to decimal(38, 0) or double before summing"
        )
    })
}

fn state(sums: impl Iterator<Item = Option<i128>>) -> Result<ArrayRef> {
    Ok(Arc::new(sums.collect::<Decimal128Array>().with_precision_and_scale(38, 0)?))
}

impl AggregateUDFImpl for CheckedSum {
    fn name(&self) -> &str {
        "sum"
    }

    fn signature(&self) -> &Signature {
        self.of_others.signature()
    }

    fn return_type(&self, of: &[DataType]) -> Result<DataType> {
        self.of_others.return_type(of)
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        if args.is_distinct || *args.return_field.data_type() != DataType::Int64 {
            return self.of_others.state_fields(args);
        }
        Ok(vec![Arc::new(Field::new(format_state_name(args.name, "sum"), STATE, true))])
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        if is_ours(&args) { Ok(Box::new(Total::default())) } else { self.of_others.accumulator(args) }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        if is_ours(&args) { Ok(Box::new(Total::default())) } else { self.of_others.create_sliding_accumulator(args) }
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        self.of_others.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        if is_ours(&args) { Ok(Box::new(Totals::default())) } else { self.of_others.create_groups_accumulator(args) }
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

/// One sum, and of how many values: none of no value.
#[derive(Debug, Default)]
struct Total {
    sum: i128,
    values: u64,
}

impl Total {
    fn of(&self) -> Option<i128> {
        (self.values > 0).then_some(self.sum)
    }
}

fn longs(values: &[ArrayRef]) -> (i128, u64) {
    let longs = values[0].as_primitive::<Int64Type>();
    let sum = match longs.null_count() {
        0 => longs.values().iter().map(|value| i128::from(*value)).sum(),
        _ => longs.iter().flatten().map(i128::from).sum(),
    };
    (sum, (longs.len() - longs.null_count()) as u64)
}

impl Accumulator for Total {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let (sum, count) = longs(values);
        (self.sum, self.values) = (self.sum + sum, self.values + count);
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let (sum, count) = longs(values);
        (self.sum, self.values) = (self.sum - sum, self.values - count);
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Int64(self.of().map(told).transpose()?))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::Decimal128(self.of(), 38, 0)])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for sum in states[0].as_primitive::<Decimal128Type>().iter().flatten() {
            (self.sum, self.values) = (self.sum + sum, self.values + 1);
        }
        Ok(())
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

/// The sums of groups.
#[derive(Default)]
struct Totals {
    sums: Vec<i128>,
    /// Whether a group has a value.
    any: Vec<bool>,
}

impl Totals {
    fn add(
        &mut self,
        values: impl Iterator<Item = Option<i128>>,
        groups: &[usize],
        filter: Option<&BooleanArray>,
        count: usize,
    ) {
        self.sums.resize(count, 0);
        self.any.resize(count, false);
        for (row, (value, group)) in values.zip(groups).enumerate() {
            let is_in = filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
            if let Some(value) = value.filter(|_| is_in) {
                self.sums[*group] += value;
                self.any[*group] = true;
            }
        }
    }

    fn take(&mut self, emit: EmitTo) -> impl Iterator<Item = Option<i128>> + use<> {
        let (sums, any) = (emit.take_needed(&mut self.sums), emit.take_needed(&mut self.any));
        sums.into_iter().zip(any).map(|(sum, any)| any.then_some(sum))
    }
}

impl GroupsAccumulator for Totals {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        count: usize,
    ) -> Result<()> {
        let values = values[0].as_primitive::<Int64Type>();
        self.add(values.iter().map(|value| value.map(i128::from)), groups, filter, count);
        Ok(())
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let sums = self.take(emit).map(|sum| sum.map(told).transpose());
        Ok(Arc::new(sums.collect::<Result<Int64Array>>()?))
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![state(self.take(emit))?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], count: usize) -> Result<()> {
        self.add(states[0].as_primitive::<Decimal128Type>().iter(), groups, None, count);
        Ok(())
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let longs = values[0].as_primitive::<Int64Type>();
        let is_in = |row: usize| filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
        let values = longs.iter().enumerate();
        Ok(vec![state(values.map(|(row, value)| value.filter(|_| is_in(row)).map(i128::from)))?])
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<i128>() + self.any.capacity()
    }
}
