//! Operations that are submitted together: their permits, their slots, their places in the ring and the doorbell are had at once.
#![allow(unsafe_code, reason = "island: tells which operations were prepared with a permit")]

use dmaring_ring::{Key, SubmissionEntry};

use crate::{
    client::{Client, RingPair},
    inflight::Reserve,
    reap::Load,
};

/// Operations that are submitted together, under one doorbell, when it is dropped: as many as there were permits, the rest into the
/// queue. Those that cannot be taken are resolved with a refusal.
pub(crate) struct Collected<'a, C: Load, P: RingPair> {
    client: &'a Client<C, P>,
    slots: Reserve<'a, C>,
    /// Those that no operation has yet.
    permits: u32,
    /// How many of the entries are of operations that have one: the first.
    armed: usize,
    entries: &'a mut Vec<SubmissionEntry>,
}

impl<C: Load, P: RingPair> Collected<'_, C, P> {
    /// Prepares an operation. `entry` is its ring entry but for the key. The cargo comes back when there can be no more.
    #[inline]
    pub(crate) fn add(&mut self, cargo: C, entry: SubmissionEntry) -> Result<Key, C> {
        let permit = self.permits > 0;
        let key = self.slots.prepare(cargo, permit)?;
        self.permits -= u32::from(permit);
        self.armed += usize::from(permit);
        self.entries.push(SubmissionEntry { key, ..entry });
        Ok(key)
    }
}

impl<C: Load, P: RingPair> Drop for Collected<'_, C, P> {
    fn drop(&mut self) {
        // SAFETY: `add` prepared all of them, with permits while there were some, and they are submitted nowhere else.
        unsafe { self.client.submit_prepared(self.entries, self.armed, self.permits) };
    }
}

impl<C: Load, P: RingPair> Client<C, P> {
    /// Begins to submit up to so many operations together, whose entries are collected in a list that has none.
    pub(crate) fn collect<'a>(
        &'a self,
        operations: usize,
        entries: &'a mut Vec<SubmissionEntry>,
    ) -> Collected<'a, C, P> {
        entries.clear();
        entries.reserve(operations);
        let wanted = u32::try_from(operations).unwrap_or(u32::MAX);
        Collected {
            client: self,
            slots: self.inflight.reserve(wanted),
            permits: self.permits.try_acquire(wanted).unwrap_or(0),
            armed: 0,
            entries,
        }
    }
}
