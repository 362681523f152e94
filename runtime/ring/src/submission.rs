//! The submission ring: many producers, one consumer that takes entries in order.
//!
//! Positions count from 0 and never come back; position `p` of a ring of `n` slots lives in slot
//! `p mod n`. Each slot has a sequence, which says whose turn it is there:
//!
//! | sequence     | turn of                                                                      |
//! |--------------|------------------------------------------------------------------------------|
//! | `p`          | the producer that claims position `p`: the slot is free                      |
//! | `p + 1`      | the consumer, when it is at position `p`: the entry is published             |
//! | `p + n`      | the producer that claims position `p + n`: the consumer has copied the entry |
//!
//! A producer claims by moving the tail, with one compare-exchange for all entries of a push. Before
//! it, the producer has seen that the **last** of the positions is free in this lap. The one consumer
//! frees in order, so those before it are free too, and since it frees with release and the producer
//! looks with acquire, all its reads are over. The tail had not moved when the exchange succeeded, so
//! nobody else has claimed any of the positions: the producer owns the slots until it publishes them,
//! each by a release store of its sequence. Between claim and publication nothing panics, allocates
//! or calls foreign code, since a position claimed and never published would stop the ring.
//!
//! **Who holds a permit is never refused.** Let permits be as many as slots. Each is taken before a push, for one entry, and passed on, with
//! release and acquire, only after the consumer has freed the entry's slot. Consider the last position `p` of a push, and those
//! from `p - n` up to it: more positions than permits, so of two of them the later had its permit from the earlier, `q`. So the freeing of
//! `q` happened before the later one's claim, and that before the producer's look at the sequence of `p`, or is its own: the tail is claimed
//! with release and read with acquire. The consumer frees in order, and `p - n` is not after `q`: its freeing happened before the look,
//! which cannot see an older sequence.
//!
//! The words are shared with strangers. Whatever the tail and the sequences hold, a push ends with
//! `Full` or writes into slots of the ring, and a pop takes one slot's words or nothing.

use crate::{
    beside::Beside,
    entry::SubmissionEntry,
    layout::{Header, SubmissionSlot, slot_at},
    prefetch::ForWriting,
    sync::AtomicU64,
};

pub use crate::full::Full;

/// Pushes entries, all of them at consecutive positions, or none.
///
/// The caller then asks [`must_wake`](crate::handshake::must_wake). An empty slice is pushed at once.
///
/// # Errors
///
/// [`Full`] when there is no room for all of them. More entries than slots never have room.
#[inline]
pub fn push(
    header: &Header,
    slots: &[SubmissionSlot],
    entries: &[SubmissionEntry],
) -> Result<(), Full> {
    place(header, slots, entries).map(drop)
}

/// As [`push`], and fetches the next slot for writing, which is where this thread's next entry goes if no other pushes.
///
/// For who pushes one entry after the other to a consumer that has not caught up: the line of the slot, which the consumer
/// has written last, is here by then. One that has caught up looks at that line all the time, and it is slower.
///
/// # Errors
///
/// As of [`push`].
#[inline]
pub fn push_and_fetch(
    header: &Header,
    slots: &[SubmissionSlot],
    entries: &[SubmissionEntry],
    for_writing: ForWriting,
) -> Result<(), Full> {
    let next = place(header, slots, entries)?;
    if let Some(slot) = next.and_then(|next| slot_at(slots, next)) {
        for_writing.fetch(slot);
    }
    Ok(())
}

/// As [`push`] of one entry, and writes what it tells of before it is published; with `fetch` as [`push_and_fetch`].
///
/// # Errors
///
/// As of [`push`]. Nothing is written then.
#[inline]
pub fn push_beside(
    header: &Header,
    slots: &[SubmissionSlot],
    (entry, beside): (&SubmissionEntry, Beside<'_>),
    fetch: Option<ForWriting>,
) -> Result<(), Full> {
    let position = claim(header, slots, 1)?;
    beside.write();
    publish(slots, position, entry);
    if let Some(fetch) = fetch
        && let Some(slot) = slot_at(slots, position.wrapping_add(1))
    {
        fetch.fetch(slot);
    }
    Ok(())
}

/// Pushes entries, and returns the position behind the last, if there is one.
#[inline]
fn place(
    header: &Header,
    slots: &[SubmissionSlot],
    entries: &[SubmissionEntry],
) -> Result<Option<u64>, Full> {
    if entries.is_empty() {
        return Ok(None);
    }
    if entries.len() > slots.len() {
        return Err(Full);
    }
    let count = entries.len() as u64;
    let first = claim(header, slots, count)?;
    for (position, entry) in (0..).map(|i| first.wrapping_add(i)).zip(entries) {
        publish(slots, position, entry);
    }
    Ok(Some(first.wrapping_add(count)))
}

/// Writes an entry to a position that was claimed for it, and passes it to the consumer.
#[inline]
fn publish(slots: &[SubmissionSlot], position: u64, entry: &SubmissionEntry) {
    if let Some(slot) = slot_at(slots, position) {
        slot.write(entry);
        slot.pass_to(position.wrapping_add(1));
    }
}

/// Claims `count` positions, at least 1 and at most as many as there are slots, and returns the first.
///
/// Each turn of the loop follows a move of the tail, that is, another producer's success. A sequence
/// ahead of a tail that has not moved is no producer's doing: nothing is claimed then.
#[inline]
fn claim(header: &Header, slots: &[SubmissionSlot], count: u64) -> Result<u64, Full> {
    let mut tail = header.submission_tail();
    loop {
        let end = tail.wrapping_add(count);
        let last = end.wrapping_sub(1);
        let sequence = slot_at(slots, last).ok_or(Full)?.sequence();
        let current = if sequence == last {
            match header.claim(tail, end) {
                Ok(()) => return Ok(tail),
                Err(current) => current,
            }
        } else if is_behind(sequence, last) {
            return Err(Full); // Last lap's entry is still there.
        } else {
            header.submission_tail() // Somebody has claimed it: the tail was an old one.
        };
        if current == tail {
            return Err(Full);
        }
        tail = current;
    }
}

fn is_behind(sequence: u64, position: u64) -> bool {
    sequence.wrapping_sub(position) > u64::MAX / 2
}

/// The consumer's end of the ring: the poller's private state. A ring has one.
#[derive(Debug, Default)]
pub struct Consumer {
    head: u64,
}

impl Consumer {
    /// The consumer of a fresh ring.
    #[must_use]
    pub const fn new() -> Self {
        Self { head: 0 }
    }

    /// Copies the next entry out and frees its slot, or returns `None` where none is published.
    ///
    /// The entry is what a peer wrote; nothing in it has been checked.
    pub fn pop(&mut self, slots: &[SubmissionSlot]) -> Option<SubmissionEntry> {
        let slot = slot_at(slots, self.head)?;
        if slot.sequence() != self.head.wrapping_add(1) {
            return None;
        }
        let entry = slot.read();
        slot.pass_to(self.head.wrapping_add(slots.len() as u64));
        self.head = self.head.wrapping_add(1);
        Some(entry)
    }

    /// A copy of the entry that [`pop`](Self::pop) would take now; it stays where it is. Nothing in it has been checked, and its
    /// producer may have changed it by the time it is popped, if it does not keep to its part.
    #[must_use]
    pub fn peek(&self, slots: &[SubmissionSlot]) -> Option<SubmissionEntry> {
        let slot = slot_at(slots, self.head)?;
        (slot.sequence() == self.head.wrapping_add(1)).then(|| slot.read())
    }

    /// How many entries were popped so far.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.head
    }

    /// Whether [`pop`](Self::pop) would return `None` now.
    ///
    /// Entries published behind a position that is claimed and not yet published do not count: their
    /// turn comes later. Use [`is_drained`](Self::is_drained) to find out whether there are any.
    #[must_use]
    pub fn is_empty(&self, slots: &[SubmissionSlot]) -> bool {
        slot_at(slots, self.head).is_none_or(|slot| slot.sequence() != self.head.wrapping_add(1))
    }

    /// The word that the next entry's producer writes last: the sequence of the slot at the head.
    pub(crate) fn next_word<'a>(&self, slots: &'a [SubmissionSlot]) -> Option<&'a AtomicU64> {
        slot_at(slots, self.head).map(SubmissionSlot::sequence_word)
    }

    /// Whether every claimed position has been popped, whether or not it was published.
    #[must_use]
    pub fn is_drained(&self, header: &Header) -> bool {
        header.submission_tail() == self.head
    }
}
