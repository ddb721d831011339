//! Which nodes were linked with a node at a moment: answers that a later link does not change.
//!
//! **Semantics.** What comes of a link says since which *moment* the pair has so many more: a moment is a number like the times, but what
//! is said of it may come later, up to `within` after it, and what is of a later moment may come before it. A question is of a node, or of several,
//! and of a moment. At each time, over all that has come by then,
//!
//! > answer = the nodes that links lead to from those of the question, but for these; links being the pairs whose sum
//! > up to the question's moment is above zero; none where they are more than `large_above` together with these
//!
//! So the answer follows from what came, not from the order in which it came, and no answer changes once its moment has passed by `within`.
//! Links of different moments may come at one time, as where a history is loaded in one step: each question is answered by those of its moment.
//!
//! **Work.** A question costs the links of the nodes that it is answered with, `large_above` of them at most. A change of a link costs
//! the questions whose answers it may change: those about nodes that are reached from its ends. A component that is too large, and
//! was before, changes no answer; where it is seen that so many nodes are linked whatever the moment, no further is looked.
//!
//! **State.** A link as long as it stands or did at a moment that can still be asked for. A question until it
//! [expires](Expires), with its answer. All that may be linked with a node is to be on one worker, with the questions about it: `route` says on which.
//!
//! # Panics
//! When a worker has 2³² − 1 nodes or links at a time.

use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, BinaryHeap, HashMap, HashSet};
use std::hash::Hash;

use differential_dataflow::consolidation::consolidate_updates;
use differential_dataflow::{AsCollection, ExchangeData, VecCollection};
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::Operator;

use crate::Expires;
use crate::components::Node;
use crate::components::links::Links;
use crate::components::numbers::Numbers;
use crate::pending::{Held, Pending, Updates, first};

/// A link, and the moment since which it stands so many times more.
pub type Since<N> = ((N, N), u64);

/// A question: about one node, or two that are to count as linked, at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Question<N> {
    /// The node.
    pub node: N,
    /// The other.
    pub beside: Option<N>,
    /// The moment.
    pub moment: u64,
}

impl<N: Node> Question<N> {
    fn nodes(&self) -> impl Iterator<Item = N> + use<N> {
        [Some(self.node), self.beside].into_iter().flatten()
    }
}

/// Who asks: a question has one, and one has one question.
pub trait Asker: ExchangeData + Copy + Ord + Hash + Expires<u64> {}

impl<Q: ExchangeData + Copy + Ord + Hash + Expires<u64>> Asker for Q {}

/// How large an answer may be, and how long after a moment what is of it may come.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Of more nodes than these none is told.
    pub large_above: usize,
    /// What is of a moment comes at most so long after it.
    pub within: u64,
}

/// The nodes that answer each question. See the module's page.
pub fn linked_at<'scope, N: Node, Q: Asker>(
    links: VecCollection<'scope, u64, Since<N>, isize>,
    questions: VecCollection<'scope, u64, (Q, Question<N>), isize>,
    name: &str,
    limits: Limits,
    route: impl Fn(&N) -> u64 + Clone + 'static,
) -> VecCollection<'scope, u64, (Q, N), isize> {
    let of_link = route.clone();
    let links_to = Exchange::new(move |(((node, _), _), _, _): &(Since<N>, u64, isize)| of_link(node));
    let questions_to = Exchange::new(move |((_, asked), _, _): &((Q, Question<N>), u64, isize)| route(&asked.node));
    let answers = links.inner.binary_frontier(questions.inner, links_to, questions_to, name, move |_, _| {
        let (mut waiting_links, mut waiting_questions, mut held) = (Pending::default(), Pending::default(), Held(None));
        let mut history = History::new(limits);
        move |(links, links_frontier), (questions, questions_frontier), output| {
            links.for_each(|capability, links: &mut Updates<Since<N>, u64, isize>| {
                held.hold(&capability);
                waiting_links.push(std::mem::take(links));
            });
            questions.for_each(|capability, questions: &mut Updates<(Q, Question<N>), u64, isize>| {
                held.hold(&capability);
                waiting_questions.push(std::mem::take(questions));
            });
            let upper = [first(links_frontier), first(questions_frontier)].into_iter().flatten().min();
            let mut links = waiting_links.take_together(upper.as_ref());
            let mut questions = waiting_questions.take_together(upper.as_ref());
            let mut times: Vec<u64> = links.iter().map(|(_, time, _)| *time).collect();
            times.extend(questions.iter().map(|(_, time, _)| *time));
            times.sort_unstable();
            times.dedup();
            links.sort_by_key(|(_, time, _)| *time);
            // What is taken back of an asker comes before what it asks instead, once what comes to nothing is left out.
            consolidate_updates(&mut questions);
            questions.sort_by_key(|(_, time, diff)| (*time, *diff));
            let (mut links, mut questions) = (links.as_slice(), questions.as_slice());
            for time in times {
                let of_time = |one: &u64| *one == time;
                let (now, later) = links.split_at(links.partition_point(|(_, one, _)| of_time(one)));
                let (asked, asked_later) = questions.split_at(questions.partition_point(|(_, one, _)| of_time(one)));
                (links, questions) = (later, asked_later);
                let mut session = output.session(held.0.as_ref().expect("held with what waited"));
                let tell = |asker, node, diff| session.give(((asker, node), time, diff));
                let changes = now.iter().map(|(since, _, diff)| (*since, *diff));
                let asked = asked.iter().map(|((asker, question), _, diff)| (*asker, *question, *diff));
                history.step(time, changes, asked, tell);
            }
            let waits = [waiting_links.first(), waiting_questions.first()];
            held.advance(waits.into_iter().flatten().min());
        }
    });
    answers.as_collection()
}

/// How often a link stands, since when.
#[derive(Default)]
struct Standing {
    /// At every moment that can still be asked for.
    always: isize,
    /// Since a moment so many more.
    since: Vec<(u64, isize)>,
}

impl Standing {
    fn at(&self, moment: u64) -> bool {
        let by_then = self.since.iter().filter(|(since, _)| *since <= moment);
        self.always + by_then.map(|(_, diff)| diff).sum::<isize>() > 0
    }

    /// Whether it stands whatever the moment.
    fn whenever(&self) -> bool {
        self.always > 0 && self.since.is_empty()
    }

    fn is_over(&self) -> bool {
        self.always == 0 && self.since.is_empty()
    }
}

/// What was asked, and what was told.
struct Asked<N> {
    question: Question<N>,
    /// In order.
    told: Vec<N>,
}

struct History<N, Q> {
    limits: Limits,
    nodes: Numbers<N>,
    links: Links,
    /// By the numbers of links.
    standing: Vec<Standing>,
    /// The moments of what came of a link, and its number: until none can be asked for that lies before.
    recent: BinaryHeap<Reverse<(u64, u32)>>,
    asked: HashMap<Q, Asked<N>>,
    /// Whose answer may change, by the nodes of their question.
    open: HashMap<N, Vec<Q>>,
    /// The moments of those.
    closing: BinaryHeap<Reverse<(u64, Q)>>,
    /// With so many questions those that have expired are looked for.
    asked_max: usize,
}

/// How many questions there are before any is looked at again.
const ASKED_MIN: usize = 1 << 12;

impl<N: Node, Q: Asker> History<N, Q> {
    fn new(limits: Limits) -> Self {
        History {
            limits,
            nodes: Numbers::default(),
            links: Links::default(),
            standing: Vec::new(),
            recent: BinaryHeap::new(),
            asked: HashMap::new(),
            open: HashMap::new(),
            closing: BinaryHeap::new(),
            asked_max: ASKED_MIN,
        }
    }

    /// Takes in what comes at a time, and tells what follows.
    fn step(
        &mut self,
        time: u64,
        changes: impl Iterator<Item = (Since<N>, isize)>,
        questions: impl Iterator<Item = (Q, Question<N>, isize)>,
        mut tell: impl FnMut(Q, N, isize),
    ) {
        let mut ends = Vec::new();
        for (((one, other), moment), diff) in changes.filter(|(((one, other), _), _)| one != other) {
            ends.extend(self.change([one, other], moment, diff));
        }
        let mut affected = self.reached(ends);
        for (asker, question, diff) in questions {
            if diff > 0 {
                self.ask(asker, question);
                affected.insert(asker);
            } else if let Some(asked) = self.forget(asker, &question) {
                asked.told.into_iter().for_each(|node| tell(asker, node, -1));
            }
        }
        for asker in affected {
            let Some(asked) = self.asked.get(&asker) else { continue };
            let answer = self.answer(&asked.question);
            let asked = self.asked.get_mut(&asker).expect("it was just there");
            let told = std::mem::replace(&mut asked.told, answer);
            let is_in = |nodes: &[N], node: &N| nodes.binary_search(node).is_ok();
            told.iter().filter(|node| !is_in(&asked.told, node)).for_each(|node| tell(asker, *node, -1));
            asked.told.iter().filter(|node| !is_in(&told, node)).for_each(|node| tell(asker, *node, 1));
        }
        self.pass(time.saturating_sub(self.limits.within));
        self.expire(time);
    }

    /// Counts what came of a link: the numbers of its ends.
    fn change(&mut self, ends: [N; 2], moment: u64, diff: isize) -> [u32; 2] {
        let ends = ends.map(|node| self.nodes.number(node));
        ends.iter().for_each(|node| self.links.cover(*node));
        let link = self.links.change(ends, 0);
        if self.standing.len() <= link as usize {
            self.standing.resize_with(link as usize + 1, Standing::default);
        }
        let standing = &mut self.standing[link as usize];
        if standing.is_over() {
            self.links.change(ends, 1);
            self.links.settle(link);
        }
        standing.since.push((moment, diff));
        self.recent.push(Reverse((moment, link)));
        ends
    }

    fn ask(&mut self, asker: Q, question: Question<N>) {
        question.nodes().for_each(|node| self.open.entry(node).or_default().push(asker));
        self.closing.push(Reverse((question.moment, asker)));
        self.asked.insert(asker, Asked { question, told: Vec::new() });
    }

    /// Takes a question back, unless the asker asks another by now.
    fn forget(&mut self, asker: Q, question: &Question<N>) -> Option<Asked<N>> {
        if self.asked.get(&asker).is_none_or(|asked| asked.question != *question) {
            return None;
        }
        self.close(asker, question);
        self.asked.remove(&asker)
    }

    /// Its answer does not change any more.
    fn close(&mut self, asker: Q, question: &Question<N>) {
        for node in question.nodes() {
            if let Entry::Occupied(mut open) = self.open.entry(node) {
                open.get_mut().retain(|other| *other != asker);
                if open.get().is_empty() {
                    open.remove();
                }
            }
        }
    }

    /// The nodes that links of its moment lead to, in order; none where they are too many.
    fn answer(&self, question: &Question<N>) -> Vec<N> {
        let mut found: HashSet<u32> = HashSet::new();
        let mut walks = Vec::new();
        let mut alone = 0;
        for node in question.nodes() {
            match self.nodes.find(&node) {
                Some(number) if found.insert(number) => walks.push(self.links.walk(number)),
                Some(_) => {}
                None => alone += 1,
            }
        }
        let own = found.clone();
        while let Some(walk) = walks.last_mut() {
            let Some((link, node)) = self.links.next(walk) else {
                walks.pop();
                continue;
            };
            if self.standing[link as usize].at(question.moment) && found.insert(node) {
                if found.len() + alone > self.limits.large_above {
                    return Vec::new();
                }
                walks.push(self.links.walk(node));
            }
        }
        let mut nodes: Vec<N> = found.difference(&own).map(|number| *self.nodes.node(*number)).collect();
        nodes.sort_unstable();
        nodes
    }

    /// Whose answers may change where links of these nodes do: those who ask about a node that is reached from them at some moment.
    ///
    /// What is reached whatever the moment is gone through by itself. Where that is too large, so is the component of each node that is
    /// linked with it, before the change and after it, at each moment at which it is: so no further is looked from there.
    fn reached(&self, ends: Vec<u32>) -> BTreeSet<Q> {
        let mut askers = BTreeSet::new();
        let mut seen: HashSet<u32> = HashSet::new();
        let mut starts = ends;
        while let Some(start) = starts.pop() {
            if !seen.insert(start) {
                continue;
            }
            let (mut found, mut next, mut further) = (vec![start], 0, Vec::new());
            while next < found.len() && found.len() <= self.limits.large_above {
                let mut walk = self.links.walk(found[next]);
                next += 1;
                while let Some((link, node)) = self.links.next(&mut walk) {
                    if !self.standing[link as usize].whenever() {
                        further.push(node);
                    } else if seen.insert(node) {
                        found.push(node);
                        if found.len() > self.limits.large_above {
                            break;
                        }
                    }
                }
            }
            if found.len() <= self.limits.large_above {
                starts.append(&mut further);
                let of_nodes = found.iter().filter_map(|number| self.open.get(self.nodes.node(*number)));
                askers.extend(of_nodes.flatten().copied());
            }
        }
        askers
    }

    /// No moment before this can be asked for any more, and nothing of one can come.
    fn pass(&mut self, moment: u64) {
        while let Some(Reverse((closing, asker))) = self.closing.peek().copied().filter(|Reverse((at, _))| *at < moment)
        {
            self.closing.pop();
            let question = self.asked.get(&asker).map(|asked| asked.question);
            if let Some(question) = question.filter(|question| question.moment == closing) {
                self.close(asker, &question);
            }
        }
        while let Some(Reverse((_, link))) = self.recent.peek().copied().filter(|Reverse((since, _))| *since < moment) {
            self.recent.pop();
            let standing = &mut self.standing[link as usize];
            if standing.since.is_empty() {
                continue;
            }
            let passed = standing.since.extract_if(.., |(since, _)| *since < moment);
            standing.always += passed.map(|(_, diff)| diff).sum::<isize>();
            if standing.is_over() {
                let ends = self.links.ends(link);
                self.links.change(ends, -1);
                self.links.settle(link);
                for node in ends.into_iter().filter(|node| !self.links.has_any(*node)) {
                    self.nodes.release(node);
                }
            }
        }
    }

    /// Forgets what was told to those who have expired: nobody takes it back.
    fn expire(&mut self, time: u64) {
        if self.asked.len() <= self.asked_max {
            return;
        }
        self.asked.retain(|asker, _| !asker.expired(&time));
        let asked = &self.asked;
        self.open.retain(|_, askers| {
            askers.retain(|asker| asked.contains_key(asker));
            !askers.is_empty()
        });
        self.asked_max = ASKED_MIN.max(2 * self.asked.len());
    }
}

#[cfg(test)]
mod tests;
