//! Who is one person: by device or user, case by case, and what the older rule says to it.

use dataflows::params::{Params, PersonRule};
use schemas::view::Model;

use crate::events::{DAY, Ev, HOUR, click, conversion, install, view};
use crate::golden::Golden;
use crate::golden_installs::params;

const AT: i64 = 400 * DAY;

/// Cases under both rules.
struct Both([Golden; 2]);

impl Both {
    fn new() -> Both {
        Both([PersonRule::DeviceOrUser, PersonRule::DeviceElseUser].map(|person| {
            let mut params: Params = params();
            params.installs.person = person;
            Golden::new(params)
        }))
    }

    fn check(&mut self, expected: [&str; 2], case: impl Fn(&mut Golden, &str)) {
        self.0.iter_mut().zip(expected).for_each(|(golden, expected)| case(golden, expected));
    }

    fn run(self) {
        self.0.into_iter().for_each(Golden::run);
    }
}

#[test]
fn touches_are_found_by_device_or_user() {
    let mut both = Both::new();
    let mut check =
        |name, events: &[Ev], expected| both.check(expected, |golden, said| golden.winners(name, events, said));
    let (found, organic) = ("person click@400d", "organic");
    let touch = || click(AT).device(1).user(1);
    let to = || install(AT);
    check("both, then the user", &[touch(), to().user(1)], [found, organic]);
    check("both, then the device", &[touch(), to().device(1)], [found, found]);
    check("the user, then both", &[click(AT).user(1), to().device(1).user(1)], [found, organic]);
    check("the device, then both", &[click(AT).device(1), to().device(1).user(1)], [found, found]);
    check("both, then both", &[touch(), to().device(1).user(1)], [found, found]);
    check("the user on another device", &[touch(), to().device(2).user(1)], [found, organic]);
    check("another user of the device", &[touch(), to().device(1).user(2)], [found, found]);
    check("neither", &[touch(), to().device(2).user(2)], [organic; 2]);
    check("nobody", &[touch(), to()], [organic; 2]);
    check("another app", &[touch().app("web"), to().user(1)], [organic; 2]);
    check("no app", &[touch().app(""), to().user(1)], [organic; 2]);
    check("a copy of another app stands", &[touch().copy(1), touch().app("web"), to().user(1)], [organic; 2]);
    check("a copy on another device stands", &[touch().copy(1), touch().device(2), to().device(1)], [organic; 2]);
    check("its user is the same", &[touch().copy(1), touch().device(2), to().user(1)], [found, organic]);
    check("a copy without a device stands", &[touch().copy(1), touch().device(0), to().user(1)], [found; 2]);
    check("withdrawn", &[touch(), to().user(1), touch().withdrawn()], [organic; 2]);
    check("the later of both ways", &[click(AT - 2).user(1), click(AT).device(1), to().device(1).user(1)], [found; 2]);
    both.run();
}

#[test]
fn a_touch_that_is_found_twice_is_on_the_path_once() {
    let mut both = Both::new();
    let mut check =
        |name, events: &[Ev], expected| both.check(expected, |golden, said| golden.paths(name, events, said));
    let of_user = "person impression@9599h";
    let others = "person click@399d, person click@400d";
    check(
        "by device and user",
        &[
            click(AT - DAY).device(1).user(1),
            view(AT - HOUR).user(1),
            click(AT).device(1),
            install(AT).device(1).user(1),
        ],
        ["person click@399d, person impression@9599h, person click@400d", others],
    );
    check(
        "by user and click id",
        &[view(AT - HOUR).device(2).user(1).click(1), install(AT).user(1).click(1)],
        [of_user, "click_id impression@9599h"],
    );
    both.run();
}

#[test]
fn fingerprints_go_by_device_else_user() {
    let mut both = Both::new();
    let mut check =
        |name, events: &[Ev], expected| both.check(expected, |golden, said| golden.winners(name, events, said));
    let print = |at| click(at).print(1);
    let to = || install(AT).print(1);
    let (one, two) = ("fingerprint click@400d 1/1", "fingerprint click@400d 1/2");
    check("two devices are two", &[print(AT).device(1), to().device(2)], ["organic"; 2]);
    check("candidates are devices", &[print(AT).device(1).user(1), print(AT - 1).device(2).user(1), to()], [two; 2]);
    check("users where there is none", &[print(AT).user(1), print(AT - 1).user(1), to().device(1)], [one; 2]);
    check(
        "a user's touches on two devices",
        &[print(AT).device(1).user(1), print(AT).device(2).user(1).id(2), to().device(3).user(1)],
        ["person click@400d", "organic"],
    );
    both.run();
}

#[test]
fn hot_devices_and_hot_users() {
    const PERSON: u8 = 1;
    const USER: u8 = 8;
    let mut both = Both::new();
    let mut check =
        |name, events: &[Ev], expected| both.check(expected, |golden, said| golden.winners(name, events, said));
    let (found, organic) = ("person click@400d", "organic");
    let touch = |capped| click(AT).device(1).user(1).capped(capped);
    let to = || install(AT);
    check("a hot user, by the user", &[touch(USER), to().user(1)], [organic; 2]);
    check("a hot user, on another device", &[touch(USER), to().device(2).user(1)], [organic; 2]);
    check("a hot user, by the device", &[touch(USER), to().device(1).user(1)], [found; 2]);
    check("a hot device, by the device", &[touch(PERSON), to().device(1).user(1)], [organic; 2]);
    check("a hot device, by the user", &[touch(PERSON), to().user(1)], [organic; 2]);
    check("both", &[touch(PERSON | USER), to().device(1).user(1)], [organic; 2]);
    check("a hot user without a device", &[click(AT).user(1).capped(PERSON), to().device(1).user(1)], [organic; 2]);
    check("a copy that is not hot", &[touch(USER), touch(0), to().user(1)], [found, organic]);
    check("a copy that stands is hot", &[touch(USER), touch(0).copy(1), to().user(1)], [organic; 2]);
    both.run();
}

#[test]
fn reinstalls_by_device_and_by_user_where_one_has_no_device() {
    let mut both = Both::new();
    let mut check =
        |name, events: &[Ev], expected| both.check(expected, |golden, said| golden.winners(name, events, said));
    let at = |day: i64| install(day * DAY);
    let (first, again) = ("organic; organic", "organic; organic reinstall");
    check("the device, another user", &[at(0).device(1).user(1), at(1).device(1).user(2)], [again; 2]);
    check("the user, another device", &[at(0).device(1).user(1), at(1).device(2).user(1)], [first; 2]);
    check("both, then the user", &[at(0).device(1).user(1), at(1).user(1)], [again, first]);
    check("the user, then both", &[at(0).user(1), at(1).device(1).user(1)], [again, first]);
    check("the user, then the device", &[at(0).user(1), at(1).device(1)], [first; 2]);
    check("another app", &[at(0).user(1), at(1).device(1).user(1).app("web")], [first; 2]);
    check("at 365 d", &[at(0).user(1), at(365).device(1).user(1)], [again, first]);
    check("past 365 d", &[at(0).user(1), Ev { at: 365 * DAY + 1, ..at(0).device(1).user(1) }], [first; 2]);
    check(
        "a user without a device, then two devices",
        &[at(0).user(1), at(1).device(1).user(1), at(2).device(2).user(1)],
        ["organic; organic reinstall; organic reinstall", "organic; organic; organic"],
    );
    check(
        "two devices, then the user",
        &[at(0).device(1).user(1), at(1).device(2).user(1), at(2).user(1)],
        ["organic; organic; organic reinstall", "organic; organic; organic"],
    );
    check(
        "the nearer of both ways",
        &[at(0).device(1).user(1), at(200).user(1), at(400).device(1).user(1)],
        ["organic; organic reinstall; organic reinstall", "organic; organic; organic"],
    );
    check("withdrawn", &[at(0).user(1), at(1).device(1).user(1), at(0).user(1).withdrawn()], ["organic"; 2]);
    check("at once, by id", &[at(0).user(1).id(2), at(0).device(1).user(1).id(1)], [again, first]);
    both.run();
}

#[test]
fn a_conversion_follows_an_install_of_its_device_else_of_its_user() {
    let mut both = Both::new();
    let mut check = |name, events: &[Ev], expected| {
        both.check(expected, |golden, said| golden.credits(name, Model::Linear, events, said));
    };
    let search = "search 1000000";
    let (social, none) = ("social 1000000", "(none) 1000000");
    // The device 1 came by search, then device 2 of the same user by a view of social that nothing else finds.
    let device_1 = [click(AT - 9 * DAY).device(1).channel("search"), install(AT - 8 * DAY).device(1).user(9)];
    let device_2 = [view(AT - 3 * DAY).device(2).channel("social"), install(AT - 2 * DAY - DAY).device(2).user(1)];
    let and = |to: Ev| [&device_1[..], &device_2, &[to]].concat();
    let to = || conversion(AT);
    check("its device, though its user has a later one", &and(to().device(1).user(1)), [search; 2]);
    check("its user's latest", &and(to().user(1)), [social, none]);
    check("its user's, from another device", &and(to().device(3).user(1)), [social, none]);
    check("its device's, from another user", &and(to().device(2).user(9)), [social; 2]);
    check("neither", &and(to().device(3).user(3)), [none; 2]);
    let withdrawn = |to: Ev| [and(to), vec![device_1[1].withdrawn()]].concat();
    check("its user's, as the device's was withdrawn", &withdrawn(to().device(1).user(1)), [social, search]);
    check(
        "an install of the user alone",
        &[click(AT - DAY).user(1).channel("search"), install(AT - DAY).user(1), to().device(1).user(1)],
        [search, none],
    );
    check(
        "a reinstall of the device is passed over, as its first is too old",
        &[
            install(AT - 370 * DAY).device(1).user(1),
            install(AT - 10 * DAY).device(1).user(1),
            click(AT - 5 * DAY).device(2).channel("social"),
            install(AT - 5 * DAY).device(2).user(1),
            to().device(1).user(1),
        ],
        [social, none],
    );
    both.run();
}

#[test]
fn apps_and_servers_that_know_a_person_by_different_ids() {
    let mut both = Both::new();
    let mut check = |name, events: &[Ev], expected| {
        both.check(expected, |golden, said| golden.credits(name, Model::Last, events, said));
    };
    let (search, none) = ("search 1000000 = 5", "(none) 1000000 = 5");
    let touch = || click(AT - DAY).channel("search");
    let to = || conversion(AT).revenue(5);
    check("the app knows both, the server the user", &[touch().device(1).user(1), to().user(1)], [search, none]);
    check("the site knows the user, the app both", &[touch().user(1), to().device(1).user(1)], [search, none]);
    check("both know both", &[touch().device(1).user(1), to().device(1).user(1)], [search; 2]);
    both.run();
}
