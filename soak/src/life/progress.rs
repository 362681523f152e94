//! How far the submitters of a runtime are: what the conductor waits for, and what they wait for.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Steps made, submitters that have finished, and whether the runtime has ended.
#[derive(Debug)]
pub(crate) struct Progress {
    submitters: usize,
    state: Mutex<State>,
    bell: Condvar,
}

#[derive(Debug, Default)]
struct State {
    steps: u64,
    finished: usize,
    ended: bool,
}

/// A submitter at work. It has finished when this is dropped, however that comes.
#[derive(Debug)]
pub(crate) struct Working<'a>(&'a Progress);

impl Progress {
    pub(super) fn new(submitters: usize) -> Self {
        Self { submitters, state: Mutex::default(), bell: Condvar::new() }
    }

    /// A submitter begins.
    pub(crate) fn begin(&self) -> Working<'_> {
        Working(self)
    }

    /// A submitter has made a step.
    pub(crate) fn step(&self) {
        self.state().steps += 1;
        self.bell.notify_all();
    }

    /// Waits until the runtime has ended.
    pub(crate) fn wait_for_end(&self) {
        drop(self.wait(|state| state.ended));
    }

    /// Waits until so many steps were made. `false`: there will not be so many.
    pub(super) fn reach(&self, steps: u64) -> bool {
        self.wait(|state| state.steps >= steps || state.finished == self.submitters).steps >= steps
    }

    /// Waits until all submitters have finished.
    pub(super) fn finish(&self) {
        drop(self.wait(|state| state.finished == self.submitters));
    }

    /// The runtime has ended.
    pub(super) fn end(&self) {
        self.state().ended = true;
        self.bell.notify_all();
    }

    fn wait(&self, until: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        self.bell
            .wait_while(self.state(), |state| !until(state))
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.state().finished += 1;
        self.0.bell.notify_all();
    }
}
