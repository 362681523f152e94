//! When a region is quiet: nothing that was submitted names it any more.
//!
//! An operation goes from the line for a place in the ring (if there was none) to the ring, and from there to the poller's
//! table, where it stays until no engine, no staging buffer and nobody else has a part of it. The poller looks in this order:
//!
//! 1. No entry in the line names the region. Who submits to a region that is ending is refused, so none comes after.
//! 2. The ring has been emptied once since, or as many entries were taken from it as it has: whatever stood in it then has
//!    been taken, since it is first in, first out.
//! 3. No operation in the table names the region.
//!
//! Then the region's key is retired, here, between two admissions. An entry of a thread that had passed the application's own
//! check before the end began, and pushes only now, names nothing and is refused.
//!
//! An operation that an engine keeps which was lost is not waited for, since it may stay for ever. Where nothing but such is left
//! the verdict is its own, and the key is retired all the same: the memory stays, and nothing is carried out on it that comes
//! after the answer. What other engines have or will have of operations that were submitted before is finished first.
//!
//! A region without handles ends in the same way, but for the first two steps: no slot holds it, so the application has
//! nothing in the line or the ring that names it. What names it all the same was pushed by a peer (`keys.rs`), and is found in the
//! table, or refused later.
//!
//! So memory goes by the poller's table alone: whatever became of a slot, a region's memory is in its place for as long as
//! an operation here names it. Short operations, which are in no table, begin and end within one turn, in which this is asked once,
//! at the beginning (`short.rs`).
//!
//! A vectored copy names every region in its list, from its submission until the whole of it has ended. The list is there as
//! long as the copy is anywhere, since its slot holds it; where a peer had the slot let go, the list is gone, no further segment of
//! it begins, and what is under way is in the table piece by piece. An operation whose bytes are being made durable is in the table
//! until they are, and so is one on another thread's engine until that has reported.

use std::collections::HashMap;

use dmaring_ring::{Key, Opcode, SubmissionEntry};

use super::{APPLICATION, Poller, ops::Source, port::Port};
use crate::{
    client::RingPair,
    quiesce::{Order, Progress, Verdict},
};

/// What the table says of a region.
#[derive(Clone, Copy, Debug, Default)]
struct Found {
    /// An operation on it is under way, and will end.
    is_busy: bool,
    /// A lost engine keeps one.
    is_captive: bool,
}

type FoundOf = HashMap<Key, Found>;

impl Poller {
    /// Answers those who wait for a region to be quiet, where it is: all of them by one pass over the operations.
    #[cold]
    pub(super) fn quiesce_regions(&mut self) {
        self.quiescing.append(&mut self.shared.quiesce.take());
        let found = self.find_operations();
        // What is not answered stays in its place, so that a panic here answers nobody before the engines have stopped.
        let mut place = 0;
        while let Some(order) = self.quiescing.get(place) {
            let progress = self.progress(order);
            let found = found.get(&order.key).copied().unwrap_or_default();
            if progress == Progress::Engines && !found.is_busy {
                let order = self.quiescing.swap_remove(place);
                self.shared.regions.retire(order.key);
                order.answer(if found.is_captive { Verdict::Captive } else { Verdict::Quiet });
                continue;
            }
            if let Some(order) = self.quiescing.get_mut(place) {
                order.progress = progress;
            }
            place += 1;
        }
    }

    /// How far an order has come.
    fn progress(&self, order: &Order) -> Progress {
        let client = &self.shared.client;
        let taken = self.ports.get(APPLICATION).map_or(0, Port::taken);
        let mut progress = order.progress;
        if progress == Progress::Line && !client.any_waiting(|entry| self.names(entry, order.key)) {
            progress = Progress::Ring { taken };
        }
        if let Progress::Ring { taken: before } = progress {
            let length = client.pair.submission_slots().len() as u64;
            let emptied = self.ports.get(APPLICATION).is_some_and(Port::is_drained);
            if emptied || taken.wrapping_sub(before) >= length {
                progress = Progress::Engines;
            }
        }
        progress
    }

    /// What is under way on the regions that are to end.
    fn find_operations(&self) -> FoundOf {
        let nothing = |order: &Order| (order.key, Found::default());
        let mut found: FoundOf = self.quiescing.iter().map(nothing).collect();
        for (_, op) in self.ops.iter() {
            let mut note = |region| {
                if let Some(found) = found.get_mut(&region) {
                    found.is_busy |= !op.is_captive;
                    found.is_captive |= op.is_captive;
                }
            };
            note(op.destination.0);
            match op.source {
                Source::Region(region, _) | Source::Bundle(region, _) => note(region),
                Source::Segments(list) => self.listed(list).for_each(note),
                Source::Pattern(_) | Source::Nothing => {}
            }
        }
        found
    }

    fn names(&self, entry: &SubmissionEntry, region: Key) -> bool {
        let source = match entry.opcode {
            Opcode::COPY_VECTORED => self.listed(entry.source).any(|named| named == region),
            _ => entry.source == region,
        };
        source || entry.destination == region
    }

    /// The regions that the segments of a list name.
    fn listed(&self, list: Key) -> impl Iterator<Item = Key> {
        (0..)
            .map_while(move |number| self.shared.segments.get(list, number))
            .flat_map(|segment| [segment.source, segment.destination])
    }
}

#[cfg(all(test, not(loom), not(miri)))]
mod tests {
    use dmaring_engine::{Status, StatusKind};
    use dmaring_manual::ManualEngine;
    use futures::executor::block_on;

    use crate::{ErrorKind, Runtime};

    #[test]
    fn the_key_of_a_region_that_an_engine_keeps_names_nothing() {
        let (engine, control) = ManualEngine::new();
        let runtime = Runtime::builder().engine(engine).build().unwrap();
        let region = runtime.allocate(4096).unwrap();
        let copy = region.copy(0, 64, 64).submit();
        control.wait_for_submitted(1);
        control.set_stuck(Some(Status { kind: StatusKind::Hang, bits: 0 }));
        assert_eq!(block_on(copy).unwrap_err().kind(), ErrorKind::EngineLost);
        let (regions, key) = (&region.0.shared.regions, region.0.key);
        assert!(regions.facts(key).is_some());
        assert_eq!(block_on(region.close()).unwrap_err().kind(), ErrorKind::EngineLost);
        assert_eq!(regions.facts(key), None, "the poller would admit operations");
        assert_eq!(control.domain().live(), 1, "its memory stays mapped");
    }
}
