//! An allocator that counts.
#![allow(unsafe_code, reason = "island: passes allocations on to the system's allocator")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static DEALLOCATIONS: AtomicU64 = AtomicU64::new(0);

/// The system's allocator, which counts the calls of every thread of the process.
pub(crate) struct Counting;

/// How often memory was allocated, and how often given back. A reallocation counts as both.
pub(crate) fn counts() -> [u64; 2] {
    [ALLOCATIONS.load(Relaxed), DEALLOCATIONS.load(Relaxed)]
}

// SAFETY: everything is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        DEALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}
