//! The poller's end: drained, given up or lost, the engines stop before any memory is given back.

use std::{thread, time::Duration};

use dmaring_ring::CompletionCode;

use super::Poller;
use crate::{
    foreign,
    lifecycle::{Lifecycle, Outcome},
};

/// How long an engine is given to stop.
const HALT: Duration = Duration::from_secs(1);

/// What the end is called after the poller panicked, once `abandon` has resolved what there was. Where that panics too, by a
/// subscriber of `tracing` for instance, engines may run on and futures stay unresolved: memory is left in place, and the end is
/// told all the same.
pub(super) fn after_panic(lifecycle: &Lifecycle, abandon: impl FnOnce()) -> Outcome {
    let abandoned = foreign::call(|| {
        tracing::error!("the poller panicked: every operation is resolved as lost");
        abandon();
    });
    if abandoned.is_none() {
        lifecycle.leak();
    }
    Outcome::Lost
}

impl Poller {
    /// Takes a step towards the end; `Some` when it is reached.
    pub(super) fn try_end(&mut self, deadline: Duration) -> Option<Outcome> {
        let client = &self.shared.client;
        if !self.closing {
            self.closing = true;
            client.close();
        }
        if client.refuse_waiters(CompletionCode::SHUTDOWN) {
            self.shared.ring_event();
        }
        client.reap();
        if client.permits.is_drained() && self.ops.len() == 0 {
            return Some(self.halt(Outcome::Drained, 0));
        }
        let hopeless = self.has_only_captives();
        if !hopeless && self.shared.clock.now() < deadline {
            return None;
        }
        let given_up = client.permits.out();
        let why = if hopeless { "a lost engine keeps what is left" } else { "the deadline passed" };
        tracing::error!(operations = given_up, "shutdown: {why}: operations are given up");
        Some(self.abandon_after_halt(CompletionCode::SHUTDOWN, given_up))
    }

    fn abandon_after_halt(&mut self, code: CompletionCode, given_up: u64) -> Outcome {
        let outcome = self.halt(Outcome::GivenUp(given_up), given_up);
        self.resolve_rest(code);
        outcome
    }

    /// Gives up: stops what can be stopped, resolves what is left.
    pub(super) fn abandon(&mut self, code: CompletionCode) {
        self.halt(Outcome::Lost, 0);
        self.shared.client.close();
        self.resolve_rest(code);
    }

    /// Halts every engine, whatever the others do. One that does not stop, or panics, may still touch memory, all of which
    /// is leaked.
    fn halt(&mut self, otherwise: Outcome, given_up: u64) -> Outcome {
        let mut outcome = otherwise;
        for lane in &mut self.lanes {
            if let Err(error) = lane.halt(HALT) {
                match error {
                    Some(error) => {
                        tracing::error!(%error, "memory that the engine may touch stays mapped for good");
                    }
                    None => {
                        tracing::error!("halting an engine panicked: memory stays mapped for good");
                    }
                }
                self.shared.lifecycle.leak();
                outcome = Outcome::Leaked(given_up);
            }
        }
        outcome
    }

    /// Resolves everything in flight, until every permit is at home: threads between taking a permit and
    /// pushing are waited for.
    fn resolve_rest(&mut self, code: CompletionCode) {
        // Before the first region may go.
        self.shared.persist.cancel();
        let client = &self.shared.client;
        loop {
            client.refuse_waiters(code);
            client.reap();
            client.resolve_all(code);
            if client.permits.is_drained() {
                return;
            }
            thread::yield_now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_after_the_panic_leaves_memory_in_place_and_the_end_is_told() {
        // What a panic carries is never dropped, for that may panic too: a leak to Miri.
        let cases = if cfg!(miri) { 1 } else { 2 };
        for (panics, leaks) in [(false, false), (true, true)].into_iter().take(cases) {
            let lifecycle = Lifecycle::new();
            let outcome = after_panic(&lifecycle, || assert!(!panics, "as a subscriber may"));
            assert_eq!((outcome, lifecycle.must_leak()), (Outcome::Lost, leaks));
        }
    }
}
