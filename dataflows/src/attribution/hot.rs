//! Where was a fingerprint hot? A target whose fingerprint was hot within its window gets no match by it.
//!
//! A *mark* is a touch that stands and is capped by its fingerprint. A bot leaves a million of them, each of which must
//! cost little, and a target asks whether any lies in its window [t − w, t]. So marks are counted in hours, minutes
//! and exact times, each level under the one above; a target looks at its hours, and only at the two edges of
//! its window, which cover an hour or minute in part, deeper:
//!
//! | arrangement | key → value | one per |
//! |---|---|---|
//! | `capped touches` | half of what tells events apart → [`CappedCopy`] | capped copy |
//! | `hot hours` | half a fingerprint → hour, type, channel | hour, type and channel with a mark |
//! | `hot minutes` | (half a fingerprint, hour) → minute, type, channel | minute, type and channel with a mark |
//! | `hot times` | (half a fingerprint, minute) → time, type, channel | mark |
//!
//! Which copy of a touch stands is decided alone for the *contested*: those with a capped copy and anything else of the
//! same identity that could stand. All other capped copies are marks as they come.

use differential_dataflow::hashable::Hashable;
use differential_dataflow::operators::ThresholdTotal;
use differential_dataflow::{ExchangeData, VecCollection};
use operators::{ByKey, ByVal, Expires, arrange_forgetting, join, reduce};
use schemas::event::Accepted;
use schemas::units::{HOUR_MS, MINUTE_MS};
use schemas::view::Method;
use schemas::{Capped, EventId, EventTime, EventType, PayloadHash, Subject, Symbol, Tick};
use serde::{Deserialize, Serialize};

use crate::attribution::eligibility::Eligibility;
use crate::attribution::identity::{Identity, split_identity};
use crate::attribution::touch_row::{KeyCheck, TouchRow};
use crate::attribution::touches::{Contender, Copied, Copies, Dedup, Forgetting};
use crate::horizon::{Horizons, Until};

/// A copy of a touch that is capped by its fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CappedCopy {
    payload_hash: PayloadHash,
    event_id: EventId,
    subject: Subject,
    mark: Mark,
}

/// When touches of a type and channel were hot: at a time, or in the minute or hour of that number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Span {
    at: i64,
    event_type: EventType,
    channel: Symbol,
    /// Until when a target may look for anything in its hour.
    until: Until,
}

/// A fingerprint, by half and rest, and when it was hot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Mark {
    half: u64,
    rest: KeyCheck,
    span: Span,
}

/// Half of what tells touches apart of which one is contested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct ContestedTouch {
    half: u64,
    until: Until,
}

impl Expires<Tick> for CappedCopy {
    fn expiry(&self) -> Tick {
        self.mark.expiry()
    }
}

impl Expires<Tick> for Mark {
    fn expiry(&self) -> Tick {
        self.span.until.expiry()
    }
}

impl Expires<Tick> for ContestedTouch {
    fn expiry(&self) -> Tick {
        self.until.expiry()
    }
}

/// A fingerprint's rest and when it was hot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct HotSpan {
    rest: KeyCheck,
    span: Span,
}

impl Expires<Tick> for HotSpan {
    fn expiry(&self) -> Tick {
        self.span.until.expiry()
    }
}

impl CappedCopy {
    /// Of an accepted touch that is capped by its fingerprint, with half of what tells it apart.
    pub fn of(record: &Accepted, horizons: &Horizons) -> Option<(u64, CappedCopy)> {
        let event = &record.event;
        let fingerprint = event.fingerprint_key().filter(|_| record.capped.has(Capped::FINGERPRINT))?;
        let at = event.event_time.0;
        let hour_end = EventTime(at.div_euclid(HOUR_MS) * HOUR_MS + HOUR_MS);
        let until = horizons.touch_by(hour_end, Method::Fingerprint);
        let span = Span { at, event_type: event.event_type, channel: event.channel, until };
        let copy = CappedCopy {
            payload_hash: record.payload_hash,
            event_id: event.event_id,
            subject: event.subject,
            mark: Mark { half: fingerprint.0.route(), rest: KeyCheck::of(fingerprint), span },
        };
        Some((split_identity(copy.identity()).0, copy))
    }

    fn identity(&self) -> Identity {
        (EventTime(self.mark.span.at), self.event_id, self.subject)
    }

    /// Whether this row of the same half key may make a difference to whether the copy stands.
    fn is_contested_by(&self, row: &TouchRow) -> bool {
        row.identity() == self.identity()
            && (row.payload_hash != self.payload_hash || !row.traits.capped().has(Capped::FINGERPRINT))
    }
}

/// When fingerprints were hot, coarse to fine. Each value has the rest of its fingerprint.
#[derive(Clone)]
pub struct Marks<'scope> {
    hours: Forgetting<'scope, u64, HotSpan, ByVal>,
    minutes: Forgetting<'scope, (u64, i64), HotSpan, ByVal>,
    times: Forgetting<'scope, (u64, i64), HotSpan, ByVal>,
}

/// One fact about a touch with a capped copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Fact {
    Capped(CappedCopy),
    Copy(TouchRow),
    Contender(Contender),
}

/// Counts the marks: of the touches with a capped copy those that stand and are capped.
pub fn marks<'scope>(
    capped: VecCollection<'scope, Tick, (u64, CappedCopy), isize>,
    copies: &Copies<'scope>,
) -> Marks<'scope> {
    let as_they_come = capped.clone().map(|(_, copy)| copy.mark);
    let contested = copies.ask(capped.clone(), "rows like capped", |capped: CappedCopy, copy| {
        let is_contested = match copy {
            Copied::Touch(row) => capped.is_contested_by(row),
            Copied::Contender(contender) => contender.of_event(capped.identity()).is_some(),
        };
        let half = split_identity(capped.identity()).0;
        is_contested.then_some(ContestedTouch { half, until: capped.mark.span.until })
    });
    let contested = distinct(contested, "contested").map(|contested| (contested.half, contested));
    let facts = copies.ask(contested.clone(), "rows of contested touches", |touch: ContestedTouch, copy| {
        Some((
            touch,
            match copy {
                Copied::Touch(row) => Fact::Copy(*row),
                Copied::Contender(contender) => Fact::Contender(*contender),
            },
        ))
    });
    let capped = arrange_forgetting(capped, "capped touches", ByVal);
    let contested = arrange_forgetting(contested, "contested touches", ByVal);

    // Another touch that only shares the half is not theirs to undo.
    let theirs = |touch: &ContestedTouch, copy: &CappedCopy| copy.mark.span.until == touch.until;
    let undone =
        join(contested.clone(), capped.clone(), move |_, touch, copy| theirs(touch, copy).then_some(copy.mark));
    let capped =
        join(contested, capped, move |_, touch, copy| theirs(touch, copy).then_some((*touch, Fact::Capped(*copy))));
    let decided = reduce(facts.concat(capped), "contested marks", |_, facts, output| {
        output.extend(standing(facts).map(|mark| (mark, 1)));
    });
    let marks = as_they_come.concat(undone.negate()).concat(decided.map(|(_, mark)| mark));

    let by = |unit_ms: i64| {
        let at = move |span: Span| Span { at: span.at.div_euclid(unit_ms), ..span };
        marks.clone().map(move |mark| Mark { span: at(mark.span), ..mark })
    };
    let hours = distinct(by(HOUR_MS), "distinct hot hours");
    let minutes = distinct(by(MINUTE_MS), "distinct hot minutes");
    let hours = hours.map(|Mark { half, rest, span }| (half, HotSpan { rest, span }));
    let minutes = minutes
        .map(|Mark { half, rest, span }| ((half, span.at.div_euclid(HOUR_MS / MINUTE_MS)), HotSpan { rest, span }));
    let times = marks.map(|Mark { half, rest, span }| ((half, span.at.div_euclid(MINUTE_MS)), HotSpan { rest, span }));
    Marks {
        hours: arrange_forgetting(hours, "hot hours", ByVal),
        minutes: arrange_forgetting(minutes, "hot minutes", ByVal),
        times: arrange_forgetting(times, "hot times", ByVal),
    }
}

/// Each row once, until it expires.
fn distinct<'scope, K: ExchangeData + Hashable + Expires<Tick>>(
    rows: VecCollection<'scope, Tick, K, isize>,
    name: &str,
) -> VecCollection<'scope, Tick, K, isize> {
    arrange_forgetting(rows.map(|row| (row, ())), name, ByKey).distinct_total()
}

/// The marks of the touches of one half key.
fn standing(facts: &[(&Fact, isize)]) -> impl Iterator<Item = Mark> {
    let facts = || facts.iter().map(|(fact, _)| *fact);
    // Copies with one payload hash are equal but for how they are capped, so one of them speaks for all.
    let mut copies: Vec<CappedCopy> = Vec::new();
    for fact in facts() {
        if let Fact::Capped(copy) = fact
            && !copies
                .iter()
                .any(|other| other.identity() == copy.identity() && other.payload_hash == copy.payload_hash)
        {
            copies.push(*copy);
        }
    }
    copies.retain(|copy| {
        let mut standing = Dedup::default();
        for fact in facts() {
            match fact {
                Fact::Copy(row) if row.identity() == copy.identity() => standing.copy(row),
                Fact::Contender(contender) => {
                    contender.of_event(copy.identity()).into_iter().for_each(|hash| standing.contender(hash))
                }
                Fact::Copy(_) | Fact::Capped(_) => {}
            }
        }
        let stands = standing.touch().filter(|touch| touch.payload_hash == copy.payload_hash);
        stands.is_some_and(|touch| touch.traits.capped().has(Capped::FINGERPRINT))
    });
    copies.into_iter().map(|copy| copy.mark)
}

/// A target that wants to know whether its fingerprint was hot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ask<A> {
    /// The rest of its fingerprint.
    pub fingerprint: KeyCheck,
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

impl<A: Expires<Tick>> Expires<Tick> for Ask<A> {
    fn expiry(&self) -> Tick {
        self.asker.expiry()
    }
}

impl<A> Ask<A> {
    /// How the window of this target for touches of a type and channel covers a span of `unit_ms`.
    fn covers(&self, hot: &HotSpan, unit_ms: i64, eligibility: &Eligibility) -> Cover {
        let HotSpan { rest, span } = hot;
        let window_ms = eligibility.window_ms(span.event_type, span.channel, Method::Fingerprint);
        let (from, to) = (self.event_time.0 - window_ms, self.event_time.0);
        let (first, last) = (span.at * unit_ms, span.at * unit_ms + (unit_ms - 1));
        if *rest != self.fingerprint || last < from || to < first {
            Cover::None
        } else if from <= first && last <= to {
            Cover::Full
        } else {
            Cover::Part
        }
    }
}

/// The askers whose fingerprint was hot within their window, each at least once.
pub fn hot<'scope, A: ExchangeData + Hashable + Copy + Expires<Tick>>(
    asks: VecCollection<'scope, Tick, (u64, Ask<A>), isize>,
    marks: &Marks<'scope>,
    eligibility: &Eligibility,
) -> VecCollection<'scope, Tick, A, isize> {
    // Of a span that the window covers in full, the asker; of one that it covers in part, what to ask below it.
    let look = |half: u64, ask: &Ask<A>, hot: &HotSpan, unit_ms, windows: &Eligibility| match ask
        .covers(hot, unit_ms, windows)
    {
        Cover::Full => Some((None, *ask)),
        Cover::Part => Some((Some((half, hot.span.at)), *ask)),
        Cover::None => None,
    };
    let windows = eligibility.clone();
    let hours = join(arrange_forgetting(asks, "hot asks", ByVal), marks.hours.clone(), move |half, ask, hot| {
        look(*half, ask, hot, HOUR_MS, &windows)
    });
    let below = hours.clone().flat_map(|(part, ask)| part.map(|key| (key, ask)));
    let windows = eligibility.clone();
    let below = arrange_forgetting(below, "hot asks of an hour", ByVal);
    let minutes =
        join(below, marks.minutes.clone(), move |(half, _), ask, hot| look(*half, ask, hot, MINUTE_MS, &windows));
    let below = minutes.clone().flat_map(|(part, ask)| part.map(|key| (key, ask)));
    let windows = eligibility.clone();
    let below = arrange_forgetting(below, "hot asks of a minute", ByVal);
    let times = join(below, marks.times.clone(), move |_, ask, hot| {
        matches!(ask.covers(hot, 1, &windows), Cover::Full).then_some(ask.asker)
    });
    let covered = hours.concat(minutes).flat_map(|(part, ask)| part.is_none().then_some(ask.asker));
    covered.concat(times)
}
