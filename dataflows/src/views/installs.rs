//! Which touch led to each install, how surely, and which path did it freeze?
//!
//! Where a device comes back to an app after more than `reattribution_after` days ([`crate::devices`]), and a touch is eligible for the
//! install or open with which it does, attribution begins anew: the row is a reattribution, and later conversions follow it. Without
//! such a touch nothing changes.

use std::sync::Arc;

use differential_dataflow::VecCollection;
use operators::{ByKey, arrange_forgetting, arrange_shared, reduce, reduce_shared};
use schemas::units::DAY_MS;
use schemas::view::{Method, PathTouch};
use schemas::{DeviceId, EventId, EventKey, EventTime, EventType, JoinKey, PayloadHash, Subject, Symbol, Tick, UserId, columns};
use serde::{Deserialize, Serialize};

use crate::changes::ToRows;
use crate::horizon::{Horizons, TargetKey};
use crate::local_time;
use crate::needs::Needs;
use crate::params::{Params, PersonRule, Span};
use crate::attribution::paths::{self, Match, Path};
use crate::attribution::eligibility::Eligibility;
use crate::attribution::targets::TargetRow;
use crate::attribution::touches::{Forgetting, SharedByKey};
use crate::view::{Maintained, Output, View};

const SQL: &str = "\
WITH
-- Days on which a device was back in an app after more than {after_days} days; away for more than {forget_after_days} it is a new one.
back AS (
  SELECT tenant, scope, device_id, day
  FROM (
    SELECT tenant, scope, device_id, day, date - lag(date) OVER (PARTITION BY tenant, scope, device_id ORDER BY date) AS away
    FROM (
      SELECT tenant, coalesce(app, 0) AS scope, device_id, day, {date} AS date
      FROM {dated}
      WHERE whose = 'device'
    ) AS dates
  ) AS aways
  WHERE away > {after} AND away <= {forget_after}
),
-- What it did first on such a day.
ranked AS (
  SELECT done.*, row_number() OVER (
      PARTITION BY tenant, scope, device_id, day ORDER BY event_time, event_id, subject
    ) AS rank_of_day
  FROM (
    SELECT tenant, app, coalesce(app, 0) AS scope, event_id, subject, event_time, user_id, device_id, click_id, fingerprint, type,
      {day} AS day
    FROM {events}
    WHERE device_id IS NOT NULL
      AND (type IN ('install', 'open', 'event') OR type = 'conversion' AND coalesce(revenue_micros, 0) >= 0)
  ) AS done LEFT SEMI JOIN back USING (tenant, scope, device_id, day)
),
-- It comes back with that, if that is an install or an open.
returns AS (
  SELECT *, true AS comes_back FROM ranked WHERE rank_of_day = 1 AND type IN ('install', 'open')
),
targets AS (
  SELECT tenant, app, coalesce(app, 0) AS scope, event_id, subject, event_time, user_id, device_id,
    coalesce(device_id, user_id) AS person, click_id, fingerprint, type AS event_type
  FROM events
  WHERE type = 'install'
  UNION ALL
  SELECT tenant, app, scope, event_id, subject, event_time, user_id, device_id, device_id AS person, click_id, fingerprint, type
  FROM returns
  WHERE type = 'open'
),
{paths},
-- Whom a fingerprint may stand for: devices, else users, else touches.
candidates AS (
  SELECT tenant, event_id, subject, event_time,
    count(DISTINCT touch_person) + sum(CASE WHEN touch_person IS NULL THEN 1 ELSE 0 END) AS candidates
  FROM by_fingerprint
  GROUP BY tenant, event_id, subject, event_time
),
-- Clicks before views, deterministic before fingerprint, the latest, person before click id, larger id and subject.
winners AS (
  SELECT ordered.*, candidates, CASE rank WHEN 1 THEN 'person' WHEN 2 THEN 'click_id' ELSE 'fingerprint' END AS method
  FROM (
    SELECT *, row_number() OVER (
      PARTITION BY tenant, event_id, subject, event_time
      ORDER BY touch_type = 'click' DESC, rank < 3 DESC, touch_event_time DESC, rank, touch_event_id DESC,
        touch_subject DESC
    ) AS place
    FROM eligible
  ) AS ordered LEFT JOIN candidates USING (tenant, event_id, subject, event_time)
  WHERE place = 1
),
{installed},
-- Where a device comes back and a touch led there, attribution begins anew.
begun AS (
  SELECT tenant, app, event_id, subject, event_time, user_id, device_id, event_type,
    reinstall AND NOT reattribution AS reinstall, reattribution
  FROM (
    SELECT installed.tenant, installed.app, installed.event_id, installed.subject, installed.event_time, installed.user_id,
      installed.device_id, event_type, reinstall, coalesce(comes_back, false) AND rank IS NOT NULL AS reattribution
    FROM installed
    LEFT JOIN winners USING (tenant, event_id, subject, event_time)
    LEFT JOIN (SELECT tenant, event_id, subject, event_time, comes_back FROM returns WHERE type = 'install') AS again
      USING (tenant, event_id, subject, event_time)
  ) AS told
  UNION ALL
  SELECT tenant, app, event_id, subject, event_time, user_id, device_id, event_type, false, true
  FROM targets LEFT SEMI JOIN winners USING (tenant, event_id, subject, event_time)
  WHERE event_type = 'open'
),
-- A reinstall freezes no path.
frozen AS (
  SELECT tenant, event_id, subject, event_time,
    array_agg(named_struct('event_time', touch_event_time, 'event_id', touch_event_id, 'subject', touch_subject,
      'type', touch_type, 'method', method, 'channel', channel, 'campaign', campaign, 'ad_group', ad_group,
      'creative', creative, 'source', source) ORDER BY touch_event_time, touch_event_id, touch_subject) AS path,
    max(dropped) AS path_dropped
  FROM paths LEFT SEMI JOIN (SELECT * FROM begun WHERE NOT reinstall) AS first_installs
    USING (tenant, event_id, subject, event_time)
  GROUP BY tenant, event_id, subject, event_time
)
SELECT begun.tenant, app, begun.event_id, begun.subject, begun.event_time, user_id, device_id,
  CASE WHEN reattribution THEN 'reattribution' ELSE 'install' END AS type, event_type, reinstall,
  coalesce(winners.method, 'organic') AS method,
  CASE WHEN rank = 3 THEN candidates ELSE 1 END AS candidates,
  touch_event_id, touch_subject, touch_event_time, touch_type, channel, campaign, ad_group, creative, source,
  begun.event_time - touch_event_time AS ctit_ms, coalesce(path, []) AS path,
  coalesce(path_dropped, 0) AS path_dropped
FROM begun
LEFT JOIN winners USING (tenant, event_id, subject, event_time)
LEFT JOIN frozen USING (tenant, event_id, subject, event_time)
";

/// `installs`.
pub static INSTALLS: View = View {
    name: "installs",
    question: "Which touch led to each install, how surely, and which path did it freeze?",
    key: &["tenant", "subject", "event_id", "event_time"],
    read_by: &[&["tenant", "user_id"], &["tenant", "device_id"], &["tenant", "subject"]],
    code: 1,
    reads: &["events", "attributed_ids", "activity", "zone_spans"],
    sql,
    // The days of devices, too: they tell which of them come back.
    maintained: Some(Maintained::rows::<InstallRow>(Needs::of_lives)),
};

/// What is written of it.
pub fn output<'scope>(installs: Forgetting<'scope, TargetKey, Arc<InstallRow>, ByKey>) -> Output<'scope> {
    Output::rows(&INSTALLS, installs, Rows)
}

/// The step that tells the reinstalls.
const INSTALLED_SQL: &str = "\
-- The nearest earlier install of the person decides: where it is too long ago, so are the others.
installed AS (
  SELECT *, person IS NOT NULL AND coalesce(event_time - lag(event_time) OVER (
      PARTITION BY tenant, scope, person ORDER BY event_time, event_id, subject
    ) <= {lifetime_ms}, false) AS reinstall
  FROM targets
  WHERE event_type = 'install'
)";

/// As [`INSTALLED_SQL`], where a person is a device or a user.
const INSTALLED_BY_DEVICE_OR_USER_SQL: &str = "\
-- The nearest earlier install of the device, and of the user where one of the two installs has no device.
earlier AS (
  SELECT *,
    CASE WHEN device_id IS NOT NULL THEN max(event_time) OVER (
      PARTITION BY tenant, scope, device_id ORDER BY event_time, event_id, subject
      ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) END AS of_device,
    CASE WHEN user_id IS NOT NULL THEN max(CASE WHEN device_id IS NULL THEN event_time END) OVER of_user
    END AS of_user_alone,
    CASE WHEN user_id IS NOT NULL AND device_id IS NULL THEN max(event_time) OVER of_user END AS of_user
  FROM targets
  WHERE event_type = 'install'
  WINDOW of_user AS (
    PARTITION BY tenant, scope, user_id ORDER BY event_time, event_id, subject
    ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
  )
),
installed AS (
  SELECT *, coalesce(event_time - of_device <= {lifetime_ms}, false)
    OR coalesce(event_time - of_user_alone <= {lifetime_ms}, false)
    OR coalesce(event_time - of_user <= {lifetime_ms}, false) AS reinstall
  FROM earlier
)";

/// The SQL that defines the view over `events`. A path without touches is null.
fn sql(params: &Params) -> String {
    let installed = match params.installs.person {
        PersonRule::DeviceOrUser => INSTALLED_BY_DEVICE_OR_USER_SQL,
        PersonRule::DeviceElseUser => INSTALLED_SQL,
    };
    let days = |span: Span| (span.0 / DAY_MS).to_string();
    let (after, forget_after) = (params.installs.reattribution_after, params.forget_after);
    let texts = [
        ("{installed}", installed.to_owned()),
        ("{paths}", paths::sql(&params.installs)),
        ("{lifetime_ms}", params.installs.attribution_lifetime.0.to_string()),
        ("{after_days}", days(after)),
        ("{forget_after_days}", days(forget_after)),
        ("{after}", after.0.to_string()),
        ("{forget_after}", forget_after.0.to_string()),
        ("{date}", local_time::date("day")),
        ("{dated}", local_time::with_spans("activity", "day")),
        ("{day}", local_time::day("event_time")),
        ("{events}", local_time::with_spans("events", "event_time")),
    ];
    texts.iter().fold(SQL.to_owned(), |sql, (name, text)| sql.replace(name, text))
}

/// One row of `installs`: unique by (tenant, subject, event id, event time) of the install.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InstallRow {
    /// Account.
    pub tenant: Symbol,
    /// App.
    pub app: Symbol,
    /// The install's event id.
    pub event_id: EventId,
    /// The install's subject.
    pub subject: Subject,
    /// When it was installed.
    pub event_time: EventTime,
    /// The install's user.
    pub user: UserId,
    /// The install's device.
    pub device: DeviceId,
    /// Where it was installed; not a column of the table.
    pub country: Symbol,
    /// An install, or an open.
    pub event_type: EventType,
    /// Whether its device came back with it, and a touch led there.
    pub reattribution: bool,
    /// Whether its device came back with it; not a column of the table, and of a row from there not known.
    pub comes_back: bool,
    /// Whether the same device or user had the app within the attribution lifetime before, and it is no reattribution.
    pub reinstall: bool,
    /// How the winner was matched.
    pub method: Method,
    /// 1 / confidence: the number of distinct candidates of a fingerprint match, else 1.
    pub candidates: i64,
    /// The winning touch; none for an organic install.
    pub touch: Option<PathTouch>,
    /// Click-to-install time: install − winner, ms; none for an organic install.
    pub ctit_ms: Option<i64>,
    /// The path that this install freezes, oldest first, at most [`PATH_TOUCHES_MAX`](schemas::view::PATH_TOUCHES_MAX); empty for a reinstall.
    pub path: Vec<PathTouch>,
    /// Number of eligible touches that the path leaves out, all after its first.
    pub path_dropped: i64,
}

columns! {
    InstallRow, |row| {
        tenant: Symbol = row.tenant,
        app: Option<Symbol> = row.app.some(),
        event_id: EventId = row.event_id,
        subject: Subject = row.subject,
        event_time: EventTime = row.event_time,
        user_id: Option<UserId> = row.user.some(),
        device_id: Option<DeviceId> = row.device.some(),
        /// install, or reattribution: its device came back after more than `reattribution_after`, and a touch led there
        r#type: &'static str = if row.reattribution { REATTRIBUTION } else { "install" },
        /// what it begins with: an install, or of a reattribution an open
        event_type: EventType = row.event_type,
        /// whether the same person had the app within the attribution lifetime before; false of a reattribution
        reinstall: bool = row.reinstall,
        method: Method = row.method,
        /// 1 / confidence: distinct candidates of a fingerprint match, else 1
        candidates: i64 = row.candidates,
        touch_event_id: Option<EventId> = row.touch.map(|touch| touch.event_id),
        touch_subject: Option<Subject> = row.touch.map(|touch| touch.subject),
        touch_event_time: Option<EventTime> = row.touch.map(|touch| touch.event_time),
        touch_type: Option<EventType> = row.touch.map(|touch| touch.event_type),
        channel: Option<Symbol> = row.touch.and_then(|touch| touch.channel.some()),
        campaign: Option<Symbol> = row.touch.and_then(|touch| touch.campaign.some()),
        ad_group: Option<Symbol> = row.touch.and_then(|touch| touch.ad_group.some()),
        creative: Option<Symbol> = row.touch.and_then(|touch| touch.creative.some()),
        source: Option<Symbol> = row.touch.and_then(|touch| touch.source.some()),
        /// install minus touch, in milliseconds; null where organic
        ctit_ms: Option<i64> = row.ctit_ms,
        /// the touches that the install freezes, oldest first, at most 128
        path: &[PathTouch] = row.path.as_slice(),
        path_dropped: i64 = row.path_dropped,
    }
}

impl InstallRow {
    /// The identity of the install.
    pub fn key(&self) -> EventKey {
        EventKey::of(self.tenant, self.subject, self.event_id, self.event_time)
    }

    /// What is still asked of it once it is final: who it was, when, and whether it was a reinstall.
    pub fn target(&self) -> TargetRow {
        TargetRow {
            payload_hash: PayloadHash::NONE,
            late: false,
            event_type: self.event_type,
            reinstall: self.reinstall,
            comes_back: self.comes_back,
            tenant: self.tenant,
            app: self.app,
            event_time: self.event_time,
            event_id: self.event_id,
            subject: self.subject,
            user: self.user,
            device: self.device,
            click: JoinKey::NONE,
            fingerprint: JoinKey::NONE,
            country: self.country,
            name: Symbol::NONE,
            revenue: None,
            currency: Symbol::NONE,
        }
    }
}

/// What the column `type` calls a reattribution.
pub const REATTRIBUTION: &str = "reattribution";

/// Rows of `installs` from what is arranged: the same.
struct Rows;

impl ToRows<Arc<InstallRow>> for Rows {
    type Row = InstallRow;
    type Group = EventKey;

    fn group(&self, row: &Arc<InstallRow>) -> EventKey {
        row.key()
    }

    fn rows(&self, row: &Arc<InstallRow>) -> Vec<InstallRow> {
        vec![(**row).clone()]
    }
}

/// Installs that may govern conversions, by each key of their person: those that are no reinstalls.
pub type Governing<'scope> = SharedByKey<'scope, JoinKey, (TargetKey, Arc<TargetRow>)>;

/// What is known of an install.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Fact {
    Install(Arc<TargetRow>),
    Again,
    ComesBack,
}

/// Tells the reinstalls: those at most `lifetime` after any earlier install of the same device and app, or of the same user
/// and app where one of the two has no device, by (event time, id, subject). An install without a person is none.
///
/// The installs of a person decide about each other, so none of them is forgotten: one event in a few hundred. Whether one is a
/// reinstall is final when it is, as only earlier ones decide.
///
/// `finals` are installs that were loaded with what was found of them: they decide about others. With those of `returns` devices come
/// back.
pub fn reinstalls<'scope>(
    installs: VecCollection<'scope, Tick, (TargetKey, Arc<TargetRow>), isize>,
    finals: VecCollection<'scope, Tick, (TargetKey, Arc<TargetRow>), isize>,
    returns: VecCollection<'scope, Tick, TargetKey, isize>,
    lifetime: Span,
    rule: PersonRule,
) -> VecCollection<'scope, Tick, (TargetKey, Arc<TargetRow>), isize> {
    let all_by_person = installs.clone().concat(finals).flat_map(move |install| by_person(rule, install));
    let again = reduce_shared(
        all_by_person.arrange_by_key_named("all installs by person"),
        "installs again",
        move |person, installs, output| {
            let mut ordered: Vec<&(TargetKey, Arc<TargetRow>)> = installs.iter().map(|(install, _)| *install).collect();
            ordered.sort_by_key(|(_, row)| row.identity());
            let [mut before, mut before_without_device] = [None; 2];
            for (key, row) in ordered {
                let at = row.event_time.0;
                let is_another_device_of_user =
                    !row.device.is_none() && JoinKey::device(row.app, row.device) != Some(*person);
                // The nearest earlier install decides: where it is too long ago, so are the others.
                let nearest = if is_another_device_of_user { before_without_device } else { before };
                if nearest.is_some_and(|before| at - before <= lifetime.0) {
                    output.push((*key, 1));
                }
                before = Some(at);
                if row.device.is_none() {
                    before_without_device = before;
                }
            }
        },
    );
    let again = again.as_collection(|_, install| (*install, Fact::Again));
    // Of one that is final it is known already: nothing is made of being told again.
    let installs = installs.map(|(key, row)| (key, Fact::Install(row)));
    let facts = installs.concat(again).concat(returns.map(|key| (key, Fact::ComesBack)));
    reduce(facts, "reinstalls", |_, facts, output| {
        // In order, the install itself is the first.
        if let Some(((Fact::Install(row), _), others)) = facts.split_first() {
            let is = |told: Fact| others.iter().any(|(fact, _)| **fact == told);
            let (reinstall, comes_back) = (is(Fact::Again), is(Fact::ComesBack));
            let row = if others.is_empty() {
                Arc::clone(row)
            } else {
                Arc::new(TargetRow { reinstall, comes_back, ..**row })
            };
            output.push((row, 1));
        }
    })
}

/// Of installs those that may govern conversions.
pub fn governing<'scope>(
    installs: VecCollection<'scope, Tick, (TargetKey, Arc<TargetRow>), isize>,
    rule: PersonRule,
) -> Governing<'scope> {
    let first = installs.filter(|(_, row)| !row.reinstall);
    arrange_shared(first.flat_map(move |install| by_person(rule, install)), "installs by person")
}

/// An install by each key of its person.
fn by_person(
    rule: PersonRule,
    (key, row): (TargetKey, Arc<TargetRow>),
) -> impl Iterator<Item = (JoinKey, (TargetKey, Arc<TargetRow>))> {
    rule.keys(row.app, row.device, row.user).map(move |person| (person, (key, Arc::clone(&row))))
}

/// The rows of the view by install, from what the joins found for each.
pub fn install_rows<'scope>(
    found: VecCollection<'scope, Tick, (TargetKey, Match), isize>,
    name: &str,
    eligibility: Eligibility,
) -> VecCollection<'scope, Tick, (TargetKey, Arc<InstallRow>), isize> {
    reduce(found, name, move |_, found, output| {
        let row = Path::of(found, &eligibility).and_then(|(install, path)| install_row(&install, path));
        output.extend(row.map(|row| (Arc::new(row), 1)));
    })
}

/// The rows of installs for as long as these speak for their persons; what they are made of leaves once they are final.
pub fn lasting_rows<'scope>(
    rows: VecCollection<'scope, Tick, (TargetKey, Arc<InstallRow>), isize>,
    horizons: Horizons,
) -> Forgetting<'scope, TargetKey, Arc<InstallRow>, ByKey> {
    let lasting = rows.map(move |(install, row)| (lasting(install, row.event_time, &horizons), row));
    arrange_forgetting(lasting, "installs", ByKey)
}

/// The key of an install for as long as it speaks for its person.
pub fn lasting(install: TargetKey, event_time: EventTime, horizons: &Horizons) -> TargetKey {
    TargetKey { until: horizons.install(event_time), ..install }
}

/// The row of an install; none of an open to which no touch led.
fn install_row(install: &TargetRow, path: Path) -> Option<InstallRow> {
    let reattribution = install.comes_back && path.winner.is_some();
    if install.event_type == EventType::Open && !reattribution {
        return None;
    }
    let reinstall = install.reinstall && !reattribution;
    let frozen = !reinstall;
    Some(InstallRow {
        tenant: install.tenant,
        app: install.app,
        event_id: install.event_id,
        subject: install.subject,
        event_time: install.event_time,
        user: install.user,
        device: install.device,
        country: install.country,
        event_type: install.event_type,
        reattribution,
        comes_back: install.comes_back,
        reinstall,
        method: path.winner.map_or(Method::Organic, |touch| touch.method),
        candidates: path.candidates,
        touch: path.winner,
        ctit_ms: path.winner.map(|touch| install.event_time.0 - touch.event_time.0),
        path: if frozen { path.touches } else { Vec::new() },
        path_dropped: if frozen { path.dropped } else { 0 },
    })
}
