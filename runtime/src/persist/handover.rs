//! The hand-over between the poller and whoever writes caches back: two rings of plain words, one each way.
//!
//! Each ring has one producer and one consumer. The producer writes the words of a place, then publishes it by storing
//! the tail (release); the consumer loads the tail (acquire), reads the words, then gives the place back by storing the
//! head (release), which the producer loads (acquire) before it uses the place again. So nobody reads a place that is
//! being written, and what the poller saw an engine do happens before the write-back of it.
//!
//! There is a place for every operation that the poller can have, so neither ring is ever full in health.
//!
//! A consumer that finds nothing sleeps by `thread::park` and is woken by `unpark`, whose token is not lost if it comes
//! between the look and the sleep.
//!
//! *Cancelled* is for the end: a poller that gives operations up says so before their regions are let go, and what is
//! cancelled is not touched any more. Memory is unmapped by the thread that writes back and by no other, so it is
//! either before a piece, and then it sees the word, or behind it.

use crate::sync::{AtomicU64, Ordering};

/// The words of a place.
pub(crate) const WORDS: usize = 5;

/// Operations on their way there, and their names on their way back.
#[derive(Debug)]
pub(crate) struct Handover {
    there: Ring<WORDS>,
    back: Ring<1>,
    cancelled: AtomicU64,
}

impl Handover {
    /// Room for `operations`.
    pub(crate) fn new(operations: usize) -> Self {
        let cancelled = AtomicU64::new(0);
        Self { there: Ring::new(operations), back: Ring::new(operations), cancelled }
    }

    /// Hands an operation over. Only the poller may. `false`: more than there can be.
    #[must_use]
    pub(crate) fn send(&self, words: [u64; WORDS]) -> bool {
        self.there.push(words)
    }

    /// The next operation handed over. Only the one who writes back may ask.
    pub(crate) fn receive(&self) -> Option<[u64; WORDS]> {
        self.there.pop()
    }

    /// Tells the end of an operation. Only the one who writes back may. `false`: more than were handed over.
    #[must_use]
    pub(crate) fn answer(&self, word: u64) -> bool {
        self.back.push([word])
    }

    /// The next answer. Only the poller may ask.
    pub(crate) fn next_answer(&self) -> Option<u64> {
        self.back.pop().map(|[word]| word)
    }

    /// Gives up every operation handed over, before the first of them lets go of its memory.
    pub(crate) fn cancel(&self) {
        self.cancelled.store(1, Ordering::Release);
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire) != 0
    }
}

/// One producer, one consumer. Positions count from 0 and do not wrap in practice.
#[derive(Debug)]
struct Ring<const N: usize> {
    places: Box<[[AtomicU64; N]]>,
    head: AtomicU64,
    tail: AtomicU64,
}

impl<const N: usize> Ring<N> {
    fn new(places: usize) -> Self {
        let place = || std::array::from_fn(|_| AtomicU64::new(0));
        Self {
            places: (0..places.max(1)).map(|_| place()).collect(),
            head: AtomicU64::new(0),
            tail: AtomicU64::new(0),
        }
    }

    fn push(&self, words: [u64; N]) -> bool {
        let tail = self.tail.load(Ordering::Relaxed);
        if tail - self.head.load(Ordering::Acquire) >= self.places.len() as u64 {
            return false;
        }
        let Some(place) = self.place(tail) else { return false };
        for (cell, word) in place.iter().zip(words) {
            cell.store(word, Ordering::Relaxed);
        }
        self.tail.store(tail + 1, Ordering::Release);
        true
    }

    fn pop(&self) -> Option<[u64; N]> {
        let head = self.head.load(Ordering::Relaxed);
        if head == self.tail.load(Ordering::Acquire) {
            return None;
        }
        let mut words = [0; N];
        for (word, cell) in words.iter_mut().zip(self.place(head)?) {
            *word = cell.load(Ordering::Relaxed);
        }
        self.head.store(head + 1, Ordering::Release);
        Some(words)
    }

    fn place(&self, position: u64) -> Option<&[AtomicU64; N]> {
        self.places.get(usize::try_from(position % self.places.len() as u64).ok()?)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::Handover;

    #[test]
    fn what_is_handed_over_comes_in_order_and_no_more_than_there_is_room_for() {
        let handover = Handover::new(2);
        for round in 0..3 {
            assert!(handover.send([round; 5]) && handover.send([round + 100; 5]));
            assert!(!handover.send([0; 5]), "there is room for two");
            assert_eq!(handover.receive(), Some([round; 5]));
            assert!(handover.send([round + 200; 5]));
            for next in [round + 100, round + 200] {
                assert_eq!(handover.receive(), Some([next; 5]));
                assert!(handover.answer(next));
                assert_eq!(handover.next_answer(), Some(next));
            }
            assert_eq!((handover.receive(), handover.next_answer()), (None, None));
        }
        assert!(!handover.is_cancelled());
        handover.cancel();
        assert!(handover.is_cancelled());
    }
}
