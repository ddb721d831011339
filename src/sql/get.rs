//! `bidstream get`: the rows of a view by what it is read by, with raw ids as producers send them.

use std::io::Write;
use std::path::PathBuf;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, TimeUnit};
use chrono::DateTime;
use dataflows::live::{Equal, Value};
use dataflows::params::Params;
use dataflows::view::View;
use dataflows::views;
use datafusion::common::ScalarValue;
use datafusion::prelude::{Expr, ident, lit};
use schemas::ids::IdHasher;
use schemas::table::Kind;
use schemas::{Id, Symbol, Tick};

use super::columns::column;
use super::format::{self, Writer, rfc3339};
use super::{Format, Memory, Resources, Session, SqlError, catalog};

/// What `bidstream get` is asked to do.
#[derive(Clone, Debug)]
pub struct GetOptions {
    /// The lake's directory.
    pub lake: PathBuf,
    /// The view.
    pub view: String,
    /// What to read it by: `column=value`.
    pub keys: Vec<String>,
    /// The most rows to give.
    pub limit: usize,
    /// The cut to read at. The last one by default.
    pub as_of: Option<String>,
    /// The form of the output.
    pub format: Format,
    /// The memory that it may take.
    pub memory: Memory,
}

/// Rows of a view at one cut.
pub struct Found {
    /// In the order of what rows are unique by.
    pub rows: RecordBatch,
    /// Whether there are more than were asked for.
    pub more: bool,
}

/// Reads and prints. JSON is one object: view, cut, rows, and whether there are more.
pub async fn run(options: &GetOptions, hasher: &IdHasher, mut out: impl Write) -> Result<(), SqlError> {
    let as_of = options.as_of.as_deref().map(catalog::parse_cut).transpose()?;
    let view = views::view(&options.view).ok_or_else(|| SqlError::no_view(&options.view))?;
    let keys = Keys::parse(view, &options.keys)?;
    let session = catalog::open(&options.lake, as_of, hasher, Resources::new(options.memory)?).await?;
    if !session.same_key() && keys.have_ids() {
        return Err(SqlError::BadKey(
            "the ids in this lake were made with another key: give --id-key-file, or set BIDSTREAM_ID_KEY".to_owned(),
        ));
    }
    let Found { rows, more } = get(&session, view, &keys, hasher, options.limit).await?;
    let cut = session.cut();
    if options.format != Format::Json {
        let mut writer = Writer::new(&mut out, rows.schema(), options.format, format::to_terminal())?;
        writer.batch(&rows)?;
        writer.finish()?;
        if options.format == Format::Table {
            let rest = if more { "; there are more: raise --limit, or name more columns" } else { "" };
            writeln!(out, "as of {} (cut {cut}){rest}", rfc3339(cut as i64))?;
        }
        return Ok(());
    }
    Ok(out.write_all(answer(view, &Found { rows, more }, Read::Cut(cut)).as_bytes())?)
}

/// As of what rows were read.
#[derive(Clone, Copy, Debug)]
pub enum Read {
    /// From the lake, at a cut.
    Cut(Tick),
    /// From the memory of a running job, at the tick at which all views are published.
    Tick(Tick),
}

/// What was found as one object of JSON.
pub fn answer(view: &View, found: &Found, read: Read) -> String {
    let (word, tick) = match read {
        Read::Cut(cut) => ("cut", cut),
        Read::Tick(tick) => ("tick", tick),
    };
    let columns: Vec<&String> = found.rows.schema_ref().fields().iter().map(|field| field.name()).collect();
    let listed = serde_json::to_string(&columns).expect("texts are JSON");
    let mut text = format!(
        r#"{{"view":"{}","{word}":{tick},"as_of":"{}","columns":{listed},"rows":["#,
        view.name,
        rfc3339(tick as i64)
    );
    for row in 0..found.rows.num_rows() {
        text.push_str(if row == 0 { "\n" } else { ",\n" });
        format::object(&mut text, columns.iter().copied().zip(found.rows.columns()), row);
    }
    text += &format!("\n],\"more\":{}}}\n", found.more);
    text
}

/// The rows of a view that have these keys.
pub async fn get(
    session: &Session,
    view: &View,
    keys: &Keys<'_>,
    hasher: &IdHasher,
    limit: usize,
) -> Result<Found, SqlError> {
    keys.check_grouping(view, session.params())?;
    let table = session.public().table(view.name).await?;
    let filters = keys.filters(table.schema().as_arrow(), hasher)?;
    let order = view.key.iter().map(|name| ident(*name).sort(true, true)).collect();
    let table = filters.into_iter().try_fold(table, |table, filter| table.filter(filter))?;
    let schema = table.schema().as_arrow().clone();
    let found = table.sort(order)?.limit(0, Some(limit.saturating_add(1)))?.collect().await?;
    // What comes may be stricter about nulls in lists than what was planned.
    let schema = found.first().map_or_else(|| schema.into(), RecordBatch::schema);
    let rows = concat_batches(&schema, &found)?;
    let more = rows.num_rows() > limit;
    Ok(Found { rows: rows.slice(0, rows.num_rows().min(limit)), more })
}

/// What to read a view by.
#[derive(Debug)]
pub struct Keys<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Keys<'a> {
    /// Reads `column=value`; all columns of one of the lists that the view is read by must be there.
    pub fn parse(view: &View, texts: &'a [String]) -> Result<Keys<'a>, SqlError> {
        let pair = |text: &'a String| {
            let error = || SqlError::BadKey(format!("{text:?} is no key: write column=value, as tenant=acme"));
            text.split_once('=').ok_or_else(error)
        };
        let keys: Vec<(&str, &str)> = texts.iter().map(pair).collect::<Result<_, _>>()?;
        for (at, (name, text)) in keys.iter().enumerate() {
            // No row has two values: that there is none would be taken for an answer.
            if let Some((_, other)) = keys[..at].iter().find(|(key, value)| key == name && value != text) {
                return Err(SqlError::BadKey(format!("{name}={other} and {name}={text}: name each column once")));
            }
        }
        let has = |name: &&str| keys.iter().any(|(key, value)| key == name && !value.is_empty());
        let empty = |name: &&&str| keys.iter().any(|(key, value)| key == *name && value.is_empty());
        if let [names] = view.read_by
            && let Some(name) = names.iter().find(empty)
        {
            return Err(SqlError::BadKey(format!("{name}= has no value: {} is read by {}", view.name, equals(names))));
        }
        if !view.read_by.iter().any(|names| names.iter().all(has)) {
            let ways = view.read_by.iter().map(|names| equals(names)).collect::<Vec<_>>().join(", or by ");
            return Err(SqlError::BadKey(format!("{} is read by {ways}; other columns may follow", view.name)));
        }
        Ok(Keys(keys))
    }

    /// Refuses a grouping that the job does not have: that there are no rows of it would be taken for an answer.
    pub fn check_grouping(&self, view: &View, params: &Params) -> Result<(), SqlError> {
        let asked = self.0.iter().find(|(name, _)| *name == "grouping");
        if let (Some((name, text)), Some(groupings)) = (asked, params.groupings(view.name))
            && !groupings.iter().any(|grouping| grouping.name() == *text)
        {
            let names: Vec<&str> = groupings.iter().map(|grouping| grouping.name()).collect();
            let known = format!("{} is grouped by {} in this job", view.name, names.join(", "));
            return Err(wrong(name, text, &known));
        }
        Ok(())
    }

    /// Whether some are made into ids.
    fn have_ids(&self) -> bool {
        self.0.iter().any(|(name, _)| column(name).is_some_and(|column| column.kind == Kind::Id))
    }

    /// The values that stored columns of this schema are to have; several where a text may mean several ids.
    pub fn values(&self, schema: &arrow::datatypes::Schema, hasher: &IdHasher) -> Result<Vec<Vec<Equal>>, SqlError> {
        let tenant = self.tenant();
        let values_of = |(name, text): &(&str, &str)| {
            let field = field(schema, name)?;
            if text.is_empty() {
                return Ok(vec![Value::Null]);
            }
            let wrong = |what: &str| wrong(name, text, what);
            let kind = column(name).map(|column| column.kind);
            let value = match (field.data_type(), kind) {
                (DataType::Int64, Some(Kind::Symbol)) => Value::Long(Symbol::of(text).0),
                (DataType::Int64, Some(Kind::Time)) => Value::Long(time(text).map_err(wrong)?),
                (DataType::Int64, _) => Value::Long(text.parse().map_err(|_| wrong(NO_NUMBER))?),
                (DataType::Utf8, _) => Value::Text((*text).to_owned()),
                (DataType::Boolean, _) => Value::Flag(text.parse().map_err(|_| wrong(NO_FLAG))?),
                (DataType::Binary, Some(Kind::Id)) => {
                    let ids = ids(hasher, name, tenant, text).map_err(|what| wrong(&what))?;
                    return Ok(ids.into_iter().map(|id| Value::Bytes(id.to_bytes().to_vec())).collect());
                }
                _ => return Err(wrong("no row can be read by this column")),
            };
            Ok(vec![value])
        };
        let mut all: Vec<Vec<Equal>> = vec![Vec::new()];
        for key in &self.0 {
            let values = values_of(key)?;
            let with = |equals: Vec<Equal>| {
                values.iter().map(move |value| [&equals[..], &[(key.0.to_owned(), value.clone())]].concat())
            };
            all = all.into_iter().flat_map(with).collect();
        }
        Ok(all)
    }

    fn tenant(&self) -> Option<&str> {
        self.0.iter().find(|(name, _)| *name == "tenant").map(|(_, tenant)| *tenant)
    }

    fn filters(&self, schema: &arrow::datatypes::Schema, hasher: &IdHasher) -> Result<Vec<Expr>, SqlError> {
        let tenant = self.tenant();
        let filter = |(name, text): &(&str, &str)| {
            let field = field(schema, name)?;
            if text.is_empty() {
                return Ok(ident(*name).is_null());
            }
            let wrong = |what: &str| wrong(name, text, what);
            let value = match field.data_type() {
                DataType::Utf8 => lit(*text),
                DataType::Boolean => lit(text.parse::<bool>().map_err(|_| wrong(NO_FLAG))?),
                DataType::Int64 => lit(text.parse::<i64>().map_err(|_| wrong(NO_NUMBER))?),
                DataType::Timestamp(TimeUnit::Millisecond, zone) => {
                    lit(ScalarValue::TimestampMillisecond(Some(time(text).map_err(wrong)?), zone.clone()))
                }
                DataType::Binary if column(name).is_some_and(|column| column.kind == Kind::Id) => {
                    let ids = ids(hasher, name, tenant, text).map_err(|what| wrong(&what))?;
                    let ids = ids.iter().map(|id| lit(ScalarValue::Binary(Some(id.to_bytes().to_vec()))));
                    return Ok(ident(*name).in_list(ids.collect(), false));
                }
                _ => return Err(wrong("no row can be read by this column")),
            };
            Ok(ident(*name).eq(value))
        };
        self.0.iter().map(filter).collect()
    }
}

const NO_FLAG: &str = "write true or false";
const NO_NUMBER: &str = "write a whole number";

fn field<'a>(schema: &'a arrow::datatypes::Schema, name: &str) -> Result<&'a Field, SqlError> {
    let field = schema.field_with_name(name).ok().filter(|_| !name.starts_with('_'));
    field.ok_or_else(|| {
        let names = schema.fields().iter().map(|field| field.name().as_str());
        let known: Vec<&str> = names.filter(|name| !name.starts_with('_')).collect();
        SqlError::BadKey(format!("there is no column {name}; there are: {}", known.join(", ")))
    })
}

fn wrong(name: &str, text: &str, what: &str) -> SqlError {
    SqlError::BadKey(format!("{name}={text}: {what}"))
}

/// Milliseconds since 1970.
fn time(text: &str) -> Result<i64, &'static str> {
    let ms = DateTime::parse_from_rfc3339(text).map(|time| time.timestamp_millis());
    ms.or_else(|_| text.parse()).map_err(|_| "write a time as 2026-01-31T12:00:00Z")
}

fn equals(names: &[&str]) -> String {
    names.iter().map(|name| format!("{name}=…")).collect::<Vec<_>>().join(" ")
}

/// The ids that a text may mean: what a producer sent, or the 32 hexadecimal digits that tables show. Producers' own ids are often
/// such digits, too: then either, as no two ids are alike.
fn ids(hasher: &IdHasher, column: &str, tenant: Option<&str>, text: &str) -> Result<Vec<Id>, String> {
    const WHOSE: &str = "say whose id it is: user:…, device:…, login:… or click:…, or 32 hexadecimal digits";
    let shown = id_of_digits(text);
    let (kind, raw) = match column {
        "user_id" => ("user", text),
        "device_id" => ("device", text),
        "click_id" => ("click", text),
        "login_id" => ("login", text),
        "event_id" | "session_id" | "touch_event_id" => ("event", text),
        _ => match (shown, text.split_once(':')) {
            (Some(id), _) => return Ok(vec![id]),
            (None, Some(sent)) => sent,
            (None, None) => return Err(WHOSE.to_owned()),
        },
    };
    let sent = match (tenant, kind) {
        (None, _) if shown.is_some() => None,
        (None, _) => return Err("an id is made with its tenant: give tenant=…".to_owned()),
        (Some(tenant), "user") => Some(hasher.user(tenant, raw).0),
        (Some(tenant), "device") => Some(hasher.device(tenant, raw).0),
        (Some(tenant), "click") => Some(hasher.click(tenant, raw).0),
        (Some(tenant), "login") => Some(hasher.login(tenant, raw).0),
        (Some(tenant), "event") => Some(hasher.event(tenant, raw).0),
        _ => return Err(WHOSE.to_owned()),
    };
    Ok(sent.into_iter().chain(shown).collect())
}

pub(super) fn id_of_digits(text: &str) -> Option<Id> {
    let is_hex = text.len() == 32 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_hex.then(|| u128::from_str_radix(text, 16).ok().map(|id| Id::from_bytes(id.to_be_bytes()))).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_what_a_table_shows_or_a_producers_own_id() {
        let (hasher, digits) = (IdHasher::new(b"test"), "6d92078a82464ba4ae5b76104861e7dc");
        let shown = id_of_digits(digits).expect("they are");
        let of = |column: &str, tenant, text: &str| ids(&hasher, column, tenant, text);
        assert_eq!(of("user_id", Some("shop"), digits), Ok(vec![hasher.user("shop", digits).0, shown]));
        assert_eq!(of("user_id", None, digits), Ok(vec![shown]));
        assert_eq!(of("user_id", Some("shop"), "u1"), Ok(vec![hasher.user("shop", "u1").0]));
        assert_eq!(of("visitor", Some("shop"), digits), Ok(vec![shown]));
        let user = format!("user:{digits}");
        assert_eq!(of("visitor", Some("shop"), &user), Ok(vec![hasher.user("shop", digits).0]));
        assert!(of("user_id", None, "u1").is_err() && of("visitor", Some("shop"), "u1").is_err());
    }

    #[test]
    fn a_grouping_that_no_row_has_is_refused() {
        let check = |view: &str, grouping: &str| {
            let texts = ["tenant=t".to_owned(), format!("grouping={grouping}"), "milestone=install".to_owned()];
            let view = views::view(view).expect("it is one");
            let keys = texts.iter().filter_map(|text| text.split_once('='));
            Keys(keys.collect()).check_grouping(view, &Params::default())
        };
        assert!(check("metrics_sliding", "campaign+source").is_ok() && check("cohorts", "tenant").is_ok());
        // `frequency` has its own, whatever the job says.
        assert!(check("frequency", "channel").is_ok());
        let said = check("metrics_sliding", "country+channel").unwrap_err().to_string();
        assert!(said.contains("metrics_sliding is grouped by tenant, ") && said.contains(" in this job"), "{said}");
    }
}
