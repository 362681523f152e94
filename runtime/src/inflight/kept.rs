//! A slot that stays at hand for the operation that comes next.
//!
//! Who awaits one copy after the other takes a slot off the free list and puts it back for each, and a permit likewise: four exchanges.
//! A slot whose operation was ended by its own future under the reap role is kept instead, with its permit, and taken by one exchange.
#![allow(unsafe_code, reason = "island: passes on the ownership of free slots")]

use dmaring_ring::Key;

use super::{
    slot::{Role, Ticket},
    table::{Inflight, NONE},
};
use crate::sync::{AtomicU32, Ordering};

/// A slot that leads no life and is on no list. Who has this has the slot.
#[derive(Debug)]
#[must_use = "a slot that is dropped is lost"]
pub(crate) struct FreeSlot(u32);

/// A place for one.
#[derive(Debug)]
pub(crate) struct Kept(AtomicU32);

impl Kept {
    pub(crate) fn new() -> Self {
        Self(AtomicU32::new(NONE))
    }

    /// Keeps a slot if none is kept. All others only take: who has the role, and finds the place empty, finds it so until it has put.
    #[inline]
    pub(crate) fn put(&self, _role: &mut Role, slot: FreeSlot) -> Result<(), FreeSlot> {
        if self.is_there() {
            return Err(slot);
        }
        self.0.store(slot.0, Ordering::Release);
        Ok(())
    }

    /// Takes it.
    #[inline]
    pub(crate) fn take(&self) -> Option<FreeSlot> {
        let index = self.0.load(Ordering::Relaxed);
        if index == NONE {
            return None;
        }
        let taken = self.0.compare_exchange(index, NONE, Ordering::AcqRel, Ordering::Relaxed);
        taken.is_ok().then_some(FreeSlot(index))
    }

    /// Whether one is kept.
    #[inline]
    pub(crate) fn is_there(&self) -> bool {
        self.0.load(Ordering::Relaxed) != NONE
    }
}

impl<C> Inflight<C> {
    /// As [`prepare`](Self::prepare) of an operation that has a permit, in a slot that the caller has, and whose future attends or does not.
    #[inline(always)]
    pub(crate) fn prepare_in(&self, slot: FreeSlot, cargo: C, attended: bool) -> Result<Key, C> {
        let FreeSlot(index) = slot;
        let Some(slot) = self.at(index) else { return Err(cargo) };
        let generation = if attended {
            // SAFETY: it is the caller's, until its key is given away.
            unsafe { slot.prepare_attended(cargo) }
        } else {
            // SAFETY: as above.
            unsafe { slot.prepare(cargo, true) }
        };
        Ok(Key { index, generation })
    }

    /// The future of an operation does not attend any more. If that was released before its life is over: gives the outcome and the
    /// slot, and hands what it had to `keep`.
    ///
    /// # Safety
    ///
    /// The caller is the one future of this life, has attended, and does not use the key again once it was given something.
    pub(crate) unsafe fn leave(
        &self,
        key: Key,
        keep: impl FnOnce(C),
    ) -> Option<(Ticket, FreeSlot)> {
        // SAFETY: as the caller swears.
        let ticket = unsafe { self.slot(key)?.leave(keep) }?;
        Some((ticket, FreeSlot(key.index)))
    }

    /// Ends the life of an operation that has ended, by its own future, where nobody else has to do with it. Gives the slot, and hands what
    /// the operation had to `keep`.
    ///
    /// # Safety
    ///
    /// The caller is the one future of this life and does not use the key again once it was given the slot.
    #[inline]
    pub(crate) unsafe fn end_own(
        &self,
        role: &mut Role,
        key: Key,
        keep: impl FnOnce(C),
    ) -> Option<FreeSlot> {
        // SAFETY: as the caller swears.
        unsafe { self.slot(key)?.end_own(role, key, keep) }.then_some(FreeSlot(key.index))
    }

    /// Puts a slot on the free list.
    pub(crate) fn put_back(&self, slot: FreeSlot) {
        self.push_free(slot.0, slot.0);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{super::chain::tests::free, *};

    #[test]
    fn one_slot_is_kept_and_taken_once() {
        let (table, kept, mut role) = (Inflight::new(4), Kept::new(), Role::new());
        let end = |role: &mut Role| {
            let key = table.prepare((), true).unwrap();
            // SAFETY: the key was given to nobody, and is not used again.
            unsafe { table.end_own(role, key, drop) }.unwrap()
        };
        assert!(kept.take().is_none());
        let slot = end(&mut role);
        assert!(kept.put(&mut role, slot).is_ok() && kept.is_there());
        let slot = end(&mut role);
        let refused = kept.put(&mut role, slot).unwrap_err();
        assert_eq!(free(&table), 2);
        table.put_back(refused);
        assert_eq!(free(&table), 3);
        let slot = kept.take().unwrap();
        assert!(kept.take().is_none() && !kept.is_there());
        let key = table.prepare_in(slot, (), false).unwrap();
        assert_eq!(table.current_key(key.index), Some(key), "it leads a life");
        assert_eq!(free(&table), 3);
    }

    #[test]
    fn a_life_of_which_others_know_is_not_ended() {
        let (table, mut role) = (Inflight::new(4), Role::new());
        let mut refused = |key| {
            // SAFETY: nobody else has the key, and it is used again only where nothing was given.
            unsafe { table.end_own(&mut role, key, drop) }.is_none()
        };
        let waiting = table.prepare((), false).unwrap();
        assert!(refused(waiting), "it is not armed");
        let armed = table.prepare((), true).unwrap();
        assert!(refused(Key { generation: armed.generation + 1, ..armed }), "another life's");
        // SAFETY: this is the one future of the life, and goes.
        unsafe { table.detach(armed) };
        assert!(refused(armed), "its future has gone");
        let early = table.prepare((), true).unwrap();
        let mut other = Role::new();
        assert!(table.slot(early).unwrap().resolve_early(&mut other, early, 7).is_some());
        assert!(refused(early), "its memory is in use, and its outcome was given out");
        let done = table.prepare((), true).unwrap();
        assert!(!refused(done));
        assert!(refused(done), "it has ended");
    }
}
