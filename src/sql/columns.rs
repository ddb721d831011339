//! What the columns of the tables mean: one name means one thing everywhere, so one list serves them all. It decides
//! how the `public` schema shows a column and what `describe` says of it. What one maintained view alone has is said by its rows.

use dataflows::views;
use schemas::table::{Column, Kind};

const fn of(name: &'static str, kind: Kind, doc: &'static str) -> Column {
    Column { name, kind, doc }
}

/// All columns of all tables.
pub const COLUMNS: &[Column] = &[
    of("tenant", Kind::Symbol, "account that the event belongs to"),
    of("app", Kind::Symbol, "app or site within the tenant"),
    of("event_id", Kind::Id, "the producer's event id, hashed; see the function event_id(tenant, raw)"),
    of("subject", Kind::Id, "whom the event is about: its user, else device, else click id, else zeros"),
    of("event_time", Kind::Time, "when it happened"),
    of("user_id", Kind::Id, "user, hashed; see the function user_id(tenant, raw)"),
    of("device_id", Kind::Id, "device, hashed; see the function device_id(tenant, raw)"),
    of("click_id", Kind::Id, "click id, also of a referrer, hashed; see the function click_id(tenant, raw)"),
    of("login_id", Kind::Id, "login of an identify event, hashed; see the function login_id(tenant, raw)"),
    of("fingerprint", Kind::Id, "address, system, major version and device model, hashed"),
    of("type", Kind::Plain, "type of the event"),
    of("campaign", Kind::Symbol, "campaign"),
    of("ad_group", Kind::Symbol, "ad group within the campaign"),
    of("creative", Kind::Symbol, "creative shown"),
    of("source", Kind::Symbol, "publisher or traffic source"),
    of("channel", Kind::Symbol, "marketing channel; of metrics and credits (none) where no touch earned the credit"),
    of("placement", Kind::Symbol, "placement within the source"),
    of("ip_hash", Kind::Id, "IPv4 address or /64 of the IPv6 address, hashed"),
    of("ip_net", Kind::Network, "/24 of the IPv4 or /48 of the IPv6 address"),
    of("os", Kind::Symbol, "operating system"),
    of("os_version", Kind::Symbol, "operating system version as sent"),
    of("device_model", Kind::Symbol, "device model"),
    of("language", Kind::Symbol, "language tag"),
    of("country", Kind::Symbol, "country code"),
    of("name", Kind::Symbol, "name of the event or conversion"),
    of("item", Kind::Symbol, "item of the event or conversion"),
    of("quantity", Kind::Plain, "number of items"),
    of("revenue_micros", Kind::Plain, "revenue in millionths of the currency; negative for a refund"),
    of("cost_micros", Kind::Plain, "media cost in millionths of the currency"),
    of("currency", Kind::Symbol, "currency of the amounts"),
    of("version", Kind::Plain, "version of a cost row; the largest counts"),
    of("hour", Kind::Time, "when the hour of the tenant's time zone began"),
    of("day", Kind::Time, "when the day of the tenant's time zone began"),
    of("zone", Kind::Plain, "time zone of the tenant, by its name in the IANA database"),
    of("starts", Kind::Time, "when the offset begins to hold"),
    of("ends", Kind::Time, "when it ceases to hold"),
    of("offset_ms", Kind::Plain, "how far local time is ahead of UTC, in milliseconds"),
    of("install_begin_time", Kind::Time, "when the installation began, where the store tells"),
    of("items", Kind::Plain, "item lines of a conversion, a JSON array"),
    of(
        "capped",
        Kind::Plain,
        "join keys by which the touch is no candidate: 1 person (device, else user), 2 click id, 4 fingerprint, 8 user beside a device",
    ),
    of(
        "verdict",
        Kind::Plain,
        "ok, late (past the allowed lateness), dead (not readable) or skipped (not wanted by its topic's mapping)",
    ),
    of("reason", Kind::Plain, "why the record is dead or does not stand, or what was wrong with the field"),
    of("referrer", Kind::Plain, "the referrer, without what could be an id of a person"),
    of(
        "faults",
        Kind::Plain,
        "optional fields that were left out or cut: field, reason, and the value where it tells of nobody",
    ),
    of("key", Kind::Plain, "the record's key, where dead"),
    of("headers", Kind::Plain, "the record's headers, where dead: a JSON object"),
    of("field", Kind::Plain, "the field of the event, as JSON and mappings name it"),
    of("value", Kind::Plain, "the value, where it is one of few and tells of nobody"),
    of("unknown_fields", Kind::Plain, "names of fields that the record has and no event has"),
    of("records", Kind::Plain, "number of records"),
    of("first_arrival", Kind::Time, "arrival of the first of them"),
    of("last_arrival", Kind::Time, "arrival of the last of them"),
    of("file", Kind::Plain, "name of the imported file; several where its content was imported under several names"),
    of("mapping", Kind::Plain, "identity of the mapping that it was imported by"),
    of("file_bytes", Kind::Plain, "size of the file, in bytes"),
    of("file_rows", Kind::Plain, "rows that were read in the file"),
    of("ok", Kind::Plain, "records that were accepted"),
    of("late", Kind::Plain, "records that came after the allowed lateness"),
    of("dead", Kind::Plain, "records that could not be read"),
    of("imported_at", Kind::Time, "when it was imported"),
    of("was_noted", Kind::Plain, "whether it was imported by the cut that is read"),
    of("is_void", Kind::Plain, "whether the import was undone, so that its records count in no view"),
    of("declared_at", Kind::Time, "when it was declared void; in effect once is_void"),
    of("topic", Kind::Plain, "topic, or the file that was imported"),
    of("partition", Kind::Plain, "partition of the topic"),
    of("offset", Kind::Plain, "offset in the partition"),
    of("arrival", Kind::Time, "when the log took the record in"),
    of("arrival_date", Kind::Plain, "day of the arrival, UTC; the table is partitioned by it"),
    of("lateness_ms", Kind::Plain, "arrival minus event time, in milliseconds"),
    of("lateness", Kind::Plain, "the same for people, as 3d 4h"),
    of("payload_hash", Kind::Id, "first 16 bytes of the SHA-256 of the record's value"),
    of("raw", Kind::Plain, "the record's value, where dead"),
    of("symbol", Kind::Plain, "64-bit hash that stands for the name in the raw schema"),
    of("method", Kind::Plain, "how the touch was matched: person, click_id, fingerprint or organic"),
    of("touch_event_id", Kind::Id, "event id of the touch"),
    of("touch_subject", Kind::Id, "subject of the touch"),
    of("touch_event_time", Kind::Time, "when the touch happened"),
    of("touch_type", Kind::Plain, "impression or click"),
    of("breakdown", Kind::Symbol, "app, campaign, source, channel or country of the first step, as the funnel has it"),
    of(
        "period_start",
        Kind::Time,
        "when the day, week or month of the first step began; none where a visitor counts once ever",
    ),
    of("step_name", Kind::Plain, "name of the step"),
    of("nulls", Kind::Plain, "number of paths that led to no conversion within the idle time"),
    of("place", Kind::Plain, "place of the channel in the path, from 1; by sets that at which it comes first"),
    of("entrants", Kind::Plain, "number of visitors that reached the first step"),
    of("previous", Kind::Plain, "number of visitors that reached the step before; of the first step as visitors"),
    of(
        "median_seconds",
        Kind::Plain,
        "median of the visitors' shortest time from the first step to this one, in whole seconds",
    ),
    of(
        "effects_of",
        Kind::Time,
        "the day (UTC) whose removal effects these are: of the 30 days of paths that were final when it began",
    ),
    of("effect_ppm", Kind::Plain, "share of conversions that would be lost without the channel, in millionths"),
    of("begins", Kind::Time, "when the hour or day begins"),
    of("horizon", Kind::Plain, "hour or day: what is forecast"),
    of("metric", Kind::Plain, "impressions, clicks, installs, conversions or revenue"),
    of(
        "samples",
        Kind::Plain,
        "number of hours of the weeks before that it follows from; of a day the fewest of an hour",
    ),
    of("expected", Kind::Plain, "what is to be expected: a number, or millionths of the currency"),
    of("low", Kind::Plain, "what it is not below in four of five cases, as the last 7 days had it"),
    of("high", Kind::Plain, "what it is not above in four of five cases"),
    of("tried", Kind::Plain, "number of hours or days of the last 7 days that were forecast to see how far off it is"),
    of("error_ppm", Kind::Plain, "by how much these were off, of what there was in all, in millionths"),
    of("days", Kind::Plain, "number of days on which both shared an hour"),
    of("hours_shared", Kind::Plain, "number of hours that both shared"),
    of("first_day", Kind::Time, "when the first of these days began"),
    of("last_day", Kind::Time, "when the last of these days began"),
    of(
        "score_thousandths",
        Kind::Plain,
        "the mean over these hours of the chance that another visitor of the hour, drawn by lot, is the other one, in thousandths",
    ),
    of("retention_ppm", Kind::Plain, "share of the users of a cohort that were there at an age, in millionths"),
    of("ltv_micros", Kind::Plain, "revenue up to an age, in millionths of the currency"),
    of("ltv_per_user_micros", Kind::Plain, "the same, for each user of the cohort"),
    of(
        "period",
        Kind::Plain,
        "what is counted: the hour, day, week or month of the calendar that it is, or life, since the visitor is known",
    ),
    of("path_dropped", Kind::Plain, "number of eligible touches that the path leaves out, all after its first"),
    of("_cut", Kind::Time, "the cut that makes the row durable"),
    of("_diff", Kind::Plain, "how often the row is added (above zero) or withdrawn (below)"),
];

/// What a view that is computed when it is read means by a column that other tables mean otherwise.
pub const OF_VIEWS: &[(&str, Column)] = &[
    ("path_counts", of("conversions", Kind::Plain, "number of paths that led to a conversion")),
    ("credits_shapley", of("model", Kind::Plain, "shapley or shapley_ordered")),
    ("likely_links", of("id_kind", Kind::Plain, "what the id is: user or device")),
    ("likely_links", of("id", Kind::Id, "user or device, hashed")),
    ("likely_links", of("other_kind", Kind::Plain, "what the other id is: user or device")),
    (
        "likely_links",
        of("other_id", Kind::Id, "a user or device that is likely the same person, hashed; greater than the id"),
    ),
];

/// The column of a name: what all tables mean by it, or what a view says that has it.
pub fn column(name: &str) -> Option<&'static Column> {
    let of_views = || views::maintained().flat_map(|(_, maintained)| maintained.columns);
    let said = |column: &&Column| column.name == name && !column.doc.is_empty();
    COLUMNS.iter().chain(of_views()).find(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        for (index, column) in COLUMNS.iter().enumerate() {
            assert!(COLUMNS[..index].iter().all(|before| before.name != column.name), "{}", column.name);
        }
    }
}
