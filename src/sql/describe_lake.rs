//! `bidstream describe --lake`: what this lake runs. Everything is as the lake has it, in people's units.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;

use dataflows::params::Span;
use schemas::ids::IdHasher;
use serde_json::{Map, Value, json};

use super::format::{aligned, rfc3339};
use super::{Format, SqlError};
use crate::job::ID_KEY_DEMO;
use crate::lake::Lake;
use crate::lake::about::{About, about};
use crate::lake::directory::id_key_check;

/// Prints what a lake is. JSON is one object, any other form is text.
pub async fn run(lake: &Path, format: Format, mut out: impl Write) -> Result<(), SqlError> {
    if !Lake::exists(lake) {
        return Err(SqlError::NoLake(lake.to_owned()));
    }
    let about = about(lake).await?;
    match format {
        Format::Json => writeln!(out, "{:#}", as_json(&about))?,
        Format::Table | Format::Csv => write!(out, "{}", text(&about))?,
    }
    Ok(())
}

/// The parameters by their paths, as `installs.click_window`, each as people write it.
fn parameters(about: &About) -> Vec<(String, String)> {
    let all = serde_json::to_value(&about.lake.settings.views).expect("parameters are plain data");
    let mut found = Vec::new();
    for (view, parameters) in all.as_object().into_iter().flatten() {
        let parameters = parameters.as_object().into_iter().flatten();
        found.extend(parameters.map(|(name, value)| (format!("{view}.{name}"), plain(value))));
    }
    found
}

/// A value without the signs of JSON: `7d`, `default 7d, search 30d`, `direct, none`.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => match fields.get("default").filter(|_| fields.len() == 1) {
            Some(only) => plain(only),
            None => {
                fields.iter().map(|(name, value)| format!("{name} {}", plain(value))).collect::<Vec<_>>().join(", ")
            }
        },
        other => other.to_string(),
    }
}

/// Whether the ids were made with the key that everybody knows.
fn has_demo_key(about: &About) -> bool {
    about.lake.settings.id_key_check == id_key_check(&IdHasher::new(ID_KEY_DEMO.as_bytes()))
}

fn lateness(about: &About) -> String {
    about.lake.settings.lateness().to_string()
}

fn text(about: &About) -> String {
    let settings = &about.lake.settings;
    let cut = about.cut.map_or_else(|| "nothing".to_owned(), |cut| format!("up to {}", rfc3339(cut as i64)));
    let mut text = format!("lake {}: format {}, holds {cut}\n", about.lake.path.display(), about.lake.format());
    let key = if has_demo_key(about) { "the demo key, which everybody knows" } else { "a key of its own" };
    let mut of_lake = vec![
        ("ids are hashed with".to_owned(), key.to_owned()),
        ("allowed_lateness".to_owned(), lateness(about)),
        ("cuts".to_owned(), Span(settings.cut_ms as i64).to_string()),
        ("hot keys".to_owned(), format!("{} touches per partition, key and hour", settings.hot_key_touches)),
    ];
    of_lake.extend(settings.zones.iter().map(|(tenant, zone)| (format!("time zone of {tenant}"), zone.clone())));
    of_lake.extend(parameters(about));
    for (name, value) in of_lake {
        let _ = writeln!(text, "  {name}: {value}");
    }
    let views = about.views.iter().map(|(view, cut)| {
        let cut = cut.map_or_else(String::new, |cut| rfc3339(cut as i64));
        vec![view.clone(), about.lake.views[view].clone(), cut]
    });
    let header = ["view", "definition", "holds up to"].map(str::to_owned);
    let _ = write!(text, "\n{}", aligned(&header, &views.collect::<Vec<_>>(), &[false; 3]));
    for (topic, import) in &about.imports.files {
        let Some(declared_ms) = import.void_ms else { continue };
        let name = import.names().map(|names| format!(" ({names})")).unwrap_or_default();
        let effect = match about.imports.voids.contains(topic) {
            true => "its records count in no view",
            false => "the next start that writes leaves it out of all views",
        };
        let _ = writeln!(text, "void: {topic}{name}, declared {}; {effect}", rfc3339(declared_ms));
    }
    for (topic, import) in
        about.imports.files.iter().filter(|(_, import)| import.void_ms.is_none() && import.is_in_part())
    {
        let (durable, rows) = (import.durable_rows().unwrap_or_default(), import.rows().unwrap_or_default());
        let name = import.names().map(|names| format!(" ({names})")).unwrap_or_default();
        let _ = writeln!(
            text,
            "in part: {topic}{name}, {durable} of {rows} rows; import it again to complete it, or undo it"
        );
    }
    let mut added: BTreeMap<i64, Vec<&str>> = BTreeMap::new();
    for (column, at_ms) in &about.columns_added {
        added.entry(*at_ms).or_default().push(column);
    }
    for (at_ms, columns) in added {
        let (columns, at) = (columns.join(", "), rfc3339(at_ms));
        let _ = writeln!(text, "columns of records added {at}, null in older rows: {columns}");
    }
    if !about.columns_lacking.is_empty() {
        let columns = about.columns_lacking.join(", ");
        let _ =
            writeln!(text, "records lacks columns of this release: {columns}; the next start that writes adds them");
    }
    if let Some(refused) = &about.refused {
        let _ = writeln!(text, "! {refused}");
    }
    text
}

fn as_json(about: &About) -> Value {
    let settings = &about.lake.settings;
    let views = about.views.iter().map(|(view, cut)| {
        let described = json!({ "hash": about.lake.views[view], "cut": cut });
        (view.clone(), described)
    });
    let voids = about.imports.files.iter().filter_map(|(topic, import)| {
        let in_effect = about.imports.voids.contains(topic);
        Some(json!({ "topic": topic, "file": import.names(), "declared_ms": import.void_ms?, "in_effect": in_effect }))
    });
    json!({
        "lake": about.lake.path,
        "format": about.lake.format(),
        "cut": about.cut,
        "demo_key": has_demo_key(about),
        "allowed_lateness": lateness(about),
        "hot_key_touches": settings.hot_key_touches,
        "zones": settings.zones,
        "parameters": settings.views,
        "views": views.collect::<Map<_, _>>(),
        "voids": voids.collect::<Vec<_>>(),
        "columns_added_ms": about.columns_added,
        "columns_lacking": about.columns_lacking,
        "refused": about.refused,
    })
}
