//! The way back: completions are taken off the ring, slots resolved, permits returned, futures woken.
//!
//! The completion ring has one consumer *role*, taken by a try-lock and never waited for. Whoever polls a
//! future tries it, and so does the poller after a batch when somebody asked to be notified. Under the role
//! nothing foreign runs: wakers and cargo are collected in a fixed array, the role is given back, then they
//! are called and dropped.
//!
//! No completion is left behind by two who get in each other's way. Who fails to take the role relies on
//! its holder, who looks at the ring again after giving the role back; a full fence stands between the two steps, as it
//! stands between publishing a completion (or asking to be notified) and trying the role. So either the try
//! succeeds or the second look sees the completion.
#![allow(unsafe_code, reason = "island: passes on that a slot's one future polls it")]

use std::{ptr, task::Waker};

use arrayvec::ArrayVec;
use dmaring_ring::{CompletionCode, CompletionEntry, Key, completion, handshake, submission};

use crate::{
    client::{Client, Reaper, RingPair},
    inflight::{Ended, Finished, LastCall, Ticket, give_back},
    sync::{Ordering, fence},
};

/// How many completions are reaped under one tenure of the role.
pub(crate) const BATCH: usize = 32;

/// What slots own.
pub(crate) trait Load: Sized {
    /// Drops what operations had that ended together.
    fn drop_together(loads: &mut ArrayVec<Self, BATCH>) {
        loads.clear();
    }
}

/// What finished operations left, to be delivered once no role or lock is held.
#[derive(Debug)]
pub(crate) struct Leftovers<C> {
    /// How many have left something.
    count: usize,
    cargo: ArrayVec<C, BATCH>,
    /// Most have left none.
    wakers: ArrayVec<LastCall, BATCH>,
}

impl<C: Load> Leftovers<C> {
    pub(crate) fn new() -> Self {
        Self { count: 0, cargo: ArrayVec::new(), wakers: ArrayVec::new() }
    }

    pub(crate) fn has_room(&self) -> bool {
        self.count < BATCH
    }

    pub(crate) fn len(&self) -> u64 {
        self.count as u64
    }

    /// Keeps what an operation left. Who puts has asked whether there is room.
    pub(crate) fn put(&mut self, finished: Finished<C>) {
        let Finished { cargo, ended } = finished;
        if let Some(cargo) = cargo {
            push(&mut self.cargo, cargo);
        }
        self.put_ended(ended);
    }

    /// The same, where the cargo is there already or stays where it is.
    #[inline]
    fn put_ended(&mut self, ended: Ended) {
        self.count += 1;
        if let Some(waker) = ended.waker {
            push(&mut self.wakers, waker);
        }
    }

    /// Gives the cargo back, then calls the wakers, whatever panics.
    pub(crate) fn deliver(&mut self) {
        self.count = 0;
        give_back(|| C::drop_together(&mut self.cargo));
        for waker in self.wakers.drain(..) {
            waker.make();
        }
    }
}

#[inline]
fn push<T>(kept: &mut ArrayVec<T, BATCH>, one: T) {
    let pushed = kept.try_push(one);
    debug_assert!(pushed.is_ok(), "put without room");
}

/// Which waker a slot has of its future: the addresses of its data and its functions, to be compared. While the slot has the waker
/// nothing else is there. It is a clone, which need not have the addresses of what it was cloned from: then no poll finds it again,
/// and each leaves another. No functions are at 0, which stands for none.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct LeftWaker(usize, usize);

impl LeftWaker {
    fn is(&self, waker: &Waker) -> bool {
        *self == Self::of(waker)
    }

    fn of(waker: &Waker) -> Self {
        Self(waker.data().addr(), ptr::from_ref(waker.vtable()).addr())
    }
}

impl<C: Load, P: RingPair> Client<C, P> {
    /// Reaps what is there, unless another thread is at it and will. Returns how many operations ended here.
    pub(crate) fn reap(&self) -> usize {
        let mut reaped = 0;
        loop {
            let mut leftovers = Leftovers::new();
            let drained = self.reaper.try_with(|reaper| self.drain(reaper, &mut leftovers));
            let Some(permits) = drained else { return reaped };
            reaped += permits as usize;
            if permits > 0 {
                // A full fence is part of it.
                self.return_permits(permits);
            } else {
                fence(Ordering::SeqCst);
            }
            leftovers.deliver();
            if !self.has_completions() {
                return reaped;
            }
        }
    }

    /// The outcome of `key`'s operation, or a promise that `waker` will be called when there is one.
    ///
    /// # Safety
    ///
    /// The caller is the one future of this life and has not given it up.
    #[inline]
    pub(crate) unsafe fn poll(
        &self,
        key: Key,
        waker: &Waker,
        left: &mut LeftWaker,
    ) -> Option<Ticket> {
        // SAFETY: as the caller swears.
        let ticket = unsafe { self.outcome_or_promise(key, waker, left) }?;
        if ticket.is_early() {
            // The end is still to come, and it may be that nobody has asked for it, nor will: with the first poll it is over.
            self.request_notify();
        }
        Some(ticket)
    }

    /// # Safety
    ///
    /// As [`poll`](Self::poll) says.
    unsafe fn outcome_or_promise(
        &self,
        key: Key,
        waker: &Waker,
        left: &mut LeftWaker,
    ) -> Option<Ticket> {
        let slot = self.inflight.slot(key)?;
        if let Some(ticket) = slot.outcome() {
            return Some(ticket);
        }
        if left.is(waker) {
            // It was left by an earlier poll, which also asked to be notified: unless resolved, it is still there.
            if self.has_completions() {
                self.reap();
            }
            return slot.outcome();
        }
        // Wakers are foreign code and may panic: what is left is not known before all is done.
        *left = LeftWaker::default();
        // SAFETY: as the caller swears.
        let present = unsafe { slot.register(waker, LeftWaker::of) };
        self.reap();
        if let Some(ticket) = slot.outcome() {
            return Some(ticket);
        }
        self.request_notify();
        *left = present.unwrap_or_default();
        slot.outcome()
    }

    /// The outcome of `key`'s operation, if it is there or stands in the ring. Leaves no waker.
    #[cfg_attr(loom, allow(dead_code, reason = "its user is not built under loom"))]
    #[inline]
    pub(crate) fn look(&self, key: Key) -> Option<Ticket> {
        let slot = self.inflight.slot(key)?;
        let (header, slots) = (self.pair.header(), self.pair.completion_slots());
        if completion::peek(header, slots, self.reaped()) {
            self.reap();
        }
        slot.outcome()
    }

    /// Asks the poller to reap after its next batch, and looks once more at what it published before: from
    /// here on whatever completes is reaped without the caller's doing.
    pub(crate) fn request_notify(&self) {
        handshake::request_notify(self.pair.header());
        if self.has_completions() {
            self.reap();
        }
    }

    /// Poller: takes back the wish to be notified, since nothing is in flight. Not while permits are out: who has one is about to push,
    /// may never poll, and another may wait for that permit to come home.
    pub(crate) fn retire_notify(&self, submissions: &submission::Consumer) {
        if handshake::retire_notify(self.pair.header(), submissions) && self.permits.out() > 0 {
            handshake::rearm(self.pair.header());
        }
    }

    /// Whether unreaped completions stand in the ring.
    pub(crate) fn has_completions(&self) -> bool {
        completion::has_beyond(self.pair.header(), self.reaped())
    }

    /// Resolves whatever is in flight, without asking the ring: no poller will post its completion.
    pub(crate) fn resolve_all(&self, code: CompletionCode) {
        for (index, slot) in self.inflight.slots() {
            let Some(key) = self.inflight.current_key(index) else { continue };
            let result = CompletionEntry::new(key, code, 0, 0).result_word();
            let mut cargo = None;
            let ended = self.reaper.with(|reaper| {
                let keep = |kept| cargo = Some(kept);
                let ended = slot.complete(&mut reaper.role, key, result, keep)?;
                self.inflight.settle(key, &ended);
                Some(ended)
            });
            let Some(ended) = ended else { continue };
            self.return_permits(1);
            Finished { cargo, ended }.deliver();
        }
    }

    /// Takes completions off the ring while there is room for what they leave. Returns how many permits
    /// come home.
    fn drain(&self, reaper: &mut Reaper, leftovers: &mut Leftovers<C>) -> u32 {
        let (header, slots) = (self.pair.header(), self.pair.completion_slots());
        let mut permits = 0;
        while leftovers.has_room()
            && let Some(entry) = reaper.consumer.pop(header, slots)
        {
            let Some(slot) = self.inflight.slot(entry.key) else { continue };
            let (role, key, result) = (&mut reaper.role, entry.key, entry.result_word());
            if entry.code() == CompletionCode::DETAIL {
                slot.note_detail(role, key, entry.offset());
            } else if entry.code() == CompletionCode::EARLY {
                if let Some(ended) = slot.resolve_early(role, key, result) {
                    leftovers.put_ended(ended);
                }
            } else if let Some(ended) =
                slot.complete(role, key, result, |cargo| push(&mut leftovers.cargo, cargo))
            {
                self.inflight.settle(key, &ended);
                leftovers.put_ended(ended);
                permits += 1;
            }
        }
        reaper.consumer.release(header);
        self.reaped.store(reaper.consumer.position(), Ordering::Release);
        permits
    }

    /// The position up to which completions were taken off the ring.
    pub(crate) fn reaped(&self) -> u64 {
        self.reaped.load(Ordering::Acquire)
    }
}
