//! When did a visitor install an app, buy in it, and do anything in it for the first time, and what led there?
//!
//! Of an install it is the touch that won it that led there, of the rest the names are those of the event itself. A refund is no
//! purchase. A visitor (user, else device) that was not in an app for longer than `forget_after` is a new one there: what it does then
//! is the first again. Where two are at one time, the smaller event id is first.
//!
//! The rows follow from what is kept for `cohorts` ([`crate::lives`]). They are written at once; a start takes those that are
//! final from their table, as a life may have begun long before the events that it reads.

use schemas::symbols::NO_CHANNEL;
use schemas::{EventId, EventTime, Subject, Symbol, columns};

use crate::local_time;
use crate::needs::Needs;
use crate::params::Params;
use crate::view::{Maintained, View};
use crate::visitor_event::{First, Led};

const SQL: &str = "\
WITH done AS (
  SELECT tenant, app, coalesce(user_id, device_id) AS visitor, event_time, event_id, campaign, source, channel, country,
    unnest(CASE type WHEN 'conversion' THEN make_array('event', 'purchase') ELSE make_array('event') END) AS milestone
  FROM events
  WHERE type IN ('install', 'open', 'event') OR type = 'conversion' AND coalesce(revenue_micros, 0) >= 0
  UNION ALL
  SELECT installs.tenant, installs.app, coalesce(installs.user_id, installs.device_id), installs.event_time, installs.event_id,
    installs.campaign, installs.source, CASE WHEN method = 'organic' THEN {no_channel} ELSE installs.channel END,
    events.country, 'install'
  FROM installs JOIN events USING (tenant, subject, event_id, event_time)
  WHERE NOT reinstall AND installs.type = 'install' AND events.type = 'install'
), dated AS (
  SELECT done.*, {date} AS date
  FROM {zoned}
  WHERE visitor IS NOT NULL
), seen AS (
  SELECT *, max(date) OVER (PARTITION BY tenant, app, visitor ORDER BY date
    RANGE BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS last_date
  FROM dated
), lived AS (
  -- A life is told by the date on which it began.
  SELECT *, max(CASE WHEN last_date IS NULL OR date - last_date > {forget_after} THEN date END)
    OVER (PARTITION BY tenant, app, visitor ORDER BY date) AS life
  FROM seen
), ranked AS (
  SELECT *, row_number() OVER (PARTITION BY tenant, app, visitor, milestone, life ORDER BY event_time, event_id) AS place
  FROM lived
)
SELECT tenant, app, visitor, milestone, event_time, event_id, campaign, source, channel, country
FROM ranked
WHERE place = 1
";

/// `firsts`.
pub static FIRSTS: View = View {
    name: "firsts",
    question: "When did a visitor install, buy, and do anything in an app for the first time, and what led there?",
    key: &["tenant", "app", "visitor", "milestone", "event_time"],
    read_by: &[&["tenant", "visitor"]],
    code: 1,
    reads: &["events", "installs", "zone_spans"],
    sql,
    maintained: Some(Maintained::rows::<FirstRow>(Needs::of_lives)),
};

fn sql(params: &Params) -> String {
    let texts = [
        ("{no_channel}", Symbol::of(NO_CHANNEL).0.to_string()),
        ("{date}", local_time::date("event_time")),
        ("{zoned}", local_time::with_spans("done", "event_time")),
        ("{forget_after}", params.forget_after.0.to_string()),
    ];
    texts.iter().fold(SQL.to_owned(), |sql, (name, text)| sql.replace(name, text))
}

/// One row of `firsts`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FirstRow {
    /// Whose.
    pub visitor: Subject,
    /// What it did.
    pub first: First,
}

columns! {
    FirstRow, |row| {
        tenant: Symbol = row.first.tenant,
        app: Option<Symbol> = row.first.app.some(),
        /// user, else device
        visitor: Subject = row.visitor,
        /// what the visitor did for the first time: install, purchase or event, which is anything but impressions and clicks
        milestone: &'static str = row.first.milestone.name(),
        event_time: EventTime = row.first.time,
        event_id: EventId = row.first.id,
        campaign: Option<Symbol> = row.led().campaign.some(),
        source: Option<Symbol> = row.led().source.some(),
        channel: Option<Symbol> = row.led().channel.some(),
        country: Option<Symbol> = row.led().country.some(),
    }
}

impl FirstRow {
    fn led(&self) -> Led {
        self.first.led
    }
}
