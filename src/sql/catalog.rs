//! The catalogue of a lake in DataFusion, read at one cut.
//!
//! | schema | shows |
//! |---|---|
//! | `raw` | the tables as they are stored: symbols and times are integers; the views' definitions are written over it |
//! | `public` | the same names for people: symbols as text, times as timestamps |
//!
//! In both, a changelog `V_changes` has its current rows beside it as `V`: those whose `_diff` sums above zero.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, FieldRef, Int64Type, Schema, SchemaRef};
use chrono::DateTime;
use dataflows::moments::Moments;
use dataflows::params::Params;
use dataflows::views;
use dataflows::views::attributed_ids::ATTRIBUTED_IDS;
use datafusion::catalog::{CatalogProvider, MemTable, MemoryCatalogProvider, MemorySchemaProvider, TableProvider};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{JoinConstraint, JoinType, ScalarValue, TableReference};
use datafusion::execution::SessionStateBuilder;
use datafusion::logical_expr::{ColumnarValue, LogicalPlan, Volatility};
use datafusion::optimizer::OptimizerRule;
use datafusion::prelude::{DataFrame, Expr, SQLOptions, SessionConfig, SessionContext, cast, create_udf, ident, lit};
use deltalake_core::{DeltaTable, DeltaTableError};
use schemas::Tick;
use schemas::ids::IdHasher;
use schemas::table::{self, Kind};
use url::Url;

use super::SqlError;
use super::checked_sum::checked_sum;
use super::columns::column;
use super::contested::is_contested;
use super::current::{changes, current_rows};
use super::first_rows::first_rows;
use super::functions::{Names, functions, network_name_function, readable_function, symbol_name_function, time_type};
use super::opaque::Opaque;
use super::ratios::ratios;
use super::removal::removal_effects;
use super::resources::Resources;
use super::rules::rules;
use crate::lake::about::columns_that_came;
use crate::lake::compact::{ANEW, SINCE};
use crate::lake::directory::id_key_check;
use crate::lake::imports::Imports;
use crate::lake::log::CUT;
use crate::lake::sink::Sink;
use crate::lake::{ANY_AGE, Lake};

/// The schema that people and tools see.
pub const PUBLIC: &str = "public";
/// The schema of the tables as they are stored.
pub const RAW: &str = "raw";
const CATALOG: &str = "bidstream";
/// Tables that the definitions of views read and nobody else: the cut, and the zones of tenants ([`schemas::zones`]).
const OF_DEFINITIONS: [&str; 3] = ["as_of", "zone_spans", "zone_days"];

/// A lake opened at a cut.
pub struct Session {
    params: Params,
    public: SessionContext,
    raw: SessionContext,
    cut: Tick,
    names: Arc<Names>,
    same_key: bool,
    /// The views that the lake has tables of.
    stored: BTreeSet<String>,
    resources: Arc<Resources>,
}

/// The cut of a text: milliseconds since the Unix epoch, or RFC 3339.
pub fn parse_cut(text: &str) -> Result<Tick, SqlError> {
    let bad = || SqlError::BadCut(text.to_owned());
    if let Ok(ms) = text.parse() {
        return Ok(ms);
    }
    let at = DateTime::parse_from_rfc3339(text).map_err(|_| bad())?;
    Tick::try_from(at.timestamp_millis()).map_err(|_| bad())
}

/// Opens a lake at the last cut that all its tables hold, or at `as_of` rounded down to the grid of cuts.
pub async fn open(
    lake: &Path,
    as_of: Option<Tick>,
    hasher: &IdHasher,
    resources: Arc<Resources>,
) -> Result<Session, SqlError> {
    if !Lake::exists(lake) {
        return Err(SqlError::NoLake(lake.to_owned()));
    }
    let lake = Lake::read(lake)?;
    let tables = Tables::open(&lake).await?;
    let committed = tables.committed().await?;
    let cut = match as_of {
        Some(asked) if asked > committed => return Err(SqlError::Beyond { asked, committed }),
        Some(asked) => asked / lake.settings.cut_ms * lake.settings.cut_ms,
        None => committed,
    };
    let (since, anew) = (tables.latest(SINCE).await?, tables.latest(ANEW).await?);
    if cut < since {
        return Err(SqlError::Summed { asked: cut, since });
    }
    // As long as nothing came since, that cut is the present.
    if as_of.is_some() && cut <= anew && anew < committed {
        return Err(SqlError::Summed { asked: cut, since: anew + lake.settings.cut_ms });
    }
    let imports = Imports::read(&lake).await?;
    let came = columns_that_came(&lake).await?;
    let moments = lake.settings.moments(tables.any_age(cut).await?);
    let final_before = cut as i64 - lake.settings.sealing().final_after_ms;
    let as_of = AsOf { cut, is_past: cut < committed, final_before, moments };
    let tables = if cut == 0 { tables.or_empty() } else { tables };
    let session = session(tables, imports, lake.settings.views, as_of, hasher, &came, resources).await?;
    Ok(Session { same_key: lake.settings.id_key_check == id_key_check(hasher), ..session })
}

/// The catalogue without a lake: every table is empty.
pub async fn empty(params: Params, hasher: &IdHasher) -> Result<Session, SqlError> {
    session(
        Tables::default().or_empty(),
        Imports::default(),
        params,
        AsOf::default(),
        hasher,
        &BTreeSet::new(),
        Resources::of_machine()?,
    )
    .await
}

/// The time of which all is read.
#[derive(Clone, Copy, Default)]
struct AsOf {
    cut: Tick,
    /// Whether cuts came since.
    is_past: bool,
    /// What happened before this is final.
    final_before: i64,
    moments: Moments,
}

async fn session(
    tables: Tables,
    imports: Imports,
    params: Params,
    AsOf { cut, is_past, final_before, moments }: AsOf,
    hasher: &IdHasher,
    came: &BTreeSet<String>,
    resources: Arc<Resources>,
) -> Result<Session, SqlError> {
    let catalog = Arc::new(MemoryCatalogProvider::new());
    for schema in [PUBLIC, RAW] {
        catalog.register_schema(schema, Arc::new(MemorySchemaProvider::new()))?;
    }
    let raw = context(RAW, &catalog, &resources, None);
    tables.register(&raw, cut, came).await?;
    register_imports(&raw, &imports, is_past.then_some(cut as i64))?;
    for (name, rows) in [("zone_spans", params.zones.spans()), ("zone_days", params.zones.days())] {
        register_batch(&raw, name, rows)?;
    }
    // For the definitions of views whose rows follow from the time too, as a session that is over.
    let moments = moments.columns_sql();
    let as_of =
        format!("SELECT CAST({cut} AS BIGINT) AS cut, CAST({final_before} AS BIGINT) AS final_before, {moments}");
    raw.register_table("as_of", raw.sql(&as_of).await?.into_view())?;
    let names = Arc::new(names(&raw).await?);
    let public = context(PUBLIC, &catalog, &resources, Some(rules(&names)));
    for function in functions(hasher, &names) {
        raw.register_udf(function.clone());
        public.register_udf(function);
    }
    for ratio in ratios() {
        raw.register_udaf(ratio.clone());
        public.register_udaf(ratio);
    }
    let contested = views::contested_events::CONTESTED_EVENTS.name;
    let contested = if tables.has(contested) { is_contested(&raw, contested).await? } else { None };
    if let Some(is_contested) = &contested {
        raw.register_udf(is_contested.clone());
    }
    for view in views::views() {
        let simpler = contested.as_ref().and_then(|_| views::ledger::where_contested_are_known(view));
        let definition = || simpler.unwrap_or_else(|| (view.sql)(&params));
        let rows: Arc<dyn TableProvider> = match &view.maintained {
            Some(maintained) if tables.has(view.name) => {
                current_rows(&raw, view.name, maintained.form).await?.into_view()
            }
            // A job leaves it out, or no run has written the lake since it came.
            Some(_) => Arc::new(Opaque(raw.sql(&definition()).await?.into_view())),
            // `installs` and `credits` read it several times, and it is large.
            None if view.name == ATTRIBUTED_IDS.name => Arc::new(Opaque(raw.sql(&definition()).await?.into_view())),
            None => raw.sql(&definition()).await?.into_view(),
        };
        raw.register_table(view.name, rows)?;
    }
    let schema = catalog.schema(RAW).expect("it was registered above");
    for name in schema.table_names().into_iter().filter(|name| !OF_DEFINITIONS.contains(&name.as_str())) {
        let shown = readable(raw.table(TableReference::partial(RAW, name.clone())).await?, &names)?;
        public.register_table(TableReference::partial(PUBLIC, name), shown.into_view())?;
    }
    let stored = tables.views.into_keys().collect();
    Ok(Session { params, public, raw, cut, names, same_key: true, stored, resources })
}

impl Session {
    /// The cut at which every table is read.
    pub fn cut(&self) -> Tick {
        self.cut
    }

    /// Whether the session makes ids with the key of the lake; with another one they find nobody.
    pub fn same_key(&self) -> bool {
        self.same_key
    }

    /// Whether the lake has a table of the view. One that no run has written since the view came has none yet.
    pub fn stores(&self, view: &str) -> bool {
        self.stored.contains(view)
    }

    /// The parameters of the views.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// Plans one statement over the `public` schema. Only what reads is allowed.
    pub async fn query(&self, statement: &str) -> Result<DataFrame, SqlError> {
        let reads = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        let asked = self.public.sql_with_options(statement, reads).await?;
        refuse_outer_using(asked.logical_plan())?;
        Ok(first_rows(&self.public, asked.logical_plan()).await?.unwrap_or(asked))
    }

    /// The session over the `raw` schema.
    pub fn raw(&self) -> &SessionContext {
        &self.raw
    }

    /// The session over the `public` schema, with which [`Session::query`] plans.
    pub fn public(&self) -> &SessionContext {
        &self.public
    }

    /// The tables of the `public` schema by name, with their columns.
    pub async fn tables(&self) -> Result<BTreeMap<String, SchemaRef>, SqlError> {
        let schema = self.public.catalog(CATALOG).and_then(|catalog| catalog.schema(PUBLIC)).expect("made by open");
        let mut tables = BTreeMap::new();
        for name in schema.table_names() {
            if let Some(table) = schema.table(&name).await? {
                tables.insert(name, table.schema());
            }
        }
        Ok(tables)
    }

    /// What its queries may take of the machine.
    pub fn resources(&self) -> &Arc<Resources> {
        &self.resources
    }

    /// The names of the lake's symbols.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Rows of the `raw` schema with symbols as text and times as timestamps.
    pub fn readable(&self, rows: DataFrame) -> Result<DataFrame, SqlError> {
        readable(rows, &self.names)
    }

    /// A session over the `raw` schema's tables, but none of its views: an audit binds those to what it computes.
    pub async fn scratch(&self) -> Result<SessionContext, SqlError> {
        let catalog = Arc::new(MemoryCatalogProvider::new());
        catalog.register_schema(RAW, Arc::new(MemorySchemaProvider::new()))?;
        let scratch = context(RAW, &catalog, &self.resources, None);
        for table in ["records", "symbols", "voids", "import_notes"].into_iter().chain(OF_DEFINITIONS) {
            scratch.register_table(table, self.raw.table_provider(table).await?)?;
        }
        Ok(scratch)
    }
}

/// DataFusion takes the key of a join USING from its left side, also where only the right one has a row: a wrong answer without a
/// word (apache/datafusion issue 22881).
fn refuse_outer_using(plan: &LogicalPlan) -> Result<(), SqlError> {
    let mut refused = None;
    plan.apply_with_subqueries(|part| {
        match part {
            LogicalPlan::Join(join) if join.join_constraint == JoinConstraint::Using => match join.join_type {
                JoinType::Full => refused = Some("FULL"),
                JoinType::Right => refused = Some("RIGHT"),
                _ => {}
            },
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    refused.map_or(Ok(()), |kind| Err(SqlError::OuterUsing(kind)))
}

/// The Delta tables of a lake; none where a table has not been made yet.
#[derive(Default)]
struct Tables {
    records: Option<DeltaTable>,
    symbols: Option<DeltaTable>,
    /// By name: the hash of its definition, and its table.
    views: BTreeMap<String, (String, Option<DeltaTable>)>,
}

impl Tables {
    async fn open(lake: &Lake) -> Result<Tables, SqlError> {
        // `records` first: what it says to be done is in the other tables, whenever they are read after it.
        let records = open_table(&lake.table("records")).await?;
        let symbols = open_table(&lake.table("symbols")).await?;
        let mut views = BTreeMap::new();
        for (name, hash) in &lake.views {
            views.insert(name.clone(), (hash.clone(), open_table(&lake.table(name)).await?));
        }
        Ok(Tables { records, symbols, views })
    }

    /// Where there is no record: tables without rows for views that have none, as their definitions would say, which are large.
    fn or_empty(mut self) -> Tables {
        for (view, _) in views::maintained() {
            self.views.entry(view.name.to_owned()).or_default();
        }
        self
    }

    /// Whether the lake names a table of the view.
    fn has(&self, view: &str) -> bool {
        self.views.contains_key(view)
    }

    /// The last cut that all tables hold: that of `records`, unless a view's table is still behind.
    async fn committed(&self) -> Result<Tick, SqlError> {
        let Some(records) = &self.records else { return Ok(0) };
        let mut committed = transaction(records, CUT).await?;
        for (name, (hash, table)) in &self.views {
            let mut held = transaction(records, &Sink::done_id(name, hash)).await?;
            if let Some(table) = table {
                held = held.max(transaction(table, CUT).await?);
            }
            committed = committed.min(held);
        }
        Ok(committed)
    }

    /// The cut up to which some view's changes are summed.
    async fn latest(&self, app_id: &str) -> Result<Tick, SqlError> {
        let mut latest = 0;
        for table in self.views.values().filter_map(|(_, table)| table.as_ref()) {
            latest = latest.max(transaction(table, app_id).await?);
        }
        Ok(latest)
    }

    /// Up to which cut of those that are read records came without a gate; none where all passed one.
    async fn any_age(&self, cut: Tick) -> Result<Option<Tick>, SqlError> {
        let Some(records) = &self.records else { return Ok(None) };
        // A release noted that there were some, and not until when.
        Ok(match transaction(records, ANY_AGE).await? {
            0 => None,
            1 => Some(cut),
            until => Some(until.min(cut)),
        })
    }

    async fn register(&self, raw: &SessionContext, cut: Tick, came: &BTreeSet<String>) -> Result<(), SqlError> {
        register(raw, "records", self.records.as_ref(), table::records_schema(), Some(cut), came).await?;
        // Names are written before the records that use them, and stay when a crash comes between: all are shown.
        let none = BTreeSet::new();
        register(raw, "symbols", self.symbols.as_ref(), table::symbols_schema(), None, &none).await?;
        for (view, maintained) in views::maintained() {
            let table = self.views.get(view.name).and_then(|(_, table)| table.as_ref());
            register(raw, &changes(view.name), table, (maintained.schema)(), Some(cut), &none).await?;
        }
        Ok(())
    }
}

async fn open_table(path: &Path) -> Result<Option<DeltaTable>, SqlError> {
    let Ok(path) = path.canonicalize() else { return Ok(None) };
    let url = Url::from_directory_path(&path).expect("a canonical path is absolute");
    match deltalake_core::open_table(url).await {
        Ok(table) => Ok(Some(table)),
        Err(DeltaTableError::NotATable(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The number that a log carries under an application's id; 0 where it carries none.
async fn transaction(table: &DeltaTable, app_id: &str) -> Result<Tick, SqlError> {
    let version = table.snapshot()?.transaction_version(table.log_store().as_ref(), app_id).await?;
    Ok(version.map_or(0, |version| version as Tick))
}

/// A context with a schema to start from, and with these rules of its planner instead of DataFusion's own.
fn context(
    schema: &str,
    catalog: &Arc<MemoryCatalogProvider>,
    resources: &Resources,
    rules: Option<Vec<Arc<dyn OptimizerRule + Send + Sync>>>,
) -> SessionContext {
    let mut config = SessionConfig::new()
        .with_default_catalog_and_schema(CATALOG, schema)
        .with_information_schema(true)
        .with_target_partitions(resources.partitions());
    let options = config.options_mut();
    options.catalog.create_default_catalog_and_schema = false;
    // The row groups of `records` are sorted by type and time: skip them, and rows, while reading.
    options.execution.parquet.pushdown_filters = true;
    // Plain strings and bytes: the lake's functions and comparisons take those.
    options.execution.parquet.schema_force_view_types = false;
    options.sql_parser.map_string_types_to_utf8view = false;
    let state = SessionStateBuilder::new().with_default_features().with_config(config);
    let mut state = state.with_runtime_env(resources.runtime().clone());
    if let Some(rules) = rules {
        state = state.with_optimizer_rules(rules);
    }
    let context = SessionContext::new_with_state(state.build());
    context.register_catalog(CATALOG, catalog.clone());
    // A definition of a view calls it.
    context.register_udaf(removal_effects());
    context.register_udaf(checked_sum().as_ref().clone());
    context
}

/// Registers a table's rows, up to a cut where one is given.
async fn register(
    raw: &SessionContext,
    name: &str,
    table: Option<&DeltaTable>,
    schema: SchemaRef,
    cut: Option<Tick>,
    came: &BTreeSet<String>,
) -> Result<(), SqlError> {
    let rows: Arc<dyn TableProvider> = match table {
        Some(table) => table.table_provider().with_session(Arc::new(raw.state())).await?,
        None => Arc::new(MemTable::try_new(schema.clone(), vec![vec![]])?),
    };
    let rows = match cut {
        Some(cut) => raw.read_table(rows)?.filter(ident("_cut").lt_eq(lit(cut as i64)))?,
        None => raw.read_table(rows)?,
    };
    raw.register_table(name, filtered_above(with_columns(name, rows, &schema)?, came)?.into_view())?;
    Ok(())
}

/// What rows of earlier releases say in columns that their tables do not have, where it is known: table, column, text.
const OF_EARLIER: [(&str, &str, &str); 2] =
    [("installs_changes", "type", "install"), ("installs_changes", "event_type", "install")];

/// The rows with all columns of `schema`: those that their table does not have, as one made by an older release, are null, or what is
/// known of them.
fn with_columns(table: &str, rows: DataFrame, schema: &Schema) -> Result<DataFrame, SqlError> {
    let held = rows.schema().clone();
    let lacking: Vec<_> =
        schema.fields().iter().filter(|field| !held.has_column_with_unqualified_name(field.name())).collect();
    if lacking.is_empty() {
        return Ok(rows);
    }
    let mut columns: Vec<Expr> = held.fields().iter().map(|field| ident(field.name())).collect();
    for field in lacking {
        let known = OF_EARLIER.iter().find(|(of, column, _)| *of == table && column == field.name());
        let value = match known {
            Some((.., text)) => cast(lit(*text), field.data_type().clone()),
            None => lit(ScalarValue::try_from(field.data_type())?),
        };
        columns.push(value.alias(field.name()));
    }
    Ok(rows.select(columns)?)
}

/// The rows with these columns behind a function that no filter is moved through. The reader of files drops a filter whose
/// columns a file lacks, and takes all its rows; above the function the filter sees their nulls.
fn filtered_above(rows: DataFrame, came: &BTreeSet<String>) -> Result<DataFrame, SqlError> {
    if came.is_empty() {
        return Ok(rows);
    }
    let column = |field: &FieldRef| {
        let (name, of) = (field.name(), field.data_type());
        if !came.contains(name) {
            return ident(name);
        }
        let as_read = |values: &[ColumnarValue]| Ok(values[0].clone());
        let function = create_udf("as_read", vec![of.clone()], of.clone(), Volatility::Volatile, Arc::new(as_read));
        function.call(vec![ident(name)]).alias(name)
    };
    let columns: Vec<Expr> = rows.schema().fields().iter().map(column).collect();
    Ok(rows.select(columns)?)
}

/// Registers `voids`, the topics that no view counts, and `import_notes`, what the ledger notes of imported files; which of them were
/// noted by a cut in the past, if it is asked of one.
fn register_imports(raw: &SessionContext, imports: &Imports, past: Option<i64>) -> Result<(), SqlError> {
    let was_noted = |at: Option<i64>| past.is_none_or(|cut| at.is_some_and(|at| at <= cut));
    let topics: StringArray = imports.voids.iter().map(Some).collect();
    register_batch(raw, "voids", RecordBatch::try_from_iter([("topic", Arc::new(topics) as ArrayRef)])?)?;
    let rows = || imports.files.iter();
    let columns: [(&str, ArrayRef); 9] = [
        ("topic", Arc::new(rows().map(|(topic, _)| Some(topic)).collect::<StringArray>())),
        ("file", Arc::new(rows().map(|(_, import)| import.names()).collect::<StringArray>())),
        ("mapping", Arc::new(rows().map(|(_, import)| import.mapping.clone()).collect::<StringArray>())),
        ("file_bytes", Arc::new(rows().map(|(_, import)| import.bytes).collect::<Int64Array>())),
        ("file_rows", Arc::new(rows().map(|(_, import)| import.rows()).collect::<Int64Array>())),
        ("imported_at", Arc::new(rows().map(|(_, import)| import.imported_ms).collect::<Int64Array>())),
        ("is_void", Arc::new(rows().map(|(topic, _)| Some(imports.voids.contains(topic))).collect::<BooleanArray>())),
        (
            "declared_at",
            Arc::new(
                rows().map(|(_, import)| import.void_ms.filter(|at| was_noted(Some(*at)))).collect::<Int64Array>(),
            ),
        ),
        (
            "was_noted",
            Arc::new(rows().map(|(_, import)| Some(was_noted(import.imported_ms))).collect::<BooleanArray>()),
        ),
    ];
    register_batch(
        raw,
        "import_notes",
        RecordBatch::try_from_iter_with_nullable(
            columns.map(|(name, values)| (name, values, !["topic", "is_void", "was_noted"].contains(&name))),
        )?,
    )
}

/// Registers rows in memory. A table without rows is planned as nothing: a join with it costs nothing then.
fn register_batch(raw: &SessionContext, name: &str, batch: RecordBatch) -> Result<(), SqlError> {
    let empty = batch.num_rows() == 0;
    let rows = raw.read_batch(batch)?;
    let rows = if empty { rows.filter(lit(false))? } else { rows };
    raw.register_table(name, rows.into_view())?;
    Ok(())
}

async fn names(raw: &SessionContext) -> Result<Names, SqlError> {
    let mut names = Names::new();
    for batch in raw.table("symbols").await?.select_columns(&["symbol", "name"])?.collect().await? {
        let symbols = batch.column(0).as_primitive::<Int64Type>();
        let texts = batch.column(1).as_string::<i32>();
        names.extend(symbols.iter().zip(texts).filter_map(|(symbol, text)| Some((symbol?, text?.into()))));
    }
    Ok(names)
}

/// The same rows with symbols as text and times as timestamps.
pub(super) fn readable(rows: DataFrame, names: &Arc<Names>) -> Result<DataFrame, SqlError> {
    let (symbol_name, network_name) = (symbol_name_function(names), network_name_function(names));
    let fields = rows.schema().fields().clone();
    let shown = fields.iter().map(|field| {
        let name = field.name();
        let value = ident(name);
        match (column(name).map(|column| column.kind), field.data_type()) {
            (Some(Kind::Symbol), DataType::Int64) => symbol_name.call(vec![value]).alias(name),
            (Some(Kind::Network), DataType::Int64) => network_name.call(vec![value]).alias(name),
            (Some(Kind::Time), DataType::Int64) => cast(value, time_type()).alias(name),
            (_, nested @ (DataType::List(_) | DataType::Struct(_))) => {
                readable_function(name, nested, names).call(vec![value]).alias(name)
            }
            _ => value,
        }
    });
    Ok(rows.clone().select(shown.collect::<Vec<_>>())?)
}
