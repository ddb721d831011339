//! The catalogue: all views, one file each. To add one: a file with its [`View`], and a line here (`docs/add-a-view.md`).

pub mod ledger;

use schemas::Tick;
use timely::dataflow::Scope;

use crate::feed::Feed;
use crate::horizon::Retention;
use crate::inputs::Inputs;
use crate::params::Params;
use crate::view::{Maintained, Output, View};

/// Declares the modules of views and lists them.
macro_rules! views {
    ($($name:ident: $view:ident,)*) => {
        $(pub mod $name;)*

        static VIEWS: &[&View] = &[
            &ledger::EVENTS,
            &ledger::SUPERSEDED,
            &ledger::LATE_EVENTS,
            &ledger::DEAD_LETTERS,
            &ledger::FIELD_FAULTS,
            &ledger::UNKNOWN_FIELDS,
            &ledger::IMPORTS,
            $(&$name::$view,)*
        ];
    };
}

// Each after those that it reads.
views! {
    contested_events: CONTESTED_EVENTS,
    costs: COSTS,
    installs: INSTALLS,
    credits: CREDITS,
    metrics_hourly: METRICS_HOURLY,
    metrics_daily: METRICS_DAILY,
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

/// Builds the dataflow of all maintained views in a scope of a worker: where records enter, and the views in the order of
/// [`maintained`]. See [`Inputs::new`].
pub fn build<'scope>(
    scope: Scope<'scope, Tick>,
    params: &Params,
    retention: Option<Retention>,
) -> (Feed, Vec<Output<'scope>>) {
    let (feed, mut inputs) = Inputs::new(scope, params, retention);
    let outputs = maintained().map(|(_, maintained)| (maintained.build)(&mut inputs)).collect();
    (feed, outputs)
}
