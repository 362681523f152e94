//! Which slots of the application have an operation with the poller, and how many.
//!
//! A slot has one operation at a time: its client arms it, pushes the entry, and arms it anew only after the poller has posted
//! the operation's end, before which the count here is 0 again. So an honest entry always finds a slot that has none, and that is
//! all that is asked for it: nothing that the client's cores write is read. Whether the key is in flight is not the poller's to
//! know; whoever may write to the ring may have operations carried out. What they may not do follows from elsewhere:
//!
//! - **Reach memory that is gone, or that goes.** An operation names regions that are there when it is admitted, and a region's
//!   memory stays until no operation in the poller's table names it (`quiet.rs`), whatever became of slots and handles. One that is in no
//!   table is over before that is asked.
//! - **Be taken for another.** Operations are told apart by their place in the table. The end of one is told under the key that it
//!   came with; one that is not in flight, or of an earlier or later life of the slot, is told to nobody: the reaper drops it.
//! - **Keep an honest future from its outcome.** Each entry that is taken is answered under its key, and an honest one's slot was
//!   armed before it was pushed. So one that finds operations of other lives at its slot is carried out beside them.
//!
//! What is left is an entry with the very key of an operation under way. One of the two is a peer's, and nobody can tell which: the
//! later is refused without an answer, so that the key of an operation that the poller has is of no use to end it early. If the
//! peer came first, having guessed a key that was to be, the honest one is refused, and its future resolves as the peer's operation
//! does, since that is told after the slot was armed. An operation whose future was told early does not count: that may have
//! been before.
//!
//! So a peer that guesses a key before its life begins may have an honest future told of the peer's operation, before its own
//! has ended or in place of it. Such a future resolves, wrongly, and its slot lets go of the regions; the memory stays where it is.
//!
//! Where the copies of a bundle are stands beside its slot (`bundle.rs`). A peer that names the slot may have that read as its own, or
//! overwritten with how its own copies ended: then the honest bundle is told of a peer's ends, or copies other ranges of the two regions that
//! it names, which the peer could have had copied as well.
//!
//! A count for each slot and no look beyond it: a load, a test and a store for an operation. Slots outnumber the ring's
//! entries once results lie unclaimed, so the counts grow with the table of slots, and never beyond it, whatever index an entry
//! names.

use dmaring_ring::Key;

use super::{APPLICATION, Poller, ops::ActiveOp};

#[derive(Debug)]
pub(super) struct Keys {
    counts: Vec<u32>,
}

impl Keys {
    /// With room for the slots that there are at first.
    pub(super) fn new(slots: u32) -> Self {
        Self { counts: vec![0; slots as usize] }
    }

    /// Enters an operation of the slot with this index, if it has none. `false`: it has, or there is no count for it yet.
    #[inline]
    pub(super) fn enter(&mut self, index: u32) -> bool {
        let Some(count) = self.counts.get_mut(index as usize).filter(|count| **count == 0) else {
            return false;
        };
        *count = 1;
        true
    }

    /// Whether the slot with this index has no operation.
    #[inline]
    pub(super) fn is_free(&self, index: u32) -> bool {
        self.counts.get(index as usize).is_some_and(|&count| count == 0)
    }

    /// Enters one more, of a slot that there is. Gives how many it had.
    #[cold]
    fn enter_beside(&mut self, index: u32) -> u32 {
        let index = index as usize;
        if index >= self.counts.len() {
            self.counts.resize((index + 1).next_power_of_two(), 0);
        }
        let Some(count) = self.counts.get_mut(index) else { return 0 };
        let before = *count;
        *count = before.saturating_add(1);
        before
    }

    /// An operation of the slot has ended.
    #[inline]
    pub(super) fn leave(&mut self, index: u32) {
        if let Some(count) = self.counts.get_mut(index as usize) {
            *count = count.saturating_sub(1);
        }
    }
}

impl Poller {
    /// Enters an operation whose slot has one, or has no count yet. `false`: there is no such slot, or its operation
    /// under way has the same key.
    #[cold]
    pub(super) fn enter_beside(&mut self, key: Key) -> bool {
        if self.shared.client.inflight.slot(key).is_none() {
            return false;
        }
        let same = |op: &ActiveOp| op.port == APPLICATION && op.key == key && !op.told_early;
        if self.ops.iter().any(|(_, op)| same(op)) {
            return false;
        }
        if self.keys.enter_beside(key.index) > 0 {
            // Whichever of them is a peer's.
            self.shared.counters.runtime.violations.add(1);
        }
        true
    }
}

#[cfg(all(test, not(miri)))]
mod peer_tests;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_has_one_operation_until_it_leaves() {
        let mut keys = Keys::new(2);
        for index in [0, 1] {
            assert!(keys.enter(index));
            assert!(!keys.enter(index));
        }
        keys.leave(1);
        assert!(!keys.enter(0));
        assert!(keys.enter(1));
    }

    #[test]
    fn one_that_has_more_is_free_when_the_last_has_left() {
        let mut keys = Keys::new(1);
        assert!(keys.enter(0));
        assert_eq!([keys.enter_beside(0), keys.enter_beside(0)], [1, 2]);
        for _ in 0..3 {
            assert!(!keys.enter(0));
            keys.leave(0);
        }
        assert!(keys.enter(0));
    }

    #[test]
    fn it_grows_and_forgets_nobody() {
        let mut keys = Keys::new(64);
        keys.enter(5);
        assert!(!keys.enter(64), "there is no count for it");
        keys.leave(u32::MAX);
        assert_eq!(keys.enter_beside(200), 0);
        assert_eq!((keys.enter(64), keys.enter(200), keys.enter(5)), (true, false, false));
        assert!(!keys.enter(u32::MAX));
    }
}
