//! Copies and fills of shared memory in relaxed atomics, for processors without routines of their
//! own and for Miri.
//!
//! Bytes where source and destination are aligned differently, words of eight where they are
//! aligned alike. Under Miri always bytes: it rightly refuses that two threads race on one place in
//! accesses of different sizes, which no processor minds.
#![allow(unsafe_code, reason = "turns addresses of mapped memory into atomics")]

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

use crate::routines::Routines;

const WORD: usize = size_of::<u64>();

/// The set for this build.
pub(crate) fn routines() -> &'static Routines {
    if cfg!(miri) { &BYTES } else { &WORDS }
}

pub(crate) static BYTES: Routines = Routines {
    name: "portable bytes",
    streams: false,
    short: 0,
    copy: copy_bytes,
    copy_streaming: copy_bytes,
    copy_ahead: None,
    fill: fill_bytes,
    fill_streaming: fill_bytes,
    fence: nothing_to_order,
};

pub(crate) static WORDS: Routines = Routines {
    name: "portable",
    streams: false,
    short: 0,
    copy: copy_words,
    copy_streaming: copy_words,
    copy_ahead: None,
    fill: fill_words,
    fill_streaming: fill_words,
    fence: nothing_to_order,
};

/// These are ordinary stores: the release store that publishes a completion comes after them.
fn nothing_to_order() {}

/// # Safety
///
/// As [`CopyRoutine`](crate::routines::CopyRoutine) says.
pub(crate) unsafe fn copy_bytes(destination: *mut u8, source: *const u8, length: usize) {
    for index in 0..length {
        // SAFETY: (1) `index` is below `length`, so the byte may be read (caller); (2) others
        // access it atomically or outside Rust's memory model (caller).
        let from = unsafe { AtomicU8::from_ptr(source.wrapping_add(index).cast_mut()) };
        // SAFETY: as above, for writing.
        let to = unsafe { AtomicU8::from_ptr(destination.wrapping_add(index)) };
        to.store(from.load(Relaxed), Relaxed);
    }
}

/// # Safety
///
/// As [`CopyRoutine`](crate::routines::CopyRoutine) says.
unsafe fn copy_words(destination: *mut u8, source: *const u8, length: usize) {
    let head = if (destination.addr() ^ source.addr()).is_multiple_of(WORD) {
        length.min(destination.addr().wrapping_neg() % WORD)
    } else {
        length
    };
    let body = (length - head) / WORD;
    // SAFETY: the head is part of the ranges (caller).
    unsafe { copy_bytes(destination, source, head) };
    for word in 0..body {
        let at = head + word * WORD;
        // SAFETY: (1) the word lies within the source (caller); (2) it is aligned: `head` ends at a
        // multiple of eight in the destination, and the source is aligned alike; (3) others as in
        // `copy_bytes`.
        let from = unsafe { AtomicU64::from_ptr(source.wrapping_add(at).cast_mut().cast()) };
        // SAFETY: as above, for the destination.
        let to = unsafe { AtomicU64::from_ptr(destination.wrapping_add(at).cast()) };
        to.store(from.load(Relaxed), Relaxed);
    }
    let tail = head + body * WORD;
    let (to, from) = (destination.wrapping_add(tail), source.wrapping_add(tail));
    // SAFETY: the tail is part of the ranges (caller).
    unsafe { copy_bytes(to, from, length - tail) };
}

/// # Safety
///
/// As [`FillRoutine`](crate::routines::FillRoutine) says.
unsafe fn fill_bytes(destination: *mut u8, pattern: u64, length: usize) {
    let bytes = pattern.to_le_bytes();
    for index in 0..length {
        // SAFETY: (1) `index` is below `length`, so the byte may be written (caller); (2) others
        // access it atomically or outside Rust's memory model (caller).
        let to = unsafe { AtomicU8::from_ptr(destination.wrapping_add(index)) };
        to.store(bytes[index % WORD], Relaxed);
    }
}

/// # Safety
///
/// As [`FillRoutine`](crate::routines::FillRoutine) says.
unsafe fn fill_words(destination: *mut u8, pattern: u64, length: usize) {
    let head = length.min(destination.addr().wrapping_neg() % WORD);
    let body = (length - head) / WORD;
    // SAFETY: the head is part of the range (caller).
    unsafe { fill_bytes(destination, pattern, head) };
    // The pattern as the words after the head see it: their first byte is byte `head` of it.
    let rotated = pattern.rotate_right(8 * (head % WORD) as u32);
    for word in 0..body {
        let at = destination.wrapping_add(head + word * WORD);
        // SAFETY: (1) the word lies within the destination (caller); (2) `head` ends at a multiple
        // of eight; (3) others as in `fill_bytes`.
        let to = unsafe { AtomicU64::from_ptr(at.cast()) };
        to.store(rotated.to_le(), Relaxed);
    }
    let tail = head + body * WORD;
    // SAFETY: the tail is part of the range (caller).
    unsafe { fill_bytes(destination.wrapping_add(tail), rotated, length - tail) };
}
