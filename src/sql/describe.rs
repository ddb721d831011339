//! `bidstream describe`: what the views answer, what their columns mean, and the SQL that defines them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use dataflows::params::Params;
use dataflows::view::{Form, View};
use dataflows::views;
use schemas::ids::IdHasher;
use schemas::table::Column;
use serde::Serialize;
use serde_json::{Map, Value};

use super::columns::{OF_VIEWS, column};
use super::format::aligned;
use super::ratios::{RATIOS, Ratio};
use super::{Format, SqlError, catalog};

/// What is known of a view.
#[derive(Debug, Serialize)]
pub struct Description {
    /// Its name.
    pub name: &'static str,
    /// The question that it answers.
    pub question: &'static str,
    /// Whether the dataflow maintains it as a table; the others are computed when they are read.
    pub maintained: bool,
    /// What a cut writes where it does: `rows`, or so many `sums`.
    pub form: Option<Form>,
    /// The columns that a row is unique by.
    pub key: &'static [&'static str],
    /// What its rows are read by: one of these lists of columns (`bidstream get`).
    pub read_by: &'static [&'static [&'static str]],
    /// What it reads.
    pub reads: &'static [&'static str],
    /// Its parameters.
    pub parameters: Value,
    /// Its columns.
    pub columns: Vec<ColumnDescription>,
    /// The ratios that can be made of its columns.
    pub ratios: Vec<&'static Ratio>,
    /// The SQL that defines it, over the `raw` schema.
    pub sql: String,
}

/// What is known of a column.
#[derive(Debug, Serialize)]
pub struct ColumnDescription {
    /// Its name.
    pub name: String,
    /// Its type in the `public` schema.
    #[serde(rename = "type")]
    pub data_type: String,
    /// What it says, with its unit.
    pub meaning: &'static str,
}

/// What is known of a table that is no view, as `records`.
#[derive(Debug, Serialize)]
pub struct TableDescription<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its columns.
    pub columns: Vec<ColumnDescription>,
}

/// Prints the views with their questions, or all about one, or about another table. JSON is an array, or one object; any other form is
/// text.
pub async fn run(view: Option<&str>, params: &Params, format: Format, mut out: impl Write) -> Result<(), SqlError> {
    let tables = tables(params).await?;
    let all = describe(params, &tables);
    let text = match view {
        None if format == Format::Json => as_json(&all),
        None => list(&all),
        Some(name) => {
            let found = all.iter().find(|view| view.name == name);
            match (found, tables.get(name)) {
                (Some(view), _) if format == Format::Json => as_json(view),
                (Some(view), _) => view.text(),
                (None, Some(schema)) => table_text(name, schema, format),
                (None, None) => return Err(SqlError::no_view(name)),
            }
        }
    };
    Ok(out.write_all(text.as_bytes())?)
}

/// All tables of the `public` schema with these parameters.
async fn tables(params: &Params) -> Result<BTreeMap<String, SchemaRef>, SqlError> {
    // No id is made here, so the key does not matter.
    catalog::empty(params.clone(), &IdHasher::new(b"")).await?.tables().await
}

/// All views with these parameters.
fn describe(params: &Params, tables: &BTreeMap<String, SchemaRef>) -> Vec<Description> {
    views::views().iter().map(|view| description(view, params, &tables[view.name])).collect()
}

fn table_text(name: &str, schema: &Schema, format: Format) -> String {
    let columns = columns(schema);
    if format == Format::Json {
        return as_json(&TableDescription { name, columns });
    }
    format!("{name}: a table that views or people read\n\n{}", columns_text(&columns))
}

fn description(view: &View, params: &Params, schema: &Schema) -> Description {
    let parameters = serde_json::to_value(params).expect("parameters are plain data");
    // What a view says of its own column goes before what others mean by the name.
    let own: Vec<&'static Column> = match &view.maintained {
        Some(maintained) => maintained.columns.iter().collect(),
        None => OF_VIEWS.iter().filter(|(name, _)| *name == view.name).map(|(_, column)| column).collect(),
    };
    let columns = columns_of(schema, &own);
    let has = |name: &&str| columns.iter().any(|column| column.name == **name);
    let ratios = RATIOS.iter().filter(|ratio| ratio.arguments.iter().all(has)).collect();
    Description {
        name: view.name,
        question: view.question,
        maintained: view.maintained.is_some(),
        form: view.maintained.as_ref().map(|maintained| maintained.form),
        key: view.key,
        read_by: view.read_by,
        reads: view.reads,
        parameters: parameters.get(view.name).cloned().unwrap_or_else(|| Value::Object(Map::new())),
        columns,
        ratios,
        sql: (view.sql)(params),
    }
}

/// The columns of a table of the `public` schema.
pub fn columns(schema: &Schema) -> Vec<ColumnDescription> {
    columns_of(schema, &[])
}

fn columns_of(schema: &Schema, own: &[&'static Column]) -> Vec<ColumnDescription> {
    let meant =
        |name: &str| own.iter().find(|own| own.name == name && !own.doc.is_empty()).copied().or_else(|| column(name));
    let described = schema.fields().iter().map(|field| ColumnDescription {
        name: field.name().clone(),
        data_type: type_name(field.data_type()),
        meaning: meant(field.name()).map_or("", |column| column.doc),
    });
    described.collect()
}

/// Columns as aligned lines.
pub fn columns_text(columns: &[ColumnDescription]) -> String {
    let header = ["column", "type", "meaning"].map(str::to_owned);
    let rows =
        columns.iter().map(|column| vec![column.name.clone(), column.data_type.clone(), column.meaning.to_owned()]);
    aligned(&header, &rows.collect::<Vec<_>>(), &[false; 3])
}

fn list(views: &[Description]) -> String {
    let header = ["view", "question"].map(str::to_owned);
    let rows = views.iter().map(|view| vec![view.name.to_owned(), view.question.to_owned()]);
    aligned(&header, &rows.collect::<Vec<_>>(), &[false; 2])
}

impl Description {
    fn text(&self) -> String {
        let mut text = format!("{}: {}\n\n", self.name, self.question);
        let kind = match self.form {
            Some(Form::Rows) => format!("maintained by the dataflow; its changes are in {}_changes", self.name),
            Some(Form::Sums(_)) => {
                format!("maintained by the dataflow; what each cut adds is in {}_changes", self.name)
            }
            None => "computed when it is read".to_owned(),
        };
        let _ = writeln!(text, "{kind}; reads {}; one row per ({})", self.reads.join(", "), self.key.join(", "));
        let ways: Vec<String> = self.read_by.iter().map(|columns| columns.join(" and ")).collect();
        let _ = writeln!(text, "`bidstream get {}` reads it by {}\n", self.name, ways.join(", or "));
        text.push_str(&columns_text(&self.columns));
        let parameters = self.parameters.as_object().into_iter().flatten();
        for (index, (name, value)) in parameters.enumerate() {
            let head = if index == 0 { "\nparameters:\n" } else { "" };
            let _ = writeln!(text, "{head}  {name}: {value}");
        }
        if !self.ratios.is_empty() {
            let header = ["ratio", "meaning", "in other engines"].map(str::to_owned);
            let call = |ratio: &Ratio| format!("{}({})", ratio.name, ratio.arguments.join(", "));
            let rows =
                self.ratios.iter().map(|ratio| vec![call(ratio), ratio.meaning.to_owned(), ratio.sql.to_owned()]);
            let _ =
                writeln!(text, "\naggregate functions; null where undefined, or over amounts of several currencies:");
            text.push_str(&aligned(&header, &rows.collect::<Vec<_>>(), &[false; 3]));
        }
        let _ = writeln!(text, "\ndefinition, over the raw schema:\n\n{}", self.sql.trim());
        text
    }
}

fn as_json(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).expect("descriptions are plain data") + "\n"
}

/// A type in a few words.
fn type_name(of: &DataType) -> String {
    match of {
        DataType::Utf8 => "text".to_owned(),
        DataType::Int64 => "bigint".to_owned(),
        DataType::Int32 => "int".to_owned(),
        DataType::Binary => "binary".to_owned(),
        DataType::Boolean => "boolean".to_owned(),
        DataType::Date32 => "date".to_owned(),
        DataType::Timestamp(..) => "timestamp".to_owned(),
        DataType::List(item) => format!("list of {}", type_name(item.data_type())),
        DataType::Struct(fields) => {
            let parts = fields.iter().map(|field| format!("{} {}", field.name(), type_name(field.data_type())));
            format!("({})", parts.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_view_says_what_its_own_columns_mean() {
        let params = Params::default();
        let all = describe(&params, &tables(&params).await.unwrap());
        let meaning = |view: &str, name: &str| {
            let view = all.iter().find(|described| described.name == view).unwrap();
            view.columns.iter().find(|column| column.name == name).unwrap().meaning
        };
        assert_eq!(meaning("uniques", "kind"), "what they did: any, impression or click");
        assert!(meaning("uniques", "period").ends_with("hour, day, 7d or 30d"));
        assert!(
            meaning("frequency_now", "period")
                .starts_with("what is counted: the hour, day, week or month of the calendar")
        );
        assert_eq!(meaning("credits", "tenant"), "account that the event belongs to");
        assert_eq!(meaning("path_counts", "conversions"), "number of paths that led to a conversion");
        assert_eq!(meaning("likely_links", "id_kind"), "what the id is: user or device");
        assert_eq!(meaning("credits_shapley", "model"), "shapley or shapley_ordered");
    }

    #[tokio::test]
    async fn every_column_of_every_table_has_a_meaning() {
        let session = catalog::empty(Params::default(), &IdHasher::new(b"")).await.unwrap();
        for (table, schema) in session.tables().await.unwrap() {
            for described in columns(&schema) {
                assert!(!described.meaning.is_empty(), "{table}.{}", described.name);
            }
        }
    }

    #[tokio::test]
    async fn keys_and_texts() {
        let params = Params::default();
        for view in describe(&params, &tables(&params).await.unwrap()) {
            assert!(
                !view.read_by.is_empty() && view.read_by.iter().all(|columns| !columns.is_empty()),
                "{}",
                view.name
            );
            for key in view.key.iter().chain(view.read_by.iter().copied().flatten()) {
                assert!(view.columns.iter().any(|column| column.name == *key), "{}.{key}", view.name);
            }
            let text = view.text();
            assert!(text.contains(view.question) && text.contains(view.sql.trim()));
        }
        let mut out = Vec::new();
        run(None, &Params::default(), Format::Json, &mut out).await.unwrap();
        let listed: Vec<Value> = serde_json::from_slice(&out).unwrap();
        assert_eq!(listed.len(), views::views().len());
        let mut out = Vec::new();
        run(Some("records"), &params, Format::Table, &mut out).await.unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("records: ") && text.contains("verdict"), "{text}");
        let unknown = run(Some("instals"), &Params::default(), Format::Table, Vec::new()).await.unwrap_err();
        assert!(unknown.to_string().starts_with("there is no view \"instals\"; there are: events"));
    }
}
