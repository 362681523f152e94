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
//! One permit may be *kept*, together with a slot, for who wants one of each: it is neither at home nor out. Who keeps it looks
//! afterwards, too, whether somebody waits or there are to be no more permits, and sends it home then; a waiter takes it home before it
//! looks at the permits. Here, too, a full fence stands between the two steps on both sides.
//!
//! Order: an operation submitted after another in the same thread never overtakes it, since nobody takes a
//! permit past a queue that is not empty, and a waiter counts as waiting until its entry stands in the ring.

use std::mem;

use crossbeam_utils::CachePadded;
use dmaring_ring::Key;

use crate::{
    inflight::{FreeSlot, Inflight, Kept, NONE, Role},
    sync::{AtomicU32, AtomicU64, Mutex, MutexGuard, Ordering, fence, lock},
};

const CLOSED: u64 = 1 << 63;

/// No operation is taken any more: the runtime shuts down or is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed;

#[derive(Debug)]
pub(crate) struct Permits {
    total: u32,
    /// Written for every operation: it shares its line with nothing that others read.
    home: CachePadded<Home>,
    /// How many operations are queued, or about to be.
    waiting: AtomicU32,
    queue: Mutex<Queue>,
}

/// The permits that nobody has.
#[derive(Debug)]
struct Home {
    /// Those at home, and `CLOSED`.
    count: AtomicU64,
    /// One that is kept with a slot.
    kept: Kept,
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
            home: CachePadded::new(Home {
                count: AtomicU64::new(u64::from(total)),
                kept: Kept::new(),
            }),
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
        let mut home = self.home.count.load(Ordering::Relaxed);
        loop {
            if home & CLOSED != 0 {
                return Err(Closed);
            }
            let taken = home.min(u64::from(wanted));
            if taken == 0 {
                return Ok(0);
            }
            match self.home.count.compare_exchange_weak(
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
        self.home.count.fetch_add(u64::from(count), Ordering::AcqRel);
        fence(Ordering::SeqCst);
        self.has_waiters()
    }

    /// Keeps a slot with its permit, if none is kept. The caller gives the role back, then asks
    /// [`is_wanted`](Self::is_wanted) behind a full fence.
    #[inline]
    pub(crate) fn keep(&self, role: &mut Role, slot: FreeSlot) -> Result<(), FreeSlot> {
        self.home.kept.put(role, slot)
    }

    /// Whether what is kept is to go home: somebody waits for a permit, or there are to be none.
    #[inline]
    pub(crate) fn is_wanted(&self) -> bool {
        self.has_waiters() || self.is_closed()
    }

    /// Takes the slot that is kept, and its permit, past no queue. The caller asks whether permits are closed by now.
    #[inline]
    pub(crate) fn take_kept(&self) -> Option<FreeSlot> {
        if self.waiting.load(Ordering::Acquire) != 0 {
            return None;
        }
        self.home.kept.take()
    }

    /// Whether one is kept.
    #[inline]
    pub(crate) fn has_kept(&self) -> bool {
        self.home.kept.is_there()
    }

    /// Takes it whoever waits: to send it home.
    pub(crate) fn take_any_kept(&self) -> Option<FreeSlot> {
        self.home.kept.take()
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
        self.home.count.fetch_or(CLOSED, Ordering::AcqRel);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.home.count.load(Ordering::Acquire) & CLOSED != 0
    }

    /// Closed, and every permit at home: nothing is in flight and nothing ever will be again.
    pub(crate) fn is_drained(&self) -> bool {
        self.home.count.load(Ordering::Acquire) == CLOSED | u64::from(self.total)
    }

    /// How many permits there are.
    #[cfg(not(loom))]
    pub(crate) fn total(&self) -> u32 {
        self.total
    }

    /// Whether anybody waits for a permit, or is about to.
    #[inline]
    pub(crate) fn has_waiters(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) != 0
    }

    /// How many permits are out.
    pub(crate) fn out(&self) -> u64 {
        // A permit that is on its way home from where it is kept is not counted twice: the look at what is kept comes after this one.
        let home = self.home.count.load(Ordering::Acquire) & !CLOSED;
        let kept = u64::from(self.home.kept.is_there());
        u64::from(self.total).saturating_sub(home + kept)
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
