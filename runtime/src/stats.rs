//! What a runtime has done so far.
//!
//! The poller counts in memory that other processes may map for reading, and alone writes there. Each word is exact by
//! itself; there is no snapshot across words, so that what is read while operations end may count one in one word and
//! not yet in the next. The layout is in `docs/statistics.md`.

mod counter;
mod header;
mod histogram;
mod latency;
mod memory;
mod reader;

use std::{
    io, process,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

#[cfg(all(test, not(miri)))]
pub(crate) use self::header::MAX_ENGINES;
pub use self::latency::Latency;
pub(crate) use self::{
    counter::Counter,
    header::{ABI_VERSION, MAGIC, Mismatch},
    histogram::Histogram,
    memory::{Mapped, NAME},
    reader::{Reader, Unreadable},
};
use self::{header::Header, memory::Memory};

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
    /// Operations submitted and not yet reaped, at this moment, of which those of a batch that share a place in the ring count as one; as an [`Observer`](crate::observe::Observer) tells it, those
    /// that the poller has taken and not yet answered.
    pub in_flight: u64,
    /// How often the poller went to sleep.
    pub parks: u64,
    /// Completions that named nothing outstanding, and entries for a slot that had an operation or was not there: broken engines
    /// or peers. 0 in health.
    pub violations: u64,
    /// How long operations took that succeeded.
    pub latency: Latency,
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
    /// Transfers in the engine, at this moment.
    pub in_flight: u64,
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
    /// How long operations took that this engine ended, pieces of staged files included.
    pub latency: Latency,
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
    /// An observed runtime gave a state that this version does not know.
    Unknown,
}

/// The counters behind [`Stats`]. The poller alone writes; each block has lines of its own.
#[derive(Debug)]
pub(crate) struct Counters {
    header: Mapped<Header>,
    pub(crate) runtime: Mapped<RuntimeCounters>,
    pub(crate) engines: Mapped<[EngineCounters]>,
    pub(crate) names: Vec<String>,
}

/// Bytes of an engine's name in the memory: longer ones are cut there.
const NAME_BYTES: usize = 64;

#[derive(Debug, Default)]
#[repr(C, align(128))]
pub(crate) struct RuntimeCounters {
    pub(crate) submitted: Counter,
    pub(crate) completed: Counter,
    pub(crate) failed: Counter,
    pub(crate) timed_out: Counter,
    pub(crate) retried: Counter,
    pub(crate) bytes: Counter,
    /// Operations taken and not yet answered.
    pub(crate) in_flight: Counter,
    pub(crate) parks: Counter,
    pub(crate) violations: Counter,
    pub(crate) latency: Histogram,
}

#[derive(Debug, Default)]
#[repr(C, align(128))]
pub(crate) struct EngineCounters {
    pub(crate) transfers: Counter,
    pub(crate) bytes: Counter,
    pub(crate) in_flight: Counter,
    pub(crate) errors: Counter,
    pub(crate) recoveries: Counter,
    pub(crate) epoch: Counter,
    pub(crate) replayed: Counter,
    pub(crate) retries: Counter,
    pub(crate) retirements: Counter,
    /// An [`EngineState`], by number.
    state: Counter,
    pub(crate) latency: Histogram,
    /// UTF-8, zeros after it.
    name: [Counter; NAME_BYTES / 8],
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
        let known = states.into_iter().find(|&state| state as u64 == number);
        known.unwrap_or(EngineState::Unknown)
    }

    fn set_name(&self, name: &str) {
        let name = &name[..name.floor_char_boundary(NAME_BYTES)];
        for (word, bytes) in self.name.iter().zip(name.as_bytes().chunks(8)) {
            let mut value = [0; 8];
            value[..bytes.len()].copy_from_slice(bytes);
            word.set(u64::from_le_bytes(value));
        }
    }

    /// Whatever stands there, as text.
    fn name(&self) -> String {
        let bytes: Vec<u8> = self.name.iter().flat_map(|word| word.get().to_le_bytes()).collect();
        let name = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(name).into_owned()
    }

    fn snapshot(&self, name: &str) -> EngineStats {
        let state = self.state();
        EngineStats {
            name: name.to_owned(),
            transfers: self.transfers.get(),
            bytes: self.bytes.get(),
            in_flight: self.in_flight.get(),
            errors: self.errors.get(),
            recoveries: self.recoveries.get(),
            epoch: self.epoch.get(),
            replayed: self.replayed.get(),
            retries: self.retries.get(),
            retirements: self.retirements.get(),
            latency: self.latency.snapshot(),
            state,
            lost: state == EngineState::Lost,
            retired: state == EngineState::Retired,
        }
    }
}

impl Counters {
    /// Counters at zero, in memory of their own.
    pub(crate) fn new(names: Vec<String>) -> io::Result<Self> {
        let length = usize::try_from(Header::length_for(names.len() as u64)).unwrap_or(usize::MAX);
        let memory = Memory::create(length)?;
        let counters = Self::over(&memory, names).ok_or(io::ErrorKind::OutOfMemory)?;
        for (engine, name) in counters.engines.iter().zip(&counters.names) {
            engine.set_name(name);
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let started = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        counters.header.initialise(counters.names.len(), process::id(), started);
        Ok(counters)
    }

    /// The counters of engines with these names in memory of the length for so many.
    fn over(memory: &Arc<Memory>, names: Vec<String>) -> Option<Self> {
        Some(Self {
            header: memory.block(0)?,
            runtime: memory.block(Header::runtime_offset())?,
            engines: memory.blocks(Header::engines_offset(), names.len())?,
            names,
        })
    }

    /// The runtime has ended: whoever observes it is told.
    pub(crate) fn end(&self) {
        self.runtime.in_flight.set(0);
        self.header.end();
    }

    pub(crate) fn snapshot(&self, in_flight: u64) -> Stats {
        let runtime = &self.runtime;
        let engines = self.names.iter().zip(self.engines.iter());
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
            latency: runtime.latency.snapshot(),
            engines: engines.map(|(name, counters)| counters.snapshot(name)).collect(),
        }
    }
}
