//! The channel as the runtime sees it.
#![allow(unsafe_code, reason = "implements the Engine contract; holds no unsafe block")]

use std::{sync::Arc, task::Poll, time::Duration};

use dmaring_engine::{
    Capabilities, Completion, DmaMap, Engine, EnqueueError, HaltError, Status, Token, Transfer,
};
use dmaring_ioat_spec::RegisterIo;

use super::IoatChannel;

// SAFETY: (1) a token is reported when `reported` passes its position, which only grows between resets, and
// a reset begins when every token is reported; it passes positions that the device completed, in order, or
// those of a channel that CHANSTS says has halted, that was reset, or that is cut off from memory; (2) a completed address
// is the device's word that the data is written, read before an acquire fence; (3) `halt` says `Ok` after a
// reset was seen to end with the channel halted, or when the device is cut off from memory, and a drop does the same; (4)
// descriptors hold addresses of transfers and of the ring's own memory, and no others, and a descriptor is
// rewritten only after its token was reported; (5) what `capabilities` and `domain` give is set once.
unsafe impl<R: RegisterIo> Engine for IoatChannel<R> {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            max_transfer: self.max_transfer,
            depth: self.depth,
            fill: true,
            host_memory: false,
            streams_from: None,
            at_once: 0,
            reads_ahead: 0,
        }
    }

    fn domain(&self) -> Arc<dyn DmaMap> {
        Arc::clone(&self.domain)
    }

    fn numa_node(&self) -> Option<u32> {
        self.numa_node
    }

    /// Transfers that take one descriptor each. A fill by copies takes more.
    fn room(&self) -> usize {
        usize::try_from(self.ring.room()).unwrap_or(usize::MAX)
    }

    unsafe fn enqueue(&mut self, token: Token, transfer: &Transfer) -> Result<(), EnqueueError> {
        self.take(token, transfer)
    }

    fn submit(&mut self) {
        self.ring_doorbell();
    }

    fn poll(&mut self, completions: &mut [Completion]) -> usize {
        self.collect(completions)
    }

    fn recover(&mut self) -> Poll<Result<(), Status>> {
        self.step_recovery()
    }

    fn stuck(&self) -> Option<Status> {
        self.resists()
    }

    fn halt(&mut self, deadline: Duration) -> Result<(), HaltError> {
        self.stop(deadline)
    }
}
