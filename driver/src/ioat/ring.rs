//! Positions in the descriptor ring: which descriptors are whose.
//!
//! Positions count descriptors since CHAINADDR was last written and never wrap; a descriptor's index is
//! its position modulo the ring's length, and DMACOUNT is a position modulo 65,536. In order:
//!
//! ```text
//! reported ≤ completed ≤ submitted ≤ head ≤ reported + length - 1
//! ```
//!
//! From `reported` to `completed` the device is done and the token is not yet told; up to `submitted` the
//! device has the descriptor; up to `head` it does not yet. One descriptor is always free: with all in
//! flight, "all completed" and "none completed" would be the same address.
//!
//! A transfer has one descriptor or several in a row, and its token stands at the last of them. A
//! descriptor without a token is reported to nobody.
#![forbid(unsafe_code)]

use dmaring_engine::{Completion, Outcome, Status, Token};

/// log2 of a descriptor's bytes.
const DESCRIPTOR_SHIFT: u32 = 6;

#[derive(Debug)]
pub(super) struct Ring {
    /// The address of the descriptor at index 0.
    base: u64,
    /// The ring's length less 1.
    mask: u64,
    /// How many descriptors may be in use; 0 while the channel takes none.
    capacity: u64,
    /// Where `head` may go: `capacity` past `reported`.
    limit: u64,
    head: u64,
    submitted: u64,
    completed: u64,
    reported: u64,
    tokens: Box<[Option<Token>]>,
}

/// What came of the tokens of a channel that stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Why.
    pub(super) status: Status,
    /// Tokens at positions from `completed` up to this one failed; those from it on were not run.
    pub(super) failed_until: u64,
}

/// A completion address made no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Violation;

impl Ring {
    /// An empty ring of that many descriptors, a power of two, of which the first has this address.
    pub(super) fn new(base: u64, length: u32) -> Self {
        let mask = u64::from(length) - 1;
        let tokens = vec![None; length as usize].into_boxed_slice();
        let (head, submitted, completed, reported) = (0, 0, 0, 0);
        let (capacity, limit) = (0, 0);
        Self { base, mask, capacity, limit, head, submitted, completed, reported, tokens }
    }

    /// How many descriptors can be pushed.
    #[inline]
    pub(super) fn room(&self) -> u64 {
        self.limit.saturating_sub(self.head)
    }

    /// Takes the next descriptor and gives its index; `None` when there is no room.
    #[inline]
    pub(super) fn push(&mut self, token: Option<Token>) -> Option<usize> {
        if self.head >= self.limit {
            return None;
        }
        let index = (self.head & self.mask) as usize;
        *self.tokens.get_mut(index)? = token;
        self.head += 1;
        Some(index)
    }

    /// The position after the last descriptor pushed.
    pub(super) fn head(&self) -> u64 {
        self.head
    }

    /// The position up to which the device is done.
    pub(super) fn completed(&self) -> u64 {
        self.completed
    }

    /// The index of the last descriptor pushed, when it is not submitted yet.
    #[inline]
    pub(super) fn last_unsubmitted(&self) -> Option<usize> {
        (self.submitted != self.head).then(|| (self.head.wrapping_sub(1) & self.mask) as usize)
    }

    /// Counts everything pushed as submitted, and gives the value for DMACOUNT.
    #[inline]
    pub(super) fn submit(&mut self) -> u16 {
        self.submitted = self.head;
        // The register has 16 bits and takes the count modulo 65,536.
        self.head as u16
    }

    /// Whether the device has descriptors that are not done.
    #[inline]
    pub(super) fn is_busy(&self) -> bool {
        self.completed != self.submitted
    }

    /// Whether a token is pushed and not reported.
    pub(super) fn has_unreported(&self) -> bool {
        (self.reported..self.head).any(|position| self.token(position).is_some())
    }

    /// Whether there is a token that the device is not done with, or does not have yet.
    pub(super) fn has_waiting(&self) -> bool {
        (self.completed..self.head).any(|position| self.token(position).is_some())
    }

    /// Takes descriptors on behalf of a channel that has stopped with no token waiting; what it had
    /// besides is done with.
    pub(super) fn stand_idle(&mut self) {
        (self.submitted, self.completed) = (self.head, self.head);
        self.open();
    }

    /// Takes note that the device says it completed the descriptor at this address last, and whether that
    /// was new. Address 0 says that it completed none.
    #[inline]
    pub(super) fn complete(&mut self, address: u64) -> Result<bool, Violation> {
        let Some(ahead) = self.ahead(address) else {
            return if address == 0 { Ok(false) } else { Err(Violation) };
        };
        if ahead < self.submitted - self.completed {
            self.completed += ahead + 1;
            Ok(true)
        } else if ahead == self.mask {
            Ok(false)
        } else {
            Err(Violation)
        }
    }

    /// Whether the first of two completion addresses is of an earlier descriptor than the second, neither being of one
    /// before the last that was taken.
    pub(super) fn is_earlier(&self, one: u64, other: u64) -> bool {
        // The descriptor before the next to complete is the last that was taken: not ahead at all.
        let place = |address| self.ahead(address).map(|ahead| ahead.wrapping_add(1) & self.mask);
        matches!((place(one), place(other)), (Some(one), Some(other)) if one < other)
    }

    /// Whether an address is further ahead than half of the ring. That is also how one reads that lies behind what was taken: where
    /// the ring is nearly full the two are the same descriptor.
    #[inline]
    pub(super) fn is_far(&self, address: u64) -> bool {
        self.ahead(address).is_some_and(|ahead| ahead > self.mask / 2 && ahead != self.mask)
    }

    /// The same, of one that the device may have completed.
    #[inline]
    pub(super) fn is_doubtful(&self, address: u64) -> bool {
        let outstanding = self.submitted - self.completed;
        self.is_far(address) && self.ahead(address).is_some_and(|ahead| ahead < outstanding)
    }

    /// How far the descriptor at an address is from the next to complete; `None`: it is none of the ring's.
    #[inline]
    fn ahead(&self, address: u64) -> Option<u64> {
        let offset = address.wrapping_sub(self.base);
        let index = offset >> DESCRIPTOR_SHIFT;
        let is_one = index <= self.mask && index << DESCRIPTOR_SHIFT == offset;
        is_one.then(|| index.wrapping_sub(self.completed) & self.mask)
    }

    /// Reports completed tokens, and returns how many.
    #[inline]
    pub(super) fn reap(&mut self, completions: &mut [Completion]) -> usize {
        let free = completions.len();
        let mut places = completions.iter_mut();
        let mut reported = self.reported;
        // In runs that do not wrap, two at most.
        'runs: while reported != self.completed {
            let start = (reported & self.mask) as usize;
            let Some(run) = self.tokens.get(start..) else { break };
            let left = (self.completed - reported) as usize;
            for token in run.iter().take(left) {
                if let Some(token) = *token {
                    let Some(place) = places.next() else { break 'runs };
                    *place = Completion { token, outcome: Outcome::Done };
                }
                reported += 1;
            }
        }
        self.reported_up_to(reported);
        free - places.len()
    }

    /// Refuses descriptors from here on. What is in the ring stays.
    pub(super) fn close(&mut self) {
        self.capacity = 0;
        self.limit = self.reported;
    }

    /// The verdict that blames the transfer which the device was in, or about to begin, when it stopped.
    /// `None` when it had none.
    pub(super) fn blame_first(&self, status: Status) -> Option<Verdict> {
        let culprit = (self.completed..self.submitted).find(|at| self.token(*at).is_some())?;
        Some(Verdict { status, failed_until: culprit + 1 })
    }

    /// The verdict that every transfer which the device had has failed.
    pub(super) fn blame_all(&self, status: Status) -> Verdict {
        Verdict { status, failed_until: self.submitted }
    }

    /// The verdict that nothing began.
    pub(super) fn blame_none(&self, status: Status) -> Verdict {
        Verdict { status, failed_until: self.completed }
    }

    /// Reports tokens of a channel that stopped, those not submitted included, and returns how many.
    pub(super) fn reap_stopped(
        &mut self,
        verdict: &Verdict,
        completions: &mut [Completion],
    ) -> usize {
        let mut places = completions.iter_mut();
        let mut count = 0;
        while self.reported != self.head {
            let at = self.reported;
            if let Some(token) = self.token(at) {
                let Some(place) = places.next() else { break };
                let outcome = if at < self.completed {
                    Outcome::Done
                } else if at < verdict.failed_until {
                    Outcome::Failed(verdict.status)
                } else {
                    Outcome::NotRun
                };
                *place = Completion { token, outcome };
                count += 1;
            }
            self.reported_up_to(at + 1);
        }
        count
    }

    /// Starts over after CHAINADDR was written and `done` descriptors were carried out since: the ring is
    /// empty and takes descriptors.
    pub(super) fn rebase(&mut self, done: u64) {
        (self.head, self.submitted, self.completed, self.reported) = (done, done, done, done);
        self.open();
    }

    fn open(&mut self) {
        self.capacity = self.mask;
        self.limit = self.reported + self.capacity;
    }

    #[inline]
    fn reported_up_to(&mut self, position: u64) {
        self.reported = position;
        self.limit = position + self.capacity;
    }

    #[inline]
    fn token(&self, position: u64) -> Option<Token> {
        self.tokens.get((position & self.mask) as usize).copied().flatten()
    }
}

#[cfg(test)]
mod tests;
