//! Rows of views and their Arrow form: each column is declared once, with its type and what it says.
//!
//! [`columns!`](crate::columns) lists a row type's columns. All else follows from that list: the schema, the arrays, how SQL shows
//! a column, and what `describe` says of it. Nothing reads the arrays back into rows: changelogs are summed in Arrow.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BinaryArray, BooleanArray, Int64Array, ListArray, RecordBatch, RecordBatchOptions, StringArray,
    StructArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};

use crate::event::EventType;
use crate::ids::{DeviceId, EventId, LinkedId, Subject, UserId};
use crate::symbols::Symbol;
use crate::units::{EventTime, Micros, Tick};
use crate::view::{Method, Model};

/// What kind of value a column holds where names are symbols and times are numbers, as the files of tables have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A 16-byte keyed hash.
    Id,
    /// A name as its symbol; people are shown the name.
    Symbol,
    /// A network of addresses as its number; people are shown its text.
    Network,
    /// Milliseconds since the Unix epoch; people are shown a timestamp.
    Time,
    /// Anything that is shown as it is.
    Plain,
}

/// One column of a row type.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// What kind of value it holds.
    pub kind: Kind,
    /// What it says, with its unit; empty where a column of this name says the same in all tables.
    pub doc: &'static str,
}

/// A type of rows. Implemented by [`columns!`](crate::columns).
pub trait Columns: 'static {
    /// Its columns, in order.
    const COLUMNS: &'static [Column];

    /// The Arrow fields.
    fn fields() -> Vec<Field>;

    /// The arrays of these rows, one a column.
    fn arrays<'a>(rows: impl Iterator<Item = &'a Self> + Clone) -> Vec<ArrayRef>;

    /// The array of one column of these rows; none where there is no such column.
    fn column<'a>(name: &str, rows: impl Iterator<Item = &'a Self> + Clone) -> Option<ArrayRef>;

    /// The rows as a batch.
    fn batch<'a>(rows: impl Iterator<Item = &'a Self> + Clone) -> RecordBatch {
        batch(Self::fields(), Self::arrays(rows))
    }

    /// The columns of the changelog of a view of such rows.
    fn changelog() -> SchemaRef {
        let fields = Self::fields().into_iter().chain([long("_cut"), long("_diff")]);
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    /// Changes of a view: (row, cut, difference).
    fn changes(changes: &[(Self, Tick, i64)]) -> RecordBatch
    where
        Self: Sized,
    {
        let mut arrays = Self::arrays(changes.iter().map(|(row, ..)| row));
        arrays.push(i64::array(changes.iter().map(|(_, cut, _)| *cut as i64)));
        arrays.push(i64::array(changes.iter().map(|(.., diff)| *diff)));
        RecordBatch::try_new(Self::changelog(), arrays).expect("columns of one batch have one length")
    }

    /// The columns of a log of sums of such rows.
    fn sum_log() -> SchemaRef {
        let fields = Self::fields().into_iter().chain([long("_cut")]);
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    /// What cuts add to a log of sums: (row, cut).
    fn additions(additions: &[(Self, Tick)]) -> RecordBatch
    where
        Self: Sized,
    {
        let mut arrays = Self::arrays(additions.iter().map(|(row, _)| row));
        arrays.push(i64::array(additions.iter().map(|(_, cut)| *cut as i64)));
        RecordBatch::try_new(Self::sum_log(), arrays).expect("columns of one batch have one length")
    }
}

fn long(name: &str) -> Field {
    Field::new(name, DataType::Int64, false)
}

fn batch(fields: Vec<Field>, arrays: Vec<ArrayRef>) -> RecordBatch {
    let rows = arrays.first().map_or(0, |array| array.len());
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
        .expect("columns of one batch have one length")
}

/// A value of a column.
pub trait Value: Sized {
    /// What kind of value it is.
    const KIND: Kind;
    /// Whether it may be null.
    const NULLABLE: bool = false;

    /// The type of its column.
    fn data_type() -> DataType;

    /// The column of these values.
    fn array(values: impl Iterator<Item = Self> + Clone) -> ArrayRef;
}

/// A value that is stored as a number, and the same where it may be absent.
macro_rules! numbers {
    ($($type:ty, $kind:ident, |$value:ident| $number:expr;)*) => {$(
        impl Value for $type {
            const KIND: Kind = Kind::$kind;

            fn data_type() -> DataType {
                DataType::Int64
            }

            fn array(values: impl Iterator<Item = Self> + Clone) -> ArrayRef {
                Arc::new(Int64Array::from_iter_values(values.map(|$value| $number)))
            }
        }

        impl Value for Option<$type> {
            const KIND: Kind = Kind::$kind;
            const NULLABLE: bool = true;

            fn data_type() -> DataType {
                DataType::Int64
            }

            fn array(values: impl Iterator<Item = Self> + Clone) -> ArrayRef {
                Arc::new(Int64Array::from_iter(values.map(|value| value.map(|$value| $number))))
            }
        }
    )*};
}

numbers! {
    i64, Plain, |value| value;
    Micros, Plain, |value| value.0;
    EventTime, Time, |value| value.0;
    Symbol, Symbol, |value| value.0;
}

/// A value that is stored as the 16 bytes of its id, and the same where it may be absent.
macro_rules! ids {
    ($($type:ty)*) => {$(
        impl Value for $type {
            const KIND: Kind = Kind::Id;

            fn data_type() -> DataType {
                DataType::Binary
            }

            fn array(values: impl Iterator<Item = Self> + Clone) -> ArrayRef {
                Arc::new(BinaryArray::from_iter_values(values.map(|id| id.0.to_bytes())))
            }
        }

        impl Value for Option<$type> {
            const KIND: Kind = Kind::Id;
            const NULLABLE: bool = true;

            fn data_type() -> DataType {
                DataType::Binary
            }

            fn array(values: impl Iterator<Item = Self> + Clone) -> ArrayRef {
                Arc::new(BinaryArray::from_iter(values.map(|id| id.map(|id| id.0.to_bytes()))))
            }
        }
    )*};
}

ids! { EventId LinkedId Subject UserId DeviceId }

/// A value that is stored as its name, and the same where it may be absent.
macro_rules! named {
    ($($type:ty)*) => {$(
        impl Value for $type {
            const KIND: Kind = Kind::Plain;

            fn data_type() -> DataType {
                DataType::Utf8
            }

            fn array(values: impl Iterator<Item = Self> + Clone) -> ArrayRef {
                Arc::new(StringArray::from_iter_values(values.map(|value| value.name())))
            }
        }

        impl Value for Option<$type> {
            const KIND: Kind = Kind::Plain;
            const NULLABLE: bool = true;

            fn data_type() -> DataType {
                DataType::Utf8
            }

            fn array(values: impl Iterator<Item = Self> + Clone) -> ArrayRef {
                Arc::new(StringArray::from_iter(values.map(|value| value.map(|value| value.name()))))
            }
        }
    )*};
}

named! { EventType Method Model }

/// One of a few texts.
impl Value for &'static str {
    const KIND: Kind = Kind::Plain;

    fn data_type() -> DataType {
        DataType::Utf8
    }

    fn array(values: impl Iterator<Item = Self> + Clone) -> ArrayRef {
        Arc::new(StringArray::from_iter_values(values))
    }
}

/// A text of a parameter, as the name of what a job defines.
impl Value for Arc<str> {
    const KIND: Kind = Kind::Plain;

    fn data_type() -> DataType {
        DataType::Utf8
    }

    fn array(values: impl Iterator<Item = Self> + Clone) -> ArrayRef {
        Arc::new(StringArray::from_iter_values(values))
    }
}

impl Value for bool {
    const KIND: Kind = Kind::Plain;

    fn data_type() -> DataType {
        DataType::Boolean
    }

    fn array(values: impl Iterator<Item = Self> + Clone) -> ArrayRef {
        Arc::new(BooleanArray::from_iter(values.map(Some)))
    }
}

/// A list of rows: an array of structs.
impl<R: Columns> Value for &[R] {
    const KIND: Kind = Kind::Plain;

    fn data_type() -> DataType {
        // Delta calls a list's field `element` and so do we, or readers would have to convert each file.
        DataType::List(Arc::new(Field::new("element", DataType::Struct(Fields::from(R::fields())), false)))
    }

    fn array(values: impl Iterator<Item = Self> + Clone) -> ArrayRef {
        let offsets = OffsetBuffer::from_lengths(values.clone().map(<[R]>::len));
        let elements: Vec<&R> = values.flatten().collect();
        let elements = StructArray::from(R::batch(elements.into_iter()));
        let DataType::List(element) = Self::data_type() else { unreachable!("it is a list") };
        Arc::new(ListArray::new(element, offsets, Arc::new(elements), None))
    }
}

/// A list of rows, or nothing.
impl<R: Columns> Value for Option<&[R]> {
    const KIND: Kind = Kind::Plain;
    const NULLABLE: bool = true;

    fn data_type() -> DataType {
        <&[R]>::data_type()
    }

    fn array(values: impl Iterator<Item = Self> + Clone) -> ArrayRef {
        let (field, offsets, elements, _) =
            <&[R]>::array(values.clone().map(Option::unwrap_or_default)).as_list::<i32>().clone().into_parts();
        Arc::new(ListArray::new(field, offsets, elements, Some(values.map(|value| value.is_some()).collect())))
    }
}

/// Declares the columns of a row type: for each, in order, what it says, its name, its type ([`Value`]), and how it is
/// taken from a row. What a column says may be left out where every table's column of this name says the same.
///
/// ```
/// use schemas::{Micros, Symbol, columns};
/// use schemas::table::Columns;
///
/// struct Spend {
///     publisher: Symbol,
///     micros: i64,
/// }
///
/// columns! {
///     Spend, |row| {
///         /// publisher, or traffic source
///         source: Option<Symbol> = row.publisher.some(),
///         /// what was spent there, in millionths
///         spend_micros: Micros = Micros(row.micros),
///     }
/// }
///
/// assert_eq!(Spend::COLUMNS[1].doc, "what was spent there, in millionths");
/// let batch = Spend::batch([Spend { publisher: Symbol::of("news"), micros: 7 }].iter());
/// assert_eq!(batch.num_rows(), 1);
/// ```
#[macro_export]
macro_rules! columns {
    ($type:ty, |$row:ident| { $($(#[doc = $doc:literal])* $name:ident: $value:ty = $of:expr,)* }) => {
        impl $crate::table::Columns for $type {
            const COLUMNS: &'static [$crate::table::Column] = &[$($crate::table::Column {
                name: $crate::columns!(@name $name),
                kind: <$value as $crate::table::Value>::KIND,
                doc: concat!($($doc,)* "").trim_ascii(),
            }),*];

            fn fields() -> Vec<$crate::table::Field> {
                vec![$($crate::table::Field::new(
                    $crate::columns!(@name $name),
                    <$value as $crate::table::Value>::data_type(),
                    <$value as $crate::table::Value>::NULLABLE,
                )),*]
            }

            fn arrays<'a>(rows: impl Iterator<Item = &'a Self> + Clone) -> Vec<$crate::table::ArrayRef> {
                vec![$(<$value as $crate::table::Value>::array(rows.clone().map(|$row| $of))),*]
            }

            fn column<'a>(
                name: &str,
                rows: impl Iterator<Item = &'a Self> + Clone,
            ) -> Option<$crate::table::ArrayRef> {
                match name {
                    $($crate::columns!(@name $name) => {
                        Some(<$value as $crate::table::Value>::array(rows.map(|$row| $of)))
                    })*
                    _ => None,
                }
            }
        }
    };
    (@name r#type) => { "type" };
    (@name $name:ident) => { stringify!($name) };
}
