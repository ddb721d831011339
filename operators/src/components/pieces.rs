//! Into which parts a component falls whose nodes have lost links.
//!
//! Each part has an end of a link that went: a node was led to any such end by links, and where one of them is gone, to the end of that
//! one which comes first. So the searches from these ends find all parts; and as each searches in turn, those that end have not looked at
//! many more links than the largest part but one has, times the number of ends.

use std::collections::VecDeque;

use super::links::{Links, Walk};

/// How many links a search looks at before it is the next one's turn.
const TURN: usize = 16;

/// Searches from several nodes at once. What it keeps is for the next time.
#[derive(Default)]
pub(super) struct Search {
    /// Of each node which search has found it: its number and what numbers of this time begin with; less where none has.
    marks: Vec<u32>,
    /// What numbers of this time begin with.
    base: u32,
}

/// What is found from an end, and from those that it has met.
struct Finding {
    found: Vec<u32>,
    /// Nodes whose links are to be looked at.
    open: VecDeque<Walk>,
    /// The search that it goes on with, itself where it has met none that is larger.
    joined: usize,
    /// Its place among those that search.
    place: usize,
}

/// What came of a turn.
enum Turn {
    /// It goes on.
    Open,
    /// It has found all that links lead to.
    Ended,
    /// It has found what another has found.
    Met(usize),
}

impl Search {
    /// Hands over the nodes of each part into which the component of these ends falls, but of one.
    pub(super) fn pieces(
        &mut self,
        links: &Links,
        ends: impl ExactSizeIterator<Item = u32>,
        mut each: impl FnMut(&[u32]),
    ) {
        let count = ends.len();
        if self.base as usize + 1 + count >= u32::MAX as usize {
            self.marks.clear();
            self.base = 0;
        }
        // Never 0: that is where no search was.
        self.base += 1;
        let mut findings: Vec<Finding> = Vec::with_capacity(count);
        for (number, node) in ends.enumerate() {
            let open = VecDeque::from([links.walk(node)]);
            findings.push(Finding { found: vec![node], open, joined: number, place: number });
            self.mark(node, number);
        }
        let mut searching: Vec<usize> = (0..count).collect();
        let mut next = 0;
        while searching.len() > 1 {
            let number = searching[next % searching.len()];
            match self.turn(links, &mut findings, number) {
                Turn::Open => next = (next + 1) % searching.len(),
                Turn::Ended => {
                    each(&findings[number].found);
                    leave(&mut searching, &mut findings, number);
                }
                Turn::Met(other) => {
                    let size = |of: usize| findings[of].found.len() + findings[of].open.len();
                    let (kept, joins) = if size(number) < size(other) { (other, number) } else { (number, other) };
                    let mut found = std::mem::take(&mut findings[joins].found);
                    let mut open = std::mem::take(&mut findings[joins].open);
                    findings[kept].found.append(&mut found);
                    findings[kept].open.append(&mut open);
                    findings[joins].joined = kept;
                    leave(&mut searching, &mut findings, joins);
                }
            }
        }
        self.base += count as u32;
    }

    fn turn(&mut self, links: &Links, findings: &mut [Finding], number: usize) -> Turn {
        for _ in 0..TURN {
            let Some(walk) = findings[number].open.front_mut() else { return Turn::Ended };
            let Some((_, node)) = links.next(walk) else {
                findings[number].open.pop_front();
                continue;
            };
            match self.found_by(node) {
                None => {
                    self.mark(node, number);
                    findings[number].found.push(node);
                    findings[number].open.push_back(links.walk(node));
                }
                Some(other) => {
                    let other = last(findings, other);
                    if other != number {
                        return Turn::Met(other);
                    }
                }
            }
        }
        Turn::Open
    }

    fn found_by(&self, node: u32) -> Option<usize> {
        let mark = self.marks.get(node as usize)?;
        mark.checked_sub(self.base).map(|number| number as usize)
    }

    fn mark(&mut self, node: u32, number: usize) {
        let node = node as usize;
        if self.marks.len() <= node {
            self.marks.resize(node + 1, 0);
        }
        self.marks[node] = self.base + number as u32;
    }
}

/// Takes a search out of those that search.
fn leave(searching: &mut Vec<usize>, findings: &mut [Finding], number: usize) {
    let place = findings[number].place;
    searching.swap_remove(place);
    if let Some(moved) = searching.get(place) {
        findings[*moved].place = place;
    }
}

/// The search that one goes on with.
fn last(findings: &mut [Finding], mut number: usize) -> usize {
    while findings[number].joined != number {
        let next = findings[number].joined;
        findings[number].joined = findings[next].joined;
        number = next;
    }
    number
}
