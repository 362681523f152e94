//! The test's side: what ends, when, and how.

use std::{
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use dmaring_engine::{Ahead, Completion, Status};

use crate::{Call, ManualDomain, Order, Recovery, Ticket, Violation, state::State};

/// How long a wait lasts before it panics: far beyond any healthy test.
const PATIENCE: Duration = Duration::from_secs(if cfg!(miri) { 300 } else { 30 });

/// The test's handle on a [`ManualEngine`](crate::ManualEngine). Clones drive the same engine.
///
/// Transfers are named by [`Ticket::serial`]; "outstanding" means submitted and not yet ended. The
/// calls that name a serial panic when it is not outstanding.
#[derive(Clone)]
pub struct Control {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// What has happened so far.
impl Control {
    /// How many transfers were enqueued and still wait for the doorbell.
    #[must_use]
    pub fn enqueued(&self) -> usize {
        self.state().enqueued.len()
    }

    /// How many transfers are outstanding.
    #[must_use]
    pub fn submitted(&self) -> usize {
        self.state().running.len()
    }

    /// The outstanding transfers, in order of submission.
    #[must_use]
    pub fn outstanding(&self) -> Vec<Ticket> {
        self.state().running.iter().copied().collect()
    }

    /// How many times the doorbell was rung with something new.
    #[must_use]
    pub fn doorbells(&self) -> u64 {
        self.state().doorbells
    }

    /// How many times the engine was polled.
    #[must_use]
    pub fn polls(&self) -> u64 {
        self.state().polls
    }

    /// How many transfers were carried out at once.
    #[must_use]
    pub fn run(&self) -> u64 {
        self.state().run
    }

    /// How many bytes of them there were at most between two polls.
    #[must_use]
    pub fn most_run(&self) -> u64 {
        self.state().most_run
    }

    /// How many bytes of them there were at most before a `submit`.
    #[must_use]
    pub fn most_unsettled(&self) -> u64 {
        self.state().most_unsettled
    }

    /// How many of them no `submit` has followed yet: whose ends nobody may be told.
    #[must_use]
    pub fn unsettled(&self) -> u64 {
        self.state().unsettled
    }

    /// What the engine was told is ahead, oldest first.
    #[must_use]
    pub fn told_ahead(&self) -> Vec<Ahead> {
        self.state().told_ahead.clone()
    }

    /// Whether the engine was halted.
    #[must_use]
    pub fn halted(&self) -> bool {
        self.state().halted
    }

    /// Whether the engine was dropped.
    #[must_use]
    pub fn dropped(&self) -> bool {
        self.state().dropped
    }

    /// The engine's domain.
    #[must_use]
    pub fn domain(&self) -> Arc<ManualDomain> {
        Arc::clone(&self.state().domain)
    }

    /// What broke the rules of the seam so far, on this engine and on others of its domain.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        self.domain().violations()
    }
}

/// Waiting, without sleeping.
impl Control {
    /// Waits until at least `count` transfers are outstanding, and returns them.
    ///
    /// # Panics
    ///
    /// After 30 seconds, or 300 under Miri.
    pub fn wait_for_submitted(&self, count: usize) -> Vec<Ticket> {
        let what = format!("{count} submitted transfers");
        let state = self.wait(&what, |state| state.running.len() >= count);
        state.running.iter().copied().collect()
    }

    /// Waits until the engine was polled `count` more times. A runtime whose poller is parked does
    /// not poll.
    ///
    /// # Panics
    ///
    /// After 30 seconds, or 300 under Miri.
    pub fn wait_for_polls(&self, count: u64) {
        let target = self.polls() + count;
        drop(self.wait(&format!("{count} more polls"), |state| state.polls >= target));
    }

    /// Waits until the engine was halted or dropped.
    ///
    /// # Panics
    ///
    /// After 30 seconds, or 300 under Miri.
    pub fn wait_for_stop(&self) {
        drop(self.wait("a halt or drop", |state| state.halted || state.dropped));
    }
}

/// Ending transfers.
impl Control {
    /// Carries out one outstanding transfer, wherever it stands.
    ///
    /// # Panics
    ///
    /// When it is not outstanding.
    pub fn complete(&self, serial: u64) -> Ticket {
        self.named(serial, State::complete)
    }

    /// Carries out the outstanding transfer submitted first; `None` when nothing is outstanding.
    pub fn complete_next(&self) -> Option<Ticket> {
        self.change(|state| state.complete(0))
    }

    /// Carries out the outstanding transfer submitted last; `None` when nothing is outstanding.
    pub fn complete_last(&self) -> Option<Ticket> {
        self.change(|state| state.complete(state.running.len().checked_sub(1)?))
    }

    /// Carries out everything outstanding, in order of submission, and returns how many there were.
    pub fn complete_all(&self) -> usize {
        self.change(|state| {
            let count = state.running.len();
            for _ in 0..count {
                state.complete(0);
            }
            count
        })
    }

    /// Fails one outstanding transfer; the others go on.
    ///
    /// # Panics
    ///
    /// When it is not outstanding.
    pub fn fail(&self, serial: u64, status: Status) -> Ticket {
        self.named(serial, |state, place| state.fail(place, status))
    }

    /// Fails the outstanding transfer submitted first; `None` when nothing is outstanding.
    pub fn fail_next(&self, status: Status) -> Option<Ticket> {
        self.change(|state| state.fail(0, status))
    }

    /// Stops the whole channel at one outstanding transfer, as a device that works in order does:
    /// those submitted before it are carried out, it fails, everything behind it, enqueued or
    /// submitted, has not run. There is no room until `recover` is ready.
    ///
    /// # Panics
    ///
    /// When it is not outstanding.
    pub fn fail_channel(&self, serial: u64, status: Status) -> Ticket {
        self.named(serial, |state, place| state.fail_channel(place, status))
    }
}

/// Breaking the contract of engines.
impl Control {
    /// Fails the channel at one outstanding transfer and keeps the others, as an engine does that is lost and cannot
    /// be stopped. The test may still end them.
    ///
    /// # Panics
    ///
    /// When it is not outstanding.
    pub fn fail_and_hold(&self, serial: u64, status: Status) -> Ticket {
        self.named(serial, |state, place| state.fail_and_hold(place, status))
    }

    /// Reports a completion of the test's own making: a late or repeated one, say.
    pub fn forge(&self, completion: Completion) {
        self.change(|state| state.forge(completion));
    }

    /// Makes the engine panic in such calls, from now on.
    pub fn panic_in(&self, call: Call) {
        self.change(|state| state.panics.push(call));
    }
}

/// Changing how the engine behaves.
impl Control {
    /// In automatic mode `poll` ends what is running, by the order set; otherwise nothing ends by
    /// itself, as at first.
    pub fn set_auto(&self, auto: bool) {
        self.change(|state| state.auto = auto);
    }

    /// Leaves automatic mode: `set_auto(false)`.
    pub fn hold(&self) {
        self.set_auto(false);
    }

    /// Enters automatic mode: `set_auto(true)`.
    pub fn release(&self) {
        self.set_auto(true);
    }

    /// The order of automatic mode; [`Order::Fifo`] at first.
    pub fn set_auto_order(&self, order: Order) {
        self.change(|state| state.set_order(order));
    }

    /// What becomes of `recover`; success at once at first. It counts for a recovery under way too, and an engine that is
    /// lost comes back when it is asked again after success was set.
    pub fn set_recovery(&self, recovery: Recovery) {
        self.change(|state| state.recovery = recovery);
    }

    /// What the engine says when it is asked whether it is stuck; `None` at first.
    pub fn set_stuck(&self, stuck: Option<Status>) {
        self.change(|state| state.stuck = stuck);
    }

    /// Has the engine carry out so many more transfers at once and refuse those that follow; `None`, as at first: none is
    /// refused for that.
    pub fn set_runs_left(&self, runs: Option<u64>) {
        self.change(|state| state.runs_left = runs);
    }

    /// Makes `halt` fail. The engine then goes on as before, and the test may still end transfers.
    pub fn refuse_halt(&self, status: Status) {
        self.change(|state| state.refuse_halt = Some(status));
    }

    /// Makes `halt` succeed again.
    pub fn allow_halt(&self) {
        self.change(|state| state.refuse_halt = None);
    }
}

impl Control {
    pub(crate) fn new(state: State) -> Self {
        let shared = Shared { state: Mutex::new(state), changed: Condvar::new() };
        Self { shared: Arc::new(shared) }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and tells those who wait.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        let answer = change(&mut state);
        // A notification is a system call, waited for or not.
        if state.waiting > 0 {
            self.shared.changed.notify_all();
        }
        answer
    }

    /// Panics if the test wants that of this call, with no lock held.
    pub(crate) fn enter(&self, call: Call) {
        let panics = self.state().panics.contains(&call);
        assert!(!panics, "told to panic in {call:?}");
    }

    fn named(&self, serial: u64, end: impl FnOnce(&mut State, usize) -> Option<Ticket>) -> Ticket {
        let ended = self.change(|state| {
            let place = state.running.iter().position(|ticket| ticket.serial == serial)?;
            end(state, place)
        });
        ended.unwrap_or_else(|| panic!("transfer {serial} is not outstanding: {self:?}"))
    }

    fn wait(&self, what: &str, reached: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let end = Instant::now() + PATIENCE;
        let mut state = self.state();
        while !reached(&state) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                // The engine's thread must not find a poisoned lock on top.
                drop(state);
                panic!("{what} did not come within {PATIENCE:?}: {self:?}");
            }
            state.waiting += 1;
            let woken = self.shared.changed.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
            state.waiting -= 1;
        }
        state
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("Control")
            .field("phase", &state.phase)
            .field("enqueued", &state.enqueued)
            .field("running", &state.running)
            .field("doorbells", &state.doorbells)
            .field("polls", &state.polls)
            .finish_non_exhaustive()
    }
}
