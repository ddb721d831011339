//! Which touch led to each install, how surely, and which path did it freeze?

use std::sync::Arc;

use differential_dataflow::VecCollection;
use operators::{ByKey, arrange_forgetting, arrange_shared, reduce, reduce_shared};
use schemas::view::{Method, PathTouch};
use schemas::{DeviceId, EventId, EventKey, EventTime, EventType, JoinKey, PayloadHash, Subject, Symbol, Tick, UserId, columns};
use serde::{Deserialize, Serialize};

use crate::changes::ToRows;
use crate::horizon::{Horizons, TargetKey};
use crate::needs::Needs;
use crate::params::{Params, PersonRule, Span};
use crate::attribution::paths::{self, Match, Path};
use crate::attribution::eligibility::Eligibility;
use crate::attribution::targets::TargetRow;
use crate::attribution::touches::{Forgetting, SharedByKey};
use crate::view::{Maintained, Output, View};

const SQL: &str = "\
WITH
targets AS (
  SELECT tenant, app, coalesce(app, 0) AS scope, event_id, subject, event_time, user_id, device_id,
    coalesce(device_id, user_id) AS person, click_id, fingerprint
  FROM events
  WHERE type = 'install'
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
-- A reinstall freezes no path.
frozen AS (
  SELECT tenant, event_id, subject, event_time,
    array_agg(named_struct('event_time', touch_event_time, 'event_id', touch_event_id, 'subject', touch_subject,
      'type', touch_type, 'method', method, 'channel', channel, 'campaign', campaign, 'ad_group', ad_group,
      'creative', creative, 'source', source) ORDER BY touch_event_time, touch_event_id, touch_subject) AS path,
    max(dropped) AS path_dropped
  FROM paths LEFT SEMI JOIN (SELECT * FROM installed WHERE NOT reinstall) AS first_installs
    USING (tenant, event_id, subject, event_time)
  GROUP BY tenant, event_id, subject, event_time
)
SELECT installed.tenant, app, installed.event_id, installed.subject, installed.event_time, user_id, device_id, reinstall,
  coalesce(winners.method, 'organic') AS method,
  CASE WHEN rank = 3 THEN candidates ELSE 1 END AS candidates,
  touch_event_id, touch_subject, touch_event_time, touch_type, channel, campaign, ad_group, creative, source,
  installed.event_time - touch_event_time AS ctit_ms, coalesce(path, []) AS path,
  coalesce(path_dropped, 0) AS path_dropped
FROM installed
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
    reads: &["events"],
    sql,
    maintained: Some(Maintained::rows::<InstallRow>(|_, retention| Needs::attributed_until_final(retention))),
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
    SQL.replace("{installed}", installed)
        .replace("{paths}", &paths::sql(&params.installs))
        .replace("{lifetime_ms}", &params.installs.attribution_lifetime.0.to_string())
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
    /// Whether the same device or user had the app within the attribution lifetime before.
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
        /// whether the same person had the app within the attribution lifetime before
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
            is_install: true,
            reinstall: self.reinstall,
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

/// The standing installs, and an index of those that may govern conversions.
pub struct Installs<'scope> {
    /// All installs; of the further ones of a person `reinstall` is set.
    pub all: VecCollection<'scope, Tick, (TargetKey, Arc<TargetRow>), isize>,
    /// Those that are no reinstalls, by each key of their person.
    pub by_person: SharedByKey<'scope, JoinKey, (TargetKey, Arc<TargetRow>)>,
}

/// What is known of an install.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Fact {
    Install(Arc<TargetRow>),
    Again,
}

/// Tells the reinstalls: those at most `lifetime` after any earlier install of the same device and app, or of the same user
/// and app where one of the two has no device, by (event time, id, subject). An install without a person is none.
///
/// The installs of a person decide about each other, so none of them is forgotten: one event in a few hundred. Whether one is a
/// reinstall is final when it is, as only earlier ones decide.
///
/// `finals` are installs that were loaded with what was found of them: they decide about others and may govern conversions.
pub fn reinstalls<'scope>(
    installs: VecCollection<'scope, Tick, (TargetKey, Arc<TargetRow>), isize>,
    finals: VecCollection<'scope, Tick, (TargetKey, Arc<TargetRow>), isize>,
    lifetime: Span,
    rule: PersonRule,
) -> Installs<'scope> {
    let all_by_person = installs.clone().concat(finals.clone()).flat_map(move |install| by_person(rule, install));
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
    let facts = installs.map(|(key, row)| (key, Fact::Install(row))).concat(again);
    let all = reduce(facts, "reinstalls", |_, facts, output| {
        // In order, the install itself is the first.
        if let Some((Fact::Install(row), _)) = facts.first() {
            let reinstall = facts.len() > 1;
            let row = if reinstall { Arc::new(TargetRow { reinstall, ..**row }) } else { Arc::clone(row) };
            output.push((row, 1));
        }
    });
    let first = all.clone().concat(finals).filter(|(_, row)| !row.reinstall);
    let by_person = arrange_shared(first.flat_map(move |install| by_person(rule, install)), "installs by person");
    Installs { all, by_person }
}

/// An install by each key of its person.
fn by_person(
    rule: PersonRule,
    (key, row): (TargetKey, Arc<TargetRow>),
) -> impl Iterator<Item = (JoinKey, (TargetKey, Arc<TargetRow>))> {
    rule.keys(row.app, row.device, row.user).map(move |person| (person, (key, Arc::clone(&row))))
}

/// The rows of the view by install, from what the joins found for each. They are found as long as the install speaks
/// for its person; what they are made of leaves once it is final.
pub fn install_rows<'scope>(
    found: VecCollection<'scope, Tick, (TargetKey, Match), isize>,
    finals: VecCollection<'scope, Tick, (TargetKey, Arc<InstallRow>), isize>,
    eligibility: Eligibility,
    horizons: Horizons,
) -> Forgetting<'scope, TargetKey, Arc<InstallRow>, ByKey> {
    let rows = reduce(found, "installs", move |_, found, output| {
        output.extend(Path::of(found, &eligibility).map(|(install, path)| (Arc::new(install_row(&install, path)), 1)));
    });
    let lasting = rows.concat(finals).map(move |(install, row)| (lasting(install, row.event_time, &horizons), row));
    arrange_forgetting(lasting, "installs", ByKey)
}

/// The key of an install for as long as it speaks for its person.
pub fn lasting(install: TargetKey, event_time: EventTime, horizons: &Horizons) -> TargetKey {
    TargetKey { until: horizons.install(event_time), ..install }
}

fn install_row(install: &TargetRow, path: Path) -> InstallRow {
    let frozen = !install.reinstall;
    InstallRow {
        tenant: install.tenant,
        app: install.app,
        event_id: install.event_id,
        subject: install.subject,
        event_time: install.event_time,
        user: install.user,
        device: install.device,
        country: install.country,
        reinstall: install.reinstall,
        method: path.winner.map_or(Method::Organic, |touch| touch.method),
        candidates: path.candidates,
        touch: path.winner,
        ctit_ms: path.winner.map(|touch| install.event_time.0 - touch.event_time.0),
        path: if frozen { path.touches } else { Vec::new() },
        path_dropped: if frozen { path.dropped } else { 0 },
    }
}
