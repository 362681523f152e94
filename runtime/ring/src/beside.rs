//! Words that an entry tells of, and that stand elsewhere in memory that both sides see.
//!
//! They are written behind the claim of the entry's position and before its publication. A claim is a locked instruction, which waits until
//! every store before it has left the core: with lines that the consumer has read last, some hundred nanoseconds. Behind the claim nobody
//! waits for them.

use crate::sync::{AtomicU64, Ordering};

/// What is written beside an entry, and where.
#[derive(Clone, Copy, Debug)]
pub struct Beside<'a> {
    places: &'a [AtomicU64],
    words: &'a [u64],
}

impl<'a> Beside<'a> {
    /// These words, to these places one by one. Where there are more of the one than of the other the rest is left alone.
    #[inline]
    #[must_use]
    pub const fn new(places: &'a [AtomicU64], words: &'a [u64]) -> Self {
        Self { places, words }
    }

    /// Writes them. What publishes the entry afterwards publishes them.
    #[inline]
    pub fn write(self) {
        for (place, &word) in self.places.iter().zip(self.words) {
            place.store(word, Ordering::Relaxed);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn each_word_goes_to_its_place_and_no_further() {
        let places = [0, 1, 2].map(AtomicU64::new);
        let read = || places.each_ref().map(|place| place.load(Ordering::Relaxed));
        Beside::new(&places, &[]).write();
        assert_eq!(read(), [0, 1, 2]);
        Beside::new(&places, &[7, 8]).write();
        assert_eq!(read(), [7, 8, 2]);
        Beside::new(&places[1..], &[4, 5, 6]).write();
        assert_eq!(read(), [7, 4, 5]);
    }
}
