//! The completion ring: one producer, the poller, and one consumer, whoever reaps.
//!
//! The producer owns the places from tail to head plus the ring's length, the consumer those from
//! head to tail; each moves its own end with release and reads the other's with acquire, so a place
//! changes hands together with what was done to it. Both keep their own end, and what they last saw
//! of the other's, in private memory: what a side does never follows from what stands in the shared
//! word that it writes itself.
//!
//! Pushing and publishing are two steps, as are popping and releasing: a batch costs one store.
//!
//! The peer's end is hostile until checked. A head that is not between the last one and the published
//! tail is ignored, so the producer overwrites nothing unread, and its room is never more than the
//! ring has. A tail that is not within a ring's length of the head ends the consumer's work for good:
//! see [`Consumer::is_corrupt`].

use crate::{
    entry::CompletionEntry,
    layout::{CompletionSlot, Header, slot_at},
    prefetch,
};

pub use crate::full::Full;

/// The producer's end of the ring: the poller's private state. A ring has one.
#[derive(Debug, Default)]
pub struct Producer {
    /// Where the next entry goes.
    tail: u64,
    /// The tail that the consumer can see.
    published: u64,
    /// The last head that was believed; at most `published`.
    head: u64,
}

impl Producer {
    /// The producer of a fresh ring.
    #[must_use]
    pub const fn new() -> Self {
        Self { tail: 0, published: 0, head: 0 }
    }

    /// How many entries can be pushed, in entries. Looks at what the consumer has released.
    pub fn room(&mut self, header: &Header, slots: &[CompletionSlot]) -> usize {
        let head = header.completion_head();
        if head.wrapping_sub(self.head) <= self.published.wrapping_sub(self.head) {
            self.head = head;
        }
        self.known_room(slots)
    }

    /// Writes an entry, which nobody sees before [`publish`](Self::publish).
    ///
    /// # Errors
    ///
    /// [`Full`] when all places are taken, as far as the last call of [`room`](Self::room) knows.
    pub fn push(&mut self, slots: &[CompletionSlot], entry: CompletionEntry) -> Result<(), Full> {
        if self.known_room(slots) == 0 {
            return Err(Full);
        }
        slot_at(slots, self.tail).ok_or(Full)?.write(entry);
        self.tail = self.tail.wrapping_add(1);
        Ok(())
    }

    /// Makes what was pushed visible to the consumer; returns whether anything was.
    ///
    /// When it was, the caller then asks [`must_notify`](crate::handshake::must_notify).
    pub fn publish(&mut self, header: &Header) -> bool {
        let is_new = self.tail != self.published;
        if is_new {
            header.publish_completions(self.tail);
            self.published = self.tail;
        }
        is_new
    }

    /// The position up to which the consumer can see entries.
    #[must_use]
    pub const fn published(&self) -> u64 {
        self.published
    }

    /// How many entries can be pushed, as far as the last look at the consumer's end knows. There may be room for more.
    #[must_use]
    pub fn known_room(&self, slots: &[CompletionSlot]) -> usize {
        let taken = usize::try_from(self.tail.wrapping_sub(self.head)).unwrap_or(usize::MAX);
        slots.len().saturating_sub(taken)
    }
}

/// Whether entries stand in the ring beyond a position, up to which the caller has taken them.
#[inline]
#[must_use]
pub fn has_beyond(header: &Header, position: u64) -> bool {
    header.completion_tail() != position
}

/// The same, for those who will look again at once.
///
/// The place of the next entry is fetched along with the tail, lest the one miss follow upon the other.
#[inline]
#[must_use]
pub fn peek(header: &Header, slots: &[CompletionSlot], position: u64) -> bool {
    if let Some(slot) = slot_at(slots, position) {
        prefetch::for_reading(slot);
    }
    has_beyond(header, position)
}

/// The consumer's end of the ring: the reaper's private state. A ring has one.
#[derive(Debug, Default)]
pub struct Consumer {
    /// The next entry to be read.
    head: u64,
    /// The last tail that was believed.
    tail: u64,
    corrupt: bool,
}

impl Consumer {
    /// The consumer of a fresh ring.
    #[must_use]
    pub const fn new() -> Self {
        Self { head: 0, tail: 0, corrupt: false }
    }

    /// Copies the next entry out, or returns `None` where none is published. Its place is free after
    /// [`release`](Self::release).
    ///
    /// The entry is what the peer wrote; nothing in it has been checked.
    #[inline]
    pub fn pop(&mut self, header: &Header, slots: &[CompletionSlot]) -> Option<CompletionEntry> {
        if self.corrupt {
            return None;
        }
        if self.head == self.tail {
            let tail = header.completion_tail();
            self.corrupt = tail.wrapping_sub(self.head) > slots.len() as u64;
            if self.corrupt || tail == self.head {
                return None;
            }
            self.tail = tail;
        }
        let entry = slot_at(slots, self.head)?.read();
        self.head = self.head.wrapping_add(1);
        Some(entry)
    }

    /// Copies the next entry out as [`pop`](Self::pop) does, and leaves it where it is unless it passes `test`.
    #[inline]
    pub fn pop_if(
        &mut self,
        header: &Header,
        slots: &[CompletionSlot],
        test: impl FnOnce(&CompletionEntry) -> bool,
    ) -> Option<CompletionEntry> {
        let before = self.head;
        let entry = self.pop(header, slots)?;
        if test(&entry) {
            return Some(entry);
        }
        self.head = before;
        None
    }

    /// The position up to which entries were popped.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.head
    }

    /// Gives the places of all entries popped so far back to the producer.
    pub fn release(&mut self, header: &Header) {
        if self.corrupt {
            // Whatever the tail says, nothing is left to be read, and nobody is to wait for it.
            self.head = header.completion_tail();
            self.tail = self.head;
        }
        // The word is compared, not remembered: one that was overwritten is put right.
        if header.completion_head() != self.head {
            header.release_completions(self.head);
        }
    }

    /// Whether no entry is there to be popped.
    #[must_use]
    pub fn is_empty(&self, header: &Header) -> bool {
        self.corrupt || (self.head == self.tail && header.completion_tail() == self.head)
    }

    /// Whether the tail was ever further from the head than the ring is long. No producer does this:
    /// the shared words were overwritten, and no entry is popped any more.
    #[must_use]
    pub const fn is_corrupt(&self) -> bool {
        self.corrupt
    }
}
