//! When the poller leaves the ring alone for a moment, so that entries gather in it.
//!
//! A poller that has caught up reads the slot that is written next again and again, and each time takes its line away from the core
//! that writes it. Whoever pushes one entry after another then waits for that line with every push, and so do the locked
//! instructions that follow. If the application has many completions before it that it has not looked at, it is hardly waiting for
//! the next one: the poller takes a few entries together less often, and the line stays where it is written.
//!
//! Who awaits one copy after another has one completion before it at most. Where that begins right after a stream, some of the first
//! awaits take up to a hold longer: a hold after which one entry stands in the ring was in vain, and after a few of those there is none
//! until many completions are found again.

use std::mem;

/// After how many operations it is looked how many completions nobody has looked at. Where that is noted is a line of the application's.
const OPERATIONS_PER_LOOK: u32 = 64;
/// So many of them are many.
const MANY: u64 = 8;
/// After so many looks in a row that find few the poller no longer waits. Whoever has 32 copies in flight takes all completions
/// off the ring at once, so that a look now and then finds few.
const LOOKS: u32 = 4;
/// After so many holds in a row that were in vain the poller no longer waits.
const VAIN: u32 = 3;
/// Turns that take so many entries find them gathered.
const GATHERED: u32 = 8;
/// A turn that moved so many bytes has given them time to.
const LONG: u64 = 4096;

/// Whether entries are let gather.
#[derive(Debug)]
pub(super) struct Pace {
    /// Whether it ever waits.
    waits: bool,
    /// Operations until the next look.
    left: u32,
    /// How many looks may still find few.
    trust: u32,
    /// How many operations a turn took, of late: a batch comes in more than one.
    taken: u32,
    /// Whether the ring was left alone before this turn.
    held: bool,
    /// How many times in a row that was in vain.
    vain: u32,
}

impl Pace {
    /// One that waits, or never does.
    pub(super) fn new(waits: bool) -> Self {
        Self { waits, left: OPERATIONS_PER_LOOK, trust: 0, taken: 0, held: false, vain: 0 }
    }

    /// A turn has taken so many short operations, and nothing else, and has moved so many bytes: whether the ring is to be left alone
    /// now. `unread` says how many completions nobody has looked at.
    #[inline]
    pub(super) fn holds(&mut self, taken: u32, bytes: u64, unread: impl FnOnce() -> u64) -> bool {
        if !self.waits || taken == 0 {
            return false;
        }
        match self.left.checked_sub(taken) {
            Some(left) if left > 0 => self.left = left,
            _ => {
                self.left = OPERATIONS_PER_LOOK;
                self.trust = if unread() >= MANY { LOOKS } else { self.trust.saturating_sub(1) };
            }
        }
        self.taken = taken.max(self.taken / 2);
        if mem::take(&mut self.held) {
            self.vain = if taken == 1 { self.vain + 1 } else { 0 };
            if self.vain == VAIN {
                (self.vain, self.trust) = (0, 0);
            }
        }
        self.held = self.trust > 0 && self.taken < GATHERED && bytes < LONG;
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn never() -> u64 {
        unreachable!("it is not looked at now")
    }

    /// Lets turns of two operations each pass up to the next look, which finds so many.
    fn look(pace: &mut Pace, unread: u64) -> bool {
        let mut looked = false;
        loop {
            let held = pace.holds(2, 64, || {
                looked = true;
                unread
            });
            if looked {
                return held;
            }
        }
    }

    #[test]
    fn it_waits_while_many_are_unread() {
        let mut pace = Pace::new(true);
        assert!(!pace.holds(OPERATIONS_PER_LOOK - 1, 64, never));
        assert!(!look(&mut pace, MANY - 1), "who awaits one at a time is not made to wait");
        for _ in 0..4 {
            pace.holds(1, 64, never);
        }
        assert!(look(&mut pace, MANY));
        assert!(pace.holds(1, 64, never) && pace.holds(GATHERED - 1, LONG - 1, never));
        assert!(!pace.holds(1, LONG, never), "they had time to gather");
        assert!(!pace.holds(0, 0, never), "a turn that took none");
    }

    #[test]
    fn entries_that_come_together_are_not_waited_for() {
        let mut pace = Pace::new(true);
        assert!(look(&mut pace, MANY));
        assert!(!pace.holds(2 * GATHERED, 64, never));
        assert!(!pace.holds(1, 64, never), "the rest of a batch");
        assert!(pace.holds(1, 64, never));
    }

    #[test]
    fn some_looks_that_find_few_end_it() {
        let mut pace = Pace::new(true);
        look(&mut pace, u64::MAX);
        let held: Vec<_> = (0..LOOKS + 2).map(|_| look(&mut pace, 0)).collect();
        assert_eq!(held, [true, true, true, false, false, false]);
        look(&mut pace, MANY);
        assert!(look(&mut pace, 0) && look(&mut pace, MANY) && look(&mut pace, 0));
    }

    #[test]
    fn who_awaits_one_after_another_after_a_stream_is_held_up_a_few_times() {
        let mut pace = Pace::new(true);
        assert!(look(&mut pace, MANY));
        let held: Vec<_> = (0..VAIN + 2).map(|_| pace.holds(1, 64, never)).collect();
        assert_eq!(held, [true, true, false, false, false]);
        assert!(look(&mut pace, MANY), "another stream");
        assert!(pace.holds(1, 64, never) && pace.holds(1, 64, never) && pace.holds(2, 64, never));
        assert!(pace.holds(1, 64, never), "not all in a row were in vain");
    }

    #[test]
    fn a_full_turn_counts_for_one_look() {
        let mut pace = Pace::new(true);
        let mut looks = 0;
        for _ in 0..10 {
            pace.holds(u32::MAX, 64, || {
                looks += 1;
                0
            });
        }
        assert_eq!(looks, 10);
    }

    #[test]
    fn on_one_cpu_it_never_waits() {
        let mut pace = Pace::new(false);
        for _ in 0..10 * OPERATIONS_PER_LOOK {
            assert!(!pace.holds(1, 64, never));
        }
    }
}
