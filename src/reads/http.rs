//! `GET /v1/views` and `GET /v1/views/{view}?tenant=acme&visitor=user:alice`: reads by key from a running job.
//!
//! Rows of a view that is published come from memory, at the tick that all views are published at. What has become final and was
//! forgotten is in the view's table alone, and so are logs of sums: these, and any view with `final=1`, are read from the lake at
//! its last cut. An answer says which: it has a `tick` or a `cut`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::{SortColumn, SortOptions, concat_batches, lexsort_to_indices, take_record_batch};
use arrow::datatypes::{DataType, Int64Type};
use arrow::error::ArrowError;
use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use dataflows::live::{Equal, LiveRows};
use dataflows::params::Params;
use dataflows::view::View;
use dataflows::views;
use operators::TooOld;
use operators::publish::Snapshot;
use schemas::Symbol;
use schemas::ids::IdHasher;
use schemas::symbols::Symbols;
use schemas::table::Kind;
use tokio::sync::Semaphore;
use url::form_urlencoded;

use crate::reads::live::Live;
use crate::sql::columns::column;
use crate::sql::functions::{Names, readable_batch};
use crate::sql::get::{Found, Keys, Read, answer};
use crate::sql::{Memory, Resources, SqlError, catalog, get as of_lake};

/// Rows that an answer has unless it is asked for more, and the most that it may have.
const LIMIT: usize = 100;
const LIMIT_MAX: usize = 10_000;
/// How long a read may take.
const READ_MAX: Duration = Duration::from_secs(10);
/// How long a read waits that readers have passed, until it begins again.
const AGAIN_AFTER: Duration = Duration::from_millis(1);
/// Reads at a time, of memory and of the lake; others wait for their turn. What is read in memory does not wait for queries.
const READS_AT_A_TIME: usize = 2;
/// What a read of the lake may take.
const MEMORY: &str = "512MiB";
/// Rows that are kept for a limit of so many, before the first of them are sorted out.
const KEPT_A_LIMIT: usize = 16;

/// What reads of a run need. Clones are the same.
#[derive(Clone)]
pub struct Reads {
    /// The published views.
    pub live: Arc<Live>,
    /// The parameters of the job.
    pub params: Arc<Params>,
    /// The names of symbols.
    pub symbols: Arc<Symbols>,
    /// Makes ids.
    pub hasher: IdHasher,
    /// The directory of the lake.
    pub lake: PathBuf,
}

/// Why a read has no answer.
struct Failure(StatusCode, String);

impl From<SqlError> for Failure {
    fn from(error: SqlError) -> Failure {
        let status = match &error {
            SqlError::NoView { .. } => StatusCode::NOT_FOUND,
            SqlError::BadKey(_) => StatusCode::BAD_REQUEST,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Failure(status, error.to_string())
    }
}

impl From<ArrowError> for Failure {
    fn from(error: ArrowError) -> Failure {
        Failure(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Failure(status, error) = self;
        json(status, serde_json::json!({ "error": error }).to_string())
    }
}

fn json(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

impl Reads {
    /// The routes.
    pub fn router(self) -> Router {
        let turns = [(); 2].map(|()| Arc::new(Semaphore::new(READS_AT_A_TIME)));
        Router::new().route("/v1/views", get(list)).route("/v1/views/{view}", get(read)).with_state((self, turns))
    }
}

/// Turns of reads of memory, and of the lake.
type Turns = [Arc<Semaphore>; 2];
type Shared = (Reads, Turns);

async fn list(State((reads, _)): State<Shared>) -> Response {
    let views = views::views().iter().map(|view| {
        let from = if reads.live.rows(view.name).is_some() { "memory" } else { "lake" };
        serde_json::json!({ "view": view.name, "question": view.question, "read_by": view.read_by, "from": from })
    });
    json(StatusCode::OK, serde_json::json!({ "views": views.collect::<Vec<_>>() }).to_string())
}

async fn read(
    State((reads, turns)): State<Shared>,
    Path(view): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    let asked = Asked::parse(&query.unwrap_or_default())?;
    let deadline = Instant::now() + READ_MAX;
    let late = || {
        Failure(
            StatusCode::GATEWAY_TIMEOUT,
            format!("this took longer than {READ_MAX:?}: name more columns, or ask again where the machine was busy"),
        )
    };
    let [of_memory, of_lake] = turns;
    let turns = if asked.finals || reads.live.rows(&view).is_none() { of_lake } else { of_memory };
    let turn = tokio::time::timeout(READ_MAX, turns.acquire_owned()).await.map_err(|_| late())?;
    // On a thread of its own: neither the dataflow nor the other endpoints wait for it.
    let answered = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        reads.answer(&view, &asked, deadline)
    });
    let body = answered.await.map_err(|error| Failure(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))??;
    body.map(|body| json(StatusCode::OK, body)).ok_or_else(late)
}

/// What is asked for.
struct Asked {
    keys: Vec<String>,
    limit: usize,
    finals: bool,
}

impl Asked {
    fn parse(query: &str) -> Result<Asked, Failure> {
        let bad = |what: String| Failure(StatusCode::BAD_REQUEST, what);
        let mut asked = Asked { keys: Vec::new(), limit: LIMIT, finals: false };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "limit" => {
                    asked.limit = value
                        .parse()
                        .ok()
                        .filter(|limit| (1..=LIMIT_MAX).contains(limit))
                        .ok_or_else(|| bad(format!("limit={value}: write a number from 1 to {LIMIT_MAX}")))?;
                }
                "final" => {
                    asked.finals = match &*value {
                        "1" | "true" => true,
                        "0" | "false" => false,
                        _ => return Err(bad(format!("final={value}: write 1 or 0"))),
                    };
                }
                "key" => asked.keys.push(value.into_owned()),
                _ => asked.keys.push(format!("{name}={value}")),
            }
        }
        Ok(asked)
    }
}

impl Reads {
    /// The answer as JSON; none where the time is over.
    fn answer(&self, name: &str, asked: &Asked, deadline: Instant) -> Result<Option<String>, Failure> {
        let view = views::view(name).ok_or_else(|| SqlError::no_view(name))?;
        let keys = Keys::parse(view, &asked.keys)?;
        keys.check_grouping(view, &self.params)?;
        let Some(rows) = self.live.rows(name).filter(|_| !asked.finals) else {
            return self.of_lake(view, &keys, asked, deadline);
        };
        let alternatives = keys.values(&rows.schema(), &self.hasher)?;
        if !alternatives.iter().all(|equals| rows.answers(equals)) {
            return self.of_lake(view, &keys, asked, deadline);
        }
        while Instant::now() < deadline {
            let Some(snapshot) = self.live.snapshot() else {
                return Err(Failure(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "nothing is published yet: see /readyz".to_owned(),
                ));
            };
            let tick = snapshot.tick();
            match self.of_memory(view, &*rows, snapshot, &alternatives, asked.limit, deadline) {
                Ok(found) => return Ok(found?.map(|found| answer(view, &found, Read::Tick(tick)))),
                // What is asked for has changed since: readers will see that soon.
                Err(TooOld) => std::thread::sleep(AGAIN_AFTER),
            }
        }
        Ok(None)
    }

    fn of_memory(
        &self,
        view: &View,
        rows: &dyn LiveRows,
        snapshot: Snapshot,
        alternatives: &[Vec<Equal>],
        limit: usize,
        deadline: Instant,
    ) -> Result<Result<Option<Found>, Failure>, TooOld> {
        let mut first = First { view, symbols: &self.symbols, limit, kept: Vec::new(), more: false };
        let (mut failed, mut late) = (None, false);
        // The last visit takes the snapshot, and lets go of what it does not read.
        for (equals, snapshot) in alternatives.iter().zip(std::iter::repeat_n(snapshot, alternatives.len())) {
            rows.visit(snapshot, equals, &mut |batch| {
                failed = first.add(&batch).err();
                late = Instant::now() > deadline;
                failed.is_none() && !late
            })?;
            if failed.is_some() || late {
                break;
            }
        }
        Ok(match failed {
            Some(error) => Err(error.into()),
            None if late => Ok(None),
            None => first.found().map(Some).map_err(Failure::from),
        })
    }

    fn of_lake(
        &self,
        view: &View,
        keys: &Keys<'_>,
        asked: &Asked,
        deadline: Instant,
    ) -> Result<Option<String>, Failure> {
        let internal = |error: std::io::Error| Failure(StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(internal)?;
        let memory: Memory = MEMORY.parse().expect("an amount of memory");
        let read = async {
            let resources = Resources::new(memory).map_err(SqlError::from)?;
            let session = catalog::open(&self.lake, None, &self.hasher, resources).await?;
            let found = of_lake::get(&session, view, keys, &self.hasher, asked.limit).await?;
            Ok::<_, SqlError>(answer(view, &found, Read::Cut(session.cut())))
        };
        let left = deadline.saturating_duration_since(Instant::now());
        match runtime.block_on(async { tokio::time::timeout(left, read).await }) {
            Ok(answer) => Ok(Some(answer?)),
            Err(_) => Ok(None),
        }
    }
}

/// The first rows in the order of what they are unique by.
struct First<'a> {
    view: &'a View,
    symbols: &'a Symbols,
    limit: usize,
    /// Rows as people read them.
    kept: Vec<RecordBatch>,
    more: bool,
}

impl First<'_> {
    fn add(&mut self, rows: &RecordBatch) -> Result<(), ArrowError> {
        if rows.num_rows() == 0 && !self.kept.is_empty() {
            return Ok(());
        }
        let mut names = Names::new();
        for (field, array) in rows.schema_ref().fields().iter().zip(rows.columns()) {
            self.names(field.name(), array, &mut names);
        }
        self.kept.push(readable_batch(rows, &names)?);
        let kept: usize = self.kept.iter().map(RecordBatch::num_rows).sum();
        if kept > KEPT_A_LIMIT * (self.limit + 1) { self.sort_out() } else { Ok(()) }
    }

    /// The names of the symbols in a column, also within lists and structs.
    fn names(&self, name: &str, array: &ArrayRef, names: &mut Names) {
        match array.data_type() {
            DataType::Int64 if column(name).is_some_and(|column| column.kind == Kind::Symbol) => {
                for symbol in array.as_primitive::<Int64Type>().iter().flatten() {
                    if let Some(text) = self.symbols.name(Symbol(symbol)) {
                        names.entry(symbol).or_insert_with(|| text.into());
                    }
                }
            }
            DataType::List(item) => self.names(item.name(), array.as_list::<i32>().values(), names),
            DataType::Struct(fields) => {
                for (field, array) in fields.iter().zip(array.as_struct().columns()) {
                    self.names(field.name(), array, names);
                }
            }
            _ => {}
        }
    }

    fn sort_out(&mut self) -> Result<(), ArrowError> {
        let Some(first) = self.kept.first() else { return Ok(()) };
        let rows = concat_batches(&first.schema(), &self.kept)?;
        let options = Some(SortOptions { descending: false, nulls_first: true });
        let key = self.view.key.iter().filter_map(|name| rows.column_by_name(name));
        let key: Vec<_> = key.map(|values| SortColumn { values: Arc::clone(values), options }).collect();
        self.more |= rows.num_rows() > self.limit;
        let order = lexsort_to_indices(&key, Some(self.limit))?;
        self.kept = vec![take_record_batch(&rows, &order)?];
        Ok(())
    }

    fn found(mut self) -> Result<Found, ArrowError> {
        self.sort_out()?;
        let rows = self.kept.pop().expect("a read ends with a batch, be it without rows");
        Ok(Found { rows, more: self.more })
    }
}
