//! The reference of mappings, as it stands in `docs/reference/mappings.md`: made from what the code reads, so that neither
//! says what the other does not.

use std::fmt::Write;

use schemas::times::TimeFormat;

use super::fields::{Kind, fields};

/// A key: its name, what it means, what it is where it is left out, and an example.
type Key = (&'static str, &'static str, &'static str, &'static str);

const MAPPING: [Key; 13] = [
    ("format", "kind of file: `csv`, `jsonl` (JSON in any of the forms below) or `parquet`", "needed", "`csv`"),
    ("tenant", "account that the events belong to", "needed", "`shop`"),
    ("app", "app or site of the events", "none", "`web`"),
    ("event_time", "when the event happened, see *Times*", "needed", "`{ column: ts, format: iso8601 }`"),
    (
        "time_zone",
        "zone of times that name no offset: a name of the IANA database or an offset",
        "`UTC`",
        "`Europe/Berlin`",
    ),
    (
        "earliest",
        "an event time before this is an error of the unit, and its row a dead letter",
        "`2000-01-01`",
        "`1990-01-01`",
    ),
    ("decimal", "decimal sign of numbers: `.` or `,`", "`.`", "`\",\"`"),
    (
        "thousands",
        "what separates thousands: `.`, `,`, blank (also no-break and narrow), `'` (also ’), `_`",
        "nothing may",
        "`\".\"`",
    ),
    ("strip", "texts beside a number that mean nothing more, as a currency", "none", "`[€, EUR]`"),
    (
        "arrival",
        "`import`: all rows arrive now. `event_time`: each arrives when it happened",
        "`import`",
        "`event_time`",
    ),
    ("encoding", "encoding of the text, by its WHATWG name (not for Parquet)", "found out", "`windows-1252`"),
    ("csv", "what lines of CSV are made of, see *CSV*", "found out", "`{ delimiter: \";\" }`"),
    ("emit", "entries: each whose `when` holds makes one event of the row", "needed", "see *Entries*"),
];

const TIME: [Key; 3] = [
    ("column", "column that has the time", "needed", "`ts`"),
    ("format", "how it is written, see the table", "needed; in Parquet `iso8601`", "`epoch_ms`"),
    (
        "zone",
        "zone of texts without an offset: a name, an offset, or the column that has it",
        "`time_zone`",
        "`{ column: tz }`",
    ),
];

const CSV: [Key; 5] = [
    ("delimiter", "one ASCII sign between fields; `\"\\t\"` is a tab", "found out", "`\";\"`"),
    ("quote", "sign that quotes a field, or `none`", "`\"`", "`none`"),
    (
        "header",
        "`true`: the first row has the names. `false`: columns are `1`, `2`, …. A list: the names of all columns",
        "`true`",
        "`[ts, kind, user]`",
    ),
    ("comment", "lines that begin with this sign are passed over", "none", "`\"#\"`"),
    (
        "multiline",
        "`true`: quoted fields may have lines that look like rows of the file, which are taken for swallowed rows otherwise",
        "`false`",
        "`true`",
    ),
];

const ENTRY: [Key; 4] = [
    ("type", "type of the event", "needed", "`conversion`"),
    ("when", "conditions, all of which must hold", "every row", "`{ kind: [buy] }`"),
    ("set", "fields of the event, and what each is", "none", "`{ user: user_id }`"),
    ("event_time", "a time of its own, as above", "that of the mapping", "`{ column: paid_at, format: epoch_s }`"),
];

const WHEN: [Key; 4] = [
    ("COLUMN", "the column has one of these values", "", "`{ kind: [buy, order] }`"),
    (
        "first_of",
        "this is the first row of the file with this value of the column; an empty one is never first",
        "",
        "`{ first_of: session }`",
    ),
    ("present", "the column is not empty", "", "`{ present: click_id }`"),
    ("not", "what is inside does not hold", "", "`{ not: { kind: [test] } }`"),
];

const VALUE: [Key; 9] = [
    ("column", "the column", "", "`{ column: price, unit: units }`"),
    (
        "product",
        "numbers: the product of columns, rounded once at the end",
        "",
        "`{ product: [price, quantity], unit: units }`",
    ),
    ("const", "the same for every row", "", "`{ const: EUR }`"),
    ("unit", "amounts: `units` (12.50) or `micros` (12500000)", "`micros`", "`units`"),
    ("decimal", "numbers: as above, for this value alone", "that of the mapping", "`\",\"`"),
    ("thousands", "numbers: as above, for this value alone", "that of the mapping", "`\".\"`"),
    ("strip", "numbers: as above, for this value alone", "that of the mapping", "`[€]`"),
    ("format", "times: how it is written", "needed; in Parquet `iso8601`", "`epoch_s`"),
    ("zone", "times: as above", "`time_zone`", "`Asia/Tokyo`"),
];

/// What is found out where the mapping says nothing, and how.
const FOUND_OUT: [(&str, &str); 8] = [
    ("gzip (also of several members), zstd", "by the first bytes, never by the name; one that breaks off is an error"),
    ("UTF-8 or UTF-16, with or without byte order mark", "by the mark, or by where the NUL bytes are"),
    (
        "delimiter `,` `;` tab `|`",
        "the first of these with which the header has all columns that the mapping names; `sep=;` in the first line",
    ),
    ("LF, CRLF, CR; empty lines", "as they come; an empty line is no row"),
    (
        "blanks around names and cells",
        "never count; where the header has a blank after each delimiter, a quote after one opens a field",
    ),
    ("JSON: one object a line, objects over several lines, an array of objects", "by the first line"),
    (
        "Parquet: times, dates, decimals, dictionaries, bytes of UTF-8, INT96; members of structs (`e.kind`)",
        "by their types; a time without zone is of `time_zone`",
    ),
    (
        "JSON: members of inner objects and lists (`a.b`, `a[0].b`, `a.0.b`)",
        "a member whose own name is `a.b` comes first",
    ),
];

/// What is refused before anything is written, and the remedy.
const REFUSED: [(&str, &str); 15] = [
    (
        "a column that the file lacks",
        "the columns that it has are named; of a file without a header: `csv: { header: false }`",
    ),
    ("a column of the mapping that the header has twice", "rename one of them"),
    (
        "a quote that swallows rows (to the end, beyond 1 MiB, over lines that look like rows, closed within a field)",
        "close it, or `csv: { quote: none }`, or `csv: { multiline: true }` if such cells are meant",
    ),
    ("NUL bytes, a header that is no UTF-8", "`encoding: …`"),
    ("an array or objects with something else between, or that break off", "line, byte and row are named"),
    ("lists, maps and whole structs of Parquet", "name a member"),
    ("zip, xz, bzip2, lz4, 7z, tar", "unpack it first; the command is named"),
    ("Excel, HTML, PDF, Avro, ORC, Arrow, SQLite; CSV for JSON and the like", "the right format is named"),
    (
        "an entry without what its type needs: `name` of event and conversion; `source`, `cost_micros`, `version` of cost; two ids of identify",
        "set it",
    ),
    ("`revenue_micros` or `cost_micros` without `currency` (but for a constant 0)", "set it"),
    ("an unknown key, field, time zone or format", "those that there are are named"),
    ("`csv` for other formats, `zone` for times since the epoch, and the like", "leave it out"),
    (
        "constants with which every event would be wrong: a currency that is a placeholder (`null`, `N/A`, `$`), such an event id, an amount beyond ±2^53",
        "write what is meant, or leave it out",
    ),
    (
        "a text column of Parquet with bytes that are no UTF-8, which that format forbids",
        "write it anew, with the column as bytes",
    ),
    (
        "a file that holds no row: of no byte, a byte order mark, blank lines or the header alone, also packed",
        "`--allow-empty`",
    ),
];

/// What makes a row a dead letter, and a field absent.
const ROWS: [(&str, &str); 14] = [
    ("another number of fields than the header", "dead letter"),
    ("a line of JSON that is no object, a row over 1 MiB", "dead letter"),
    (
        "in a column that a field needs (see above) or a condition names: bytes that are no UTF-8, half a surrogate pair of JSON, \
         a member of a JSON object that is there twice, with two values",
        "dead letter of the entry, once a row where conditions are concerned",
    ),
    ("such bytes or such a pair in any other column", "field absent, field fault"),
    (
        "a line of JSON that is no UTF-8, where the mapping names a column beyond ASCII, as that name may be what is broken",
        "dead letter",
    ),
    ("such a member of any other column", "its last value, field fault *given twice*"),
    (
        "an array, an object, `true` or `false` of JSON in a field",
        "dead letter where the field is needed, else field absent, field fault *wrong type*",
    ),
    (
        "an event time that is empty, cannot be read, is before `earliest` or after 2099",
        "dead letter; the likely format is named",
    ),
    (
        "an amount that cannot be read (`12,50` and `1,234` without `decimal` or `thousands`, `€ 5` without `strip`, `(5)`, `5-`)",
        "dead letter; the remedy is named",
    ),
    (
        "a placeholder for a number (`null`, `N/A`, `-`, `(not set)`, `NaN`: the list of `ids.md`)",
        "as an empty cell, field fault *placeholder*",
    ),
    ("an empty amount", "field absent; of a cost, dead letter: it needs its amount"),
    ("an amount with more than six decimals", "rounded half to even, field fault *rounded to micros*"),
    ("`unit: micros` with a fraction", "dead letter, but for noise of floats below 0.001, which is rounded as above"),
    ("`quantity`, `version` (but of cost), `install_begin_time` that cannot be read", "field absent, field fault"),
];

/// The text of `docs/reference/mappings.md`.
pub fn reference() -> String {
    let mut page = String::from(INTRODUCTION);
    let keys = |page: &mut String, title: &str, text: &str, keys: &[Key]| {
        let _ = write!(page, "\n## {title}\n{text}\n| key | meaning | left out | example |\n|---|---|---|---|\n");
        for (name, meaning, default, example) in keys {
            let _ = writeln!(page, "| `{name}` | {} | {default} | {} |", cell(meaning), cell(example));
        }
    };
    keys(&mut page, "The mapping", "", &MAPPING);
    keys(&mut page, "Times", TIMES, &TIME);
    page.push_str("\n| format | a time is written |\n|---|---|\n");
    for (name, what) in TimeFormat::NAMES {
        let _ = writeln!(page, "| `{name}` | {what} |");
    }
    page.push_str("| a strftime pattern | `%d.%m.%Y %H:%M`, `%m/%d/%Y %I:%M %p` (`%z` is an offset) |\n");
    keys(&mut page, "CSV", "", &CSV);
    keys(&mut page, "Entries", "", &ENTRY);
    keys(&mut page, "Conditions", CONDITIONS, &WHEN);
    keys(&mut page, "Values", VALUES, &VALUE);
    page.push_str(
        "\n## Fields\n`set` can name these; `event_time` has a key of its own.\n\n| field | is |\n|---|---|\n",
    );
    for (name, kind) in fields() {
        let kind = match kind {
            Kind::Text => "text",
            Kind::Whole => "a whole number",
            Kind::Amount => "an amount, in micros or units",
            Kind::Time => "a time",
        };
        let _ = writeln!(page, "| `{name}` | {kind} |");
    }
    let pairs = |page: &mut String, title: &str, heads: [&str; 2], pairs: &[(&str, &str)]| {
        let _ = write!(page, "\n## {title}\n| {} | {} |\n|---|---|\n", heads[0], heads[1]);
        for (what, how) in pairs {
            let _ = writeln!(page, "| {} | {} |", cell(what), cell(how));
        }
    };
    pairs(&mut page, "What is found out", ["what", "how"], &FOUND_OUT);
    pairs(&mut page, "What is refused before anything is written", ["what", "remedy"], &REFUSED);
    let _ = write!(page, "\n## What becomes of a row\n{NEEDED}");
    let _ = write!(page, "\n| where it has | it is |\n|---|---|\n");
    for (what, how) in &ROWS {
        let _ = writeln!(page, "| {} | {} |", cell(what), cell(how));
    }
    page
}

/// A bar would end the cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

const INTRODUCTION: &str = "\
# Mappings
How the rows of a file become events. This page is made from the code (`src/job/mapping/reference.rs`); a test compares the
two, and `BLESS=1 cargo test -p bidstream --lib mapping::reference` writes it anew.

```yaml
format: csv
tenant: shop
app: web
event_time: { column: ts, format: \"%d.%m.%Y %H:%M\" }
time_zone: Europe/Berlin
decimal: \",\"
emit:
  - { type: click, when: { kind: [click] }, set: { user: user, channel: channel } }
  - type: conversion
    when: { kind: [buy] }
    set:
      user: user
      name: { const: purchase }
      revenue_micros: { product: [price, quantity], unit: units }
      currency: { const: EUR }
```

An empty cell is an absent field. The event id is a hash of the file's content, the row and the entry, unless `set` gives
`event_id`. A mistake is one error with file, line, field and what may be written.
";

const TIMES: &str = "\
A text with an offset is that instant. One without is of `zone`, or else of `time_zone`, or else UTC. Where a clock goes back, a
local time that is twice is the earlier one; where it goes forward, one that never is counts as if the offset before the
change still held (in Berlin, 02:30 of such a night is 03:30). Parts of a millisecond are dropped.

`iso8601` reads `2026-03-01T10:00:00Z` with `T`, `t` or blanks between date and time; with `Z`, ` UTC`, ` GMT`, `+01`, `+0100`,
`+01:00`, ` +0100` or no offset; with decimals of a second after a point or a comma, without seconds, without a time (midnight);
the basic form `20260301T100000Z`; `24:00` (the next midnight) and leap seconds (`:60`, the next minute). Weeks and days of a
year, and abbreviations of zones (`EST`, which are several), are refused. Where all times of a column are of one zone, a pattern passes
over its abbreviation (`%Y-%m-%d %H:%M:%S %Z`), and `zone` names it.
";

const CONDITIONS: &str = "\
Blanks around cells and values do not count. Of JSON, `true` and `false` are those words (`{ test: [\"true\"] }`), numbers, arrays and
objects what is written; all of them are present.
";

const NEEDED: &str = "\
An event needs what identifies, dates or pays: `event_id`, `tenant`, event time, amounts and the currency of one that is not 0;
`name` of event and conversion; `source` and `version` of a cost; two ids of an identify. It goes without any other field.
";

const VALUES: &str = "\
A field is a column (`user: user_id`), several joined by `|` (`device: [ip, os]`; absent where one of them is), or one of:
";

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::job::mapping::Mapping;

    #[test]
    fn the_page_is_what_the_code_says() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/mappings.md");
        if std::env::var_os("BLESS").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, reference()).unwrap();
        }
        let page = std::fs::read_to_string(&path).unwrap();
        assert!(page == reference(), "docs/reference/mappings.md is old: run this test with BLESS=1");
    }

    #[test]
    fn the_page_has_every_key_that_is_read_and_no_other() {
        let mapping = |text: &str| Mapping::parse(Path::new("m.yaml"), text).unwrap_err().to_string();
        let top = "format: csv, tenant: t";
        let time = "event_time: {column: t, format: iso8601}";
        let value = |value: &str| {
            mapping(&format!("{{{top}, {time}, emit: [{{type: click, set: {{revenue_micros: {value}}}}}]}}"))
        };
        for (error, keys) in [
            (mapping("{wrong: 1}"), &MAPPING[..]),
            (mapping(&format!("{{{top}, event_time: {{wrong: 1}}}}")), &TIME[..]),
            (mapping(&format!("{{{top}, csv: {{wrong: 1}}}}")), &CSV[..]),
            (mapping(&format!("{{{top}, {time}, emit: [{{wrong: 1}}]}}")), &ENTRY[..]),
            (value("{wrong: 1}"), &VALUE[..]),
        ] {
            let names: Vec<&str> = keys.iter().map(|(name, ..)| *name).collect();
            let (_, read) =
                error.split_once("unknown field `wrong`, expected one of ").unwrap_or_else(|| panic!("{error}"));
            assert_eq!(read, names.join(", "));
        }
    }

    #[test]
    fn the_example_is_a_mapping() {
        let (_, rest) = INTRODUCTION.split_once("```yaml\n").unwrap();
        let (example, _) = rest.split_once("```").unwrap();
        Mapping::parse(Path::new("example.yaml"), example).unwrap();
    }
}
