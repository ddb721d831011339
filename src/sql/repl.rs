//! The shell of `bidstream sql`: a line editor with history and completion around one [`Shell`].

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::Validator;
use rustyline::{Config, Context, Editor, Helper};
use schemas::ids::IdHasher;

use super::describe::{columns, columns_text};
use super::format::rfc3339;
use super::interrupt::{CTRL_C, unless_interrupted};
use super::{Format, Session, SqlError, catalog, execute, open, statements};

const HELP: &str = "\
statements end with ;
\\d              tables and views
\\d TABLE        columns of one
\\as-of CUT      read at a cut (milliseconds since 1970, or 2026-01-31T12:00:00Z); without CUT at the last one
\\format FORMAT  table, csv or json
\\timing         tell how long statements take, or no longer
\\q              leave
Ctrl-C ends the statement that runs
";

const KEYWORDS: &[&str] = &[
    "AND",
    "AS",
    "ASC",
    "BETWEEN",
    "BY",
    "CASE",
    "CAST",
    "COUNT",
    "CROSS",
    "DESC",
    "DISTINCT",
    "ELSE",
    "END",
    "EXCEPT",
    "EXISTS",
    "EXPLAIN",
    "FALSE",
    "FROM",
    "FULL",
    "GROUP",
    "HAVING",
    "IN",
    "INNER",
    "INTERSECT",
    "INTERVAL",
    "IS",
    "JOIN",
    "LEFT",
    "LIKE",
    "LIMIT",
    "MAX",
    "MIN",
    "NOT",
    "NULL",
    "OFFSET",
    "ON",
    "OR",
    "ORDER",
    "OUTER",
    "OVER",
    "PARTITION",
    "RIGHT",
    "SELECT",
    "SUM",
    "THEN",
    "TRUE",
    "UNION",
    "UNNEST",
    "USING",
    "VALUES",
    "WHEN",
    "WHERE",
    "WITH",
    "click_id(",
    "device_id(",
    "event_id(",
    "symbol(",
    "symbol_name(",
    "user_id(",
    "\\as-of",
    "\\d",
    "\\format",
    "\\q",
    "\\timing",
];

/// Lines of history that are kept.
const HISTORY_LINES_MAX: usize = 1_000;

/// Reads statements from the terminal until its end.
pub async fn run(session: Session, lake: PathBuf, hasher: &IdHasher, format: Format) -> Result<(), SqlError> {
    let config = Config::builder().max_history_size(HISTORY_LINES_MAX)?.build();
    let mut editor: Editor<Words, DefaultHistory> = Editor::with_config(config)?;
    editor.set_helper(Some(Words::of(&session).await?));
    let history = history_file();
    // The first time there is none.
    let _ = history.as_ref().map(|file| editor.load_history(file));
    println!("reading at cut {} ({}); \\? for help", session.cut(), rfc3339(session.cut() as i64));
    let mut shell = Shell::new(session, lake, hasher, format);
    loop {
        match editor.readline(shell.prompt()) {
            Ok(line) => {
                if !line.trim().is_empty() {
                    editor.add_history_entry(&line)?;
                }
                match unless_interrupted(&CTRL_C, shell.line(&line, std::io::stdout())).await {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => eprintln!("error: {error}"),
                }
            }
            Err(ReadlineError::Interrupted) => shell.forget(),
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(error.into()),
        }
    }
    if let Some(file) = history {
        editor.save_history(&file)?;
    }
    Ok(())
}

fn history_file() -> Option<PathBuf> {
    std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".bidstream_history"))
}

/// What the shell knows between lines.
pub struct Shell<'a> {
    session: Session,
    lake: PathBuf,
    hasher: &'a IdHasher,
    format: Format,
    timing: bool,
    unfinished: String,
}

impl<'a> Shell<'a> {
    /// A shell over a session on a lake.
    pub fn new(session: Session, lake: PathBuf, hasher: &'a IdHasher, format: Format) -> Shell<'a> {
        Shell { session, lake, hasher, format, timing: false, unfinished: String::new() }
    }

    fn prompt(&self) -> &'static str {
        if self.unfinished.is_empty() { "bidstream> " } else { "      ...> " }
    }

    /// Drops a statement that has been begun.
    fn forget(&mut self) {
        self.unfinished.clear();
    }

    /// Takes a line: a command, or a part of statements, of which those that it ends are run. False: leave.
    pub async fn line(&mut self, line: &str, mut out: impl Write) -> Result<bool, SqlError> {
        if self.unfinished.is_empty() && line.trim_start().starts_with('\\') {
            return self.command(line.trim(), out).await;
        }
        self.unfinished.push_str(line);
        self.unfinished.push('\n');
        let (ended, rest) = statements(&self.unfinished);
        // Kept as it was typed where it has not ended: a comment or quote in it may go on.
        self.unfinished = match (ended.is_empty(), rest.trim().is_empty()) {
            (_, true) => String::new(),
            (true, false) => std::mem::take(&mut self.unfinished),
            (false, false) => rest,
        };
        for statement in ended {
            let start = Instant::now();
            execute(&self.session, &statement, self.format, &mut out).await?;
            if self.timing {
                writeln!(out, "{:.3} s", start.elapsed().as_secs_f64())?;
            }
        }
        Ok(true)
    }

    async fn command(&mut self, line: &str, mut out: impl Write) -> Result<bool, SqlError> {
        let line = line.trim_end_matches(';');
        let (command, argument) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        match (command, argument.trim()) {
            ("\\q", _) => return Ok(false),
            ("\\?", _) => write!(out, "{HELP}")?,
            ("\\d", "") => {
                for name in self.session.tables().await?.into_keys() {
                    writeln!(out, "{name}")?;
                }
            }
            ("\\d", name) => {
                let tables = self.session.tables().await?;
                let unknown = || SqlError::NoView { name: name.to_owned(), known: tables.keys().cloned().collect() };
                let schema = tables.get(name).ok_or_else(unknown)?;
                write!(out, "{}", columns_text(&columns(schema)))?;
            }
            ("\\timing", _) => {
                self.timing = !self.timing;
                writeln!(out, "timing is {}", if self.timing { "on" } else { "off" })?;
            }
            ("\\format", name) => match <Format as clap::ValueEnum>::from_str(name, true) {
                Ok(format) => self.format = format,
                Err(_) => writeln!(out, "formats: table, csv, json")?,
            },
            ("\\as-of", cut) => {
                let as_of = if cut.is_empty() { None } else { Some(catalog::parse_cut(cut)?) };
                self.session = open(&self.lake, as_of, self.hasher, self.session.resources().clone()).await?;
                writeln!(out, "reading at cut {} ({})", self.session.cut(), rfc3339(self.session.cut() as i64))?;
            }
            (unknown, _) => writeln!(out, "there is no {unknown}; \\? lists the commands")?,
        }
        Ok(true)
    }
}

/// Completes tables, columns, functions, keywords and commands.
struct Words(Vec<String>);

impl Words {
    async fn of(session: &Session) -> Result<Words, SqlError> {
        let mut words: Vec<String> = KEYWORDS.iter().map(|word| (*word).to_owned()).collect();
        for (table, schema) in session.tables().await? {
            words.push(table);
            words.extend(schema.fields().iter().map(|field| field.name().clone()));
        }
        words.sort();
        words.dedup();
        Ok(Words(words))
    }

    fn complete(&self, line: &str, position: usize) -> (usize, Vec<String>) {
        let word = |char: char| char.is_alphanumeric() || "_\\-".contains(char);
        let start = line[..position]
            .rfind(|char| !word(char))
            .map_or(0, |at| at + line[at..].chars().next().map_or(1, char::len_utf8));
        let begun = line[start..position].to_lowercase();
        if begun.is_empty() {
            return (start, Vec::new());
        }
        (start, self.0.iter().filter(|word| word.to_lowercase().starts_with(&begun)).cloned().collect())
    }
}

impl Completer for Words {
    type Candidate = String;

    fn complete(&self, line: &str, position: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(Words::complete(self, line, position))
    }
}

impl Hinter for Words {
    type Hint = String;
}
impl Highlighter for Words {}
impl Validator for Words {}
impl Helper for Words {}
