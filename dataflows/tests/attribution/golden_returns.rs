//! Devices that come back, case by case: the install or open with which one does is attributed anew, if a touch led there.

use schemas::EventType::{Event, Identify, Open};
use schemas::view::Model::Linear;

use crate::events::{DAY, Ev, HOUR, click, conversion, event, install, view};
use crate::golden::Golden;
use crate::golden_installs::params;

/// When a device comes back.
const AT: i64 = 200 * DAY;

fn first(ago: i64) -> Ev {
    install(AT - ago).device(1).id(1)
}

fn open(at: i64) -> Ev {
    event(Open, at).device(1).id(2)
}

fn click_before() -> Ev {
    click(AT - HOUR).device(1).channel("search")
}

#[test]
fn devices_come_back() {
    let mut golden = Golden::new(params());
    let mut check = |name, events: &[Ev], expected| golden.winners(name, events, expected);
    let back = "organic; person click@4799h reattribution with open";
    check("after 91 days", &[first(91 * DAY), click_before(), open(AT)], back);
    check("after 90 days", &[first(90 * DAY), click_before(), open(AT)], "organic");
    check("after 401 days, as a new one", &[first(401 * DAY), click_before(), open(AT)], "organic");
    check("without a touch", &[first(91 * DAY), open(AT)], "organic");
    check("with a touch that is too old", &[first(91 * DAY), view(AT - DAY - 1).device(1), open(AT)], "organic");
    check("a device that was never there", &[click_before(), open(AT)], "");
    check("without a device", &[install(AT - 91 * DAY).user(1), click(AT).user(1), event(Open, AT).user(1)], "organic");
    check("in another app", &[first(91 * DAY).app("web"), click_before(), open(AT)], "organic");
    check("by the user of its open", &[first(91 * DAY), click(AT - HOUR).user(7), open(AT).user(7)], back);
    check(
        "by its click id",
        &[first(91 * DAY), click(AT).click(3).user(7), open(AT).click(3)],
        "organic; click_id click@200d reattribution with open",
    );
    check(
        "by its fingerprint",
        &[first(91 * DAY), click(AT).print(3), open(AT).print(3)],
        "organic; fingerprint click@200d 1/1 reattribution with open",
    );
    check("twice on a day, the first", &[first(91 * DAY), click_before(), open(AT), open(AT + 1).id(3)], back);
    check(
        "with an install that would be a reinstall",
        &[first(91 * DAY), click_before(), install(AT).device(1)],
        "organic; person click@4799h reattribution with install",
    );
    check("with an install, without a touch", &[first(91 * DAY), install(AT).device(1)], "organic; organic reinstall");
    check(
        "an install after one with which it came back is a reinstall",
        &[first(91 * DAY), click_before(), install(AT).device(1).id(3), install(AT + 1).device(1).id(4)],
        "organic; person click@4799h reattribution with install; person click@4799h reinstall",
    );
    check(
        "an install after an open with which it came back",
        &[first(380 * DAY), open(AT - 120 * DAY).id(9), click_before(), open(AT), install(AT + 1).device(1).id(4)],
        "organic; person click@4799h reattribution with open; person click@4799h",
    );
    golden.run();
}

#[test]
fn what_is_presence() {
    let mut golden = Golden::new(params());
    let mut check = |name, events: &[Ev], expected| golden.winners(name, events, expected);
    let back = "organic; person click@4799h reattribution with open";
    let between = |of: Ev| [first(150 * DAY), of.device(1).id(5), click_before(), open(AT)];
    check("an event", &between(event(Event, AT - DAY)), "organic");
    check("a conversion", &between(conversion(AT - DAY)), "organic");
    check("an open", &between(event(Open, AT - 90 * DAY)), "organic");
    check("a refund is none", &between(conversion(AT - DAY).revenue(-5)), back);
    check("a touch is none", &between(view(AT - 3 * DAY)), back);
    check("to be identified is none", &between(event(Identify, AT - DAY)), back);
    let withdrawn = event(Event, AT - DAY).device(1).id(5);
    check("what was withdrawn is none", &[&between(withdrawn.clone())[..], &[withdrawn.withdrawn()]].concat(), back);
    check("what was done before on that day", &between(event(Event, AT - 1)), "organic");
    golden.run();
}

#[test]
fn later_conversions_follow() {
    let mut golden = Golden::new(params());
    let mut check = |name, events: &[Ev], expected| golden.credits(name, Linear, events, expected);
    let won = || [click(AT - 92 * DAY).device(1).channel("email"), first(91 * DAY)];
    let bought = |at: i64| conversion(at).device(1).id(8);
    let case = |others: &[Ev]| [&won()[..], others].concat();
    check("before it came back the install", &case(&[click_before(), open(AT), bought(AT - 1)]), "email 1000000");
    check("at the moment it does", &case(&[click_before(), open(AT), bought(AT)]), "search 1000000");
    check("later", &case(&[click_before(), open(AT), bought(AT + 30 * DAY)]), "search 1000000");
    check("not without a touch", &case(&[open(AT), bought(AT + DAY)]), "email 1000000");
    check("with an install", &case(&[click_before(), install(AT).device(1).id(4), bought(AT + DAY)]), "search 1000000");
    check(
        "of the user of the open",
        &case(&[click_before(), open(AT).user(3), conversion(AT + DAY).user(3).id(8)]),
        "search 1000000",
    );
    check("withdrawn", &case(&[click_before(), open(AT), bought(AT + DAY), open(AT).withdrawn()]), "email 1000000");
    golden.run();
}
