//! Where a region is in its life, for those who copy from and to it with the CPU and those who submit operations.
//!
//! ```text
//! open ──begin──► ending ──► closed     its memory is gone, or not to be touched any more
//!                      └───► zeroed     zeroes stand where its memory was
//! ```
//!
//! Operations ask `bound` alone: below it every range has to end. It is one more than the region's length while that is open and
//! 0 from then on, which no range ends below, not even one of no bytes. So the check that every range passes anyway is also the
//! check for the end, at no cost. One that passes it at the same time as the end begins is waited for, or refused by the
//! poller: see `poller/quiet.rs`.
//!
//! Accesses by the CPU share a lock, and whoever takes the memory away holds it alone: no access is under way then, and
//! each that comes later sees the new stage. Reading goes on until zeroes stand there, and after; while a region is being
//! closed it is refused from the beginning, so that the lock is not held up.

use std::{
    mem,
    sync::{
        PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
};

#[derive(Debug)]
#[repr(C)]
pub(super) struct Life {
    /// Below it is the end of every range that operations may name.
    bound: AtomicU64,
    /// An [`End`] once it has begun, or `OPEN`.
    ending: AtomicU8,
    stage: RwLock<Stage>,
}

const OPEN: u8 = 0;

/// Which end a region comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum End {
    /// Its memory is given back, to the system or to whoever had registered it.
    Close = 1,
    /// Zeroes take its memory's place.
    Zeroes = 2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Open,
    Zeroed,
    Closed,
}

/// Holds the memory where it is.
pub(super) type Held<'a> = RwLockReadGuard<'a, Stage>;

impl Life {
    /// How many of its bytes, the first, operations look at.
    pub(super) const GLANCED_AT: usize = mem::offset_of!(Self, bound) + size_of::<AtomicU64>();

    pub(super) fn new(length: u64) -> Self {
        Self {
            bound: AtomicU64::new(length.saturating_add(1)),
            ending: AtomicU8::new(OPEN),
            stage: RwLock::new(Stage::Open),
        }
    }

    /// Whether operations may name a range that ends at `end`.
    #[inline]
    pub(super) fn may_end_at(&self, end: u64) -> bool {
        end < self.bound.load(Ordering::Relaxed)
    }

    /// Whether an end has begun.
    pub(super) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire) != OPEN
    }

    /// Begins an end. `false`: another has begun before.
    pub(super) fn begin(&self, end: End) -> bool {
        let begun =
            self.ending.compare_exchange(OPEN, end as u8, Ordering::AcqRel, Ordering::Acquire);
        if begun.is_ok() {
            self.bound.store(0, Ordering::Relaxed);
        }
        begun.is_ok()
    }

    /// Takes part in reading. `None`: there is nothing to read any more.
    pub(super) fn reading(&self) -> Option<Held<'_>> {
        if self.ending.load(Ordering::Acquire) == End::Close as u8 {
            return None;
        }
        let held = self.stage.read().unwrap_or_else(PoisonError::into_inner);
        (*held != Stage::Closed).then_some(held)
    }

    /// Takes part in writing. `None`: an end has begun.
    pub(super) fn writing(&self) -> Option<Held<'_>> {
        if self.is_ending() {
            return None;
        }
        let held = self.stage.read().unwrap_or_else(PoisonError::into_inner);
        (*held == Stage::Open).then_some(held)
    }

    /// Waits for accesses that are under way, then lets `change` take the memory away or replace it.
    pub(super) fn end<T>(&self, change: impl FnOnce() -> (Stage, T)) -> T {
        let mut held = self.stage.write().unwrap_or_else(PoisonError::into_inner);
        let (stage, outcome) = change();
        *held = stage;
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_region_is_neither_read_nor_written_nor_named() {
        let life = Life::new(100);
        assert!(life.reading().is_some() && life.writing().is_some());
        assert!(life.may_end_at(100) && life.may_end_at(0) && !life.may_end_at(101));
        assert!(life.begin(End::Close));
        assert!(!life.begin(End::Zeroes), "there is one end");
        assert!(!life.may_end_at(100) && !life.may_end_at(0), "nor are no bytes of it");
        assert!(life.reading().is_none() && life.writing().is_none());
    }

    #[test]
    fn a_region_that_is_replaced_is_read_all_the_time() {
        let life = Life::new(100);
        assert!(life.begin(End::Zeroes));
        assert!(life.reading().is_some() && life.writing().is_none());
        life.end(|| (Stage::Zeroed, ()));
        assert!(life.reading().is_some() && life.writing().is_none());
        life.end(|| (Stage::Closed, ()));
        assert!(life.reading().is_none());
    }
}
