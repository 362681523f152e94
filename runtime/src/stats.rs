//! What a runtime has done so far.

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::CachePadded;

/// What a runtime has done so far: a snapshot, counted by the poller since the runtime was built.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Operations the poller has taken from the submission ring.
    pub submitted: u64,
    /// Operations that ended in success.
    pub completed: u64,
    /// Operations that the poller has taken and that ended in an error, or ran out of time.
    pub failed: u64,
    /// Operations that ran out of time, those that never got a place in the ring included.
    pub timed_out: u64,
    /// Operations that ended in success because the CPU did parts again that another engine had failed to do.
    pub retried: u64,
    /// Bytes of operations that ended in success: written, or made durable by [`Region::persist`](crate::Region::persist).
    pub bytes: u64,
    /// Operations submitted and not yet reaped, at this moment.
    pub in_flight: u64,
    /// How often the poller went to sleep.
    pub parks: u64,
    /// Completions that named nothing outstanding: broken engines or peers. 0 in health.
    pub violations: u64,
    /// The engines, in the order they were given to the builder.
    pub engines: Vec<EngineStats>,
}

/// What one engine has done so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EngineStats {
    /// The engine's name.
    pub name: String,
    /// Transfers that ended in success. One operation is one or more of them.
    pub transfers: u64,
    /// Bytes of those transfers.
    pub bytes: u64,
    /// Transfers that failed.
    pub errors: u64,
    /// How often the engine recovered from a failure.
    pub recoveries: u64,
    /// How often the engine was reset with nothing left in it: reports of an earlier epoch count as
    /// [`violations`](Stats::violations) and mean nothing.
    pub epoch: u64,
    /// Transfers given to the engine again that it had not begun when it failed.
    pub replayed: u64,
    /// Transfers it did that another engine had failed to do.
    pub retries: u64,
    /// How often the engine was retired because it failed too often.
    pub retirements: u64,
    /// Where the engine stands now.
    pub state: EngineState,
    /// Whether the engine is lost: [`EngineState::Lost`].
    pub lost: bool,
    /// Whether the engine is retired: [`EngineState::Retired`].
    pub retired: bool,
}

/// Where an engine stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum EngineState {
    /// It works.
    #[default]
    Running,
    /// It failed and is being reset.
    Resetting,
    /// It was reset and is given again what it had not begun.
    Replaying,
    /// It failed too often and takes no operations until it is
    /// [restored](crate::Runtime::restore_engine).
    Retired,
    /// It did not come back from a reset, and takes no operations unless it can be restored.
    Lost,
}

/// The counters behind [`Stats`]. The poller alone writes; each line is its own.
#[derive(Debug)]
pub(crate) struct Counters {
    pub(crate) runtime: CachePadded<RuntimeCounters>,
    pub(crate) engines: Vec<CachePadded<EngineCounters>>,
    pub(crate) names: Vec<String>,
}

#[derive(Debug, Default)]
pub(crate) struct RuntimeCounters {
    pub(crate) submitted: Counter,
    pub(crate) completed: Counter,
    pub(crate) failed: Counter,
    pub(crate) timed_out: Counter,
    pub(crate) retried: Counter,
    pub(crate) bytes: Counter,
    pub(crate) parks: Counter,
    pub(crate) violations: Counter,
}

#[derive(Debug, Default)]
pub(crate) struct EngineCounters {
    pub(crate) transfers: Counter,
    pub(crate) bytes: Counter,
    pub(crate) errors: Counter,
    pub(crate) recoveries: Counter,
    pub(crate) epoch: Counter,
    pub(crate) replayed: Counter,
    pub(crate) retries: Counter,
    pub(crate) retirements: Counter,
    /// An [`EngineState`], by number.
    state: Counter,
}

impl EngineCounters {
    /// Notes where the engine stands. Only the poller may.
    pub(crate) fn set_state(&self, state: impl Into<EngineState>) {
        self.state.set(state.into() as u64);
    }

    fn state(&self) -> EngineState {
        let states = [
            EngineState::Running,
            EngineState::Resetting,
            EngineState::Replaying,
            EngineState::Retired,
            EngineState::Lost,
        ];
        let number = self.state.get();
        states.into_iter().find(|&state| state as u64 == number).unwrap_or_default()
    }
}

/// A counter with one writer: adding is a load and a store, without a locked instruction.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds. Only the poller may.
    pub(crate) fn add(&self, value: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(value), Ordering::Relaxed);
    }

    /// Sets what is no sum. Only the poller may.
    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counters {
    pub(crate) fn new(names: Vec<String>) -> Self {
        let engines = names.iter().map(|_| CachePadded::default()).collect();
        Self { runtime: CachePadded::default(), engines, names }
    }

    pub(crate) fn snapshot(&self, in_flight: u64) -> Stats {
        let runtime = &self.runtime;
        let engines = self.names.iter().zip(&self.engines).map(|(name, counters)| {
            let state = counters.state();
            EngineStats {
                name: name.clone(),
                transfers: counters.transfers.get(),
                bytes: counters.bytes.get(),
                errors: counters.errors.get(),
                recoveries: counters.recoveries.get(),
                epoch: counters.epoch.get(),
                replayed: counters.replayed.get(),
                retries: counters.retries.get(),
                retirements: counters.retirements.get(),
                state,
                lost: state == EngineState::Lost,
                retired: state == EngineState::Retired,
            }
        });
        Stats {
            submitted: runtime.submitted.get(),
            completed: runtime.completed.get(),
            failed: runtime.failed.get(),
            timed_out: runtime.timed_out.get(),
            retried: runtime.retried.get(),
            bytes: runtime.bytes.get(),
            in_flight,
            parks: runtime.parks.get(),
            violations: runtime.violations.get(),
            engines: engines.collect(),
        }
    }
}
