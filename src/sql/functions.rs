//! SQL functions of the lake: ids and symbols from what people know, and back to what people read.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryBuilder, Int64Array, ListArray, RecordBatch, StringArray, StringBuilder,
    StructArray,
};
use arrow::datatypes::{DataType, FieldRef, TimeUnit};
use arrow::error::ArrowError;
use datafusion::common::{DataFusionError, exec_err};
use datafusion::logical_expr::{ColumnarValue, ScalarUDF, Volatility, create_udf};
use schemas::ids::IdHasher;
use schemas::table::Kind;
use schemas::{Id, Network, Symbol};

use super::columns::column;

/// The type of a time in the `public` schema.
pub fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()))
}

/// The function that names symbols.
pub const SYMBOL_NAME: &str = "symbol_name";

/// The function that makes lists and structs readable.
pub const READABLE: &str = "readable";

/// The names of a lake's symbols.
pub type Names = HashMap<i64, Box<str>>;

/// The functions that every session has.
pub fn functions(hasher: &IdHasher, names: &Arc<Names>) -> Vec<ScalarUDF> {
    let ids: [(&str, MakeId); 5] = [
        ("user_id", |hasher, tenant, raw| hasher.user(tenant, raw).0),
        ("device_id", |hasher, tenant, raw| hasher.device(tenant, raw).0),
        ("click_id", |hasher, tenant, raw| hasher.click(tenant, raw).0),
        ("login_id", |hasher, tenant, raw| hasher.login(tenant, raw).0),
        ("event_id", |hasher, tenant, raw| hasher.event(tenant, raw).0),
    ];
    let mut all: Vec<ScalarUDF> = ids.into_iter().map(|(name, make)| id_function(name, make, hasher.clone())).collect();
    all.push(symbol_function());
    all.push(symbol_name_function(names));
    all.push(network_name_function(names));
    all
}

/// Makes an id of a tenant and what a producer sent.
type MakeId = fn(&IdHasher, &str, &str) -> Id;

/// `user_id(tenant, raw)` and the like: the keyed hash under which the lake knows a person, click or event.
fn id_function(name: &str, make: MakeId, hasher: IdHasher) -> ScalarUDF {
    let text = vec![DataType::Utf8, DataType::Utf8];
    create_udf(
        name,
        text,
        DataType::Binary,
        Volatility::Immutable,
        pure(move |arrays| {
            let (tenants, raws) = (arrays[0].as_string::<i32>(), arrays[1].as_string::<i32>());
            let mut ids = BinaryBuilder::new();
            for (tenant, raw) in tenants.iter().zip(raws) {
                let id = tenant.zip(raw).map_or(Id::NONE, |(tenant, raw)| make(&hasher, tenant, raw));
                ids.append_option((!id.is_none()).then(|| id.to_bytes()));
            }
            Ok(Arc::new(ids.finish()))
        }),
    )
}

/// `symbol(text)`: the number that stands for a name in the `raw` schema.
fn symbol_function() -> ScalarUDF {
    create_udf(
        "symbol",
        vec![DataType::Utf8],
        DataType::Int64,
        Volatility::Immutable,
        pure(|arrays| {
            let symbols = arrays[0].as_string::<i32>().iter().map(|name| name.and_then(|name| Symbol::of(name).some()));
            Ok(Arc::new(symbols.map(|symbol| symbol.map(|symbol| symbol.0)).collect::<Int64Array>()))
        }),
    )
}

/// `symbol_name(bigint)`: the name that a symbol stands for; a symbol without a name prints as `#` and its hex digits.
pub fn symbol_name_function(names: &Arc<Names>) -> ScalarUDF {
    let names = names.clone();
    create_udf(
        SYMBOL_NAME,
        vec![DataType::Int64],
        DataType::Utf8,
        Volatility::Immutable,
        pure(move |arrays| Ok(Arc::new(named(arrays[0].as_primitive(), &names)))),
    )
}

/// `network_name(bigint)`: the text of a network. In rows of release 0.1.0 it is the name of a symbol.
pub fn network_name_function(names: &Arc<Names>) -> ScalarUDF {
    let names = names.clone();
    let text = move |network: i64| match names.get(&network) {
        Some(name) => name.to_string(),
        None if Network(network).is_valid() => Network(network).to_string(),
        None => format!("#{network:016x}"),
    };
    let named = move |networks: &Int64Array| networks.iter().map(|network| network.map(&text)).collect::<StringArray>();
    create_udf(
        "network_name",
        vec![DataType::Int64],
        DataType::Utf8,
        Volatility::Immutable,
        pure(move |arrays| Ok(Arc::new(named(arrays[0].as_primitive())))),
    )
}

/// The function that makes a column of lists and structs readable, as [`readable_array`] does.
pub fn readable_function(name: &str, of: &DataType, names: &Arc<Names>) -> ScalarUDF {
    let (column, names, of) = (name.to_owned(), names.clone(), of.clone());
    create_udf(
        READABLE,
        vec![of.clone()],
        readable_type(name, &of),
        Volatility::Immutable,
        pure(move |arrays| Ok(readable_as(&arrays[0], &readable_type(&column, &of), &names)?)),
    )
}

/// The type of a column in the `public` schema. What is in lists and structs may be null there: files differ in what they
/// say of it, and a filter that is carried out while a file is read gets arrays as that file has them.
pub fn readable_type(name: &str, of: &DataType) -> DataType {
    match (of, column(name).map(|column| column.kind)) {
        (DataType::Int64, Some(Kind::Symbol)) => DataType::Utf8,
        (DataType::Int64, Some(Kind::Time)) => time_type(),
        (DataType::List(item), _) => DataType::List(readable_field(name, item)),
        (DataType::Struct(fields), _) => {
            DataType::Struct(fields.iter().map(|field| readable_field(field.name(), field)).collect())
        }
        _ => of.clone(),
    }
}

fn readable_field(name: &str, field: &FieldRef) -> FieldRef {
    Arc::new(field.as_ref().clone().with_data_type(readable_type(name, field.data_type())).with_nullable(true))
}

/// A column as the `public` schema shows it: symbols as text, times as timestamps, within lists and structs too.
pub fn readable_array(name: &str, array: &ArrayRef, names: &Names) -> Result<ArrayRef, ArrowError> {
    readable_as(array, &readable_type(name, array.data_type()), names)
}

/// All columns of a batch as the `public` schema shows them.
pub fn readable_batch(batch: &RecordBatch, names: &Names) -> Result<RecordBatch, ArrowError> {
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns());
    let columns =
        columns.map(|(field, array)| Ok((field.name().clone(), readable_array(field.name(), array, names)?, true)));
    RecordBatch::try_from_iter_with_nullable(columns.collect::<Result<Vec<_>, ArrowError>>()?)
}

/// A column as this type, which is the readable one of the table; the array's own fields may be named and nullable otherwise.
fn readable_as(array: &ArrayRef, readable: &DataType, names: &Names) -> Result<ArrayRef, ArrowError> {
    if readable == array.data_type() {
        return Ok(array.clone());
    }
    Ok(match (readable, array.data_type()) {
        (DataType::Utf8, DataType::Int64) => Arc::new(named(array.as_primitive(), names)),
        (DataType::List(item), DataType::List(_)) => {
            let list = array.as_list::<i32>();
            let values = readable_as(list.values(), item.data_type(), names)?;
            Arc::new(ListArray::try_new(item.clone(), list.offsets().clone(), values, list.nulls().cloned())?)
        }
        (DataType::Struct(fields), DataType::Struct(_)) => {
            let parts = array.as_struct();
            let columns = fields.iter().zip(parts.columns());
            let columns = columns.map(|(field, values)| readable_as(values, field.data_type(), names));
            Arc::new(StructArray::try_new(fields.clone(), columns.collect::<Result<_, _>>()?, parts.nulls().cloned())?)
        }
        (other, _) => arrow::compute::cast(array, other)?,
    })
}

fn named(symbols: &Int64Array, names: &Names) -> StringArray {
    let mut texts = StringBuilder::with_capacity(symbols.len(), 16 * symbols.len());
    for symbol in symbols {
        match symbol.map(|symbol| (symbol, names.get(&symbol))) {
            None => texts.append_null(),
            Some((_, Some(name))) => texts.append_value(name),
            Some((symbol, None)) => texts.append_value(format!("#{symbol:016x}")),
        }
    }
    texts.finish()
}

/// A function over whole arrays as DataFusion wants it: scalars go in as arrays of one row and come out as scalars.
pub(super) fn pure(
    of: impl Fn(&[ArrayRef]) -> Result<ArrayRef, DataFusionError> + Send + Sync + 'static,
) -> datafusion::logical_expr::ScalarFunctionImplementation {
    Arc::new(move |values: &[ColumnarValue]| {
        let scalar = values.iter().all(|value| matches!(value, ColumnarValue::Scalar(_)));
        let result = of(&ColumnarValue::values_to_arrays(values)?)?;
        if !scalar {
            return Ok(ColumnarValue::Array(result));
        }
        if result.len() != 1 {
            return exec_err!("a function of scalars gave {} rows", result.len());
        }
        Ok(ColumnarValue::Scalar(datafusion::common::ScalarValue::try_from_array(&result, 0)?))
    })
}
