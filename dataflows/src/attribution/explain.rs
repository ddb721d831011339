//! Why a touch won, lost, or could not be credited at all: in SQL, for `bidstream explain credit`.

use schemas::view::PATH_TOUCHES_MAX;

use super::paths;
use crate::params::{InstallsParams, PersonRule};

const SQL: &str = "\
WITH
targets AS (
  SELECT tenant, app, coalesce(app, 0) AS scope, event_id, subject, event_time, user_id, device_id,
    coalesce(device_id, user_id) AS person, click_id, fingerprint
  FROM events
  WHERE {target}
),
{paths},
ordered AS (
  SELECT *, row_number() OVER (
    ORDER BY touch_type = 'click' DESC, rank < 3 DESC, touch_event_time DESC, rank, touch_event_id DESC, touch_subject DESC
  ) AS place
  FROM eligible
),
winner AS (
  SELECT touch_type = 'click' AS is_click, rank AS winner_rank, touch_event_time AS winner_time FROM ordered WHERE place = 1
),
{linked_touches},
-- Touches of any app and time that have an id of the target, or another of its person.
near AS (
  SELECT targets.scope <> touches.scope AS of_other_app, targets.event_time - touch_event_time AS age_ms,
    coalesce({same_person}, false) OR linked AS same_person, linked, coalesce(device_id = touch_device, false) AS same_device,
    coalesce(user_id = touch_user, false) AS same_user, coalesce(click_id = touch_click, false) AS same_click,
    coalesce(fingerprint = touch_fingerprint, false) AS same_fingerprint,
    coalesce(device_id <> touch_device, false) AS other_device,
    touch_event_id, touch_subject, touch_event_time, touch_type, channel, campaign, ad_group, creative, source, window_ms
  FROM targets JOIN linked_touches AS touches ON targets.tenant = touches.tenant
  WHERE linked OR device_id = touch_device OR user_id = touch_user OR click_id = touch_click
    OR fingerprint = touch_fingerprint
),
path AS (
  SELECT touch_event_id, touch_subject, touch_event_time, true AS in_path FROM paths
),
judged AS (
  SELECT near.*, rank, place, in_path, is_click, winner_rank, winner_time,
    {window} AS window, (SELECT count(*) FROM hot) > 0 AS is_hot
  FROM near
  LEFT JOIN ordered ON near.touch_event_id = ordered.touch_event_id AND near.touch_subject = ordered.touch_subject
    AND near.touch_event_time = ordered.touch_event_time
  LEFT JOIN path ON near.touch_event_id = path.touch_event_id AND near.touch_subject = path.touch_subject
    AND near.touch_event_time = path.touch_event_time
  CROSS JOIN (SELECT max(is_click) AS is_click, max(winner_rank) AS winner_rank, max(winner_time) AS winner_time FROM winner) AS won
)
SELECT place, touch_event_id, touch_subject, touch_event_time, touch_type, channel, campaign, ad_group, creative, source,
  array_to_string(array_remove_all(make_array(
    CASE WHEN same_device THEN 'device' ELSE '' END, CASE WHEN same_user THEN 'user' ELSE '' END,
    CASE WHEN linked THEN 'linked id' ELSE '' END, CASE WHEN same_click THEN 'click_id' ELSE '' END, CASE WHEN same_fingerprint THEN 'fingerprint' ELSE '' END), ''), ', ') AS shares,
  CASE rank WHEN 1 THEN 'person' WHEN 2 THEN 'click_id' WHEN 3 THEN 'fingerprint' END AS method,
  CASE
    {of_paths}WHEN place = 1 THEN 'won'
    WHEN is_click AND touch_type <> 'click' AND place > 1 THEN 'lost: a click goes before an impression'
    WHEN winner_rank < 3 AND rank = 3 THEN 'lost: a match by person or click id goes before one by fingerprint'
    WHEN place > 1 AND winner_time > touch_event_time THEN 'lost: the winner is later'
    WHEN place > 1 AND winner_rank < rank THEN 'lost: at the same time a person goes before a click id'
    WHEN place > 1 THEN 'lost: at the same time the larger id goes first'
    WHEN of_other_app THEN 'not eligible: it is of another app'
    WHEN age_ms < 0 THEN 'not eligible: it came after {what}'
    WHEN age_ms > window_ms THEN concat('not eligible: it is older than its window of ', window)
    WHEN same_person OR same_click THEN 'not eligible: its key was hot in that hour, and it was not among the first of it'
    WHEN same_fingerprint AND is_hot THEN 'not eligible: the fingerprint was hot in the window, so it tells nobody apart'
    WHEN same_fingerprint AND other_device THEN 'not eligible: the fingerprint is the same, the device another'
    WHEN same_fingerprint THEN 'not eligible: it is older than the window of a fingerprint, {fingerprint_window}'
    ELSE 'not eligible: a person is the device where there is one, not the user'
  END AS verdict,
  coalesce(in_path, false) AS in_path
FROM judged
";

/// Touches, each with whether it is of an id that links lead to from the target.
const LINKED_TOUCHES_SQL: &str = "\
of_person AS (
  SELECT tenant, id FROM attributed_ids LEFT SEMI JOIN targets USING (tenant, event_id, subject, event_time)
),
linked_touches AS (
  SELECT touches.*, of_device.id IS NOT NULL OR of_user.id IS NOT NULL AS linked
  FROM touches
  LEFT JOIN of_person AS of_device ON of_device.tenant = touches.tenant AND of_device.id = {touch_device}
  LEFT JOIN of_person AS of_user ON of_user.tenant = touches.tenant AND of_user.id = {touch_user}
)";

const WINDOW_SQL: &str = "\
CASE WHEN window_ms % 86400000 = 0 THEN concat(window_ms / 86400000, ' d')
      WHEN window_ms % 3600000 = 0 THEN concat(window_ms / 3600000, ' h') ELSE concat(window_ms / 1000, ' s') END";

/// A conversion with a path of its own has no winner: all touches of the path earn.
const OF_PATHS_SQL: &str = "\
WHEN in_path THEN 'in the path'
    WHEN place >= 1 THEN 'eligible, but left out: a path has the first touch and the latest {latest}'
    ";

/// The SQL over `events` that tells of each touch which shares an id with a target what became of it; `place` is that of an eligible
/// one, from the winner on. `target` is a condition on `events` that one event meets: an install, or a conversion with a path of its own.
pub fn sql(params: &InstallsParams, target: &str, is_install: bool) -> String {
    let same_person = match params.person {
        PersonRule::DeviceOrUser => "device_id = touch_device OR user_id = touch_user",
        PersonRule::DeviceElseUser => "targets.person = touch_person",
    };
    // Where a person is the device if there is one, the user beside it tells nothing.
    let [touch_device, touch_user] = match params.person {
        PersonRule::DeviceOrUser => ["touch_device", "touch_user"],
        PersonRule::DeviceElseUser => ["touch_person"; 2],
    };
    let linked_touches = match params.identity {
        true => LINKED_TOUCHES_SQL.replace("{touch_device}", touch_device).replace("{touch_user}", touch_user),
        false => "linked_touches AS (SELECT *, false AS linked FROM touches)".to_owned(),
    };
    SQL.replace("{target}", target)
        .replace("{what}", if is_install { "the install" } else { "the conversion" })
        .replace("{linked_touches}", &linked_touches)
        .replace("{of_paths}", if is_install { "" } else { OF_PATHS_SQL })
        .replace("{latest}", &(PATH_TOUCHES_MAX - 1).to_string())
        .replace("{paths}", &paths::sql(params))
        .replace("{same_person}", same_person)
        .replace("{window}", WINDOW_SQL)
        .replace("{fingerprint_window}", &params.fingerprint_window.to_string())
}
