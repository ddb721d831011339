//! Where was a fingerprint hot? A target whose fingerprint was hot within its window gets no match by it.
//!
//! A *mark* is a touch that stands and is capped by its fingerprint. A bot leaves a million of them, each of which must
//! cost little, and a target asks whether any lies in its window [t − w, t]. So marks are counted in hours, minutes
//! and exact times, each level under the one above; a target looks at its hours, and only at the two edges of
//! its window, which cover an hour or minute in part, deeper:
//!
//! | arrangement | key → value | one per |
//! |---|---|---|
//! | `capped touches` | half an event key → [`CappedCopy`] | capped copy |
//! | `hot hours` | half a fingerprint → hour, type, channel | hour, type and channel with a mark |
//! | `hot minutes` | (half a fingerprint, hour) → minute, type, channel | minute, type and channel with a mark |
//! | `hot times` | (half a fingerprint, minute) → time, type, channel | mark |
//!
//! Which copy of a touch stands is decided alone for the *disturbed*: those with a capped copy and anything else of the
//! same identity that could stand. All other capped copies are marks as they come.

use differential_dataflow::VecCollection;
use differential_dataflow::operators::ThresholdTotal;
use schemas::event::Accepted;
use schemas::units::{HOUR_MS, MINUTE_MS};
use schemas::view::Method;
use schemas::{Capped, EventId, EventKey, EventTime, EventType, PayloadHash, Subject, Symbol, Tick};
use serde::{Deserialize, Serialize};

use crate::paths::Eligibility;
use crate::touches::{ByKey, Identity, Rest, Rival, Standing, TouchRow};

/// A copy of a touch that is capped by its fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CappedCopy {
    payload_hash: PayloadHash,
    key: EventKey,
    event_id: EventId,
    subject: Subject,
    fingerprint: (u64, Rest),
    span: Span,
}

/// When touches of a type and channel were hot: at a time, or in the minute or hour of that number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Span {
    at: i64,
    event_type: EventType,
    channel: Symbol,
}

impl CappedCopy {
    /// Of an accepted touch that is capped by its fingerprint, with half of its event key.
    pub fn of(record: &Accepted) -> Option<(u64, CappedCopy)> {
        let event = &record.event;
        let fingerprint = event.fingerprint_key().filter(|_| record.capped.has(Capped::FINGERPRINT))?;
        let copy = CappedCopy {
            payload_hash: record.payload_hash,
            key: event.key(),
            event_id: event.event_id,
            subject: event.subject,
            fingerprint: (fingerprint.0.route(), Rest::of(fingerprint)),
            span: Span { at: event.event_time.0, event_type: event.event_type, channel: event.channel },
        };
        Some((copy.key.0.route(), copy))
    }

    fn identity(&self) -> Identity {
        (EventTime(self.span.at), self.event_id, self.subject)
    }

    fn mark(&self) -> Mark {
        (self.fingerprint, self.span)
    }

    /// Whether this row of the same half key may make a difference to whether the copy stands.
    fn is_disturbed_by(&self, row: &TouchRow) -> bool {
        row.identity() == self.identity()
            && (row.payload_hash != self.payload_hash || !row.capped.has(Capped::FINGERPRINT))
    }
}

/// A fingerprint, by halves, and when it was hot.
type Mark = ((u64, Rest), Span);

/// When fingerprints were hot, coarse to fine. Each value has the rest of its fingerprint.
#[derive(Clone)]
pub struct Marks<'scope> {
    hours: ByKey<'scope, u64, (Rest, Span)>,
    minutes: ByKey<'scope, (u64, i64), (Rest, Span)>,
    times: ByKey<'scope, (u64, i64), (Rest, Span)>,
}

/// One fact about a touch with a capped copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Fact {
    Capped(CappedCopy),
    Copy(TouchRow),
    Rival(Rival),
}

/// Counts the marks: of the touches with a capped copy those that stand and are capped.
pub fn marks<'scope>(
    capped: VecCollection<'scope, Tick, (u64, CappedCopy), isize>,
    store: &ByKey<'scope, u64, TouchRow>,
    rivals: &ByKey<'scope, u64, Rival>,
) -> Marks<'scope> {
    let as_they_come = capped.clone().map(|(_, copy)| copy.mark());
    let capped = capped.arrange_by_key_named("capped touches");
    let by_copies =
        capped.clone().join_core(store.clone(), |touch, copy, row| copy.is_disturbed_by(row).then_some(*touch));
    let by_rivals =
        capped.clone().join_core(rivals.clone(), |touch, copy, rival| rival.of_event(copy.key).map(|_| *touch));
    let disturbed = by_copies.concat(by_rivals).distinct_total().map(|touch| (touch, ()));
    let disturbed = disturbed.arrange_by_key_named("disturbed touches");

    let undone = disturbed.clone().join_core(capped.clone(), |_, (), copy| [copy.mark()]);
    let facts = disturbed.clone().join_core(capped, |touch, (), copy| [(*touch, Fact::Capped(*copy))]);
    let copies = disturbed.clone().join_core(store.clone(), |touch, (), row| [(*touch, Fact::Copy(*row))]);
    let rivals = disturbed.join_core(rivals.clone(), |touch, (), rival| [(*touch, Fact::Rival(*rival))]);
    let decided = facts
        .concatenate([copies, rivals])
        .reduce_named("disturbed marks", |_, facts, output| output.extend(standing(facts).map(|mark| (mark, 1))));
    let marks = as_they_come.concat(undone.negate()).concat(decided.map(|(_, mark)| mark));

    let by = |unit_ms: i64| {
        marks.clone().map(move |(fingerprint, span)| (fingerprint, Span { at: span.at.div_euclid(unit_ms), ..span }))
    };
    let hours = by(HOUR_MS).distinct_total().map(|((half, rest), span)| (half, (rest, span)));
    let minutes = by(MINUTE_MS)
        .distinct_total()
        .map(|((half, rest), span)| ((half, span.at.div_euclid(HOUR_MS / MINUTE_MS)), (rest, span)));
    let times = marks.map(|((half, rest), span)| ((half, span.at.div_euclid(MINUTE_MS)), (rest, span)));
    Marks {
        hours: hours.arrange_by_key_named("hot hours"),
        minutes: minutes.arrange_by_key_named("hot minutes"),
        times: times.arrange_by_key_named("hot times"),
    }
}

/// The marks of the touches of one half key.
fn standing(facts: &[(&Fact, isize)]) -> impl Iterator<Item = Mark> {
    let facts = || facts.iter().map(|(fact, _)| *fact);
    // Copies with one payload hash are equal but for how they are capped, so one of them speaks for all.
    let mut copies: Vec<CappedCopy> = Vec::new();
    for fact in facts() {
        if let Fact::Capped(copy) = fact
            && !copies.iter().any(|other| other.key == copy.key && other.payload_hash == copy.payload_hash)
        {
            copies.push(*copy);
        }
    }
    copies.retain(|copy| {
        let mut standing = Standing::default();
        for fact in facts() {
            match fact {
                Fact::Copy(row) if row.identity() == copy.identity() => standing.copy(row),
                Fact::Rival(rival) => rival.of_event(copy.key).into_iter().for_each(|hash| standing.rival(hash)),
                Fact::Copy(_) | Fact::Capped(_) => {}
            }
        }
        let stands = standing.touch().filter(|touch| touch.payload_hash == copy.payload_hash);
        stands.is_some_and(|touch| touch.capped.has(Capped::FINGERPRINT))
    });
    copies.into_iter().map(|copy| copy.mark())
}

/// A target that wants to know whether its fingerprint was hot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ask<A> {
    /// The rest of its fingerprint.
    pub fingerprint: Rest,
    /// When it happened.
    pub event_time: EventTime,
    /// Whom to tell.
    pub asker: A,
}

/// How a window covers an hour, minute or time.
enum Cover {
    Full,
    Part,
    None,
}

impl<A> Ask<A> {
    /// How the window of this target for touches of a type and channel covers a span of `unit_ms`.
    fn covers(&self, rest: Rest, span: &Span, unit_ms: i64, eligibility: &Eligibility) -> Cover {
        let window_ms = eligibility.window_ms(span.event_type, span.channel, Method::Fingerprint);
        let (from, to) = (self.event_time.0 - window_ms, self.event_time.0);
        let (first, last) = (span.at * unit_ms, span.at * unit_ms + (unit_ms - 1));
        if rest != self.fingerprint || last < from || to < first {
            Cover::None
        } else if from <= first && last <= to {
            Cover::Full
        } else {
            Cover::Part
        }
    }
}

/// The askers whose fingerprint was hot within their window, each at least once.
pub fn hot<'scope, A: differential_dataflow::ExchangeData + Copy + std::hash::Hash>(
    asks: VecCollection<'scope, Tick, (u64, Ask<A>), isize>,
    marks: &Marks<'scope>,
    eligibility: &Eligibility,
) -> VecCollection<'scope, Tick, A, isize> {
    let windows = eligibility.clone();
    let hours =
        asks.arrange_by_key_named("hot asks").join_core(marks.hours.clone(), move |half, ask, (rest, span)| match ask
            .covers(*rest, span, HOUR_MS, &windows)
        {
            Cover::Full => Some((None, *ask)),
            Cover::Part => Some((Some((*half, span.at)), *ask)),
            Cover::None => None,
        });
    let windows = eligibility.clone();
    let minutes = hours
        .clone()
        .flat_map(|(part, ask)| part.map(|key| (key, ask)))
        .arrange_by_key_named("hot asks of an hour")
        .join_core(marks.minutes.clone(), move |(half, _), ask, (rest, span)| {
            match ask.covers(*rest, span, MINUTE_MS, &windows) {
                Cover::Full => Some((None, *ask)),
                Cover::Part => Some((Some((*half, span.at)), *ask)),
                Cover::None => None,
            }
        });
    let windows = eligibility.clone();
    let times = minutes
        .clone()
        .flat_map(|(part, ask)| part.map(|key| (key, ask)))
        .arrange_by_key_named("hot asks of a minute")
        .join_core(marks.times.clone(), move |_, ask, (rest, span)| {
            matches!(ask.covers(*rest, span, 1, &windows), Cover::Full).then_some(ask.asker)
        });
    let covered = hours.concat(minutes).flat_map(|(part, ask)| part.is_none().then_some(ask.asker));
    covered.concat(times)
}
