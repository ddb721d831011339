//! A lake's directory: `lake.json`, where its tables are, and the lock that one writer holds.
//!
//! ```text
//! <lake>/lake.json        format version, settings that were fixed when the lake was made, hash of each view, and the
//!                         topics that those views leave out as void
//! <lake>/.lock            locked by the process that writes; says which one it is
//! <lake>/records/         Delta tables
//! <lake>/symbols/
//! <lake>/<view>/<hash>/   also Delta tables; `.build` in one is locked while `bidstream build` makes it
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dataflows::moments::Moments;
use dataflows::params::{Params, PersonRule, Span};
use dataflows::sealing::Sealing;
use dataflows::views;
use deltalake_core::logstore::LogStoreRef;
use deltalake_core::{DeltaTableBuilder, ObjectStore};
use schemas::ids::{IdHasher, IdKind};
use schemas::units::DAY_MS;
use schemas::{EventType, Symbol, Tick, Zones};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use url::Url;

use super::error::LedgerError;
use super::writer::Writer;
use crate::job::{ID_KEY_DEMO, ID_KEY_ENV, Lateness};

/// The file that the writer of a lake locks.
const LOCK: &str = ".lock";
/// The first version of the lake's format; this code reads and writes both.
pub const FORMAT: u32 = 1;
/// The version of a lake with void topics: a release that counted their records would be wrong without a word.
pub const FORMAT_VOIDS: u32 = 2;
/// The version of a lake in which a tenant has a time zone: a release that counted its hours in UTC would be, too.
pub const FORMAT_ZONES: u32 = 3;

/// What is fixed when a lake is made: verdicts, cuts and ids that it holds depend on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LakeSettings {
    /// *L*: what arrives later than this after its event time is `late`; none means no gate.
    pub allowed_lateness_ms: Option<i64>,
    /// The same of some types of events.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lateness_by_type_ms: BTreeMap<EventType, i64>,
    /// *B*: how far the tick may run ahead of a partition that does not answer.
    pub lateness_bound_ms: i64,
    /// Grid of the cuts.
    pub cut_ms: u64,
    /// *K*: touches per partition, join key, event hour and arrival hour that are candidates.
    pub hot_key_touches: u32,
    /// Tells whether the key of ids is the same: [`id_key_check`].
    pub id_key_check: String,
    /// The time zone of each tenant that was given one, by their names in the IANA database; the others have UTC. A tenant may come
    /// at any time, and then stays ([`super::zones`]).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub zones: BTreeMap<String, String>,
    /// Parameters of the views, with those zones.
    pub views: Params,
}

impl LakeSettings {
    /// How late a record may be.
    pub fn lateness(&self) -> Lateness {
        let by_type = self.lateness_by_type_ms.iter().map(|(of, ms)| (*of, Span(*ms)));
        match self.allowed_lateness_ms {
            Some(ms) => Lateness::Within { default: Span(ms), by_type: by_type.collect() },
            None => Lateness::Unbounded,
        }
    }

    /// When a visitor's day is sealed: once no record of it can be accepted. Where any may be too late, as by default.
    pub fn sealing(&self) -> Sealing {
        let lateness = self.lateness();
        let lateness = if lateness == Lateness::Unbounded { Lateness::default() } else { lateness };
        let of_visitors = EventType::ALL.into_iter().filter(|of| *of != EventType::Cost);
        let longest_ms = of_visitors.filter_map(|of| lateness.of(of)).max().expect("it is bounded");
        Sealing { final_after_ms: longest_ms + self.lateness_bound_ms }
    }

    /// How long an event can change what views say of its time, from when it happened: what comes later is late, or of a time that
    /// a start loads at its end. None where no event is too late.
    pub fn changes_within_ms(&self) -> Option<i64> {
        self.allowed_lateness_ms?;
        Some(self.sealing().final_after_ms + DAY_MS)
    }

    /// As of when links count for a target, where records without a gate came up to a cut.
    pub fn moments(&self, any_age_until: Option<Tick>) -> Moments {
        let lateness = self.lateness();
        let lateness_ms =
            (lateness != Lateness::Unbounded).then(|| EventType::ALL.map(|of| lateness.of(of).expect("it is bounded")));
        Moments { lateness_ms, any_age_until: any_age_until.unwrap_or(0) }
    }

    /// The same with these zones, by the names of tenants. An error says what is wrong with one.
    pub fn with_zones(self, zones: BTreeMap<String, String>) -> Result<LakeSettings, String> {
        let by_tenant = Zones::new(zones.iter().map(|(tenant, zone)| (Symbol::of(tenant), zone.as_str())))?;
        Ok(LakeSettings { zones, views: Params { zones: by_tenant, ..self.views }, ..self })
    }

    /// The same with another lateness.
    pub fn with_lateness(self, lateness: &Lateness) -> LakeSettings {
        let (allowed_lateness_ms, lateness_by_type_ms) = match lateness {
            Lateness::Within { default, by_type } => {
                (Some(default.0), by_type.iter().map(|(of, span)| (*of, span.0)).collect())
            }
            Lateness::Unbounded => (None, BTreeMap::new()),
        };
        LakeSettings { allowed_lateness_ms, lateness_by_type_ms, ..self }
    }
}

/// The tables, views' after the others.
pub fn tables() -> impl Iterator<Item = &'static str> {
    ["records", "symbols"].into_iter().chain(views::maintained().map(|(view, _)| view.name))
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
    /// The hash of the definition of each view that its job maintains, which names the table's directory. One that it leaves out is
    /// read by its SQL; its table stays, and goes on where it was left once the job maintains the view again.
    pub views: BTreeMap<String, String>,
    /// The void topics that those views leave out. One that was declared since counts for readers until the views that
    /// leave it out are named.
    pub voids: BTreeSet<String>,
    /// The views that `lake.json` names, whose tables readers see. Where they are not those of this run, its own are made beside them.
    pub(super) named: BTreeMap<String, String>,
    /// Whether `lake.json` still names the views of an earlier definition: those of this run are being built beside them.
    pub(super) rebuilding: bool,
    /// The tenants whose zones `lake.json` does not say yet.
    pub(super) new_zones: BTreeSet<String>,
    pub(super) storage: Storage,
}

/// How the tables of a lake are hit.
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
#[serde(deny_unknown_fields)]
struct LakeFile {
    format: u32,
    settings: LakeSettings,
    views: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    voids: BTreeSet<String>,
}

impl Lake {
    /// Reads the `lake.json` of an existing lake.
    pub fn read(path: &Path) -> Result<Lake, LedgerError> {
        let file = path.join("lake.json");
        let text = std::fs::read_to_string(&file).map_err(LedgerError::io(&file))?;
        let unreadable = |why: serde_json::Error| LedgerError::Unreadable { file: file.clone(), why: why.to_string() };
        let mut value: Value = serde_json::from_str(&text).map_err(unreadable)?;
        // Before anything else, for another format may hold other fields.
        if ![FORMAT, FORMAT_VOIDS, FORMAT_ZONES].iter().any(|format| value["format"] == *format) {
            return Err(LedgerError::Format { file, found: value["format"].to_string(), ours: FORMAT_ZONES });
        }
        name_what_went_without_saying(&mut value);
        let read = serde_json::from_value(value.clone()).map_err(|why| match unknown_field(&value, &why) {
            Some(field) => LedgerError::NewerField { file: file.clone(), field },
            None => unreadable(why),
        });
        let LakeFile { settings, views, voids, .. } = read?;
        let unknown: Vec<&String> = views.keys().filter(|name| views::view(name).is_none()).collect();
        if !unknown.is_empty() {
            tracing::warn!(
                lake = %path.display(),
                views = ?unknown,
                "a newer build made the lake's tables of these views, which this build does not know: it neither shows nor \
                 maintains them, and if it writes, the newer build makes them anew"
            );
        }
        let zones = settings.zones.clone();
        let mut lake = Lake {
            path: path.to_owned(),
            settings,
            named: views.clone(),
            views,
            voids,
            rebuilding: false,
            new_zones: BTreeSet::new(),
            storage: Storage::default(),
        };
        lake.set_zones(zones)?;
        Ok(lake)
    }

    /// The version of its format: the least that says all that it is.
    pub fn format(&self) -> u32 {
        format(&self.voids, &self.settings)
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

    /// Whether it names such a table.
    pub(super) fn has(&self, name: &str) -> bool {
        matches!(name, "records" | "symbols") || self.views.contains_key(name)
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
            // Zones come once it is seen that no tenant has records.
            let settings_without = LakeSettings { zones: BTreeMap::new(), ..settings.clone() };
            make(
                path,
                &file,
                &content(&settings_without, &views(&settings.views, &BTreeSet::new()), &BTreeSet::new()),
            )?;
            if settings.id_key_check == id_key_check(&IdHasher::new(ID_KEY_DEMO.as_bytes())) {
                tracing::warn!(
                    lake = %path.display(),
                    "this lake was made with the demo key of ids, which everybody knows: before the first record of real \
                     people set {ID_KEY_ENV} or `id_key_file`, and make another lake"
                );
            }
        }
        let mut lake = Lake::read(path)?;
        lake.check(settings)?;
        let mut zones = lake.settings.zones.clone();
        let new_zones = settings.zones.keys().filter(|tenant| !zones.contains_key(*tenant)).cloned().collect();
        zones.extend(settings.zones.clone());
        // Zones rebuild nothing.
        lake.set_zones(zones.clone())?;
        let ours = views(&settings.views, &lake.voids);
        let mut next = Lake { settings: settings.clone(), views: ours, new_zones, ..lake.clone() };
        next.set_zones(zones)?;
        next.rebuilding = lake.views != next.views || lake.settings.views != next.settings.views;
        Ok(next)
    }

    /// The lake as a job with these parameters of views would have it that leaves out these topics. Nothing is written.
    pub(super) fn with_views(self, params: &Params, voids: BTreeSet<String>) -> Lake {
        // Zones are the lake's.
        let params = Params { zones: self.settings.views.zones.clone(), ..params.clone() };
        Lake { views: views(&params, &voids), voids, settings: LakeSettings { views: params, ..self.settings }, ..self }
    }

    /// Whether readers see the table of a view of this run.
    pub(super) fn names(&self, view: &str) -> bool {
        self.named.contains_key(view) && self.named.get(view) == self.views.get(view)
    }

    /// Checks that the lake was made with what is fixed in these settings.
    pub fn check(&self, settings: &LakeSettings) -> Result<(), LedgerError> {
        self.agree(&self.settings.zones, &settings.zones)?;
        let fixed = |settings: &LakeSettings| {
            let fixed = LakeSettings { views: Params::default(), zones: BTreeMap::new(), ..settings.clone() };
            serde_json::to_value(fixed).expect("settings are plain data")
        };
        match difference("settings", &fixed(&self.settings), &fixed(settings)) {
            None => Ok(()),
            Some((field, ..)) if field == "settings.id_key_check" => {
                Err(LedgerError::IdKey { file: self.path.join("lake.json") })
            }
            Some((field, lake, job)) => {
                Err(LedgerError::Settings { file: self.path.join("lake.json"), field, lake, job })
            }
        }
    }

    /// Checks that no tenant has another zone in these than is kept.
    pub(super) fn agree(
        &self,
        kept: &BTreeMap<String, String>,
        zones: &BTreeMap<String, String>,
    ) -> Result<(), LedgerError> {
        let other = |(tenant, zone): (&String, &String)| {
            let has = kept.get(tenant).filter(|has| *has != zone)?.clone();
            Some(LedgerError::Zone { lake: self.path.clone(), tenant: tenant.clone(), has, job: zone.clone() })
        };
        zones.iter().find_map(other).map_or(Ok(()), Err)
    }

    /// Takes the zones of tenants over, also into the parameters of views.
    pub(super) fn set_zones(&mut self, zones: BTreeMap<String, String>) -> Result<(), LedgerError> {
        let file = self.path.join("lake.json");
        let settings = self.settings.clone().with_zones(zones);
        self.settings =
            settings.map_err(|why| LedgerError::Unreadable { file, why: format!("settings.zones: {why}") })?;
        Ok(())
    }

    /// Has the views leave out these topics too: where that is news, they have tables of their own, beside those that
    /// `lake.json` names.
    pub(super) fn leave_out(&mut self, voids: BTreeSet<String>) {
        if voids != self.voids {
            self.views = views(&self.settings.views, &voids);
            self.voids = voids;
            self.rebuilding = true;
        }
    }

    /// Has `lake.json` name the views of this run: from now on readers find their tables, all at once.
    pub(super) fn name_views(&mut self) -> Result<(), LedgerError> {
        self.write()?;
        self.named.clone_from(&self.views);
        self.rebuilding = false;
        tracing::info!(views = ?self.views, "the names of the views are those of this run's tables now");
        Ok(())
    }

    /// Writes `lake.json`.
    pub(super) fn write(&self) -> Result<(), LedgerError> {
        let file = self.path.join("lake.json");
        let aside = write_aside(&self.path, &content(&self.settings, &self.views, &self.voids))?;
        std::fs::rename(&aside, &file).map_err(LedgerError::io(&file))
    }
}

/// What `lake.json` says.
fn content(settings: &LakeSettings, views: &BTreeMap<String, String>, voids: &BTreeSet<String>) -> Value {
    let file = LakeFile {
        format: format(voids, settings),
        settings: settings.clone(),
        views: views.clone(),
        voids: voids.clone(),
    };
    serde_json::to_value(file).expect("settings are plain data")
}

fn format(voids: &BTreeSet<String>, settings: &LakeSettings) -> u32 {
    match (settings.zones.is_empty(), voids.is_empty()) {
        (false, _) => FORMAT_ZONES,
        (true, false) => FORMAT_VOIDS,
        (true, true) => FORMAT,
    }
}

/// The path of the field that the file has and this build does not know, where that is why it does not read.
fn unknown_field(file: &Value, why: &serde_json::Error) -> Option<String> {
    let why = why.to_string();
    let name = why.strip_prefix("unknown field `")?.split('`').next()?;
    Some(path_of(file, name).unwrap_or_else(|| name.to_owned()))
}

/// The path of the first field of a name.
fn path_of(value: &Value, name: &str) -> Option<String> {
    let fields = value.as_object()?;
    if fields.contains_key(name) {
        return Some(name.to_owned());
    }
    fields.iter().find_map(|(field, value)| Some(format!("{field}.{}", path_of(value, name)?)))
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

/// The hash of each view that a job with these maintains: of its definition, and of the topics that it leaves out.
fn views(params: &Params, voids: &BTreeSet<String>) -> BTreeMap<String, String> {
    let hash = |definition: String| {
        if voids.is_empty() {
            return definition;
        }
        let mut hasher = Sha256::new();
        for part in std::iter::once(&definition).chain(voids) {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part.as_bytes());
        }
        hasher.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    };
    views::maintained_by(params).map(|(view, _)| (view.name.to_owned(), hash(views::hash(view, params)))).collect()
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

/// How long a process that was killed may hold its lock: until the system has all of its memory back.
const ENDING_MAX: Duration = Duration::from_secs(3);

/// The lock of a lake's writer, or of who builds a table. The system releases it when the process ends, however that comes.
pub(super) struct Lock {
    file: File,
    path: PathBuf,
    held: bool,
}

impl Lock {
    /// Takes a lake's lock; with `take_over`, goes on without it where another process holds it.
    pub(super) fn take(lake: &Path, writer: &Writer, take_over: bool) -> Result<Lock, LedgerError> {
        std::fs::create_dir_all(lake).map_err(LedgerError::io(lake))?;
        let mut lock = Lock::try_at(lake.join(LOCK), writer)?;
        let asked = Instant::now();
        while !lock.held && !take_over && asked.elapsed() < ENDING_MAX {
            std::thread::sleep(ENDING_MAX / 50);
            lock.hold(writer)?;
        }
        if !lock.held && !take_over {
            return Err(LedgerError::InUse { lake: lake.to_owned(), holder: lock.holder()? });
        }
        Ok(lock)
    }

    /// Takes the lock of a file if it is free now.
    pub(super) fn try_at(path: PathBuf, writer: &Writer) -> Result<Lock, LedgerError> {
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut lock = Lock { file: open.map_err(LedgerError::io(&path))?, path, held: false };
        lock.hold(writer)?;
        Ok(lock)
    }

    /// Whether this process holds it.
    pub(super) fn is_held(&self) -> bool {
        self.held
    }

    /// What the file says of who holds it.
    pub(super) fn holder(&mut self) -> Result<String, LedgerError> {
        let mut holder = String::new();
        self.file.read_to_string(&mut holder).map_err(LedgerError::io(&self.path))?;
        Ok(if holder.trim().is_empty() { "another process".to_owned() } else { holder.trim().to_owned() })
    }

    /// Whether some process writes a lake now. A start at the very moment may be refused.
    pub(super) fn is_taken(lake: &Path) -> Result<bool, LedgerError> {
        let path = lake.join(LOCK);
        let file = match File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            opened => opened.map_err(LedgerError::io(&path))?,
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(source)) => Err(LedgerError::Io { path, source }),
        }
    }

    /// Removes the file of a lock that this process holds, and gives it up.
    pub(super) fn remove(self) -> Result<(), LedgerError> {
        std::fs::remove_file(&self.path).map_err(LedgerError::io(&self.path))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_is_released_soon_is_waited_for() {
        let dir = tempfile::TempDir::new().unwrap();
        let writer = Writer::here();
        let take = || Lock::take(dir.path(), &writer, false);
        let killed = take().unwrap();
        let ending = std::thread::spawn(move || {
            std::thread::sleep(ENDING_MAX / 10);
            drop(killed);
        });
        let lock = take().unwrap();
        assert!(lock.is_held());
        ending.join().unwrap();
        assert!(matches!(take(), Err(LedgerError::InUse { .. })), "one that goes on holds it");
    }
}
