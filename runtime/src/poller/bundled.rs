//! Bundles that do not end where they are taken: each copy is a piece, and has its own outcome.
//!
//! An engine that has others to do, or is being reset, carries nothing out at once. Then the copies of a bundle are
//! operations of the table like the pieces of any other, with the difference that one that fails stops no other: the application
//! submitted them one by one, and is told of each. Where all were made the entry is answered as one; else how each of them ended is
//! written where the copies stood, and the answer says that it is there (`bundle.rs`).
//!
//! The block is read here, whether or not it was read before, where all was tried at once. What the poller then goes by is its own, whatever
//! others write there.

use dmaring_ring::{CompletionCode, CompletionEntry, Key, Opcode, SubmissionEntry};

use super::{
    APPLICATION, Poller,
    admit::{Admitted, refuse, retries},
    ops::{Durable, Failure, Plan, Reach, Source},
    split::{Next, Split},
};
use crate::{
    bundle::{self, Part},
    inflight::Ticket,
    op::Refused,
    shared::Shared,
};

/// A copy of a bundle, and why it failed if it did.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bundled {
    part: Part,
    failure: Option<Failure>,
}

/// How many operations of the application an entry stands for.
pub(super) fn copies(entry: &SubmissionEntry) -> u32 {
    if entry.opcode != Opcode::COPY_BUNDLE {
        return 1;
    }
    u32::try_from(entry.source_offset).unwrap_or(u32::MAX).clamp(1, bundle::MOST as u32)
}

/// Checks the entry of a bundle. Its copies are judged as they begin.
pub(super) fn admit_bundle(
    shared: &Shared,
    port: usize,
    entry: &SubmissionEntry,
) -> Result<Admitted, Failure> {
    let retries = retries(shared.policy, entry)?;
    if port != APPLICATION {
        return Err(refuse(Refused::Unsupported));
    }
    let is_plain = entry.flags.is_empty() && entry.deadline == 0;
    let count = bundle::count(entry.source_offset).filter(|_| is_plain);
    let Some(count) = count else { return Err(refuse(Refused::Malformed)) };
    Ok(Admitted {
        plan: Plan {
            port,
            key: entry.key,
            source: Source::Bundle(entry.source, count),
            destination: (entry.destination, 0),
            length: entry.length,
            deadline: 0,
            retries,
            // Each copy has its own.
            reach: Reach::Memory,
            durable: Durable::No,
        },
        fenced: false,
        staged: false,
    })
}

impl Failure {
    /// How many of so many failed together: all, unless it says that not all did.
    pub(super) fn failed_of(&self, copies: u64) -> u64 {
        if self.code == CompletionCode::MIXED { u64::from(self.bits).min(copies) } else { copies }
    }
}

impl Split {
    /// Whether each piece is a copy that has its own outcome.
    pub(super) fn is_bundle(&self) -> bool {
        !self.parts.is_empty()
    }

    /// The copy that is next, between these regions.
    pub(super) fn next_part(&mut self, source: Key, destination: Key) -> Option<Next> {
        if self.offset > 0 {
            (self.segment, self.offset) = (self.segment + 1, 0);
        }
        let Part { source_offset, destination_offset, length } = self.parts.get(self.segment)?.part;
        Some(Next {
            source: Source::Region(source, source_offset),
            destination: (destination, destination_offset),
            length,
        })
    }

    /// The copy that is next is not begun.
    pub(super) fn part_refused(&mut self, length: u64, failure: Failure) {
        self.part_ended(self.segment, Err(failure));
        (self.issued, self.offset) = (self.issued.saturating_add(length), length);
    }

    /// A copy has ended.
    pub(super) fn part_ended(&mut self, place: usize, outcome: Result<(), Failure>) {
        if let Some(part) = self.parts.get_mut(place) {
            part.failure = outcome.err();
        }
    }
}

impl Poller {
    /// Begins with the copies of a bundle.
    pub(super) fn send_bundle(&mut self, index: usize) {
        let Some(op) = self.ops.get_mut(index) else { return };
        let block = self.shared.bundles.get(op.key.index);
        let mut split = self.splits.blank();
        split.stripe = u64::MAX;
        let parts = block.into_iter().flat_map(|block| block.parts(op.copies() as usize));
        split.parts.extend(parts.map(|part| Bundled { part, failure: None }));
        let bytes = split.parts.iter().map(|bundled| bundled.part.length).sum::<u64>();
        let has_empty = split.parts.iter().any(|bundled| bundled.part.length == 0);
        if bytes != op.length || has_empty || !split.is_bundle() {
            op.fail(refuse(Refused::Malformed));
            self.ended.push(index);
            return self.splits.recycle(split);
        }
        self.begin_split(index, split);
    }

    /// Every copy has ended, or will not begin.
    pub(super) fn end_bundle(&mut self, split: &Split) {
        let Some(op) = self.ops.get_mut(split.parent) else { return };
        self.ended.push(split.parent);
        if let Some(failure) = split.shortfall(op.length) {
            return op.fail(failure);
        }
        if op.told_early {
            return;
        }
        self.shared.counters.runtime.retried.add(split.redone);
        let failed = split.parts.iter().filter(|bundled| bundled.failure.is_some()).count();
        if failed == 0 {
            return;
        }
        let (key, done) = (op.key, CompletionEntry::new(op.key, CompletionCode::DONE, 0, 0));
        // In an operation of the application alone.
        op.fail(Failure { bits: failed as u32, ..Failure::of(CompletionCode::MIXED) });
        let Some(block) = self.shared.bundles.get(key.index) else { return };
        for (place, bundled) in split.parts.iter().enumerate() {
            let entry = bundled.failure.map_or(done, |failure| failure.entry(key));
            let detail = bundled.failure.map_or(0, |failure| failure.offset);
            block.tell(place, Ticket { result: entry.result_word(), detail });
        }
        let made = split.parts.iter().filter(|bundled| bundled.failure.is_none());
        let counters = &self.shared.counters.runtime;
        counters.completed.add((split.parts.len() - failed) as u64);
        counters.bytes.add(made.map(|bundled| bundled.part.length).sum());
    }
}

#[cfg(all(test, not(miri)))]
mod alone_tests;
#[cfg(all(test, not(miri)))]
mod peer_tests;
#[cfg(all(test, not(miri)))]
mod tests;
