//! Recovery: what an engine's failures lead to, in one state machine.
//!
//! ```text
//!             failed               reset_done              replayed
//! Running ─────────────► Resetting ──────────► Replaying ────────────► Running
//!    │                    ▲  │  ▲                  │
//!    │            restore │  │  └──────failed──────┤
//!    │                    │  └─reset_failed─► Dead ◄──stuck── any of the others
//!    │                    │                        │
//!    └─failed, too often──┴────► Retired ◄─────────┘ failed, too often
//! ```
//!
//! | state | fed | polled | what happens |
//! | --- | --- | --- | --- |
//! | Running | yes | yes | |
//! | Resetting | no | yes | `recover` is stepped: the engine suspends and resets itself. Its ends are still taken |
//! | Replaying | yes | yes | operations that were not run stand before all others, in the order of their submission |
//! | Retired | no | yes | what waits for the engine has moved to others, or failed; nobody resets it. Should it turn out to be *stuck*, it is dead |
//! | Dead | no | yes | the same: the engine's `recover` gave up, or the engine is *stuck*: it failed, does not stop and may still write |
//!
//! *failed* is one failure, however many parts it took: while the engine is being reset, further ones are part of it.
//! A reset that fails is tried again, three times in all, before the engine is dead: what hit the engine may have hit its reset,
//! too, and behind it wait operations that nothing is wrong with. A device that is gone is tried once.
//!
//! A retired or dead engine works again after `restore`, which forgets its earlier failures.
//!
//! Each reset that ends with nothing outstanding begins a new [`Epoch`]. By the contract of
//! [`recover`](dmaring_engine::Engine::recover) every token of the old one was reported by then, so a report that comes
//! later is no part's end, and names none (see [`super::transfers`]). Where an engine says *ready* with transfers outstanding there was nothing to reset, and the
//! epoch goes on.

use std::{collections::VecDeque, time::Duration};

use super::table::Epoch;
use crate::stats::EngineState;

/// How often a reset is tried before the engine is dead.
const ATTEMPTS: u32 = 3;

/// Which failures retire an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Retirement {
    /// How many; 0: an engine is never retired.
    pub(crate) failures: u32,
    /// Within how long.
    pub(crate) window: Duration,
}

impl Retirement {
    /// The most failures that can be asked for: each is remembered.
    pub(crate) const MAX_FAILURES: u32 = 1024;
}

impl Default for Retirement {
    fn default() -> Self {
        Self { failures: 8, window: Duration::from_secs(10) }
    }
}

/// Where an engine stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Running,
    Resetting,
    Replaying,
    Retired,
    Dead,
}

impl From<State> for EngineState {
    fn from(state: State) -> Self {
        match state {
            State::Running => Self::Running,
            State::Resetting => Self::Resetting,
            State::Replaying => Self::Replaying,
            State::Retired => Self::Retired,
            State::Dead => Self::Lost,
        }
    }
}

#[derive(Debug)]
pub(super) struct Recovery {
    state: State,
    epoch: Epoch,
    /// How many attempts at the present reset have failed.
    attempts: u32,
    retirement: Retirement,
    /// When the last failures were, at most as many as retire the engine.
    failures: VecDeque<Duration>,
}

impl Recovery {
    pub(super) fn new(retirement: Retirement) -> Self {
        let failures = retirement.failures.min(Retirement::MAX_FAILURES);
        Self {
            state: State::Running,
            epoch: Epoch::default(),
            attempts: 0,
            retirement: Retirement { failures, ..retirement },
            failures: VecDeque::with_capacity(failures as usize),
        }
    }

    pub(super) fn state(&self) -> State {
        self.state
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Whether the engine is fed.
    pub(super) fn is_fed(&self) -> bool {
        matches!(self.state, State::Running | State::Replaying)
    }

    /// Whether operations may be sent to the engine: it works, or soon will.
    pub(super) fn takes_work(&self) -> bool {
        !matches!(self.state, State::Retired | State::Dead)
    }

    /// The engine reported a part as failed or not run. `now` is asked once for each failure.
    pub(super) fn failed(&mut self, now: impl FnOnce() -> Duration) {
        if !self.is_fed() {
            return;
        }
        self.attempts = 0;
        self.state = if self.is_last(now) { State::Retired } else { State::Resetting };
    }

    /// The engine is ready again; `outstanding` parts are in it.
    pub(super) fn reset_done(&mut self, outstanding: usize) {
        if self.state == State::Resetting {
            self.state = State::Replaying;
            if outstanding == 0 {
                self.epoch = Epoch(self.epoch.0.wrapping_add(1));
            }
        }
    }

    /// An attempt to reset the engine failed. Whether there is to be another.
    pub(super) fn tries_again(&mut self) -> bool {
        self.attempts += 1;
        self.attempts < ATTEMPTS
    }

    /// The engine did not come back.
    pub(super) fn reset_failed(&mut self) {
        if self.state == State::Resetting {
            self.state = State::Dead;
        }
    }

    /// The engine does not stop, and keeps what it has.
    pub(super) fn stuck(&mut self) {
        self.state = State::Dead;
    }

    /// All that was not run is in the engine again.
    pub(super) fn replayed(&mut self) {
        if self.state == State::Replaying {
            self.state = State::Running;
        }
    }

    /// A retired or dead engine is to be tried again.
    pub(super) fn restore(&mut self) {
        if !self.takes_work() {
            self.failures.clear();
            self.attempts = 0;
            self.state = State::Resetting;
        }
    }

    /// Notes a failure, and says whether it is the one that retires the engine.
    fn is_last(&mut self, now: impl FnOnce() -> Duration) -> bool {
        let most = self.retirement.failures as usize;
        if most == 0 {
            return false;
        }
        let now = now();
        if self.failures.len() >= most {
            self.failures.pop_front();
        }
        self.failures.push_back(now);
        let window = self.retirement.window;
        self.failures.len() >= most
            && self.failures.front().is_some_and(|&first| now.saturating_sub(first) <= window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn recovery(failures: u32, window: Duration) -> Recovery {
        Recovery::new(Retirement { failures, window })
    }

    fn fail_at(recovery: &mut Recovery, now: Duration) -> State {
        recovery.failed(|| now);
        let state = recovery.state();
        recovery.reset_done(0);
        recovery.replayed();
        state
    }

    #[test]
    fn a_failure_leads_through_reset_and_replay_back_to_work() {
        let mut recovery = recovery(8, SECOND);
        assert!(recovery.is_fed() && recovery.takes_work());
        recovery.failed(|| SECOND);
        assert_eq!(recovery.state(), State::Resetting);
        assert!(!recovery.is_fed() && recovery.takes_work());
        recovery.failed(|| unreachable!("one failure, however many parts it took"));
        recovery.replayed();
        assert_eq!(recovery.state(), State::Resetting, "nothing is replayed before the reset");
        recovery.reset_done(0);
        assert_eq!((recovery.state(), recovery.epoch()), (State::Replaying, Epoch(1)));
        assert!(recovery.is_fed());
        recovery.replayed();
        assert_eq!(recovery.state(), State::Running);
    }

    #[test]
    fn each_reset_is_tried_three_times() {
        let mut recovery = recovery(8, SECOND);
        for restored in [false, true] {
            if restored {
                recovery.restore();
            } else {
                recovery.failed(|| SECOND);
            }
            assert_eq!([(); 3].map(|()| recovery.tries_again()), [true, true, false]);
            recovery.reset_failed();
        }
    }

    #[test]
    fn an_engine_that_had_nothing_to_reset_stays_in_its_epoch() {
        let mut recovery = recovery(8, SECOND);
        recovery.failed(|| SECOND);
        recovery.reset_done(1);
        assert_eq!((recovery.state(), recovery.epoch()), (State::Replaying, Epoch(0)));
    }

    #[test]
    fn failures_within_the_window_retire_and_older_ones_do_not() {
        let mut recovery = recovery(3, SECOND);
        let at = |tenths: u64| Duration::from_millis(tenths * 100);
        for tenths in [0, 6, 12, 18] {
            assert_eq!(fail_at(&mut recovery, at(tenths)), State::Resetting, "{tenths}");
        }
        assert_eq!(fail_at(&mut recovery, at(24)), State::Resetting);
        assert_eq!(fail_at(&mut recovery, at(28)), State::Retired, "18, 24 and 28");
        assert!(!recovery.takes_work());
        recovery.failed(|| unreachable!("a retired engine has nothing to lose"));
        recovery.restore();
        assert_eq!(recovery.state(), State::Resetting);
        recovery.reset_done(0);
        recovery.replayed();
        assert_eq!(fail_at(&mut recovery, at(28)), State::Resetting, "its past is forgotten");
    }

    #[test]
    fn none_is_retired_when_that_is_off() {
        let mut recovery = recovery(0, SECOND);
        for _ in 0..100 {
            assert_eq!(fail_at(&mut recovery, SECOND), State::Resetting);
        }
    }

    #[test]
    fn a_dead_engine_can_be_tried_again() {
        let mut recovery = recovery(8, SECOND);
        recovery.reset_failed();
        assert_eq!(recovery.state(), State::Running, "it was not being reset");
        recovery.failed(|| SECOND);
        recovery.reset_failed();
        assert_eq!(recovery.state(), State::Dead);
        recovery.reset_done(0);
        assert_eq!((recovery.state(), recovery.epoch()), (State::Dead, Epoch(0)));
        recovery.restore();
        recovery.reset_done(0);
        assert_eq!((recovery.state(), recovery.epoch()), (State::Replaying, Epoch(1)));
        recovery.restore();
        assert_eq!(recovery.state(), State::Replaying, "it works");
        recovery.stuck();
        assert_eq!(recovery.state(), State::Dead);
    }

    #[test]
    fn a_retired_engine_that_keeps_what_it_has_is_dead() {
        let mut recovery = recovery(1, SECOND);
        recovery.failed(|| SECOND);
        assert_eq!(recovery.state(), State::Retired);
        recovery.stuck();
        assert_eq!(recovery.state(), State::Dead);
        recovery.restore();
        assert_eq!(recovery.state(), State::Resetting);
    }
}
