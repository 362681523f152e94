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
    /// Operations that ended in an error.
    pub failed: u64,
    /// Bytes written by operations that ended in success.
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
    /// Whether the engine is lost for good.
    pub lost: bool,
}

/// The counters behind [`Stats`]. The poller alone writes; each line is its own.
#[derive(Debug)]
pub(crate) struct Counters {
    pub(crate) runtime: CachePadded<RuntimeCounters>,
    pub(crate) engines: Vec<CachePadded<EngineCounters>>,
    names: Vec<String>,
}

#[derive(Debug, Default)]
pub(crate) struct RuntimeCounters {
    pub(crate) submitted: Counter,
    pub(crate) completed: Counter,
    pub(crate) failed: Counter,
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
    pub(crate) lost: Counter,
}

/// A counter with one writer: adding is a load and a store, without a locked instruction.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds. Only the poller may.
    pub(crate) fn add(&self, value: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(value), Ordering::Relaxed);
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
        let engines = self.names.iter().zip(&self.engines).map(|(name, counters)| EngineStats {
            name: name.clone(),
            transfers: counters.transfers.get(),
            bytes: counters.bytes.get(),
            errors: counters.errors.get(),
            recoveries: counters.recoveries.get(),
            lost: counters.lost.get() != 0,
        });
        Stats {
            submitted: runtime.submitted.get(),
            completed: runtime.completed.get(),
            failed: runtime.failed.get(),
            bytes: runtime.bytes.get(),
            in_flight,
            parks: runtime.parks.get(),
            violations: runtime.violations.get(),
            engines: engines.collect(),
        }
    }
}
