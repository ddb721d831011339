//! What [`keyed_sections`] is made of: several that keep something of one key, in one record and one visit.
//!
//! [`keyed_sections`]: crate::keyed_sections

use differential_dataflow::consolidation::consolidate_updates;
use differential_dataflow::{AsCollection, VecCollection};
use timely::communication::Pull;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::Message;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::InputCapability;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::generic::{InputHandleCore, OutputBuilder};
use timely::progress::operate::FrontierInterest;

/// Ticks of the dataflow.
type Tick = u64;
/// Changes of a step.
type Changes<R> = Vec<(R, Tick, isize)>;
/// What changes.
pub type Changing<'scope, R> = VecCollection<'scope, Tick, R, isize>;

/// An operator that takes changes apart, and where they come in.
pub fn apart<'scope, R: Clone + 'static>(
    made: Changing<'scope, R>,
) -> (OperatorBuilder<'scope, Tick>, InputHandleCore<Tick, Changes<R>, impl Pull<Message<Tick, Changes<R>>> + use<R>>) {
    let mut builder = OperatorBuilder::new("parts".to_owned(), made.inner.scope());
    let input = builder.new_input(made.inner, Pipeline);
    builder.set_notify_for(0, FrontierInterest::Never);
    (builder, input)
}

/// What one of several has made, and where it goes.
pub struct Part<R: Clone + 'static> {
    output: OutputBuilder<Tick, CapacityContainerBuilder<Changes<R>>>,
    changes: Changes<R>,
}

impl<R: Clone + Ord + 'static> Part<R> {
    /// An output of an operator, and what comes from it.
    pub fn new<'scope>(builder: &mut OperatorBuilder<'scope, Tick>) -> (Part<R>, Changing<'scope, R>) {
        let (output, stream) = builder.new_output();
        (Part { output: OutputBuilder::from(output), changes: Vec::new() }, stream.as_collection())
    }

    /// Has a change go with the next.
    #[inline]
    pub fn push(&mut self, row: R, tick: Tick, diff: isize) {
        self.changes.push((row, tick, diff));
    }

    /// Lets the changes go that do not cancel.
    pub fn send(&mut self, capability: &InputCapability<Tick>) {
        consolidate_updates(&mut self.changes);
        if !self.changes.is_empty() {
            self.output.activate().session(capability).give_container(&mut self.changes);
            self.changes.clear();
        }
    }
}

/// Declares several that keep something of one key, each in its own section of one record, and may be left out: the struct of what each
/// does, that of what each keeps, and that of what comes of each. See [`Keyed`](crate::Keyed).
///
/// ```
/// # use operators::{Keyed, keyed_sections};
/// # #[derive(Clone)]
/// # pub struct Sum;
/// # impl Keyed for Sum {
/// #     type Key = u64;
/// #     type Event = i64;
/// #     type Record = i64;
/// #     type Output = (u64, i64);
/// #     fn on_event(&mut self, key: u64, sum: &mut i64, more: &i64, diff: isize, _: u64, out: &mut impl FnMut((u64, i64), isize)) {
/// #         out((key, *sum), -1);
/// #         *sum += more * diff as i64;
/// #         out((key, *sum), 1);
/// #     }
/// #     fn on_timer(&mut self, _: u64, _: &mut i64, _: u64, _: &mut impl FnMut((u64, i64), isize)) {}
/// #     fn due(&self, _: &i64) -> Option<u64> { None }
/// #     fn is_empty(&self, sum: &i64) -> bool { *sum == 0 }
/// # }
/// keyed_sections! {
///     /// What accounts add up.
///     Accounts of (u64, i64) keep Account, make Made in Parts {
///         /// What was paid.
///         paid, Paid: Sum;
///         /// What is owed.
///         owed, Owed: Sum;
///     }
/// }
/// let accounts = Accounts { paid: Some(Sum), owed: None };
/// assert!(accounts.is_empty(&Account::default()));
/// ```
#[macro_export]
macro_rules! keyed_sections {
    (
        $(#[$about:meta])*
        $Logic:ident of ($Key:ty, $Event:ty) keep $Record:ident, make $Made:ident in $Parts:ident {
            $($(#[$what:meta])* $name:ident, $Variant:ident: $Section:ty;)*
        }
    ) => {
        $(#[$about])*
        pub struct $Logic {
            $($(#[$what])* pub $name: Option<$Section>,)*
        }

        /// What is kept of a key: a section each.
        #[derive(Clone, Default)]
        pub struct $Record {
            $($(#[$what])* pub $name: <$Section as $crate::Keyed>::Record,)*
        }

        /// What follows from one of them.
        #[derive(Clone)]
        pub enum $Made {
            $($(#[$what])* $Variant(<$Section as $crate::Keyed>::Output),)*
        }

        /// What follows from each of them.
        #[derive(Clone)]
        pub struct $Parts<'scope> {
            $($(#[$what])* pub $name: $crate::sections::Changing<'scope, <$Section as $crate::Keyed>::Output>,)*
        }

        impl<'scope> $Parts<'scope> {
            /// Takes apart what follows from all of them.
            pub fn of(made: $crate::sections::Changing<'scope, $Made>) -> Self {
                let (mut builder, mut input) = $crate::sections::apart(made);
                $(let $name = $crate::sections::Part::new(&mut builder);)*
                let parts = $Parts { $($name: $name.1,)* };
                $(let mut $name = $name.0;)*
                builder.build(move |_| {
                    move |_| {
                        input.for_each(|capability, made| {
                            for (made, tick, diff) in made.drain(..) {
                                match made {
                                    $($Made::$Variant(row) => $name.push(row, tick, diff),)*
                                }
                            }
                            $($name.send(&capability);)*
                        });
                    }
                });
                parts
            }
        }

        impl $crate::Keyed for $Logic {
            type Key = $Key;
            type Event = $Event;
            type Record = $Record;
            type Output = $Made;

            fn on_event(
                &mut self,
                key: $Key,
                record: &mut $Record,
                event: &$Event,
                diff: isize,
                now: u64,
                out: &mut impl FnMut($Made, isize),
            ) {
                $(if let Some(logic) = &mut self.$name {
                    let out = &mut |row, diff| out($Made::$Variant(row), diff);
                    logic.on_event(key, &mut record.$name, event, diff, now, out);
                })*
            }

            fn after_events(&mut self, key: $Key, record: &mut $Record, now: u64, out: &mut impl FnMut($Made, isize)) {
                $(if let Some(logic) = &mut self.$name {
                    let out = &mut |row, diff| out($Made::$Variant(row), diff);
                    logic.after_events(key, &mut record.$name, now, out);
                })*
            }

            fn on_timer(&mut self, key: $Key, record: &mut $Record, now: u64, out: &mut impl FnMut($Made, isize)) {
                $(if let Some(logic) = &mut self.$name {
                    logic.on_timer(key, &mut record.$name, now, &mut |row, diff| out($Made::$Variant(row), diff));
                })*
            }

            fn end_of_tick(&mut self, out: &mut impl FnMut($Made, isize)) {
                $(if let Some(logic) = &mut self.$name {
                    logic.end_of_tick(&mut |row, diff| out($Made::$Variant(row), diff));
                })*
            }

            fn due(&self, record: &$Record) -> Option<u64> {
                let due = [$(self.$name.as_ref().and_then(|logic| logic.due(&record.$name)),)*];
                due.into_iter().flatten().min()
            }

            fn is_empty(&self, record: &$Record) -> bool {
                $(self.$name.as_ref().is_none_or(|logic| logic.is_empty(&record.$name)))&&*
            }

            fn bytes(&self, record: &$Record) -> usize {
                [$(self.$name.as_ref().map_or(0, |logic| logic.bytes(&record.$name)),)*].into_iter().sum()
            }
        }
    };
}
