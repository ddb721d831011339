//! Attribution as a whole: from touches and targets to the arrangements that `installs` and `credits` are made of.

pub mod eligibility;
pub mod explain;
pub mod hot;
pub mod identity;
pub mod indexes;
pub mod paths;
pub mod targets;
pub mod touch_row;
pub mod touches;
pub mod weights;

use std::sync::Arc;

use differential_dataflow::VecCollection;
use operators::ByKey;
use schemas::Tick;

use crate::attribution::eligibility::Eligibility;
use crate::attribution::indexes::TouchIndexes;
use crate::attribution::paths::matches;
use crate::attribution::targets::{TargetRow, standing};
use crate::attribution::touches::Forgetting;
use crate::horizon::{Horizons, TargetKey};
use crate::params::{InstallsParams, Params};
use crate::views::credits::{Credited, credited, governed_matches, governors};
use crate::views::installs::{InstallRow, install_rows, reinstalls};

/// What attribution makes. The streams are batches of changes, none of which was forgotten.
#[derive(Clone)]
pub struct Attribution<'scope> {
    /// `installs` by install: those that still speak for their person. Whoever keeps the trace must let it compact.
    pub installs: Forgetting<'scope, TargetKey, Arc<InstallRow>, ByKey>,
    /// By conversion what its rows of `credits` follow from: those that are not final.
    pub credited: Forgetting<'scope, TargetKey, Arc<Credited>, ByKey>,
}

/// Builds it over all copies of touches and of targets, and installs whose rows are loaded as they are.
pub fn attribution<'scope>(
    target_copies: VecCollection<'scope, Tick, (TargetKey, Arc<TargetRow>), isize>,
    final_installs: VecCollection<'scope, Tick, (TargetKey, Arc<InstallRow>), isize>,
    touches: &TouchIndexes<'scope>,
    params: &Params,
    horizons: Horizons,
) -> Attribution<'scope> {
    let eligibility = Eligibility::of(&params.installs);
    let InstallsParams { attribution_lifetime: lifetime, person, .. } = params.installs;

    let targets = standing(target_copies, touches);
    let finals = final_installs.clone().map(|(key, row)| (key, Arc::new(row.target())));
    let installs = reinstalls(targets.clone().filter(|(_, row)| row.is_install), finals, lifetime, person);
    let conversions = governors(targets.filter(|(_, row)| !row.is_install), &installs, lifetime, person, horizons);

    let paths = installs.all.concat(conversions.own);
    let [install_matches, own_matches] = matches(paths, touches, &eligibility, horizons);
    let installs = install_rows(install_matches, final_installs, eligibility.clone(), horizons);
    let governed = governed_matches(conversions.governed, installs.clone());
    let credited = credited(own_matches.concat(governed), eligibility);
    Attribution { installs, credited }
}
