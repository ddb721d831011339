//! Answers beside those that a search over all that came gives, at each time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use differential_dataflow::input::InputSession;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use timely::dataflow::ProbeHandle;

use super::*;

const LIMITS: Limits = Limits { large_above: 4, within: 5 };
/// How long after it was asked a question expires.
const EXPIRES_AFTER: u64 = 25;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Who {
    number: u32,
    until: u64,
}

impl Expires<u64> for Who {
    fn expiry(&self) -> u64 {
        self.until
    }
}

#[derive(Clone, Debug)]
enum Change {
    /// A link comes, of a moment so far from the earliest that is allowed.
    Comes(u32, u32, u64),
    /// One that came goes, so long after it came at the earliest.
    Goes(prop::sample::Index, u64),
    /// A question about one or two nodes, at a moment so far from the earliest that is allowed.
    Asks(u32, Option<u32>, u64),
    /// One is taken back, or another is asked in its place.
    TakesBack(prop::sample::Index, Option<(u32, u64)>),
}

fn steps(nodes: u32) -> impl Strategy<Value = Vec<Vec<Change>>> {
    let change = prop_oneof![
        5 => (0..nodes, 0..nodes, 0..12_u64).prop_map(|(one, other, after)| Change::Comes(one, other, after)),
        4 => (any::<prop::sample::Index>(), 0..9_u64).prop_map(|(of, after)| Change::Goes(of, after)),
        3 => (0..nodes, prop::option::of(0..nodes), 0..15_u64).prop_map(|(one, other, after)| Change::Asks(one, other, after)),
        1 => (any::<prop::sample::Index>(), prop::option::of((0..nodes, 0..15_u64)))
            .prop_map(|(of, instead)| Change::TakesBack(of, instead)),
    ];
    prop::collection::vec(prop::collection::vec(change, 0..6), 1..40)
}

/// What enters at each time: one step after the other, two apart.
#[derive(Default, Debug)]
struct Entering {
    links: Vec<(Since<u32>, isize)>,
    questions: Vec<((Who, Question<u32>), isize)>,
}

fn entering(steps: &[Vec<Change>]) -> Vec<(u64, Entering)> {
    let mut standing: Vec<Since<u32>> = Vec::new();
    let mut asked: Vec<(Who, Question<u32>)> = Vec::new();
    let mut number = 0;
    let mut of_step = |(at, changes): (usize, &Vec<Change>)| {
        let time = 10 + 2 * at as u64;
        let earliest = time - LIMITS.within;
        let mut made = Entering::default();
        for change in changes {
            match change {
                Change::Comes(one, other, after) => {
                    standing.push(((*one, *other), earliest + after));
                    made.links.push((((*one, *other), earliest + after), 1));
                }
                Change::Goes(of, after) if !standing.is_empty() => {
                    let (link, since) = standing.swap_remove(of.index(standing.len()));
                    made.links.push(((link, since.max(earliest) + after), -1));
                }
                Change::Asks(node, beside, after) => {
                    number += 1;
                    let who = Who { number, until: time + EXPIRES_AFTER };
                    let question = Question { node: *node, beside: *beside, moment: earliest + after };
                    asked.push((who, question));
                    made.questions.push(((who, question), 1));
                }
                Change::TakesBack(of, instead) if !asked.is_empty() => {
                    let (who, question) = asked.swap_remove(of.index(asked.len()));
                    made.questions.push(((who, question), -1));
                    if let Some((node, after)) = instead {
                        let question = Question { node: *node, beside: None, moment: earliest + after };
                        asked.push((who, question));
                        made.questions.push(((who, question), 1));
                    }
                }
                Change::Goes(..) | Change::TakesBack(..) => {}
            }
        }
        (time, made)
    };
    steps.iter().enumerate().map(&mut of_step).collect()
}

/// The nodes that links of the question's moment lead to.
fn oracle(links: &[(Since<u32>, isize)], question: &Question<u32>) -> BTreeSet<u32> {
    let mut counts: BTreeMap<[u32; 2], isize> = BTreeMap::new();
    for (((one, other), _), diff) in links.iter().filter(|((_, since), _)| *since <= question.moment) {
        *counts.entry([*one.min(other), *one.max(other)]).or_default() += diff;
    }
    let mut found: BTreeSet<u32> = question.nodes().collect();
    loop {
        let more: BTreeSet<u32> = counts
            .iter()
            .filter(|(_, count)| **count > 0)
            .flat_map(|([one, other], _)| [(*one, *other), (*other, *one)])
            .filter(|(one, other)| found.contains(one) && !found.contains(other))
            .map(|(_, other)| other)
            .collect();
        if more.is_empty() {
            break;
        }
        found.extend(more);
    }
    let own: BTreeSet<u32> = question.nodes().collect();
    if found.len() > LIMITS.large_above { BTreeSet::new() } else { &found - &own }
}

type Answers = Vec<((Who, u32), u64, isize)>;

/// Takes the steps in, one after the other or all at once, and compares what is told at each time.
fn check(steps: &[Vec<Change>], workers: usize, at_once: bool) {
    let entering = Arc::new(entering(steps));
    let answers: Arc<Mutex<Answers>> = Arc::default();
    let config = timely::Config::process(workers);
    let (enters, told) = (Arc::clone(&entering), Arc::clone(&answers));
    let guards = timely::execute(config, move |worker| {
        let mut links = InputSession::<u64, Since<u32>, isize>::new();
        let mut questions = InputSession::<u64, (Who, Question<u32>), isize>::new();
        let probe = ProbeHandle::new();
        let told = Arc::clone(&told);
        worker.dataflow::<u64, _, _>(|scope| {
            let answers = linked_at(links.to_collection(scope), questions.to_collection(scope), "test", LIMITS, |_| 0);
            answers.inspect(move |told_now| told.lock().unwrap().push(*told_now)).probe_with(&probe);
        });
        for (number, (time, entering)) in enters.iter().enumerate() {
            links.advance_to(*time);
            questions.advance_to(*time);
            if number % worker.peers() == worker.index() {
                entering.links.iter().for_each(|(link, diff)| links.update(*link, *diff));
                entering.questions.iter().for_each(|(question, diff)| questions.update(*question, *diff));
            }
            if !at_once {
                links.advance_to(time + 1);
                questions.advance_to(time + 1);
                links.flush();
                questions.flush();
                worker.step_while(|| probe.less_than(&(time + 1)));
            }
        }
    });
    guards.unwrap().join().into_iter().for_each(|worker| worker.unwrap());

    let answers = answers.lock().unwrap();
    let (mut links, mut asked) = (Vec::new(), BTreeMap::new());
    for (time, entering) in entering.iter() {
        links.extend(entering.links.iter().copied());
        for ((who, question), diff) in &entering.questions {
            if *diff > 0 {
                asked.insert(*who, *question);
            } else if asked.get(who) == Some(question) {
                asked.remove(who);
            }
        }
        let mut told: BTreeMap<Who, BTreeMap<u32, isize>> = BTreeMap::new();
        for ((who, node), at, diff) in answers.iter().filter(|(_, at, _)| at <= time) {
            assert!(*at >= 10, "told at {at}");
            *told.entry(*who).or_default().entry(*node).or_default() += diff;
        }
        for (who, nodes) in &told {
            assert!(nodes.values().all(|count| (0..=1).contains(count)), "{who:?}: {nodes:?}");
            assert!(asked.contains_key(who) || who.expired(time) || nodes.values().all(|count| *count == 0), "{who:?}");
        }
        for (who, question) in asked.iter().filter(|(who, _)| !who.expired(time)) {
            let told = told.get(who).into_iter().flatten().filter(|(_, count)| **count > 0);
            let told: BTreeSet<u32> = told.map(|(node, _)| *node).collect();
            assert_eq!(told, oracle(&links, question), "at {time}: {who:?} asks {question:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn answers_are_those_of_a_search_over_what_came(steps in steps(9), workers in 1..3_usize, at_once in any::<bool>()) {
        check(&steps, workers, at_once);
    }

    #[test]
    fn answers_are_those_of_a_search_among_many_nodes(steps in steps(40)) {
        check(&steps, 1, false);
    }
}

#[test]
fn a_link_counts_from_its_moment_on_whenever_it_comes() {
    let mut history: History<u32, Who> = History::new(LIMITS);
    let mut told = Vec::new();
    let who = Who { number: 1, until: 1_000 };
    let question = Question { node: 1, beside: None, moment: 100 };
    history.step(
        98,
        [((1, 2), 97)].map(|since| (since, 1)).into_iter(),
        [(who, question, 1)].into_iter(),
        |_, node, diff| {
            told.push((node, diff));
        },
    );
    assert_eq!(std::mem::take(&mut told), [(2, 1)]);
    // Of a moment after the question's, though it comes at the same time as one before it.
    let links = [((2, 3), 101), ((2, 4), 100)].map(|since| (since, 1));
    history.step(103, links.into_iter(), std::iter::empty(), |_, node, diff| told.push((node, diff)));
    assert_eq!(std::mem::take(&mut told), [(4, 1)]);
    // What is taken back later stood then.
    history.step(104, [(((1, 2), 102), -1)].into_iter(), std::iter::empty(), |_, node, diff| told.push((node, diff)));
    assert_eq!(told, []);
}

#[test]
fn what_no_question_can_ask_for_any_more_is_forgotten() {
    let mut history: History<u32, Who> = History::new(LIMITS);
    let none = |_: Who, _: u32, _: isize| ();
    for number in 0..1_000_u64 {
        let (node, time) = (number as u32 % 50, 10 + number);
        let links = [(((node, node + 1), time), 1), (((node, node + 1), time + 1), -1)];
        let who = Who { number: number as u32, until: time + 10 };
        let asks = [(who, Question { node, beside: None, moment: time }, 1)];
        history.step(time, links.into_iter(), asks.into_iter(), none);
    }
    assert!(history.recent.len() < 20, "{}", history.recent.len());
    assert!(history.closing.len() < 20, "{}", history.closing.len());
    assert!(history.open.len() < 20, "{}", history.open.len());
    assert!(history.standing.len() < 20, "numbers of links are used again: {}", history.standing.len());
    history.asked_max = 0;
    history.step(2_000, std::iter::empty(), std::iter::empty(), none);
    assert!(history.asked.is_empty());
}
