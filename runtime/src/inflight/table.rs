//! The table of slots: chunks that never move, and a lock-free list of the free ones.
//!
//! Chunk `k` holds `first << k` slots, so that index and chunk follow from each other and a slot, once
//! there, stays where it is. The table grows only when the free list is empty, that is, when more results lie
//! finished and unclaimed than ever before; in steady state nothing is allocated.
//!
//! The free list is a Treiber stack. Its head holds an index and a tag that changes with every exchange, so
//! that a head which was popped and pushed back in between is not taken for the old one. (The tag has 32
//! bits: to be fooled, a thread must sleep between load and exchange for an exact multiple of 2^32 exchanges.)
#![allow(unsafe_code, reason = "island: passes on the ownership of free slots")]

use std::sync::OnceLock;

use crossbeam_utils::CachePadded;
use dmaring_ring::Key;

use super::slot::{Finished, Slot};
use crate::sync::{AtomicU64, Mutex, Ordering, lock};

const CHUNKS: usize = 26;
/// The end of a list.
pub(crate) const NONE: u32 = u32::MAX;

#[derive(Debug)]
pub(crate) struct Inflight<C> {
    first: u32,
    chunks: [OnceLock<Box<[Slot<C>]>>; CHUNKS],
    /// Tag in the upper half, index in the lower.
    free: CachePadded<AtomicU64>,
    /// How many chunks there are.
    grown: Mutex<usize>,
}

impl<C> Inflight<C> {
    /// A table of `first` slots, a power of two.
    pub(crate) fn new(first: u32) -> Self {
        let table = Self {
            first,
            chunks: [const { OnceLock::new() }; CHUNKS],
            free: CachePadded::new(AtomicU64::new(u64::from(NONE))),
            grown: Mutex::new(0),
        };
        table.grow();
        table
    }

    /// Starts a life with this cargo and gives its key; the cargo comes back when the table is full.
    pub(crate) fn prepare(&self, cargo: C) -> Result<Key, C> {
        loop {
            if let Some(index) = self.pop_free() {
                let Some(slot) = self.at(index) else { continue };
                // SAFETY: the slot came off the free list, so it is ours until its key is given away.
                let generation = unsafe { slot.prepare(cargo) };
                return Ok(Key { index, generation });
            }
            if !self.grow() {
                return Err(cargo);
            }
        }
    }

    /// The slot that a key names, whatever its generation; `None` for an index beyond the table.
    pub(crate) fn slot(&self, key: Key) -> Option<&Slot<C>> {
        self.at(key.index)
    }

    /// Ends the life of an operation whose key was given to nobody, and gives its cargo back.
    ///
    /// # Safety
    ///
    /// `key` came from [`Inflight::prepare`] and was given to nobody.
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
    pub(crate) unsafe fn detach(&self, key: Key) {
        if let Some(slot) = self.slot(key) {
            // SAFETY: as the caller swears.
            let recycle = unsafe { slot.detach() };
            if recycle {
                // SAFETY: `detach` came second, so the slot is ours.
                unsafe { self.recycle(key.index) };
            }
        }
    }

    /// Puts a completed operation's slot on the free list if its future had gone first.
    pub(crate) fn settle(&self, key: Key, finished: &Finished<C>) {
        if finished.recycle {
            // SAFETY: the release came second, so the slot is ours.
            unsafe { self.recycle(key.index) };
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
        self.first * ((1 << chunks) - 1)
    }

    /// Every slot there is.
    pub(crate) fn slots(&self) -> impl Iterator<Item = (u32, &Slot<C>)> {
        let chunks = self.chunks.iter().map_while(|chunk| chunk.get());
        (0u32..).zip(chunks.flat_map(|chunk| chunk.iter()))
    }

    fn at(&self, index: u32) -> Option<&Slot<C>> {
        let shifted = index.checked_add(self.first)?;
        let chunk = shifted.ilog2() - self.first.ilog2();
        let offset = shifted - (self.first << chunk);
        self.chunks.get(chunk as usize)?.get()?.get(offset as usize)
    }

    /// # Safety
    ///
    /// The caller owns the slot.
    unsafe fn recycle(&self, index: u32) {
        if let Some(slot) = self.at(index) {
            // SAFETY: the caller owns the slot.
            unsafe { slot.end_life() };
            self.push_free(index, index);
        }
    }

    fn pop_free(&self) -> Option<u32> {
        let mut head = self.free.load(Ordering::Acquire);
        loop {
            let index = low(head);
            if index == NONE {
                return None;
            }
            // The slot may be popped by another and reused meanwhile: then the tag has changed, the link read
            // here is thrown away, and it was an atomic read of a slot that never moves.
            let next = self.at(index)?.next.load(Ordering::Relaxed);
            match self.free.compare_exchange_weak(
                head,
                tagged(head, next),
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return Some(index),
                Err(now) => head = now,
            }
        }
    }

    /// Pushes a chain of slots, linked from `first` to `last`.
    fn push_free(&self, first: u32, last: u32) {
        let Some(slot) = self.at(last) else { return };
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
        let (Some(chunk), Some(length)) = (
            self.chunks.get(*chunks),
            1u32.checked_shl(*chunks as u32).and_then(|n| n.checked_mul(self.first)),
        ) else {
            return false;
        };
        // The indices before this chunk: first * (2^k - 1).
        let Some(base) = length.checked_sub(self.first) else { return false };
        if base.checked_add(length).and_then(|end| end.checked_add(self.first)).is_none() {
            return false;
        }
        let slots: Box<[Slot<C>]> = (0..length).map(|_| Slot::new()).collect();
        for (slot, next) in slots.iter().zip(base + 1..) {
            slot.next.store(next, Ordering::Relaxed);
        }
        if chunk.set(slots).is_err() {
            return false;
        }
        *chunks += 1;
        self.push_free(base, base + length - 1);
        true
    }
}

#[allow(clippy::cast_possible_truncation, reason = "the lower half of the word is the index")]
fn low(word: u64) -> u32 {
    word as u32
}

fn tagged(previous: u64, index: u32) -> u64 {
    ((previous >> 32).wrapping_add(1) << 32) | u64::from(index)
}
