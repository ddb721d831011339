//! When to merge so that what has expired goes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use differential_dataflow::logging::Logger;
use differential_dataflow::trace::implementations::spine_fueled::Spine;
use differential_dataflow::trace::{Batch, ExertionLogic, Trace, TraceReader};
use timely::dataflow::operators::generic::OperatorInfo;
use timely::order::{PartialOrder, TotalOrder};
use timely::progress::frontier::AntichainRef;
use timely::scheduling::Activator;

use super::Forgets;

/// The rows that a trace merges at a time when it does so to forget: well under a millisecond.
const EFFORT_ROWS: usize = 4096;

/// Differential's spine, which also merges when half of its rows have expired, without new input.
///
/// The spine alone merges as rows come in, so one that is idle, or whose largest batch holds a long history, would keep
/// what has expired. Exerting it does not rewrite its last batch: a merge needs two. But there are always two soon: as
/// time moves on, and nothing can expire before it does, the next batch comes, be it empty, and exertion carries that up
/// to the largest.
pub struct ForgettingSpine<B: Batch> {
    spine: Spine<B>,
    /// Whether to merge without new input; the spine's exertion logic reads it.
    due: Arc<AtomicBool>,
}

impl<B: Forgets<Time: TotalOrder> + Clone + 'static> ForgettingSpine<B> {
    /// Whether half of the rows that can be merged have expired, and there is something to merge them with.
    fn is_due(&mut self) -> bool {
        let Some(since) = self.spine.get_logical_compaction().as_option().cloned() else { return false };
        let mergeable = self.spine.get_physical_compaction().to_owned();
        let (mut batches, mut rows, mut expired) = (0, 0, 0);
        self.spine.map_batches(|batch| {
            if PartialOrder::less_equal(batch.upper(), &mergeable) {
                batches += 1;
                rows += batch.len();
                expired += batch.expired(&since);
            }
        });
        batches > 1 && expired > rows / 2
    }
}

impl<B: Batch + Clone + 'static> TraceReader for ForgettingSpine<B> {
    type Time = B::Time;
    type Batch = B;

    fn batches_through(&mut self, upper: AntichainRef<B::Time>) -> Option<Vec<B>> {
        self.spine.batches_through(upper)
    }

    fn set_logical_compaction(&mut self, frontier: AntichainRef<B::Time>) {
        self.spine.set_logical_compaction(frontier)
    }

    fn get_logical_compaction(&mut self) -> AntichainRef<'_, B::Time> {
        self.spine.get_logical_compaction()
    }

    fn set_physical_compaction(&mut self, frontier: AntichainRef<'_, B::Time>) {
        self.spine.set_physical_compaction(frontier)
    }

    fn get_physical_compaction(&mut self) -> AntichainRef<'_, B::Time> {
        self.spine.get_physical_compaction()
    }

    fn map_batches<F: FnMut(&B)>(&self, visit: F) {
        self.spine.map_batches(visit)
    }
}

impl<B: Forgets<Time: TotalOrder> + Clone + 'static> Trace for ForgettingSpine<B> {
    fn new(info: OperatorInfo, logging: Option<Logger>, activator: Option<Activator>) -> Self {
        let mut trace = ForgettingSpine { spine: Spine::new(info, logging, activator), due: Arc::default() };
        trace.set_exert_logic(Arc::new(|_| None));
        trace
    }

    fn exert(&mut self) {
        let due = self.is_due();
        self.due.store(due, Relaxed);
        self.spine.exert();
    }

    fn set_exert_logic(&mut self, logic: ExertionLogic) {
        let due = self.due.clone();
        let logic: ExertionLogic =
            Arc::new(move |layers| if due.load(Relaxed) { Some(EFFORT_ROWS) } else { logic(layers) });
        self.spine.set_exert_logic(logic);
    }

    fn insert(&mut self, batch: B) {
        self.spine.insert(batch)
    }

    fn close(&mut self) {
        self.spine.close()
    }
}
