//! Memory of the host behind a mapping, which drivers, users and devices touch at the same time.
//!
//! Every access is a relaxed atomic: an aligned word where source and destination allow it, else a byte.
//! Miri sees bytes alone for data, so that accesses of two sizes never race. The order of accesses is
//! not made here: the device's lock orders a doorbell before what it started, and [`Span::publish`]
//! orders a completion word after what it announces.
#![allow(unsafe_code, reason = "turns the memory of a live mapping into atomics")]

use std::{
    ops::Range,
    ptr::NonNull,
    slice,
    sync::atomic::{AtomicU8, AtomicU64, Ordering, fence},
};

const WORD: usize = size_of::<u64>();

/// A range of memory that stays mapped for as long as this value lives.
#[derive(Debug)]
pub(crate) struct Span {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: (1) the range may be used from any thread: whoever made the span swore that it stays mapped;
// (2) every access is atomic.
unsafe impl Send for Span {}

impl Span {
    /// # Safety
    ///
    /// The caller swears that `length` bytes at `start` are mapped, readable, and writable if they are
    /// ever written through this span, until the span is dropped; that `start` is a multiple of 8; and
    /// that other accesses at the same time are atomic, or of a kind that Rust's memory model has no
    /// word on.
    pub(crate) unsafe fn new(start: NonNull<u8>, length: usize) -> Self {
        Self { start, length }
    }

    /// Bytes of the range.
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// The eight bytes at `offset`, a multiple of 8, read at once, little endian.
    pub(crate) fn read_word(&self, offset: usize) -> u64 {
        u64::from_le(self.word(offset).load(Ordering::Relaxed))
    }

    /// Writes the eight bytes at `offset`, a multiple of 8, at once, little endian, after everything
    /// that this thread wrote before.
    pub(crate) fn publish(&self, offset: usize, word: u64) {
        fence(Ordering::Release);
        self.word(offset).store(word.to_le(), Ordering::Relaxed);
    }

    /// Copies `length` bytes from `from` in `source` to `offset`, upwards.
    pub(crate) fn copy(&self, offset: usize, source: &Span, from: usize, length: usize) {
        let head = head(offset, length);
        let body = if offset % WORD == from % WORD { (length - head) / WORD * WORD } else { 0 };
        self.copy_bytes(offset, source, from, head);
        let to_words = self.words(offset + head, body / WORD);
        let from_words = source.words(from + head, body / WORD);
        for (to, word) in to_words.iter().zip(from_words) {
            to.store(word.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        let done = head + body;
        self.copy_bytes(offset + done, source, from + done, length - done);
    }

    /// Writes the pattern's bytes, lowest first, again and again to `length` bytes at `offset`.
    pub(crate) fn fill(&self, offset: usize, length: usize, pattern: u64) {
        let head = head(offset, length);
        let body = (length - head) / WORD * WORD;
        self.fill_bytes(offset, head, pattern);
        let pattern = pattern.rotate_right(8 * (head % WORD) as u32);
        for word in self.words(offset + head, body / WORD) {
            word.store(pattern.to_le(), Ordering::Relaxed);
        }
        self.fill_bytes(offset + head + body, length - head - body, pattern);
    }

    fn copy_bytes(&self, offset: usize, source: &Span, from: usize, length: usize) {
        let to_bytes = self.bytes(offset..offset + length);
        let from_bytes = source.bytes(from..from + length);
        for (to, byte) in to_bytes.iter().zip(from_bytes) {
            to.store(byte.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    fn fill_bytes(&self, offset: usize, length: usize, pattern: u64) {
        let pattern = pattern.to_le_bytes().into_iter().cycle();
        for (to, byte) in self.bytes(offset..offset + length).iter().zip(pattern) {
            to.store(byte, Ordering::Relaxed);
        }
    }

    fn word(&self, offset: usize) -> &AtomicU64 {
        &self.words(offset, 1)[0]
    }

    fn bytes(&self, range: Range<usize>) -> &[AtomicU8] {
        let start = self.checked(range.clone()).cast::<AtomicU8>();
        // SAFETY: (1) `checked` keeps the range inside the span, which is mapped while `self` is borrowed
        // (`new`'s caller); (2) a byte is always aligned; (3) other accesses are atomic (`new`'s caller).
        unsafe { slice::from_raw_parts(start, range.len()) }
    }

    fn words(&self, offset: usize, count: usize) -> &[AtomicU64] {
        if count == 0 {
            return &[];
        }
        assert!(offset.is_multiple_of(WORD), "a word at byte {offset}");
        let start = self.checked(offset..offset + count * WORD).cast::<AtomicU64>();
        // SAFETY: (1) and (3) as in `bytes`; (2) the span's start and `offset` are multiples of 8
        // (`new`'s caller, the assertion).
        unsafe { slice::from_raw_parts(start, count) }
    }

    fn checked(&self, range: Range<usize>) -> *const u8 {
        let inside = range.start <= range.end && range.end <= self.length;
        assert!(inside, "bytes {range:?} of a span of {}", self.length);
        self.start.as_ptr().wrapping_add(range.start)
    }
}

/// How many bytes to move one by one before words begin.
fn head(offset: usize, length: usize) -> usize {
    if cfg!(miri) { length } else { (offset.wrapping_neg() % WORD).min(length) }
}

#[cfg(test)]
mod tests {
    use std::{ptr::NonNull, sync::atomic::AtomicU64};

    use super::{Ordering, Span};

    const LENGTH: usize = 128;

    /// Miri takes long for each length, so it looks at some of them.
    const STEP: usize = if cfg!(miri) { 13 } else { 1 };

    struct Pool(Vec<AtomicU64>);

    impl Pool {
        fn new(seed: u8) -> Self {
            let bytes: Vec<u8> = (0..128).map(|at: u8| at.wrapping_mul(7) ^ seed).collect();
            Self(
                bytes
                    .chunks(8)
                    .map(|chunk| u64::from_le_bytes(chunk.try_into().unwrap()))
                    .map(AtomicU64::new)
                    .collect(),
            )
        }

        fn span(&self) -> Span {
            let start = NonNull::from(self.0.as_slice()).cast();
            // SAFETY: the pool outlives the span in each test, is aligned to 8 and made of atomics.
            unsafe { Span::new(start, LENGTH) }
        }

        fn bytes(&self) -> Vec<u8> {
            self.0.iter().flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes()).collect()
        }
    }

    #[test]
    fn copies_move_their_range_and_nothing_else_at_every_alignment() {
        for offset in 0..9 {
            for from in 0..9 {
                for length in (0..40).step_by(STEP) {
                    let (source, destination) = (Pool::new(0), Pool::new(0xa5));
                    let mut expected = destination.bytes();
                    expected[offset..offset + length]
                        .copy_from_slice(&source.bytes()[from..from + length]);
                    destination.span().copy(offset, &source.span(), from, length);
                    assert_eq!(destination.bytes(), expected, "{offset} {from} {length}");
                }
            }
        }
    }

    #[test]
    fn fills_begin_with_the_lowest_byte_at_every_alignment() {
        let pattern = 0x0807_0605_0403_0201u64;
        for offset in 0..9 {
            for length in (0..40).step_by(STEP) {
                let pool = Pool::new(0xa5);
                let mut expected = pool.bytes();
                for at in 0..length {
                    expected[offset + at] = at as u8 % 8 + 1;
                }
                pool.span().fill(offset, length, pattern);
                assert_eq!(pool.bytes(), expected, "{offset} {length}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "of a span of 128")]
    fn a_range_past_the_end_is_refused() {
        Pool::new(0).span().fill(120, 9, 0);
    }
}
