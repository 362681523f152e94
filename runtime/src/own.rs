//! The end of an operation that its future waits for: what [`reap`](crate::reap) does in general, for one.
//!
//! A future that looks for the end of its operation, and finds nothing before it in the ring, has under the reap role all that could reach the slot: nobody
//! else completes, and nobody else polls or drops. So the life ends by plain stores, and there is no outcome to be left, no waker to be
//! taken and nothing to be put on a list: the slot is kept for the next, with its permit.
#![allow(unsafe_code, reason = "island: passes on that a slot's one future ends its life")]

use dmaring_ring::{CompletionCode, Key, completion};

use crate::{
    client::{Client, Reaper, RingPair},
    inflight::{FreeSlot, Ticket},
    reap::Load,
    submit::Laid,
    sync::{Ordering, fence},
};

/// What a look for an end finds.
#[derive(Debug)]
pub(crate) enum Found {
    /// The outcome, and the life is over.
    End(Ticket),
    /// The outcome stands in the slot.
    Outcome,
}

impl<C: Load, P: RingPair> Client<C, P> {
    /// Submits an operation in a slot that the caller has, with its permit, and whose future attends or does not. In place: the key stays in
    /// registers, where it is not written in halves and read as one.
    #[inline(always)]
    pub(crate) fn submit_in<'a, E: Into<Laid<'a>>>(
        &self,
        slot: FreeSlot,
        (cargo, attended): (C, bool),
        entry: impl FnOnce(Key) -> E,
    ) -> Result<Key, C> {
        match self.inflight.prepare_in(slot, cargo, attended) {
            Ok(key) => {
                self.push_laid(entry(key).into());
                Ok(key)
            }
            Err(cargo) => {
                self.return_permits(1);
                Err(cargo)
            }
        }
    }

    /// The future of an operation does not attend any more. If that has ended meanwhile so has its life: gives the outcome, and puts what
    /// it had to `cargo`.
    ///
    /// # Safety
    ///
    /// The caller is the one future of this life, has attended, and does not use the key again once it was given something. It keeps the
    /// runtime by itself.
    pub(crate) unsafe fn leave(&self, key: Key, cargo: &mut Option<C>) -> Option<Ticket> {
        // SAFETY: as the caller swears.
        let (ticket, slot) = unsafe { self.inflight.leave(key, |kept| *cargo = Some(kept)) }?;
        self.inflight.put_back(slot);
        Some(ticket)
    }

    /// Looks for the end of an operation. Leaves no waker. With the end it puts what the operation had to `cargo`, for the caller to drop.
    ///
    /// # Safety
    ///
    /// The caller is the one future of this life, and does not use the key again once it was given [`Found::End`].
    #[inline]
    pub(crate) unsafe fn look_for_end(&self, key: Key, cargo: &mut Option<C>) -> Option<Found> {
        let (header, slots) = (self.pair.header(), self.pair.completion_slots());
        if completion::peek(header, slots, self.reaped()) {
            let keep = |kept| *cargo = Some(kept);
            // SAFETY: as the caller swears.
            let ended = self.reaper.try_with(|reaper| unsafe { self.end_own(reaper, key, keep) });
            if let Some(Some((result, slot))) = ended {
                self.settle_own(slot);
                return Some(Found::End(Ticket { result, detail: 0 }));
            }
            // Others stand before it, or somebody else reaps.
            self.reap();
        }
        self.inflight.slot(key)?.outcome().map(|_| Found::Outcome)
    }

    /// Ends the operation if its end is the next in the ring, and is all there is to know. Gives the result, and the slot if one is kept already.
    ///
    /// # Safety
    ///
    /// As [`look_for_end`](Self::look_for_end) says.
    #[inline]
    unsafe fn end_own(
        &self,
        reaper: &mut Reaper,
        key: Key,
        keep: impl FnOnce(C),
    ) -> Option<(u64, Option<FreeSlot>)> {
        let (header, slots) = (self.pair.header(), self.pair.completion_slots());
        let mut ended = None;
        let entry = reaper.consumer.pop_if(header, slots, |entry| {
            // Of an end that is mixed the future reads on in what belongs to the slot.
            let ends_here = !matches!(
                entry.code(),
                CompletionCode::DETAIL | CompletionCode::EARLY | CompletionCode::MIXED
            );
            if entry.key == key && ends_here {
                // SAFETY: as the caller swears.
                ended = unsafe { self.inflight.end_own(&mut reaper.role, key, keep) };
            }
            ended.is_some()
        })?;
        reaper.consumer.release(header);
        self.reaped.store(reaper.consumer.position(), Ordering::Release);
        let left = self.permits.keep(&mut reaper.role, ended?).err();
        Some((entry.result_word(), left))
    }

    /// Does what is to be done once the role was given back.
    #[inline]
    fn settle_own(&self, left: Option<FreeSlot>) {
        // Others who did not get the role rely on a look after this, and so does who waits for a permit.
        fence(Ordering::SeqCst);
        if let Some(slot) = left {
            self.give_up(slot);
        } else if self.permits.is_wanted() {
            self.send_home();
        }
        if self.has_completions() {
            self.reap();
        }
    }

    /// Takes the slot that is kept, and its permit, unless others wait for permits or there are to be none.
    #[inline]
    pub(crate) fn take_kept(&self) -> Option<FreeSlot> {
        let slot = self.permits.take_kept()?;
        if self.permits.is_closed() {
            self.give_up(slot);
            return None;
        }
        Some(slot)
    }

    /// Closes for good: from now on nobody takes a permit, and none is kept. Not under the waiters' lock.
    pub(crate) fn close(&self) {
        self.permits.close();
        // Who keeps one looks, after a fence, whether there are to be none.
        fence(Ordering::SeqCst);
        self.send_home();
    }

    /// Gives up the slot that is kept, and its permit.
    #[cold]
    fn send_home(&self) {
        if let Some(slot) = self.permits.take_any_kept() {
            self.give_up(slot);
        }
    }

    /// Puts a slot on the free list, and its permit to the others.
    pub(crate) fn give_up(&self, slot: FreeSlot) {
        self.inflight.put_back(slot);
        self.return_permits(1);
    }
}
