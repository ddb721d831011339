//! Two that keep something of one key, in one record and one visit.

use super::Keyed;

/// Ticks of the dataflow.
type Tick = u64;

/// Two of one key in one record and one visit, or one of them alone: what a visit costs is finding the record.
pub struct Both<A, B>(pub Option<A>, pub Option<B>);

/// What follows from the one or the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Either<A, B> {
    /// From the first.
    First(A),
    /// From the second.
    Second(B),
}

impl<A: Keyed, B: Keyed<Key = A::Key, Event = A::Event>> Keyed for Both<A, B> {
    type Key = A::Key;
    type Event = A::Event;
    type Record = (A::Record, B::Record);
    type Output = Either<A::Output, B::Output>;

    fn on_event(
        &mut self,
        key: A::Key,
        (first, second): &mut Self::Record,
        event: &A::Event,
        diff: isize,
        now: Tick,
        out: &mut impl FnMut(Self::Output, isize),
    ) {
        if let Some(logic) = &mut self.0 {
            logic.on_event(key, first, event, diff, now, &mut |row, diff| out(Either::First(row), diff));
        }
        if let Some(logic) = &mut self.1 {
            logic.on_event(key, second, event, diff, now, &mut |row, diff| out(Either::Second(row), diff));
        }
    }

    fn after_events(
        &mut self,
        key: A::Key,
        (first, second): &mut Self::Record,
        now: Tick,
        out: &mut impl FnMut(Self::Output, isize),
    ) {
        if let Some(logic) = &mut self.0 {
            logic.after_events(key, first, now, &mut |row, diff| out(Either::First(row), diff));
        }
        if let Some(logic) = &mut self.1 {
            logic.after_events(key, second, now, &mut |row, diff| out(Either::Second(row), diff));
        }
    }

    fn on_timer(
        &mut self,
        key: A::Key,
        (first, second): &mut Self::Record,
        now: Tick,
        out: &mut impl FnMut(Self::Output, isize),
    ) {
        if let Some(logic) = &mut self.0 {
            logic.on_timer(key, first, now, &mut |row, diff| out(Either::First(row), diff));
        }
        if let Some(logic) = &mut self.1 {
            logic.on_timer(key, second, now, &mut |row, diff| out(Either::Second(row), diff));
        }
    }

    fn end_of_tick(&mut self, out: &mut impl FnMut(Self::Output, isize)) {
        if let Some(logic) = &mut self.0 {
            logic.end_of_tick(&mut |row, diff| out(Either::First(row), diff));
        }
        if let Some(logic) = &mut self.1 {
            logic.end_of_tick(&mut |row, diff| out(Either::Second(row), diff));
        }
    }

    fn due(&self, (first, second): &Self::Record) -> Option<Tick> {
        let of_first = self.0.as_ref().and_then(|logic| logic.due(first));
        let of_second = self.1.as_ref().and_then(|logic| logic.due(second));
        of_first.into_iter().chain(of_second).min()
    }

    fn is_empty(&self, (first, second): &Self::Record) -> bool {
        self.0.as_ref().is_none_or(|logic| logic.is_empty(first))
            && self.1.as_ref().is_none_or(|logic| logic.is_empty(second))
    }

    fn bytes(&self, (first, second): &Self::Record) -> usize {
        self.0.as_ref().map_or(0, |logic| logic.bytes(first)) + self.1.as_ref().map_or(0, |logic| logic.bytes(second))
    }
}
