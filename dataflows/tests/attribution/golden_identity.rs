//! Persons that are known by several ids, case by case: what `identify` events had linked by the moment of an install or conversion.

use dataflows::params::{Params, PersonRule};
use schemas::EventType::{Identify, Open};
use schemas::view::Model::Linear;

use crate::events::{DAY, Ev, HOUR, click, conversion, event, install};
use crate::golden::Golden;
use crate::golden_installs;

/// When something is attributed. Links count that arrive until two days later.
const AT: i64 = 10 * DAY;

fn params() -> Params {
    let mut params = golden_installs::params();
    params.installs.identity = true;
    params.identity.large_above = 3;
    params
}

/// Links a user with a device.
fn links(user: u32, device: u32) -> Ev {
    event(Identify, AT - DAY).user(user).device(device).id(40 + user * 8 + device)
}

/// Links a device with a login.
fn logs_in(device: u32, login: u32) -> Ev {
    event(Identify, AT - DAY).device(device).login(login).id(20 + device * 4 + login)
}

fn on_the_web() -> Ev {
    click(AT - HOUR).user(1).channel("search")
}

fn in_the_app() -> Ev {
    install(AT).device(1)
}

const FOUND: &str = "person click@239h";

#[test]
fn touches_of_other_ids_are_found() {
    let mut golden = Golden::new(params());
    let mut check = |name, events: &[Ev], expected| golden.winners(name, events, expected);
    check("of the user that its device is linked with", &[on_the_web(), links(1, 1), in_the_app()], FOUND);
    check("without the link", &[on_the_web(), in_the_app()], "organic");
    check(
        "of another device of its user",
        &[click(AT - HOUR).device(2), links(1, 1), links(1, 2), in_the_app()],
        FOUND,
    );
    check("over a login", &[click(AT - HOUR).device(2), logs_in(2, 1), logs_in(1, 1), in_the_app()], FOUND);
    check("over another login", &[click(AT - HOUR).device(2), logs_in(2, 1), logs_in(1, 2), in_the_app()], "organic");
    check("of another app", &[on_the_web().app("web"), links(1, 1), in_the_app()], "organic");
    check("that are too old", &[click(AT - 7 * DAY - 1).user(1), links(1, 1), in_the_app()], "organic");
    check("that are hot by that id", &[on_the_web().capped(1), links(1, 1), in_the_app()], "organic");
    check("of a link that is said in another app", &[on_the_web(), links(1, 1).app("web"), in_the_app()], FOUND);
    let many = [on_the_web(), links(1, 1), links(1, 2), links(1, 3), in_the_app()];
    check("not of too many to be a person", &many, "organic");
    check("but by its own ids then", &[&many[..], &[click(AT - 2 * HOUR).device(1)]].concat(), "person click@238h");
    check(
        "as many as are a person",
        &many.clone()[..3].iter().cloned().chain([in_the_app()]).collect::<Vec<_>>(),
        FOUND,
    );
    check(
        "the latest of all ids wins",
        &[click(AT - 2 * HOUR).device(1), on_the_web(), links(1, 1), in_the_app()],
        FOUND,
    );
    let comes_back = [install(AT - 100 * DAY).device(1).id(7), on_the_web(), links(1, 1), event(Open, AT).device(1)];
    check("of a device that comes back", &comes_back, "organic; person click@239h reattribution with open");
    check(
        "a reinstall is by device",
        &[install(AT - DAY).user(1).id(7), links(1, 1), in_the_app()],
        "organic; organic",
    );
    golden.run();
}

#[test]
fn links_count_that_had_arrived_by_then() {
    let mut golden = Golden::new(params());
    let mut check = |name, events: &[Ev], expected| golden.winners(name, events, expected);
    let until = AT + 2 * DAY;
    let case = |others: &[Ev]| [&[on_the_web()][..], others, &[in_the_app()]].concat();
    check("at the last moment", &case(&[links(1, 1).arrives(until)]), FOUND);
    check("too late", &case(&[links(1, 1).arrives(until + 1)]), "organic");
    check("withdrawn before", &case(&[links(1, 1), links(1, 1).withdrawn().arrives(until)]), "organic");
    check("withdrawn later", &case(&[links(1, 1), links(1, 1).withdrawn().arrives(until + 1)]), FOUND);
    check("withdrawn before it arrived", &case(&[links(1, 1).arrives(AT), links(1, 1).withdrawn()]), "organic");
    check("said twice, withdrawn once", &case(&[links(1, 1), links(1, 1).withdrawn(), links(1, 1).id(9)]), FOUND);
    // Copies of one event: those of the greater number have the greater hash.
    let (least, other) = (links(1, 1).copy(1), Ev { device: 2, id: links(1, 1).id, ..links(1, 2).copy(2) });
    check("of copies the least stands", &case(&[other.clone(), least.clone()]), FOUND);
    check("once it is there", &case(&[other.clone(), least.clone().arrives(until + 1)]), "organic");
    let greater = Ev { copy: 3, ..least };
    check("until it is there", &case(&[greater.clone(), other.clone().arrives(until + 1)]), FOUND);
    check("and no longer", &case(&[greater, other.arrives(until)]), "organic");
    // What came later than a gate lets pass is of an import: all of it counts.
    let imported = in_the_app().arrives(AT + 2 * DAY + 1);
    check("of an import all", &[on_the_web(), links(1, 1).arrives(AT + 900 * DAY), imported.clone()], FOUND);
    check("but what came after it", &[on_the_web(), links(1, 1).arrives(AT + 1_000 * DAY), imported], "organic");
    golden.run();
}

#[test]
fn conversions_follow_installs_of_other_ids() {
    let mut golden = Golden::new(params());
    let mut check = |name, events: &[Ev], expected| golden.credits(name, Linear, events, expected);
    let installed = [click(AT - 4 * DAY).device(1).channel("email"), install(AT - 3 * DAY).device(1)];
    let case = |others: &[Ev]| [&installed[..], others].concat();
    let bought = || conversion(AT).user(1);
    check("of the device of its user", &case(&[links(1, 1), bought()]), "email 1000000");
    check("without the link", &case(&[bought()]), "(none) 1000000");
    check("that comes too late", &case(&[links(1, 1).arrives(AT + 2 * DAY + 1), bought()]), "(none) 1000000");
    let own = [click(AT - 6 * DAY).user(1).channel("social"), install(AT - 5 * DAY).user(1).id(3)];
    check("by its own ids first", &case(&[&own[..], &[links(1, 1), bought()]].concat()), "social 1000000");
    check("with a path of its own", &[on_the_web().user(2), links(1, 1), links(2, 1), bought()], "search 1000000");
    golden.run();
}

#[test]
fn a_person_is_the_device_where_there_is_one() {
    let mut params = params();
    params.installs.person = PersonRule::DeviceElseUser;
    let mut golden = Golden::new(params);
    let mut check = |name, events: &[Ev], expected| golden.winners(name, events, expected);
    check("by the user of a touch without a device", &[on_the_web(), links(1, 1), in_the_app()], FOUND);
    check("not by that of one with a device", &[on_the_web().device(2), links(1, 1), in_the_app()], "organic");
    check("by its device", &[on_the_web().user(3).device(2), links(1, 1), links(1, 2), in_the_app()], FOUND);
    golden.run();
}
