//! The simulated object store: each client's operations wait for the scheduler, which says how they end.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;

use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::sync::{mpsc, oneshot};

/// How an operation ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is done, and its client is told.
    Done,
    /// It is not done, and its client is told of an error.
    Refused,
    /// It is done, and its client is told of an error all the same.
    Lost,
    /// It is done, and its client never learns of it: the scheduler ends it.
    DoneAndCrash,
}

/// An operation that waits for the scheduler.
pub(super) struct Request {
    /// What it does, for the trace.
    pub(super) what: String,
    /// Whether it changes the store.
    pub(super) writes: bool,
    pub(super) answer: oneshot::Sender<Fate>,
}

/// An entry that was added to a table's log.
pub(super) struct Applied {
    /// The log's directory, as `records`.
    pub(super) table: String,
    pub(super) version: u64,
    pub(super) entry: Bytes,
}

/// The content of the store, which all clients share.
pub(super) struct Shared {
    pub(super) objects: InMemory,
    /// Entries that were added to logs since they were last taken.
    pub(super) applied: Mutex<Vec<Applied>>,
}

/// One client's view of the store.
pub(super) struct SimulatedStore {
    shared: Arc<Shared>,
    requests: mpsc::UnboundedSender<Request>,
    /// The thread of the scheduler and the ledger. What delta-rs does on threads of its own (it reads logs there) is not
    /// held up: its order is not ours to decide, so it could not be replayed.
    thread: ThreadId,
}

impl SimulatedStore {
    pub(super) fn new(shared: Arc<Shared>, requests: mpsc::UnboundedSender<Request>) -> SimulatedStore {
        SimulatedStore { shared, requests, thread: std::thread::current().id() }
    }

    async fn fate(&self, verb: &str, path: &Path, writes: bool) -> Fate {
        // Data files are read several at a time, in an order that threads decide.
        let is_log = path.as_ref().contains("_delta_log");
        if std::thread::current().id() != self.thread || !(writes || is_log) {
            return Fate::Done;
        }
        let (answer, fate) = oneshot::channel();
        let what = format!("{verb} {}", if is_log { path.as_ref() } else { "a data file" });
        if self.requests.send(Request { what, writes, answer }).is_err() {
            return std::future::pending().await;
        }
        match fate.await {
            Ok(fate) => fate,
            // The schedule is over.
            Err(_) => std::future::pending().await,
        }
    }

    async fn put(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let fate = self.fate("put", path, true).await;
        if fate == Fate::Refused {
            return Err(error());
        }
        let create = options.mode == PutMode::Create;
        let bytes = Bytes::from(payload.clone());
        let result = self.shared.objects.put_opts(path, payload, options).await;
        if let (true, true, Some((table, version))) = (create, result.is_ok(), log_entry(path)) {
            let applied = Applied { table, version, entry: bytes };
            self.shared.applied.lock().expect("no panic while locked").push(applied);
        }
        match fate {
            Fate::Lost => Err(error()),
            Fate::DoneAndCrash => std::future::pending().await,
            Fate::Done | Fate::Refused => result,
        }
    }

    async fn get(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        match self.fate("get", path, false).await {
            Fate::Refused | Fate::Lost => Err(error()),
            Fate::Done | Fate::DoneAndCrash => self.shared.objects.get_opts(path, options).await,
        }
    }
}

fn error() -> Error {
    Error::Generic { store: "simulation", source: "the store is in trouble".into() }
}

/// The table and version of a log entry's path.
fn log_entry(path: &Path) -> Option<(String, u64)> {
    let (dir, file) = path.as_ref().split_once("/_delta_log/")?;
    let version = file.strip_suffix(".json")?.parse().ok()?;
    Some((dir.split('/').next()?.to_owned(), version))
}

impl fmt::Debug for SimulatedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a simulated store")
    }
}

impl fmt::Display for SimulatedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

// The trait's methods are what `async_trait` makes of them.
impl ObjectStore for SimulatedStore {
    fn put_opts<'a, 'b, 'f>(&'a self, path: &'b Path, payload: PutPayload, options: PutOptions) -> Answer<'f, PutResult>
    where
        'a: 'f,
        'b: 'f,
        Self: 'f,
    {
        Box::pin(self.put(path, payload, options))
    }

    fn put_multipart_opts<'a, 'b, 'f>(
        &'a self,
        path: &'b Path,
        options: PutMultipartOptions,
    ) -> Answer<'f, Box<dyn MultipartUpload>>
    where
        'a: 'f,
        'b: 'f,
        Self: 'f,
    {
        self.shared.objects.put_multipart_opts(path, options)
    }

    fn get_opts<'a, 'b, 'f>(&'a self, path: &'b Path, options: GetOptions) -> Answer<'f, GetResult>
    where
        'a: 'f,
        'b: 'f,
        Self: 'f,
    {
        Box::pin(self.get(path, options))
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.shared.objects.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.shared.objects.list(prefix)
    }

    fn list_with_delimiter<'a, 'b, 'f>(&'a self, prefix: Option<&'b Path>) -> Answer<'f, ListResult>
    where
        'a: 'f,
        'b: 'f,
        Self: 'f,
    {
        self.shared.objects.list_with_delimiter(prefix)
    }

    fn copy_opts<'a, 'b, 'c, 'f>(&'a self, from: &'b Path, to: &'c Path, options: CopyOptions) -> Answer<'f, ()>
    where
        'a: 'f,
        'b: 'f,
        'c: 'f,
        Self: 'f,
    {
        self.shared.objects.copy_opts(from, to, options)
    }
}
