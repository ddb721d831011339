//! What all that runs views knows of one: its definition, its columns, and the changes that its dataflow makes.
//!
//! A view is a file with a static [`View`] in it and a line in [`crate::views`]. A view that a dataflow maintains takes one of
//! these forms, which differ in what a cut writes and how a table's rows follow from that:
//!
//! | form | a cut writes | the rows are |
//! |---|---|---|
//! | [`Form::Rows`] | rows that came and went: `_cut`, `_diff` | those whose differences sum to one |
//! | [`Form::Sums`] | what it adds to the sums of a key: `_cut` | the sums of each key whose last measure, a count, is not 0 |
//!
//! A view of the second form keeps no state at all: what a cut adds is all that there is to know.

use std::cell::RefCell;
use std::hash::Hash;
use std::rc::Rc;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use differential_dataflow::{ExchangeData, Hashable, VecCollection};
use operators::publish::Publisher;
use operators::{ByKey, ByVal, Expires, Records, arrange_forgetting};
use schemas::Tick;
use schemas::table::{Column, Columns};
use serde::{Deserialize, Serialize};
use timely::dataflow::ProbeHandle;
use timely::dataflow::operators::{Inspect, Probe};

use crate::attribution::touches::Forgetting;
use crate::changes::{AsArranged, Backlog, ChangeBacklog, Cutover, RowBacklog, Sum, SumBacklog, SumKey, ToRows};
use crate::event_row::EventRow;
use crate::horizon::Retention;
use crate::live::{Arranged, Kept, KeyRows, LiveRows, keys};
use crate::needs::Needs;
use crate::params::Params;
use crate::standing::Events;

/// What a view is.
pub struct View {
    /// Its name in the catalogue.
    pub name: &'static str,
    /// The question that it answers.
    pub question: &'static str,
    /// The columns that its rows are unique by.
    pub key: &'static [&'static str],
    /// What its rows are read by: one of these lists of columns.
    pub read_by: &'static [&'static [&'static str]],
    /// Raised when the dataflow's results change though the SQL's do not.
    pub code: u32,
    /// The views and tables that its SQL reads.
    pub reads: &'static [&'static str],
    /// The SQL that defines it over raw columns, in DataFusion's dialect.
    pub sql: fn(&Params) -> String,
    /// How a dataflow maintains it; none where it is SQL over other tables.
    pub maintained: Option<Maintained>,
}

/// How a dataflow maintains a view.
pub struct Maintained {
    /// What a cut writes.
    pub form: Form,
    /// The columns of a row.
    pub columns: &'static [Column],
    /// The columns of what a cut writes.
    pub schema: fn() -> SchemaRef,
    /// How far back it looks, where records are accepted as long as this says.
    pub needs: fn(&Params, Retention) -> Needs,
}

/// What a cut writes of a maintained view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// Rows that came and went.
    Rows,
    /// What is added to the sums of a key: so many last columns are sums, of which the last counts what was summed.
    Sums(usize),
}

impl Maintained {
    /// A view of rows of type `R`.
    pub const fn rows<R: Columns>(needs: fn(&Params, Retention) -> Needs) -> Maintained {
        Maintained { form: Form::Rows, columns: R::COLUMNS, schema: R::changelog, needs }
    }

    /// A log of sums by `K`.
    pub const fn sums<K, const N: usize>(needs: fn(&Params, Retention) -> Needs) -> Maintained
    where
        Sum<K, N>: Columns,
    {
        Maintained {
            form: Form::Sums(N),
            columns: <Sum<K, N> as Columns>::COLUMNS,
            schema: <Sum<K, N> as Columns>::sum_log,
            needs,
        }
    }
}

/// A key that is never final.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Lasting<K>(pub(crate) K);

impl<K> Expires<Tick> for Lasting<K> {
    fn expiry(&self) -> Tick {
        Tick::MAX
    }
}

/// The dataflow of a view as built in a scope of a worker: to be attached to whoever publishes and writes it.
pub struct Output<'scope>(Box<Attach<'scope>>);

type Attach<'scope> = dyn FnOnce(Option<&mut Publisher>, &ProbeHandle<Tick>, Cutover) -> Attached + 'scope;

/// The records of a worker that have a section of a view, and how its rows follow from that.
pub struct OfRecords<K, R, S: KeyRows> {
    /// The records.
    pub records: Records<K, R>,
    /// The section of one.
    pub section: fn(&R) -> &S::Section,
    /// How rows follow from it.
    pub rows: Arc<S>,
}

/// A view that is followed: its changes that wait for their cut, and what can be read meanwhile, of which view, where something can.
type Attached = (Box<dyn Backlog>, Option<(&'static str, Arc<dyn LiveRows>)>);

impl<'scope> Output<'scope> {
    /// Publishes the view, has the probe follow it, and keeps the changes that its table lacks.
    pub fn attach(self, publisher: &mut Publisher, probe: &ProbeHandle<Tick>, cutover: Cutover) -> Box<dyn Backlog> {
        self.attach_live(publisher, probe, cutover).0
    }

    /// The same, with what can be read of the view while it is maintained.
    pub fn attach_live(self, publisher: &mut Publisher, probe: &ProbeHandle<Tick>, cutover: Cutover) -> Attached {
        (self.0)(Some(publisher), probe, cutover)
    }

    /// Has the probe follow the view and keeps the changes that its table lacks. Nobody reads its rows meanwhile, so none are kept
    /// beyond what the dataflow itself asks for.
    pub fn attach_unread(self, probe: &ProbeHandle<Tick>, cutover: Cutover) -> Box<dyn Backlog> {
        (self.0)(None, probe, cutover).0
    }

    /// A view whose rows follow from what is arranged, which is published under its name, and by what it is read by.
    pub fn rows<K, V, R>(view: &'static View, arranged: Forgetting<'scope, K, V, ByKey>, to_rows: R) -> Output<'scope>
    where
        K: ExchangeData + Hashable<Output: Into<u64>> + Expires<Tick> + Send + Sync,
        V: ExchangeData + Send + Sync,
        R: ToRows<V>,
    {
        Output(Box::new(move |publisher, probe, cutover| {
            let rows = Arc::new(to_rows);
            let backlog = Rc::new(RefCell::new(RowBacklog::new(cutover, Arc::clone(&rows))));
            let pushed = Rc::clone(&backlog);
            arranged.stream.clone().inspect(move |batch| pushed.borrow_mut().push(batch)).probe_with(probe);
            // A trace that nobody holds is not maintained.
            let live = publisher.map(|publisher| {
                let (name, read_by) = (view.name, view.read_by);
                let by_key = format!("keys of {name}");
                let keys = keys(arranged.stream, &by_key, read_by, Arc::clone(&rows));
                let keys = arrange_forgetting(keys, &by_key, ByVal);
                keys.stream.probe_with(probe);
                let view = publisher.register(name, arranged.trace);
                let keys = publisher.register(&by_key, keys.trace);
                (name, Arc::new(Arranged { view, keys, read_by, rows }) as Arc<dyn LiveRows>)
            });
            (Box::new(backlog), live)
        }))
    }

    /// A view of rows that is read from its section of what is kept of a key, with the help of what a worker has for that: what is
    /// arranged of it is not published, and not kept once it is written.
    pub fn rows_of_records<K, V, R, C, S>(
        name: &'static str,
        arranged: Forgetting<'scope, K, V, ByKey>,
        to_rows: R,
        of_records: OfRecords<S::Key, C, S>,
    ) -> Output<'scope>
    where
        K: ExchangeData + Expires<Tick> + Send + Sync,
        V: ExchangeData + Send + Sync,
        R: ToRows<V>,
        C: Send + 'static,
        S: KeyRows<Key: ExchangeData + Hashable<Output: Into<u64>> + Eq + Send + Sync>,
    {
        let written = Output(Box::new(move |_, probe, cutover| {
            let backlog = Rc::new(RefCell::new(RowBacklog::new(cutover, Arc::new(to_rows))));
            let pushed = Rc::clone(&backlog);
            arranged.stream.inspect(move |batch| pushed.borrow_mut().push(batch)).probe_with(probe);
            (Box::new(backlog), None)
        }));
        written.with_records(name, of_records)
    }

    /// The same, and that view is read from its section of what is kept of a key.
    pub fn with_records<C, S>(self, of: &'static str, of_records: OfRecords<S::Key, C, S>) -> Output<'scope>
    where
        C: Send + 'static,
        S: KeyRows<Key: ExchangeData + Hashable<Output: Into<u64>> + Eq + Send + Sync>,
    {
        Output(Box::new(move |publisher, probe, cutover| {
            let (backlog, _) = (self.0)(None, probe, cutover);
            let live = publisher.map(|publisher| {
                let OfRecords { records, section, rows } = of_records;
                let view = publisher.register_records(of, records, rows);
                (of, Arc::new(Kept { view, section }) as Arc<dyn LiveRows>)
            });
            (backlog, live)
        }))
    }

    /// A view whose rows, by their keys, are there until they are taken back.
    pub fn rows_of_keys<K, R>(view: &'static View, rows: VecCollection<'scope, Tick, (K, R), isize>) -> Output<'scope>
    where
        K: ExchangeData + Hash + Send + Sync,
        R: Columns + ExchangeData + Send + Sync,
    {
        let rows = rows.map(|(key, row)| (Lasting(key), row));
        Output::rows(view, arrange_forgetting(rows, view.name, ByKey), AsArranged)
    }

    /// A view of rows that come and go, read from its table alone: they are kept until they are written.
    pub fn changes<R: SumKey + Columns>(rows: VecCollection<'scope, Tick, R, isize>) -> Output<'scope> {
        Output(Box::new(move |_, probe, cutover| {
            let backlog = Rc::new(RefCell::new(ChangeBacklog::new(cutover)));
            let pushed = Rc::clone(&backlog);
            let rows = rows.inner.inspect_batch(move |_, rows| pushed.borrow_mut().add(rows));
            rows.probe_with(probe);
            (Box::new(backlog), None)
        }))
    }

    /// A log of sums: what is added.
    pub fn additions<K: SumKey, const N: usize>(sums: VecCollection<'scope, Tick, Sum<K, N>, isize>) -> Output<'scope>
    where
        Sum<K, N>: Columns,
    {
        Output(Box::new(move |_, probe, cutover| {
            let backlog = Rc::new(RefCell::new(SumBacklog::new(cutover)));
            let added = Rc::clone(&backlog);
            let sums = sums.inner.inspect_batch(move |_, sums| {
                let mut backlog = added.borrow_mut();
                sums.iter().for_each(|(sum, tick, diff)| backlog.add(*tick, *diff, || Some(*sum)));
                backlog.end_step();
            });
            sums.probe_with(probe);
            (Box::new(backlog), None)
        }))
    }

    /// A log of sums: what standing events say, and what else is added.
    pub fn sums<K: SumKey, const N: usize>(
        events: Events<'scope>,
        of_event: impl Fn(&EventRow) -> Option<Sum<K, N>> + Clone + 'static,
        others: VecCollection<'scope, Tick, Sum<K, N>, isize>,
    ) -> Output<'scope>
    where
        Sum<K, N>: Columns,
    {
        Output(Box::new(move |_, probe, cutover| {
            let backlog = Rc::new(RefCell::new(SumBacklog::new(cutover)));
            let (arrived, corrected, added) = (Rc::clone(&backlog), Rc::clone(&backlog), Rc::clone(&backlog));
            let of_arrival = of_event.clone();
            let arrivals = events.arrivals.inspect_batch(move |_, steps| {
                let mut backlog = arrived.borrow_mut();
                for (event, tick) in steps.iter().flat_map(|step| step.events()) {
                    backlog.add(*tick, 1, || of_arrival(event));
                }
                backlog.end_step();
            });
            let corrections = events.corrections.inner.inspect_batch(move |_, corrections| {
                let mut backlog = corrected.borrow_mut();
                for (event, tick, diff) in corrections {
                    backlog.add(*tick, *diff, || of_event(event));
                }
                backlog.end_step();
            });
            let others = others.inner.inspect_batch(move |_, sums| {
                let mut backlog = added.borrow_mut();
                sums.iter().for_each(|(sum, tick, diff)| backlog.add(*tick, *diff, || Some(*sum)));
                backlog.end_step();
            });
            arrivals.probe_with(probe);
            corrections.probe_with(probe);
            others.probe_with(probe);
            (Box::new(backlog), None)
        }))
    }
}
