//! How a region ends with its last handle, of which the last may be the one that an operation's slot held.
//!
//! ```text
//! drop ─► [order] ─► poller: does no operation name it? ─► [housekeeper]: unmap for engines ─► give the memory back
//! ```
//!
//! That the slots have let go says that every operation of the application's has ended, by what the completion ring says.
//! The poller knows better: it has operations that another process pushed, and for which no slot holds anything, and the memory
//! goes by its word. What it is told here is only handed over, since the last handle may die anywhere: on the poller, on
//! the housekeeper, inside a waker. After the poller's end the order is answered where it is made.

use std::{mem, sync::Arc};

use dmaring_ring::Key;

use super::{Body, RegionFacts};
use crate::{housekeeper::Job, quiesce::Verdict, shared::Shared};

/// Has the memory of a region without handles given back once nothing is at it. The order holds the runtime's shared part, at the
/// longest until the poller ends; what the housekeeper is given holds none of it.
pub(super) fn give_back_once_quiet(shared: &Arc<Shared>, key: Key, facts: RegionFacts, body: Body) {
    let held = shared.clone();
    let answer = move |verdict| held.housekeeper.run(last_step(&held, key, facts, body, verdict));
    shared.quiesce.order_last(key, Box::new(answer));
    shared.summon_poller();
}

/// What is left to the housekeeper.
fn last_step(shared: &Shared, key: Key, facts: RegionFacts, body: Body, verdict: Verdict) -> Job {
    if verdict == Verdict::Captive || shared.lifecycle.must_leak() {
        mem::forget(body);
        // Whoever listens is foreign code.
        return Box::new(move || leaked(facts.length));
    }
    if facts.staged {
        shared.staging.leave(key);
    }
    if verdict == Verdict::Ended {
        shared.regions.retire(key);
    }
    Box::new(move || body.give_back())
}

/// Says that memory stays.
pub(super) fn leaked(bytes: u64) {
    tracing::error!(bytes, "an engine did not stop: the region's memory is left mapped for good");
}

#[cfg(test)]
pub(crate) fn eventually(what: &str, condition: impl Fn() -> bool) {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !condition() {
        assert!(std::time::Instant::now() < end, "{what}");
        std::thread::yield_now();
    }
}

#[cfg(all(test, not(miri)))]
mod tests {
    use std::time::Duration;

    use dmaring_manual::ManualEngine;

    use super::eventually;
    use crate::{Idle, Runtime};

    /// Many at once, with operations under way on others, and one whose slot is the last to let go, on the poller itself.
    #[test]
    fn many_go_at_once_and_none_that_is_in_use() {
        let (engine, control) = ManualEngine::new();
        let idle = Idle::Adaptive { spin: Duration::ZERO, park_after: Duration::from_secs(60) };
        let runtime = Runtime::builder().engine(engine).idle(idle).build().unwrap();
        let used: Vec<_> = (0..8).map(|_| runtime.register(vec![0u8; 128]).unwrap()).collect();
        let copies: Vec<_> = used.iter().map(|region| region.copy(0, 64, 64).submit()).collect();
        control.wait_for_submitted(8);
        let idle: Vec<_> = (0..2000).map(|_| runtime.register(vec![0u8; 8]).unwrap()).collect();
        drop((used, idle));
        eventually("the unmapping", || control.domain().live() == 8);
        drop(copies);
        control.wait_for_polls(200);
        assert_eq!(control.domain().live(), 8, "the engine is at them");
        control.release();
        eventually("the unmapping", || {
            runtime.shared().client.reap();
            control.domain().live() == 0
        });
        assert_eq!(control.violations(), vec![]);
    }

    #[test]
    fn a_poller_that_sleeps_is_woken_and_sleeps_again() {
        let (engine, control) = ManualEngine::new();
        let idle = Idle::Adaptive { spin: Duration::ZERO, park_after: Duration::ZERO };
        let runtime = Runtime::builder().engine(engine).idle(idle).build().unwrap();
        let region = runtime.allocate(4096).unwrap();
        eventually("its sleep", || runtime.stats().parks > 0);
        let parks = runtime.stats().parks;
        drop(region);
        eventually("its next sleep", || runtime.stats().parks > parks);
        eventually("the unmapping", || control.domain().live() == 0);
        // On a thread that ends with the runtime, and after it.
        let [early, late] = [(); 2].map(|()| runtime.allocate(4096).unwrap());
        drop((early, runtime));
        assert_eq!(control.domain().live(), 1, "given back while the runtime is dropped");
        drop(late);
        eventually("the unmapping", || control.domain().live() == 0);
    }
}
