//! SQL over a lake: the catalogue of its tables and views, the shell, the audit of views, and what they mean.
//!
//! Everything reads one *cut*: the last one that every table holds, or the one that is asked for. So tables agree with
//! each other, and a query says the same thing however far a running job has come meanwhile.

pub mod audit;
pub mod catalog;
pub mod checked_sum;
pub mod columns;
mod contested;
pub mod current;
pub mod describe;
pub mod describe_lake;
pub mod differences;
pub mod explain;
pub mod first_rows;
pub mod format;
pub mod functions;
pub mod get;
pub mod interrupt;
mod opaque;
pub mod plot;
pub mod ratios;
pub mod removal;
pub mod repl;
pub mod resources;
pub mod rules;
pub mod steps;
#[cfg(test)]
mod tests;

use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use dataflows::views;
use datafusion::error::DataFusionError;
use datafusion::physical_plan::common::spawn_buffered;
use futures::StreamExt;
use schemas::Tick;
use schemas::ids::IdHasher;

pub use catalog::{Session, open};
pub use format::Format;
use plot::{Chart, PlotError};
pub use resources::{Memory, Resources};

/// What went wrong while reading a lake.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    /// The query is wrong or could not be carried out.
    #[error("{}", plain(.0))]
    Query(DataFusionError),
    /// The query needs more memory, or more room for what it spills, than it may take.
    #[error(
        "the query needs more than it may take: {0}\ngive it more (--memory 8GiB), or ask for less: fewer columns, a narrower filter"
    )]
    TooLarge(String),
    /// The rows cannot be drawn.
    #[error("the rows cannot be drawn: {0}")]
    Plot(PlotError),
    /// A signal ended the statement.
    #[error("interrupted")]
    Interrupted(i32),
    /// A table cannot be read.
    #[error(transparent)]
    Table(#[from] deltalake_core::DeltaTableError),
    /// Values cannot be read or written.
    #[error(transparent)]
    Arrow(#[from] arrow::error::ArrowError),
    /// A file, the terminal or the output failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// CSV output failed.
    #[error(transparent)]
    Csv(#[from] csv::Error),
    /// The terminal failed.
    #[error(transparent)]
    Terminal(#[from] rustyline::error::ReadlineError),
    /// The path holds no lake.
    #[error("{} is no lake: it has no lake.json", .0.display())]
    NoLake(PathBuf),
    /// The lake cannot be read.
    #[error(transparent)]
    Lake(#[from] crate::lake::LedgerError),
    /// A time to read at that is no time.
    #[error("{0:?} is no cut: write milliseconds since 1970, or a time as 2026-01-31T12:00:00Z")]
    BadCut(String),
    /// A time to read at that nothing is committed for yet.
    #[error("nothing is committed at {asked} ({}) yet: the last cut is {}", format::rfc3339(*.asked as i64), committed_text(*.committed))]
    Beyond {
        /// The cut that was asked for.
        asked: Tick,
        /// The last cut that all tables hold.
        committed: Tick,
    },
    /// A time to read at before the first change that a view's table has: housekeeping has summed what was, or the view was
    /// made anew at that cut.
    #[error("history before cut {since} ({}) is summed, or was made anew: ask for that one or a later one, not {asked}", format::rfc3339(*.since as i64))]
    Summed {
        /// The cut that was asked for.
        asked: Tick,
        /// The first cut at which every table can be read.
        since: Tick,
    },
    /// A join whose key would be null where only its right side has a row.
    #[error(
        "{0} JOIN … USING is not offered: the key of rows that only the right side has would be null; join ON a.key = b.key and select coalesce(a.key, b.key)"
    )]
    OuterUsing(&'static str),
    /// What a view cannot be read by.
    #[error("{0}")]
    BadKey(String),
    /// A view that does not exist.
    #[error("there is no view {name:?}; there are: {}", .known.join(", "))]
    NoView {
        /// The name that was asked for.
        name: String,
        /// The names that exist.
        known: Vec<String>,
    },
}

impl SqlError {
    /// There is no view of this name.
    pub fn no_view(name: &str) -> SqlError {
        SqlError::NoView {
            name: name.to_owned(),
            known: views::views().iter().map(|view| view.name.to_owned()).collect(),
        }
    }
}

// By hand, so that it is not named as its own cause: what it says is in the message.
impl From<PlotError> for SqlError {
    fn from(error: PlotError) -> SqlError {
        SqlError::Plot(error)
    }
}

impl From<DataFusionError> for SqlError {
    fn from(error: DataFusionError) -> SqlError {
        match error.find_root() {
            DataFusionError::ResourcesExhausted(_) => SqlError::TooLarge(plain(&error)),
            _ => SqlError::Query(error),
        }
    }
}

fn plain(error: &DataFusionError) -> String {
    // Backtraces and layers of context help who works on Bidstream, not who wrote the query.
    error.find_root().strip_backtrace()
}

fn committed_text(cut: Tick) -> String {
    if cut == 0 { "none".to_owned() } else { format!("{cut} ({})", format::rfc3339(cut as i64)) }
}

/// What `bidstream sql` is asked to do.
#[derive(Clone, Debug)]
pub struct SqlOptions {
    /// The lake's directory.
    pub lake: PathBuf,
    /// Statements, separated by `;`. Without any they come from `file`, else from the terminal or standard input.
    pub query: Option<String>,
    /// A file of statements.
    pub file: Option<PathBuf>,
    /// The cut to read at: milliseconds since the Unix epoch, or RFC 3339. The last one by default.
    pub as_of: Option<String>,
    /// The form of the output.
    pub format: Format,
    /// The memory that queries may take.
    pub memory: Memory,
    /// A file to draw the rows of the one statement into.
    pub plot: Option<PathBuf>,
    /// What is drawn; the rows decide where nothing is said.
    pub chart: Option<Chart>,
}

/// What the shell tells of a signal that ended the process: 128 and its number.
pub fn exit_code(error: &SqlError) -> Option<u8> {
    match error {
        SqlError::Interrupted(signal) => u8::try_from(128 + signal).ok(),
        _ => None,
    }
}

/// Runs statements over a lake, or the shell where there are none and a person is at the terminal. Each statement
/// prints a result of its own (as JSON: an array of its own).
pub async fn run(options: SqlOptions, hasher: &IdHasher) -> Result<(), SqlError> {
    options.plot.as_deref().map(plot::check_name).transpose()?;
    let as_of = options.as_of.as_deref().map(catalog::parse_cut).transpose()?;
    let session = open(&options.lake, as_of, hasher, Resources::new(options.memory)?).await?;
    if !session.same_key() {
        tracing::warn!("the ids in this lake were made with another key: user_id() and the like find nobody in it");
    }
    if let Some(asked) = as_of.filter(|asked| *asked != session.cut()) {
        eprintln!(
            "{asked} is between two cuts: reading at {} ({})",
            session.cut(),
            format::rfc3339(session.cut() as i64)
        );
    }
    let text = match (&options.query, &options.file) {
        (Some(query), _) => query.clone(),
        (None, Some(file)) => read(file)?,
        (None, None) if std::io::stdin().is_terminal() && options.plot.is_none() => {
            return repl::run(session, options.lake, hasher, options.format).await;
        }
        (None, None) => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text)?;
            text
        }
    };
    let (mut all, rest) = statements(&text);
    all.extend((!blank(&rest)).then_some(rest));
    if options.plot.is_some() && all.len() != 1 {
        return Err(PlotError::Rows(format!("one statement is drawn, and there are {}", all.len())).into());
    }
    interrupt::unless_interrupted(&interrupt::ANY, async {
        for statement in all {
            let (mut drawn, mut rows) = (Vec::new(), 0);
            let keep = |batch: &RecordBatch| {
                rows += batch.num_rows();
                if options.plot.is_some() && rows <= plot::ROWS_MAX {
                    drawn.push(batch.clone());
                }
            };
            match execute_seen(&session, &statement, options.format, std::io::stdout().lock(), keep).await {
                // Who reads the output has seen enough, as `head` does.
                Err(SqlError::Io(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
                done => done?,
            };
            if let Some(path) = &options.plot {
                if rows > plot::ROWS_MAX {
                    return Err(
                        PlotError::Rows(format!("there are {rows}, and at most {} are drawn", plot::ROWS_MAX)).into()
                    );
                }
                plot::draw(&drawn, options.chart, path)?;
            }
        }
        Ok(())
    })
    .await
}

fn read(file: &Path) -> Result<String, SqlError> {
    let named = |error: std::io::Error| std::io::Error::new(error.kind(), format!("{}: {error}", file.display()));
    Ok(std::fs::read_to_string(file).map_err(named)?)
}

/// Batches of rows that are made before the first of them is printed.
const BATCHES_AHEAD_MAX: usize = 2;

/// Runs one statement and prints its rows as they come; the number of rows.
pub async fn execute(session: &Session, statement: &str, format: Format, out: impl Write) -> Result<usize, SqlError> {
    execute_seen(session, statement, format, out, |_| ()).await
}

/// The same; `seen` sees each batch of rows as well.
async fn execute_seen(
    session: &Session,
    statement: &str,
    format: Format,
    out: impl Write,
    mut seen: impl FnMut(&RecordBatch),
) -> Result<usize, SqlError> {
    // In a task of its own: what waits for the next rows, or for Ctrl-C, is never kept waiting by the work on them.
    let rows = session.query(statement).await?.execute_stream().await?;
    let mut rows = spawn_buffered(rows, BATCHES_AHEAD_MAX);
    let mut writer = format::Writer::new(out, rows.schema(), format, format::to_terminal())?;
    while let Some(batch) = rows.next().await {
        let batch = batch?;
        writer.batch(&batch)?;
        seen(&batch);
    }
    writer.finish()
}

/// Splits a text at its `;` into statements; the second part is what follows the last one. Quotes and comments are
/// respected; empty statements are dropped.
pub fn statements(text: &str) -> (Vec<String>, String) {
    let (mut all, mut current) = (Vec::new(), String::new());
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            ';' => {
                if !blank(&current) {
                    all.push(current.trim().to_owned());
                }
                current.clear();
                continue;
            }
            '\'' | '"' => {
                // A doubled quote ends a string and begins the next one: the effect is the same.
                current.push(char);
                for inner in chars.by_ref() {
                    current.push(inner);
                    if inner == char {
                        break;
                    }
                }
                continue;
            }
            '/' if chars.peek() == Some(&'*') => {
                let mut last = ' ';
                chars
                    .by_ref()
                    .skip(1)
                    .take_while(|inner| !(std::mem::replace(&mut last, *inner) == '*' && *inner == '/'))
                    .for_each(drop);
                current.push(' ');
                continue;
            }
            '-' if chars.peek() == Some(&'-') => {
                chars.by_ref().take_while(|inner| *inner != '\n').for_each(drop);
                current.push('\n');
                continue;
            }
            _ => current.push(char),
        }
    }
    (all, current)
}

fn blank(text: &str) -> bool {
    text.trim().is_empty()
}
