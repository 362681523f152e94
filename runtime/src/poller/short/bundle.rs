//! Bundles that end where they are taken: one check, one answer and one fence for all of their copies.
#![allow(unsafe_code, reason = "island: hands memory to an engine")]

use dmaring_engine::{Operation, Rights, Transfer};
use dmaring_ring::SubmissionEntry;

use super::super::{APPLICATION, Poller, notice, ops::Source};
use crate::{
    bundle::{self, Part},
    region::table::PlainMemory,
};

impl Poller {
    /// Carries out the copies of a bundle of the application's, if nothing else is asked for it. `false`: those that were made already
    /// are to be made again, with the others.
    #[inline]
    pub(super) fn carry_out_bundle(&mut self, entry: &SubmissionEntry) -> bool {
        let &SubmissionEntry { key, source, destination, length, .. } = entry;
        let Some(count) = bundle::count(entry.source_offset) else { return false };
        let Some(block) = self.shared.bundles.get(key.index) else { return false };
        block.fetch(count as usize);
        let kind = Source::Region(source, 0);
        let longest = self.shared.at_once.min(bundle::LONGEST);
        let Some(number) = self.lane_at_once(kind, destination, longest) else { return false };
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
        let transfers = self.short.transfers.get_mut(..count as usize);
        let Some(transfers) = transfers else { return false };
        let memory = (source, destination);
        let bytes = checked(transfers, block.parts(count as usize), memory, at_once);
        let Some(bytes) = bytes.filter(|&bytes| bytes == length) else { return false };
        // SAFETY: as in `carry_out`: (1) the ranges lie within regions that there are, with the rights for it, which this thread alone
        // says are quiet, between turns; (2) the addresses are those of the regions' mappings in this engine's domain; (3) `tell_short`
        // settles the lane before an end is shown, in this turn; (4) each of them was written by `checked`, just now.
        if !unsafe { lane.run_all(transfers) } {
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

/// Writes each transfer anew, of as many copies between two regions, and gives their bytes. `None`: one of them may not be made, or
/// there are fewer. By itself: among everything else its values would not stay in registers.
#[inline(never)]
fn checked(
    transfers: &mut [Transfer],
    mut parts: impl Iterator<Item = Part>,
    (source, destination): (PlainMemory, PlainMemory),
    longest: u64,
) -> Option<u64> {
    let mut bytes = 0;
    for transfer in transfers {
        let Part { source_offset, destination_offset, length } = parts.next()?;
        let is_whole = length.wrapping_sub(1) < longest
            && source.has(source_offset, length)
            && destination.has(destination_offset, length);
        if !is_whole {
            return None;
        }
        let operation = Operation::Copy { source: source.at(source_offset) };
        let destination = destination.at(destination_offset);
        *transfer = Transfer { operation, destination, length };
        bytes += length;
    }
    Some(bytes)
}

#[cfg(all(test, not(miri)))]
mod tests {
    use dmaring_engine::Iova;
    use proptest::{collection::vec, prelude::*};

    use super::{super::Short, *};
    use crate::{
        bundle::{Blocks, MOST},
        region::table::{RegionFacts, RegionTable},
    };

    const LENGTHS: [u64; 2] = [4096, 1 << 20];
    const BASES: [u64; 2] = [0x10_0000, 0x8000_0000];
    const LONGEST: u64 = 512;

    /// Offsets by how far behind the region's last byte the range ends, with its length: seldom one that may not be.
    fn part() -> impl Strategy<Value = ([i64; 2], u64)> {
        let end = || prop_oneof![8 => -1024..=0i64, 1 => 1..3i64, 1 => Just(-(1 << 20))];
        let length = prop_oneof![8 => 1..=LONGEST, 1 => Just(0), 1 => LONGEST + 1..LONGEST + 3];
        ([end(), end()], length)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2048))]

        /// Whatever stands in the block: the transfers are of the copies, or there are none.
        #[test]
        fn every_transfer_lies_within_its_regions(parts in vec(part(), 1..=MOST)) {
            let table = RegionTable::new(1);
            let [source, destination] = [0, 1].map(|side| {
                let facts = RegionFacts::new(LENGTHS[side], Rights::ReadWrite, false);
                let key = table.publish(facts, &[Iova::new(BASES[side])]).unwrap();
                table.plain_memory(key, 0, Rights::ReadWrite).unwrap()
            });
            let parts = parts.into_iter().map(|(ends, length)| {
                let [from, to] = [0, 1].map(|side| {
                    LENGTHS[side].wrapping_add_signed(ends[side]).wrapping_sub(length)
                });
                let (source_offset, destination_offset) = (from % Part::END, to);
                Part { source_offset, destination_offset, length }
            });
            let parts: Vec<_> = parts.collect();
            let blocks = Blocks::new();
            let block = blocks.get_or_make(0).unwrap();
            block.beside(&parts.iter().map(|part| part.words()).collect::<Vec<_>>()).write();
            let mut room = Short::new(&[]).transfers;
            let transfers = &mut room[..parts.len()];
            let read = block.parts(parts.len());
            let bytes = checked(transfers, read, (source, destination), LONGEST);
            let within = |offset: u64, length, side: usize| {
                u128::from(offset) + u128::from(length) <= u128::from(LENGTHS[side])
            };
            let may_be = |part: &Part| {
                (1..=LONGEST).contains(&part.length)
                    && within(part.source_offset, part.length, 0)
                    && within(part.destination_offset, part.length, 1)
            };
            prop_assert_eq!(bytes.is_some(), parts.iter().all(may_be));
            if let Some(bytes) = bytes {
                prop_assert_eq!(bytes, parts.iter().map(|part| part.length).sum::<u64>());
                let expected = parts.iter().map(|part| Transfer {
                    operation: Operation::Copy { source: Iova::new(BASES[0] + part.source_offset) },
                    destination: Iova::new(BASES[1] + part.destination_offset),
                    length: part.length,
                });
                prop_assert_eq!(transfers, expected.collect::<Vec<_>>());
            }
        }
    }
}
