//! What did a visitor do in one go? Events of a visitor in an app that follow each other within half an hour.
//!
//! A *chain* is events of which each comes within the gap of the one before it. A chain is one session, unless it lasts: one that
//! has lasted a day when it crosses midnight (UTC) is cut there, and at each further midnight, so that a machine that never rests
//! has a session a day. A session is a row once it is *closed*: once the minute of its end and the gap is over. Events that come late
//! may still lengthen, join or split what is closed; its rows change then.

use std::collections::HashMap;
use std::sync::Arc;

use differential_dataflow::VecCollection;
use foldhash::fast::FixedState;
use operators::{ByKey, Expires, Keyed, arrange_forgetting};
use schemas::units::DAY_MS;
use schemas::{EventType, Subject, Symbol, Tick};
use serde::{Deserialize, Serialize};

use crate::changes::AsArranged;
use crate::horizon::{Horizons, Retention, Until};
use crate::needs::Needs;
use crate::params::{Params, SessionsParams};
use crate::view::{Maintained, OfRecords, Output, View};
use crate::visitor_event::{VisitorEvent, VisitorInput};

mod chain;
mod of_visitor;

use chain::{ALL_CLOSED, Amount, Chain, Ends, NONE_CLOSED, Visit};

pub use chain::{Chains, SessionRow};
pub use of_visitor::OfVisitor;

const SQL: &str = "\
WITH visits AS (
  SELECT tenant, app, coalesce(user_id, device_id) AS visitor, event_id, event_time, type, channel, campaign,
    CASE WHEN type = 'conversion' THEN currency END AS currency,
    CASE WHEN type = 'conversion' THEN revenue_micros END AS revenue_micros
  FROM events
  WHERE type IN ({types}) AND coalesce(user_id, device_id) IS NOT NULL
), steps AS (
  SELECT *, CASE WHEN event_time - lag(event_time) OVER visit <= {gap} THEN 0 ELSE 1 END AS begins
  FROM visits
  WINDOW visit AS (PARTITION BY tenant, app, visitor ORDER BY event_time, event_id)
), chains AS (
  SELECT *, sum(begins) OVER (PARTITION BY tenant, app, visitor ORDER BY event_time, event_id) AS chain
  FROM steps
), lasting AS (
  SELECT *, min(event_time) OVER (PARTITION BY tenant, app, visitor, chain) AS chain_start
  FROM chains
), pieces AS (
  -- The first midnight at which the chain has lasted a day, and those after it, begin a session.
  SELECT *,
    CASE WHEN event_time < (chain_start + 2 * {day} - 1) / {day} * {day} THEN 0 ELSE event_time / {day} END AS piece
  FROM lasting
), sessions AS (
  SELECT tenant, app, visitor, chain, piece,
    first_value(event_id ORDER BY event_time, event_id) AS session_id,
    min(event_time) AS start_time, max(event_time) AS end_time, count(*) AS events,
    count(*) FILTER (WHERE type IN ('impression', 'click')) AS touches,
    count(*) FILTER (WHERE type = 'conversion') AS conversions,
    first_value(channel ORDER BY event_time, event_id) FILTER (WHERE channel IS NOT NULL) AS channel,
    first_value(campaign ORDER BY event_time, event_id) FILTER (WHERE campaign IS NOT NULL) AS campaign
  FROM pieces
  GROUP BY tenant, app, visitor, chain, piece
), amounts AS (
  SELECT tenant, app, visitor, chain, piece, currency, sum(revenue_micros) AS revenue_micros
  FROM pieces
  WHERE revenue_micros IS NOT NULL
  GROUP BY tenant, app, visitor, chain, piece, currency
), revenues AS (
  SELECT tenant, app, visitor, chain, piece,
    array_agg(named_struct('currency', currency, 'revenue_micros', revenue_micros) ORDER BY currency) AS revenue
  FROM amounts
  GROUP BY tenant, app, visitor, chain, piece
)
SELECT sessions.tenant, sessions.app, sessions.visitor, session_id, start_time, end_time, events, touches, conversions, revenue,
  channel, campaign
FROM sessions LEFT JOIN revenues
  ON sessions.tenant = revenues.tenant AND (sessions.app IS NOT DISTINCT FROM revenues.app)
  AND sessions.visitor = revenues.visitor AND sessions.chain = revenues.chain AND sessions.piece = revenues.piece
-- Closed: the minute of its end and the gap is over at the cut of the table.
WHERE (end_time + {gap}) / 60000 * 60000 + 60000 < (SELECT cut FROM as_of)
";

/// `sessions`.
pub static SESSIONS: View = View {
    name: "sessions",
    question: "What did a visitor do in one go: when, how much, what did it bring, and from where did the visitor come?",
    key: &["tenant", "app", "visitor", "start_time", "session_id"],
    read_by: &[&["tenant", "visitor"]],
    code: 1,
    reads: &["events", "as_of"],
    sql: |params| {
        let types: Vec<String> = params.sessions.types.iter().map(|of| format!("'{}'", of.name())).collect();
        let texts = [("{types}", types.join(", ")), ("{gap}", params.sessions.gap.0.to_string())];
        let sql = texts.iter().fold(SQL.to_owned(), |sql, (name, text)| sql.replace(name, text));
        sql.replace("{day}", &DAY_MS.to_string())
    },
    maintained: Some(Maintained::rows::<SessionRow>(needs)),
};

/// A session that can change begins a day at most before it, or at midnight, whatever came before: where all of two days and a gap
/// is there, so are the cuts of a chain that lasts for longer.
fn needs(params: &Params, retention: Retention) -> Needs {
    Needs::until_final(retention).and_events(params.sessions.gap.0 + 3 * DAY_MS)
}

/// A visitor of an app, and until when a session can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionKey {
    visitor: Subject,
    until: Until,
}

impl Expires<Tick> for SessionKey {
    fn expiry(&self) -> Tick {
        self.until.expiry()
    }
}

/// Makes sessions of the visits of visitors.
pub struct Sessions {
    ends: Ends,
    types: Vec<EventType>,
    /// The channels and campaigns that were met, and their places.
    names: Vec<(Symbol, Symbol)>,
    /// The same for readers.
    shown: Arc<OfVisitor>,
    places: HashMap<(Symbol, Symbol), u32, FixedState>,
}

type Out<'a> = &'a mut dyn FnMut((SessionKey, SessionRow), isize);

impl Sessions {
    /// With these parameters, where records are accepted as long as that says.
    pub fn new(params: &SessionsParams, horizons: Horizons) -> Sessions {
        let ends = Ends { gap_ms: params.gap.0, horizons };
        let (names, places, shown) = (Vec::new(), HashMap::default(), Arc::new(OfVisitor::new(ends)));
        Sessions { ends, types: params.types.clone(), names, places, shown }
    }

    /// The types of events that sessions are made of.
    pub fn types(&self) -> Vec<EventType> {
        self.types.clone()
    }

    fn visit(&mut self, event: &VisitorEvent) -> Visit {
        let VisitorEvent { time, id, event_type, channel, campaign, .. } = *event;
        let next = u32::try_from(self.names.len()).expect("fewer channels and campaigns than bits tell apart");
        let names = *self.places.entry((channel, campaign)).or_insert(next);
        if names == next {
            self.names.push((channel, campaign));
            self.shown.name((channel, campaign));
        }
        Visit { time, id, names, event_type }
    }

    /// How the sessions of a visitor are read from what is kept of it.
    pub fn of_visitor(&self) -> Arc<OfVisitor> {
        Arc::clone(&self.shown)
    }

    /// Says the session of these visits.
    fn tell(&self, visitor: Subject, chain: &Chain, visits: &[Visit], diff: isize, out: Out<'_>) {
        if let Some(row) = chain.row(visitor, visits, |place| self.names[place as usize]) {
            out((SessionKey { visitor, until: self.ends.until(row.end()) }, row), diff);
        }
    }

    /// Says that the closed sessions of a chain are none.
    fn take_back(&self, visitor: Subject, chain: &Chain, out: Out<'_>) {
        let closed = &chain.visits[..chain.before(chain.closed_to)];
        for session in closed.chunk_by(|one, other| chain.piece(one.time) == chain.piece(other.time)) {
            self.tell(visitor, chain, session, -1, out);
        }
    }

    /// Closes the sessions of a chain whose time has come.
    fn close(&self, visitor: Subject, chain: &mut Chain, now: Tick, out: Out<'_>) {
        loop {
            let session = chain.first_open();
            let Some(last) = session.last().filter(|last| self.ends.closes(last.time) <= now) else { return };
            self.tell(visitor, chain, session, 1, out);
            chain.closed_to = if last.time == chain.end() { ALL_CLOSED } else { chain.cut_after(last.time) };
        }
    }

    /// Takes a visit in.
    fn insert(
        &self,
        visitor: Subject,
        chains: &mut Vec<Chain>,
        (visit, event): (Visit, &VisitorEvent),
        now: Tick,
        out: Out<'_>,
    ) {
        let near = |chain: &Chain| {
            chain.is_of(event)
                && visit.time.0 >= chain.start.0 - self.ends.gap_ms
                && visit.time.0 <= chain.end().0 + self.ends.gap_ms
        };
        let mut places = (0..chains.len()).filter(|at| near(&chains[*at]));
        let (first, further) = (places.next(), places.next());
        if let (Some(at), None) = (first, further)
            && visit.time >= chains[at].start.max(chains[at].closed_to)
        {
            // Nothing that is closed changes.
            chains[at].insert(visit, Amount::of(event));
            return self.close(visitor, &mut chains[at], now, out);
        }
        if let (Some(at), None) = (first, further)
            && let chain = &mut chains[at]
            && visit.time >= chain.start
            && let session = chain.session(chain.place(&visit), visit.time)
            && chain.visits[session.clone()].last().is_some_and(|last| last.time >= visit.time)
        {
            // One closed session changes, and it stays closed: a visitor that never rests has many.
            self.tell(visitor, chain, &chain.visits[session.clone()], -1, out);
            chain.insert(visit, Amount::of(event));
            return self.tell(visitor, chain, &chain.visits[session.start..session.end + 1], 1, out);
        }
        let mut joined: Vec<Chain> = chains.extract_if(.., |chain| near(chain)).collect();
        joined.sort_by_key(|chain| chain.start);
        joined.iter().for_each(|chain| self.take_back(visitor, chain, out));
        let start = joined.first().map_or(visit.time, |chain| chain.start.min(visit.time));
        let (mut visits, mut amounts) = (Vec::new(), Vec::new());
        for chain in joined {
            visits.extend(chain.visits);
            amounts.extend(chain.amounts);
        }
        let mut chain = Chain { tenant: event.tenant, app: event.app, start, visits, amounts, closed_to: NONE_CLOSED };
        chain.insert(visit, Amount::of(event));
        self.close(visitor, &mut chain, now, out);
        if chains.len() == chains.capacity() {
            chains.reserve_exact(1);
        }
        chains.push(chain);
    }

    /// Takes a visit out; a chain may come apart.
    fn remove(
        &self,
        visitor: Subject,
        chains: &mut Vec<Chain>,
        (visit, event): (Visit, &VisitorEvent),
        now: Tick,
        out: Out<'_>,
    ) {
        let of = |chain: &Chain| chain.is_of(event) && (chain.start..=chain.end()).contains(&visit.time);
        let at = chains.iter().position(of).expect("what goes had come");
        let chain = &mut chains[at];
        let place = chain.place(&visit);
        if let (Some(before), Some(after)) = (place.checked_sub(1), chain.visits.get(place + 1))
            && after.time.0 - chain.visits[before].time.0 <= self.ends.gap_ms
            && chain.visits[place] == visit
        {
            // The chain stays as it is, so no other session changes.
            let session = chain.session(place, visit.time);
            let is_closed = visit.time < chain.closed_to;
            if is_closed {
                self.tell(visitor, chain, &chain.visits[session.clone()], -1, out);
            }
            chain.remove(place, Amount::of(event));
            return match is_closed {
                true => self.tell(visitor, chain, &chain.visits[session.start..session.end - 1], 1, out),
                false => self.close(visitor, chain, now, out),
            };
        }
        let mut chain = chains.remove(at);
        self.take_back(visitor, &chain, out);
        let at = chain.place(&visit);
        assert_eq!(chain.visits.get(at), Some(&visit), "what goes had come");
        let begins_gone = chain.visits[0].time != chain.start;
        chain.remove(at, Amount::of(event));
        let gap_ms = self.ends.gap_ms;
        let parts = chain.visits.chunk_by(|one, other| other.time.0 - one.time.0 <= gap_ms).enumerate();
        for (part, visits) in parts {
            // What is gone of the beginning was final, and so is the visit after it.
            let start = if part == 0 && begins_gone { chain.start } else { visits[0].time };
            let (tenant, app, visits) = (chain.tenant, chain.app, visits.to_vec());
            let within = |amount: &&Amount| (visits[0].time..=visits[visits.len() - 1].time).contains(&amount.time);
            let amounts = chain.amounts.iter().filter(within).copied().collect();
            let mut part = Chain { tenant, app, start, visits, amounts, closed_to: NONE_CLOSED };
            self.close(visitor, &mut part, now, out);
            chains.push(part);
        }
    }

    /// Forgets the closed sessions of a chain that goes on, where no visit can come to them or go.
    fn forget(&self, chain: &mut Chain, now: Tick) {
        while chain.closed_to != ALL_CLOSED {
            let cut = chain.cut_after(chain.visits[0].time);
            if cut > chain.closed_to || self.ends.until(cut).expiry() > now {
                return;
            }
            chain.visits.drain(..chain.before(cut));
            chain.amounts.retain(|amount| amount.time >= cut);
        }
    }

    /// When a chain is final: no visit can come to it or go.
    fn final_at(&self, chain: &Chain) -> Option<Tick> {
        (chain.closed_to == ALL_CLOSED).then(|| self.ends.until(chain.end()).expiry())
    }
}

impl Keyed for Sessions {
    type Key = Subject;
    type Event = VisitorInput;
    type Record = Chains;
    type Output = (SessionKey, SessionRow);

    fn on_event(
        &mut self,
        visitor: Subject,
        Chains(chains): &mut Chains,
        input: &VisitorInput,
        diff: isize,
        now: Tick,
        out: &mut impl FnMut((SessionKey, SessionRow), isize),
    ) {
        let VisitorInput::Event(event) = input else { return };
        if !self.types.contains(&event.event_type) {
            return;
        }
        let visit = self.visit(event);
        if diff > 0 {
            self.insert(visitor, chains, (visit, event), now, out);
        } else {
            self.remove(visitor, chains, (visit, event), now, out);
        }
    }

    fn on_timer(
        &mut self,
        visitor: Subject,
        Chains(chains): &mut Chains,
        now: Tick,
        out: &mut impl FnMut((SessionKey, SessionRow), isize),
    ) {
        for chain in chains.iter_mut() {
            self.close(visitor, chain, now, out);
            self.forget(chain, now);
        }
        chains.retain(|chain| self.final_at(chain).is_none_or(|at| at > now));
    }

    fn due(&self, Chains(chains): &Chains) -> Option<Tick> {
        let of = |chain: &Chain| match chain.first_open().last() {
            Some(last) => Some(self.ends.closes(last.time)),
            None => self.final_at(chain),
        };
        chains.iter().filter_map(of).min()
    }

    fn is_empty(&self, Chains(chains): &Chains) -> bool {
        chains.is_empty()
    }

    fn bytes(&self, Chains(chains): &Chains) -> usize {
        let of = |chain: &Chain| size_of_val(&*chain.visits) + size_of_val(&*chain.amounts);
        size_of_val(&**chains) + chains.iter().map(of).sum::<usize>()
    }
}

/// The view, as its rows follow from what visitors did: read from what is kept of a visitor.
pub fn output<'scope, R: Send + 'static>(
    rows: VecCollection<'scope, Tick, (SessionKey, SessionRow), isize>,
    of_records: OfRecords<Subject, R, OfVisitor>,
) -> Output<'scope> {
    let name = SESSIONS.name;
    Output::rows_of_records(name, arrange_forgetting(rows, name, ByKey), AsArranged, of_records)
}
