//! Columns by name: how rows become Arrow arrays and come back.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema};
use arrow::error::ArrowError;

use crate::ids::Id;
use crate::symbols::Symbol;

/// Why a batch does not hold the rows of a table.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// A column that every row needs is not in the batch.
    #[error("column {0} is missing")]
    Missing(String),
    /// A column's type cannot be read as the table's.
    #[error("column {column}: {error}")]
    Type {
        /// The column.
        column: String,
        /// What the conversion said.
        error: ArrowError,
    },
    /// A null where a value is needed.
    #[error("column {column}, row {row}: null")]
    Null {
        /// The column.
        column: String,
        /// Row of the batch, from 0.
        row: usize,
    },
    /// A value that the column cannot have.
    #[error("column {column}, row {row}: unexpected value {value}")]
    Value {
        /// The column.
        column: String,
        /// Row of the batch, from 0.
        row: usize,
        /// The value found.
        value: String,
    },
}

/// Collects the columns of a batch, each with its field.
#[derive(Default)]
pub(super) struct Writer {
    fields: Vec<Field>,
    arrays: Vec<ArrayRef>,
}

impl Writer {
    pub(super) fn push(&mut self, name: &str, nullable: bool, array: ArrayRef) {
        self.fields.push(Field::new(name, array.data_type().clone(), nullable));
        self.arrays.push(array);
    }

    pub(super) fn long(&mut self, name: &str, values: impl Iterator<Item = i64>) {
        self.push(name, false, Arc::new(Int64Array::from_iter_values(values)));
    }

    pub(super) fn long_or_null(&mut self, name: &str, values: impl Iterator<Item = Option<i64>>) {
        self.push(name, true, Arc::new(Int64Array::from_iter(values)));
    }

    pub(super) fn int(&mut self, name: &str, values: impl Iterator<Item = i32>) {
        self.push(name, false, Arc::new(Int32Array::from_iter_values(values)));
    }

    pub(super) fn symbol(&mut self, name: &str, values: impl Iterator<Item = Symbol>) {
        self.long(name, values.map(|symbol| symbol.0));
    }

    pub(super) fn id(&mut self, name: &str, values: impl Iterator<Item = Id>) {
        self.push(name, false, Arc::new(BinaryArray::from_iter_values(values.map(Id::to_bytes))));
    }

    /// Ids that are null where none is given. [`Id::NONE`] itself is written as its 16 zero bytes.
    pub(super) fn id_or_null(&mut self, name: &str, values: impl Iterator<Item = Option<Id>>) {
        self.bytes_or_null(name, values.map(|id| id.map(Id::to_bytes)));
    }

    pub(super) fn bytes_or_null<B: AsRef<[u8]>>(&mut self, name: &str, values: impl Iterator<Item = Option<B>>) {
        self.push(name, true, Arc::new(BinaryArray::from_iter(values)));
    }

    pub(super) fn text<S: AsRef<str>>(&mut self, name: &str, values: impl Iterator<Item = S>) {
        self.push(name, false, Arc::new(StringArray::from_iter_values(values)));
    }

    pub(super) fn text_or_null<S: AsRef<str>>(&mut self, name: &str, values: impl Iterator<Item = Option<S>>) {
        self.push(name, true, Arc::new(StringArray::from_iter(values)));
    }

    pub(super) fn finish(self) -> RecordBatch {
        RecordBatch::try_new(Arc::new(Schema::new(self.fields)), self.arrays)
            .expect("columns of one batch have one length")
    }
}

/// Finds the columns of a batch by name and hands over their values that are not null, with their rows.
pub(super) struct Reader<'a> {
    batch: &'a RecordBatch,
}

impl<'a> Reader<'a> {
    pub(super) fn new(batch: &'a RecordBatch) -> Reader<'a> {
        Reader { batch }
    }
    fn column(&self, name: &str, wanted: &DataType) -> Result<Option<ArrayRef>, TableError> {
        let Some(array) = self.batch.column_by_name(name) else { return Ok(None) };
        if array.data_type() == wanted {
            return Ok(Some(array.clone()));
        }
        cast(array, wanted).map(Some).map_err(|error| TableError::Type { column: name.to_owned(), error })
    }

    fn each<'b, A: 'b, V: 'b>(
        &self,
        array: &'b ArrayRef,
        typed: &'b A,
        value: impl Fn(&'b A, usize) -> V,
        mut take: impl FnMut(usize, V),
    ) {
        for row in 0..array.len() {
            if !array.is_null(row) {
                take(row, value(typed, row));
            }
        }
    }

    /// Fails where a column is missing or null in a row that needs it.
    pub(super) fn require(&self, name: &str, needs: impl Fn(usize) -> bool) -> Result<(), TableError> {
        let array = self.batch.column_by_name(name).ok_or_else(|| TableError::Missing(name.to_owned()))?;
        match (array.null_count() > 0).then(|| (0..array.len()).find(|row| array.is_null(*row) && needs(*row))) {
            Some(Some(row)) => Err(TableError::Null { column: name.to_owned(), row }),
            _ => Ok(()),
        }
    }

    pub(super) fn long(&self, name: &str, take: impl FnMut(usize, i64)) -> Result<(), TableError> {
        if let Some(array) = self.column(name, &DataType::Int64)? {
            self.each(&array, array.as_primitive::<Int64Type>(), |array, row| array.value(row), take);
        }
        Ok(())
    }

    pub(super) fn int(&self, name: &str, take: impl FnMut(usize, i32)) -> Result<(), TableError> {
        if let Some(array) = self.column(name, &DataType::Int32)? {
            self.each(&array, array.as_primitive::<Int32Type>(), |array, row| array.value(row), take);
        }
        Ok(())
    }

    pub(super) fn symbol(&self, name: &str, mut take: impl FnMut(usize, Symbol)) -> Result<(), TableError> {
        self.long(name, |row, value| take(row, Symbol(value)))
    }

    pub(super) fn text(&self, name: &str, mut take: impl FnMut(usize, &str)) -> Result<(), TableError> {
        if let Some(array) = self.column(name, &DataType::Utf8)? {
            self.each(&array, array.as_string::<i32>(), |array, row| array.value(row), &mut take);
        }
        Ok(())
    }

    /// Texts that are one of a few names.
    pub(super) fn named<V>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Option<V>,
        mut take: impl FnMut(usize, V),
    ) -> Result<(), TableError> {
        let mut wrong = None;
        self.text(name, |row, text| match parse(text) {
            Some(value) => take(row, value),
            None => {
                wrong.get_or_insert_with(|| (row, text.to_owned()));
            }
        })?;
        match wrong {
            None => Ok(()),
            Some((row, value)) => Err(TableError::Value { column: name.to_owned(), row, value }),
        }
    }

    pub(super) fn bytes(&self, name: &str, mut take: impl FnMut(usize, &[u8])) -> Result<(), TableError> {
        if let Some(array) = self.column(name, &DataType::Binary)? {
            self.each(&array, array.as_binary::<i32>(), |array, row| array.value(row), &mut take);
        }
        Ok(())
    }

    pub(super) fn id(&self, name: &str, mut take: impl FnMut(usize, Id)) -> Result<(), TableError> {
        let mut wrong = None;
        self.bytes(name, |row, bytes| match bytes.try_into() {
            Ok(bytes) => take(row, Id::from_bytes(bytes)),
            Err(_) => {
                wrong.get_or_insert((row, bytes.len()));
            }
        })?;
        match wrong {
            None => Ok(()),
            Some((row, length)) => {
                Err(TableError::Value { column: name.to_owned(), row, value: format!("id of {length} bytes") })
            }
        }
    }
}
