//! Links between numbered nodes: how often each came, and which a node has.
//!
//! The links of a node are a list through the links themselves, forward and back, so that one leaves it at once however many there are.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

/// No link.
const NONE: u32 = u32::MAX;

struct Link {
    /// The lesser first.
    ends: [u32; 2],
    /// How often it came, less how often it went.
    count: isize,
    /// Whether its ends have it.
    stands: bool,
    /// The next in the list of either end, and the one before.
    next: [u32; 2],
    before: [u32; 2],
}

/// All links of a worker.
#[derive(Default)]
pub(crate) struct Links {
    links: Vec<Link>,
    free: Vec<u32>,
    numbers: HashTable<u32>,
    hasher: FixedState,
    /// The first link of each node.
    first: Vec<u32>,
}

/// What became of a link at a time.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// It stands from now on.
    Came,
    /// It stands no more, and is forgotten.
    Went,
    /// It came and went at that time, and is forgotten.
    NeverStood,
    /// It stands as before.
    Stays,
}

/// How far the links of a node are gone through.
#[derive(Clone, Copy)]
pub(crate) struct Walk {
    node: u32,
    link: u32,
}

impl Links {
    /// Knows a node, from its first link on.
    pub(crate) fn cover(&mut self, node: u32) {
        let nodes = node as usize + 1;
        if self.first.len() < nodes {
            self.first.resize(nodes, NONE);
        }
    }

    /// Counts that a link came (`diff` > 0) or went (< 0): its number, to be settled once all of a time is counted.
    pub(crate) fn change(&mut self, mut ends: [u32; 2], diff: isize) -> u32 {
        ends.sort_unstable();
        let hash = self.hasher.hash_one(ends);
        if let Some(link) = self.numbers.find(hash, |link| self.links[*link as usize].ends == ends) {
            self.links[*link as usize].count += diff;
            return *link;
        }
        let new = Link { ends, count: diff, stands: false, next: [NONE; 2], before: [NONE; 2] };
        let number = match self.free.pop() {
            Some(number) => {
                self.links[number as usize] = new;
                number
            }
            None => {
                assert!(self.links.len() < NONE as usize, "a worker has too many links");
                self.links.push(new);
                (self.links.len() - 1) as u32
            }
        };
        let (links, hasher) = (&self.links, &self.hasher);
        self.numbers.insert_unique(hash, number, |link| hasher.hash_one(links[*link as usize].ends));
        number
    }

    /// Has the ends of a link have it, or not, as its count says.
    pub(crate) fn settle(&mut self, number: u32) -> ([u32; 2], Settled) {
        let Link { ends, count, stands, .. } = self.links[number as usize];
        debug_assert!(count >= 0, "a link went more often than it came");
        match (stands, count > 0) {
            (false, true) => {
                self.attach(number);
                (ends, Settled::Came)
            }
            (true, false) => {
                self.detach(number);
                self.forget(number);
                (ends, Settled::Went)
            }
            (false, false) => {
                self.forget(number);
                (ends, Settled::NeverStood)
            }
            (true, true) => (ends, Settled::Stays),
        }
    }

    fn attach(&mut self, number: u32) {
        let ends = self.links[number as usize].ends;
        for (side, node) in ends.into_iter().enumerate() {
            let first = std::mem::replace(&mut self.first[node as usize], number);
            let link = &mut self.links[number as usize];
            (link.stands, link.next[side], link.before[side]) = (true, first, NONE);
            if first != NONE {
                let after = &mut self.links[first as usize];
                after.before[after.side(node)] = number;
            }
        }
    }

    fn detach(&mut self, number: u32) {
        let ends = self.links[number as usize].ends;
        for (side, node) in ends.into_iter().enumerate() {
            let Link { next, before, .. } = self.links[number as usize];
            let (next, before) = (next[side], before[side]);
            match before {
                NONE => self.first[node as usize] = next,
                before => {
                    let before = &mut self.links[before as usize];
                    before.next[before.side(node)] = next;
                }
            }
            if next != NONE {
                let after = &mut self.links[next as usize];
                after.before[after.side(node)] = before;
            }
        }
    }

    fn forget(&mut self, number: u32) {
        let hash = self.hasher.hash_one(self.links[number as usize].ends);
        let entry = self.numbers.find_entry(hash, |other| *other == number);
        entry.unwrap_or_else(|_| panic!("link {number} has its number")).remove();
        self.free.push(number);
    }

    /// Whether a node has a link.
    pub(crate) fn has_any(&self, node: u32) -> bool {
        self.first[node as usize] != NONE
    }

    /// Begins to go through the links of a node.
    pub(crate) fn walk(&self, node: u32) -> Walk {
        Walk { node, link: self.first[node as usize] }
    }

    /// The next link of the node, and its other end; none after the last.
    pub(crate) fn next(&self, walk: &mut Walk) -> Option<(u32, u32)> {
        if walk.link == NONE {
            return None;
        }
        let (number, link) = (walk.link, &self.links[walk.link as usize]);
        let side = link.side(walk.node);
        walk.link = link.next[side];
        Some((number, link.ends[1 - side]))
    }

    /// The ends of a link, the lesser first.
    pub(crate) fn ends(&self, number: u32) -> [u32; 2] {
        self.links[number as usize].ends
    }
}

impl Link {
    /// Which of its ends a node is.
    fn side(&self, node: u32) -> usize {
        usize::from(self.ends[1] == node)
    }
}
