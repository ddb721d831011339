//! `bidstream explain credit`: which touches could have been credited for an install or a conversion, which was, and why each other
//! was not.

use std::fmt::Write as _;
use std::io::Write;
use std::path::PathBuf;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use dataflows::attribution::explain;
use dataflows::views::installs::REATTRIBUTION;
use datafusion::prelude::{DataFrame, SessionContext};
use schemas::ids::IdHasher;
use schemas::{Id, Symbol};

use super::format::{self, Writer, cell, hex};
use super::get::id_of_digits;
use super::{Format, Memory, Resources, Session, SqlError, catalog};

/// What `bidstream explain credit` is asked to do.
#[derive(Clone, Debug)]
pub struct ExplainOptions {
    /// The lake's directory.
    pub lake: PathBuf,
    /// The event id of the install or conversion: as its producer sent it, or the 32 hexadecimal digits that tables show.
    pub id: String,
    /// Its tenant.
    pub tenant: Option<String>,
    /// The cut to read at. The last one by default.
    pub as_of: Option<String>,
    /// The form of the output.
    pub format: Format,
    /// The memory that it may take.
    pub memory: Memory,
}

/// What is to be said of an install or conversion.
struct Explained {
    event_id: String,
    text: String,
    touches: RecordBatch,
}

/// Explains and prints: of each install or conversion of that event id what it is and what became of each touch that shares an id with
/// it. JSON is an array of objects: event_id, text, touches.
pub async fn run(options: &ExplainOptions, hasher: &IdHasher, mut out: impl Write) -> Result<(), SqlError> {
    let as_of = options.as_of.as_deref().map(catalog::parse_cut).transpose()?;
    let session = catalog::open(&options.lake, as_of, hasher, Resources::new(options.memory)?).await?;
    let ids = match (id_of_digits(&options.id), &options.tenant) {
        // A producer's own id may be such digits.
        (Some(id), Some(tenant)) if session.same_key() => vec![id, hasher.event(tenant, &options.id).0],
        (Some(id), _) => vec![id],
        (None, Some(tenant)) if session.same_key() => vec![hasher.event(tenant, &options.id).0],
        (None, Some(_)) => {
            return Err(SqlError::BadKey(
                "the ids in this lake were made with another key: give --id-key-file, or set BIDSTREAM_ID_KEY"
                    .to_owned(),
            ));
        }
        (None, None) => {
            return Err(SqlError::BadKey(format!(
                "{}: an id is made with its tenant: give --tenant, or the 32 hexadecimal digits that tables show",
                options.id
            )));
        }
    };
    let explained = credit(&session, &ids, options.tenant.as_deref()).await?;
    match options.format {
        Format::Json => writeln!(out, "{}", json(&explained))?,
        form => {
            for Explained { text, touches, .. } in &explained {
                if form == Format::Table {
                    writeln!(out, "{text}")?;
                }
                let mut writer = Writer::new(&mut out, touches.schema(), form, format::to_terminal())?;
                writer.batch(touches)?;
                writer.finish()?;
            }
        }
    }
    Ok(())
}

fn json(explained: &[Explained]) -> String {
    let of = |Explained { event_id, text, touches }: &Explained| {
        let columns: Vec<&String> = touches.schema_ref().fields().iter().map(|field| field.name()).collect();
        let rows = (0..touches.num_rows()).map(|row| {
            let mut object = String::new();
            format::object(&mut object, columns.iter().copied().zip(touches.columns()), row);
            object
        });
        let rows = rows.collect::<Vec<_>>().join(",\n");
        let text = serde_json::to_string(text).expect("texts are JSON");
        format!("{{\"event_id\":\"{event_id}\",\"text\":{text},\"touches\":[\n{rows}\n]}}")
    };
    format!("[{}]", explained.iter().map(of).collect::<Vec<_>>().join(",\n"))
}

/// What is to be said of each standing install and conversion of an event id.
async fn credit(session: &Session, ids: &[Id], tenant: Option<&str>) -> Result<Vec<Explained>, SqlError> {
    let of_tenant = tenant.map_or(String::new(), |tenant| format!(" AND tenant = {}", Symbol::of(tenant).0));
    let ids: Vec<String> = ids.iter().map(|id| literal(&hex(&id.to_bytes()))).collect();
    let named = format!("event_id IN ({}){of_tenant}", ids.join(", "));
    let query = format!(
        "SELECT * FROM events WHERE {named} AND type IN ('install', 'conversion')
         UNION ALL
         SELECT opens.* FROM (SELECT * FROM events WHERE {named} AND type = 'open') AS opens
         LEFT SEMI JOIN (SELECT * FROM installs WHERE {named} AND event_type = 'open') AS back
           ON opens.tenant = back.tenant AND opens.event_id = back.event_id AND opens.subject = back.subject
           AND opens.event_time = back.event_time
         ORDER BY event_time, subject"
    );
    let found = rows(session, &query).await?;
    if found.num_rows() == 0 {
        return Err(SqlError::BadKey(nothing(session, &named).await?));
    }
    let mut explained = Vec::new();
    for row in 0..found.num_rows() {
        explained.push(of_event(session, &Event { rows: &found, row, names: session }).await?);
    }
    Ok(explained)
}

/// Why there is no install or conversion to explain.
async fn nothing(session: &Session, named: &str) -> Result<String, SqlError> {
    let others = [
        (format!("SELECT type FROM events WHERE {named} LIMIT 1"), "is no install or conversion: its type is"),
        (format!("SELECT reason FROM superseded WHERE {named} LIMIT 1"), "does not stand:"),
        (
            format!("SELECT type FROM late_events WHERE {named} LIMIT 1"),
            "came after the allowed lateness, so it counts nowhere: type",
        ),
    ];
    for (query, what) in others {
        let found = rows(session, &query).await?;
        if found.num_rows() > 0 {
            let of = cell(found.column(0), 0).unwrap_or_default();
            let after = session.params().installs.reattribution_after;
            // One that came too late says so already.
            let began_nothing = match of.as_str() {
                "open" if what.starts_with("is no install") => format!(
                    ": one with which no attribution began, as its device was in the app within {after} before it, or no touch was eligible"
                ),
                _ => String::new(),
            };
            return Ok(format!("the event {what} {of}{began_nothing}"));
        }
    }
    Ok("there is no event of this id: an id is made with its tenant (--tenant), and case matters".to_owned())
}

/// An event, or a row of a view about one.
struct Event<'a> {
    rows: &'a RecordBatch,
    row: usize,
    names: &'a Session,
}

impl Event<'_> {
    fn text(&self, column: &str) -> Option<String> {
        cell(self.rows.column_by_name(column)?, self.row)
    }

    fn name(&self, column: &str) -> Option<String> {
        let symbol = self.text(column)?.parse().ok()?;
        self.names.names().get(&symbol).map(|name| name.to_string())
    }

    fn time(&self, column: &str) -> Option<String> {
        Some(format::rfc3339(self.text(column)?.parse().ok()?))
    }

    /// The condition that this event alone meets, by columns with this prefix.
    fn is_it(&self, prefix: &str) -> Option<String> {
        let column = |name: &str| self.text(&format!("{prefix}{name}"));
        let (id, subject) = (literal(&column("event_id")?), literal(&column("subject")?));
        let tenant = self.text("tenant")?;
        Some(format!(
            "tenant = {tenant} AND event_id = {id} AND subject = {subject} AND event_time = {}",
            column("event_time")?
        ))
    }
}

async fn of_event(session: &Session, event: &Event<'_>) -> Result<Explained, SqlError> {
    let this = event.is_it("").expect("an event has its identity");
    let mut text = headline(event);
    // An install, or an open with which a device came back.
    let (says, froze) = install(session, &this).await?;
    let touches = if !says.is_empty() || event.text("type").as_deref() == Some("install") {
        text += &says;
        rows_readable(session, &listed(session, &this, true, (froze, None))).await?
    } else {
        let credits = rows(session, &format!("SELECT * FROM credits WHERE {this} LIMIT 1")).await?;
        let credit = Event { rows: &credits, row: 0, names: session };
        match (credits.num_rows() > 0).then(|| credit.is_it("install_")).flatten() {
            Some(of_install) => {
                let time = credit.time("install_event_time").unwrap_or_default();
                let id = credit.text("install_event_id").unwrap_or_default();
                let _ = write!(text, "\n  follows {id} of {time}, and earns for the path that was frozen then");
                text += &install(session, &of_install).await?.0;
                rows_readable(session, &listed(session, &of_install, true, (true, Some(&this)))).await?
            }
            None => {
                let lifetime = session.params().installs.attribution_lifetime;
                // A row without a touch.
                let none = credits.num_rows() > 0 && credit.text("touch_event_id").is_none();
                let path = match none {
                    true => "no touch of its own was eligible, so its credit is of the channel (none)",
                    false => "it has a path of its own",
                };
                let _ = write!(text, "\n  follows no install of the person within {lifetime} before it: {path}");
                rows_readable(session, &listed(session, &this, false, (true, Some(&this)))).await?
            }
        }
    };
    Ok(Explained { event_id: event.text("event_id").unwrap_or_default(), text, touches })
}

fn headline(event: &Event<'_>) -> String {
    let mut text = format!("{} {}", event.text("type").unwrap_or_default(), event.text("event_id").unwrap_or_default());
    for (what, name) in [("tenant", event.name("tenant")), ("app", event.name("app")), ("name", event.name("name"))] {
        if let Some(name) = name {
            let _ = write!(text, ", {what} {}", format::without_controls(&name));
        }
    }
    let _ = write!(text, ", at {}", event.time("event_time").unwrap_or_default());
    text
}

/// What `installs` says of an install, and whether it froze a path.
async fn install(session: &Session, is_it: &str) -> Result<(String, bool), SqlError> {
    let found = rows(session, &format!("SELECT * FROM installs WHERE {is_it} LIMIT 1")).await?;
    let row = Event { rows: &found, row: 0, names: session };
    if found.num_rows() == 0 {
        return Ok((String::new(), false));
    }
    let text = |name: &str| row.text(name).unwrap_or_default();
    let it = text("type");
    let mut says = match text("method").as_str() {
        "organic" => format!("\n  the {it} is organic: no touch was eligible"),
        method => format!(
            "\n  the {it} was won by the {} {}, matched by {method}",
            text("touch_type"),
            text("touch_event_id")
        ),
    };
    if it == REATTRIBUTION {
        let after = session.params().installs.reattribution_after;
        let _ = write!(
            says,
            "\n  it is one as the device was back in the app with this {} after more than {after} without it; later conversions follow it",
            text("event_type")
        );
    }
    match text("candidates").as_str() {
        "1" => {}
        many => {
            let _ = write!(says, ", one of {many} whom the fingerprint may stand for");
        }
    }
    let is_reinstall = text("reinstall") == "true";
    if is_reinstall {
        let lifetime = session.params().installs.attribution_lifetime;
        let _ = write!(
            says,
            "\n  it is a reinstall, within {lifetime} of another of the person: it freezes no path, and no conversion follows it"
        );
    }
    Ok((says, !is_reinstall))
}

/// The query that lists touches: those that are eligible from the winner on, then the others, the latest first; with what they earned
/// of a conversion, or whether they are in the path that an install froze, if it did.
fn listed(session: &Session, target: &str, is_install: bool, (froze, conversion): (bool, Option<&str>)) -> String {
    let judged = explain::sql(&session.params().installs, target, is_install);
    let columns = "judged.touch_event_id, judged.touch_event_time, judged.touch_type, channel, campaign, source, shares, method, verdict";
    let order = "ORDER BY place, judged.touch_event_time DESC, judged.touch_event_id";
    let Some(conversion) = conversion else {
        let in_path = if froze { "in_path" } else { "false AS in_path" };
        return format!("SELECT {columns}, {in_path} FROM ({judged}) AS judged {order}");
    };
    let models = ["first", "last", "last_non_direct", "linear", "time_decay", "position"];
    let earned =
        models.map(|model| format!("sum(credit_ppm) FILTER (WHERE model = '{model}') AS {model}_ppm")).join(", ");
    let shown = models.map(|model| format!("coalesce({model}_ppm, 0) AS {model}_ppm")).join(", ");
    format!(
        "SELECT {columns}, {shown} FROM ({judged}) AS judged LEFT JOIN (
           SELECT touch_event_id, touch_subject, touch_event_time, {earned} FROM credits WHERE {conversion}
           GROUP BY touch_event_id, touch_subject, touch_event_time) AS earned
         ON judged.touch_event_id = earned.touch_event_id AND judged.touch_subject = earned.touch_subject
           AND judged.touch_event_time = earned.touch_event_time
         {order}"
    )
}

/// The rows of a query over the `raw` schema.
async fn rows(session: &Session, query: &str) -> Result<RecordBatch, SqlError> {
    collected(session.raw(), query, Ok).await
}

/// The same with names and times that people read.
async fn rows_readable(session: &Session, query: &str) -> Result<RecordBatch, SqlError> {
    collected(session.raw(), query, |rows| session.readable(rows)).await
}

async fn collected(
    context: &SessionContext,
    query: &str,
    shown: impl FnOnce(DataFrame) -> Result<DataFrame, SqlError>,
) -> Result<RecordBatch, SqlError> {
    let rows = shown(context.sql(query).await?)?;
    let schema = rows.schema().as_arrow().clone();
    let found = rows.collect().await?;
    // What comes may be stricter about nulls in lists than what was planned.
    let schema = found.first().map_or_else(|| schema.into(), RecordBatch::schema);
    Ok(concat_batches(&schema, &found)?)
}

/// Bytes as SQL writes them, of hexadecimal digits.
fn literal(digits: &str) -> String {
    format!("X'{digits}'")
}
