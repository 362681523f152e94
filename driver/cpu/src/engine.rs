//! The queue of the CPU engine, and when its transfers run.
//!
//! `enqueue` and `submit` move counters only. Bytes move in `run` and `run_all`, which carry short transfers out if the queue is empty and leave the
//! fence to the next `submit`, and in `poll`: it runs what was submitted,
//! oldest first, until it has filled the caller's places or used up its budget of bytes, fences
//! once, and reports what it ran. A transfer is therefore in the queue until the very call that
//! reports it, and dropping or halting the engine between calls finds nothing half done.
#![allow(unsafe_code, reason = "implements the Engine contract and passes it on to the mover")]

use std::{collections::VecDeque, sync::Arc, task::Poll, time::Duration};

use dmaring_engine::{
    Ahead, Capabilities, Completion, DmaMap, Engine, EnqueueError, HaltError, Operation, Outcome,
    Status, StatusKind, Token, Transfer,
};

use crate::{CpuBuilder, domain, mover::Mover, routines::READ_AHEAD_FROM};

/// The longest transfer, in bytes.
///
/// A large operation comes in parts of this length and holds at most half of the queue: of one such
/// operation 8 parts at most are ahead of a small one, 2 MiB, some 0.1 to 0.2 ms on cold memory. Between two parts
/// the poller looks after everything else, and shorter ones were up to a tenth slower for it.
const MAX_TRANSFER: u64 = 256 * 1024;

/// The longest transfer, in bytes, that is carried out where it is taken: 10 to 30 µs on cold memory. Behind others it waits for its turn.
const AT_ONCE: u64 = MAX_TRANSFER;

/// How many bytes one `poll` moves at most before it reports: 10 to 30 µs on cold
/// memory, after which the poller looks at its rings again.
const POLL_BUDGET: u64 = 256 * 1024;

const _: () = assert!(MAX_TRANSFER <= POLL_BUDGET, "every transfer has its poll");

/// The CPU as a copy engine.
///
/// Transfers run within [`Engine::poll`], on the thread that calls it, in the order of submission,
/// or within [`Engine::run`] and [`Engine::run_all`], and never fail. Nothing is allocated after construction.
#[derive(Debug)]
pub struct CpuEngine {
    mover: Mover,
    queue: VecDeque<Pending>,
    depth: usize,
    /// How many at the front of the queue were submitted.
    runnable: usize,
    halted: bool,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    token: Token,
    transfer: Transfer,
}

impl CpuEngine {
    /// An engine of 16 transfers, for the processor that this runs on.
    #[must_use]
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// An engine of that many transfers; at least 2.
    #[must_use]
    pub fn with_depth(transfers: usize) -> Self {
        Self::builder().depth(transfers).build()
    }

    /// An engine to be described first.
    pub fn builder() -> CpuBuilder {
        CpuBuilder::default()
    }

    /// The set of routines in use: `avx512-ahead`, `avx512`, `avx2-ahead`, `avx2`, `sse2` or `portable`.
    #[must_use]
    pub fn instructions(&self) -> &'static str {
        self.mover.instructions()
    }

    /// What the next transfer to run reads, of memory that can be read ahead.
    fn ahead(&self) -> Option<Ahead> {
        let bytes = self.mover.reads_ahead();
        let next = self.queue.front().filter(|_| self.runnable > 0)?.transfer;
        match next.operation {
            Operation::Copy { source } if bytes > 0 && next.length >= READ_AHEAD_FROM => {
                Some(Ahead { source, length: next.length.min(bytes) })
            }
            _ => None,
        }
    }

    /// Whether any transfer may be carried out where it is taken.
    #[inline]
    fn runs_at_once(&self) -> bool {
        !self.halted && self.queue.is_empty()
    }

    /// Carries a transfer out, if it is one of those. `false`: it is not.
    ///
    /// # Safety
    ///
    /// The ranges are mapped until the next `submit`, which fences, and what is ahead is of another such transfer.
    #[inline]
    unsafe fn run_one(&mut self, transfer: &Transfer, ahead: Option<Ahead>) -> bool {
        // Asked first: of one that is short nothing else is asked.
        // SAFETY: as the caller swears.
        if unsafe { self.mover.carry_out_short(transfer) } {
            return true;
        }
        let known = matches!(transfer.operation, Operation::Copy { .. } | Operation::Fill { .. });
        if !known || transfer.length > AT_ONCE {
            return false;
        }
        let ahead = ahead.filter(|ahead| ahead.length >= READ_AHEAD_FROM);
        // SAFETY: as the caller swears.
        unsafe { self.mover.carry_out(transfer, ahead) };
        true
    }

    pub(crate) fn from_parts(depth: usize, mover: Mover) -> Self {
        let queue = VecDeque::with_capacity(depth);
        Self { mover, queue, depth, runnable: 0, halted: false }
    }
}

impl Default for CpuEngine {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: (1) a transfer leaves the queue in the call of `poll` that reports it, once, after it was
// carried out; (2) `poll` fences after the last store and before it returns, and so does `submit` what `run` and `run_all` stored; (3) memory is
// touched within `poll`, `run` and `run_all` only, and `halt` empties the queue; (4) the routines touch the ranges given and
// nothing else, and prefetch what `run` was told is ahead or a queued transfer reads; (5) capabilities are made of constants and the depth, and there is one domain.
unsafe impl Engine for CpuEngine {
    fn name(&self) -> &str {
        "cpu"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            max_transfer: MAX_TRANSFER,
            depth: self.depth,
            fill: true,
            host_memory: true,
            streams_from: self.mover.streams_from(),
            at_once: AT_ONCE,
            reads_ahead: self.mover.reads_ahead(),
        }
    }

    fn domain(&self) -> Arc<dyn DmaMap> {
        domain::host()
    }

    fn room(&self) -> usize {
        if self.halted { 0 } else { self.depth - self.queue.len() }
    }

    unsafe fn enqueue(&mut self, token: Token, transfer: &Transfer) -> Result<(), EnqueueError> {
        match transfer.operation {
            Operation::Copy { .. }
            | Operation::Fill { .. }
            | Operation::DeviceCopy { .. }
            | Operation::DeviceFill { .. } => {}
            _ => return Err(EnqueueError::Unsupported),
        }
        if transfer.length == 0 || transfer.length > MAX_TRANSFER {
            return Err(EnqueueError::TooLong { max: MAX_TRANSFER });
        }
        if self.room() == 0 {
            return Err(EnqueueError::Full);
        }
        self.queue.push_back(Pending { token, transfer: *transfer });
        Ok(())
    }

    #[inline]
    unsafe fn run(&mut self, transfer: &Transfer, ahead: Option<Ahead>) -> bool {
        // SAFETY: as the caller swears.
        self.runs_at_once() && unsafe { self.run_one(transfer, ahead) }
    }

    unsafe fn run_all(&mut self, transfers: &[Transfer]) -> usize {
        if !self.runs_at_once() {
            return 0;
        }
        // SAFETY: as the caller swears.
        transfers.iter().take_while(|transfer| unsafe { self.run_one(transfer, None) }).count()
    }

    fn submit(&mut self) {
        self.runnable = self.queue.len();
        self.mover.fence();
    }

    fn poll(&mut self, completions: &mut [Completion]) -> usize {
        let mut reported = 0;
        let mut bytes = 0;
        while reported < completions.len() && self.runnable > 0 {
            let Some(&Pending { token, transfer }) = self.queue.front() else { break };
            if bytes + transfer.length > POLL_BUDGET {
                break;
            }
            self.queue.pop_front();
            self.runnable -= 1;
            let ahead = self.ahead();
            // SAFETY: `enqueue`'s caller swore that the ranges are mapped until the token is
            // reported, which it is at the end of this call; `ahead` is of another such transfer.
            if !unsafe { self.mover.carry_out_short(&transfer) } {
                // SAFETY: as above.
                unsafe { self.mover.carry_out(&transfer, ahead) };
            }
            completions[reported] = Completion { token, outcome: Outcome::Done };
            reported += 1;
            bytes += transfer.length;
        }
        self.mover.fence();
        reported
    }

    fn recover(&mut self) -> Poll<Result<(), Status>> {
        Poll::Ready(if self.halted {
            Err(Status { kind: StatusKind::Gone, bits: 0 })
        } else {
            Ok(())
        })
    }

    fn halt(&mut self, _deadline: Duration) -> Result<(), HaltError> {
        self.halted = true;
        self.runnable = 0;
        self.queue.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
