//! Attribution as a whole: from touches and targets to the arrangements that `installs` and `credits` are made of.

pub mod eligibility;
pub mod explain;
pub mod hot;
pub mod identity;
pub mod indexes;
pub mod paths;
pub mod persons;
pub mod targets;
pub mod touch_row;
pub mod touches;
pub mod weights;

use std::sync::Arc;

use differential_dataflow::VecCollection;
use operators::ByKey;
use schemas::{EventType, Tick};

use crate::attribution::eligibility::Eligibility;
use crate::attribution::indexes::TouchIndexes;
use crate::attribution::paths::matches;
use crate::attribution::persons::{Sources, other_ids};
use crate::attribution::targets::{TargetRow, standing};
use crate::attribution::touches::Forgetting;
use crate::horizon::{Bounds, Horizons, TargetKey};
use crate::params::{InstallsParams, Params};
use crate::views::credits::{Credited, credited, governed_matches, governors};
use crate::views::installs::{InstallRow, governing, install_rows, lasting_rows, reinstalls};

/// What attribution makes. The streams are batches of changes, none of which was forgotten.
#[derive(Clone)]
pub struct Attribution<'scope> {
    /// `installs` by install: those that still speak for their person. Whoever keeps the trace must let it compact.
    pub installs: Forgetting<'scope, TargetKey, Arc<InstallRow>, ByKey>,
    /// By conversion what its rows of `credits` follow from: those that are not final.
    pub credited: Forgetting<'scope, TargetKey, Arc<Credited>, ByKey>,
}

/// Builds it over all copies of touches and of targets, installs whose rows are loaded as they are, the installs and opens with
/// which devices come back, and what persons follow from, where targets are known by other ids, too.
pub fn attribution<'scope>(
    target_copies: VecCollection<'scope, Tick, (TargetKey, Arc<TargetRow>), isize>,
    final_installs: VecCollection<'scope, Tick, (TargetKey, Arc<InstallRow>), isize>,
    returns: VecCollection<'scope, Tick, (TargetKey, Arc<TargetRow>), isize>,
    persons: Option<Sources<'scope>>,
    touches: &TouchIndexes<'scope>,
    params: &Params,
    bounds: Bounds,
) -> Attribution<'scope> {
    let horizons = Horizons::of(&params.installs, bounds.retention);
    let eligibility = Eligibility::of(&params.installs);
    let InstallsParams { attribution_lifetime: lifetime, person, .. } = params.installs;

    let is_install = |row: &TargetRow| row.event_type == EventType::Install;
    let targets = standing(target_copies, touches);
    let finals = final_installs.clone().map(|(key, row)| (key, Arc::new(row.target())));
    let of_installs = returns.clone().filter(move |(_, row)| is_install(row)).map(|(key, _)| key);
    let of_opens = returns.filter(move |(_, row)| !is_install(row));
    let others =
        persons.map(|sources| other_ids(targets.clone().concat(of_opens.clone()), sources, &params.identity, bounds));
    let of_conversions = others.clone().map(|others| others.filter(|(asker, _)| !asker.target.is_install));
    let of_installs_and_opens = others.clone().map(|others| others.filter(|(asker, _)| asker.target.is_install));
    let installs = targets.clone().filter(move |(_, row)| is_install(row));
    let known = finals.clone().filter(move |(_, row)| is_install(row));
    let installs = reinstalls(installs, known, of_installs, lifetime, person);

    // Whether an install or open with which a device comes back governs conversions is decided by its path: that is found first.
    let returning = installs.clone().filter(|(_, row)| row.comes_back).concat(of_opens);
    let [return_matches, _] = matches(returning, of_installs_and_opens, touches, &eligibility, horizons);
    let returned = install_rows(return_matches, "returns", eligibility.clone());
    let staying = installs.filter(|(_, row)| !row.comes_back);
    let decided = returned.clone().map(|(key, row)| (key, Arc::new(row.target())));
    let governing = governing(staying.clone().concat(decided).concat(finals), person);
    let conversions = governors(
        targets.filter(move |(_, row)| !is_install(row)),
        of_conversions,
        governing,
        lifetime,
        person,
        horizons,
    );

    let paths = staying.concat(conversions.own);
    let [install_matches, own_matches] = matches(paths, others, touches, &eligibility, horizons);
    let rows = install_rows(install_matches, "installs", eligibility.clone());
    let installs = lasting_rows(rows.concat(returned).concat(final_installs), horizons);
    let governed = governed_matches(conversions.governed, installs.clone());
    let credited = credited(own_matches.concat(governed), eligibility);
    Attribution { installs, credited }
}
