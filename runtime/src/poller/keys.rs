//! Which slots of the application have an operation with the poller.
//!
//! A slot has one operation at a time, and its end gives the slot's regions back. An entry that names a slot whose operation is
//! under way is nobody's but a peer's that writes to the ring: were it taken, its end would be told as that of the other, whose
//! memory an engine may still be at. So it is refused, and nothing is posted for it. So is one whose key is not in flight: no slot
//! would hold its regions while an engine is at them. A client arms the slot before it pushes the entry, by whose publication
//! the poller sees the slot armed, and nothing ends the operation before the poller has taken the entry: an honest entry is always
//! in flight.
//!
//! One bit for each slot, and one look at the slot's state: some twenty instructions for an operation. Slots outnumber the
//! ring's entries once results lie unclaimed, so the bits grow with the table of slots, and never beyond it, whatever index an
//! entry names.

const BITS: u32 = u64::BITS;

#[derive(Debug)]
pub(super) struct Keys {
    words: Vec<u64>,
}

/// What became of a key that was entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entered {
    /// It is in.
    New,
    /// It was in before.
    Again,
    /// There is no bit for it yet.
    Beyond,
}

impl Keys {
    /// With room for the slots that there are at first.
    pub(super) fn new(slots: u32) -> Self {
        Self { words: vec![0; slots.div_ceil(BITS) as usize] }
    }

    /// Enters the slot with this index.
    #[inline]
    pub(super) fn enter(&mut self, index: u32) -> Entered {
        let Some(word) = self.words.get_mut((index / BITS) as usize) else {
            return Entered::Beyond;
        };
        let bit = 1 << (index % BITS);
        let before = *word;
        *word = before | bit;
        if before & bit == 0 { Entered::New } else { Entered::Again }
    }

    /// Makes room for the slot with this index: there is one.
    #[cold]
    pub(super) fn grow(&mut self, index: u32) {
        let needed = (index / BITS) as usize + 1;
        if needed > self.words.len() {
            self.words.resize(needed.next_power_of_two(), 0);
        }
    }

    /// The slot's operation has ended.
    #[inline]
    pub(super) fn leave(&mut self, index: u32) {
        if let Some(word) = self.words.get_mut((index / BITS) as usize) {
            *word &= !(1 << (index % BITS));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_in_once_and_leaves() {
        let mut keys = Keys::new(2);
        for index in [0, 1, 63] {
            assert_eq!(keys.enter(index), Entered::New);
            assert_eq!(keys.enter(index), Entered::Again);
        }
        keys.leave(1);
        assert_eq!(keys.enter(0), Entered::Again);
        assert_eq!(keys.enter(1), Entered::New);
    }

    #[test]
    fn it_grows_and_forgets_nobody() {
        let mut keys = Keys::new(64);
        keys.enter(5);
        assert_eq!(keys.enter(64), Entered::Beyond);
        keys.leave(u32::MAX);
        keys.grow(200);
        assert_eq!((keys.enter(64), keys.enter(200), keys.enter(5)), {
            (Entered::New, Entered::New, Entered::Again)
        });
        assert_eq!(keys.enter(u32::MAX), Entered::Beyond);
    }
}

/// A peer that writes entries into the ring.
#[cfg(all(test, not(miri)))]
mod peer_tests {
    use std::{
        task::{Context, Poll, Waker},
        thread,
        time::{Duration, Instant},
    };

    use dmaring_manual::{ManualEngine, Recovery};
    use dmaring_ring::{Key, Opcode, SubmissionEntry, submission};
    use futures::{FutureExt, executor::block_on};

    use crate::{Copy, Idle, Region, Runtime, client::RingPair};

    fn eventually(what: &str, condition: impl Fn() -> bool) {
        let end = Instant::now() + Duration::from_secs(60);
        while !condition() {
            assert!(Instant::now() < end, "{what}");
            thread::yield_now();
        }
    }

    fn is_pending(copy: &mut Copy) -> bool {
        matches!(copy.poll_unpin(&mut Context::from_waker(Waker::noop())), Poll::Pending)
    }

    /// Writes a fill of `region` into the ring, with another operation's key.
    fn push(region: &Region, key: Key, length: u64) {
        let entry = SubmissionEntry {
            opcode: Opcode::FILL,
            destination: region.0.key,
            length,
            key,
            ..SubmissionEntry::default()
        };
        let shared = &region.0.shared;
        let pair = &shared.client.pair;
        submission::push(pair.header(), pair.submission_slots(), &[entry]).unwrap();
        shared.nudge_poller();
    }

    #[test]
    fn an_entry_with_the_key_of_one_under_way_is_refused_and_ends_nothing() {
        let (engine, control) = ManualEngine::new();
        let idle = Idle::Adaptive { spin: Duration::ZERO, park_after: Duration::from_secs(60) };
        let runtime = Runtime::builder().engine(engine).idle(idle).ring_entries(8).build().unwrap();
        let [region, other] = [(); 2].map(|()| runtime.allocate(4096).unwrap());
        let mut copy = region.copy(0, 64, 64).submit();
        control.wait_for_submitted(1);
        let inflight = &region.0.shared.client.inflight;
        let key = inflight
            .slots()
            .filter_map(|(index, slot)| {
                inflight.current_key(index).filter(|&key| slot.is_in_flight(key))
            })
            .next()
            .unwrap();
        // One that would be carried out, one that would be refused, one of another life of the slot.
        push(&other, key, 64);
        push(&other, key, 0);
        push(&other, Key { generation: key.generation + 1, ..key }, 64);
        // One whose slot there is not.
        push(&other, Key { index: u32::MAX, generation: 1 }, 64);
        eventually("the refusals", || runtime.stats().violations == 4);
        control.wait_for_polls(10);
        assert!(is_pending(&mut copy));
        assert_eq!((control.submitted(), runtime.stats().submitted), (1, 1));
        drop(region);
        control.wait_for_polls(10);
        assert_eq!(control.domain().live(), 2, "the engine is at it");
        control.set_recovery(Recovery::Succeeds { steps: 0 });
        control.release();
        assert_eq!(block_on(copy).unwrap(), 64);
        for _ in 0..100 {
            assert_eq!(block_on(other.copy(0, 64, 64)).unwrap(), 64);
        }
        assert_eq!((runtime.stats().violations, control.violations()), (4, vec![]));
    }

    #[test]
    fn an_entry_with_a_key_that_is_not_in_flight_is_refused() {
        let (engine, control) = ManualEngine::new();
        let idle = Idle::Adaptive { spin: Duration::ZERO, park_after: Duration::from_secs(60) };
        let runtime = Runtime::builder().engine(engine).idle(idle).ring_entries(8).build().unwrap();
        let region = runtime.allocate(4096).unwrap();
        control.release();
        assert_eq!(block_on(region.copy(0, 64, 64)).unwrap(), 64);
        let inflight = &region.0.shared.client.inflight;
        let vacant = |index| inflight.current_key(index).unwrap();
        for index in [0, 7] {
            // Those that the next lives have, and had.
            let key = vacant(index);
            push(&region, key, 64);
            push(&region, Key { generation: key.generation.wrapping_sub(1), ..key }, 64);
        }
        eventually("the refusals", || runtime.stats().violations == 4);
        control.wait_for_polls(10);
        assert_eq!((control.submitted(), runtime.stats().submitted), (0, 1));
        // The slots are as before.
        for _ in 0..20 {
            assert_eq!(block_on(region.copy(0, 64, 64)).unwrap(), 64);
        }
        assert_eq!((runtime.stats().violations, control.violations()), (4, vec![]));
    }

    #[test]
    fn slots_beyond_the_first_ones_are_known_too() {
        let (engine, control) = ManualEngine::new();
        control.release();
        let runtime = Runtime::builder().engine(engine).ring_entries(2).build().unwrap();
        let region = runtime.allocate(4096).unwrap();
        // Results that nobody claims: each has a slot.
        let unclaimed: Vec<_> = (0..300).map(|_| region.copy(0, 64, 64).submit()).collect();
        eventually("their ends", || {
            region.0.shared.client.reap();
            runtime.stats().completed == 300
        });
        for copy in unclaimed {
            assert_eq!(block_on(copy).unwrap(), 64);
        }
        assert_eq!(runtime.stats().violations, 0);
    }
}
