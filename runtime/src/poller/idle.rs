//! What the poller does when nothing is to be done.

use std::{hint, thread, time::Duration};

/// How the poller passes the time between operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Idle {
    /// Never sleeps: the lowest latency, for a core of its own, all of which it takes.
    Spin,
    /// Spins for `spin` after the last work, then gives its core to others between looks, and sleeps once
    /// nothing has come for `park_after`. The first operation after that pays for a wake-up by the kernel.
    ///
    /// It sleeps only while nothing is in flight.
    Adaptive {
        /// How long it spins.
        spin: Duration,
        /// After how long it sleeps; not before `spin` is over.
        park_after: Duration,
    },
}

impl Default for Idle {
    /// Spins for 50 µs and sleeps after 1 ms.
    fn default() -> Self {
        Self::Adaptive { spin: Duration::from_micros(50), park_after: Duration::from_millis(1) }
    }
}

/// How many turns pass between two looks at the clock.
const TURNS_PER_LOOK: u32 = 64;
/// On one CPU, after how many turns without progress the poller lets others run.
const TURNS_ALONE: u32 = 32;

/// How long nothing has happened.
#[derive(Debug)]
pub(crate) struct Idler {
    policy: Idle,
    /// Whether the threads that submit need this thread's CPU.
    one_cpu: bool,
    turns: u32,
    since: Option<Duration>,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Advice {
    /// Look again.
    Again,
    /// Sleep until woken.
    Park,
}

impl Idler {
    pub(crate) fn new(policy: Idle, one_cpu: bool) -> Self {
        Self { policy, one_cpu, turns: 0, since: None }
    }

    /// Something happened.
    pub(crate) fn reset(&mut self) {
        self.turns = 0;
        self.since = None;
    }

    /// Whether the next `pass` may advise to park.
    pub(crate) fn may_advise(&self) -> bool {
        self.turns.wrapping_add(1).is_multiple_of(TURNS_PER_LOOK)
    }

    /// Nothing happened this turn. `busy`: something is in flight, so there is no parking.
    pub(crate) fn pass(&mut self, busy: bool, now: impl FnOnce() -> Duration) -> Advice {
        self.turns = self.turns.wrapping_add(1);
        hint::spin_loop();
        if self.one_cpu && self.turns.is_multiple_of(TURNS_ALONE) {
            thread::yield_now();
        }
        let Idle::Adaptive { spin, park_after } = self.policy else { return Advice::Again };
        if !self.turns.is_multiple_of(TURNS_PER_LOOK) {
            return Advice::Again;
        }
        let now = now();
        let idle = now.saturating_sub(*self.since.get_or_insert(now));
        if !busy && idle >= park_after.max(spin) {
            return Advice::Park;
        }
        if idle >= spin {
            thread::yield_now();
        }
        Advice::Again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(idler: &mut Idler, busy: bool, now: Duration) -> Advice {
        let mut last = Advice::Again;
        for _ in 0..TURNS_PER_LOOK {
            last = idler.pass(busy, || now);
        }
        last
    }

    #[test]
    fn it_parks_when_the_time_is_over_and_not_while_busy() {
        let policy = Idle::Adaptive {
            spin: Duration::from_micros(5),
            park_after: Duration::from_micros(20),
        };
        let mut idler = Idler::new(policy, false);
        let at = Duration::from_micros;
        assert_eq!(passes(&mut idler, false, at(100)), Advice::Again);
        assert_eq!(passes(&mut idler, false, at(119)), Advice::Again);
        assert_eq!(passes(&mut idler, true, at(125)), Advice::Again);
        assert_eq!(passes(&mut idler, false, at(125)), Advice::Park);
        idler.reset();
        assert_eq!(passes(&mut idler, false, at(126)), Advice::Again);
    }

    #[test]
    fn it_never_parks_when_told_to_spin() {
        let mut idler = Idler::new(Idle::Spin, false);
        assert_eq!(passes(&mut idler, false, Duration::from_secs(3600)), Advice::Again);
    }
}
