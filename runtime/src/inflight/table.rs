//! The table of slots: chunks that never move, and a lock-free list of the free ones.
//!
//! Chunk `k` holds `first << k` slots, so that index and chunk follow from each other and a slot, once
//! there, stays where it is. The table begins with chunk 0 and grows only when the free list is empty, that is, when more results
//! lie finished and unclaimed than ever before, those counted that a batch is about to use or to give back, and the one that is
//! [kept](super::Kept); in steady state nothing is allocated.
//!
//! The free list is a Treiber stack. Its head holds an index and a tag that changes with every exchange, so
//! that a head which was popped and pushed back in between is not taken for the old one. (The tag has 32
//! bits: to be fooled, a thread must sleep between load and exchange for an exact multiple of 2^32 exchanges.)
//! Several slots are taken and put back with one exchange, as a [`Chain`].
#![allow(unsafe_code, reason = "island: passes on the ownership of free slots")]

use std::sync::OnceLock;

use crossbeam_utils::CachePadded;
use dmaring_ring::Key;

use super::{
    chain::Chain,
    slot::{Ended, Slot},
};
use crate::sync::{AtomicU64, Mutex, Ordering, lock};

const CHUNKS: usize = 25;
/// The end of a list.
pub(crate) const NONE: u32 = u32::MAX;

#[derive(Debug)]
pub(crate) struct Inflight<C> {
    first: u32,
    /// Chunk 0, where most operations have their slots.
    base: Box<[Slot<C>]>,
    /// Chunks from 1 on.
    chunks: [OnceLock<Box<[Slot<C>]>>; CHUNKS],
    /// Tag in the upper half, index in the lower.
    free: CachePadded<AtomicU64>,
    /// How many chunks were added.
    grown: Mutex<usize>,
}

impl<C> Inflight<C> {
    /// A table of `first` slots, a power of two.
    pub(crate) fn new(first: u32) -> Self {
        let table = Self {
            first,
            base: (0..first).map(|_| Slot::new()).collect(),
            chunks: [const { OnceLock::new() }; CHUNKS],
            free: CachePadded::new(AtomicU64::new(u64::from(NONE))),
            grown: Mutex::new(0),
        };
        table.enlist(0, &table.base);
        table
    }

    /// Starts a life with this cargo and gives its key; the cargo comes back when the table is full. With a permit the operation is
    /// armed: from here on it may be completed, by the reap role.
    #[inline]
    pub(crate) fn prepare(&self, cargo: C, permit: bool) -> Result<Key, C> {
        let Some(Chain { first: index, .. }) = self.take(1) else { return Err(cargo) };
        let Some(slot) = self.at(index) else { return Err(cargo) };
        // SAFETY: the slot came off the free list, so it is ours until its key is given away.
        let generation = unsafe { slot.prepare(cargo, permit) };
        Ok(Key { index, generation })
    }

    /// Takes up to `wanted` slots off the free list, and one at least. `None`: the table is full.
    #[inline]
    pub(super) fn take(&self, wanted: u32) -> Option<Chain> {
        loop {
            if let Some(slots) = self.pop_free(wanted) {
                return Some(slots);
            }
            if !self.grow() {
                return None;
            }
        }
    }

    /// The slot that a key names, whatever its generation; `None` for an index beyond the table.
    pub(crate) fn slot(&self, key: Key) -> Option<&Slot<C>> {
        self.at(key.index)
    }

    /// Ends the life of an operation that nobody completes, and gives its cargo back.
    ///
    /// # Safety
    ///
    /// `key` came from [`Inflight::prepare`] or a [`Reserve`](super::Reserve), without a permit, and who was given it does not use it
    /// again.
    pub(crate) unsafe fn take_back(&self, key: Key) -> Option<C> {
        let slot = self.slot(key)?;
        // SAFETY: an unpublished life is on no list and in no ring: nobody else completes it.
        let finished = unsafe { slot.refuse(0) };
        // SAFETY: the future of this life was never made; we stand for it.
        unsafe { self.detach(key) };
        finished.cargo
    }

    /// The future of `key` is done with it.
    ///
    /// # Safety
    ///
    /// The caller is the one future of this life and does not use the key again.
    #[inline]
    pub(crate) unsafe fn detach(&self, key: Key) {
        let Some(slot) = self.slot(key) else { return };
        // SAFETY: as the caller swears.
        if unsafe { slot.detach() } {
            // SAFETY: `detach` came second, so the slot is ours.
            unsafe { self.recycle(key.index, slot) };
        }
    }

    /// Puts a completed operation's slot on the free list if its future had gone first.
    #[inline]
    pub(crate) fn settle(&self, key: Key, ended: &Ended) {
        if ended.recycle
            && let Some(slot) = self.slot(key)
        {
            // SAFETY: the release came second, so the slot is ours.
            unsafe { self.recycle(key.index, slot) };
        }
    }

    /// The key of the life that the slot at `index` leads now.
    pub(crate) fn current_key(&self, index: u32) -> Option<Key> {
        let generation = self.at(index)?.generation();
        Some(Key { index, generation })
    }

    /// The neighbours of a waiter, as indices. Under the waiters' lock.
    pub(crate) fn links(&self, index: u32) -> (u32, u32) {
        self.at(index).map_or((NONE, NONE), |slot| {
            (slot.previous.load(Ordering::Relaxed), slot.next.load(Ordering::Relaxed))
        })
    }

    /// Sets who stands behind a waiter. Under the waiters' lock.
    pub(crate) fn set_next(&self, index: u32, next: u32) {
        if let Some(slot) = self.at(index) {
            slot.next.store(next, Ordering::Relaxed);
        }
    }

    /// Sets who stands before a waiter. Under the waiters' lock.
    pub(crate) fn set_previous(&self, index: u32, previous: u32) {
        if let Some(slot) = self.at(index) {
            slot.previous.store(previous, Ordering::Relaxed);
        }
    }

    /// How many slots there are: the bound of every index.
    #[cfg(all(test, loom))]
    pub(crate) fn capacity(&self) -> u32 {
        let chunks = *lock(&self.grown);
        self.first * ((2 << chunks) - 1)
    }

    /// Every slot there is.
    pub(crate) fn slots(&self) -> impl Iterator<Item = (u32, &Slot<C>)> {
        let chunks = self.chunks.iter().map_while(|chunk| chunk.get());
        (0u32..).zip(self.base.iter().chain(chunks.flat_map(|chunk| chunk.iter())))
    }

    #[inline]
    pub(super) fn at(&self, index: u32) -> Option<&Slot<C>> {
        match self.base.get(index as usize) {
            None => self.at_later(index),
            slot => slot,
        }
    }

    /// The slot of a chunk that was added.
    fn at_later(&self, index: u32) -> Option<&Slot<C>> {
        let shifted = index.checked_add(self.first)?;
        let chunk = shifted.ilog2() - self.first.ilog2();
        let offset = shifted - (self.first << chunk);
        self.chunks.get((chunk as usize).checked_sub(1)?)?.get()?.get(offset as usize)
    }

    /// # Safety
    ///
    /// The caller owns the slot.
    #[inline]
    unsafe fn recycle(&self, index: u32, slot: &Slot<C>) {
        // SAFETY: the caller owns the slot.
        unsafe { slot.end_life() };
        self.push_behind(index, slot);
    }

    /// Takes up to `wanted` slots, and one at least if there is any. They stay linked.
    #[inline]
    pub(super) fn pop_free(&self, wanted: u32) -> Option<Chain> {
        let mut head = self.free.load(Ordering::Acquire);
        loop {
            let first = low(head);
            if first == NONE {
                return None;
            }
            // Any of them may be popped by another and reused meanwhile: then the tag has changed, the links read
            // here are thrown away, and they were atomic reads of slots that never move.
            let (mut last, mut length) = (first, 1);
            let mut next = self.at(first)?.next.load(Ordering::Relaxed);
            while length < wanted
                && let Some(slot) = self.at(next)
            {
                (last, length) = (next, length + 1);
                next = slot.next.load(Ordering::Relaxed);
            }
            match self.free.compare_exchange_weak(
                head,
                tagged(head, next),
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return Some(Chain { first, last, length }),
                Err(now) => head = now,
            }
        }
    }

    /// Pushes a chain of slots, linked from `first` to `last`.
    pub(super) fn push_free(&self, first: u32, last: u32) {
        if let Some(slot) = self.at(last) {
            self.push_behind(first, slot);
        }
    }

    /// Pushes a chain of slots, linked from `first` to this one.
    #[inline]
    fn push_behind(&self, first: u32, slot: &Slot<C>) {
        let mut head = self.free.load(Ordering::Relaxed);
        loop {
            slot.next.store(low(head), Ordering::Relaxed);
            match self.free.compare_exchange_weak(
                head,
                tagged(head, first),
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Adds a chunk unless another thread has just done so. `false`: the table is as large as it gets.
    fn grow(&self) -> bool {
        let mut chunks = lock(&self.grown);
        if low(self.free.load(Ordering::Acquire)) != NONE {
            return true;
        }
        let number = *chunks + 1;
        let (Some(chunk), Some(length)) = (
            self.chunks.get(*chunks),
            1u32.checked_shl(number as u32).and_then(|n| n.checked_mul(self.first)),
        ) else {
            return false;
        };
        // The indices before this chunk: first * (2^k - 1).
        let Some(base) = length.checked_sub(self.first) else { return false };
        if base.checked_add(length).and_then(|end| end.checked_add(self.first)).is_none() {
            return false;
        }
        if chunk.set((0..length).map(|_| Slot::new()).collect()).is_err() {
            return false;
        }
        *chunks = number;
        self.enlist(base, chunk.get().map_or(&[], |slots| slots));
        true
    }

    /// Puts the slots of a fresh chunk, of which the first has this index, on the free list.
    fn enlist(&self, base: u32, slots: &[Slot<C>]) {
        let Some(last) = (base..).zip(slots).map(|(index, _)| index).last() else { return };
        for (slot, next) in slots.iter().zip(base + 1..) {
            slot.next.store(next, Ordering::Relaxed);
        }
        self.push_free(base, last);
    }
}

#[allow(clippy::cast_possible_truncation, reason = "the lower half of the word is the index")]
fn low(word: u64) -> u32 {
    word as u32
}

fn tagged(previous: u64, index: u32) -> u64 {
    ((previous >> 32).wrapping_add(1) << 32) | u64::from(index)
}
