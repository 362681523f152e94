//! When the poller reaps for those who asked to be notified: not at once, but when they do not do it themselves.
//!
//! Whoever asked may sleep, and then the poller has to reap, so that its waker is called. Or it polls again at once, as executors
//! do that have other tasks, and those that spin: then it reaps by itself, on the core whose caches have the slots, and the
//! poller's reaping would only take their lines away, for several hundred nanoseconds an operation. So the poller waits for some
//! microseconds whether the completions are taken off the ring. If they are not, it reaps, and does not wait for a while: after each
//! vain wait for twice as many notices as after the one before, up to [`MOST`]. So those who sleep are woken late, by some 10
//! or 20 microseconds, once in a while and not each time. Turns that move many bytes, or many short operations, count for as many as
//! they take as long as. Who has 32 copies in flight and awaits the oldest of them reaps within the time.
//!
//! It is a matter of time alone. A notice that is due is carried out in one of the next turns, and before the poller parks.

/// How many turns' worth of time the poller waits. A turn in which nothing is done is some 50 ns, and so is a glance between two.
const PATIENCE: u64 = 400;
/// How many bytes moved take as long as a turn.
pub(super) const BYTES_PER_TURN: u64 = 512;
/// How many take as long as the ring is left alone for entries to gather.
pub(super) const BYTES_PER_HOLD: u64 = 16 * BYTES_PER_TURN;
/// For how many notices the poller does not wait at most.
const MOST: u32 = 256;

/// What the poller owes those who asked.
#[derive(Debug)]
pub(super) struct Notice {
    /// Whether it ever waits.
    waits: bool,
    /// The end of what was published first and may not have been reaped.
    due: Option<u64>,
    /// The end of all that was published for those who asked.
    last: u64,
    /// How long it still waits.
    left: u64,
    /// For how many notices it does not wait.
    distrust: u32,
    /// For how many it will not after the next vain wait.
    next: u32,
}

impl Notice {
    /// One that waits, or never does.
    pub(super) fn new(waits: bool) -> Self {
        Self { waits, due: None, last: 0, left: 0, distrust: 0, next: 1 }
    }

    /// Completions up to `tail` were published, and somebody asked to be notified.
    #[inline]
    pub(super) fn owe(&mut self, tail: u64) {
        self.last = tail;
        if self.due.is_none() {
            self.wait_for(tail);
        }
    }

    /// Waits no longer: whether anything is owed.
    pub(super) fn settle(&mut self) -> bool {
        self.due.take().is_some()
    }

    /// One turn in which so many bytes were moved. `true`: now the poller has to reap all there is. `reaped` gives the position up
    /// to which completions were taken off the ring.
    #[inline]
    pub(super) fn is_due(&mut self, bytes: u64, reaped: impl FnOnce() -> u64) -> bool {
        let Some(due) = self.due else { return false };
        self.left = self.left.saturating_sub(turns(bytes));
        if self.left > 0 {
            return false;
        }
        let reaped = reaped();
        if is_past(reaped, due) {
            self.due = None;
            if self.distrust == 0 {
                self.next = 1;
            }
            if !is_past(reaped, self.last) {
                self.wait_for(self.last);
            }
            return false;
        }
        self.due = None;
        if self.distrust == 0 {
            self.distrust = self.next;
            self.next = (2 * self.next).min(MOST);
        } else {
            self.distrust -= 1;
        }
        true
    }

    /// The same without a turn, for what was owed just now: `true` only where it is not waited for at all.
    #[inline]
    pub(super) fn is_due_at_once(&mut self, reaped: impl FnOnce() -> u64) -> bool {
        self.left == 0 && self.is_due(0, reaped)
    }

    fn wait_for(&mut self, tail: u64) {
        self.due = Some(tail);
        self.left = if self.waits && self.distrust == 0 { PATIENCE } else { 0 };
    }
}

/// How many turns a turn counts for in which so many bytes were moved.
#[inline]
pub(super) fn turns(bytes: u64) -> u64 {
    1 + bytes / BYTES_PER_TURN
}

/// Whether `position` has come to `end`. Positions count on for ever.
fn is_past(position: u64, end: u64) -> bool {
    position.wrapping_sub(end) <= u64::MAX / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn never() -> u64 {
        unreachable!("it is not looked at before the time is over")
    }

    /// Turns until it looks where the reader is, and whether it reaps then.
    fn turns(notice: &mut Notice, bytes: u64, reaped: u64) -> (u64, bool) {
        for turn in 1..=PATIENCE + 1 {
            let mut looked = false;
            let due = notice.is_due(bytes, || {
                looked = true;
                reaped
            });
            if looked {
                return (turn, due);
            }
        }
        (u64::MAX, false)
    }

    #[test]
    fn nothing_is_owed_to_nobody() {
        let mut notice = Notice::new(true);
        assert!(!notice.settle() && !notice.is_due(0, never));
    }

    #[test]
    fn who_reaps_in_time_is_left_alone() {
        let mut notice = Notice::new(true);
        notice.owe(5);
        assert_eq!(turns(&mut notice, 0, 5), (PATIENCE, false));
        assert!(!notice.settle());
        // What was published meanwhile is waited for anew.
        notice.owe(6);
        notice.owe(9);
        assert_eq!(turns(&mut notice, 0, 7), (PATIENCE, false));
        assert_eq!(turns(&mut notice, 0, 9), (PATIENCE, false));
        assert!(!notice.settle());
    }

    #[test]
    fn who_does_not_is_reaped_for_and_not_waited_for_again_soon() {
        let mut notice = Notice::new(true);
        notice.owe(5);
        let mut position = 5;
        let mut vain = |notice: &mut Notice| {
            position += 1;
            notice.owe(position);
            turns(notice, 0, position - 1)
        };
        assert_eq!(turns(&mut notice, 0, 4), (PATIENCE, true));
        for length in [1, 2, 4, 8, 16, 32, 64, 128, MOST, MOST] {
            for number in 0..length {
                assert_eq!(vain(&mut notice), (1, true), "{number} of {length}");
            }
            assert_eq!(vain(&mut notice), (PATIENCE, true), "after {length}");
        }
        for _ in 0..MOST {
            vain(&mut notice);
        }
        // Who reaps is trusted again.
        notice.owe(u64::MAX / 4);
        assert_eq!(turns(&mut notice, 0, u64::MAX / 4), (PATIENCE, false));
        notice.owe(u64::MAX / 4 + 1);
        assert_eq!(turns(&mut notice, 0, u64::MAX / 4), (PATIENCE, true));
        notice.owe(u64::MAX / 4 + 2);
        assert_eq!(turns(&mut notice, 0, u64::MAX / 4), (1, true));
        notice.owe(u64::MAX / 4 + 3);
        assert_eq!(turns(&mut notice, 0, u64::MAX / 4 + 3), (PATIENCE, false));
    }

    #[test]
    fn what_is_owed_now_is_due_at_once_only_where_nobody_is_trusted() {
        let mut notice = Notice::new(true);
        notice.owe(5);
        assert!(!notice.is_due_at_once(never));
        assert!(notice.is_due(u64::MAX, || 4), "a turn that takes long");
        notice.owe(6);
        assert!(notice.is_due_at_once(|| 5));
        let mut always = Notice::new(false);
        always.owe(5);
        assert!(always.is_due_at_once(|| 4));
        assert!(!always.is_due_at_once(never), "nothing is owed any more");
    }

    #[test]
    fn it_is_settled_at_once_where_turns_may_take_long() {
        let mut notice = Notice::new(true);
        notice.owe(5);
        assert!(notice.settle() && !notice.settle() && !notice.is_due(0, never));
    }

    #[test]
    fn work_takes_time_too_and_one_cpu_has_none() {
        let mut notice = Notice::new(true);
        notice.owe(5);
        assert_eq!(turns(&mut notice, PATIENCE * BYTES_PER_TURN, 4), (1, true));
        let mut notice = Notice::new(false);
        notice.owe(5);
        assert_eq!(turns(&mut notice, 0, 4), (1, true));
    }

    #[test]
    fn positions_come_round() {
        let mut notice = Notice::new(true);
        notice.owe(u64::MAX);
        assert_eq!(turns(&mut notice, 0, 3), (PATIENCE, false));
        notice.owe(2);
        assert_eq!(turns(&mut notice, 0, u64::MAX), (PATIENCE, true));
    }
}
