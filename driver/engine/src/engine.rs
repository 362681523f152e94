//! The contract between the runtime's poller and a copy engine.
#![allow(
    unsafe_code,
    reason = "declares the contract that engines swear to; holds no unsafe block"
)]

use alloc::sync::Arc;
use core::{fmt, task::Poll, time::Duration};

use crate::{Ahead, Capabilities, Completion, DmaMap, Status, Token, Transfer};

/// A copy engine: takes transfers, carries them out, reports each once.
///
/// One thread owns an engine and makes every call; no call blocks, except [`Engine::halt`]. The order of
/// a transfer's life is `enqueue`, `submit`, `poll`, or `run`, `submit`. Transfers may end in any order.
///
/// # Safety
///
/// The runtime frees memory on an engine's word. An implementor swears that
///
/// 1. a token is reported by [`poll`](Engine::poll) exactly once for each successful
///    [`enqueue`](Engine::enqueue), and only when the engine can no longer read or write the transfer's
///    ranges;
/// 2. [`Outcome::Done`](crate::Outcome::Done) is reported only when every byte of the destination is
///    written and visible to whoever reads memory after the report;
/// 3. once [`halt`](Engine::halt) has returned `Ok`, or the engine has been dropped, no range is touched
///    any more;
/// 4. nothing outside the ranges of transfers that were enqueued or [run](Engine::run), and of what such a call was told is ahead, is
///    ever read on their account, and nothing outside the transfers' destinations written;
/// 5. [`capabilities`](Engine::capabilities) and [`domain`](Engine::domain) always give the same answer.
pub unsafe trait Engine: Send {
    /// The engine's name in statistics and messages: `cpu`, or a device's address.
    fn name(&self) -> &str;

    /// What the engine can do.
    fn capabilities(&self) -> Capabilities;

    /// The address space that the engine's [`Iova`](crate::Iova)s live in. Engines that share one
    /// return clones of the same `Arc`, and a region is mapped once for all of them.
    fn domain(&self) -> Arc<dyn DmaMap>;

    /// The NUMA node that the engine is attached to; `None` where that is not known, or where it is near to all of them.
    /// Always the same answer.
    fn numa_node(&self) -> Option<u32> {
        None
    }

    /// How many transfers `enqueue` would take now. 0 while the engine has failed and is not recovered.
    fn room(&self) -> usize;

    /// Takes a transfer. It begins with the next [`submit`](Engine::submit) at the latest.
    ///
    /// # Errors
    ///
    /// See [`EnqueueError`]; a refused transfer leaves no trace.
    ///
    /// # Safety
    ///
    /// The caller swears that the transfer's ranges are mapped in [`domain`](Engine::domain) with the
    /// rights the operation needs (read for a source, write for a destination), and stay so until the
    /// token is reported or point 3 of the contract holds. The memory behind them may be read and written by
    /// others at the same time.
    unsafe fn enqueue(&mut self, token: Token, transfer: &Transfer) -> Result<(), EnqueueError>;

    /// Carries a transfer out within this call, of an engine that does so: see [`Capabilities::at_once`]. `true`: it was done, and is
    /// never reported; what the contract says of [`Outcome::Done`](crate::Outcome::Done) holds once the next
    /// [`submit`](Engine::submit) has returned. `false`: nothing was done, and it is to be enqueued.
    ///
    /// `ahead`: what a copy to come is likely to read. It may be brought into the caches, and nothing depends on it.
    ///
    /// # Safety
    ///
    /// As for [`enqueue`](Engine::enqueue), until that `submit` has returned; for what is `ahead` as for a source.
    unsafe fn run(&mut self, transfer: &Transfer, ahead: Option<Ahead>) -> bool {
        let _ = (transfer, ahead);
        false
    }

    /// [Runs](Engine::run) several transfers, in order and with nothing ahead, up to the first for which `run` would give `false`, and
    /// tells how many: of those holds what is said of `run`. An engine may look at itself once for all of them.
    ///
    /// # Safety
    ///
    /// As for [`run`](Engine::run), of each.
    unsafe fn run_all(&mut self, transfers: &[Transfer]) -> usize {
        // SAFETY: as the caller swears.
        transfers.iter().take_while(|transfer| unsafe { self.run(transfer, None) }).count()
    }

    /// Starts everything enqueued since the last call: one doorbell. Makes what was [run](Engine::run) visible. Does nothing when
    /// nothing is new.
    fn submit(&mut self);

    /// Writes the ends of transfers to the front of `completions` and returns how many. Never blocks and
    /// never allocates. Ends for which there was no place are reported by a later call.
    fn poll(&mut self, completions: &mut [Completion]) -> usize;

    /// Takes one step towards working order after a failure was reported; the caller calls again until
    /// it is ready. `Ready(Ok)` at once where nothing is to do. Before the first step every outstanding
    /// token is reported through [`poll`](Engine::poll) as done, failed or not run.
    ///
    /// # Errors
    ///
    /// `Ready(Err)`: the engine is lost and `room` stays 0. A call after that begins another attempt, for whoever
    /// believes that the cause has gone; where it cannot have gone, the answer is the same.
    fn recover(&mut self) -> Poll<Result<(), Status>>;

    /// Says that the engine has failed, does not stop, and may keep what it has for ever: why, and `None` in health.
    ///
    /// Its transfers stay outstanding, since their memory may still be touched; whoever waits for them is told that the
    /// engine is lost, and what waits for the engine goes elsewhere. It is asked with nothing outstanding, too. Should it stop
    /// after all, it reports its transfers as usual.
    fn stuck(&self) -> Option<Status> {
        None
    }

    /// Stops the engine, waiting up to `deadline`. Transfers not yet reported may be abandoned.
    ///
    /// # Errors
    ///
    /// [`HaltError`] when the engine cannot be shown to have stopped: it may still touch memory, which
    /// must then never be unmapped or freed.
    fn halt(&mut self, deadline: Duration) -> Result<(), HaltError>;
}

/// Why a transfer was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EnqueueError {
    /// The engine has no room; it will have some after a completion.
    Full,
    /// The length is 0 or above the engine's limit.
    TooLong {
        /// The longest transfer the engine takes, in bytes.
        max: u64,
    },
    /// The engine has no such operation.
    Unsupported,
}

impl fmt::Display for EnqueueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("the engine has no room"),
            Self::TooLong { max } => {
                write!(f, "the transfer's length is not within 1 and {max} bytes")
            }
            Self::Unsupported => f.write_str("the engine has no such operation"),
        }
    }
}

impl core::error::Error for EnqueueError {}

/// The engine did not stop: it may still read and write memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HaltError {
    /// What the engine last said of itself.
    pub status: Status,
}

impl fmt::Display for HaltError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the engine did not stop: {}", self.status)
    }
}

impl core::error::Error for HaltError {}
