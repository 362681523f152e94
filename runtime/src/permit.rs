//! Permits: the right to have an entry in the rings, and the queue for it.
//!
//! There are as many permits as the submission ring has entries; the completion ring has room for all of
//! their completions. A permit is taken before an entry is pushed and returned when its completion is reaped,
//! so a push finds room and a completion finds room.
//!
//! Who finds no permit waits in a queue: a doubly linked list of slots, first come, first served, behind a lock that is
//! used only then. Whoever returns permits hands them to the front of the queue by *pushing the waiter's
//! entry for it*. So a waiter that is never polled again cannot swallow a permit, and there is no such thing as a
//! granted permit that nobody uses.
//!
//! No wake-up is lost between a waiter that queues up and a permit that comes home: the waiter announces
//! itself (`waiting`), then looks at the permits; the other returns the permit, then looks at `waiting`; a full
//! fence stands between the two steps on both sides, so one of them sees the other.
//!
//! Order: an operation submitted after another in the same thread never overtakes it, since nobody takes a
//! permit past a queue that is not empty, and a waiter counts as waiting until its entry stands in the ring.

use std::mem;

use crossbeam_utils::CachePadded;
use dmaring_ring::Key;

use crate::{
    inflight::{Inflight, NONE},
    sync::{AtomicU32, AtomicU64, Mutex, MutexGuard, Ordering, fence, lock},
};

const CLOSED: u64 = 1 << 63;

/// No operation is taken any more: the runtime shuts down or is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed;

#[derive(Debug)]
pub(crate) struct Permits {
    total: u32,
    /// The permits at home, and `CLOSED`. Written for every operation: it shares its line with nothing that others read.
    home: CachePadded<AtomicU64>,
    /// How many operations are queued, or about to be.
    waiting: AtomicU32,
    queue: Mutex<Queue>,
}

/// The queue's two ends, as slot indices; the links stand in the slots.
#[derive(Debug)]
pub(crate) struct Queue {
    front: u32,
    back: u32,
}

impl Permits {
    pub(crate) fn new(total: u32) -> Self {
        Self {
            total,
            home: CachePadded::new(AtomicU64::new(u64::from(total))),
            waiting: AtomicU32::new(0),
            queue: Mutex::new(Queue { front: NONE, back: NONE }),
        }
    }

    /// Takes up to `wanted` permits: fewer when there are fewer, none past a queue.
    pub(crate) fn try_acquire(&self, wanted: u32) -> Result<u32, Closed> {
        if self.waiting.load(Ordering::Acquire) != 0 {
            return if self.is_closed() { Err(Closed) } else { Ok(0) };
        }
        self.take(wanted)
    }

    /// Takes up to `wanted` permits, whoever waits: for the front of the queue, whose lock the caller holds.
    pub(crate) fn take(&self, wanted: u32) -> Result<u32, Closed> {
        let mut home = self.home.load(Ordering::Relaxed);
        loop {
            if home & CLOSED != 0 {
                return Err(Closed);
            }
            let taken = home.min(u64::from(wanted));
            if taken == 0 {
                return Ok(0);
            }
            match self.home.compare_exchange_weak(
                home,
                home - taken,
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                #[allow(clippy::cast_possible_truncation, reason = "at most `wanted`, a u32")]
                Ok(_) => return Ok(taken as u32),
                Err(now) => home = now,
            }
        }
    }

    /// Returns permits. `true`: somebody waits, and the caller serves the queue.
    #[must_use]
    pub(crate) fn release(&self, count: u32) -> bool {
        self.home.fetch_add(u64::from(count), Ordering::AcqRel);
        fence(Ordering::SeqCst);
        self.waiting.load(Ordering::Relaxed) != 0
    }

    /// Announces `count` waiters and opens the queue for them. The caller appends them and then looks at the
    /// permits once more, on behalf of the front.
    pub(crate) fn queue_up(&self, count: u32) -> MutexGuard<'_, Queue> {
        let queue = lock(&self.queue);
        self.waiting.fetch_add(count, Ordering::AcqRel);
        fence(Ordering::SeqCst);
        queue
    }

    /// Opens the queue without announcing anybody.
    pub(crate) fn queue(&self) -> MutexGuard<'_, Queue> {
        lock(&self.queue)
    }

    /// So many waiters fewer: their entries stand in the ring, or they left.
    pub(crate) fn served(&self, count: u32) {
        self.waiting.fetch_sub(count, Ordering::AcqRel);
    }

    /// Closes for good: from now on nobody takes a permit.
    pub(crate) fn close(&self) {
        self.home.fetch_or(CLOSED, Ordering::AcqRel);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.home.load(Ordering::Acquire) & CLOSED != 0
    }

    /// Closed, and every permit at home: nothing is in flight and nothing ever will be again.
    pub(crate) fn is_drained(&self) -> bool {
        self.home.load(Ordering::Acquire) == CLOSED | u64::from(self.total)
    }

    /// How many permits there are.
    #[cfg(not(loom))]
    pub(crate) fn total(&self) -> u32 {
        self.total
    }

    /// Whether anybody waits for a permit, or is about to.
    #[cfg(not(loom))]
    pub(crate) fn has_waiters(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) != 0
    }

    /// How many permits are out.
    pub(crate) fn out(&self) -> u64 {
        u64::from(self.total).saturating_sub(self.home.load(Ordering::Relaxed) & !CLOSED)
    }
}

impl Queue {
    pub(crate) fn is_empty(&self) -> bool {
        self.front == NONE
    }

    /// The operation that has waited longest.
    pub(crate) fn front<C>(&self, table: &Inflight<C>) -> Option<Key> {
        table.current_key(self.front)
    }

    /// Appends a waiter.
    pub(crate) fn push_back<C>(&mut self, table: &Inflight<C>, key: Key) {
        let last = mem::replace(&mut self.back, key.index);
        match last {
            NONE => self.front = key.index,
            last => table.set_next(last, key.index),
        }
        table.set_previous(key.index, last);
        table.set_next(key.index, NONE);
    }

    /// Takes a waiter out, wherever it stands.
    pub(crate) fn remove<C>(&mut self, table: &Inflight<C>, key: Key) {
        let (previous, next) = table.links(key.index);
        match previous {
            NONE => self.front = next,
            previous => table.set_next(previous, next),
        }
        match next {
            NONE => self.back = previous,
            next => table.set_previous(next, previous),
        }
    }
}
