//! Rows of Apache Parquet. Each column of a batch is written as text once; rows are then put together from those.
//!
//! Members of a struct are columns of their own (`e.kind`) where the mapping names one; lists and maps are no columns.
//! Bytes that are UTF-8 are text. A float that is whole has no `.0`, as writers turn whole numbers with gaps into floats.

use std::fs::File;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Fields};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use crate::job::mapping::Mapping;

/// Rows that are decoded at a time.
const BATCH_ROWS: usize = 1024;

/// Reads rows from a file.
pub(super) struct Batches {
    batches: ParquetRecordBatchReader,
    /// Whether members of structs are columns.
    flat: bool,
    columns: Vec<Texts>,
    rows: usize,
    next: usize,
}

/// The cells of a column, one after another, and where each ends.
#[derive(Default)]
struct Texts {
    text: String,
    ends: Vec<usize>,
}

impl Batches {
    /// Opens a file; also its columns, in order.
    pub(super) fn open(file: File, mapping: &Mapping) -> Result<(Batches, Vec<String>), String> {
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| error.to_string())?;
        let mut top: Vec<String> = builder.schema().fields().iter().map(|field| field.name().clone()).collect();
        let flat = mapping.columns().any(|column| !top.iter().any(|name| name == column));
        if flat {
            top.clear();
            flatten(builder.schema().fields(), "", &mut top);
        }
        for column in mapping.columns() {
            let parts: Vec<&str> = column.split('.').collect();
            let found = find(builder.schema().fields(), column).or_else(|| nested(builder.schema().fields(), &parts));
            let what = match found.map(Field::data_type) {
                Some(DataType::Struct(members)) => {
                    let members: Vec<String> =
                        members.iter().map(|member| format!("{column}.{}", member.name())).collect();
                    format!("a struct: name a member of it, as {}", members.join(", "))
                }
                Some(kind) if kind.is_nested() => "a list or map, which has no place in a row".to_owned(),
                _ => continue,
            };
            return Err(format!("column {column:?} is {what}"));
        }
        let batches = builder.with_batch_size(BATCH_ROWS).build().map_err(|error| error.to_string())?;
        Ok((Batches { batches, flat, columns: Vec::new(), rows: 0, next: 0 }, top))
    }

    /// Goes to the next row; false at the end.
    pub(super) fn next(&mut self) -> Result<bool, String> {
        self.next += 1;
        while self.next > self.rows {
            let Some(batch) = self.batches.next() else { return Ok(false) };
            self.read(&batch.map_err(|error| error.to_string())?)?;
        }
        Ok(true)
    }

    fn read(&mut self, batch: &RecordBatch) -> Result<(), String> {
        (self.rows, self.next) = (batch.num_rows(), 1);
        let mut arrays = Vec::new();
        for column in batch.columns() {
            members(column, self.flat, &mut arrays);
        }
        self.columns.resize_with(arrays.len(), Texts::default);
        for (array, texts) in arrays.iter().zip(&mut self.columns) {
            texts.read(array)?;
        }
        Ok(())
    }

    /// The cells of the row.
    pub(super) fn cells(&self) -> impl Iterator<Item = &[u8]> {
        self.columns.iter().map(|column| column.get(self.next - 1).as_bytes())
    }

    /// A cell of the row.
    pub(super) fn cell(&self, column: usize) -> &str {
        self.columns[column].get(self.next - 1)
    }
}

impl Texts {
    fn read(&mut self, array: &ArrayRef) -> Result<(), String> {
        self.text.clear();
        self.ends.clear();
        let options = FormatOptions::default();
        let formatter = ArrayFormatter::try_new(array, &options).map_err(|error| error.to_string())?;
        let floats = array.data_type().is_floating();
        for row in 0..array.len() {
            match bytes(array, row).and_then(|bytes| str::from_utf8(bytes).ok()) {
                Some(text) => self.text.push_str(text),
                None => {
                    let start = self.text.len();
                    formatter.value(row).write(&mut self.text).map_err(|error| error.to_string())?;
                    if floats && self.text[start..].ends_with(".0") {
                        self.text.truncate(self.text.len() - 2);
                    }
                }
            }
            self.ends.push(self.text.len());
        }
        Ok(())
    }

    fn get(&self, row: usize) -> &str {
        &self.text[row.checked_sub(1).map_or(0, |before| self.ends[before])..self.ends[row]]
    }
}

/// The bytes of a cell, in a column of bytes.
fn bytes(array: &ArrayRef, row: usize) -> Option<&[u8]> {
    match array.data_type() {
        _ if array.is_null(row) => None,
        DataType::Binary => Some(array.as_binary::<i32>().value(row)),
        DataType::LargeBinary => Some(array.as_binary::<i64>().value(row)),
        DataType::BinaryView => Some(array.as_binary_view().value(row)),
        _ => None,
    }
}

fn find<'a>(fields: &'a Fields, name: &str) -> Option<&'a Field> {
    fields.iter().find(|field| field.name() == name).map(AsRef::as_ref)
}

/// The field at a path of names; a list on the way is what is found.
fn nested<'a>(fields: &'a Fields, path: &[&str]) -> Option<&'a Field> {
    let (first, rest) = path.split_first()?;
    let field = find(fields, first)?;
    match field.data_type() {
        DataType::Struct(members) if !rest.is_empty() => nested(members, rest),
        _ => Some(field),
    }
}

/// The names of columns, with members of structs as columns of their own.
fn flatten(fields: &Fields, around: &str, names: &mut Vec<String>) {
    for field in fields {
        let name = format!("{around}{}", field.name());
        match field.data_type() {
            DataType::Struct(members) => flatten(members, &format!("{name}."), names),
            _ => names.push(name),
        }
    }
}

/// The same for the values. What is in a struct that is null is null.
fn members(column: &ArrayRef, flat: bool, into: &mut Vec<ArrayRef>) {
    match column.as_struct_opt().filter(|_| flat) {
        Some(all) => {
            for member in all.columns() {
                let nulls = arrow::buffer::NullBuffer::union(all.nulls(), member.nulls());
                let data = member.to_data().into_builder().nulls(nulls).build();
                let member = data.map_or_else(|_| member.clone(), arrow::array::make_array);
                members(&member, flat, into);
            }
        }
        None => into.push(column.clone()),
    }
}
