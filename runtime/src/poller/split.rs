//! Operations in pieces: large ones that are striped over engines, and vectored ones.
//!
//! A piece is an operation of the poller's table like any other: it has its own place and tokens, is routed, cut into
//! parts, replayed and retried by itself. What it has not is a ring entry: its *port* is [`PORT`], and its key names the split
//! it belongs to. The operation that was split is routed nowhere, and ends when its last piece has.
//!
//! ```text
//! begin ──► issue ──► pieces in lanes ──► one ends ──► issue the next ... ──► the last has ended ──► the operation ends
//!             ▲                              │
//!             └── a failure or a deadline: nothing more is issued or begun, what is out is waited for
//! ```
//!
//! What a failure means for the parts of an operation it means for pieces, too: one bad operation is one failure of the
//! engine's. Where the operation fails, no further piece is begun; where the CPU does again what failed, it does all that
//! no engine has.
//!
//! Pieces are issued in order, to the lane with the fewest bytes of this operation, as long as a lane holds no more of the operation
//! than its *share*: half of the engine, and two stripes. So whichever engine is faster does more, none waits for a piece, and a
//! small operation finds room everywhere. There are [`PIECES`] at a time in all; splits that find none free stand in
//! line, and have one each as places become free.

use std::collections::VecDeque;

use dmaring_ring::{CompletionCode, Key};
use slab::Slab;

use super::{
    bundled::Bundled,
    lane::Lane,
    ops::{Durable, Failure, Reach, Source},
};
use crate::op::segment_offset;

/// The port of pieces.
pub(super) const PORT: usize = usize::MAX;
/// How many pieces there are at a time.
pub(super) const PIECES: usize = 1024;
/// How many stripes of an operation a lane holds at a time: one that is worked on, and the next.
const STRIPES_PER_LANE: u64 = 2;

/// The operations that are in pieces. Allocates only while more are than ever before.
#[derive(Debug, Default)]
pub(super) struct Splits {
    pub(super) live: Slab<Split>,
    pub(super) idle: Vec<Split>,
    /// Those that wait for a place for a piece.
    pub(super) hungry: VecDeque<usize>,
    pub(super) pieces: usize,
}

#[derive(Debug, Default)]
pub(super) struct Split {
    pub(super) parent: usize,
    /// The list of a vectored operation.
    pub(super) list: Option<Key>,
    /// The copies of a bundle, each a segment.
    pub(super) parts: Vec<Bundled>,
    /// The segment from which the next piece is, and where in it that begins; one that is striped has one segment.
    pub(super) segment: usize,
    pub(super) offset: u64,
    /// How many bytes the pieces have that were issued.
    pub(super) issued: u64,
    /// The longest piece, in bytes.
    pub(super) stripe: u64,
    /// The lanes that pieces go to.
    pub(super) lanes: Vec<usize>,
    /// What of the operation is in which lane.
    pub(super) held: Vec<Held>,
    pub(super) pieces: Vec<Piece>,
    /// Which failed first, by offset.
    pub(super) failure: Option<Failure>,
    /// Nothing more is issued.
    pub(super) stopped: bool,
    /// What an engine failed to do is done by the CPU, and so is what comes after.
    pub(super) left_to_cpu: bool,
    pub(super) is_hungry: bool,
    pub(super) retried: bool,
    /// How many copies of a bundle the CPU has done again, well.
    pub(super) redone: u64,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Held {
    pub(super) parts: u32,
    pub(super) bytes: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) op: usize,
    pub(super) segment: usize,
    pub(super) offset: u64,
    /// Where it was sent at first; `None`: to the staging thread.
    pub(super) lane: Option<usize>,
    pub(super) held: Held,
}

/// What is to be issued next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Next {
    pub(super) source: Source,
    pub(super) destination: (Key, u64),
    pub(super) length: u64,
}

/// What a piece may be, by its regions as they are when it is issued.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verdict {
    pub(super) reach: Reach,
    pub(super) durable: Durable,
    pub(super) staged: bool,
}

impl Splits {
    pub(super) fn enter(&mut self, split: Split) -> usize {
        self.live.insert(split)
    }

    /// A split of nothing, on memory that was used before if there is any.
    pub(super) fn blank(&mut self) -> Split {
        self.idle.pop().unwrap_or_default()
    }

    pub(super) fn leave(&mut self, index: usize) -> Option<Split> {
        let split = self.live.try_remove(index)?;
        if split.is_hungry {
            self.hungry.retain(|&hungry| hungry != index);
        }
        Some(split)
    }

    /// Keeps the memory of a split that has ended.
    pub(super) fn recycle(&mut self, ended: Split) {
        let Split { mut parts, mut lanes, mut held, mut pieces, .. } = ended;
        parts.clear();
        lanes.clear();
        held.clear();
        pieces.clear();
        self.idle.push(Split { parts, lanes, held, pieces, ..Split::default() });
    }
}

impl Split {
    /// Whether `lane` may have another piece.
    pub(super) fn has_share(&self, number: usize, lane: &Lane, length: u64) -> bool {
        let held = self.held.get(number).copied().unwrap_or_default();
        let more = weight(lane, length);
        held.bytes == 0
            || held.parts.saturating_add(more.parts) <= lane.line.share()
                && held.bytes.saturating_add(length) <= self.stripe.saturating_mul(STRIPES_PER_LANE)
    }

    pub(super) fn hold(&mut self, lane: Option<usize>, more: Held) {
        if let Some(held) = lane.and_then(|lane| self.held.get_mut(lane)) {
            held.parts = held.parts.saturating_add(more.parts);
            held.bytes = held.bytes.saturating_add(more.bytes);
        }
    }

    pub(super) fn release(&mut self, piece: &Piece) {
        if let Some(held) = piece.lane.and_then(|lane| self.held.get_mut(lane)) {
            held.parts = held.parts.saturating_sub(piece.held.parts);
            held.bytes = held.bytes.saturating_sub(piece.held.bytes);
        }
    }

    pub(super) fn fail(&mut self, failure: Failure) {
        self.stopped = true;
        match &self.failure {
            Some(earlier) if earlier.offset <= failure.offset => {}
            _ => self.failure = Some(failure),
        }
    }

    /// Why an operation of so many bytes has not ended well though no piece of it failed: not all of it was issued. Its list
    /// was checked when it was admitted, and goes only if it is another operation's, which a forged entry may have named.
    pub(super) fn shortfall(&self, length: u64) -> Option<Failure> {
        (self.issued != length).then(|| Failure::of(CompletionCode::ENGINE_LOST))
    }

    /// A failure `at` bytes into the piece that begins here.
    pub(super) fn failure_at(&self, segment: usize, offset: u64, failure: Failure) -> Failure {
        let at = offset.saturating_add(failure.offset);
        let offset = if self.list.is_some() { segment_offset(segment, at) } else { at };
        Failure { offset, ..failure }
    }
}

/// How much of a lane a piece takes.
pub(super) fn weight(lane: &Lane, length: u64) -> Held {
    let part = 1 << lane.line.capabilities.max_transfer.max(1).ilog2();
    let parts = u32::try_from(length.div_ceil(part)).unwrap_or(u32::MAX);
    Held { parts: parts.min(lane.line.share()), bytes: length }
}

/// What is written from `offset` bytes into an operation on.
pub(super) fn advanced(source: Source, offset: u64) -> Source {
    match source {
        Source::Region(region, from) => Source::Region(region, from.saturating_add(offset)),
        Source::Pattern(pattern) => Source::Pattern(pattern.rotate_right((offset % 8) as u32 * 8)),
        Source::Segments(_) | Source::Bundle(..) | Source::Nothing => source,
    }
}
