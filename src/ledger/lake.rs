//! A lake's directory: `lake.json`, where its tables are, and the lock that one writer holds.
//!
//! ```text
//! <lake>/lake.json        format version, settings that were fixed when the lake was made, hash of each view
//! <lake>/.lock            locked by the process that writes; says which one it is
//! <lake>/records/         Delta tables
//! <lake>/symbols/
//! <lake>/<view>/<hash>/
//! ```

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dataflows::catalogue;
use dataflows::params::{Params, PersonRule};
use deltalake_core::logstore::LogStoreRef;
use deltalake_core::{DeltaTableBuilder, ObjectStore};
use schemas::ids::{IdHasher, IdKind};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;

use super::error::LedgerError;
use super::log::Writer;

/// The version of the lake's format that this code reads and writes.
pub const FORMAT: u32 = 1;

/// What is fixed when a lake is made: verdicts, cuts and ids that it holds depend on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LakeSettings {
    /// *L*: what arrives later than this after its event time is `late`; none means no gate.
    pub allowed_lateness_ms: Option<i64>,
    /// *B*: how far the tick may run ahead of a partition that does not answer.
    pub lateness_bound_ms: i64,
    /// Grid of the cuts.
    pub cut_ms: u64,
    /// *K*: touches per partition, join key, event hour and arrival hour that are candidates.
    pub hot_key_touches: u32,
    /// Tells whether the key of ids is the same: [`id_key_check`].
    pub id_key_check: String,
    /// Parameters of the views.
    pub views: Params,
}

/// Tells whether two keys of ids are the same without telling the key: a hash by the key, of nothing anybody sends.
pub fn id_key_check(hasher: &IdHasher) -> String {
    let check = hasher.hash(IdKind::Login, "", b"bidstream id key check").to_bytes();
    check.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A lake's directory and what its `lake.json` says. Readers use it as well as the writer.
#[derive(Clone, Debug)]
pub struct Lake {
    /// The directory.
    pub path: PathBuf,
    /// What was fixed when it was made.
    pub settings: LakeSettings,
    /// The hash of each maintained view's definition, which names its table's directory.
    pub views: BTreeMap<String, String>,
    /// Whether `lake.json` still names the views of an earlier definition: those of this run are being built beside them.
    pub(super) unnamed: bool,
    pub(super) storage: Storage,
}

/// How the tables of a lake are reached.
#[derive(Clone, Debug)]
pub(super) struct Storage {
    /// The store that holds the tables, by their paths in the lake; none: the lake's directory does.
    pub(super) objects: Option<Arc<dyn ObjectStore>>,
    /// The wait before a second attempt; it doubles with each further one.
    pub(super) retry_after: Duration,
}

impl Default for Storage {
    fn default() -> Storage {
        Storage { objects: None, retry_after: Duration::from_millis(25) }
    }
}

#[derive(Serialize, Deserialize)]
struct LakeFile {
    format: u32,
    settings: LakeSettings,
    views: BTreeMap<String, String>,
}

impl Lake {
    /// Reads the `lake.json` of an existing lake.
    pub fn read(path: &Path) -> Result<Lake, LedgerError> {
        let file = path.join("lake.json");
        let text = std::fs::read_to_string(&file).map_err(LedgerError::io(&file))?;
        let unreadable = |why: serde_json::Error| LedgerError::Unreadable { file: file.clone(), why: why.to_string() };
        let mut value: Value = serde_json::from_str(&text).map_err(unreadable)?;
        // Before anything else, for another format may hold other fields.
        if value["format"] != FORMAT {
            return Err(LedgerError::Format { file, found: value["format"].to_string(), ours: FORMAT });
        }
        name_what_went_without_saying(&mut value);
        let read: LakeFile = serde_json::from_value(value).map_err(unreadable)?;
        let (settings, views) = (read.settings, read.views);
        Ok(Lake { path: path.to_owned(), settings, views, unnamed: false, storage: Storage::default() })
    }

    /// Whether there is a lake at `path`.
    pub fn exists(path: &Path) -> bool {
        path.join("lake.json").exists()
    }

    /// The directory of a table: `records`, `symbols`, or a view.
    ///
    /// # Panics
    /// If there is no such view.
    pub fn table(&self, name: &str) -> PathBuf {
        self.path.join(self.place(name))
    }

    /// Where a table is in the lake.
    fn place(&self, name: &str) -> PathBuf {
        match name {
            "records" | "symbols" => PathBuf::from(name),
            view => Path::new(view).join(&self.views[view]),
        }
    }

    /// A new handle on a table's log and files; its directory is made where it is missing.
    pub(super) fn log_store(&self, name: &str) -> Result<LogStoreRef, LedgerError> {
        let builder = match &self.storage.objects {
            Some(objects) => {
                let url = format!("memory:///{}/", self.place(name).display());
                let url = Url::parse(&url).expect("names of tables are plain");
                DeltaTableBuilder::from_url(url.clone())
                    .map(|builder| builder.with_storage_backend(Arc::clone(objects), url))
            }
            None => {
                let dir = self.table(name);
                let made = std::fs::create_dir_all(&dir).and_then(|()| dir.canonicalize());
                let url = Url::from_directory_path(made.map_err(LedgerError::io(&dir))?);
                DeltaTableBuilder::from_url(url.expect("a canonical path is absolute"))
            }
        };
        let table = builder.and_then(DeltaTableBuilder::build);
        Ok(table.map_err(LedgerError::delta(name))?.log_store())
    }

    /// Reads the lake and checks that it was made with these settings; makes it where there is none. Views may be defined
    /// in another way than `lake.json` says: then they have tables of their own, beside those.
    pub(super) fn read_or_make(path: &Path, settings: &LakeSettings) -> Result<Lake, LedgerError> {
        let file = path.join("lake.json");
        if !Lake::exists(path) {
            make(path, &file, &content(settings, &views(&settings.views)))?;
        }
        let lake = Lake::read(path)?;
        let fixed = |settings: &LakeSettings| {
            let fixed = LakeSettings { views: Params::default(), ..settings.clone() };
            serde_json::to_value(fixed).expect("settings are plain data")
        };
        if let Some((field, lake, job)) = difference("settings", &fixed(&lake.settings), &fixed(settings)) {
            return Err(LedgerError::Settings { file, field, lake, job });
        }
        let ours = views(&settings.views);
        let unnamed = lake.views != ours || lake.settings.views != settings.views;
        Ok(Lake { settings: settings.clone(), views: ours, unnamed, ..lake })
    }

    /// Has `lake.json` name the views of this run: from now on readers find their tables, all at once.
    pub(super) fn name_views(&mut self) -> Result<(), LedgerError> {
        let file = self.path.join("lake.json");
        let aside = write_aside(&self.path, &content(&self.settings, &self.views))?;
        std::fs::rename(&aside, &file).map_err(LedgerError::io(&file))?;
        self.unnamed = false;
        tracing::info!(views = ?self.views, "the names of the views are those of this run's tables now");
        Ok(())
    }
}

/// What `lake.json` says.
fn content(settings: &LakeSettings, views: &BTreeMap<String, String>) -> Value {
    let file = LakeFile { format: FORMAT, settings: settings.clone(), views: views.clone() };
    serde_json::to_value(file).expect("settings are plain data")
}

/// A parameter that is younger than a lake has in it the value that its views were made by, not that of a new job.
fn name_what_went_without_saying(lake_file: &mut Value) {
    if let Some(installs) = lake_file.pointer_mut("/settings/views/installs").and_then(Value::as_object_mut) {
        installs.entry("person").or_insert_with(|| json!(PersonRule::DeviceElseUser));
    }
}

/// Written aside and linked: the file appears whole or not at all, and never over another.
fn make(path: &Path, file: &Path, content: &Value) -> Result<(), LedgerError> {
    let aside = write_aside(path, content)?;
    let linked = std::fs::hard_link(&aside, file);
    std::fs::remove_file(&aside).map_err(LedgerError::io(&aside))?;
    match linked {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked.map_err(LedgerError::io(file)),
    }
}

fn write_aside(path: &Path, content: &Value) -> Result<PathBuf, LedgerError> {
    let aside = path.join(format!(".lake.json.{}", std::process::id()));
    std::fs::write(&aside, format!("{content:#}\n")).map_err(LedgerError::io(&aside))?;
    Ok(aside)
}

/// The hash of each maintained view's definition.
fn views(params: &Params) -> BTreeMap<String, String> {
    let maintained = catalogue::definitions().iter().filter(|view| view.maintained);
    maintained.map(|view| (view.name.to_owned(), view.hash(params))).collect()
}

/// The first place where two values differ: its path, and both values there.
fn difference(path: &str, a: &Value, b: &Value) -> Option<(String, String, String)> {
    let (Value::Object(a_fields), Value::Object(b_fields)) = (a, b) else {
        return (a != b).then(|| (path.to_owned(), a.to_string(), b.to_string()));
    };
    let names = a_fields.keys().chain(b_fields.keys().filter(|name| !a_fields.contains_key(*name)));
    names.into_iter().find_map(|name| {
        let value = |fields: &serde_json::Map<String, Value>| fields.get(name).cloned().unwrap_or(Value::Null);
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        difference(&path, &value(a_fields), &value(b_fields))
    })
}

/// The lock of a lake's writer. The system releases it when the process ends, however that comes.
pub(super) struct Lock {
    file: File,
    path: PathBuf,
    held: bool,
}

impl Lock {
    /// Takes the lock; with `take_over`, goes on without it where another process holds it.
    pub(super) fn take(lake: &Path, writer: &Writer, take_over: bool) -> Result<Lock, LedgerError> {
        std::fs::create_dir_all(lake).map_err(LedgerError::io(lake))?;
        let path = lake.join(".lock");
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut lock = Lock { file: open.map_err(LedgerError::io(&path))?, path, held: false };
        lock.hold(writer)?;
        if !lock.held && !take_over {
            let mut holder = String::new();
            lock.file.read_to_string(&mut holder).map_err(LedgerError::io(&lock.path))?;
            let holder = if holder.trim().is_empty() { "another process".to_owned() } else { holder.trim().to_owned() };
            return Err(LedgerError::InUse { lake: lake.to_owned(), holder });
        }
        Ok(lock)
    }

    /// Takes the lock if it is free now. Who took over asks again and again: once the fenced process is gone, the lock
    /// must keep a third one out.
    pub(super) fn hold(&mut self, writer: &Writer) -> Result<(), LedgerError> {
        if self.held {
            return Ok(());
        }
        match self.file.try_lock() {
            Ok(()) => self.held = true,
            Err(TryLockError::WouldBlock) => return Ok(()),
            Err(TryLockError::Error(source)) => return Err(LedgerError::Io { path: self.path.clone(), source }),
        }
        let written =
            self.file.set_len(0).and_then(|()| self.file.rewind()).and_then(|()| writeln!(self.file, "{writer}"));
        written.map_err(LedgerError::io(&self.path))
    }
}
