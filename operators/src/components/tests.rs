//! Components beside those of a union-find that is made anew from the links of each time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use differential_dataflow::input::InputSession;
use proptest::prelude::*;
use timely::dataflow::ProbeHandle;

use super::*;

const LARGE_ABOVE: usize = 5;

type Said = BTreeSet<Member<u32>>;

/// What is to be said of these links.
fn oracle(links: &BTreeMap<(u32, u32), isize>) -> Said {
    let mut leads_to: BTreeMap<u32, u32> = BTreeMap::new();
    fn root(leads_to: &BTreeMap<u32, u32>, mut node: u32) -> u32 {
        while leads_to[&node] != node {
            node = leads_to[&node];
        }
        node
    }
    for (one, other) in links.iter().filter(|((one, other), count)| **count > 0 && one != other).map(|(link, _)| *link)
    {
        for node in [one, other] {
            leads_to.entry(node).or_insert(node);
        }
        // The least is the root.
        let roots = [root(&leads_to, one), root(&leads_to, other)];
        leads_to.insert(roots[0].max(roots[1]), roots[0].min(roots[1]));
    }
    let nodes: Vec<u32> = leads_to.keys().copied().collect();
    let component = |node: &u32| root(&leads_to, *node);
    let size = |of: u32| nodes.iter().filter(|node| component(node) == of).count();
    let member = |node: &u32| {
        let component = component(node);
        Member { node: *node, component, large: size(component) > LARGE_ABOVE }
    };
    nodes.iter().map(member).collect()
}

/// Adds what is said at a time to what was said before. Of each node something else is said than before, or nothing is.
fn add(said: &mut Said, changes: Vec<(Member<u32>, isize)>) {
    let gone: BTreeSet<_> = changes.iter().filter(|(_, diff)| *diff < 0).map(|(member, _)| *member).collect();
    let came: BTreeSet<_> = changes.iter().filter(|(_, diff)| *diff > 0).map(|(member, _)| *member).collect();
    assert_eq!(gone.len() + came.len(), changes.len(), "nothing is said twice");
    assert!(gone.is_disjoint(&came), "what is said again was never taken back");
    assert!(gone.is_subset(said), "what is taken back was said: {gone:?}");
    said.retain(|member| !gone.contains(member));
    came.into_iter().for_each(|member| assert!(said.insert(member), "{member:?} was said"));
}

#[derive(Clone, Debug)]
enum Change {
    Comes(u32, u32),
    /// One of the links that stand.
    Goes(prop::sample::Index),
    /// All links of a node.
    Leaves(u32),
}

fn ticks(nodes: u32) -> impl Strategy<Value = Vec<Vec<Change>>> {
    let change = prop_oneof![
        5 => (0..nodes, 0..nodes).prop_map(|(one, other)| Change::Comes(one, other)),
        4 => any::<prop::sample::Index>().prop_map(Change::Goes),
        1 => (0..nodes).prop_map(Change::Leaves),
    ];
    prop::collection::vec(prop::collection::vec(change, 0..12), 1..40)
}

/// The changes of each tick as differences of links.
fn differences(ticks: &[Vec<Change>]) -> Vec<Vec<((u32, u32), isize)>> {
    let mut standing: Vec<(u32, u32)> = Vec::new();
    let mut of_tick = |changes: &Vec<Change>| {
        let mut made = Vec::new();
        for change in changes {
            match change {
                Change::Comes(one, other) => {
                    standing.push((*one, *other));
                    made.push(((*one, *other), 1));
                }
                Change::Goes(index) if !standing.is_empty() => {
                    let link = standing.swap_remove(index.index(standing.len()));
                    made.push((link, -1));
                }
                Change::Goes(_) => {}
                Change::Leaves(node) => {
                    let has = |(one, other): &mut (u32, u32)| one == node || other == node;
                    made.extend(standing.extract_if(.., has).map(|link| (link, -1)));
                }
            }
        }
        made
    };
    ticks.iter().map(&mut of_tick).collect()
}

/// Takes the changes in tick by tick; what is wrong at one panics. How often more than one part left a component in a tick, and how
/// often a link went though its component stayed whole.
fn check(ticks: &[Vec<((u32, u32), isize)>]) -> (usize, usize) {
    let mut graph = Graph::new(LARGE_ABOVE);
    let (mut links, mut said) = (BTreeMap::new(), Said::new());
    let (mut several, mut whole) = (0, 0);
    for changes in ticks {
        let mut made = Vec::new();
        graph.step(changes.iter().copied(), |member, diff| made.push((member, diff)));
        let before = said.clone();
        add(&mut said, made);
        for ((one, other), diff) in changes {
            *links.entry((*one.min(other), *one.max(other))).or_insert(0) += diff;
        }
        assert_eq!(said, oracle(&links), "after {changes:?}");
        let names = |component: u32| {
            let nodes: BTreeSet<u32> = before.iter().filter(|of| of.component == component).map(|of| of.node).collect();
            said.iter().filter(|of| nodes.contains(&of.node)).map(|of| of.component).collect::<BTreeSet<u32>>().len()
        };
        let components: BTreeSet<u32> = before.iter().map(|of| of.component).collect();
        several += components.iter().filter(|component| names(**component) > 2).count();
        whole += usize::from(changes.iter().any(|(_, diff)| *diff < 0) && before == said);
    }
    (several, whole)
}

#[test]
fn components_are_those_of_the_links_of_each_time() {
    let (several, whole) = (Mutex::new(0), Mutex::new(0));
    let config = ProptestConfig { cases: 400, ..ProptestConfig::default() };
    proptest!(config, |(ticks in prop_oneof![ticks(8), ticks(14), ticks(40)])| {
        let (parts, stays) = check(&differences(&ticks));
        *several.lock().expect("no panic") += parts;
        *whole.lock().expect("no panic") += stays;
    });
    let (several, whole) = (several.into_inner().expect("no panic"), whole.into_inner().expect("no panic"));
    assert!(several > 50 && whole > 50, "three pieces {several} times, none {whole} times");
}

/// Links of a chain of so many nodes.
fn chain(nodes: u32) -> Vec<((u32, u32), isize)> {
    (1..nodes).map(|node| ((node - 1, node), 1)).collect()
}

#[test]
fn a_component_falls_into_three_at_once() {
    // From the middle on both sides, so that the searches of the middle part meet each other and neither ends.
    let cut = vec![((2, 3), -1), ((5, 6), -1)];
    check(&[chain(9), cut.clone()]);
    // The same where other links of the tick join two of the three again.
    check(&[chain(9), cut.into_iter().chain([((0, 8), 1)]).collect()]);
}

#[test]
fn a_link_stands_as_long_as_one_says_so() {
    let link = (1, 2);
    check(&[vec![(link, 1)], vec![(link, 1)], vec![(link, -1)], vec![(link, -1)], vec![(link, 1), (link, -1)]]);
    // The other way round it is the same.
    check(&[vec![((1, 2), 1)], vec![((2, 1), 1), ((1, 2), -1)], vec![((2, 1), -1)]]);
}

#[test]
fn a_name_is_given_to_all_when_the_least_leaves() {
    let star: Vec<_> = (0..20).filter(|node| *node != 10).map(|node| ((10, node), 1)).collect();
    let mut graph = Graph::new(LARGE_ABOVE);
    let mut count = 0;
    graph.step(star.iter().copied(), |_, _| count += 1);
    assert_eq!(count, 20);
    // Whoever else leaves or comes changes nobody but itself.
    let mut step = |changes: Vec<((u32, u32), isize)>| {
        let mut count = 0;
        graph.step(changes.into_iter(), |_, _| count += 1);
        count
    };
    assert_eq!(step(vec![((10, 7), -1)]), 1);
    assert_eq!(step(vec![((10, 7), 1), ((10, 21), 1)]), 2);
    assert_eq!(step(vec![((10, 0), -1)]), 1 + 2 * 20);
}

#[test]
fn a_large_component_is_gone_through_by_its_smaller_parts() {
    // A leaf leaves a star: nobody goes through all that the middle has. Two halves of a chain are found by whichever is smaller.
    let mut graph = Graph::new(LARGE_ABOVE);
    let nodes = 10_000;
    let star = (1..nodes).map(|node| ((0, node), 1));
    graph.step(star, |_, _| {});
    for node in 1..nodes - 1 {
        let mut said = 0;
        graph.step([((0, node), -1)].into_iter(), |_, _| said += 1);
        // Near the end the rest is large no more.
        assert!(said == 1 || nodes - node <= LARGE_ABOVE as u32 + 1, "{node}: {said}");
    }
}

#[test]
fn workers_say_what_one_says() {
    for workers in [1, 3] {
        let links: Vec<Vec<((u32, u32), isize)>> = vec![
            (0..60).map(|node| ((node % 3, node), 1)).collect(),
            (30..60).map(|node| ((node % 3, node), -1)).collect(),
            vec![((3, 6), 1), ((9, 0), -1)],
        ];
        let said = Arc::new(Mutex::new(Vec::new()));
        let (collected, fed) = (Arc::clone(&said), links.clone());
        let guards = timely::execute(timely::Config::process(workers), move |worker| {
            let (mut input, probe) = (InputSession::<u64, (u32, u32), isize>::new(), ProbeHandle::new());
            let said = Arc::clone(&collected);
            worker.dataflow::<u64, _, _>(|scope| {
                // A group never leaves its residue.
                let members =
                    components(input.to_collection(scope), "groups", LARGE_ABOVE, |node| u64::from(*node % 3));
                members.inspect(move |change| said.lock().expect("no panic").push(*change)).probe_with(&probe);
            });
            for (tick, changes) in fed.iter().enumerate() {
                for (link, diff) in changes.iter().skip(worker.index()).step_by(worker.peers()) {
                    input.update_at(*link, tick as u64, *diff);
                }
            }
            input.advance_to(fed.len() as u64);
            input.flush();
            worker.step_while(|| probe.less_than(&(fed.len() as u64)));
        });
        guards.expect("the workers start").join().into_iter().for_each(|worker| worker.expect("no worker panics"));
        let said = said.lock().expect("no panic");
        let (mut of_tick, mut standing) = (Said::new(), BTreeMap::new());
        for (tick, changes) in links.iter().enumerate() {
            let at = said.iter().filter(|(_, time, _)| *time == tick as u64);
            add(&mut of_tick, at.map(|(member, _, diff)| (*member, *diff)).collect());
            for ((one, other), diff) in changes {
                *standing.entry((*one.min(other), *one.max(other))).or_insert(0) += diff;
            }
            assert_eq!(of_tick, oracle(&standing), "{workers} workers at {tick}");
        }
    }
}
