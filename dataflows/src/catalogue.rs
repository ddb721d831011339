//! All views: what defines each, and how the dataflow that maintains some of them is fed and read.

use std::sync::Arc;

use differential_dataflow::VecCollection;
use differential_dataflow::input::Input;
use operators::ByKey;
use operators::forget::SharedForgettingBatch;
use schemas::Tick;
use schemas::view::{CreditRow, InstallRow, Model};
use timely::dataflow::Scope;

use crate::credits::{self, Credited, credited, governed_matches, governors};
use crate::events;
use crate::feed::Feed;
use crate::horizon::{Horizons, TargetKey};
use crate::installs::{self, install_rows, reinstalls};
use crate::params::{InstallsParams, Params};
use crate::paths::{Eligibility, matches};
use crate::targets::standing;
use crate::touches::{Forgetting, Heaps, touch_indexes};
use crate::weights::Weights;

/// What a view is.
pub struct Definition {
    /// Its name in the catalogue.
    pub name: &'static str,
    /// The question that it answers.
    pub question: &'static str,
    /// The columns that its rows are unique by.
    pub key: &'static [&'static str],
    /// Raised when the dataflow's results change though the SQL's do not.
    pub code: u32,
    /// The views and tables that its SQL reads.
    pub reads: &'static [&'static str],
    /// Whether a dataflow maintains it as a changelog; the others are SQL over the ledger.
    pub maintained: bool,
    /// The SQL that defines it over raw columns, in DataFusion's dialect.
    pub sql: fn(&Params) -> String,
}

/// All views, each after those that it reads.
pub fn definitions() -> &'static [Definition] {
    &DEFINITIONS
}

static DEFINITIONS: [Definition; 9] = [
    Definition {
        name: "events",
        question: "What happened: which accepted records stand, each event once and none that was withdrawn?",
        key: &["tenant", "subject", "event_id", "event_time"],
        code: 1,
        reads: &["records", "voids"],
        maintained: false,
        sql: |_| events::EVENTS_SQL.to_owned(),
    },
    Definition {
        name: "late_events",
        question: "What came after the allowed lateness?",
        key: &["topic", "partition", "offset"],
        code: 1,
        reads: &["records", "voids"],
        maintained: false,
        sql: |_| events::LATE_EVENTS_SQL.to_owned(),
    },
    Definition {
        name: "dead_letters",
        question: "What could not be read, and why?",
        key: &["topic", "partition", "offset"],
        code: 1,
        reads: &["records", "voids"],
        maintained: false,
        sql: |_| events::DEAD_LETTERS_SQL.to_owned(),
    },
    Definition {
        name: "field_faults",
        question: "Which optional fields were left out or cut because of what they held, and in how many records?",
        key: &["topic", "tenant", "field", "reason", "value"],
        code: 1,
        reads: &["records", "voids"],
        maintained: false,
        sql: |_| events::FIELD_FAULTS_SQL.to_owned(),
    },
    Definition {
        name: "unknown_fields",
        question: "Which fields do records have that no event has?",
        key: &["topic", "field"],
        code: 1,
        reads: &["records", "voids"],
        maintained: false,
        sql: |_| events::UNKNOWN_FIELDS_SQL.to_owned(),
    },
    Definition {
        name: "imports",
        question: "Which files were imported, what came of them, and which were undone?",
        key: &["topic"],
        code: 1,
        reads: &["records", "import_notes"],
        maintained: false,
        sql: |_| events::IMPORTS_SQL.to_owned(),
    },
    Definition {
        name: "costs",
        question: "What did media cost by hour, source, campaign and ad group?",
        key: &["tenant", "source", "campaign", "ad_group", "hour"],
        code: 1,
        reads: &["events"],
        maintained: false,
        sql: |_| events::COSTS_SQL.to_owned(),
    },
    Definition {
        name: "installs",
        question: "Which touch led to each install, how surely, and which path did it freeze?",
        key: &["tenant", "subject", "event_id", "event_time"],
        code: 1,
        reads: &["events"],
        maintained: true,
        sql: installs::sql,
    },
    Definition {
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
        code: 1,
        reads: &["events", "installs"],
        maintained: true,
        sql: credits::sql,
    },
];

/// The definition of a view.
pub fn definition(name: &str) -> Option<&'static Definition> {
    DEFINITIONS.iter().find(|definition| definition.name == name)
}

impl Definition {
    /// What names the view's table: 16 hexadecimal digits that cover its SQL with these parameters, its code number
    /// and the hashes of the views that it reads.
    pub fn hash(&self, params: &Params) -> String {
        let mut hasher = blake3::Hasher::new();
        let mut part = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_be_bytes());
            hasher.update(bytes);
        };
        part((self.sql)(params).as_bytes());
        part(&self.code.to_be_bytes());
        for read in self.reads.iter().filter_map(|name| definition(name)) {
            part(read.hash(params).as_bytes());
        }
        hasher.finalize().to_hex()[..16].to_owned()
    }
}

/// A batch of [`Outputs::installs_by_key`].
pub type InstallBatch = SharedForgettingBatch<TargetKey, Arc<InstallRow>, Tick, isize, ByKey>;
/// A batch of [`Outputs::credited_by_key`].
pub type CreditedBatch = SharedForgettingBatch<TargetKey, Arc<Credited>, Tick, isize, ByKey>;

/// The maintained views. Their streams are batches of changes, none of which was forgotten.
pub struct Outputs<'scope> {
    /// `installs` by install, for readers on other threads: those that still speak for their person. Whoever keeps the
    /// trace must let it compact.
    pub installs_by_key: Forgetting<'scope, TargetKey, Arc<InstallRow>, ByKey>,
    /// By conversion what its rows of `credits` follow from, as `installs_by_key`: those that are not final.
    pub credited_by_key: Forgetting<'scope, TargetKey, Arc<Credited>, ByKey>,
    weights: Weights,
}

impl<'scope> Outputs<'scope> {
    /// Rows of `installs`, one per install.
    pub fn installs(&self) -> VecCollection<'scope, Tick, InstallRow, isize> {
        self.installs_by_key.clone().as_collection(|_, row| (**row).clone())
    }

    /// Rows of `credits`, one per conversion, model and touch.
    pub fn credits(&self) -> VecCollection<'scope, Tick, CreditRow, isize> {
        let weights = self.weights.clone();
        self.credited_by_key.clone().flat_map_ref(move |_, credited| credited.rows(&weights))
    }

    /// How many rows of `credits` there are under each model, as differences.
    pub fn credits_by_model(&self) -> VecCollection<'scope, Tick, Model, isize> {
        let weights = self.weights.clone();
        let counts = self.credited_by_key.clone().flat_map_ref(move |_, credited| credited.rows_by_model(&weights));
        counts.explode(|(model, rows)| Some((model, rows)))
    }
}

/// Builds the dataflow of all views in a scope of a worker.
///
/// A record is accepted at a tick of at most its event time and `retention_ms`; by that state is forgotten. Without it
/// records may come at any time, and all is kept.
pub fn build<'scope>(
    scope: Scope<'scope, Tick>,
    params: &Params,
    retention_ms: Option<i64>,
) -> (Feed, Outputs<'scope>) {
    let horizons = Horizons::of(&params.installs, retention_ms);
    let (by_id_input, by_id) = scope.new_collection();
    let (by_fingerprint_input, by_fingerprint) = scope.new_collection();
    let (copy_input, copies) = scope.new_collection();
    let (capped_input, capped) = scope.new_collection();
    let (target_input, target_copies) = scope.new_collection();
    let heaps = Heaps::new(scope.index());
    let feed = Feed {
        by_id: by_id_input,
        by_fingerprint: by_fingerprint_input,
        copies: copy_input,
        capped: capped_input,
        targets: target_input,
        heaps: heaps.clone(),
        horizons,
        person: params.installs.person,
    };

    let eligibility = Eligibility::of(&params.installs);
    let weights = Weights::of(&params.credits);
    let InstallsParams { attribution_lifetime: lifetime, person, .. } = params.installs;

    let touches = touch_indexes(by_id, by_fingerprint, copies, heaps, capped);
    let targets = standing(target_copies, &touches);
    let installs = reinstalls(targets.clone().filter(|(_, row)| row.is_install), lifetime, person);
    let conversions = governors(targets.filter(|(_, row)| !row.is_install), &installs, lifetime, person, horizons);

    let paths = installs.all.concat(conversions.own);
    let [install_matches, own_matches] = matches(paths, &touches, &eligibility, horizons);
    let installs_by_key = install_rows(install_matches, eligibility.clone(), horizons);
    let governed = governed_matches(conversions.governed, installs_by_key.clone());
    let credited_by_key = credited(own_matches.concat(governed), eligibility);

    (feed, Outputs { installs_by_key, credited_by_key, weights })
}
