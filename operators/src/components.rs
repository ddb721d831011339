//! Connected components of links that come and go.
//!
//! **Semantics.** Links are pairs of nodes without a direction; of each pair what came is summed up. At each time
//!
//! > links = the pairs whose sum is above zero; nodes = the ends of links;
//! > output = for each node: the least node that links lead to, and whether more than `large_above` nodes are led to
//!
//! So a node belongs to one component at a time, which is named by its least node, and what is said at a time is a function of the
//! links of that time, whatever came and went before. A link of a node with itself says nothing. What changes at a time is said once,
//! however often a node changed its component within it.
//!
//! **Why the least node.** Whoever writes the output writes a row for each node whose component gets another name. Where nodes are
//! hashes, and who is linked with whom does not depend on them, the least is any of the *n* nodes alike. So when components of *s* and
//! *n* ≥ *s* nodes become one, the larger gets another name with probability *s* / (*s* + *n*): no more than *s* rows of it are to be
//! expected, as many as the smaller has anyway. When *s* nodes leave *n*, it is the same. What may happen, but seldom: the one node of a
//! large component that is its name leaves, and all of it gets another at that time.
//!
//! **Work.** A link that comes joins two components at most: the nodes of the smaller change their list. A link that goes may part
//! one. Then all ends of links that go from a component at a time look for each other: from each of them nodes are searched along links, a few
//! links at a time in turn; those that meet go on as one; one that finds nothing more has found a whole part. The last that is left need
//! not end, so a small part that leaves a large component costs what the small part has
//! (`pieces.rs`). What is dear is a large component that stays one though a link goes, as the searches must meet: in a ring they go half-way round.
//!
//! **State.** Links and nodes as long as links stand: nothing expires. Some 40 bytes of a link, some 40 and the node itself of a node. All
//! links that may ever be in one component are to be on one worker: `route` says on which.
//!
//! # Panics
//! When a worker has 2³² − 1 nodes or links at a time.
//!
//! ```
//! use differential_dataflow::input::InputSession;
//! use operators::components;
//!
//! timely::execute_directly(|worker| {
//!     let mut links = InputSession::<u64, (u32, u32), isize>::new();
//!     worker.dataflow::<u64, _, _>(|scope| {
//!         let members = components(links.to_collection(scope), "groups", 1_000, |_| 0);
//!         members.inspect(|(member, at, change)| println!("{} in {} {change:+} at {at}", member.node, member.component));
//!     });
//!     links.update_at((7, 3), 0, 1);
//!     links.update_at((3, 5), 0, 1);
//!     // 5 leaves; 7 and 3 stay.
//!     links.update_at((3, 5), 1, -1);
//! });
//! ```

pub(crate) mod links;
pub(crate) mod numbers;
mod partition;
mod pieces;

use std::hash::Hash;

use differential_dataflow::{AsCollection, ExchangeData, VecCollection};
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::Operator;
use timely::order::TotalOrder;
use timely::progress::Timestamp;

use self::links::{Links, Settled};
use self::numbers::Numbers;
use self::partition::{Label, Partition};
use self::pieces::Search;
use crate::pending::{Held, Pending, Updates, first};

/// What is said of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member<N> {
    /// The node.
    pub node: N,
    /// The least node of its component.
    pub component: N,
    /// Whether the component has more nodes than what counts as large.
    pub large: bool,
}

/// What is needed of a node.
pub trait Node: ExchangeData + Copy + Eq + Ord + Hash {}

impl<N: ExchangeData + Copy + Eq + Ord + Hash> Node for N {}

/// The nodes of links, each with its component. See the module's page.
pub fn components<'scope, N: Node, T: Timestamp + TotalOrder>(
    links: VecCollection<'scope, T, (N, N), isize>,
    name: &str,
    large_above: usize,
    route: impl Fn(&N) -> u64 + 'static,
) -> VecCollection<'scope, T, Member<N>, isize> {
    let to_worker = Exchange::new(move |((node, _), _, _): &((N, N), T, isize)| route(node));
    let members = links.inner.unary_frontier(to_worker, name, move |_, _| {
        let (mut pending, mut held) = (Pending::default(), Held(None));
        let mut graph = Graph::new(large_above);
        move |(input, frontier), output| {
            input.for_each(|capability, links: &mut Updates<(N, N), T, isize>| {
                held.hold(&capability);
                pending.push(std::mem::take(links));
            });
            let mut new: Updates<(N, N), T, isize> = pending.take_together(first(frontier).as_ref());
            if !new.is_empty() {
                let mut session = output.session(held.0.as_ref().expect("held with what waited"));
                new.sort_by(|(_, one, _), (_, other, _)| one.cmp(other));
                for at_once in new.chunk_by(|(_, one, _), (_, other, _)| one == other) {
                    let (_, time, _) = &at_once[0];
                    let changes = at_once.iter().map(|(link, _, diff)| (*link, *diff));
                    graph.step(changes, |member, diff| session.give((member, time.clone(), diff)));
                }
            }
            held.advance(pending.first());
        }
    });
    members.as_collection()
}

/// The links that stand on a worker, and the components that they make.
struct Graph<N> {
    large_above: usize,
    nodes: Numbers<N>,
    links: Links,
    parts: Partition,
    search: Search,
}

impl<N: Node> Graph<N> {
    fn new(large_above: usize) -> Self {
        Graph {
            large_above,
            nodes: Numbers::default(),
            links: Links::default(),
            parts: Partition::default(),
            search: Search::default(),
        }
    }

    /// Takes in what comes and goes at a time, and tells what follows.
    fn step(&mut self, changes: impl Iterator<Item = ((N, N), isize)>, mut tell: impl FnMut(Member<N>, isize)) {
        let Graph { large_above, nodes, links, parts, search } = self;
        // One thing after the other for all of them, so that the processor waits for memory a few times for many.
        let others = changes.filter(|((one, other), _)| one != other);
        let numbered: Vec<([u32; 2], isize)> =
            others.map(|((one, other), diff)| ([nodes.number(one), nodes.number(other)], diff)).collect();
        for node in numbered.iter().flat_map(|(ends, _)| ends) {
            parts.cover(*node);
            links.cover(*node);
        }
        let mut changed: Vec<u32> = numbered.into_iter().map(|(ends, diff)| links.change(ends, diff)).collect();
        changed.sort_unstable();
        changed.dedup();
        // All that comes joins before what goes parts, so that each component is parted once.
        let (mut gone, mut loose) = (Vec::new(), Vec::new());
        let less = |one: u32, other: u32| nodes.node(one) < nodes.node(other);
        for link in changed {
            let (ends, settled) = links.settle(link);
            match settled {
                Settled::Came => parts.join(ends, less),
                Settled::Went => gone.extend(ends),
                Settled::NeverStood => loose.extend(ends),
                Settled::Stays => {}
            }
        }
        loose.extend(&gone);
        let mut of_component: Vec<(u32, u32)> = gone.into_iter().map(|node| (parts.component(node), node)).collect();
        of_component.sort_unstable();
        of_component.dedup();
        for ends in of_component.chunk_by(|(one, _), (other, _)| one == other) {
            let ends = ends.iter().map(|(_, node)| *node);
            search.pieces(links, ends, |piece| parts.part(piece, less));
        }
        let stands = |node: u32| links.has_any(node);
        parts.end_tick(*large_above, less, stands, |node, said, says| {
            let member =
                |Label { least, large }| Member { node: *nodes.node(node), component: *nodes.node(least), large };
            said.into_iter().for_each(|label| tell(member(label), -1));
            says.into_iter().for_each(|label| tell(member(label), 1));
        });
        loose.sort_unstable();
        loose.dedup();
        for node in loose.into_iter().filter(|node| !links.has_any(*node)) {
            parts.remove(node);
            nodes.release(node);
        }
    }
}

#[cfg(test)]
mod tests;
