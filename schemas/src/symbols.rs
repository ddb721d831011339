//! Symbols: 64-bit hashes of low-cardinality names (campaign, publisher, country), printed by the `symbols` table.
//!
//! A second string for a symbol must never be merged with the first: [`Symbols`] decides when a string is first seen
//! and answers [`Clash`], which makes the record a dead letter. One table serves all workers of a process.

use std::collections::HashMap;
use std::sync::RwLock;

use serde::{Deserialize, Serialize};

/// A name, as the first 64 bits of its BLAKE3 hash. [`Symbol::NONE`] (0) is absent; tables write it as null.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Symbol(pub i64);

impl Symbol {
    /// Absent.
    pub const NONE: Symbol = Symbol(0);

    /// The symbol of a name; the empty name is absent.
    pub fn of(name: &str) -> Symbol {
        if name.is_empty() {
            return Symbol::NONE;
        }
        let hash = blake3::hash(name.as_bytes());
        let mut bytes = [0u8; 8];
        bytes.copy_from_slice(&hash.as_bytes()[..8]);
        Symbol(i64::from_be_bytes(bytes)).or_one()
    }

    fn or_one(self) -> Symbol {
        if self == Symbol::NONE { Symbol(1) } else { self }
    }

    /// Whether this is absent.
    pub fn is_none(self) -> bool {
        self == Symbol::NONE
    }

    /// This, unless absent.
    pub fn some(self) -> Option<Symbol> {
        (!self.is_none()).then_some(self)
    }
}

/// The channel of credit that no touch earned. A channel that a producer *named* so has a touch beside it.
pub const NO_CHANNEL: &str = "(none)";

/// Two names with one symbol: the later one is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("symbol {:#018x} of {second:?} already stands for {first:?}", symbol.0)]
pub struct Clash {
    /// The symbol that both hash to.
    pub symbol: Symbol,
    /// The name that holds it.
    pub first: String,
    /// The name that came second.
    pub second: String,
}

/// All names seen so far, shared by the workers of a process.
pub struct Symbols {
    hash: fn(&str) -> Symbol,
    names: RwLock<Names>,
}

#[derive(Default)]
struct Names {
    by_symbol: HashMap<Symbol, Box<str>>,
    unsaved: Vec<Symbol>,
}

impl Symbols {
    /// An empty table.
    pub fn new() -> Symbols {
        Symbols::with_hash(Symbol::of)
    }

    /// An empty table with another hash: tests inject a narrow one to see clashes.
    pub fn with_hash(hash: fn(&str) -> Symbol) -> Symbols {
        Symbols { hash, names: RwLock::default() }
    }

    /// The symbol of a name, which is remembered as unsaved when it is new.
    pub fn intern(&self, name: &str) -> Result<Symbol, Clash> {
        self.intern_all([name].into_iter()).map(|symbols| symbols[0])
    }

    /// The symbols of names, which are remembered as unsaved when they are new. When one clashes, none is remembered.
    pub fn intern_all<'a>(&self, names: impl Iterator<Item = &'a str>) -> Result<Vec<Symbol>, Clash> {
        let named: Vec<(Symbol, &str)> = names.map(|name| ((self.hash)(name), name)).collect();
        let symbols = named.iter().map(|(symbol, _)| *symbol).collect();
        let known =
            |held: &Names, &(symbol, _): &(Symbol, &str)| symbol.is_none() || held.by_symbol.contains_key(&symbol);
        {
            let held = self.read();
            if named.iter().all(|name| known(&held, name)) {
                return held.agree(&named).map(|()| symbols);
            }
        }
        let mut held = self.names.write().expect("no panic while the lock is held");
        held.agree(&named)?;
        for (symbol, name) in named {
            if !known(&held, &(symbol, name)) {
                held.by_symbol.insert(symbol, name.into());
                held.unsaved.push(symbol);
            }
        }
        Ok(symbols)
    }

    /// Takes in a name that a table already holds.
    pub fn load(&self, symbol: Symbol, name: &str) {
        let mut names = self.names.write().expect("no panic while the lock is held");
        names.by_symbol.insert(symbol, name.into());
        names.unsaved.retain(|unsaved| *unsaved != symbol);
    }

    /// The name of a symbol.
    pub fn name(&self, symbol: Symbol) -> Option<String> {
        self.read().by_symbol.get(&symbol).map(|name| name.to_string())
    }

    /// The names interned since the last call, for the `symbols` table.
    pub fn take_unsaved(&self) -> Vec<(Symbol, String)> {
        let mut names = self.names.write().expect("no panic while the lock is held");
        let unsaved = std::mem::take(&mut names.unsaved);
        unsaved.into_iter().map(|symbol| (symbol, names.by_symbol[&symbol].to_string())).collect()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Names> {
        self.names.read().expect("no panic while the lock is held")
    }
}

impl Default for Symbols {
    fn default() -> Symbols {
        Symbols::new()
    }
}

impl Names {
    /// Whether no name clashes with one that is held, nor with one before it.
    fn agree(&self, named: &[(Symbol, &str)]) -> Result<(), Clash> {
        for (at, &(symbol, name)) in named.iter().enumerate().filter(|(_, (symbol, _))| !symbol.is_none()) {
            let before = || named[..at].iter().find(|(other, _)| *other == symbol).map(|(_, first)| *first);
            match self.by_symbol.get(&symbol).map(|first| &**first).or_else(before) {
                Some(first) if first != name => {
                    return Err(Clash { symbol, first: first.to_owned(), second: name.to_owned() });
                }
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_string_for_a_symbol_is_refused() {
        let symbols = Symbols::with_hash(|name| Symbol(name.len() as i64));
        assert_eq!(symbols.intern("ab"), Ok(Symbol(2)));
        assert_eq!(symbols.intern("ab"), Ok(Symbol(2)));
        assert_eq!(symbols.intern("cd").unwrap_err().first, "ab");
        assert_eq!(symbols.intern(""), Ok(Symbol::NONE));
        assert_eq!(symbols.take_unsaved(), vec![(Symbol(2), "ab".to_owned())]);
        assert_eq!(symbols.take_unsaved(), vec![]);
    }

    #[test]
    fn names_are_taken_in_together_or_not_at_all() {
        let symbols = Symbols::with_hash(|name| Symbol(name.len() as i64));
        assert_eq!(symbols.intern_all(["a", "bc", "a", ""].into_iter()).unwrap(), [1, 2, 1, 0].map(Symbol));
        symbols.take_unsaved();
        assert_eq!(symbols.intern_all(["def", "x"].into_iter()).unwrap_err().first, "a");
        assert_eq!(symbols.intern_all(["def", "ghi"].into_iter()).unwrap_err().second, "ghi");
        assert_eq!(symbols.take_unsaved(), vec![]);
        assert_eq!(symbols.name(Symbol(3)), None);
    }
}
