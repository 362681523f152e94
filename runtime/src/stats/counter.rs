//! One word that one thread writes and anybody reads.

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter with one writer: adding is a load and a store, without a locked instruction.
#[derive(Debug, Default)]
#[repr(transparent)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds. Only the poller may.
    #[inline]
    pub(crate) fn add(&self, value: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(value), Ordering::Relaxed);
    }

    /// Sets what is no sum. Only the poller may.
    #[inline]
    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
