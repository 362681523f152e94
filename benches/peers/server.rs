//! Whoever answers in the works of the rings alone.

use std::{
    hint,
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};

use dmaring_ring::{
    CompletionCode, CompletionEntry, Rings, SubmissionEntry, completion, submission,
};

use crate::short::BATCH;

/// After how many entries their completions are published.
const TOGETHER: usize = 16;
/// How many blocks there are, used in turn: more than are in flight.
pub(crate) const BLOCKS: usize = 4;

/// Whoever answers.
#[derive(Debug, Default)]
pub(crate) struct Server {
    /// For how many `pause`s it leaves the ring alone after few entries.
    hold: AtomicUsize,
    is_over: AtomicBool,
    /// Where the copies are that an entry stands for, where it stands for several: it says which.
    blocks: [Block; BLOCKS],
}

/// Two words for each copy.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Block(pub(crate) [[AtomicU64; 2]; BATCH]);

impl Server {
    /// For how many `pause`s the ring is to be left alone.
    pub(crate) fn leave_alone_for(&self, pauses: usize) {
        self.hold.store(pauses, Ordering::Relaxed);
    }

    /// Nothing is to be answered any more.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Release);
    }

    /// Where the copies of an entry are written.
    #[inline]
    pub(crate) fn block(&self, block: usize) -> &Block {
        &self.blocks[block]
    }

    /// Answers every entry, after `carry` had the words of each of its copies.
    pub(crate) fn serve(&self, rings: &Rings, carry: &mut impl FnMut([u64; 2])) {
        let (header, slots, places) =
            (rings.header(), rings.submission_slots(), rings.completion_slots());
        let (mut entries, mut answers) = (submission::Consumer::new(), completion::Producer::new());
        while !self.is_over.load(Ordering::Relaxed) {
            // The other side's end is another core's line: looked at only where what is known of it is not enough.
            if answers.known_room(places) < TOGETHER && answers.room(header, places) < TOGETHER {
                continue;
            }
            let mut answered = 0;
            while answered < TOGETHER
                && let Some(entry) = entries.pop(slots)
            {
                answered += 1;
                self.read(&entry, carry);
                let answer = CompletionEntry::new(entry.key, CompletionCode::DONE, 0, 0);
                // There is room.
                let _ = answers.push(places, answer);
            }
            answers.publish(header);
            if (1..TOGETHER).contains(&answered) {
                (0..self.hold.load(Ordering::Relaxed)).for_each(|_| hint::spin_loop());
            }
        }
    }

    /// Reads where the copies are.
    #[inline]
    fn read(&self, entry: &SubmissionEntry, carry: &mut impl FnMut([u64; 2])) {
        if let Some(block) = self.blocks.get(entry.source_offset as usize) {
            for words in &block.0 {
                carry(words.each_ref().map(|word| word.load(Ordering::Relaxed)));
            }
        }
    }
}
