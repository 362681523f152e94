//! Which device address leads to which memory.

use std::collections::BTreeMap;

use dmaring_engine::Rights;
use dmaring_ioat_spec::device::SAFE_ADDRESS_BITS;

use super::{BusAccess, FaultReason, PAGE, Span};
use crate::random::Random;

/// The lowest address given out.
const BOTTOM: u64 = 0x10_0000_0000;

/// Bits of the addresses given out unless told otherwise: what every part and every IOMMU takes.
pub(super) const ADDRESS_BITS: u32 = SAFE_ADDRESS_BITS;
/// Those that can be asked for.
pub(super) const POSSIBLE_BITS: std::ops::RangeInclusive<u32> = 37..=57;

/// The widest gap between two mappings, in pages; there is always one.
const WIDEST_GAP: u64 = 16;

#[derive(Debug)]
pub(super) struct Table {
    live: BTreeMap<u64, Mapping>,
    cursor: u64,
    /// One past the highest address given out.
    top: u64,
    random: Random,
}

#[derive(Debug)]
struct Mapping {
    rights: Rights,
    span: Span,
}

impl Mapping {
    fn length(&self) -> u64 {
        self.span.length() as u64
    }
}

impl Table {
    /// An empty table for addresses of so many bits.
    pub(super) fn new(random: Random, bits: u32) -> Self {
        Self { live: BTreeMap::new(), cursor: BOTTOM, top: 1 << bits, random }
    }

    /// Bytes of addresses that are mapped, and that there are.
    pub(super) fn usage(&self) -> (u64, u64) {
        (self.live.values().map(Mapping::length).sum(), self.top - BOTTOM)
    }

    pub(super) fn len(&self) -> usize {
        self.live.len()
    }

    /// An unused address for `length` bytes, with at least one unmapped page on both sides: above the
    /// last one given, or in the lowest gap that is large enough once the top is reached.
    pub(super) fn place(&mut self, length: u64) -> Option<u64> {
        let gap = PAGE * (1 + self.random.below(WIDEST_GAP));
        let fresh = self.cursor + gap;
        if self.is_free(fresh, length) {
            return Some(fresh);
        }
        let ends = self.live.iter().map(|(start, mapping)| start + mapping.length());
        std::iter::once(BOTTOM)
            .chain(ends)
            .map(|end| end + PAGE)
            .find(|start| self.is_free(*start, length))
    }

    /// Leaves nothing above the last address given.
    #[cfg(test)]
    pub(super) fn use_up(&mut self) {
        self.cursor = self.top;
    }

    /// Maps `span` at an address that [`place`](Self::place) gave.
    pub(super) fn insert(&mut self, address: u64, rights: Rights, span: Span) {
        self.cursor = address + span.length() as u64;
        self.live.insert(address, Mapping { rights, span });
    }

    /// Takes back the mapping of exactly this address and length.
    pub(super) fn remove(&mut self, address: u64, length: usize) -> bool {
        let same = self.live.get(&address).is_some_and(|found| found.span.length() == length);
        same && self.live.remove(&address).is_some()
    }

    /// The memory behind bytes that cross no page.
    pub(super) fn translate(
        &self,
        address: u64,
        length: u64,
        access: BusAccess,
    ) -> Result<(&Span, usize), FaultReason> {
        let (start, mapping) =
            self.live.range(..=address).next_back().ok_or(FaultReason::Unmapped)?;
        let offset = address - start;
        let inside = offset.checked_add(length).is_some_and(|end| end <= mapping.length());
        match usize::try_from(offset) {
            Ok(_) if inside && access == BusAccess::Write && mapping.rights == Rights::Read => {
                Err(FaultReason::ReadOnly)
            }
            Ok(offset) if inside => Ok((&mapping.span, offset)),
            _ => Err(FaultReason::Unmapped),
        }
    }

    fn is_free(&self, start: u64, length: u64) -> bool {
        let Some(end) = start.checked_add(length).and_then(|end| end.checked_add(PAGE)) else {
            return false;
        };
        let before = self.live.range(..end).next_back();
        end <= self.top && before.is_none_or(|(at, mapping)| at + mapping.length() + PAGE <= start)
    }
}

#[cfg(test)]
mod tests {
    use super::{ADDRESS_BITS, BOTTOM, PAGE, Random, Table};

    const TOP: u64 = 1 << ADDRESS_BITS;

    #[test]
    fn addresses_have_gaps_follow_from_the_seed_and_end_at_the_top() {
        let place = |seed| Table::new(Random::new(seed), ADDRESS_BITS).place(PAGE);
        assert_eq!(place(1), place(1));
        assert!((0..32).any(|seed| place(seed) != place(1)));

        let mut table = Table::new(Random::new(3), ADDRESS_BITS);
        assert!(table.place(PAGE).unwrap() > BOTTOM);
        assert_eq!(table.place(TOP - BOTTOM), None);
        assert_eq!(table.place(u64::MAX), None);
        assert_eq!(table.place(TOP - BOTTOM - 2 * PAGE), Some(BOTTOM + PAGE));
        table.use_up();
        assert_eq!(table.place(PAGE), Some(BOTTOM + PAGE));
    }
}
