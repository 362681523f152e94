//! The one who writes back: pieces of every operation in turn, a fence, then the ends.
//!
//! Runs on the housekeeper's thread, whose other work comes between two rounds. A piece takes some tenths of a
//! millisecond, so that a large operation does not hold up the others. An operation's end is told after a fence that follows
//! its last line.
//!
//! What writes back may be an application's ([`WriteBack`](super::WriteBack)), and so may be what a message of ours goes to: either may
//! panic. The operation concerned resolves as lost then, and is answered before anything is said of it, so that
//! whatever a panic interrupts, the next round goes on with the next operation.
#![allow(unsafe_code, reason = "island: vouches that what is written back is mapped")]

use std::collections::VecDeque;

use super::{
    Persist,
    lines::{Lines, Run, Span},
    write_back::CacheLines,
};
use crate::foreign;

/// Lines in a piece: 256 KiB.
const PIECE: u64 = 4096;
/// The same where lines are written back one after the other.
const SLOW_PIECE: u64 = 256;

/// The operations under way.
#[derive(Debug, Default)]
pub(crate) struct Worker {
    spans: VecDeque<Lines>,
    /// Those that need no more than a fence: their names, and whether they failed.
    ended: VecDeque<(u64, bool)>,
}

impl Worker {
    /// Writes back a piece of every operation that was handed over. `false`: there is none.
    pub(crate) fn round(&mut self, persist: &Persist) -> bool {
        let Some(handover) = persist.handover() else { return false };
        while let Some(words) = handover.receive() {
            self.spans.push_back(Lines::new(Span::from_words(words)));
        }
        if self.spans.is_empty() && self.ended.is_empty() {
            return false;
        }
        // Where that is not to be known, short pieces do no harm.
        let slow = foreign::call(|| persist.write_back.is_slow()).unwrap_or(true);
        let piece = if slow { SLOW_PIECE } else { PIECE };
        for _ in 0..self.spans.len() {
            // The regions of what was given up may be gone by the next piece.
            if handover.is_cancelled() {
                self.spans.clear();
                self.ended.clear();
                return false;
            }
            let Some(mut lines) = self.spans.pop_front() else { break };
            let written = foreign::call(|| write_piece(persist, &mut lines, piece));
            match written {
                Some(()) if !lines.is_done() => self.spans.push_back(lines),
                outcome => self.ended.push_back((lines.span.name, outcome.is_none())),
            }
        }
        if self.ended.is_empty() {
            return !self.spans.is_empty();
        }
        let fenced = foreign::call(|| persist.write_back.fence()).is_some();
        while let Some((name, failed)) = self.ended.pop_front() {
            let lost = failed || !fenced;
            if !handover.answer(if lost { name | Persist::FAILED } else { name }) {
                tracing::error!("more write-backs ended than were begun: one is not told");
            } else if lost {
                tracing::error!("writing caches back panicked: the operation is resolved as lost");
            }
        }
        true
    }
}

fn write_piece(persist: &Persist, lines: &mut Lines, piece: u64) {
    let mut budget = piece;
    while let Some(Run { first, count }) = lines.next(&mut budget) {
        let (Ok(first), Ok(count)) = (usize::try_from(first), usize::try_from(count)) else {
            return;
        };
        // SAFETY: (1) the range was checked against its region when the operation was admitted, and lines end where pages
        // do; (2) the region stays mapped until the poller has our answer: the operation's slot keeps its handle, and one
        // that is closed is unmapped once the poller has no operation on it; unless it gives the operation up, which
        // `round` has just asked about; (3) what is given up is unmapped on this very thread, after this piece.
        let run = unsafe { CacheLines::new(first, count) };
        persist.write_back.write_back(&run);
    }
}
