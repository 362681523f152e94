//! One operation in flight: who owns what, and when the slot is free again.
//!
//! A slot has two facts, and two parties that are done with it at different times:
//!
//! - *resolved*: the outcome is known and the future may read it;
//! - *released*: no hardware touches the operation's memory any more; its cargo (the regions) was taken out;
//! - *detached*: the future has its outcome or is gone.
//!
//! The slot is recycled by whichever of {release, detach} comes second; that party alone then owns it.
//! `generation` is part of the state word and changes at every recycling, so that a key of an earlier life
//! matches nothing.
//!
//! Three cells hang on the state word. Each has one owner at any time:
//!
//! | cell | owner |
//! | --- | --- |
//! | cargo | the preparer until `live` is set; then the holder of the waiters' lock while `waiting`, and of the reap role afterwards, until `released`; then, if `attended`, the future |
//! | entry | the preparer, then the holder of the waiters' lock; only used while `waiting` |
//! | waker | the future while `waker` is clear; the reap role (or, while `waiting`, the waiters' lock) once it is set. Full exactly while `waker` is set, except inside `register` |
//!
//! A future that is polled from submission to the end *attends*: the operation's regions keep the runtime for it. So the role leaves the cargo of such
//! a life where it is, and with it the slot: once it is released they are the future's.
//!
//! The reaper resolves first, then takes the waker, then releases: before `released` nobody recycles, so
//! the waker cell it takes from is still this operation's. A future that sees `resolved` never writes the
//! waker cell again unless it had taken it back before.
//!
//! Mostly the two facts come together. An operation whose deadline passes is resolved *early*: its future has its
//! outcome and may be gone long before the hardware lets go, and the slot, its cargo and its permit stay as they are until the
//! release. Whoever releases such a slot leaves outcome and waker alone: they were given out.
#![allow(unsafe_code, reason = "island: the slot's cells, owned as the table above says")]

use std::{fmt, task::Waker};

use dmaring_ring::{CompletionCode, CompletionEntry, Key, SubmissionEntry};

use crate::{
    foreign,
    sync::{AtomicU32, AtomicU64, Ordering, UnsafeCell},
};

const RESOLVED: u64 = 1;
const RELEASED: u64 = 1 << 1;
const DETACHED: u64 = 1 << 2;
const WAKER: u64 = 1 << 3;
const WAITING: u64 = 1 << 4;
const LIVE: u64 = 1 << 5;
const ATTENDED: u64 = 1 << 6;
/// What is set where somebody else has to do with a life than the role and a future that has just begun to look.
const OTHERS: u64 = RESOLVED | RELEASED | DETACHED | WAKER | WAITING;
const GENERATION_SHIFT: u32 = 32;

/// Proof of holding the right to complete operations: the reap role, or the waiters' lock for one that waits.
#[derive(Debug)]
pub(crate) struct Role(());

impl Role {
    /// The one role of a ring pair; made once and kept under its lock.
    pub(crate) const fn new() -> Self {
        Self(())
    }
}

/// An operation's outcome as the reaper wrote it: the completion's result word and the failing offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) result: u64,
    pub(crate) detail: u64,
}

impl Ticket {
    /// Whether the end is still to come.
    #[inline]
    pub(crate) fn is_early(self) -> bool {
        self.entry().code() == CompletionCode::EARLY
    }

    /// The completion that it is of, but for the key.
    #[inline]
    pub(crate) fn entry(self) -> CompletionEntry {
        CompletionEntry::from_words([Key::default().to_word(), self.result])
    }
}

/// What a completed operation leaves to be dropped or called outside every role and lock.
#[derive(Debug)]
pub(crate) struct Finished<C> {
    pub(crate) cargo: Option<C>,
    pub(crate) ended: Ended,
}

/// The same but for the cargo.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) waker: Option<LastCall>,
    /// The caller owns the slot now and puts it on the free list.
    pub(super) recycle: bool,
}

/// The waker that the future of a completed operation had left.
#[derive(Debug)]
pub(crate) struct LastCall {
    waker: Waker,
    /// Whether the future still wants to know; else the waker is only dropped.
    wanted: bool,
}

impl LastCall {
    /// Calls the waker. It is foreign code: it may submit, drop futures, drop the runtime, or panic, which ends here.
    pub(crate) fn make(self) {
        let Self { waker, wanted } = self;
        foreign::call_or_tell(
            || if wanted { waker.wake() } else { drop(waker) },
            || tracing::error!("a waker panicked; the operation it was for is complete"),
        );
    }
}

/// Drops cargo. The end of a region is foreign code, too: somebody's memory, and whoever hears what is logged.
pub(crate) fn give_back(cargo: impl FnOnce()) {
    foreign::call_or_tell(cargo, || {
        tracing::error!("the end of a region panicked; the operation that had it is complete");
    });
}

impl<C> Finished<C> {
    /// Gives the cargo back, then calls the waker, whatever panics.
    pub(crate) fn deliver(self) {
        give_back(|| drop(self.cargo));
        if let Some(waker) = self.ended.waker {
            waker.make();
        }
    }
}

pub(crate) struct Slot<C> {
    state: AtomicU64,
    /// The next free slot, or the next waiter.
    pub(super) next: AtomicU32,
    /// The previous waiter.
    pub(super) previous: AtomicU32,
    result: AtomicU64,
    detail: AtomicU64,
    waker: UnsafeCell<Option<Waker>>,
    cargo: UnsafeCell<Option<C>>,
    entry: UnsafeCell<SubmissionEntry>,
}

// SAFETY: (1) everything but the cells is atomic; (2) a cell is touched only by its owner of the moment,
// and ownership passes through acquire and release operations on `state`, or through a lock.
// (3) Cargo and wakers move between threads, hence `C: Send`; neither is ever shared.
unsafe impl<C: Send> Sync for Slot<C> {}
// SAFETY: a slot owns its contents, which may move between threads when `C` may.
unsafe impl<C: Send> Send for Slot<C> {}

impl<C> Slot<C> {
    pub(super) fn new() -> Self {
        Self {
            state: AtomicU64::new(0),
            next: AtomicU32::new(0),
            previous: AtomicU32::new(0),
            result: AtomicU64::new(0),
            detail: AtomicU64::new(0),
            waker: UnsafeCell::new(None),
            cargo: UnsafeCell::new(None),
            entry: UnsafeCell::new(SubmissionEntry::default()),
        }
    }

    /// Starts a life. Gives its generation. With a permit the operation is *armed*: from here on it may be completed, by the reap
    /// role. Without one nobody completes it before it has one.
    ///
    /// # Safety
    ///
    /// The caller owns the slot: it took it off the free list and has given it to nobody. With a permit it does not refuse the
    /// operation.
    #[inline]
    pub(crate) unsafe fn prepare(&self, cargo: C, permit: bool) -> u32 {
        // SAFETY: as the caller swears.
        unsafe { self.begin(cargo, if permit { LIVE } else { 0 }) }
    }

    /// The same with a permit, and with a future that attends.
    ///
    /// # Safety
    ///
    /// As above.
    #[inline]
    pub(super) unsafe fn prepare_attended(&self, cargo: C) -> u32 {
        // SAFETY: as the caller swears.
        unsafe { self.begin(cargo, LIVE | ATTENDED) }
    }

    /// # Safety
    ///
    /// The caller owns the slot.
    #[inline]
    unsafe fn begin(&self, cargo: C, flags: u64) -> u32 {
        // SAFETY: the caller owns the slot, so no other access to the cell exists.
        self.cargo.with_mut(|cell| unsafe { *cell = Some(cargo) });
        self.detail.store(0, Ordering::Relaxed);
        let generation = self.generation();
        self.state.store(u64::from(generation) << GENERATION_SHIFT | flags, Ordering::Release);
        generation
    }

    /// Turns a prepared operation into one that waits for a permit.
    ///
    /// # Safety
    ///
    /// The caller has prepared this life without a permit, and holds the waiters' lock.
    pub(crate) unsafe fn wait_with(&self, entry: SubmissionEntry) {
        // SAFETY: nobody else knows of this life, so no other access to the cell exists.
        self.entry.with_mut(|cell| unsafe { *cell = entry });
        self.state.fetch_or(LIVE | WAITING, Ordering::Release);
    }

    /// Ends the wait: the operation is about to be pushed, and armed from here on. Gives the entry to push.
    ///
    /// # Safety
    ///
    /// The caller holds the waiters' lock and a permit for the operation, and found the slot among the waiters.
    pub(crate) unsafe fn grant(&self) -> SubmissionEntry {
        // SAFETY: while `WAITING` the cell belongs to the holder of the waiters' lock.
        let entry = self.entry.with_mut(|cell| unsafe { *cell });
        self.state.fetch_and(!WAITING, Ordering::AcqRel);
        entry
    }

    /// The deadline of an operation that waits, by its entry; 0 for none.
    ///
    /// # Safety
    ///
    /// The caller holds the waiters' lock and found the slot among the waiters.
    pub(crate) unsafe fn waiting_deadline(&self) -> u64 {
        // SAFETY: while `WAITING` the cell belongs to the holder of the waiters' lock.
        self.entry.with_mut(|cell| unsafe { (*cell).deadline })
    }

    /// The entry of an operation that waits.
    ///
    /// # Safety
    ///
    /// The caller holds the waiters' lock and found the slot among the waiters.
    pub(crate) unsafe fn waiting_entry(&self) -> SubmissionEntry {
        // SAFETY: while `WAITING` the cell belongs to the holder of the waiters' lock.
        self.entry.with_mut(|cell| unsafe { *cell })
    }

    /// Whether this life waits for a permit. Certain only under the waiters' lock.
    pub(crate) fn is_waiting(&self, key: Key) -> bool {
        self.holds(key, LIVE | WAITING | RESOLVED, LIVE | WAITING)
    }

    /// Whether its future attends.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn is_attended(&self) -> bool {
        self.state.load(Ordering::Acquire) & ATTENDED != 0
    }

    /// Whether a completion for `key` would be this life's first and only one.
    pub(crate) fn is_in_flight(&self, key: Key) -> bool {
        self.holds(key, LIVE | WAITING | RELEASED, LIVE)
    }

    /// Notes where the operation failed, ahead of its completion. `false` for a key that is not in flight.
    pub(crate) fn note_detail(&self, _role: &mut Role, key: Key, detail: u64) -> bool {
        let valid = self.is_in_flight(key);
        if valid {
            self.detail.store(detail, Ordering::Relaxed);
        }
        valid
    }

    /// Resolves an operation that the hardware may still be at. `None` for a key that is not in flight, and for one that
    /// was resolved before.
    pub(crate) fn resolve_early(&self, role: &mut Role, key: Key, result: u64) -> Option<Ended> {
        if !self.is_in_flight(key) || self.outcome().is_some() {
            return None;
        }
        Some(Ended { waker: self.resolve(role, result), recycle: false })
    }

    /// Resolves and releases the operation, and hands its cargo to `keep`. `None` for a key that is not in flight: a stale or made-up
    /// one.
    #[inline]
    pub(crate) fn complete(
        &self,
        role: &mut Role,
        key: Key,
        result: u64,
        keep: impl FnOnce(C),
    ) -> Option<Ended> {
        self.is_in_flight(key).then(|| self.end(role, result, keep))
    }

    /// Resolves and releases an operation that will never be pushed. One that waited stays marked so, and no
    /// completion matches it.
    ///
    /// # Safety
    ///
    /// The slot was never armed: the caller has prepared it, or holds the waiters' lock and has taken it off
    /// the queue.
    pub(crate) unsafe fn refuse(&self, result: u64) -> Finished<C> {
        let mut cargo = None;
        let ended = self.end(&mut Role(()), result, |kept| cargo = Some(kept));
        Finished { cargo, ended }
    }

    /// Hands the cargo over from where it is to where it goes: it is not laid down in between, where it would be read back before
    /// it is written.
    #[inline(always)]
    fn end(&self, role: &mut Role, result: u64, keep: impl FnOnce(C)) -> Ended {
        let state = self.state.load(Ordering::Acquire);
        if state & ATTENDED != 0 && self.end_attended(state, result) {
            return Ended { waker: None, recycle: false };
        }
        // SAFETY: in flight and not released, the cell belongs to the role, which the caller holds.
        self.cargo.with_mut(|cell| unsafe { (*cell).take().map(keep) });
        if state & (RESOLVED | WAKER | ATTENDED) == 0 {
            // No waker to take between the two: both in one exchange, unless the future comes just now.
            self.result.store(result, Ordering::Relaxed);
            let both = state | RESOLVED | RELEASED;
            let done =
                self.state.compare_exchange(state, both, Ordering::AcqRel, Ordering::Acquire);
            if done.is_ok() {
                return Ended { waker: None, recycle: state & DETACHED != 0 };
            }
        }
        self.end_in_steps(role, result)
    }

    /// Resolves and releases an operation that had this state and whose future attends. `false`: it does not any more.
    #[cold]
    fn end_attended(&self, state: u64, result: u64) -> bool {
        if state & RESOLVED == 0 {
            self.result.store(result, Ordering::Relaxed);
        }
        let both = state | RESOLVED | RELEASED;
        self.state.compare_exchange(state, both, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The future does not attend any more. If the operation was released before, this ends the life: gives the outcome, and hands the cargo
    /// to `keep`.
    ///
    /// # Safety
    ///
    /// The caller is this life's future, has attended, and does not use the key again once it was given something. The slot is its then.
    pub(super) unsafe fn leave(&self, keep: impl FnOnce(C)) -> Option<Ticket> {
        if self.state.fetch_and(!ATTENDED, Ordering::AcqRel) & RELEASED == 0 {
            return None;
        }
        let ticket = self.outcome();
        // SAFETY: released while it was attended: who released it has left the cell to the future.
        self.cargo.with_mut(|cell| unsafe { (*cell).take().map(keep) });
        // SAFETY: nobody writes the state of a life that is released, but its future.
        unsafe { self.end_life() };
        ticket
    }

    /// Ends an operation that has a waker to be taken, or was resolved early.
    fn end_in_steps(&self, role: &mut Role, result: u64) -> Ended {
        // Only the role resolves, and the caller has it: what is so now stays so.
        let resolved_early = self.state.load(Ordering::Acquire) & RESOLVED != 0;
        let waker = if resolved_early { None } else { self.resolve(role, result) };
        let detached = self.state.fetch_or(RELEASED, Ordering::AcqRel) & DETACHED != 0;
        let waker = waker.map(|left| LastCall { wanted: !detached, ..left });
        Ended { waker, recycle: detached }
    }

    /// Makes the outcome known, once in a life. Gives the waker.
    fn resolve(&self, _role: &mut Role, result: u64) -> Option<LastCall> {
        self.result.store(result, Ordering::Relaxed);
        let before = self.state.fetch_or(RESOLVED, Ordering::AcqRel);
        if before & WAKER == 0 {
            return None;
        }
        // SAFETY: (1) `WAKER` was set when `RESOLVED` was: the cell is the role's; (2) the slot is not
        // released, so nobody recycles it under us.
        let waker = self.waker.with_mut(|cell| unsafe { (*cell).take() })?;
        Some(LastCall { waker, wanted: before & DETACHED == 0 })
    }

    /// The outcome, if it is known. Does not detach.
    pub(crate) fn outcome(&self) -> Option<Ticket> {
        (self.state.load(Ordering::Acquire) & RESOLVED != 0).then(|| Ticket {
            result: self.result.load(Ordering::Relaxed),
            detail: self.detail.load(Ordering::Relaxed),
        })
    }

    /// Leaves a waker for the reaper, in place of an earlier one. After it returns, either `outcome` is
    /// there or the waker will be called. Gives what `identify` makes of the waker that the cell has now, which is a clone and may be
    /// told apart from the one given; nothing if there is none.
    ///
    /// # Safety
    ///
    /// The caller is this life's future, which exists once and has not detached.
    pub(crate) unsafe fn register<T>(
        &self,
        waker: &Waker,
        identify: impl FnOnce(&Waker) -> T,
    ) -> Option<T> {
        // Nobody but the future sets `WAKER`: where it is clear the cell is the future's already.
        let mut before = self.state.load(Ordering::Acquire);
        if before & WAKER != 0 {
            before = self.state.fetch_and(!WAKER, Ordering::AcqRel);
        }
        if before & RESOLVED != 0 {
            return None; // A waker that is still in the cell is the reaper's; there is none to leave.
        }
        let (replaced, left) = self.waker.with_mut(|cell| {
            // SAFETY: (1) `WAKER` was cleared, or found clear, while not resolved, so the cell is the future's; (2) a reaper that
            // resolves from now on sees `WAKER` clear and leaves the cell alone.
            let cell = unsafe { &mut *cell };
            let replaced = match cell {
                Some(present) if present.will_wake(waker) => None,
                _ => cell.replace(waker.clone()),
            };
            (replaced, cell.as_ref().map(identify))
        });
        let before = self.state.fetch_or(WAKER, Ordering::AcqRel);
        if before & RESOLVED != 0 {
            self.state.fetch_and(!WAKER, Ordering::AcqRel);
            // SAFETY: resolved with `WAKER` clear: the reaper passed the cell by, it is still the future's.
            drop(self.waker.with_mut(|cell| unsafe { (*cell).take() }));
        }
        drop(replaced);
        left
    }

    /// Ends a life that only its future and the role know of: resolved, released and detached at once. Hands its cargo to
    /// `keep`. `false` where somebody else has to do with it: it waits, has a waker, was resolved before, or is another life.
    ///
    /// # Safety
    ///
    /// The caller is this life's future, and does not use the key again where this is `true`. The slot is its then.
    #[inline]
    pub(super) unsafe fn end_own(&self, _role: &mut Role, key: Key, keep: impl FnOnce(C)) -> bool {
        if !self.holds(key, OTHERS | LIVE, LIVE) {
            return false;
        }
        // SAFETY: in flight and not released, the cell belongs to the role, which the caller holds.
        self.cargo.with_mut(|cell| unsafe { (*cell).take().map(keep) });
        // SAFETY: the state is written by this life's future and, of one that is in flight, by the role: the caller is both.
        unsafe { self.end_life() };
        true
    }

    /// The future is done with this life. `true`: the caller owns the slot now and puts it on the free list.
    ///
    /// # Safety
    ///
    /// The caller is this life's future and does not use the key again.
    pub(crate) unsafe fn detach(&self) -> bool {
        // Released while the future was still there: the releaser has left the slot to it, and nobody writes the word any more.
        self.state.load(Ordering::Acquire) & RELEASED != 0
            || self.state.fetch_or(DETACHED, Ordering::AcqRel) & RELEASED != 0
    }

    /// Ends a life: from here on no earlier key matches.
    ///
    /// # Safety
    ///
    /// The caller owns the slot: `detach` returned true, or `recycle` of [`Ended`] was set, or no key
    /// of this life was given away.
    pub(super) unsafe fn end_life(&self) {
        let generation = self.generation().wrapping_add(1);
        self.state.store(u64::from(generation) << GENERATION_SHIFT, Ordering::Release);
    }

    #[allow(
        clippy::cast_possible_truncation,
        reason = "the upper half of the word is the generation"
    )]
    pub(super) fn generation(&self) -> u32 {
        (self.state.load(Ordering::Relaxed) >> GENERATION_SHIFT) as u32
    }

    fn holds(&self, key: Key, mask: u64, bits: u64) -> bool {
        let state = self.state.load(Ordering::Acquire);
        state >> GENERATION_SHIFT == u64::from(key.generation) && state & mask == bits
    }
}

impl<C> fmt::Debug for Slot<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.load(Ordering::Relaxed);
        f.debug_struct("Slot")
            .field("generation", &(state >> GENERATION_SHIFT))
            .field("flags", &(state & 0xff))
            .finish_non_exhaustive()
    }
}
