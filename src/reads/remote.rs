//! `bidstream get --url`: reads a view from a running job.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use serde_json::Value;
use url::Url;

use crate::sql::Format;
use crate::sql::format::{self, Writer};

/// What to read.
#[derive(Clone, Debug)]
pub struct RemoteGet {
    /// Where the job serves HTTP, as `http://127.0.0.1:9464`.
    pub url: Url,
    /// The view.
    pub view: String,
    /// What to read it by: `column=value`.
    pub keys: Vec<String>,
    /// The most rows to give.
    pub limit: usize,
    /// Whether to read what is durable, instead of what is in memory.
    pub finals: bool,
    /// The form of the output.
    pub format: Format,
}

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The URL is none of a job.
    #[error("{0} is no address of a job: write http://host:port")]
    Url(Url),
    /// The job does not answer.
    #[error("{url} does not answer: {error}")]
    Unreachable {
        /// Where it was sought.
        url: Url,
        /// Why.
        error: reqwest::Error,
    },
    /// The job says why it does not answer.
    #[error("{0}")]
    Refused(String),
    /// Something else answers there.
    #[error("what {0} answers is no answer of a job")]
    Strange(Url),
    /// Printing failed.
    #[error(transparent)]
    Output(#[from] std::io::Error),
    /// Printing failed.
    #[error(transparent)]
    Print(#[from] crate::sql::SqlError),
}

/// Reads and prints. JSON is the job's answer as it is.
pub async fn run(get: &RemoteGet, mut out: impl Write) -> Result<(), RemoteError> {
    let mut url = get.url.clone();
    url.path_segments_mut()
        .map_err(|()| RemoteError::Url(get.url.clone()))?
        .pop_if_empty()
        .extend(["v1", "views", &get.view]);
    for key in &get.keys {
        url.query_pairs_mut().append_pair("key", key);
    }
    url.query_pairs_mut().append_pair("limit", &get.limit.to_string());
    if get.finals {
        url.query_pairs_mut().append_pair("final", "1");
    }
    let unreachable = |error| RemoteError::Unreachable { url: get.url.clone(), error };
    let answer = reqwest::get(url).await.map_err(unreachable)?;
    let is_success = answer.status().is_success();
    let text = answer.text().await.map_err(unreachable)?;
    let strange = || RemoteError::Strange(get.url.clone());
    let said: Value = serde_json::from_str(&text).map_err(|_| strange())?;
    if !is_success {
        return Err(RemoteError::Refused(said["error"].as_str().ok_or_else(strange)?.to_owned()));
    }
    if get.format == Format::Json {
        return Ok(out.write_all(text.as_bytes())?);
    }
    let rows = rows(&said).ok_or_else(strange)?;
    let mut writer = Writer::new(&mut out, rows.schema(), get.format, format::to_terminal())?;
    writer.batch(&rows)?;
    writer.finish()?;
    if get.format == Format::Table {
        let rest = if said["more"] == true { "; there are more: raise --limit, or name more columns" } else { "" };
        let as_of = said["as_of"].as_str().unwrap_or_default();
        let from = if said["tick"].is_u64() { "from memory" } else { "from the lake" };
        writeln!(out, "as of {as_of}, {from}{rest}")?;
    }
    Ok(())
}

/// The rows of an answer as texts.
fn rows(answer: &Value) -> Option<RecordBatch> {
    let (columns, rows) = (answer["columns"].as_array()?, answer["rows"].as_array()?);
    let text = |value: &Value| match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    let mut fields = Vec::new();
    let mut arrays: Vec<ArrayRef> = Vec::new();
    for column in columns {
        let name = column.as_str()?;
        fields.push(Field::new(name, DataType::Utf8, true));
        arrays.push(Arc::new(rows.iter().map(|row| text(&row[name])).collect::<StringArray>()));
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).ok()
}
