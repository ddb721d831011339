//! What did each touch earn of each conversion, under six models of credit at once?

use std::sync::{Arc, LazyLock};

use differential_dataflow::VecCollection;
use operators::{ByKey, ByVal, Expires, arrange_forgetting, reduce};
use schemas::symbols::NO_CHANNEL;
use schemas::view::{InstallRef, Method, Model, PathTouch};
use schemas::{EventId, EventKey, EventTime, EventType, Micros, Subject, Symbol, Tick, columns};
use serde::{Deserialize, Serialize};

use crate::changes::ToRows;
use crate::horizon::{Horizons, TargetKey};
use crate::views::installs::{Governing, InstallRow, lasting};
use crate::needs::Needs;
use crate::params::{InstallsParams, Params, PersonRule, Span};
use crate::attribution::paths::{self, Match, Path};
use crate::attribution::eligibility::Eligibility;
use crate::attribution::persons::{Asker, OtherIds};
use crate::attribution::targets::TargetRow;
use crate::attribution::touches::Forgetting;
use crate::view::{Maintained, Output, View};
use crate::attribution::weights::{Weights, split};

const SQL: &str = "\
WITH
conversions AS (
  SELECT tenant, app, coalesce(app, 0) AS scope, event_id, subject, event_time, name, revenue_micros, currency,
    user_id, device_id, coalesce(device_id, user_id) AS person, click_id, fingerprint
  FROM events
  WHERE type = 'conversion'
),
{governed},
-- The others have a path of their own.
targets AS (
  SELECT * FROM conversions LEFT ANTI JOIN governed USING (tenant, event_id, subject, event_time)
),
{paths},
steps AS (
  SELECT tenant, event_id, subject, event_time, install_event_time AS reference_time, path_dropped,
    touch['event_time'] AS touch_event_time, touch['event_id'] AS touch_event_id, touch['subject'] AS touch_subject,
    touch['type'] AS touch_type, touch['method'] AS method, touch['channel'] AS channel,
    touch['campaign'] AS campaign, touch['ad_group'] AS ad_group, touch['creative'] AS creative,
    touch['source'] AS source
  FROM (
    SELECT tenant, event_id, subject, event_time, install_event_time, path_dropped, unnest(path) AS touch
    FROM governed
  ) AS unnested
  UNION ALL
  SELECT tenant, event_id, subject, event_time, event_time AS reference_time, dropped, touch_event_time, touch_event_id, touch_subject,
    touch_type, method, channel, campaign, ad_group, creative, source
  FROM paths
),
placed AS (
  SELECT *, (reference_time - touch_event_time) / 3600000 AS hours,
    row_number() OVER (
      PARTITION BY tenant, event_id, subject, event_time
      ORDER BY touch_event_time, touch_event_id, touch_subject
    ) AS place,
    count(*) OVER (PARTITION BY tenant, event_id, subject, event_time) AS length
  FROM steps
),
-- Which touch is the last that is not direct; the last where all are.
turned AS (
  SELECT *, coalesce(max(CASE WHEN {is_direct} THEN NULL ELSE place END) OVER (
      PARTITION BY tenant, event_id, subject, event_time
    ), length) AS last_non_direct
  FROM placed
),
-- half_lives(k, weight): round(2^20 / 2^(k / {half_life_hours})).
half_lives(k, full_weight) AS (
  VALUES {decay_table}
),
models(model) AS (
  VALUES ('first'), ('last'), ('last_non_direct'), ('linear'), ('time_decay'), ('position')
),
weighed AS (
  SELECT turned.*, model,
    CASE model
      WHEN 'first' THEN CASE WHEN place = 1 THEN 1 ELSE 0 END
      WHEN 'last' THEN CASE WHEN place = length THEN 1 ELSE 0 END
      WHEN 'last_non_direct' THEN CASE WHEN place = last_non_direct THEN 1 ELSE 0 END
      WHEN 'linear' THEN 1
      WHEN 'time_decay' THEN greatest(full_weight >> (hours / {half_life_hours}), 1)
      ELSE CASE WHEN length > 2 AND (place = 1 OR place = length) THEN 2 * (length - 2) ELSE 1 END
    END AS weight
  FROM turned JOIN half_lives ON hours % {half_life_hours} = k CROSS JOIN models
),
-- What each touch gets for certain of a million and of the revenue, and what remains of it.
products AS (
  SELECT weighed.*, revenue_micros,
    CAST(sum(weight) OVER (PARTITION BY tenant, event_id, subject, event_time, model) AS DECIMAL(38, 0)) AS total,
    CAST(1000000 AS DECIMAL(38, 0)) * CAST(weight AS DECIMAL(19, 0)) AS ppm_product,
    CAST(abs(revenue_micros) AS DECIMAL(19, 0)) * CAST(weight AS DECIMAL(19, 0)) AS revenue_product
  FROM weighed JOIN conversions USING (tenant, event_id, subject, event_time)
  WHERE weight > 0
),
shares AS (
  SELECT *,
    CAST((ppm_product - ppm_product % total) / total AS BIGINT) AS ppm_floor,
    CAST((revenue_product - revenue_product % total) / total AS BIGINT) AS revenue_floor,
    row_number() OVER (
      PARTITION BY tenant, event_id, subject, event_time, model ORDER BY ppm_product % total DESC, place
    ) AS ppm_turn,
    row_number() OVER (
      PARTITION BY tenant, event_id, subject, event_time, model ORDER BY revenue_product % total DESC, place
    ) AS revenue_turn
  FROM products
),
-- What is left over goes one unit each to the largest remainders, then the sign.
earned AS (
  SELECT *,
    ppm_floor + CASE WHEN ppm_turn <= 1000000 - sum(ppm_floor) OVER conversion THEN 1 ELSE 0 END AS credit_ppm,
    (revenue_floor + CASE WHEN revenue_turn <= abs(revenue_micros) - sum(revenue_floor) OVER conversion
      THEN 1 ELSE 0 END) * CASE WHEN revenue_micros < 0 THEN -1 ELSE 1 END AS revenue_part
  FROM shares
  WINDOW conversion AS (PARTITION BY tenant, event_id, subject, event_time, model)
)
SELECT conversions.tenant, conversions.app, conversions.event_id, conversions.subject, conversions.event_time,
  conversions.name, models.model, touch_event_id, touch_subject, touch_event_time, touch_type, method,
  CASE WHEN credit_ppm IS NULL THEN {no_channel} ELSE channel END AS channel,
  campaign, ad_group, creative, source, install_event_id, install_subject, install_event_time,
  coalesce(credit_ppm, 1000000) AS credit_ppm,
  CASE WHEN credit_ppm IS NULL THEN conversions.revenue_micros ELSE revenue_part END AS revenue_micros,
  conversions.currency, coalesce(earned.path_dropped, 0) AS path_dropped
FROM conversions
CROSS JOIN models
LEFT JOIN governed USING (tenant, event_id, subject, event_time)
LEFT JOIN earned USING (tenant, event_id, subject, event_time, model)
";

/// The step that tells which conversions follow an install.
const GOVERNED_SQL: &str = "\
{of_person}-- The latest install of the person that is no reinstall: its frozen path is the conversion's. One of the device goes before one of
-- the user, and these before one of another id that links lead to.
governed AS (
  SELECT *
  FROM (
    SELECT *, row_number() OVER (
        PARTITION BY tenant, event_id, subject, event_time
        ORDER BY preference, install_event_time DESC, install_event_id DESC, install_subject DESC
      ) AS place
    FROM (
      {governing}
    ) AS governing
  ) AS ordered
  WHERE place = 1
)";

/// Conversions with each other id of their person.
const OF_PERSON_SQL: &str = "\
conversions_of_person AS (
  SELECT conversions.*, linked.id AS linked_id
  FROM conversions JOIN attributed_ids AS linked
    ON conversions.tenant = linked.tenant AND conversions.subject = linked.subject AND conversions.event_id = linked.event_id
    AND conversions.event_time = linked.event_time
),
";

/// The installs that may govern conversions by an id that they share.
const GOVERNING_SQL: &str = "\
SELECT conversions.tenant, conversions.event_id, conversions.subject, conversions.event_time, {preference} AS preference,
        installs.event_id AS install_event_id, installs.subject AS install_subject,
        installs.event_time AS install_event_time, path, path_dropped
      FROM {conversions} AS conversions JOIN installs
        ON conversions.tenant = installs.tenant AND conversions.scope = coalesce(installs.app, 0) AND {same}
      WHERE NOT reinstall AND conversions.event_time - installs.event_time BETWEEN 0 AND {lifetime_ms}";

fn governed_sql(params: &InstallsParams) -> String {
    // An id of conversions, and the same of installs.
    const OF_EITHER: &[(&str, &str)] = &[("device_id", "installs.device_id"), ("user_id", "installs.user_id")];
    const OF_PERSON: &[(&str, &str)] = &[("person", "coalesce(installs.device_id, installs.user_id)")];
    let ids = match params.person {
        PersonRule::DeviceOrUser => OF_EITHER,
        PersonRule::DeviceElseUser => OF_PERSON,
    };
    let governing = |preference: usize, conversions: &str, same: String| {
        let preference = preference.to_string();
        let texts = [("{preference}", preference.as_str()), ("{conversions}", conversions), ("{same}", &same)];
        texts.iter().fold(GOVERNING_SQL.to_owned(), |sql, (name, text)| sql.replace(name, text))
    };
    let by_own = ids.iter().zip(1..).map(|((id, of_install), preference)| {
        governing(preference, "conversions", format!("conversions.{id} = {of_install}"))
    });
    let by_others = ids.iter().filter(|_| params.identity).map(|(_, of_install)| {
        governing(ids.len() + 1, "conversions_of_person", format!("conversions.linked_id = {of_install}"))
    });
    let governing: Vec<String> = by_own.chain(by_others).collect();
    GOVERNED_SQL
        .replace("{of_person}", if params.identity { OF_PERSON_SQL } else { "" })
        .replace("{governing}", &governing.join("\n      UNION ALL\n      "))
}

/// `credits`.
pub static CREDITS: View = View {
    name: "credits",
    question: "What did each touch earn of each conversion, under six models of credit at once?",
    key: &[
        "tenant",
        "subject",
        "event_id",
        "event_time",
        "model",
        "touch_subject",
        "touch_event_id",
        "touch_event_time",
    ],
    read_by: &[&["tenant", "subject"], &["tenant", "event_id"]],
    code: 1,
    reads: &["events", "attributed_ids", "installs"],
    sql,
    maintained: Some(Maintained::rows::<CreditRow>(|_, retention| Needs::attributed_until_final(retention))),
};

/// What is written of it.
pub fn output<'scope>(
    credited: Forgetting<'scope, TargetKey, Arc<Credited>, ByKey>,
    params: &Params,
) -> Output<'scope> {
    Output::rows(&CREDITS, credited, Rows { weights: Weights::of(&params.credits) })
}

/// Rows of `credits` from what is arranged, by conversion: where what earned one changes, only the rows that it changes are written.
struct Rows {
    weights: Weights,
}

impl ToRows<Arc<Credited>> for Rows {
    type Row = CreditRow;
    type Group = (Symbol, Symbol, EventId, Subject, EventTime);

    fn group(&self, credited: &Arc<Credited>) -> Self::Group {
        credited.conversion()
    }

    fn rows(&self, credited: &Arc<Credited>) -> Vec<CreditRow> {
        credited.rows(&self.weights)
    }

    /// Rows are read by their conversion: one tells as much as all.
    fn read_as(&self, credited: &Arc<Credited>) -> Vec<CreditRow> {
        vec![credited.row(Model::Last, None, CREDIT_PPM, None)]
    }
}

/// The SQL that defines the view over `events` and `installs`.
fn sql(params: &Params) -> String {
    let weights = Weights::of(&params.credits);
    let decay_table: Vec<String> =
        weights.decay_table.iter().enumerate().map(|(hour, weight)| format!("({hour}, {weight})")).collect();
    let direct: Vec<String> = weights.direct_channels.iter().map(|channel| channel.0.to_string()).collect();
    let is_direct = if direct.is_empty() { "false".to_owned() } else { format!("channel IN ({})", direct.join(", ")) };
    SQL.replace("{governed}", &governed_sql(&params.installs))
        .replace("{paths}", &paths::sql(&params.installs))
        .replace("{lifetime_ms}", &params.installs.attribution_lifetime.0.to_string())
        .replace("{half_life_hours}", &weights.decay_table.len().to_string())
        .replace("{decay_table}", &decay_table.join(", "))
        .replace("{is_direct}", &is_direct)
        .replace("{no_channel}", &Symbol::of(NO_CHANNEL).0.to_string())
}

/// One row of `credits`: what one touch earned of one conversion under one model.
/// Unique by (conversion, model, touch).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CreditRow {
    /// Account.
    pub tenant: Symbol,
    /// App.
    pub app: Symbol,
    /// The conversion's event id.
    pub event_id: EventId,
    /// The conversion's subject.
    pub subject: Subject,
    /// When it converted.
    pub event_time: EventTime,
    /// The conversion's name.
    pub name: Symbol,
    /// The model of credit.
    pub model: Model,
    /// The touch; none where nothing led to the conversion (its channel then prints as `(none)`).
    pub touch: Option<PathTouch>,
    /// The install whose frozen path this follows; none where the conversion has a path of its own.
    pub install: Option<InstallRef>,
    /// Share of the conversion in millionths; sums to 1,000,000 per conversion and model.
    pub credit_ppm: i64,
    /// Share of the revenue; sums to the revenue. None where the conversion has none.
    pub revenue: Option<Micros>,
    /// Currency of the revenue.
    pub currency: Symbol,
    /// Number of eligible touches that the path leaves out, all after its first.
    pub path_dropped: i64,
}

columns! {
    CreditRow, |row| {
        tenant: Symbol = row.tenant,
        app: Option<Symbol> = row.app.some(),
        event_id: EventId = row.event_id,
        subject: Subject = row.subject,
        event_time: EventTime = row.event_time,
        name: Option<Symbol> = row.name.some(),
        /// first, last, last_non_direct, linear, time_decay or position, over a path of at most 128 touches
        model: Model = row.model,
        touch_event_id: Option<EventId> = row.touch.map(|touch| touch.event_id),
        touch_subject: Option<Subject> = row.touch.map(|touch| touch.subject),
        touch_event_time: Option<EventTime> = row.touch.map(|touch| touch.event_time),
        touch_type: Option<EventType> = row.touch.map(|touch| touch.event_type),
        method: Option<Method> = row.touch.map(|touch| touch.method),
        channel: Option<Symbol> = channel(row.touch.as_ref()).some(),
        campaign: Option<Symbol> = row.touch.and_then(|touch| touch.campaign.some()),
        ad_group: Option<Symbol> = row.touch.and_then(|touch| touch.ad_group.some()),
        creative: Option<Symbol> = row.touch.and_then(|touch| touch.creative.some()),
        source: Option<Symbol> = row.touch.and_then(|touch| touch.source.some()),
        /// event id of the install whose frozen path the conversion follows
        install_event_id: Option<EventId> = row.install.map(|install| install.event_id),
        /// subject of that install
        install_subject: Option<Subject> = row.install.map(|install| install.subject),
        /// when that install happened
        install_event_time: Option<EventTime> = row.install.map(|install| install.event_time),
        /// share of the conversion in millionths; sums to 1,000,000 a conversion and model
        credit_ppm: i64 = row.credit_ppm,
        revenue_micros: Option<Micros> = row.revenue,
        currency: Option<Symbol> = row.currency.some(),
        path_dropped: i64 = row.path_dropped,
    }
}

/// The channel that rows about a touch name. A touch without one is null; no touch at all is a name that analysts can group by.
pub fn channel(touch: Option<&PathTouch>) -> Symbol {
    touch.map_or(*NOWHERE, |touch| touch.channel)
}

static NOWHERE: LazyLock<Symbol> = LazyLock::new(|| Symbol::of(NO_CHANNEL));

impl CreditRow {
    /// The identity of the conversion.
    pub fn key(&self) -> EventKey {
        EventKey::of(self.tenant, self.subject, self.event_id, self.event_time)
    }
}

/// Who decides the path of each conversion.
pub struct Conversions<'scope> {
    /// Conversions by the install whose frozen path they follow.
    pub governed: VecCollection<'scope, Tick, (TargetKey, Governed), isize>,
    /// Conversions that have a path of their own, by their own key.
    pub own: VecCollection<'scope, Tick, (TargetKey, Arc<TargetRow>), isize>,
}

/// A conversion that follows the frozen path of an install.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Governed {
    key: TargetKey,
    row: Arc<TargetRow>,
}

impl Expires<Tick> for Governed {
    fn expiry(&self) -> Tick {
        self.key.expiry()
    }
}

/// When a conversion of a known person happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Converted {
    key: TargetKey,
    by: By,
    event_time: EventTime,
}

impl Expires<Tick> for Converted {
    fn expiry(&self) -> Tick {
        self.key.expiry()
    }
}

/// By what an install is found that may govern a conversion. The largest goes before the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum By {
    /// Another id of its person.
    OtherId,
    /// The user that it has beside a device.
    User,
    /// Its device, else its user.
    Person,
}

/// A conversion, or an install that may govern it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Fact {
    Conversion(Arc<TargetRow>),
    Install(Candidate),
}

/// An install that may govern a conversion. The largest does: as it was found, then the latest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Candidate {
    by: By,
    install: InstallRef,
    key: TargetKey,
}

/// Finds for each conversion the latest install by (event time, id, subject) that is no reinstall and at most `lifetime` old:
/// of the same device and app, else of the same user and app, else of another id of its person in the app.
pub fn governors<'scope>(
    conversions: VecCollection<'scope, Tick, (TargetKey, Arc<TargetRow>), isize>,
    other_ids: Option<OtherIds<'scope>>,
    installs: Governing<'scope>,
    lifetime: Span,
    rule: PersonRule,
    horizons: Horizons,
) -> Conversions<'scope> {
    let by_person = conversions.clone().flat_map(move |(key, row)| {
        let keys = rule.keys(row.app, row.device, row.user).zip([By::Person, By::User]);
        keys.map(move |(person, by)| (person, Converted { key, by, event_time: row.event_time }))
    });
    let by_other_id = other_ids.map(|others| {
        others.map(|(Asker { target: key, app, event_time }, id)| {
            (id.key(app), Converted { key, by: By::OtherId, event_time })
        })
    });
    let by_person = by_person.concatenate(by_other_id);
    let by_person = arrange_forgetting(by_person, "conversions by person", ByVal);
    let candidates = by_person.join_core(installs, move |_, conversion, (install, row)| {
        let age_ms = conversion.event_time.0 - row.event_time.0;
        (0..=lifetime.0).contains(&age_ms).then(|| {
            let key = lasting(*install, row.event_time, &horizons);
            let candidate = Candidate { by: conversion.by, install: install_ref(row), key };
            (conversion.key, Fact::Install(candidate))
        })
    });
    let facts = conversions.map(|(key, row)| (key, Fact::Conversion(row))).concat(candidates);
    let decided = reduce(facts, "governing installs", |_, facts, output| {
        let mut conversion = None;
        let mut governor: Option<Candidate> = None;
        for (fact, _) in facts {
            match fact {
                Fact::Conversion(row) => conversion = Some(Arc::clone(row)),
                Fact::Install(candidate) => governor = governor.max(Some(*candidate)),
            }
        }
        output.extend(conversion.map(|row| ((row, governor.map(|governor| governor.key)), 1)));
    });
    Conversions {
        governed: decided
            .clone()
            .flat_map(|(key, (row, install))| install.map(|install| (install, Governed { key, row }))),
        own: decided.filter(|(_, (_, install))| install.is_none()).map(|(key, (row, _))| (key, row)),
    }
}

/// What makes the path of conversions that follow the one that an install froze.
pub fn governed_matches<'scope>(
    governed: VecCollection<'scope, Tick, (TargetKey, Governed), isize>,
    installs: Forgetting<'scope, TargetKey, Arc<InstallRow>, ByKey>,
) -> VecCollection<'scope, Tick, (TargetKey, Match), isize> {
    let governed = arrange_forgetting(governed, "conversions by install", ByVal);
    governed.join_core(installs, |_, conversion, install| {
        let Governed { key, row } = conversion.clone();
        let governor =
            InstallRef { event_time: install.event_time, event_id: install.event_id, subject: install.subject };
        let head = [Match::Target(row), Match::Governor(governor, install.path_dropped)];
        let found: Vec<_> = head.into_iter().chain(install.path.iter().copied().map(Match::Frozen)).collect();
        found.into_iter().map(move |found| (key, found))
    })
}

/// A conversion and the path that earned it: a row of `credits` for each model and touch follows from it alone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Credited {
    conversion: Arc<TargetRow>,
    install: Option<InstallRef>,
    touches: Vec<PathTouch>,
    dropped: i64,
}

impl Credited {
    /// What tells its conversion from all others, in the order of `credits`.
    pub fn conversion(&self) -> (Symbol, Symbol, EventId, Subject, EventTime) {
        let TargetRow { tenant, app, event_id, subject, event_time, .. } = *self.conversion;
        (tenant, app, event_id, subject, event_time)
    }

    /// Its rows of `credits`: one per model and touch of positive weight; where no touch led to it, one per model.
    pub fn rows(&self, weights: &Weights) -> Vec<CreditRow> {
        let Credited { conversion, touches, .. } = self;
        let row = |model, touch, credit_ppm, revenue| self.row(model, touch, credit_ppm, revenue);
        if touches.is_empty() {
            return Model::ALL.map(|model| row(model, None, CREDIT_PPM, conversion.revenue)).to_vec();
        }
        let mut rows = Vec::new();
        for model in Model::ALL {
            let weights = self.weigh(model, weights);
            let ppm = split(CREDIT_PPM, &weights);
            let revenue = conversion.revenue.map(|revenue| split(revenue.0, &weights));
            for (place, touch) in touches.iter().enumerate().filter(|(place, _)| weights[*place] > 0) {
                let revenue = revenue.as_ref().map(|parts| Micros(parts[place]));
                rows.push(row(model, Some(*touch), ppm[place], revenue));
            }
        }
        rows
    }

    fn row(&self, model: Model, touch: Option<PathTouch>, credit_ppm: i64, revenue: Option<Micros>) -> CreditRow {
        let Credited { conversion, install, dropped, .. } = self;
        CreditRow {
            tenant: conversion.tenant,
            app: conversion.app,
            event_id: conversion.event_id,
            subject: conversion.subject,
            event_time: conversion.event_time,
            name: conversion.name,
            model,
            touch,
            install: *install,
            credit_ppm,
            revenue,
            currency: conversion.currency,
            path_dropped: *dropped,
        }
    }

    /// The conversion.
    pub fn target(&self) -> &TargetRow {
        &self.conversion
    }

    /// The touch that has all of its credit under [`Model::Last`]; none where no touch led to it.
    pub fn last_touch(&self) -> Option<&PathTouch> {
        self.touches.last()
    }

    /// The weights of its touches, of which there are some.
    fn weigh(&self, model: Model, weights: &Weights) -> Vec<i64> {
        let reference = self.install.map_or(self.conversion.event_time, |install| install.event_time);
        weights.weigh(model, &self.touches, reference)
    }

    fn of(found: &[(&Match, isize)], eligibility: &Eligibility) -> Option<Credited> {
        let governor = found.iter().find_map(|(found, _)| match found {
            Match::Governor(install, dropped) => Some((*install, *dropped)),
            _ => None,
        });
        let Some((install, dropped)) = governor else {
            let (conversion, path) = Path::of(found, eligibility)?;
            return Some(Credited { conversion, install: None, touches: path.touches, dropped: path.dropped });
        };
        let mut conversion = None;
        let mut touches = Vec::new();
        for (found, _) in found {
            match found {
                Match::Target(row) => conversion = Some(Arc::clone(row)),
                Match::Frozen(touch) => touches.push(*touch),
                _ => {}
            }
        }
        Some(Credited { conversion: conversion?, install: Some(install), touches, dropped })
    }
}

/// The conversions with what earned them, from what was found for each.
pub fn credited<'scope>(
    found: VecCollection<'scope, Tick, (TargetKey, Match), isize>,
    eligibility: Eligibility,
) -> Forgetting<'scope, TargetKey, Arc<Credited>, ByKey> {
    let credited = reduce(found, "credited", move |_, found, output| {
        output.extend(Credited::of(found, &eligibility).map(|credited| (Arc::new(credited), 1)));
    });
    arrange_forgetting(credited, "credits", ByKey)
}

fn install_ref(install: &TargetRow) -> InstallRef {
    InstallRef { event_time: install.event_time, event_id: install.event_id, subject: install.subject }
}

/// A whole conversion, in millionths.
pub const CREDIT_PPM: i64 = 1_000_000;
