//! How a consumer waits for the next entry with its processor's monitor, in place of a look at every turn.
//!
//! A monitor is armed on a cache line, and a wait then lasts until that line has been written since. The line is
//! that of the slot at the consumer's head: nobody but the producer that has claimed this position, or
//! will, writes there, and its last word there is the sequence that publishes the entry. Whoever publishes a later
//! position writes elsewhere, and need not be heard: entries are taken in order, so theirs wait for this one.
//!
//! | consumer                                   | producer                         |
//! |--------------------------------------------|----------------------------------|
//! | 1. [`Monitor::arm`] on the slot's sequence |                                  |
//! | 2. look at the sequence                    | a. push: store of the sequence   |
//! | 3. not published: [`Monitor::wait`]        |                                  |
//!
//! The line is one memory location to the caches, so its stores and these looks stand in one order. If (a) comes
//! before the arming, the look, which comes after it, sees the entry. If it comes after the arming, the monitor
//! notes it, and a wait that has begun ends, or one that has not does not begin. Had the look come first, an entry
//! published between it and the arming would be neither seen nor noted. So the producer need not know of the monitor,
//! and executes nothing for it: neither fence nor wake-up.
//!
//! Nothing rests on the time limit of a wait but what the line does not tell: the thread was switched out between
//! the arming and the wait, and others have armed the processor's one monitor meanwhile; a peer writes the ring's words
//! as it should not; and what comes by other ways than the ring.

use crate::{layout::SubmissionSlot, submission::Consumer, sync::AtomicU64};

/// A processor's monitor: one line at a time, watched for stores.
pub trait Monitor {
    /// Begins to watch the line of `word`.
    ///
    /// No later look of this thread at the line may come before it, neither by the processor's doing nor by the compiler's.
    fn arm(&mut self, word: &AtomicU64);

    /// Waits until the line of `word`, which was armed, has been written since, or for a limited time. May return early.
    fn wait(&mut self, word: &AtomicU64);
}

/// Waits until a producer writes the slot of the next entry, or as long as the monitor waits at most. Returns at once
/// where there is an entry.
///
/// What woke it need not have published an entry: the caller looks.
pub fn wait(consumer: &Consumer, slots: &[SubmissionSlot], monitor: &mut dyn Monitor) {
    let Some(word) = consumer.next_word(slots) else { return };
    monitor.arm(word);
    if consumer.is_empty(slots) {
        monitor.wait(word);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::{vec, vec::Vec};

    use super::*;
    use crate::{Header, Layout, SubmissionEntry, submission, sync::Ordering};

    /// Notes what it is asked for, and pushes an entry in between if it is to.
    #[derive(Default)]
    struct Noted<'a> {
        steps: Vec<&'static str>,
        value: u64,
        pushes: Option<(&'a Header, &'a [SubmissionSlot])>,
    }

    impl Monitor for Noted<'_> {
        fn arm(&mut self, word: &AtomicU64) {
            self.value = word.load(Ordering::Relaxed);
            self.steps.push("arm");
            if let Some((header, slots)) = self.pushes.take() {
                submission::push(header, slots, &[SubmissionEntry::default()]).unwrap();
            }
        }

        fn wait(&mut self, _word: &AtomicU64) {
            self.steps.push("wait");
        }
    }

    #[test]
    fn it_watches_the_slot_at_the_head_and_waits_only_while_that_is_empty() {
        let header = Header::new(Layout::new(2).unwrap());
        let slots: Vec<_> = (0..2).map(SubmissionSlot::new).collect();
        let mut consumer = Consumer::new();
        for position in 0..5 {
            let mut monitor = Noted::default();
            wait(&consumer, &slots, &mut monitor);
            assert_eq!((monitor.steps, monitor.value), (vec!["arm", "wait"], position));

            let mut monitor = Noted { pushes: Some((&header, &slots)), ..Noted::default() };
            wait(&consumer, &slots, &mut monitor);
            assert_eq!(monitor.steps, ["arm"], "pushed after the arming: the look sees it");
            assert!(consumer.pop(&slots).is_some());
        }
    }

    #[test]
    fn without_slots_it_does_not_wait() {
        let mut monitor = Noted::default();
        wait(&Consumer::new(), &[], &mut monitor);
        assert!(monitor.steps.is_empty());
    }
}
