//! Bytes of the host that others may read and write at the same time.
//!
//! Every access is one relaxed atomic byte. The pointer is kept as it was given, so that Miri knows
//! which allocation it belongs to and reports the access when that allocation is gone.
#![allow(unsafe_code, reason = "turns the address of a live mapping into atomic bytes")]

use std::{
    ptr::NonNull,
    sync::atomic::{AtomicU8, Ordering},
};

/// A range of memory that stays mapped for as long as this value lives.
#[derive(Debug)]
pub(crate) struct Span {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: (1) the range may be used from any thread: whoever made the span swore that it stays
// mapped; (2) every access is atomic.
unsafe impl Send for Span {}

impl Span {
    /// # Safety
    ///
    /// The caller swears that `length` bytes at `start` are mapped, readable, and writable if they
    /// are ever written through this span, until the span is dropped; and that other accesses at
    /// the same time are atomic bytes or ones that Rust's memory model has no word on.
    pub(crate) unsafe fn new(start: NonNull<u8>, length: usize) -> Self {
        Self { start, length }
    }

    pub(crate) fn length(&self) -> usize {
        self.length
    }

    pub(crate) fn read(&self, index: usize) -> u8 {
        self.byte(index).load(Ordering::Relaxed)
    }

    pub(crate) fn write(&self, index: usize, byte: u8) {
        self.byte(index).store(byte, Ordering::Relaxed);
    }

    fn byte(&self, index: usize) -> &AtomicU8 {
        assert!(index < self.length, "byte {index} of a span of {}", self.length);
        let byte = self.start.as_ptr().wrapping_add(index);
        // SAFETY: (1) the assertion keeps `byte` inside the span, which is mapped while `self` is
        // borrowed (`new`'s caller); (2) a byte is always aligned; (3) other accesses are atomic
        // (`new`'s caller).
        unsafe { AtomicU8::from_ptr(byte) }
    }
}
