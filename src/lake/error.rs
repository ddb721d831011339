//! Why the ledger cannot go on. Each message names the file or table and what to do.

use std::path::{Path, PathBuf};

use deltalake_core::DeltaTableError;
use schemas::Tick;

use super::writer::Writer;
use crate::job::ID_KEY_ENV;

/// Why the ledger cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Another process holds the lake.
    #[error("lake {} is in use by {holder}; stop that one, or start with --take-over to fence it", lake.display())]
    InUse {
        /// The lake.
        lake: PathBuf,
        /// What the lock file says of its holder.
        holder: String,
    },
    /// Another process has claimed the lake since: this one must not write again.
    #[error("fenced in {table}: epoch {ours} of this process was followed by epoch {theirs}{}", name(.by))]
    Fenced {
        /// The table in whose log the successor was found.
        table: String,
        /// Our epoch.
        ours: i64,
        /// The successor's epoch.
        theirs: i64,
        /// The successor, unless the log no longer holds its commit.
        by: Option<Writer>,
    },
    /// A lake of another format version.
    #[error("{} has format {found}; this bidstream reads and writes formats 1 to {ours}", file.display())]
    Format {
        /// The file that says so.
        file: PathBuf,
        /// The version in it.
        found: String,
        /// The latest of ours.
        ours: u32,
    },
    /// A setting that was fixed when the lake was made.
    #[error(
        "{}: {field} is {lake} in the lake and {job} in the job; it was fixed when the lake was made (use another \
         lake, or set it as it was)",
        file.display()
    )]
    Settings {
        /// The file that holds the lake's.
        file: PathBuf,
        /// The setting's path.
        field: String,
        /// The lake's value.
        lake: String,
        /// The job's value.
        job: String,
    },
    /// Another zone of a tenant than the lake keeps.
    #[error(
        "lake {}: tenant {tenant} has the time zone {has}, and the job says {job}: hours and days that were counted stay, so a \
         tenant's zone does too (write {has}, or use another lake)",
        lake.display()
    )]
    Zone {
        /// The lake.
        lake: PathBuf,
        /// The tenant.
        tenant: String,
        /// Its zone in the lake.
        has: String,
        /// Its zone by the job.
        job: String,
    },
    /// A zone for a tenant that has records.
    #[error(
        "lake {}: tenant {tenant} has records already, whose hours and days were counted in UTC, and the job gives it the time \
         zone {zone}: a zone is set before a tenant's first record (leave it out of `zones`, or read its records anew into \
         another lake)",
        lake.display()
    )]
    ZoneTooLate {
        /// The lake.
        lake: PathBuf,
        /// The tenant.
        tenant: String,
        /// Its zone by the job.
        zone: String,
    },
    /// Another key of ids than the lake was made with.
    #[error(
        "{}: the lake was made with another key of ids than is given now, and the same person would have two ids: give \
         the key that it was made with, by {ID_KEY_ENV} or as id_key_file (of the job, or --id-key-file), or use another \
         lake",
        file.display()
    )]
    IdKey {
        /// The file that holds what the lake's key is known by.
        file: PathBuf,
    },
    /// Columns of a table that this build does not write.
    #[error(
        "table {table} has columns that this bidstream ({version}) does not know: {names}; a newer release wrote them: write \
         this lake with that release or a later one (reading it is fine)",
        version = env!("CARGO_PKG_VERSION"),
        names = columns.join(", ")
    )]
    NewerColumns {
        /// The table.
        table: String,
        /// Their names.
        columns: Vec<String>,
    },
    /// A column of another type than this build writes.
    #[error(
        "table {table}: column {column} is {found}, and this bidstream writes {ours}; write this lake with the release that \
         made the column"
    )]
    ColumnType {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// Its type in the table.
        found: String,
        /// The type that this build writes.
        ours: String,
    },
    /// A field of `lake.json` that this build does not know.
    #[error(
        "{}: this bidstream ({version}) does not know the field {field}; a newer release wrote it: use this lake with that \
         release or a later one",
        file.display(),
        version = env!("CARGO_PKG_VERSION")
    )]
    NewerField {
        /// The file.
        file: PathBuf,
        /// The field's path.
        field: String,
    },
    /// A file of the lake that does not read as one.
    #[error("{}: {why}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Nothing to build a view from.
    #[error("lake {} holds no records yet: a start of the job makes the tables of its views; nothing is to be built", lake.display())]
    NoRecords {
        /// The lake.
        lake: PathBuf,
    },
    /// Another process builds the table of a view.
    #[error("{view} is being built by {holder}; let that one end, or stop it and build again")]
    BeingBuilt {
        /// The view.
        view: String,
        /// What the lock file says of its holder.
        holder: String,
    },
    /// The job that runs makes the table of a view itself.
    #[error("the job that runs in this lake makes {view} itself, from all records: there is nothing to build")]
    BeingMade {
        /// The view.
        view: String,
    },
    /// Somebody else gave the whole state of a view while it was being made.
    #[error(
        "table {table}: another process made it while this one was at it; what this one made of it is left out, and a new start \
         goes on from what is there"
    )]
    MadeMeanwhile {
        /// The table.
        table: String,
    },
    /// Files of `records` that a build was reading were removed.
    #[error(
        "records: {file} was removed while it was being read: housekeeping removes replaced files after the job's `retention`; \
         make that longer than a build takes, restart the job, and build again"
    )]
    FileGone {
        /// The file.
        file: String,
    },
    /// A sink is ahead of the ledger, as after restoring an older copy of `records`.
    #[error(
        "table {table} holds changes up to cut {sink_cut}, but records ends at cut {records_cut} (was a backup \
         restored?); `bidstream repair --lake` removes what is above that cut"
    )]
    SinkAhead {
        /// The table.
        table: String,
        /// Its last cut.
        sink_cut: Tick,
        /// The ledger's last cut.
        records_cut: Tick,
    },
    /// A table that cannot go back to a cut.
    #[error(
        "table {table} cannot go back to cut {cut}: its changes up to cut {since} are summed; restore a copy of it that \
         is as old as records"
    )]
    Summed {
        /// The table.
        table: String,
        /// The cut up to which it is summed.
        since: Tick,
        /// The cut to which it should go back.
        cut: Tick,
    },
    /// A commit that others kept overtaking.
    #[error("{table}: gave up a commit after others had come first {attempts} times")]
    Overtaken {
        /// The table.
        table: String,
        /// How often it was tried.
        attempts: u32,
    },
    /// A log that says what this process, which holds the epoch, did not do.
    #[error("records: its log went to cut {found:?} in our own epoch, where we wrote {ours:?}; refusing to go on")]
    Diverged {
        /// The cut in the log.
        found: Option<Tick>,
        /// Our last cut.
        ours: Option<Tick>,
    },
    /// Trouble below Delta: a log that does not read, a disk that is full.
    #[error("{table}: {source}")]
    Delta {
        /// The table.
        table: String,
        /// What went wrong.
        source: Box<DeltaTableError>,
    },
    /// Trouble with a file or directory of the lake.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: std::io::Error,
    },
}

fn name(by: &Option<Writer>) -> String {
    by.as_ref().map_or_else(|| " (its commit is no longer in the log)".to_owned(), |by| format!(", {by}"))
}

impl LedgerError {
    /// Whether a start was refused: the lake is in use, of another format or a newer release, or was made with other
    /// settings.
    pub fn is_refusal(&self) -> bool {
        use LedgerError::{BeingBuilt, BeingMade, ColumnType, Format, InUse, NewerColumns, NewerField, Settings};
        matches!(
            self,
            InUse { .. }
                | BeingBuilt { .. }
                | BeingMade { .. }
                | Format { .. }
                | Settings { .. }
                | LedgerError::IdKey { .. }
                | LedgerError::Zone { .. }
                | LedgerError::ZoneTooLate { .. }
                | NewerColumns { .. }
                | NewerField { .. }
                | ColumnType { .. }
        )
    }

    /// Whether another process took over: the one error after which everything is in good order.
    pub fn is_fenced(&self) -> bool {
        matches!(self, LedgerError::Fenced { .. })
    }

    pub(super) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> LedgerError {
        let path = path.to_owned();
        move |source| LedgerError::Io { path, source }
    }

    pub(super) fn overtaken(table: &str) -> LedgerError {
        LedgerError::Overtaken { table: table.to_owned(), attempts: super::writer::OVERTAKEN_MAX }
    }

    pub(super) fn delta<E: Into<DeltaTableError>>(table: &str) -> impl FnOnce(E) -> LedgerError {
        let table = table.to_owned();
        move |source| LedgerError::Delta { table, source: Box::new(source.into()) }
    }
}
