//! Which touch led to each install, how surely, and which path did it freeze?

use std::sync::Arc;

use differential_dataflow::VecCollection;
use operators::{ByKey, arrange_forgetting, reduce, reduce_shared};
use schemas::view::{InstallRow, Method};
use schemas::{EventTime, JoinKey, Tick};

use crate::horizon::{Horizons, TargetKey};
use crate::params::{Params, Span};
use crate::paths::{self, Eligibility, Match, Path};
use crate::targets::TargetRow;
use crate::touches::{Forgetting, SharedByKey};

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
-- The nearest earlier install of the person decides: where it is too long ago, so are the others.
installed AS (
  SELECT *, person IS NOT NULL AND coalesce(event_time - lag(event_time) OVER (
      PARTITION BY tenant, scope, person ORDER BY event_time, event_id, subject
    ) <= {lifetime_ms}, false) AS reinstall
  FROM targets
),
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

/// The SQL that defines the view over `events`. A path without touches is null.
pub fn sql(params: &Params) -> String {
    SQL.replace("{paths}", &paths::sql(&params.installs))
        .replace("{lifetime_ms}", &params.installs.attribution_lifetime.0.to_string())
}

/// The standing installs, and an index of those of a known person.
pub struct Installs<'scope> {
    /// All installs; of the further ones of a person `reinstall` is set.
    pub all: VecCollection<'scope, Tick, (TargetKey, Arc<TargetRow>), isize>,
    /// The installs of each person in an app.
    pub by_person: SharedByKey<'scope, JoinKey, (TargetKey, Arc<TargetRow>)>,
}

/// Tells the reinstalls: those at most `lifetime` after any earlier install of the same person and app, by
/// (event time, id, subject). An install without a person is none.
///
/// The installs of a person decide about each other, so none of them is forgotten: one event in a few hundred.
pub fn reinstalls<'scope>(
    installs: VecCollection<'scope, Tick, (TargetKey, Arc<TargetRow>), isize>,
    lifetime: Span,
) -> Installs<'scope> {
    let nameless = installs.clone().filter(|(_, row)| row.person().is_none());
    let by_person = installs
        .filter(|(_, row)| !row.person().is_none())
        .map(|(key, row)| (row.person(), (key, row)))
        .arrange_by_key_named("installs by person");
    let by_person = reduce_shared(by_person, "reinstalls", move |_, installs, output| {
        let mut ordered: Vec<&(TargetKey, Arc<TargetRow>)> = installs.iter().map(|(install, _)| *install).collect();
        ordered.sort_by_key(|(_, row)| row.identity());
        let mut before = None;
        for (key, row) in ordered {
            // The nearest earlier install decides: where it is too long ago, so are the others.
            let at = row.event_time.0;
            let reinstall = before.replace(at).is_some_and(|before| at - before <= lifetime.0);
            let row = if reinstall { Arc::new(TargetRow { reinstall, ..**row }) } else { Arc::clone(row) };
            output.push(((*key, row), 1));
        }
    });
    let all = nameless.concat(by_person.clone().as_collection(|_, install| install.clone()));
    Installs { all, by_person }
}

/// The rows of the view by install, from what the joins found for each. They are found as long as the install speaks
/// for its person; what they are made of leaves once it is final.
pub fn install_rows<'scope>(
    found: VecCollection<'scope, Tick, (TargetKey, Match), isize>,
    eligibility: Eligibility,
    horizons: Horizons,
) -> Forgetting<'scope, TargetKey, Arc<InstallRow>, ByKey> {
    let rows = reduce(found, "installs", move |_, found, output| {
        output.extend(Path::of(found, &eligibility).map(|(install, path)| (Arc::new(install_row(&install, path)), 1)));
    });
    let lasting = rows.map(move |(install, row)| (lasting(install, row.event_time, &horizons), row));
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
        reinstall: install.reinstall,
        method: path.winner.map_or(Method::Organic, |touch| touch.method),
        candidates: path.candidates,
        touch: path.winner,
        ctit_ms: path.winner.map(|touch| install.event_time.0 - touch.event_time.0),
        path: if frozen { path.touches } else { Vec::new() },
        path_dropped: if frozen { path.dropped } else { 0 },
    }
}
