//! Ring memory that stands in for a mapping: heap memory, zeroed and aligned to a page.
#![allow(unsafe_code, reason = "makes rings in heap memory and looks at it word by word")]
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::{
    ptr::NonNull,
    slice,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

use dmaring_ring::{
    CompletionCode, CompletionEntry, Key, Layout, LayoutError, Rings, SubmissionEntry,
};

#[derive(Clone, Copy)]
#[repr(C, align(4096))]
struct Page([u8; 4096]);

/// Memory for rings, and the rings that `create` made in it.
pub(crate) struct Memory {
    base: NonNull<u8>,
    length: usize,
    _pages: Vec<Page>,
    rings: Option<Rings>,
}

// SAFETY: the pages are reached through the base alone, and as atomics.
unsafe impl Sync for Memory {}

impl Memory {
    /// Zeroed memory of this many bytes, a multiple of 4096.
    pub(crate) fn zeroed(length: usize) -> Self {
        let mut pages = vec![Page([0; 4096]); length / 4096];
        let base = NonNull::new(pages.as_mut_ptr().cast()).expect("a vector has an address");
        Self { base, length, _pages: pages, rings: None }
    }

    /// Fresh rings for this many entries.
    pub(crate) fn create(entries: u32) -> Self {
        let layout = Layout::new(entries).expect("a legal number of entries");
        let mut memory = Self::zeroed(layout.size());
        // SAFETY: (1) the vector owns that many zeroed bytes and is never touched again before it is dropped
        // together with the rings; (2) they are reached as atomics only; (3) nobody else knows of them.
        let rings = unsafe { Rings::create(memory.base, memory.length, layout) };
        memory.rings = Some(rings.expect("memory as the layout asks for"));
        memory
    }

    pub(crate) fn rings(&self) -> &Rings {
        self.rings.as_ref().expect("rings were created")
    }

    /// What a peer does that was given the memory from `offset` on, and told this length. The result does
    /// not outlive the memory in any test.
    pub(crate) fn attach(&self, offset: usize, length: usize) -> Result<Rings, LayoutError> {
        assert!(offset + length <= self.length);
        let base = self.base.as_ptr().wrapping_add(offset);
        let base = NonNull::new(base).expect("inside an allocation");
        // SAFETY: (1) the range lies in the vector, as asserted, which outlives the rings; (2) it is reached as
        // atomics only.
        unsafe { Rings::attach(base, length) }
    }

    /// How many words of eight bytes the memory has.
    pub(crate) fn words(&self) -> usize {
        self.length / 8
    }

    /// What stands in the word with this index, as a peer sees it.
    pub(crate) fn load(&self, word: usize) -> u64 {
        if HALVES.contains(&word) {
            let [low, high] = self.halves(word).each_ref().map(|half| half.load(Ordering::Relaxed));
            u64::from(low) | u64::from(high) << 32
        } else {
            self.whole(word).load(Ordering::Relaxed)
        }
    }

    /// Overwrites the word with this index, as a peer may.
    pub(crate) fn store(&self, word: usize, value: u64) {
        if HALVES.contains(&word) {
            let [low, high] = self.halves(word);
            low.store(value as u32, Ordering::Relaxed);
            high.store((value >> 32) as u32, Ordering::Relaxed);
        } else {
            self.whole(word).store(value, Ordering::Relaxed);
        }
    }

    fn whole(&self, word: usize) -> &AtomicU64 {
        // SAFETY: (1) the vector owns that many bytes, aligned to a page; (2) they are reached as atomics only.
        let words: &[AtomicU64] =
            unsafe { slice::from_raw_parts(self.base.cast().as_ptr(), self.words()) };
        &words[word]
    }

    fn halves(&self, word: usize) -> &[AtomicU32; 2] {
        // SAFETY: as above.
        let words: &[[AtomicU32; 2]] =
            unsafe { slice::from_raw_parts(self.base.cast().as_ptr(), self.words()) };
        &words[word]
    }
}

/// The words that the rings reach as two halves. Miri's weak memory knows an atomic by its size.
const HALVES: [usize; 5] = [1, 2, 3, 256 / 8, 640 / 8];

/// An entry whose every word follows from one number.
pub(crate) fn entry(id: u32) -> SubmissionEntry {
    let word = u64::from(id);
    SubmissionEntry {
        key: Key { index: id, generation: !id },
        source: Key { index: id ^ 1, generation: id ^ 2 },
        destination: Key { index: id ^ 3, generation: id ^ 4 },
        source_offset: word << 20,
        destination_offset: !word,
        length: word * 3,
        ..SubmissionEntry::default()
    }
}

/// The same for a completion.
pub(crate) fn end(id: u32) -> CompletionEntry {
    CompletionEntry::new(Key { index: id, generation: !id }, CompletionCode::DEVICE, 7, id ^ 5)
}
