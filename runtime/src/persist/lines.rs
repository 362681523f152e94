//! Which lines of a destination are written back: those that may be in a cache, each once.
//!
//! A device's writes may all be in a cache. An engine that streams says from how many bytes on a transfer's whole lines
//! are not: of such a part only the line it begins in and the line it ends in are left, if it does not fill them. The
//! end of one part and the beginning of the next may be in one line, which is written back once: lines come in
//! ascending order, and none that lies below `next_line` comes again.

use super::{handover::WORDS, write_back::LINE};

const LINE_BYTES: u64 = LINE as u64;

/// What has to be written back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// Names the operation.
    pub(crate) name: u64,
    /// The destination's first byte in this process.
    pub(crate) address: u64,
    /// In bytes.
    pub(crate) length: u64,
    /// The length of all parts but the last, in bytes; at least 1.
    pub(crate) part: u64,
    /// From how many bytes on a part was streamed; `u64::MAX`: none was.
    pub(crate) streams_from: u64,
}

/// Lines that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// The address of the first, a multiple of a line.
    pub(super) first: u64,
    pub(super) count: u64,
}

/// A span on its way.
#[derive(Debug)]
pub(super) struct Lines {
    pub(super) span: Span,
    /// Where the first part begins that was not looked at, in bytes from the span's first.
    next: u64,
    /// The first line that was not written back.
    next_line: u64,
    /// Addresses that were found to be in caches: the one first, and one more.
    found: [Option<(u64, u64)>; 2],
}

impl Span {
    pub(super) fn to_words(self) -> [u64; WORDS] {
        [self.name, self.address, self.length, self.part, self.streams_from]
    }

    pub(super) fn from_words(words: [u64; WORDS]) -> Self {
        let [name, address, length, part, streams_from] = words;
        Self { name, address, length, part: part.max(1), streams_from }
    }
}

impl Lines {
    pub(super) fn new(span: Span) -> Self {
        Self { span, next: 0, next_line: 0, found: [None; 2] }
    }

    /// The next lines to write back, at most `budget` of them, which is at least 1. Looking at a part costs as much as a
    /// line. `None` with budget left: there are no more.
    pub(super) fn next(&mut self, budget: &mut u64) -> Option<Run> {
        while *budget > 0 {
            if let Some((from, to)) = self.found[0].or_else(|| self.found[1].take()) {
                self.found[0] = None;
                let first = floor(from).max(self.next_line);
                let count = ceil(to).saturating_sub(first) / LINE_BYTES;
                if count == 0 {
                    continue;
                }
                let now = count.min(*budget);
                *budget -= now;
                self.next_line = first + now * LINE_BYTES;
                if now < count {
                    self.found[0] = Some((self.next_line, to));
                }
                return Some(Run { first, count: now });
            }
            if self.next >= self.span.length {
                return None;
            }
            *budget -= 1;
            self.look();
        }
        None
    }

    /// Whether every line was given out.
    pub(super) fn is_done(&self) -> bool {
        self.next >= self.span.length && self.found == [None; 2]
    }

    /// Looks at the next part.
    fn look(&mut self) {
        let Span { address, length, part, streams_from, .. } = self.span;
        // What is streamed nowhere is one part.
        let part = if part < streams_from && length < streams_from { length } else { part };
        let bytes = part.min(length - self.next);
        let from = address + self.next;
        let to = from + bytes;
        self.next += bytes;
        let (head, tail) = (ceil(from), floor(to));
        self.found = if bytes < streams_from || head >= tail {
            [Some((from, to)), None]
        } else {
            [(from < head).then_some((from, head)), (tail < to).then_some((tail, to))]
        };
    }
}

fn floor(address: u64) -> u64 {
    address / LINE_BYTES * LINE_BYTES
}

fn ceil(address: u64) -> u64 {
    address.next_multiple_of(LINE_BYTES)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const NEVER: u64 = u64::MAX;

    /// Every line that is given out, by its address; none may come twice.
    fn lines(span: Span, budget: u64) -> BTreeSet<u64> {
        let mut lines = Lines::new(span);
        let mut all = BTreeSet::new();
        while !lines.is_done() {
            let mut left = budget;
            while let Some(run) = lines.next(&mut left) {
                for line in 0..run.count {
                    assert!(all.insert(run.first + line * LINE_BYTES), "{span:?}: twice: {run:?}");
                }
            }
        }
        all
    }

    fn span(address: u64, length: u64, part: u64, streams_from: u64) -> Span {
        Span { name: 1, address, length, part, streams_from }
    }

    /// What of a span may be in a cache, byte by byte, as the contract of `streams_from` says.
    fn model(span: Span) -> BTreeSet<u64> {
        let line = |byte: u64| byte / 64 * 64;
        (0..span.length)
            .map(|n| span.address + n)
            .filter(|byte| {
                let from = span.address + (byte - span.address) / span.part * span.part;
                let to = (from + span.part).min(span.address + span.length);
                let whole = from <= line(*byte) && line(*byte) + 64 <= to;
                !whole || to - from < span.streams_from
            })
            .map(line)
            .collect()
    }

    #[test]
    fn each_line_that_may_be_in_a_cache_comes_once_and_no_other() {
        // Miri takes long for each.
        let few = cfg!(miri);
        let ends: &[u64] = if few { &[0, 63] } else { &[0, 1, 8, 31, 63] };
        let all = [1, 2, 63, 64, 65, 127, 128, 129, 300, 512, 1000];
        let lengths = if few { &all[4..9] } else { &all };
        let parts: &[u64] = if few { &[128] } else { &[64, 128, 256, 1 << 20] };
        let all = [0, 64, 100, 128, 129, 200, NEVER];
        let thresholds = if few { &all[3..5] } else { &all };
        for &start in ends {
            for &length in lengths {
                for &part in parts {
                    for &streams_from in thresholds {
                        let span = span(0x1000 + start, length, part, streams_from);
                        for budget in [1, 3, 1000] {
                            assert_eq!(lines(span, budget), model(span), "{span:?} by {budget}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_span_that_was_streamed_has_its_edges_only() {
        let edges = lines(span(0x1001, 4 * 4096, 4096, 4096), 1000);
        // The line in which each part ends is that in which the next begins.
        assert_eq!(edges, [0x1000, 0x2000, 0x3000, 0x4000, 0x5000].into());
        assert!(lines(span(0x1000, 4 * 4096, 4096, 4096), 1000).is_empty());
        // The last part is too short to have been streamed.
        let last = lines(span(0x1000, 4096 + 128, 4096, 4096), 1000);
        assert_eq!(last, [0x2000, 0x2040].into());
    }

    #[test]
    fn a_span_survives_its_words() {
        let span = span(1, 2, 3, 4);
        assert_eq!(Span::from_words(span.to_words()), span);
        assert_eq!(Span::from_words([0; WORDS]).part, 1, "nothing is divided by zero");
    }
}
