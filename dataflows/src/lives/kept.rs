//! What is kept of a visitor in an app: on which days it was there, what it did first, and what it brought lately.

use schemas::{EventId, EventTime, Symbol};

use crate::cohort::Milestone;
use crate::overflow::fits;

/// How many milestones there are.
pub const MILESTONES: usize = Milestone::ALL.len();

/// A day on which the visitor was there, in days since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Active {
    pub day: u32,
    /// How many events it has.
    pub events: u32,
}

/// Something that may be the first of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub time: EventTime,
    pub id: EventId,
    pub day: u32,
    /// The place of what led to it.
    pub led: u32,
}

/// What the visitor brought on a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Money {
    pub day: u32,
    pub currency: Symbol,
    pub micros: i64,
    /// Of how many conversions.
    pub conversions: i64,
}

/// What can still change.
#[derive(Clone, Debug, Default)]
struct Open {
    /// In order of time and id.
    candidates: [Vec<Candidate>; MILESTONES],
    /// Of days that can change.
    money: Vec<Money>,
}

/// The first of a kind in a life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    pub day: u32,
    pub led: u32,
    /// When exactly; not known of what is settled, which changes no more.
    pub event: Option<(EventTime, EventId)>,
}

/// Days on which a visitor was there and between which it never was away for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// The first of its days that are kept.
    pub begins: u32,
    pub anchors: [Option<Anchor>; MILESTONES],
}

/// What is kept of one app.
#[derive(Clone, Debug, Default)]
pub struct OfApp {
    /// The place of the app.
    pub app: u32,
    /// When something is to be done about it.
    pub due: u64,
    /// Ascending. The life to which the first belongs may have begun before it.
    days: Vec<Active>,
    /// What is first, and final, in the life to which the first day belongs: its day, and what led to it.
    settled: [Option<(u32, u32)>; MILESTONES],
    open: Option<Box<Open>>,
}

/// A visitor that was not there for more days than that is a new one.
#[derive(Clone, Copy, Debug)]
pub struct ForgetAfter(pub u32);

impl ForgetAfter {
    /// Whether someone who was there on the one day is still known on the other.
    fn spans(self, from: u32, to: u32) -> bool {
        to - from <= self.0
    }
}

/// What decides about cells beside anchors.
#[derive(Clone, Debug)]
pub struct Told {
    pub lives: Vec<Life>,
    pub days: Vec<Active>,
    pub money: Vec<Money>,
}

impl OfApp {
    /// Nothing yet.
    pub fn new(app: u32) -> OfApp {
        OfApp { app, ..OfApp::default() }
    }

    pub fn days(&self) -> &[Active] {
        &self.days
    }

    pub fn money(&self) -> &[Money] {
        self.open.as_ref().map_or(&[], |open| &open.money)
    }

    fn candidates(&self, of: Milestone) -> &[Candidate] {
        self.open.as_ref().map_or(&[], |open| &open.candidates[of as usize])
    }

    /// All that cells follow from.
    pub fn told(&self, forget_after: ForgetAfter) -> Told {
        Told { lives: self.lives(forget_after), days: self.days.clone(), money: self.money().to_vec() }
    }

    /// Its lives, with what is first in each.
    pub fn lives(&self, forget_after: ForgetAfter) -> Vec<Life> {
        let mut lives: Vec<Life> = Vec::new();
        let mut last = None;
        for Active { day, .. } in &self.days {
            if last.is_none_or(|last| !forget_after.spans(last, *day)) {
                lives.push(Life { begins: *day, anchors: [None; MILESTONES] });
            }
            last = Some(*day);
        }
        for milestone in Milestone::ALL {
            let candidates = self.candidates(milestone);
            for at in 0..lives.len() {
                // What lies before all days belongs to the first life: it began before them.
                let from = if at == 0 { 0 } else { lives[at].begins };
                let until = lives.get(at + 1).map_or(u32::MAX, |next| next.begins);
                let first = candidates.get(candidates.partition_point(|of| of.day < from));
                let first = first.filter(|of| of.day < until);
                let of_candidate = |of: &Candidate| Anchor { day: of.day, led: of.led, event: Some((of.time, of.id)) };
                let settled = self.settled[milestone as usize].filter(|_| at == 0);
                let of_settled = |(day, led)| Anchor { day, led, event: None };
                lives[at].anchors[milestone as usize] = settled.map(of_settled).or(first.map(of_candidate));
            }
        }
        lives
    }

    /// Whether a day begins or ceases to be one on which the visitor was there.
    pub fn toggles(&self, day: u32, diff: isize) -> bool {
        self.place(day).map_or(true, |at| i64::from(self.days[at].events) + diff as i64 == 0)
    }

    fn place(&self, day: u32) -> Result<usize, usize> {
        self.days.binary_search_by_key(&day, |active| active.day)
    }

    /// Takes in that an event of a day came or went.
    pub fn count(&mut self, day: u32, diff: isize) {
        match self.place(day) {
            Ok(at) => {
                let events = i64::from(self.days[at].events) + diff as i64;
                self.days[at].events = u32::try_from(events).expect("what goes had come");
                if events == 0 {
                    self.days.remove(at);
                }
            }
            Err(at) => {
                if self.days.len() == self.days.capacity() {
                    // Most are there on few days: doubling would leave half of it unused.
                    self.days.reserve_exact(1 + at / 4);
                }
                let events = u32::try_from(diff).expect("what goes had come");
                self.days.insert(at, Active { day, events });
            }
        }
    }

    /// Whether what happened on a day comes after what is settled, whatever else goes: days up to `final_to` stay.
    pub fn is_later(
        &self,
        milestone: Milestone,
        day: u32,
        final_to: impl Fn(u32) -> bool,
        forget_after: ForgetAfter,
    ) -> bool {
        let finals = self.days.partition_point(|active| active.day <= day && final_to(active.day));
        self.settled[milestone as usize].is_some()
            && finals > 0
            && self.days[..finals].windows(2).all(|pair| forget_after.spans(pair[0].day, pair[1].day))
            && forget_after.spans(self.days[finals - 1].day, day)
    }

    /// Takes in that something which may be the first came or went.
    pub fn propose(&mut self, milestone: Milestone, candidate: Candidate, diff: isize) {
        let candidates = &mut self.open.get_or_insert_default().candidates[milestone as usize];
        let at = candidates.binary_search_by_key(&(candidate.time, candidate.id), |of| (of.time, of.id));
        match at {
            Ok(at) if diff < 0 => drop(candidates.remove(at)),
            // What comes after what is settled was passed over.
            Err(_) if diff < 0 => {}
            Ok(at) | Err(at) => candidates.insert(at, candidate),
        }
        self.tidy_open();
    }

    /// Takes in that money came or went.
    pub fn pay(&mut self, more: Money) {
        let money = &mut self.open.get_or_insert_default().money;
        match money.iter_mut().find(|of| (of.day, of.currency) == (more.day, more.currency)) {
            Some(of) => {
                of.micros = fits(of.micros.checked_add(more.micros), "what a visitor brings in a day");
                of.conversions += more.conversions;
            }
            None => money.push(more),
        }
        money.retain(|of| of.conversions != 0);
        self.tidy_open();
    }

    fn tidy_open(&mut self) {
        let is_empty = |open: &Open| open.money.is_empty() && open.candidates.iter().all(Vec::is_empty);
        self.open = self.open.take().filter(|open| !is_empty(open));
    }

    /// Takes in a row of `firsts` at a start: of several lives the last counts.
    pub fn settle(&mut self, milestone: Milestone, day: u32, led: u32) {
        let settled = &mut self.settled[milestone as usize];
        *settled = Some((day, led)).max(*settled);
    }

    /// Its memory beside itself.
    pub fn bytes(&self) -> usize {
        let of_open = |open: &Open| {
            size_of_val(&*open.money) + open.candidates.iter().map(|of| size_of_val(&**of)).sum::<usize>()
        };
        size_of_val(&*self.days) + self.open.as_deref().map_or(0, |open| size_of::<Open>() + of_open(open))
    }

    /// Whether nothing need be kept.
    pub fn is_empty(&self) -> bool {
        self.days.is_empty() && self.open.is_none()
    }

    /// Forgets what changes nothing any more and says which of its days are of interest next.
    pub fn tidy(&mut self, is_final: impl Fn(u32) -> bool, forget_after: ForgetAfter) -> Next {
        // At a start there may be more lives than one before what can change. The last of them began with its first event.
        if let Some((began, _)) = self.settled[Milestone::Event as usize] {
            self.forget_before(began);
        }
        let lives = self.lives(forget_after);
        if let Some(life) = lives.iter().skip(1).rev().find(|life| is_final(life.begins)) {
            self.forget_before(life.begins);
        }
        let lives = self.lives(forget_after);
        if let Some(first) = lives.first() {
            let until = lives.get(1).map_or(u32::MAX, |next| next.begins);
            for milestone in Milestone::ALL {
                let anchor = first.anchors[milestone as usize].filter(|anchor| is_final(anchor.day));
                if let Some(Anchor { day, led, .. }) = anchor {
                    self.settled[milestone as usize] = Some((day, led));
                    let finals = self.days.iter().take_while(|active| active.day < until && is_final(active.day));
                    let last_final = finals.last().map(|active| active.day);
                    if let Some(open) = &mut self.open {
                        let stays = |day| last_final.is_none_or(|last| day > last && !forget_after.spans(last, day));
                        open.candidates[milestone as usize].retain(|of| stays(of.day));
                    }
                }
            }
        }
        if let Some(open) = &mut self.open {
            open.money.retain(|of| !is_final(of.day));
        }
        self.tidy_open();
        // Days that share a month with one that can change, and the last before them: it says whether the life goes on.
        let of_no_use = self.days.partition_point(|active| is_final(active.day + DAYS_OF_MONTH_MAX));
        self.days.drain(..of_no_use.saturating_sub(1));
        let last = self.days.last().map(|active| active.day);
        let is_over = |last: u32| is_final(last + forget_after.0) && self.money().is_empty();
        if last.is_none_or(is_over) && self.open.is_none() {
            *self = OfApp::new(self.app);
            return Next::Nothing;
        }
        let open = self.open.iter().flat_map(|open| {
            open.candidates.iter().flatten().map(|of| of.day).chain(open.money.iter().map(|of| of.day))
        });
        let days = self.days.iter().map(|active| active.day);
        let of_month = last.map(|last| last + DAYS_OF_MONTH_MAX).filter(|_| self.days.len() > 1);
        let of_life = last.map(|last| last + forget_after.0);
        let next = days.chain(open).chain(of_month).chain(of_life).filter(|day| !is_final(*day)).min();
        next.map_or(Next::Nothing, Next::FinalOf)
    }

    /// Forgets the lives before the one that began on a day, which nothing can change.
    fn forget_before(&mut self, day: u32) {
        self.days.retain(|active| active.day >= day);
        self.settled.iter_mut().for_each(|of| *of = of.filter(|(settled, _)| *settled >= day));
        if let Some(open) = &mut self.open {
            open.candidates.iter_mut().for_each(|candidates| candidates.retain(|of| of.day >= day));
        }
    }
}

/// When there is something to forget next.
pub enum Next {
    /// Never, unless something comes.
    Nothing,
    /// Once this day is final.
    FinalOf(u32),
}

/// A month has no more.
const DAYS_OF_MONTH_MAX: u32 = 31;
