//! Funnels for tests, written as a job file has them.

use dataflows::funnels::{Columns, Dimension, Funnel, MaxTime, Per, Step};
use dataflows::params::Span;
use schemas::EventType;

/// A step of events of these types, and of these names where there are any.
pub(crate) fn step(step: &str, types: &[EventType], names: &[&str]) -> Step {
    let name = names.iter().map(|name| (*name).to_owned()).collect();
    Step { step: step.to_owned(), types: types.to_vec(), columns: Columns { name, ..Columns::default() } }
}

/// A funnel; `max_ms` 0 is unlimited.
pub(crate) fn funnel(name: &str, steps: Vec<Step>, max_ms: i64, per: Per, by: Option<Dimension>) -> Funnel {
    let max_time = if max_ms == 0 { MaxTime::Unlimited } else { MaxTime::Within(Span(max_ms)) };
    Funnel { name: name.to_owned(), steps, max_time, per, by }
}

/// One for each period, of events that have several steps, some of them the same, and overlap.
pub(crate) fn of_all_periods([of_all, of_month, of_week, of_day]: [i64; 4]) -> Vec<Funnel> {
    use EventType::{Click, Conversion, Event, Impression, Open};
    let touched = || step("touched", &[Impression, Click], &[]);
    let bought = || step("bought", &[Conversion], &[]);
    let opened_twice = vec![step("opened", &[Open], &[]), step("again", &[Open, Event], &[]), bought()];
    let cart_twice = vec![touched(), step("cart", &[], &["cart"]), step("more", &[], &["cart", "buy"]), bought()];
    vec![
        funnel("all", vec![touched(), step("cart", &[], &["cart", "buy"]), bought()], of_all, Per::All, None),
        funnel("month's", cart_twice, of_month, Per::Month, Some(Dimension::Campaign)),
        funnel("week", opened_twice, of_week, Per::Week, Some(Dimension::App)),
        funnel("day", vec![touched(), bought()], of_day, Per::Day, Some(Dimension::Channel)),
    ]
}
