//! Paths: for each target, the touches that are eligible for it by person, click id or fingerprint, and the winner.
//!
//! Joins by each of their keys, united, then one `reduce` per target ([`Path::of`]). The joins work on raw copies and may offer too
//! much (a copy that does not stand, a window that is too wide); the reduce decides alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

use differential_dataflow::VecCollection;
use operators::{Expires, find};
use schemas::view::{InstallRef, Method, PATH_TOUCHES_MAX, PathTouch};
use schemas::{Capped, EventTime, EventType, JoinKey, Tick};
use serde::{Deserialize, Serialize};

use crate::attribution::eligibility::Eligibility;
use crate::attribution::hot;
use crate::attribution::identity::Identity;
use crate::attribution::indexes::TouchIndexes;
use crate::attribution::persons::{Asker, OtherId, OtherIds};
use crate::attribution::targets::TargetRow;
use crate::attribution::touch_row::{KeyCheck, TouchRow};
use crate::attribution::touches::{Contender, Copied, Dedup};
use crate::horizon::{Horizons, TargetKey};
use crate::params::{InstallsParams, PersonRule, Windows};

/// The steps of SQL that `installs` and `credits` share: from `targets` to `eligible`, the touches of each target.
const SQL: &str = "\
-- Touches, each with the time for which it can be credited.
touches AS (
  SELECT tenant, coalesce(app, 0) AS scope, event_id AS touch_event_id, subject AS touch_subject,
    event_time AS touch_event_time, type AS touch_type, channel, campaign, ad_group, creative, source,
    device_id AS touch_device, user_id AS touch_user, coalesce(device_id, user_id) AS touch_person,
    click_id AS touch_click, fingerprint AS touch_fingerprint, capped,
    CASE WHEN type = 'click' THEN {click_window} ELSE {view_window} END AS window_ms
  FROM events
  WHERE type IN ('impression', 'click')
),
{by_person},
{by_other_ids}by_click AS (
  SELECT 2 AS rank, *
  FROM targets JOIN touches USING (tenant, scope)
  WHERE click_id = touch_click AND event_time - touch_event_time BETWEEN 0 AND window_ms AND capped & 2 = 0
),
same_fingerprint AS (
  SELECT 3 AS rank, *
  FROM targets JOIN touches USING (tenant, scope)
  WHERE fingerprint = touch_fingerprint
    AND event_time - touch_event_time BETWEEN 0 AND
      CASE WHEN window_ms < {fingerprint_ms} THEN window_ms ELSE {fingerprint_ms} END
),
-- A target whose fingerprint was hot within its window gets no match by it.
hot AS (
  SELECT DISTINCT tenant, event_id, subject, event_time FROM same_fingerprint WHERE capped & 4 <> 0
),
-- Another device with the same fingerprint is somebody else.
by_fingerprint AS (
  SELECT *
  FROM same_fingerprint LEFT ANTI JOIN hot USING (tenant, event_id, subject, event_time)
  WHERE device_id IS NULL OR touch_device IS NULL OR device_id = touch_device
),
-- Each touch once, by its best method.
eligible AS (
  SELECT tenant, event_id, subject, event_time, touch_event_time, touch_event_id, touch_subject, touch_type, channel,
    campaign, ad_group, creative, source, min(rank) AS rank
  FROM (
    SELECT * FROM by_person UNION ALL SELECT * FROM by_click UNION ALL SELECT * FROM by_fingerprint{and_by_other_ids}
  ) AS found
  GROUP BY tenant, event_id, subject, event_time, touch_event_time, touch_event_id, touch_subject, touch_type, channel,
    campaign, ad_group, creative, source
),
-- The first and the latest touches of each target: its path; and how many between them it leaves out.
paths AS (
  SELECT *, CASE rank WHEN 1 THEN 'person' WHEN 2 THEN 'click_id' ELSE 'fingerprint' END AS method,
    greatest(touches_of_target - {path_touches_max}, 0) AS dropped
  FROM (
    SELECT *, row_number() OVER (
      PARTITION BY tenant, event_id, subject, event_time
      ORDER BY touch_event_time DESC, touch_event_id DESC, touch_subject DESC
    ) AS from_last,
    count(*) OVER (PARTITION BY tenant, event_id, subject, event_time) AS touches_of_target
    FROM eligible
  ) AS ordered
  WHERE from_last < {path_touches_max} OR from_last = touches_of_target
)";

/// The step by which touches of the same person are found.
const BY_PERSON_SQL: &str = "\
by_person AS (
  SELECT 1 AS rank, *
  FROM targets JOIN touches USING (tenant, scope)
  WHERE person = touch_person AND event_time - touch_event_time BETWEEN 0 AND window_ms AND capped & 1 = 0
)";

/// As [`BY_PERSON_SQL`], where a person is a device or a user.
const BY_DEVICE_OR_USER_SQL: &str = "\
-- A touch of a hot device (1) is no candidate by its user either; one of a hot user with a device (8) is one by the device.
by_person AS (
  SELECT 1 AS rank, *
  FROM targets JOIN touches USING (tenant, scope)
  WHERE device_id = touch_device AND event_time - touch_event_time BETWEEN 0 AND window_ms AND capped & 1 = 0
  UNION ALL
  SELECT 1 AS rank, *
  FROM targets JOIN touches USING (tenant, scope)
  WHERE user_id = touch_user AND event_time - touch_event_time BETWEEN 0 AND window_ms AND capped & 9 = 0
)";

/// The step by which touches of other ids of the person are found.
const BY_OTHER_IDS_SQL: &str = "\
-- What links had led to by the moment of the target.
targets_of_person AS (
  SELECT targets.*, linked.id_kind AS linked_kind, linked.id AS linked_id
  FROM targets JOIN attributed_ids AS linked
    ON targets.tenant = linked.tenant AND targets.subject = linked.subject AND targets.event_id = linked.event_id
    AND targets.event_time = linked.event_time
),
by_other_ids AS (
  {found}
),
";

/// The shared steps of SQL with these parameters.
pub fn sql(params: &InstallsParams) -> String {
    let by_person = match params.person {
        PersonRule::DeviceOrUser => BY_DEVICE_OR_USER_SQL,
        PersonRule::DeviceElseUser => BY_PERSON_SQL,
    };
    let found = |touch_id: &str, condition: &str| {
        format!(
            "SELECT 1 AS rank, * EXCLUDE (linked_kind, linked_id)
  FROM targets_of_person JOIN touches USING (tenant, scope)
  WHERE linked_id = {touch_id} AND event_time - touch_event_time BETWEEN 0 AND window_ms AND {condition}"
        )
    };
    let found = match params.person {
        PersonRule::DeviceOrUser => {
            let of_devices = found("touch_device", "linked_kind = 'device' AND capped & 1 = 0");
            format!("{of_devices}\n  UNION ALL\n  {}", found("touch_user", "linked_kind = 'user' AND capped & 9 = 0"))
        }
        PersonRule::DeviceElseUser => found("touch_person", "capped & 1 = 0"),
    };
    let by_other_ids = if params.identity { BY_OTHER_IDS_SQL.replace("{found}", &found) } else { String::new() };
    SQL.replace("{by_person}", by_person)
        .replace("{by_other_ids}", &by_other_ids)
        .replace("{and_by_other_ids}", if params.identity { " UNION ALL SELECT * FROM by_other_ids" } else { "" })
        .replace("{click_window}", &window_sql(&params.click_window))
        .replace("{view_window}", &window_sql(&params.view_window))
        .replace("{fingerprint_ms}", &params.fingerprint_window.0.to_string())
        .replace("{path_touches_max}", &PATH_TOUCHES_MAX.to_string())
}

fn window_sql(windows: &Windows) -> String {
    if windows.by_channel.is_empty() {
        return windows.default.0.to_string();
    }
    let mut sql = "CASE channel".to_owned();
    for (channel, span) in windows.by_symbol() {
        write!(sql, " WHEN {} THEN {}", channel.0, span.0).expect("a String takes all");
    }
    write!(sql, " ELSE {} END", windows.default.0).expect("a String takes all");
    sql
}

/// What the joins have to say to a target.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Match {
    /// The target itself. There is one among many matches: their size is not to be its.
    Target(Arc<TargetRow>),
    /// A touch with its fingerprint was hot within its window: it gets no match by fingerprint.
    FingerprintHot,
    /// A copy of a touch that may be eligible.
    Copy(TouchRow),
    /// Something else with half the key of such a touch, perhaps its identity, or its tombstone.
    Contender(Contender),
    /// The install whose frozen path this conversion follows, and how many touches that leaves out.
    Governor(InstallRef, i64),
    /// A touch of that path. These order as the path does.
    Frozen(PathTouch),
    /// Another id of the target's person.
    OtherId(OtherId),
}

/// What a target asks of the index under one of its join keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Ask {
    target: TargetKey,
    event_time: EventTime,
    method: Method,
}

impl Expires<Tick> for Ask {
    fn expiry(&self) -> Tick {
        self.target.expiry()
    }
}

/// Everything that the targets' paths are made of, for installs and for conversions.
pub fn matches<'scope>(
    targets: VecCollection<'scope, Tick, (TargetKey, Arc<TargetRow>), isize>,
    other_ids: Option<OtherIds<'scope>>,
    touches: &TouchIndexes<'scope>,
    eligibility: &Eligibility,
    horizons: Horizons,
) -> [VecCollection<'scope, Tick, (TargetKey, Match), isize>; 2] {
    let rule = eligibility.person;
    let asks = targets.clone().flat_map(move |(target, row)| {
        rule.keys(row.app, row.device, row.user)
            .map(|join_key| (join_key, Method::Person))
            .chain([(row.click, Method::ClickId), (row.fingerprint, Method::Fingerprint)])
            .filter(|(join_key, _)| !join_key.is_none())
            .map(move |(join_key, method)| (join_key.0.route(), Ask { target, event_time: row.event_time, method }))
    });
    let by_other_ids = other_ids.clone().map(|others| {
        others.map(|(Asker { target, app, event_time }, id)| {
            (id.key(app).0.route(), Ask { target, event_time, method: Method::Person })
        })
    });
    let asks = asks.concatenate(by_other_ids);
    let candidates = [(&touches.by_id, false), (&touches.by_fingerprint, true)].map(|(index, by_fingerprint)| {
        let asks = asks.clone().filter(move |(_, ask)| (ask.method == Method::Fingerprint) == by_fingerprint);
        find(asks, index, "candidates", move |ask: &Ask, entry| {
            entry.may_precede(ask.event_time, ask.method, &horizons).then_some((entry.touch(), ask.target))
        })
    });
    let [by_id, by_fingerprint] = candidates;
    // A touch that is found by device and user, or by a person and click id, at once is one question to its copies.
    let candidates = by_id.concat(by_fingerprint);
    let copies = touches.copies.ask(candidates, "copies of candidates", |target: TargetKey, copy| {
        Some((
            target,
            match copy {
                Copied::Touch(row) => Match::Copy(*row),
                Copied::Contender(contender) => Match::Contender(*contender),
            },
        ))
    });

    let hot_asks = targets.clone().filter(|(_, row)| !row.fingerprint.is_none()).map(|(asker, row)| {
        let fingerprint = KeyCheck::of(row.fingerprint);
        (row.fingerprint.0.route(), hot::Ask { fingerprint, event_time: row.event_time, asker })
    });
    let hot = hot::hot(hot_asks, &touches.marks, eligibility).map(|target| (target, Match::FingerprintHot));

    let others = other_ids.map(|others| others.map(|(asker, id)| (asker.target, Match::OtherId(id))));
    let all =
        targets.map(|(target, row)| (target, Match::Target(row))).concatenate([copies, hot].into_iter().chain(others));
    [true, false].map(|installs| all.clone().filter(move |(target, _)| target.is_install == installs))
}

/// The eligible touches of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// The winning touch by the rules for installs.
    pub winner: Option<PathTouch>,
    /// The number of distinct candidates by fingerprint where that is how the winner was matched, else 1.
    pub candidates: i64,
    /// The first touch and the latest others by (event time, id, subject), together at most [`PATH_TOUCHES_MAX`], each with
    /// its best method.
    pub touches: Vec<PathTouch>,
    /// The number of touches left out between the first and the others.
    pub dropped: i64,
}

/// A touch that stands and is eligible.
struct Eligible {
    touch: TouchRow,
    method: Method,
    by_fingerprint: bool,
}

impl Path {
    /// The target and its path, from what the joins found; none where the target itself is gone.
    pub fn of(found: &[(&Match, isize)], eligibility: &Eligibility) -> Option<(Arc<TargetRow>, Path)> {
        let mut target = None;
        let mut hot = false;
        let mut standing: BTreeMap<Identity, Dedup> = BTreeMap::new();
        let (mut contenders, mut other_ids) = (Vec::new(), Vec::new());
        for (found, _) in found {
            match found {
                Match::Target(row) => target = Some(Arc::clone(row)),
                Match::FingerprintHot => hot = true,
                Match::Copy(row) => standing.entry(row.identity()).or_default().copy(row),
                Match::Contender(contender) => contenders.push(*contender),
                Match::OtherId(id) => other_ids.push(*id),
                Match::Governor(..) | Match::Frozen(_) => {}
            }
        }
        let target = target?;
        if !contenders.is_empty() {
            for (identity, standing) in &mut standing {
                contenders
                    .iter()
                    .filter_map(|contender| contender.of_event(*identity))
                    .for_each(|hash| standing.contender(hash));
            }
        }
        let mut eligible: Vec<Eligible> = standing
            .values()
            .filter_map(Dedup::touch)
            .filter_map(|touch| eligible(&target, &other_ids, touch, hot, eligibility))
            .collect();
        eligible.sort_by_key(|found| (found.touch.event_time, found.touch.event_id, found.touch.subject));
        Some((target, Path::from_sorted(&eligible)))
    }

    fn from_sorted(eligible: &[Eligible]) -> Path {
        let winner = eligible.iter().max_by_key(|found| {
            let Eligible { touch, method, .. } = found;
            let click = touch.traits.event_type() == EventType::Click;
            let deterministic = *method != Method::Fingerprint;
            let by_person = *method == Method::Person;
            (click, deterministic, touch.event_time, by_person, touch.event_id, touch.subject)
        });
        let candidates = match winner {
            Some(winner) if winner.method == Method::Fingerprint => distinct_candidates(eligible),
            _ => 1,
        };
        let (first, others) = eligible.split_at(eligible.len().min(1));
        let dropped = eligible.len().saturating_sub(PATH_TOUCHES_MAX);
        Path {
            winner: winner.map(|found| found.touch.on_path(found.method)),
            candidates,
            touches: first.iter().chain(&others[dropped..]).map(|found| found.touch.on_path(found.method)).collect(),
            dropped: dropped as i64,
        }
    }
}

/// The best method by which a standing touch leads to a target, if any does.
fn eligible(
    target: &TargetRow,
    other_ids: &[OtherId],
    touch: TouchRow,
    hot: bool,
    eligibility: &Eligibility,
) -> Option<Eligible> {
    let age_ms = target.event_time.0 - touch.event_time.0;
    let (event_type, capped) = (touch.traits.event_type(), touch.traits.capped());
    let within = |method| (0..=eligibility.window_ms(event_type, touch.channel, method)).contains(&age_ms);
    let same = |one: KeyCheck, other: JoinKey, bit| !one.is_none() && one == KeyCheck::of(other) && !capped.has(bit);

    // Where both have a device, their persons are these devices.
    let conflict =
        touch.traits.has_device() && !target.device.is_none() && touch.person != KeyCheck::of(target.person());
    let by_person = match eligibility.person {
        PersonRule::DeviceElseUser => same(touch.person, target.person(), Capped::PERSON),
        PersonRule::DeviceOrUser => {
            let device = JoinKey::device(target.app, target.device).unwrap_or(JoinKey::NONE);
            touch.traits.has_device() && same(touch.person, device, Capped::PERSON)
                || capped.leaves_user() && touch.is_of_user(target.app, target.user)
        }
    };
    let by_other_id = |id: &OtherId| match (eligibility.person, id) {
        (PersonRule::DeviceOrUser, OtherId::Device(_)) if !touch.traits.has_device() => false,
        (PersonRule::DeviceOrUser, OtherId::User(user)) => capped.leaves_user() && touch.is_of_user(target.app, *user),
        _ => same(touch.person, id.key(target.app), Capped::PERSON),
    };
    let by_person = by_person || other_ids.iter().any(by_other_id);
    let by_fingerprint = same(touch.fingerprint, target.fingerprint, Capped::FINGERPRINT)
        && within(Method::Fingerprint)
        && !hot
        && !conflict;
    let method = if by_person && within(Method::Person) {
        Method::Person
    } else if same(touch.click, target.click, Capped::CLICK) && within(Method::ClickId) {
        Method::ClickId
    } else if by_fingerprint {
        Method::Fingerprint
    } else {
        return None;
    };
    Some(Eligible { touch, method, by_fingerprint })
}

/// The devices, else users, else touches that share the target's fingerprint, also those that another join found.
fn distinct_candidates(eligible: &[Eligible]) -> i64 {
    let by_fingerprint = || eligible.iter().filter(|found| found.by_fingerprint).map(|found| found.touch.person);
    let persons: BTreeSet<KeyCheck> = by_fingerprint().filter(|person| !person.is_none()).collect();
    let nameless = by_fingerprint().filter(|person| person.is_none()).count();
    (persons.len() + nameless) as i64
}
