//! The catalogue: all views, one file each. To add one: a file with its [`View`], and a line here (`docs/add-a-view.md`).

pub mod ledger;

use schemas::Tick;
use timely::dataflow::Scope;

use crate::feed::Feed;
use crate::horizon::{Bounds, Retention};
use crate::inputs::Inputs;
use crate::needs::{Needed, Needs};
use crate::params::Params;
use crate::sealing::Sealing;
use crate::sql_text::tokens;
use crate::view::{Maintained, Output, View};

/// Builds the dataflow of a view from what views may read.
pub type Build = for<'scope> fn(&mut Inputs<'scope>) -> Output<'scope>;

/// Declares the modules of views and lists them, a maintained one with what builds its dataflow.
macro_rules! views {
    (@build) => { None };
    (@build $build:expr) => { Some($build) };
    ($($name:ident: $view:ident $(=> $build:expr)?,)*) => {
        $(pub mod $name;)*

        static VIEWS: &[&View] = &[
            &ledger::EVENTS,
            &ledger::SUPERSEDED,
            &ledger::LATE_EVENTS,
            &ledger::DEAD_LETTERS,
            &ledger::FIELD_FAULTS,
            &ledger::UNKNOWN_FIELDS,
            &ledger::IMPORTS,
            &ledger::ZONES,
            $(&$name::$view,)*
        ];

        static BUILDS: &[(&View, Option<Build>)] = &[$((&$name::$view, views!(@build $($build)?)),)*];
    };
}

// Each after those that it reads.
views! {
    contested_events: CONTESTED_EVENTS => contested_events::build,
    costs: COSTS => |inputs| costs::output(inputs.costs()),
    attributed_ids: ATTRIBUTED_IDS,
    activity: ACTIVITY => |inputs| Output::changes(inputs.visitors().activity().concat(inputs.devices().days)),
    installs: INSTALLS => |inputs| installs::output(inputs.attribution().installs),
    credits: CREDITS => |inputs| credits::output(inputs.attribution().credited, &inputs.params),
    metrics_hourly: METRICS_HOURLY => metrics_hourly::build,
    metrics_daily: METRICS_DAILY,
    metrics_sliding: METRICS_SLIDING => metrics_sliding::build,
    anomalies: ANOMALIES => anomalies::build,
    forecasts: FORECASTS,
    sessions: SESSIONS => |inputs| inputs.visitors().sessions(),
    frequency: FREQUENCY => |inputs| inputs.visitors().frequency(),
    frequency_now: FREQUENCY_NOW,
    firsts: FIRSTS => |inputs| Output::changes(inputs.visitors().firsts()),
    cohorts: COHORTS => |inputs| Output::additions(inputs.visitors().cohorts()),
    retention: RETENTION,
    funnel_steps: FUNNEL_STEPS => |inputs| inputs.visitors().funnel_steps(&inputs.params),
    funnels: FUNNELS,
    paths: PATHS => |inputs| inputs.visitors().paths(),
    path_counts: PATH_COUNTS,
    credits_shapley: CREDITS_SHAPLEY,
    removal_effects: REMOVAL_EFFECTS,
    credits_markov: CREDITS_MARKOV,
    uniques: UNIQUES => |inputs| uniques::output(inputs.visitors().uniques(), inputs.params.zones.clone()),
    identity_links: IDENTITY_LINKS => identity_links::build,
    shared_hours: SHARED_HOURS => shared_hours::build,
    likely_links: LIKELY_LINKS,
    identity: IDENTITY => identity::build,
}

/// All views, each after those that it reads.
pub fn views() -> &'static [&'static View] {
    VIEWS
}

/// The views that dataflows maintain, in the same order. Whoever keeps something for each of them keeps it in this order.
pub fn maintained() -> impl Iterator<Item = (&'static View, &'static Maintained)> + Clone {
    VIEWS.iter().filter_map(|view| Some((*view, view.maintained.as_ref()?)))
}

/// The view of a name.
pub fn view(name: &str) -> Option<&'static View> {
    VIEWS.iter().find(|view| view.name == name).copied()
}

/// Those of them that a job with these parameters maintains, in the same order.
pub fn maintained_by(params: &Params) -> impl Iterator<Item = (&'static View, &'static Maintained)> + Clone {
    maintained().filter(|(view, _)| params.maintains(view.name))
}

/// What a start of a job with these parameters has to load of the time up to a cut, where records are accepted as long as this says.
pub fn needed(params: &Params, retention: Retention, sealing: Sealing, load_to: Tick) -> Needed {
    let needs = maintained_by(params).map(|(_, maintained)| (maintained.needs)(params, retention));
    let tables = (params.maintains(installs::INSTALLS.name), params.maintains(identity_links::IDENTITY_LINKS.name));
    Needed::of(needs.fold(Needs::default(), Needs::or), params, tables, (retention, sealing), load_to)
}

/// Builds the dataflow of the views that a job maintains in a scope of a worker: where records enter, and the views in the order
/// of [`maintained_by`]. See [`Inputs::new`].
pub fn build<'scope>(scope: Scope<'scope, Tick>, params: &Params, bounds: Bounds) -> (Feed, Vec<Output<'scope>>) {
    let (feed, mut inputs) = Inputs::new(scope, params, bounds);
    let outputs = outputs(&mut inputs).into_iter().map(|(_, output)| output).collect();
    (feed, outputs)
}

/// Builds the dataflow of each view that a job maintains, in their order.
///
/// # Panics
/// When a line of the catalogue and its view do not agree on whether a dataflow maintains it: what is kept of each would be another's.
pub fn outputs<'scope>(inputs: &mut Inputs<'scope>) -> Vec<(&'static View, Output<'scope>)> {
    for (view, build) in BUILDS {
        let agree = view.maintained.is_some() == build.is_some();
        assert!(
            agree,
            "{}: a maintained view has `=> build` in its line of the catalogue, and no other has",
            view.name
        );
    }
    let params = inputs.params.clone();
    let builds = BUILDS.iter().filter(|(view, _)| params.maintains(view.name));
    builds.filter_map(|(view, build)| Some((*view, build.as_ref()?(inputs)))).collect()
}

/// What names a view's table: 16 hexadecimal digits that cover the words of its SQL with these parameters (but not how they
/// are laid out, nor its comments), its code number and the hashes of the views that it reads.
pub fn hash(of: &View, params: &Params) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut part = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_be_bytes());
        hasher.update(bytes);
    };
    part(tokens(&(of.sql)(params)).as_bytes());
    part(&of.code.to_be_bytes());
    for read in of.reads.iter().filter_map(|name| view(name)) {
        part(hash(read, params).as_bytes());
    }
    hasher.finalize().to_hex()[..16].to_owned()
}
