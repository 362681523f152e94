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
use crate::{quiesce::Verdict, shared::Shared};

/// Has the memory of a region without handles given back once nothing is at it. The order holds the runtime's shared part, at the
/// longest until the poller ends.
pub(super) fn give_back_once_quiet(
    shared: &Arc<Shared>,
    key: Key,
    facts: RegionFacts,
    body: Body,
) {
    let held = shared.clone();
    let answer = move |verdict| {
        let shared = held.clone();
        let finish = move || finish(&shared, key, facts, body, verdict);
        held.housekeeper.run(Box::new(finish));
    };
    shared.quiesce.order_last(key, Box::new(answer));
    shared.summon_poller();
}

/// The last steps, on the housekeeper.
fn finish(shared: &Shared, key: Key, facts: RegionFacts, body: Body, verdict: Verdict) {
    if verdict == Verdict::Captive || shared.lifecycle.must_leak() {
        mem::forget(body);
        leaked(facts.length);
        return;
    }
    if facts.staged {
        shared.staging.leave(key);
    }
    if verdict == Verdict::Ended {
        shared.regions.retire(key);
    }
    body.give_back();
}

/// Says that memory stays.
pub(super) fn leaked(bytes: u64) {
    tracing::error!(bytes, "an engine did not stop: the region's memory is left mapped for good");
}
