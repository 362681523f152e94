//! The way there: permit, slot, entry, ring, doorbell.
#![allow(
    unsafe_code,
    reason = "island: upholds the slot's ownership rules while an operation is submitted"
)]

use dmaring_ring::{
    CompletionCode, CompletionEntry, Key, SubmissionEntry, beside::Beside, handshake,
    prefetch::ForWriting, submission,
};

use crate::{
    client::{Client, NO_DEADLINE, RingPair},
    inflight::{Finished, Ticket},
    permit::{Closed, Queue},
    reap::{Leftovers, Load},
    sync::{MutexGuard, Ordering},
};

/// With how many entries in flight the poller is taken to be behind, so that it does not look at the slot that comes next. It may have caught up all the
/// same, with as many under way in an engine; then the slot's line is fetched in vain.
const MANY: u64 = 8;

/// Why an operation was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The runtime shuts down or is lost.
    Closed,
    /// No permit is free, and the caller would not wait.
    QueueFull,
    /// More unclaimed operations than the table can number.
    TableFull,
}

/// An entry, with what is written beside it before it is published.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Laid<'a> {
    pub(crate) entry: SubmissionEntry,
    pub(crate) beside: Option<Beside<'a>>,
}

impl From<SubmissionEntry> for Laid<'_> {
    #[inline]
    fn from(entry: SubmissionEntry) -> Self {
        Self { entry, beside: None }
    }
}

impl<C: Load, P: RingPair> Client<C, P> {
    /// Submits an operation: into the ring if a permit is free, else into the queue for one. `entry` makes the ring entry for the
    /// key, once and before anybody else knows of it, or is not called. Where the operation is refused the key names nothing any
    /// more, whoever was told of it, and the cargo comes back.
    #[inline]
    pub(crate) fn submit<'a, E: Into<Laid<'a>>>(
        &self,
        cargo: C,
        entry: impl FnOnce(Key) -> E,
    ) -> Result<Key, (Refusal, Option<C>)> {
        if let Some(slot) = self.take_kept() {
            let submitted = self.submit_in(slot, (cargo, false), entry);
            return submitted.map_err(|cargo| (Refusal::TableFull, Some(cargo)));
        }
        let permits = match self.permits.try_acquire(1) {
            Ok(permits) => permits,
            Err(Closed) => return Err((Refusal::Closed, Some(cargo))),
        };
        let key = match self.inflight.prepare(cargo, permits > 0) {
            Ok(key) => key,
            Err(cargo) => {
                self.return_permits(permits);
                return Err((Refusal::TableFull, Some(cargo)));
            }
        };
        let laid = entry(key).into();
        if permits > 0 {
            self.push_laid(laid);
            return Ok(key);
        }
        if let Some(beside) = laid.beside {
            beside.write();
        }
        self.queue_up(&[laid.entry]).map(|()| key).map_err(|Closed| {
            // SAFETY: the operation was neither armed nor queued. Who made its entry forgets the key when this returns, and nothing
            // foreign runs before.
            (Refusal::Closed, unsafe { self.inflight.take_back(key) })
        })
    }

    /// Submits an operation only if a permit is free.
    pub(crate) fn try_submit(
        &self,
        cargo: C,
        entry: impl FnOnce(Key) -> SubmissionEntry,
    ) -> Result<Key, (Refusal, C)> {
        if let Some(slot) = self.take_kept() {
            let submitted = self.submit_in(slot, (cargo, false), entry);
            return submitted.map_err(|cargo| (Refusal::TableFull, cargo));
        }
        match self.permits.try_acquire(1) {
            Ok(0) => return Err((Refusal::QueueFull, cargo)),
            Ok(_) => {}
            Err(Closed) => return Err((Refusal::Closed, cargo)),
        }
        let key = self.inflight.prepare(cargo, true).map_err(|cargo| {
            self.return_permits(1);
            (Refusal::TableFull, cargo)
        })?;
        self.push(&[entry(key)]);
        Ok(key)
    }

    /// Submits prepared operations in order, under one doorbell: the first `armed` of them into the ring, the rest into the queue. Those
    /// that cannot be taken are resolved with a refusal. `unused` permits come home in between.
    ///
    /// # Safety
    ///
    /// The caller has prepared all of them and submits them once: the first `armed` with a permit each, the others without.
    pub(crate) unsafe fn submit_prepared(
        &self,
        entries: &[SubmissionEntry],
        armed: usize,
        unused: u32,
    ) {
        let (now, later) = entries.split_at(armed.min(entries.len()));
        self.push(now);
        self.return_permits(unused);
        if !later.is_empty() && self.queue_up(later).is_err() {
            self.refuse_all(later, CompletionCode::SHUTDOWN);
        }
    }

    /// Resolves the longest waiters with a refusal until nobody waits: the permits were closed. Says whether
    /// anybody waited.
    pub(crate) fn refuse_waiters(&self, code: CompletionCode) -> bool {
        let mut refused = false;
        while self.refuse_some(code, 0) {
            refused = true;
        }
        refused
    }

    /// Resolves some of the longest waiters with a refusal of this kind. `false`: nobody waited. Their wakers may queue up
    /// others, so that a caller who does not close the permits does not ask for all.
    pub(crate) fn refuse_some(&self, code: CompletionCode, kind: u8) -> bool {
        let mut leftovers = Leftovers::new();
        let mut queue = self.permits.queue();
        let mut refused = false;
        while leftovers.has_room()
            && let Some(key) = queue.front(&self.inflight)
        {
            queue.remove(&self.inflight, key);
            if let Some(finished) = self.refuse(key, code, kind) {
                leftovers.put(finished);
            }
            self.permits.served(1);
            refused = true;
        }
        self.forget_deadline(&queue);
        drop(queue);
        leftovers.deliver();
        refused
    }

    /// The earliest deadline of those who wait, if one has any. It may be of one that waits no more.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        let earliest = self.waiters_deadline.load(Ordering::Relaxed);
        (earliest != NO_DEADLINE).then_some(earliest)
    }

    /// Resolves waiters whose deadline is not after `now` as late: they were not begun. `count` hears how many, before their
    /// futures do.
    ///
    /// As many as are reaped at a time, so that wakers that queue up others do not keep the caller; `next_deadline` says
    /// whether there may be more. It walks the queue, under its lock: as far as so many late ones, or once to its end. That is
    /// as long as the queue, and happens only when a deadline in it has passed.
    pub(crate) fn expire_waiters(&self, now: u64, count: impl FnOnce(u64)) {
        let mut leftovers = Leftovers::new();
        self.expire_some(now, self.permits.queue(), &mut leftovers);
        count(leftovers.len());
        leftovers.deliver();
    }

    /// Takes late waiters off the queue while there is room for what they leave. The deadline that is noted stays as it is
    /// if there was not enough.
    fn expire_some(
        &self,
        now: u64,
        mut queue: MutexGuard<'_, Queue>,
        leftovers: &mut Leftovers<C>,
    ) {
        let mut earliest = NO_DEADLINE;
        let mut next = queue.front(&self.inflight);
        while let Some(key) = next {
            if !leftovers.has_room() {
                return;
            }
            let (_, behind) = self.inflight.links(key.index);
            next = self.inflight.current_key(behind);
            let Some(slot) = self.inflight.slot(key) else { continue };
            // SAFETY: we hold the waiters' lock and found the slot in the queue.
            let deadline = unsafe { slot.waiting_deadline() };
            if deadline == 0 {
                continue;
            }
            if deadline > now {
                earliest = earliest.min(deadline);
                continue;
            }
            queue.remove(&self.inflight, key);
            if let Some(finished) = self.refuse(key, CompletionCode::EARLY, 0) {
                leftovers.put(finished);
            }
            self.permits.served(1);
        }
        self.waiters_deadline.store(earliest, Ordering::Relaxed);
    }

    /// Whether the entry of one that waits for a permit passes `test`. It walks the queue, under its lock.
    #[cfg_attr(loom, allow(dead_code, reason = "its user is not built under loom"))]
    pub(crate) fn any_waiting(&self, test: impl Fn(&SubmissionEntry) -> bool) -> bool {
        let queue = self.permits.queue();
        let mut next = queue.front(&self.inflight);
        while let Some(key) = next {
            let (_, behind) = self.inflight.links(key.index);
            next = self.inflight.current_key(behind);
            let Some(slot) = self.inflight.slot(key) else { continue };
            // SAFETY: we hold the waiters' lock and found the slot in the queue.
            if test(&unsafe { slot.waiting_entry() }) {
                return true;
            }
        }
        false
    }

    /// Notes a deadline of one that waits, under the waiters' lock.
    fn note_deadline(&self, deadline: u64, _queue: &Queue) {
        let known = self.waiters_deadline.load(Ordering::Relaxed);
        self.waiters_deadline.store(known.min(deadline), Ordering::Relaxed);
    }

    /// Forgets the deadline when nobody waits any more, under the waiters' lock: the poller would watch for nothing.
    fn forget_deadline(&self, queue: &Queue) {
        if queue.is_empty() {
            self.waiters_deadline.store(NO_DEADLINE, Ordering::Relaxed);
        }
    }

    /// The future of `key` is dropped. A waiter leaves the queue, and its cargo is dropped; an operation in flight goes on and its
    /// slot is recycled when it ends.
    ///
    /// # Safety
    ///
    /// The caller is the one future of this life and does not use the key again.
    #[inline]
    pub(crate) unsafe fn abandon(&self, key: Key) {
        if self.inflight.slot(key).is_some_and(|slot| slot.is_waiting(key)) {
            // By itself: what it leaves is laid down only there.
            // SAFETY: as the caller swears.
            unsafe { self.abandon_waiter(key) };
        } else {
            // SAFETY: as the caller swears.
            unsafe { self.leave_alone(key) };
        }
    }

    /// # Safety
    ///
    /// As [`abandon`](Self::abandon) says.
    #[cold]
    unsafe fn abandon_waiter(&self, key: Key) {
        let left = self.leave_queue(key);
        // SAFETY: as the caller swears.
        unsafe { self.leave_alone(key) };
        if let Some(finished) = left {
            finished.deliver();
        }
    }

    /// # Safety
    ///
    /// As [`abandon`](Self::abandon) says; the operation waits for no permit.
    #[inline]
    unsafe fn leave_alone(&self, key: Key) {
        let slot = self.inflight.slot(key);
        let is_under_way = slot.is_some_and(|slot| slot.outcome().is_none_or(Ticket::is_early));
        // SAFETY: as the caller swears.
        unsafe { self.inflight.detach(key) };
        if is_under_way {
            // It may never have been polled, and nobody else may poll: the poller is asked to take back what it keeps.
            self.request_notify();
        }
    }

    fn leave_queue(&self, key: Key) -> Option<Finished<C>> {
        let mut queue = self.permits.queue();
        if !self.inflight.slot(key)?.is_waiting(key) {
            return None; // It was pushed or refused just now.
        }
        queue.remove(&self.inflight, key);
        let finished = self.refuse(key, CompletionCode::ABORTED, 0);
        self.permits.served(1);
        self.forget_deadline(&queue);
        finished
    }

    fn refuse(&self, key: Key, code: CompletionCode, kind: u8) -> Option<Finished<C>> {
        let slot = self.inflight.slot(key)?;
        let result = CompletionEntry::new(key, code, kind, 0).result_word();
        // SAFETY: our callers have prepared the slot without a permit, or hold the waiters' lock and have just taken
        // it off the queue.
        let finished = unsafe { slot.refuse(result) };
        self.inflight.settle(key, &finished.ended);
        Some(finished)
    }

    /// Resolves operations that are in no ring and no queue.
    fn refuse_all(&self, entries: &[SubmissionEntry], code: CompletionCode) {
        for entry in entries {
            if let Some(finished) = self.refuse(entry.key, code, 0) {
                finished.deliver();
            }
        }
    }

    /// Pushes an entry that holds a permit, and rings the doorbell. In place: most have nothing beside them, which is known there.
    #[inline(always)]
    pub(crate) fn push_laid(&self, Laid { entry, beside }: Laid<'_>) {
        match beside {
            None => self.push(&[entry]),
            Some(beside) => self.push_beside(&entry, beside),
        }
    }

    fn push_beside(&self, entry: &SubmissionEntry, beside: Beside<'_>) {
        let (header, slots) = (self.pair.header(), self.pair.submission_slots());
        self.check_pushed(submission::push_beside(header, slots, (entry, beside), self.fetch()));
        self.ring_doorbell();
    }

    /// Pushes entries that hold permits, and rings the doorbell.
    pub(crate) fn push(&self, entries: &[SubmissionEntry]) {
        if entries.is_empty() {
            return;
        }
        self.push_armed(entries);
        self.ring_doorbell();
    }

    /// Pushes entries whose operations are armed. A ring that does not take what has a permit had its shared
    /// words overwritten: nothing more goes through it, and the poller resolves what is in flight as lost.
    fn push_armed(&self, entries: &[SubmissionEntry]) {
        let (header, slots) = (self.pair.header(), self.pair.submission_slots());
        let pushed = match self.fetch() {
            Some(fetch) => submission::push_and_fetch(header, slots, entries, fetch),
            None => submission::push(header, slots, entries),
        };
        self.check_pushed(pushed);
    }

    /// How to fetch the slot behind what is pushed, if that is of use.
    #[inline]
    fn fetch(&self) -> Option<ForWriting> {
        self.for_writing.filter(|_| self.permits.out() >= MANY)
    }

    #[inline]
    fn check_pushed(&self, pushed: Result<(), submission::Full>) {
        if pushed.is_err() {
            self.permits.close();
            self.pair.report_corrupt();
        }
    }

    fn ring_doorbell(&self) {
        if self.sleeps && handshake::must_wake(self.pair.header()) {
            self.pair.wake_poller();
        }
    }

    /// Appends operations to the queue for permits, or pushes them if permits have come home meanwhile.
    fn queue_up(&self, entries: &[SubmissionEntry]) -> Result<(), Closed> {
        let count = u32::try_from(entries.len()).unwrap_or(u32::MAX);
        let mut queue = self.permits.queue_up(count);
        // Whoever closes takes this lock afterwards, and refuses all it finds in the queue.
        if self.permits.is_closed() {
            self.permits.served(count);
            return Err(Closed);
        }
        for &entry in entries {
            if let Some(slot) = self.inflight.slot(entry.key) {
                // SAFETY: (1) the slot is prepared and in no ring; (2) we hold the waiters' lock.
                unsafe { slot.wait_with(entry) };
            }
            queue.push_back(&self.inflight, entry.key);
        }
        let earliest = entries.iter().map(|entry| entry.deadline).filter(|&at| at != 0).min();
        if let Some(earliest) = earliest {
            self.note_deadline(earliest, &queue);
        }
        self.serve(queue);
        if earliest.is_some() {
            // A poller that is about to sleep looks at the deadlines after it said so.
            self.ring_doorbell();
        }
        // Permits come home when completions are reaped: by the poller, if nobody polls.
        self.request_notify();
        Ok(())
    }

    /// Returns permits, and serves who waits for them.
    pub(crate) fn return_permits(&self, count: u32) {
        if count > 0 && self.permits.release(count) {
            self.serve(self.permits.queue());
        }
    }

    /// Hands permits at home to the front of the queue, by pushing the waiters' entries for them.
    fn serve(&self, mut queue: MutexGuard<'_, Queue>) {
        let mut pushed = false;
        if let Some(slot) = self.permits.take_any_kept() {
            self.inflight.put_back(slot);
            // Those who wait are served here.
            let _ = self.permits.release(1);
        }
        while let Some(key) = queue.front(&self.inflight)
            && self.permits.take(1) == Ok(1)
        {
            queue.remove(&self.inflight, key);
            let Some(slot) = self.inflight.slot(key) else { continue };
            // SAFETY: we hold the waiters' lock and have just taken this slot off the queue.
            let entry = unsafe { slot.grant() };
            self.push_armed(&[entry]);
            self.permits.served(1);
            pushed = true;
        }
        self.forget_deadline(&queue);
        drop(queue);
        if pushed {
            // Its future may have asked before the entry stood in the ring, and the poller taken that back since.
            handshake::request_notify(self.pair.header());
            self.ring_doorbell();
        }
    }
}
