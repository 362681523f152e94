//! The places of the two rings.
//!
//! A payload is relaxed atomics throughout: the word that publishes it (a slot's sequence, a ring's
//! tail) orders it among those who keep the protocol, and for those who do not the race stays
//! defined: a reader may get a mixture of entries, and checks it like any other entry.

use crate::{
    entry::{CompletionEntry, SubmissionEntry},
    sync::{AtomicU64, Ordering},
};

/// A place for a submission entry: its seven words, then the sequence that says whose turn it is.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct SubmissionSlot {
    words: [AtomicU64; 7],
    sequence: AtomicU64,
}

impl SubmissionSlot {
    /// The slot at this index of a fresh ring, as an ordinary object.
    #[must_use]
    pub fn new(index: u64) -> Self {
        Self { words: core::array::from_fn(|_| AtomicU64::new(0)), sequence: AtomicU64::new(index) }
    }

    /// Makes it the slot at this index of a fresh ring.
    #[cfg(not(loom))]
    pub(crate) fn initialise(&self, index: u64) {
        self.sequence.store(index, Ordering::Relaxed);
    }

    /// Whose turn it is; acquires what the last turn did.
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence.load(Ordering::Acquire)
    }

    /// The word itself, for who watches its line.
    pub(crate) fn sequence_word(&self) -> &AtomicU64 {
        &self.sequence
    }

    /// Ends a turn: releases what it did to the turn of `sequence`.
    pub(crate) fn pass_to(&self, sequence: u64) {
        self.sequence.store(sequence, Ordering::Release);
    }

    pub(crate) fn write(&self, entry: &SubmissionEntry) {
        for (word, value) in self.words.iter().zip(entry.to_words()) {
            word.store(value, Ordering::Relaxed);
        }
    }

    /// Copies the entry out, each word once.
    pub(crate) fn read(&self) -> SubmissionEntry {
        SubmissionEntry::from_words(self.words.each_ref().map(|word| word.load(Ordering::Relaxed)))
    }
}

/// A place for a completion entry.
#[derive(Debug)]
#[repr(C, align(16))]
pub struct CompletionSlot {
    words: [AtomicU64; 2],
}

impl CompletionSlot {
    /// A slot of a fresh ring, as an ordinary object.
    #[must_use]
    pub fn new() -> Self {
        Self { words: core::array::from_fn(|_| AtomicU64::new(0)) }
    }

    pub(crate) fn write(&self, entry: CompletionEntry) {
        for (word, value) in self.words.iter().zip(entry.to_words()) {
            word.store(value, Ordering::Relaxed);
        }
    }

    /// Copies the entry out, each word once.
    pub(crate) fn read(&self) -> CompletionEntry {
        CompletionEntry::from_words(self.words.each_ref().map(|word| word.load(Ordering::Relaxed)))
    }
}

impl Default for CompletionSlot {
    fn default() -> Self {
        Self::new()
    }
}
