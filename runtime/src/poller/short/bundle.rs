//! Bundles that end where they are taken: one check, one answer and one fence for all of their copies.
#![allow(unsafe_code, reason = "island: hands memory to an engine")]

use arrayvec::ArrayVec;
use dmaring_engine::{Operation, Rights, Transfer};
use dmaring_ring::SubmissionEntry;

use super::super::{APPLICATION, Poller, notice, ops::Source};
use crate::bundle::{self, MOST};

impl Poller {
    /// Carries out the copies of a bundle of the application's, if nothing else is asked for it. `false`: those that were made already
    /// are to be made again, with the others.
    #[inline]
    pub(super) fn carry_out_bundle(&mut self, entry: &SubmissionEntry) -> bool {
        let &SubmissionEntry { key, source, destination, length, .. } = entry;
        let Ok(count) = u32::try_from(entry.source_offset) else { return false };
        let kind = Source::Region(source, 0);
        let longest = self.shared.at_once.min(bundle::LONGEST);
        let Some(number) = self.lane_at_once(kind, destination, longest) else { return false };
        let Some(block) = self.shared.bundles.get(key.index) else { return false };
        let Some(lane) = self.lanes.get_mut(number) else { return false };
        let line = &lane.line;
        if !line.recovery.is_fed() || !line.is_idle() {
            return false;
        }
        let regions = &self.shared.regions;
        let memory = |region, rights| regions.plain_memory(region, line.domain, rights);
        let at_once = line.capabilities.at_once;
        let Some(source) = memory(source, Rights::Read) else { return false };
        let Some(destination) = memory(destination, Rights::ReadWrite) else { return false };
        let Some(port) = self.ports.get_mut(APPLICATION) else { return false };
        let since = if port.bundles.is_next_short() { Some(self.shared.nanos()) } else { None };
        let (mut transfers, mut bytes) = (ArrayVec::<_, MOST>::new(), 0);
        for part in block.parts(count as usize) {
            let (Some(source), Some(destination)) = (
                source.at(part.source_offset, part.length),
                destination.at(part.destination_offset, part.length),
            ) else {
                return false;
            };
            let operation = Operation::Copy { source };
            let transfer = Transfer { operation, destination, length: part.length };
            if part.length.wrapping_sub(1) >= at_once || transfers.try_push(transfer).is_err() {
                return false;
            }
            bytes += part.length;
        }
        if transfers.is_empty() || transfers.len() != count as usize || bytes != length {
            return false;
        }
        // SAFETY: as in `carry_out`: (1) the ranges lie within regions that there are, with the rights for it, which this thread alone
        // says are quiet, between turns; (2) the addresses are those of the regions' mappings in this engine's domain; (3) `tell_short`
        // settles the lane before an end is shown, in this turn.
        if !unsafe { lane.run_all(&transfers) } {
            // Some may have been carried out, and nothing is told of them here.
            lane.settle();
            return false;
        }
        port.moved(bytes.max(notice::BYTES_PER_TURN));
        port.post(key, Ok(()));
        let weight = port.bundles.weigh_together(count);
        let counters = &self.shared.counters;
        let copies = u64::from(count);
        if let Some(engine) = counters.engines.get(number) {
            engine.transfers.add(copies);
            engine.bytes.add(bytes);
        }
        counters.runtime.submitted.add(copies);
        counters.runtime.completed.add(copies);
        counters.runtime.bytes.add(bytes);
        if let (Some(since), Some(weight)) = (since, weight) {
            self.measure_short(since, weight, number);
        }
        self.short.count(count, bytes);
        if self.short.is_to_be_told() {
            self.tell_short();
        }
        true
    }
}
