//! Collections that only grow: a row that has come is never taken back.
//!
//! What needs no second thought about a row, as [`index`](crate::index()), is built of such alone, so that it cannot be given
//! another. The updates of a collection that grows say no difference, each is one row more; so there is none that takes a row back,
//! and no operator here makes one.
//!
//! An index of rows that only come:
//!
//! ```
//! use operators::{Appends, Expires, index};
//! # use serde::{Deserialize, Serialize};
//!
//! # #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
//! struct Sale(u64);
//! # impl Expires<u64> for Sale {
//! #     fn expiry(&self) -> u64 {
//! #         self.0 + 10
//! #     }
//! # }
//!
//! fn large(sales: Appends<'_, u64, (u64, Sale)>) {
//!     index(sales.filter(|(_, sale)| sale.0 > 100), "large sales");
//! }
//! ```
//!
//! What a reduction makes can be taken back, so this is no program:
//!
//! ```compile_fail
//! use operators::{Appends, Expires, index};
//! # use serde::{Deserialize, Serialize};
//!
//! # #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
//! struct Sale(u64);
//! # impl Expires<u64> for Sale {
//! #     fn expiry(&self) -> u64 {
//! #         self.0 + 10
//! #     }
//! # }
//!
//! fn largest(sales: Appends<'_, u64, (u64, Sale)>) {
//!     let largest = sales.into_collection().reduce(|_, sales, output| {
//!         output.extend(sales.last().map(|(sale, _)| ((*sale).clone(), 1)));
//!     });
//!     index(largest, "largest sales");
//! }
//! ```
//!
//! Without the last line of the function it is one, so it is that which the compiler refuses:
//!
//! ```
//! use operators::{Appends, Expires};
//! # use serde::{Deserialize, Serialize};
//!
//! # #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
//! struct Sale(u64);
//! # impl Expires<u64> for Sale {
//! #     fn expiry(&self) -> u64 {
//! #         self.0 + 10
//! #     }
//! # }
//!
//! fn largest(sales: Appends<'_, u64, (u64, Sale)>) {
//!     let largest = sales.into_collection().reduce(|_, sales, output| {
//!         output.extend(sales.last().map(|(sale, _)| ((*sale).clone(), 1)));
//!     });
//!     # drop(largest);
//! }
//! ```

use differential_dataflow::{AsCollection, Data, VecCollection};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::vec::Map;
use timely::dataflow::{InputHandle, Scope};
use timely::order::TotalOrder;
use timely::progress::Timestamp;

use crate::pending::Updates;

/// A collection that only grows.
pub struct Appends<'scope, T: Timestamp, D: 'static>(pub(crate) VecCollection<'scope, T, D, ()>);

impl<T: Timestamp, D: Clone + 'static> Clone for Appends<'_, T, D> {
    fn clone(&self) -> Self {
        Appends(self.0.clone())
    }
}

impl<'scope, T: Timestamp, D: Clone + 'static> Appends<'scope, T, D> {
    /// What `logic` makes of each row.
    pub fn map<D2: Clone + 'static>(self, logic: impl FnMut(D) -> D2 + 'static) -> Appends<'scope, T, D2> {
        Appends(self.0.map(logic))
    }

    /// All that `logic` makes of each row.
    pub fn flat_map<I>(self, logic: impl FnMut(D) -> I + 'static) -> Appends<'scope, T, I::Item>
    where
        I: IntoIterator<Item: Clone + 'static>,
    {
        Appends(self.0.flat_map(logic))
    }

    /// The rows of which `logic` says so.
    pub fn filter(self, logic: impl FnMut(&D) -> bool + 'static) -> Appends<'scope, T, D> {
        Appends(self.0.filter(logic))
    }

    /// The rows of both.
    pub fn concat(self, other: Self) -> Self {
        Appends(self.0.concat(other.0))
    }

    /// The same as any other collection.
    pub fn into_collection(self) -> VecCollection<'scope, T, D, isize> {
        self.0.inner.map(|(row, time, ())| (row, time, 1)).as_collection()
    }
}

/// Where rows of a collection that only grows enter it.
pub struct AppendInput<T: Timestamp, D: Clone + 'static> {
    time: T,
    waiting: Updates<D, T, ()>,
    handle: InputHandle<T, CapacityContainerBuilder<Updates<D, T, ()>>>,
}

/// Rows that are handed on at a time.
const BATCH_ROWS: usize = 1_024;

impl<T: Timestamp + TotalOrder, D: Data> AppendInput<T, D> {
    /// An input in a scope, and the collection of what enters.
    pub fn new(scope: Scope<'_, T>) -> (AppendInput<T, D>, Appends<'_, T, D>) {
        let mut handle = InputHandle::new();
        let rows = handle.to_stream(scope).as_collection();
        (AppendInput { time: T::minimum(), waiting: Vec::new(), handle }, Appends(rows))
    }

    /// Takes in a row at a time.
    ///
    /// # Panics
    /// When the input was advanced past that time.
    pub fn push(&mut self, row: D, time: T) {
        assert!(self.time <= time, "a row comes at {time:?} when {:?} was promised", self.time);
        if self.waiting.len() >= BATCH_ROWS {
            self.handle.send_batch(&mut self.waiting);
        }
        if self.waiting.capacity() == 0 {
            self.waiting.reserve(BATCH_ROWS);
        }
        self.waiting.push((row, time, ()));
    }

    /// Promises that no row will come before this time, as of the next [`AppendInput::flush`].
    ///
    /// # Panics
    /// When it lies before an earlier promise.
    pub fn advance_to(&mut self, time: T) {
        assert!(self.time <= time, "{time:?} is promised after {:?}", self.time);
        self.time = time;
    }

    /// Hands the rows that came, and the promise, to the dataflow.
    pub fn flush(&mut self) {
        self.handle.send_batch(&mut self.waiting);
        self.handle.advance_to(self.time.clone());
    }

    /// The time before which no row will come.
    pub fn time(&self) -> &T {
        &self.time
    }
}

impl<T: Timestamp, D: Clone + 'static> Drop for AppendInput<T, D> {
    fn drop(&mut self) {
        self.handle.send_batch(&mut self.waiting);
    }
}
