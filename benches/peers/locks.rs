//! The locked instructions that a copy takes in the runtime, besides the rings' own, on words that no other core uses.

use std::sync::atomic::{AtomicU64, Ordering, fence};

/// Words in lines of their own, written by the locked instructions of a copy that are not the ring's.
#[derive(Debug, Default)]
pub(crate) struct Words {
    handles: [Line; 2],
    permits: Line,
    free: Line,
    holds: Line,
    role: Line,
    state: Line,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Line(AtomicU64);

impl Words {
    /// Handles of both regions are taken: for a copy by itself, or for the copies of a batch that share an entry.
    pub(crate) fn of_two_handles(&self) {
        for handles in &self.handles {
            handles.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A permit, a slot off the free list and back on it, and the runtime that is kept and let go, of a copy that is not awaited at once.
    pub(crate) fn of_some(&self) {
        self.permits.exchange();
        self.free.exchange();
        self.free.exchange();
        self.of_a_hold();
    }

    /// The runtime is kept and let go.
    pub(crate) fn of_a_hold(&self) {
        self.holds.0.fetch_add(1, Ordering::Relaxed);
        self.holds.0.fetch_sub(1, Ordering::Release);
    }

    /// What one copy that is awaited takes before it is pushed, or those that share an entry: handles of both regions, and a slot with its permit.
    pub(crate) fn begin(&self) {
        self.of_two_handles();
        self.free.exchange();
    }

    /// And what they take when the answer is there: the role of who reaps, a fence once that was given back, and the handles.
    pub(crate) fn end(&self) {
        self.role.exchange();
        self.role.0.store(0, Ordering::Release);
        fence(Ordering::SeqCst);
        for handles in &self.handles {
            handles.0.fetch_sub(1, Ordering::Release);
        }
    }

    /// The slot is resolved and released.
    pub(crate) fn of_an_end(&self) {
        self.state.exchange();
    }
}

impl Line {
    fn exchange(&self) {
        let now = self.0.load(Ordering::Acquire);
        // Nobody else writes it.
        let _ = self.0.compare_exchange(now, now + 1, Ordering::AcqRel, Ordering::Acquire);
    }
}
