//! Slots that leave the free list together, for operations that are begun together, and come back together: one exchange
//! for all of them.
#![allow(unsafe_code, reason = "island: passes on the ownership of free slots")]

use std::mem;

use dmaring_ring::Key;

use super::table::{Inflight, NONE};
use crate::sync::Ordering;

/// How many slots are taken off the list with one exchange at most. Others' exchanges undo the walk along them, so it is short.
const TOGETHER: u32 = 16;

/// Slots that are free and on no list, linked from the first to the last.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(super) first: u32,
    pub(super) last: u32,
    pub(super) length: u32,
}

impl Default for Chain {
    fn default() -> Self {
        Self { first: NONE, last: NONE, length: 0 }
    }
}

impl Chain {
    /// How many there are.
    #[cfg_attr(loom, allow(dead_code, reason = "its user is not built under loom"))]
    pub(crate) fn len(&self) -> u32 {
        self.length
    }
}

/// Slots for operations that are begun together. What is left of them goes back when it is dropped.
pub(crate) struct Reserve<'a, C> {
    table: &'a Inflight<C>,
    /// How many operations are still to come, as far as is known.
    wanted: u32,
    slots: Chain,
}

impl<C> Reserve<'_, C> {
    /// As [`Inflight::prepare`].
    #[inline]
    pub(crate) fn prepare(&mut self, cargo: C, permit: bool) -> Result<Key, C> {
        if self.slots.length == 0 {
            // Written where they stay: who moved them would read together what was just written in parts.
            self.slots = self.table.take(self.wanted.min(TOGETHER)).unwrap_or_default();
        }
        let index = self.slots.first;
        // An empty chain begins with `NONE`, at which no slot is.
        let Some(slot) = self.table.at(index) else { return Err(cargo) };
        self.wanted = self.wanted.saturating_sub(1);
        self.slots.length -= 1;
        self.slots.first =
            if self.slots.length == 0 { NONE } else { slot.next.load(Ordering::Relaxed) };
        // SAFETY: the slot came off the free list, so it is ours until its key is given away.
        let generation = unsafe { slot.prepare(cargo, permit) };
        Ok(Key { index, generation })
    }
}

impl<C> Drop for Reserve<'_, C> {
    fn drop(&mut self) {
        self.table.give_back(&mut self.slots);
    }
}

impl<C> Inflight<C> {
    /// Slots for about so many operations, to be taken off the free list together.
    pub(crate) fn reserve(&self, wanted: u32) -> Reserve<'_, C> {
        Reserve { table: self, wanted, slots: Chain::default() }
    }

    /// As [`Inflight::detach`], but for the slot: if that is free now it goes to `chain`.
    ///
    /// # Safety
    ///
    /// The caller is the one future of this life and does not use the key again.
    pub(crate) unsafe fn detach_to(&self, key: Key, chain: &mut Chain) {
        let Some(slot) = self.slot(key) else { return };
        // SAFETY: as the caller swears.
        if !unsafe { slot.detach() } {
            return;
        }
        // SAFETY: `detach` came second, so the slot is ours.
        unsafe { slot.end_life() };
        slot.next.store(chain.first, Ordering::Relaxed);
        if chain.length == 0 {
            chain.last = key.index;
        }
        chain.first = key.index;
        chain.length += 1;
    }

    /// Puts the slots of a chain back on the free list.
    pub(crate) fn give_back(&self, chain: &mut Chain) {
        let Chain { first, last, length } = mem::take(chain);
        if length > 0 {
            self.push_free(first, last);
        }
    }
}

#[cfg(all(test, not(loom)))]
pub(crate) mod tests {
    use std::collections::HashSet;

    use super::*;

    fn table() -> Inflight<()> {
        Inflight::new(4)
    }

    /// How many slots are on the free list: all are taken off, and put back.
    pub(crate) fn free<C>(table: &Inflight<C>) -> u32 {
        let Some(mut chain) = table.pop_free(u32::MAX) else { return 0 };
        let length = chain.len();
        table.give_back(&mut chain);
        length
    }

    fn end(table: &Inflight<()>, keys: &[Key], chain: &mut Chain) {
        for &key in keys {
            // SAFETY: the key was given to nobody, so that no other future is there.
            let finished = unsafe { table.slot(key).unwrap().refuse(0) };
            assert!(!finished.ended.recycle);
            // SAFETY: as above, and the key is not used again.
            unsafe { table.detach_to(key, chain) };
        }
    }

    #[test]
    fn what_is_reserved_and_not_used_goes_back() {
        let table = table();
        let mut reserve = table.reserve(3);
        let key = reserve.prepare((), false).unwrap();
        assert_eq!(free(&table), 1, "three were taken together");
        drop(reserve);
        assert_eq!(free(&table), 3);
        end(&table, &[key], &mut Chain::default());
        drop(table.reserve(7));
        assert_eq!(free(&table), 3, "nothing is taken ahead, and a chain that is dropped is lost");
    }

    #[test]
    fn more_than_there_are_make_the_table_grow() {
        let table = table();
        let mut reserve = table.reserve(2);
        let keys: Vec<_> = (0..11).map(|_| reserve.prepare((), false).unwrap()).collect();
        drop(reserve);
        let distinct: HashSet<_> = keys.iter().map(|key| key.index).collect();
        assert_eq!((distinct.len(), table.slots().count()), (11, 12));
        assert!(distinct.iter().all(|&index| index < 12) && table.slot(Key::default()).is_some());
        assert_eq!(free(&table), 1);
        let mut chain = Chain::default();
        end(&table, &keys, &mut chain);
        assert_eq!((chain.len(), free(&table)), (11, 1));
        table.give_back(&mut chain);
        assert_eq!((chain.len(), free(&table)), (0, 12));
        table.give_back(&mut chain);
        assert_eq!(free(&table), 12);
    }

    #[test]
    fn a_slot_is_found_by_its_index_in_whatever_chunk() {
        let table = table();
        let mut reserve = table.reserve(1000);
        for _ in 0..100 {
            let key = reserve.prepare((), false).unwrap();
            assert_eq!(table.current_key(key.index), Some(key));
        }
        drop(reserve);
        let places: Vec<_> =
            table.slots().map(|(index, slot)| (index, std::ptr::from_ref(slot))).collect();
        assert_eq!(places.len(), 4 + 8 + 16 + 32 + 64);
        for (index, place) in places {
            assert_eq!(table.at(index).map(std::ptr::from_ref), Some(place));
        }
        assert!(table.at(124).is_none() && table.at(NONE).is_none());
    }
}
