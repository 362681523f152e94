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
//! A vectored copy names every region in its list, from its submission until the whole of it has ended. The list is there as
//! long as the copy is anywhere, since its slot holds it. An operation whose bytes are being made durable is in the table
//! until they are, and so is one on another thread's engine until that has reported.

use dmaring_ring::{Key, Opcode, SubmissionEntry};

use super::{APPLICATION, Poller, ops::Source, port::Port};
use crate::{
    client::RingPair,
    quiesce::{Order, Progress, Verdict},
};

impl Poller {
    /// Answers those who wait for a region to be quiet, where it is.
    #[cold]
    pub(super) fn quiesce_regions(&mut self) {
        self.quiescing.append(&mut self.shared.quiesce.take());
        for mut order in std::mem::take(&mut self.quiescing) {
            self.advance(&mut order);
            match self.verdict(&order) {
                Some(verdict) => {
                    self.shared.regions.retire(order.key);
                    order.answer(verdict);
                }
                None => self.quiescing.push(order),
            }
        }
    }

    fn advance(&self, order: &mut Order) {
        let client = &self.shared.client;
        let taken = self.shared.counters.runtime.submitted.get();
        if order.progress == Progress::Line
            && !client.any_waiting(|entry| self.names(entry, order.key))
        {
            order.progress = Progress::Ring { taken };
        }
        if let Progress::Ring { taken: before } = order.progress {
            let length = client.pair.submission_slots().len() as u64;
            let emptied = self.ports.get(APPLICATION).is_some_and(Port::is_drained);
            if emptied || taken.wrapping_sub(before) >= length {
                order.progress = Progress::Engines;
            }
        }
    }

    fn verdict(&self, order: &Order) -> Option<Verdict> {
        let mut busy = order.progress != Progress::Engines;
        let mut verdict = Verdict::Quiet;
        for (_, op) in self.ops.iter() {
            let source = match op.source {
                Source::Region(key, _) => key == order.key,
                Source::Segments(list) => self.lists(list, order.key),
                Source::Pattern(_) | Source::Nothing => false,
            };
            if source || op.destination.0 == order.key {
                if op.is_captive {
                    verdict = Verdict::Captive;
                } else {
                    busy = true;
                }
            }
        }
        (!busy).then_some(verdict)
    }

    fn names(&self, entry: &SubmissionEntry, region: Key) -> bool {
        let source = match entry.opcode {
            Opcode::COPY_VECTORED => self.lists(entry.source, region),
            _ => entry.source == region,
        };
        source || entry.destination == region
    }

    /// Whether a segment of this list names the region.
    fn lists(&self, list: Key, region: Key) -> bool {
        let segments = &self.shared.segments;
        (0..)
            .map_while(|number| segments.get(list, number))
            .any(|segment| segment.source == region || segment.destination == region)
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
