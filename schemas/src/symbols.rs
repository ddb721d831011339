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

/// Names that one tenant may bring in one field, as `creative`, and tenants that there may be: every process keeps all of them in
/// memory.
pub const NAMES_MAX: usize = 1_000_000;

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Another name has its symbol.
    #[error(transparent)]
    Clash(#[from] Clash),
    /// Its tenant has brought too many.
    #[error(
        "{field} would be one name more than the {max} that there may be, of a tenant or of tenants: send names that repeat, and what is new with \
         each record as an id"
    )]
    TooMany {
        /// The field.
        field: &'static str,
        /// How many it may bring.
        max: usize,
    },
}

/// Who was the first to use a name: a tenant, in a field of its events.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct First {
    /// The tenant; none where the name is a tenant's.
    pub tenant: Symbol,
    /// The field.
    pub field: Box<str>,
}

/// A name and its symbol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// The symbol.
    pub symbol: Symbol,
    /// The name.
    pub name: String,
    /// Who was the first to use it; not known of names that release 0.1.0 saved.
    pub first: Option<First>,
}

impl Name {
    /// A name that no record brings.
    pub fn of(name: &str) -> Name {
        Name { symbol: Symbol::of(name), name: name.to_owned(), first: None }
    }
}

/// All names seen so far, shared by the workers of a process.
pub struct Symbols {
    hash: fn(&str) -> Symbol,
    names_max: usize,
    names: RwLock<Names>,
}

#[derive(Default)]
struct Names {
    by_symbol: HashMap<Symbol, Box<str>>,
    /// How many each brought.
    brought: HashMap<First, usize>,
    unsaved: Vec<(Symbol, Option<First>)>,
}

impl Symbols {
    /// An empty table.
    pub fn new() -> Symbols {
        Symbols::with_hash(Symbol::of)
    }

    /// An empty table with another hash: tests inject a narrow one to see clashes.
    pub fn with_hash(hash: fn(&str) -> Symbol) -> Symbols {
        Symbols { hash, names_max: NAMES_MAX, names: RwLock::default() }
    }

    /// An empty table that takes fewer names of each: for tests.
    pub fn with_names_max(names_max: usize) -> Symbols {
        Symbols { names_max, ..Symbols::new() }
    }

    /// The symbol of a name that no record brings.
    pub fn intern(&self, name: &str) -> Result<Symbol, Clash> {
        let symbol = (self.hash)(name);
        let mut held = self.names.write().expect("no panic while the lock is held");
        held.agree(&[(symbol, name)])?;
        held.insert(symbol, name, None);
        Ok(symbol)
    }

    /// The symbols of names that a record of a tenant has in these fields; new ones are remembered as unsaved. When one is refused,
    /// none is remembered.
    pub fn intern_all<'a>(
        &self,
        tenant: &str,
        names: impl Iterator<Item = (&'static str, &'a str)>,
    ) -> Result<Vec<Symbol>, Refused> {
        let (fields, named): (Vec<_>, Vec<_>) = names.map(|(field, name)| (field, ((self.hash)(name), name))).unzip();
        let symbols = named.iter().map(|(symbol, _)| *symbol).collect();
        {
            let held = self.read();
            if named.iter().all(|(symbol, _)| held.knows(*symbol)) {
                return Ok(held.agree(&named).map(|()| symbols)?);
            }
        }
        let mut held = self.names.write().expect("no panic while the lock is held");
        held.agree(&named)?;
        let tenant = (self.hash)(tenant);
        // Tenants are names of one field, not of each tenant.
        let first =
            |field: &str| First { tenant: if field == "tenant" { Symbol::NONE } else { tenant }, field: field.into() };
        let is_full = |(field, (symbol, _)): (&&'static str, &(Symbol, &str))| {
            !held.knows(*symbol) && held.brought.get(&first(field)).is_some_and(|brought| *brought >= self.names_max)
        };
        if let Some((field, _)) = fields.iter().zip(&named).find(|each| is_full(*each)) {
            return Err(Refused::TooMany { field, max: self.names_max });
        }
        for (field, (symbol, name)) in fields.into_iter().zip(named) {
            held.insert(symbol, name, Some(first(field)));
        }
        Ok(symbols)
    }

    /// Takes in a name that a table already holds.
    pub fn load(&self, name: Name) {
        let mut names = self.names.write().expect("no panic while the lock is held");
        names.unsaved.retain(|(unsaved, _)| *unsaved != name.symbol);
        if names.by_symbol.insert(name.symbol, name.name.into()).is_none()
            && let Some(first) = name.first
        {
            *names.brought.entry(first).or_default() += 1;
        }
    }

    /// The name of a symbol.
    pub fn name(&self, symbol: Symbol) -> Option<String> {
        self.read().by_symbol.get(&symbol).map(|name| name.to_string())
    }

    /// The names interned since the last call, for the `symbols` table.
    pub fn take_unsaved(&self) -> Vec<Name> {
        let mut names = self.names.write().expect("no panic while the lock is held");
        let unsaved = std::mem::take(&mut names.unsaved);
        let named = |(symbol, first)| Name { symbol, name: names.by_symbol[&symbol].to_string(), first };
        unsaved.into_iter().map(named).collect()
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
    fn knows(&self, symbol: Symbol) -> bool {
        symbol.is_none() || self.by_symbol.contains_key(&symbol)
    }

    /// Remembers a name, unless it is known.
    fn insert(&mut self, symbol: Symbol, name: &str, first: Option<First>) {
        if !self.knows(symbol) {
            self.by_symbol.insert(symbol, name.into());
            self.unsaved.push((symbol, first.clone()));
            first.into_iter().for_each(|first| *self.brought.entry(first).or_default() += 1);
        }
    }

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
        let ab = Name { symbol: Symbol(2), name: "ab".to_owned(), first: None };
        assert_eq!(symbols.take_unsaved(), vec![ab]);
        assert_eq!(symbols.take_unsaved(), vec![]);
    }

    #[test]
    fn names_are_taken_in_together_or_not_at_all() {
        let symbols = Symbols::with_hash(|name| Symbol(name.len() as i64));
        let all = |names: [&'static str; 4]| symbols.intern_all("t", ["a", "b", "c", "d"].into_iter().zip(names));
        assert_eq!(all(["a", "bc", "a", ""]).unwrap(), [1, 2, 1, 0].map(Symbol));
        symbols.take_unsaved();
        let clash = |names| match all(names).unwrap_err() {
            Refused::Clash(clash) => clash,
            other => panic!("{other}"),
        };
        assert_eq!(clash(["def", "x", "", ""]).first, "a");
        assert_eq!(clash(["def", "ghi", "", ""]).second, "ghi");
        assert_eq!(symbols.take_unsaved(), vec![]);
        assert_eq!(symbols.name(Symbol(3)), None);
    }

    #[test]
    fn a_tenant_brings_so_many_names_in_a_field_and_no_more() {
        let symbols = Symbols::with_names_max(2);
        let bring = |symbols: &Symbols, tenant: &str, creative: &str, item: &str| {
            symbols.intern_all(tenant, [("creative", creative), ("item", item)].into_iter()).map(drop)
        };
        bring(&symbols, "shop", "one", "").unwrap();
        bring(&symbols, "shop", "two", "x").unwrap();
        let saved = symbols.take_unsaved();
        let full = bring(&symbols, "shop", "three", "y").unwrap_err();
        assert_eq!(full, Refused::TooMany { field: "creative", max: 2 });
        assert_eq!(symbols.take_unsaved(), vec![], "neither the other name of the record");
        bring(&symbols, "other", "three", "").unwrap();
        bring(&symbols, "shop", "three", "y").unwrap();
        // Tenants are counted together.
        let tenant = |symbols: &Symbols, name: &str| symbols.intern_all(name, [("tenant", name)].into_iter()).map(drop);
        let tenants = Symbols::with_names_max(2);
        ["one", "two", "one"].iter().for_each(|name| tenant(&tenants, name).unwrap());
        assert_eq!(tenant(&tenants, "three"), Err(Refused::TooMany { field: "tenant", max: 2 }));
        let again = Symbols::with_names_max(2);
        tenants.take_unsaved().into_iter().for_each(|name| again.load(name));
        assert!(tenant(&again, "three").is_err() && tenant(&again, "two").is_ok());
        // The next process counts on.
        let next = Symbols::with_names_max(2);
        saved.into_iter().for_each(|name| next.load(name));
        assert!(bring(&next, "shop", "three", "").is_err());
        assert!(bring(&next, "shop", "two", "three").is_ok(), "known, and another field");
    }
}
