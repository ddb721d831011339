//! Small numbers for nodes, so that all else about a node is found in arrays.

use std::hash::{BuildHasher, Hash};

use foldhash::fast::FixedState;
use hashbrown::HashTable;

/// The numbers of nodes. That of a node which is released goes to another.
pub(crate) struct Numbers<N> {
    nodes: Vec<N>,
    free: Vec<u32>,
    numbers: HashTable<u32>,
    hasher: FixedState,
}

impl<N> Default for Numbers<N> {
    fn default() -> Self {
        Numbers { nodes: Vec::new(), free: Vec::new(), numbers: HashTable::new(), hasher: FixedState::default() }
    }
}

impl<N: Copy + Eq + Hash> Numbers<N> {
    /// The number of a node, an unused one where it has none.
    pub(crate) fn number(&mut self, node: N) -> u32 {
        let hash = self.hasher.hash_one(node);
        if let Some(number) = self.numbers.find(hash, |number| self.nodes[*number as usize] == node) {
            return *number;
        }
        let number = match self.free.pop() {
            Some(number) => {
                self.nodes[number as usize] = node;
                number
            }
            None => {
                assert!(self.nodes.len() < u32::MAX as usize, "a worker has too many nodes");
                self.nodes.push(node);
                (self.nodes.len() - 1) as u32
            }
        };
        let (nodes, hasher) = (&self.nodes, &self.hasher);
        self.numbers.insert_unique(hash, number, |number| hasher.hash_one(nodes[*number as usize]));
        number
    }

    /// The number of a node, where it has one.
    pub(crate) fn find(&self, node: &N) -> Option<u32> {
        let hash = self.hasher.hash_one(node);
        self.numbers.find(hash, |number| self.nodes[*number as usize] == *node).copied()
    }

    /// The node of a number.
    pub(crate) fn node(&self, number: u32) -> &N {
        &self.nodes[number as usize]
    }

    /// Frees the number of a node.
    pub(crate) fn release(&mut self, number: u32) {
        let hash = self.hasher.hash_one(self.nodes[number as usize]);
        let entry = self.numbers.find_entry(hash, |other| *other == number);
        entry.unwrap_or_else(|_| panic!("node {number} has its number")).remove();
        self.free.push(number);
    }
}
