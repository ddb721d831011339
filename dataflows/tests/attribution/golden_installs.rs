//! The rules of `installs`, case by case.

use dataflows::params::{Params, Span, Windows};
use schemas::EventType;

use crate::events::{DAY, Ev, HOUR, click, conversion, event, install, view};
use crate::golden::Golden;

/// The defaults, with a long click window for search, a short view window for e-mail.
pub(crate) fn params() -> Params {
    let mut params = Params::default();
    let windows = |default, channel: &str, span| Windows {
        default: Span(default),
        by_channel: [(channel.to_owned(), Span(span))].into(),
    };
    params.installs.click_window = windows(7 * DAY, "search", 30 * DAY);
    params.installs.view_window = windows(DAY, "email", 2 * HOUR);
    params
}

/// An install long after the epoch of cases, so that touches can come long before it.
const AT: i64 = 40 * DAY;

fn print_click(at: i64) -> Ev {
    click(at).print(1)
}

fn print_install() -> Ev {
    install(AT).print(1)
}

#[test]
fn scope_and_windows() {
    let mut golden = Golden::new(params());
    let mut check = |name, events: &[Ev], expected| golden.winners(name, events, expected);
    check("nothing", &[install(AT).user(1)], "organic");
    check("another user", &[click(AT).user(2), install(AT).user(1)], "organic");
    check("another app", &[click(AT).user(1).app("web"), install(AT).user(1)], "organic");
    check("an app and none", &[click(AT).user(1).app(""), install(AT).user(1)], "organic");
    check("no app is a scope", &[click(AT).user(1).app(""), install(AT).user(1).app("")], "person click@40d");
    check("other types lead nowhere", &[event(EventType::Open, AT).user(1), install(AT).user(1)], "organic");
    check("the same moment", &[click(AT).user(1), install(AT).user(1)], "person click@40d");
    check("after the install", &[click(AT + 1).user(1), install(AT).user(1)], "organic");
    check("click at 7 d", &[click(AT - 7 * DAY).user(1), install(AT).user(1)], "person click@33d");
    check("click past 7 d", &[click(AT - 7 * DAY - 1).user(1), install(AT).user(1)], "organic");
    check("view at 24 h", &[view(AT - DAY).user(1), install(AT).user(1)], "person impression@39d");
    check("view past 24 h", &[view(AT - DAY - 1).user(1), install(AT).user(1)], "organic");
    let search = |age| [click(AT - age).user(1).channel("search"), install(AT).user(1)];
    check("search click at 30 d", &search(30 * DAY), "person click@10d");
    check("search click past 30 d", &search(30 * DAY + 1), "organic");
    let email = |age| [view(AT - age).user(1).channel("email"), install(AT).user(1)];
    check("e-mail view at 2 h", &email(2 * HOUR), "person impression@958h");
    check("e-mail view past 2 h", &email(2 * HOUR + 1), "organic");
    check("fingerprint at 24 h", &[print_click(AT - DAY), print_install()], "fingerprint click@39d 1/1");
    check("fingerprint past 24 h", &[print_click(AT - DAY - 1), print_install()], "organic");
    let email = |age| [view(AT - age).print(1).channel("email"), print_install()];
    check("fingerprint of an e-mail view at 2 h", &email(2 * HOUR), "fingerprint impression@958h 1/1");
    check("fingerprint of an e-mail view past 2 h", &email(2 * HOUR + 1), "organic");
    golden.run();
}

#[test]
fn keys() {
    let mut golden = Golden::new(params());
    let mut check = |name, events: &[Ev], expected| golden.winners(name, events, expected);
    check("device", &[click(AT).device(1).user(2), install(AT).device(1).user(3)], "person click@40d");
    check("click id", &[click(AT).click(1).user(2), install(AT).click(1).user(1)], "click_id click@40d");
    check("click id of a view", &[view(AT).click(1), install(AT).click(1)], "click_id impression@40d");
    check("no key at all", &[click(AT), install(AT)], "organic");
    check("two devices", &[print_click(AT).device(1), print_install().device(2)], "organic");
    check("one device", &[print_click(AT).user(1), print_install().device(2)], "fingerprint click@40d 1/1");
    check(
        "two devices, one click id",
        &[print_click(AT).device(1).click(1), print_install().device(2).click(1)],
        "click_id click@40d",
    );
    golden.run();
}

#[test]
fn order_of_winners() {
    let mut golden = Golden::new(params());
    let mut check = |name, events: &[Ev], expected| golden.winners(name, events, expected);
    let to = || install(AT).user(1).click(1).print(1);
    check("click before view", &[click(AT - DAY).user(1), view(AT).user(1), to()], "person click@39d");
    check(
        "fingerprint click before person's view",
        &[print_click(AT - HOUR).user(2), view(AT).user(1), to()],
        "fingerprint click@959h 1/1",
    );
    check("person before fingerprint", &[click(AT - DAY).user(1), print_click(AT), to()], "person click@39d");
    check("click id before fingerprint", &[click(AT - DAY).click(1), print_click(AT), to()], "click_id click@39d");
    check("the latest", &[click(AT - 2).user(1), click(AT - 1).click(1), to()], "click_id click@3455999999ms");
    check("person before click id", &[click(AT).user(1).id(1), click(AT).click(1).id(2), to()], "person click@40d");
    golden.run();

    let mut golden = Golden::new(params());
    let mut check = |name, events: &[Ev], expected| golden.credits(name, schemas::view::Model::Last, events, expected);
    check(
        "larger id",
        &[
            click(AT).user(1).device(1).id(3).channel("search"),
            click(AT).user(2).device(1).id(2).channel("social"),
            conversion(AT).device(1),
        ],
        "search 1000000",
    );
    check(
        "larger subject",
        &[
            click(AT).user(1).device(1).id(2).channel("search"),
            click(AT).user(2).device(1).id(2).channel("social"),
            conversion(AT).device(1),
        ],
        "social 1000000",
    );
    golden.run();
}

#[test]
fn confidence() {
    let mut golden = Golden::new(params());
    let mut check = |name, events: &[Ev], expected| golden.winners(name, events, expected);
    check(
        "one user, two clicks",
        &[print_click(AT).user(1), print_click(AT - 1).user(1), print_install()],
        "fingerprint click@40d 1/1",
    );
    check(
        "device, user, touch",
        &[
            print_click(AT).device(1).user(1),
            print_click(AT - 1).user(2),
            print_click(AT - 2),
            print_click(AT - 3),
            print_install(),
        ],
        "fingerprint click@40d 1/4",
    );
    check("views count", &[print_click(AT), view(AT).print(1), print_install()], "fingerprint click@40d 1/2");
    check(
        "those of another join count",
        &[print_click(AT).user(2), view(AT).print(1).user(1), print_install().user(1)],
        "fingerprint click@40d 1/2",
    );
    check(
        "conflicting devices do not",
        &[print_click(AT).user(2), print_click(AT).device(3), print_install().device(1)],
        "fingerprint click@40d 1/1",
    );
    check(
        "nor those past their window",
        &[print_click(AT).user(2), print_click(AT - DAY - 1).user(3), print_install()],
        "fingerprint click@40d 1/1",
    );
    golden.run();
}

#[test]
fn hot_keys() {
    const PERSON: u8 = 1;
    const CLICK: u8 = 2;
    const PRINT: u8 = 4;
    let mut golden = Golden::new(params());
    let mut check = |name, events: &[Ev], expected| golden.winners(name, events, expected);
    let to = || install(AT).user(1).click(1).print(1);
    check("capped by person", &[click(AT).user(1).capped(PERSON), to()], "organic");
    check("found by click id", &[click(AT).user(1).click(1).capped(PERSON), to()], "click_id click@40d");
    check("capped by click id", &[click(AT).click(1).capped(CLICK), to()], "organic");
    check(
        "a copy that is not capped",
        &[click(AT).user(1).capped(PERSON), click(AT).user(1).capped(CLICK), to()],
        "person click@40d",
    );
    check(
        "an uncapped copy that does not stand",
        &[click(AT).user(1).capped(PERSON), click(AT).user(1).copy(1), to()],
        "organic",
    );
    let hot = |age| [print_click(AT - age).user(2).capped(PRINT), print_click(AT).user(3), to()];
    check("hot fingerprint", &hot(1), "organic");
    check("hot in the hour of the install", &hot(0), "organic");
    check("hot at 24 h", &hot(DAY), "organic");
    check("hot past 24 h", &hot(DAY + 1), "fingerprint click@40d 1/1");
    check("hot later", &hot(-1), "fingerprint click@40d 1/1");
    check("the others are free", &[print_click(AT).user(1).capped(PRINT), to()], "person click@40d");
    check(
        "hot by another device",
        &[print_click(AT).device(2).capped(PRINT), print_click(AT).user(3), print_install().device(1)],
        "organic",
    );
    check(
        "hot, but its view window is over",
        &[view(AT - 3 * HOUR).print(1).user(2).channel("email").capped(PRINT), print_click(AT).user(3), to()],
        "fingerprint click@40d 1/1",
    );
    check(
        "hot, withdrawn",
        &[print_click(AT).user(2).capped(PRINT), print_click(AT).user(3), to(), print_click(AT).user(2).withdrawn()],
        "fingerprint click@40d 1/1",
    );
    check(
        "hot, but a copy is not",
        &[print_click(AT).user(2).capped(PRINT), print_click(AT).user(3), to(), print_click(AT).user(2)],
        "fingerprint click@40d 1/2",
    );
    let mut bot: Vec<Ev> =
        (0..50).map(|n| print_click(AT - n * HOUR / 10).id(n as u32 + 9).user(2).capped(PRINT)).collect();
    bot.extend([print_click(AT).user(3), to()]);
    golden.winners("a bot", bot, "organic");
    golden.run();
}

#[test]
fn copies_and_withdrawals() {
    let mut golden = Golden::new(params());
    let mut check = |name, events: &[Ev], expected| golden.winners(name, events, expected);
    let touch = || click(AT).user(1).id(7);
    let to = || install(AT).user(1).device(0);
    check("a copy changes nothing", &[touch(), to(), touch(), to()], "person click@40d");
    check("the smallest hash stands", &[touch().app("web"), touch().copy(1), to()], "organic");
    check("in any order", &[touch().copy(1), to(), touch().app("web")], "organic");
    check("whatever its type", &[touch().copy(1), to(), Ev { kind: EventType::Open, ..touch() }], "organic");
    check(
        "a view may stand for a click",
        &[touch().copy(1), to(), Ev { kind: EventType::Impression, ..touch() }],
        "person impression@40d",
    );
    check(
        "the same id at another time is another event",
        &[touch(), Ev { at: AT - 1, ..touch() }, to()],
        "person click@40d",
    );
    check("withdrawn", &[touch(), to(), touch().withdrawn()], "organic");
    check("withdrawn before", &[touch().withdrawn(), to(), touch()], "organic");
    check("withdrawn for ever", &[touch(), touch().withdrawn(), to(), touch().copy(0)], "organic");
    check("another event withdrawn", &[touch(), to(), touch().id(8).withdrawn()], "person click@40d");
    check("another time withdrawn", &[touch(), to(), Ev { at: AT - 1, ..touch() }.withdrawn()], "person click@40d");
    check("another subject withdrawn", &[touch(), to(), touch().user(2).withdrawn()], "person click@40d");
    check("install withdrawn", &[touch(), to(), to().withdrawn()], "");
    check("a copy of the install", &[touch(), to().copy(1), to().app("web")], "organic");
    check("an install that a click stands for", &[to().copy(1), Ev { kind: EventType::Click, ..to() }], "");
    check("a conversion that stands for an install", &[to().copy(1), Ev { kind: EventType::Conversion, ..to() }], "");
    golden.run();
}

#[test]
fn reinstalls() {
    let mut golden = Golden::new(params());
    let mut check = |name, events: &[Ev], expected| golden.winners(name, events, expected);
    let at = |day: i64| install(day * DAY).user(1);
    check("at 365 d", &[at(0), at(365)], "organic; organic reinstall");
    check("past 365 d", &[at(0), Ev { at: 365 * DAY + 1, ..at(0) }], "organic; organic");
    check("after a reinstall", &[at(0), at(300), at(600)], "organic; organic reinstall; organic reinstall");
    check("it has a winner", &[at(0), click(DAY).user(1), at(2)], "organic; person click@1d reinstall");
    check("the first withdrawn", &[at(0), at(300), at(0).withdrawn()], "organic");
    check("at once: by id", &[at(1).id(2), at(1).id(1)], "organic; organic reinstall");
    check("at once: by subject", &[at(1).device(9), at(1).user(2).device(9)], "organic; organic reinstall");
    check("another app", &[at(0), at(1).app("web")], "organic; organic");
    check("another person", &[at(0), at(1).user(2)], "organic; organic");
    check("nobody", &[install(0).click(1), install(1).click(1)], "organic; organic");
    golden.run();
}

#[test]
fn frozen_paths() {
    let mut golden = Golden::new(params());
    let mut check = |name, events: &[Ev], expected| golden.paths(name, events, expected);
    let to = || install(AT).user(1).click(1).print(1);
    check("organic", &[to()], "");
    check(
        "each touch once by its best method, in order",
        &[view(AT).user(1).click(1).print(1), click(AT - HOUR).print(1).click(1), click(AT - DAY).print(1), to()],
        "fingerprint click@39d, click_id click@959h, person impression@40d",
    );
    check("a reinstall freezes none", &[to(), click(AT + 1).user(1), Ev { at: AT + DAY, ..to() }], "; ");
    check(
        "at once: by id",
        &[click(AT).user(1).id(2), view(AT).user(1).id(1), to()],
        "person impression@40d, person click@40d",
    );
    let many = |count: i64| -> Vec<Ev> {
        (0..count).map(|n| view(AT - HOUR * 4 + n * 60_000).user(1)).chain([to()]).collect()
    };
    let listed = |from: i64, to: i64| -> String {
        let minutes = (from..to).map(|n| Span(AT - HOUR * 4 + n * 60_000));
        minutes.map(|at| format!("person impression@{at}")).collect::<Vec<_>>().join(", ")
    };
    golden.paths("128 touches", many(128), &listed(0, 128));
    golden.paths("131 touches", many(131), &format!("{}, {} after 3", listed(0, 1), listed(4, 131)));
    let click_within = many(131).into_iter().chain([click(AT - HOUR * 4 + 1).user(1)]).collect::<Vec<_>>();
    golden.winners("the winner may be left out of the path", click_within, "person click@3441600001ms");
    golden.run();
}
