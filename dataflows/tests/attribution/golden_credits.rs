//! The rules of `credits`, case by case.

use dataflows::params::{Params, Span};
use schemas::view::Model::{self, First, Last, LastNonDirect, Linear, Position, TimeDecay};

use crate::events::{DAY, Ev, HOUR, click, conversion, install, view};
use crate::golden::Golden;
use crate::golden_installs::params;

const AT: i64 = 400 * DAY;

fn touches(channels: &[&'static str]) -> Vec<Ev> {
    let count = channels.len() as i64;
    channels
        .iter()
        .enumerate()
        .map(|(n, channel)| click(AT - (count - n as i64) * DAY).user(1).channel(channel))
        .collect()
}

fn with(mut events: Vec<Ev>, more: impl IntoIterator<Item = Ev>) -> Vec<Ev> {
    events.extend(more);
    events
}

#[test]
fn models() {
    let mut golden = Golden::new(params());
    let mut check = |name, model: Model, channels: &[&'static str], expected| {
        golden.credits(name, model, with(touches(channels), [conversion(AT).user(1)]), expected);
    };
    check("first", First, &["search", "social"], "search 1000000");
    check("last", Last, &["search", "social"], "social 1000000");
    check("last but direct", LastNonDirect, &["search", "social", "direct", "direct"], "social 1000000");
    check("a touch without channel is not direct", LastNonDirect, &["search", ""], "? 1000000");
    check("all direct", LastNonDirect, &["direct", "direct"], "direct 1000000");
    check("linear", Linear, &["search", "social", "email"], "search 333334, social 333333, email 333333");
    check("position of one", Position, &["search"], "search 1000000");
    check("position of two", Position, &["search", "social"], "search 500000, social 500000");
    check("position of three", Position, &["search", "social", "email"], "search 400000, social 200000, email 400000");
    check(
        "position of four",
        Position,
        &["search", "social", "direct", "email"],
        "search 400000, social 100000, direct 100000, email 400000",
    );
    // Weights 2^20 · 2^(−48/168), 2^(−24/168): 860_184 and 949_720.
    check("decay by days", TimeDecay, &["search", "social"], "search 475265, social 524735");
    for model in Model::ALL {
        check("no touch", model, &[], "(none) 1000000");
    }
    golden.run();
}

#[test]
fn time_decay() {
    let mut golden = Golden::new(params());
    let mut check = |name, ages: [i64; 2], expected| {
        let [one, other] = ages.map(|age| click(AT - age).user(1));
        let events = [one.channel("search"), other.channel("social"), conversion(AT).user(1)];
        golden.credits(name, TimeDecay, events, expected);
    };
    check("the same hour", [HOUR - 1, 0], "search 500000, social 500000");
    check("one half-life, two thirds", [7 * DAY, 0], "search 333333, social 666667");
    golden.run();

    let mut short = Params::default();
    short.credits.half_life = Span(36 * HOUR);
    short.installs.click_window.default = Span(30 * DAY);
    let mut golden = Golden::new(short);
    let mut check = |name, age, expected| {
        let events = [click(AT - age).user(1).channel("search"), click(AT).user(1).channel("social")];
        golden.credits(name, TimeDecay, with(events.to_vec(), [conversion(AT).user(1)]), expected);
    };
    check("another half-life", 36 * HOUR, "search 333333, social 666667");
    check("two", 72 * HOUR, "search 200000, social 800000");
    // 20 half-lives: weights 1 and 2^20.
    check("at the precision of weights", 30 * DAY, "search 1, social 999999");
    golden.run();

    let mut long = Params::default();
    long.credits.half_life = Span(36 * HOUR);
    long.installs.click_window.default = Span(90 * DAY);
    let mut golden = Golden::new(long);
    let mut check = |name, events: &[Ev], expected| golden.credits(name, TimeDecay, events, expected);
    let [old, new] = [click(AT - 90 * DAY).user(1).channel("search"), click(AT).user(1).channel("social")];
    let to = || conversion(AT).user(1);
    check("the longest weighs no less", &[old.clone(), new, to()], "search 1, social 999999");
    check("alone", &[old.clone(), to()], "search 1000000");
    check("too old", &[Ev { at: AT - 90 * DAY - 1, ..old }, to()], "(none) 1000000");
    golden.run();
}

#[test]
fn splits() {
    let mut golden = Golden::new(params());
    let mut check = |name, model, channels: &[&'static str], revenue: Option<i64>, expected| {
        let to = Ev { revenue, ..conversion(AT).user(1) };
        golden.credits(name, model, with(touches(channels), [to]), expected);
    };
    let three: &[&str] = &["search", "social", "email"];
    check("no revenue", Last, three, None, "email 1000000");
    check("zero", Linear, three, Some(0), "search 333334 = 0, social 333333 = 0, email 333333 = 0");
    check("ten", Linear, three, Some(10), "search 333334 = 4, social 333333 = 3, email 333333 = 3");
    check("a refund", Linear, three, Some(-11), "search 333334 = -4, social 333333 = -4, email 333333 = -3");
    check("largest remainder", Position, three, Some(3), "search 400000 = 1, social 200000 = 1, email 400000 = 1");
    check(
        "the largest amount",
        Linear,
        three,
        Some(1 << 53),
        "search 333334 = 3002399751580331, social 333333 = 3002399751580331, email 333333 = 3002399751580330",
    );
    check("less than one each", First, &[], Some(-5), "(none) 1000000 = -5");
    golden.run();
}

#[test]
fn governing_installs() {
    let mut golden = Golden::new(params());
    let mut check = |name, events: &[Ev], expected| golden.credits(name, Linear, events, expected);
    let search = |at| click(at).user(1).channel("search");
    let social = |at| click(at).user(1).channel("social");
    let to = || conversion(AT).user(1);
    check(
        "its path, not a later touch",
        &[search(AT - 2 * DAY), install(AT - DAY).user(1), social(AT - HOUR), to()],
        "search 1000000",
    );
    check("an organic install", &[install(AT - DAY).user(1), social(AT - HOUR), to()], "(none) 1000000");
    check("at the same moment", &[install(AT).user(1), to()], "(none) 1000000");
    let aged = |age| [search(AT - age), install(AT - age).user(1), social(AT - HOUR), to()];
    check("at 365 d", &aged(365 * DAY), "search 1000000");
    check("past 365 d", &aged(365 * DAY + 1), "social 1000000");
    check("after the conversion", &[search(AT - 1), install(AT + 1).user(1), to()], "search 1000000");
    check(
        "not a reinstall",
        &[search(AT - 9 * DAY), install(AT - 9 * DAY).user(1), social(AT - DAY), install(AT - DAY).user(1), to()],
        "search 1000000",
    );
    check(
        "the latest that is none",
        &[search(AT - 380 * DAY), install(AT - 380 * DAY).user(1), social(AT - DAY), install(AT - DAY).user(1), to()],
        "social 1000000",
    );
    check(
        "withdrawn",
        &[
            search(AT - 2 * DAY),
            install(AT - DAY).user(1),
            social(AT - HOUR),
            to(),
            install(AT - DAY).user(1).withdrawn(),
        ],
        "search 500000, social 500000",
    );
    check("another app", &[install(AT - DAY).user(1).app("web"), social(AT - HOUR), to()], "social 1000000");
    check("another person", &[install(AT - DAY).user(2), social(AT - HOUR), to()], "social 1000000");
    check(
        "a person by device",
        &[
            click(AT - DAY).device(1).channel("search"),
            install(AT - DAY).device(1).user(1),
            conversion(AT).device(1).user(2),
        ],
        "search 1000000",
    );
    golden.run();
}

#[test]
fn own_paths() {
    let mut golden = Golden::new(params());
    let mut check = |name, events: &[Ev], expected| golden.credits(name, Linear, events, expected);
    let search = || click(AT - 3).channel("search");
    let social = || view(AT - 2).channel("social");
    let email = || click(AT - 1).channel("email");
    check(
        "all three joins",
        &[search().user(1), social().click(1), email().print(1), conversion(AT).user(1).click(1).print(1)],
        "search 333334, social 333333, email 333333",
    );
    check(
        "the click id alone",
        &[search().user(1), social().click(1), email().print(1), conversion(AT).click(1)],
        "social 1000000",
    );
    check("nothing to go by", &[search().user(1), conversion(AT)], "(none) 1000000");
    check(
        "a channel named organic is data",
        &[search().user(1).channel("organic"), conversion(AT).user(1)],
        "organic 1000000",
    );
    check(
        "a channel named (none) too",
        &[search().user(1).channel("(none)"), conversion(AT).user(1)],
        "named (none) 1000000",
    );
    check("a touch without channel", &[search().user(1).channel(""), conversion(AT).user(1)], "? 1000000");
    check(
        "a copy of the conversion",
        &[search().user(1), conversion(AT).user(1).revenue(5), conversion(AT).user(1).revenue(7).copy(1)],
        "search 1000000 = 5",
    );
    check("withdrawn", &[search().user(1), conversion(AT).user(1), conversion(AT).user(1).withdrawn()], "");
    let many = |last: Ev| {
        let channel = |n| ["email", "direct", "direct", "search"].get(n as usize).copied().unwrap_or("social");
        let views = (0..130).map(|n| view(AT - HOUR + n).user(1).channel(channel(n)));
        views.chain([last]).collect::<Vec<Ev>>()
    };
    let to = || conversion(AT).user(1);
    golden.credits("the first of a long path", First, many(to()), "email 1000000 after 2");
    golden.credits("the last of it", Last, many(to()), "social 1000000 after 2");
    // The first and the last weigh 2 · 126 each, what is between them 126 in all.
    let (more, less) = (", social 1588 after 2".repeat(37), ", social 1587 after 2".repeat(88));
    let by_position = format!("email 400000 after 2, search 1588 after 2{more}{less}, social 400000 after 2");
    golden.credits("its position", Position, many(to()), &by_position);
    golden.credits(
        "the first that the install kept",
        First,
        with(many(install(AT).user(1)), [to()]),
        "email 1000000 after 2",
    );
    golden.run();
}
