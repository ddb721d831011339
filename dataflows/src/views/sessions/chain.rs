//! Events of a visitor that follow each other, and the sessions that they are: rows.

use std::ops::Range;

use operators::Expires;
use schemas::units::{DAY_MS, MINUTE_MS};
use schemas::{EventId, EventTime, EventType, Micros, Subject, Symbol, Tick, columns};
use serde::{Deserialize, Serialize};

use crate::overflow::fits;
use crate::horizon::{Horizons, Until};
use crate::visitor_event::VisitorEvent;

/// What the conversions of a session brought in one currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Revenue {
    currency: Symbol,
    micros: i64,
}

columns! {
    Revenue, |row| {
        currency: Option<Symbol> = row.currency.some(),
        revenue_micros: Micros = Micros(row.micros),
    }
}

/// One row of `sessions`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionRow {
    tenant: Symbol,
    app: Symbol,
    visitor: Subject,
    session_id: EventId,
    start: EventTime,
    end: EventTime,
    events: i64,
    touches: i64,
    conversions: i64,
    revenue: Vec<Revenue>,
    channel: Symbol,
    campaign: Symbol,
}

columns! {
    SessionRow, |row| {
        tenant: Symbol = row.tenant,
        app: Option<Symbol> = row.app.some(),
        /// user, else device
        visitor: Subject = row.visitor,
        /// id of its first event
        session_id: EventId = row.session_id,
        /// time of its first event
        start_time: EventTime = row.start,
        /// time of its last event
        end_time: EventTime = row.end,
        /// number of its events
        events: i64 = row.events,
        /// how many of them are impressions and clicks
        touches: i64 = row.touches,
        /// how many of them are conversions
        conversions: i64 = row.conversions,
        /// what the conversions brought in each currency, in an order that says nothing; null where nothing is known
        revenue: Option<&[Revenue]> = Some(&row.revenue[..]).filter(|revenue| !revenue.is_empty()),
        /// channel of the first event that has one
        channel: Option<Symbol> = row.channel.some(),
        /// campaign of the first event that has one
        campaign: Option<Symbol> = row.campaign.some(),
    }
}

impl SessionRow {
    /// The time of its last event.
    pub(super) fn end(&self) -> EventTime {
        self.end
    }
}

/// An event of a session. Its tenant and app are those of the chain, its amount, if it has one, is there, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Visit {
    pub(super) time: EventTime,
    pub(super) id: EventId,
    /// The place of its channel and campaign.
    pub(super) names: u32,
    pub(super) event_type: EventType,
}

/// What a conversion brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) time: EventTime,
    id: EventId,
    currency: Symbol,
    revenue: Micros,
}

impl Amount {
    pub(super) fn of(event: &VisitorEvent) -> Option<Amount> {
        let VisitorEvent { time, id, currency, revenue, .. } = *event;
        revenue.map(|revenue| Amount { time, id, currency, revenue })
    }
}

/// Events of a visitor in an app, each within the gap of the one before it.
#[derive(Clone)]
pub(super) struct Chain {
    pub(super) tenant: Symbol,
    pub(super) app: Symbol,
    /// When it began. Its first events may be gone: they were final.
    pub(super) start: EventTime,
    /// In order; at least one.
    pub(super) visits: Vec<Visit>,
    /// Of those of its events that have one.
    pub(super) amounts: Vec<Amount>,
    /// The sessions of events before this time are closed, and rows.
    pub(super) closed_to: EventTime,
}

/// Before all times: nothing is closed.
pub(super) const NONE_CLOSED: EventTime = EventTime(i64::MIN);
/// After all times: all is closed.
pub(super) const ALL_CLOSED: EventTime = EventTime(i64::MAX);

impl Chain {
    pub(super) fn is_of(&self, event: &VisitorEvent) -> bool {
        (self.tenant, self.app) == (event.tenant, event.app)
    }

    pub(super) fn end(&self) -> EventTime {
        self.visits.last().expect("a chain has a visit").time
    }

    /// The first midnight at which it has lasted a day.
    fn first_cut(&self) -> EventTime {
        EventTime((self.start.0 + 2 * DAY_MS - 1) / DAY_MS * DAY_MS)
    }

    /// The session of a time: 0, or the day since 1970 where the chain was cut.
    pub(super) fn piece(&self, time: EventTime) -> i64 {
        if time < self.first_cut() { 0 } else { time.0 / DAY_MS }
    }

    /// The midnight at which the session of a time ends at the latest.
    pub(super) fn cut_after(&self, time: EventTime) -> EventTime {
        let cut = self.first_cut();
        if time < cut { cut } else { EventTime((time.0 / DAY_MS + 1) * DAY_MS) }
    }

    /// The place of a visit.
    pub(super) fn place(&self, visit: &Visit) -> usize {
        self.visits.partition_point(|other| (other.time, other.id) < (visit.time, visit.id))
    }

    pub(super) fn insert(&mut self, visit: Visit, amount: Option<Amount>) {
        let at = self.place(&visit);
        if self.visits.len() == self.visits.capacity() {
            // Most chains are short: doubling would leave half of it unused.
            self.visits.reserve_exact(2 + at / 2);
        }
        self.visits.insert(at, visit);
        self.amounts.extend(amount);
    }

    /// The visits beside a place that are of the session of a time.
    pub(super) fn session(&self, at: usize, time: EventTime) -> Range<usize> {
        let piece = self.piece(time);
        let of_piece = |visit: &&Visit| self.piece(visit.time) == piece;
        let before = self.visits[..at].iter().rev().take_while(of_piece).count();
        at - before..at + self.visits[at..].iter().take_while(of_piece).count()
    }

    /// Takes a visit out, and what it brought.
    pub(super) fn remove(&mut self, at: usize, amount: Option<Amount>) {
        self.visits.remove(at);
        if let Some(amount) = amount {
            let at = self.amounts.iter().position(|of| *of == amount);
            self.amounts.swap_remove(at.expect("what goes had come"));
        }
    }

    /// The place after the last visit before a time.
    pub(super) fn before(&self, time: EventTime) -> usize {
        self.visits.partition_point(|visit| visit.time < time)
    }

    /// The visits of the first session that is not closed.
    pub(super) fn first_open(&self) -> &[Visit] {
        let open = &self.visits[self.before(self.closed_to)..];
        let Some(first) = open.first() else { return open };
        let piece = self.piece(first.time);
        &open[..open.partition_point(|visit| self.piece(visit.time) == piece)]
    }

    /// The row that a session of these visits is, where they are any, with the channel and campaign of a place.
    pub(super) fn row(
        &self,
        visitor: Subject,
        visits: &[Visit],
        names: impl Fn(u32) -> (Symbol, Symbol),
    ) -> Option<SessionRow> {
        let (first, last) = (visits.first()?, visits.last()?);
        let count = |is: fn(EventType) -> bool| visits.iter().filter(|visit| is(visit.event_type)).count() as i64;
        let first_of = |name: fn((Symbol, Symbol)) -> Symbol| {
            let mut of_visits = visits.iter().map(|visit| name(names(visit.names)));
            of_visits.find(|name| *name != Symbol::NONE).unwrap_or(Symbol::NONE)
        };
        let mut revenue: Vec<Revenue> = Vec::new();
        let within = |amount: &&Amount| (first.time..=last.time).contains(&amount.time);
        for Amount { currency, revenue: Micros(micros), .. } in self.amounts.iter().copied().filter(|of| within(&of)) {
            match revenue.iter_mut().find(|revenue| revenue.currency == currency) {
                Some(sum) => sum.micros = fits(sum.micros.checked_add(micros), "the revenue of a session"),
                None => revenue.push(Revenue { currency, micros }),
            }
        }
        // As SQL orders them: by the number, and what has none after all that have.
        revenue.sort_by_key(|revenue| (revenue.currency == Symbol::NONE, revenue.currency.0));
        Some(SessionRow {
            tenant: self.tenant,
            app: self.app,
            visitor,
            session_id: first.id,
            start: first.time,
            end: last.time,
            events: visits.len() as i64,
            touches: count(EventType::is_touch),
            conversions: count(|of| of == EventType::Conversion),
            revenue,
            channel: first_of(|(channel, _)| channel),
            campaign: first_of(|(_, campaign)| campaign),
        })
    }
}

/// What is kept of a visitor: chains by app and time.
#[derive(Clone, Default)]
pub struct Chains(pub(super) Vec<Chain>);

/// When sessions are closed, and final.
#[derive(Clone, Copy)]
pub(super) struct Ends {
    pub(super) gap_ms: i64,
    pub(super) horizons: Horizons,
}

impl Ends {
    /// The first tick at which a session of this end is closed.
    pub(super) fn closes(self, end: EventTime) -> Tick {
        ((end.0 + self.gap_ms) / MINUTE_MS * MINUTE_MS + MINUTE_MS).max(0) as Tick
    }

    /// Until when a session of this end can change.
    pub(super) fn until(self, end: EventTime) -> Until {
        self.horizons.target(EventTime(end.0.saturating_add(self.gap_ms)))
    }

    /// Whether nothing can change a session of this end any more.
    pub(super) fn is_final(self, end: EventTime, now: Tick) -> bool {
        self.until(end).expired(&now)
    }
}
