//! Pictures of what a query gave: lines over time or numbers, bars by name, a heat map, flows; as SVG or PNG, or as text.

mod charts;
mod draw;
mod flows;
mod text;

use std::collections::BTreeMap;
use std::path::Path;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit};

use super::format::cell;
use flows::Flows;

pub use charts::{Metric, NamedChart, PlotOptions, run};

/// What a picture shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Chart {
    /// A line a series, over time or a number: the first column.
    Lines,
    /// A bar a row and series, by name: the first column.
    Bars,
    /// A cell a row: the first column down, the second across, the third as colour.
    Heatmap,
    /// A band a row: from what the first column names to what the second does, as wide as the third.
    Flows,
}

/// More lines or colours of bars than these cannot be told apart.
const SERIES_MAX: usize = 12;
/// Bars that fit one under the other.
const BARS_MAX: usize = 60;
/// Cells of a heat map down or across.
const CELLS_MAX: usize = 200;
/// The most rows that a picture is made of.
pub const ROWS_MAX: usize = 200_000;

/// Why rows cannot be drawn.
#[derive(Debug, thiserror::Error)]
pub enum PlotError {
    /// What the rows lack, or have too much of.
    #[error("{0}")]
    Rows(String),
    /// The file's name says no form of picture.
    #[error("{0}: a picture is .svg or .png")]
    Form(String),
    /// It could not be drawn or written.
    #[error("{0}: {1}")]
    Write(String, String),
}

/// How numbers along an axis read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scale {
    Number,
    /// Milliseconds since 1970.
    Time,
}

/// Points of lines, by name; none between two where a value is null.
type Lines = Vec<(String, Vec<(f64, Option<f64>)>)>;

/// What is to be drawn.
#[derive(Debug, PartialEq)]
enum Picture {
    Lines { x: String, y: String, scale: Scale, lines: Lines },
    Bars { y: String, series: Vec<String>, bars: Vec<(String, Vec<Option<f64>>)> },
    Heatmap { across: Vec<String>, down: Vec<(String, Vec<Option<f64>>)>, value: String },
    Flows(Flows),
}

/// Draws rows into a file, whose name ends with .svg or .png. Without a `chart` the first column decides: lines where it is a time or a
/// number, else bars.
pub fn draw(batches: &[RecordBatch], chart: Option<Chart>, path: &Path) -> Result<(), PlotError> {
    let form = draw::Form::of(path).ok_or_else(|| PlotError::Form(path.display().to_string()))?;
    let picture = picture(batches, chart)?;
    draw::write(&picture, form, path).map_err(|error| PlotError::Write(path.display().to_string(), error))
}

/// What a terminal shows of it.
fn as_text(batches: &[RecordBatch], chart: Chart) -> Result<String, PlotError> {
    Ok(text::of(&picture(batches, Some(chart))?))
}

/// Refuses a name that says no form of picture, before anything is asked.
pub fn check_name(path: &Path) -> Result<(), PlotError> {
    draw::Form::of(path).map(drop).ok_or_else(|| PlotError::Form(path.display().to_string()))
}

fn picture(batches: &[RecordBatch], chart: Option<Chart>) -> Result<Picture, PlotError> {
    let rows = |what: String| Err(PlotError::Rows(what));
    let Some(first) = batches.iter().find(|batch| batch.num_rows() > 0) else {
        return rows("there is no row to draw".to_owned());
    };
    let schema = first.schema();
    let kinds: Vec<Kind> = schema.fields().iter().map(|field| Kind::of(field.data_type())).collect();
    let name = |at: usize| schema.field(at).name().clone();
    let chart = chart.unwrap_or(if kinds[0] == Kind::Text { Chart::Bars } else { Chart::Lines });
    if chart == Chart::Heatmap {
        return if kinds.len() >= 3 && kinds[2] == Kind::Number {
            heatmap(batches, name(2))
        } else {
            rows("a heat map takes three columns: what is down, what is across, and a number".to_owned())
        };
    }
    if chart == Chart::Flows {
        return if kinds.len() >= 3 && kinds[2] == Kind::Number {
            flows(batches)
        } else {
            rows("flows take three columns: from what, to what, and a number".to_owned())
        };
    }
    // A text after the first column names the series; else each number is one.
    let split = kinds.get(1) == Some(&Kind::Text);
    let values: Vec<usize> = (1..kinds.len()).filter(|at| kinds[*at] == Kind::Number).collect();
    let values = if split { values.into_iter().take(1).collect() } else { values };
    let Some(first_value) = values.first() else {
        let columns = schema.fields().iter().map(|field| format!("{} ({})", field.name(), field.data_type()));
        return rows(format!(
            "there is no number to draw beside the first column: {}",
            columns.collect::<Vec<_>>().join(", ")
        ));
    };
    let y = if split || values.len() == 1 { name(*first_value) } else { "value".to_owned() };
    let of_rows = || {
        batches.iter().flat_map(|batch| (0..batch.num_rows()).map(move |row| (batch, row))).flat_map(|(batch, row)| {
            let series = |at: usize| if split { label(batch, 1, row) } else { name(at) };
            values.iter().map(move |at| (batch, row, series(*at), number(batch, *at, row))).collect::<Vec<_>>()
        })
    };
    let mut series: Vec<String> = Vec::new();
    for (_, _, name, _) in of_rows() {
        if !series.contains(&name) {
            series.push(name);
            if series.len() > SERIES_MAX {
                return rows(format!(
                    "there are more than {SERIES_MAX} series: ask for fewer, as by a filter on the second column"
                ));
            }
        }
    }
    let place = |name: &str| series.iter().position(|other| other == name).expect("all were gathered");
    match chart {
        Chart::Lines => {
            let scale = match kinds[0] {
                Kind::Time => Scale::Time,
                Kind::Number => Scale::Number,
                Kind::Text => {
                    return rows(format!(
                        "lines take a time or a number as their first column; {} is neither",
                        name(0)
                    ));
                }
            };
            let mut lines: Lines = series.iter().map(|name| (name.clone(), Vec::new())).collect();
            for (batch, row, name, value) in of_rows() {
                lines[place(&name)].1.extend(number(batch, 0, row).map(|x| (x, value)));
            }
            lines.iter_mut().for_each(|(_, points)| points.sort_by(|(one, _), (other, _)| one.total_cmp(other)));
            if lines.iter().all(|(_, points)| points.iter().all(|(_, value)| value.is_none())) {
                return rows("every value is null: there is nothing to draw".to_owned());
            }
            Ok(Picture::Lines { x: name(0), y, scale, lines })
        }
        _ => {
            let mut bars: Vec<(String, Vec<Option<f64>>)> = Vec::new();
            for (batch, row, name, value) in of_rows() {
                let of = label(batch, 0, row);
                let at = bars.iter().position(|(other, _)| *other == of).unwrap_or_else(|| {
                    bars.push((of, vec![None; series.len()]));
                    bars.len() - 1
                });
                let bar = &mut bars[at].1[place(&name)];
                if bar.is_some() && value.is_some() {
                    let name = &bars[at].0;
                    return rows(format!("two rows are one bar, {name}: group by what is not a number"));
                }
                *bar = value;
                if bars.len() > BARS_MAX {
                    return rows(format!(
                        "there are more than {BARS_MAX} bars: ask for fewer, as with ORDER BY and LIMIT"
                    ));
                }
            }
            Ok(Picture::Bars { y, series, bars })
        }
    }
}

fn heatmap(batches: &[RecordBatch], value: String) -> Result<Picture, PlotError> {
    let (mut across, mut cells) = (BTreeMap::new(), Vec::new());
    let mut down: Vec<String> = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            // Numbers in their order, all else as it comes.
            let order = number(batch, 1, row).map_or(i64::MAX, |number| (number * 1e3) as i64);
            let column = (order, label(batch, 1, row));
            let next = down.len();
            let of = label(batch, 0, row);
            let at = down.iter().position(|other| *other == of).unwrap_or(next);
            if at == next {
                down.push(of);
            }
            across.entry(column.clone()).or_insert(());
            cells.push((at, column, number(batch, 2, row)));
            if down.len() > CELLS_MAX || across.len() > CELLS_MAX {
                return Err(PlotError::Rows(format!(
                    "a heat map has at most {CELLS_MAX} cells down and across: ask for fewer"
                )));
            }
        }
    }
    let columns: Vec<(i64, String)> = across.into_keys().collect();
    let mut rows: Vec<(String, Vec<Option<f64>>)> =
        down.into_iter().map(|name| (name, vec![None; columns.len()])).collect();
    for (at, column, value) in cells {
        let place = columns.binary_search(&column).expect("all were gathered");
        if rows[at].1[place].is_some() && value.is_some() {
            let (of, column) = (&rows[at].0, &column.1);
            return Err(PlotError::Rows(format!(
                "two rows are one cell, {of} and {column}: group by the first two columns"
            )));
        }
        rows[at].1[place] = value;
    }
    Ok(Picture::Heatmap { across: columns.into_iter().map(|(_, name)| name).collect(), down: rows, value })
}

fn flows(batches: &[RecordBatch]) -> Result<Picture, PlotError> {
    let rows = batches.iter().flat_map(|batch| (0..batch.num_rows()).map(move |row| (batch, row)));
    let bands =
        rows.map(|(batch, row)| (label(batch, 0, row), label(batch, 1, row), number(batch, 2, row).unwrap_or(0.0)));
    Flows::of(bands).map(Picture::Flows).map_err(PlotError::Rows)
}

/// What a column is to a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Time,
    Number,
    Text,
}

impl Kind {
    fn of(data_type: &DataType) -> Kind {
        match data_type {
            DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => Kind::Time,
            of if of.is_numeric() => Kind::Number,
            _ => Kind::Text,
        }
    }
}

/// A cell as it reads.
fn label(batch: &RecordBatch, column: usize, row: usize) -> String {
    let text = cell(batch.column(column), row).unwrap_or_else(|| "(none)".to_owned());
    // Of a midnight the day says it all.
    text.strip_suffix("T00:00:00.000Z").map(str::to_owned).unwrap_or(text)
}

/// A number, or a time in milliseconds; none where it is null or a text.
fn number(batch: &RecordBatch, column: usize, row: usize) -> Option<f64> {
    let column = batch.column(column).slice(row, 1);
    match Kind::of(column.data_type()) {
        Kind::Text => None,
        Kind::Time => {
            let ms = cast(&column, &DataType::Timestamp(TimeUnit::Millisecond, None)).ok()?;
            let ms = cast(&ms, &DataType::Int64).ok()?;
            ms.is_valid(0).then(|| ms.as_primitive::<Int64Type>().value(0) as f64)
        }
        Kind::Number => {
            let value = cast(&column, &DataType::Float64).ok()?;
            value.is_valid(0).then(|| value.as_primitive::<Float64Type>().value(0)).filter(|value| value.is_finite())
        }
    }
}

#[cfg(test)]
mod tests;
