//! The engine's side: the contract with the runtime, over the shared state.
#![allow(unsafe_code, reason = "implements the Engine contract; holds no unsafe block")]

use std::{sync::Arc, task::Poll, time::Duration};

use dmaring_engine::{
    Ahead, Capabilities, Completion, DmaMap, Engine, EnqueueError, HaltError, Status, Token,
    Transfer,
};

use crate::{Call, Control, ManualBuilder, ManualDomain};

/// An engine whose transfers end when the test says so. Made together with its [`Control`].
#[derive(Debug)]
pub struct ManualEngine {
    name: String,
    capabilities: Capabilities,
    domain: Arc<ManualDomain>,
    numa_node: Option<u32>,
    control: Control,
}

impl ManualEngine {
    /// An engine with the builder's defaults, and its control.
    #[must_use]
    pub fn new() -> (Self, Control) {
        Self::builder().build()
    }

    /// An engine to be described first.
    pub fn builder() -> ManualBuilder {
        ManualBuilder::default()
    }

    pub(crate) fn from_parts(name: String, numa_node: Option<u32>, control: Control) -> Self {
        let (capabilities, domain) = {
            let state = control.state();
            (state.capabilities, Arc::clone(&state.domain))
        };
        Self { name, capabilities, domain, numa_node, control }
    }
}

// SAFETY: (1) a ticket enters the queue of ends once, when it leaves the running ones, and `poll`
// drains that queue; memory is touched on the way out of the running ones, and within `run`; (2) `Done` enters
// the queue after the bytes were written, and the lock around both orders them before the report;
// (3) `stop` empties the queues from which memory is touched; (4) the domain checks every range
// against its mappings; (5) name, capabilities and domain are set at construction.
unsafe impl Engine for ManualEngine {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn domain(&self) -> Arc<dyn DmaMap> {
        Arc::<ManualDomain>::clone(&self.domain)
    }

    fn numa_node(&self) -> Option<u32> {
        self.numa_node
    }

    fn room(&self) -> usize {
        self.control.enter(Call::Room);
        self.control.state().room()
    }

    unsafe fn enqueue(&mut self, token: Token, transfer: &Transfer) -> Result<(), EnqueueError> {
        self.control.enter(Call::Enqueue);
        self.control.change(|state| state.enqueue(token, *transfer))
    }

    unsafe fn run(&mut self, transfer: &Transfer, ahead: Option<Ahead>) -> bool {
        self.control.enter(Call::Run);
        self.control.change(|state| state.run(transfer, ahead))
    }

    fn submit(&mut self) {
        self.control.enter(Call::Submit);
        self.control.change(|state| state.submit());
    }

    fn poll(&mut self, completions: &mut [Completion]) -> usize {
        self.control.enter(Call::Poll);
        self.control.change(|state| state.poll(completions))
    }

    fn recover(&mut self) -> Poll<Result<(), Status>> {
        self.control.enter(Call::Recover);
        self.control.change(|state| state.recover())
    }

    fn stuck(&self) -> Option<Status> {
        self.control.state().stuck
    }

    fn halt(&mut self, _deadline: Duration) -> Result<(), HaltError> {
        self.control.enter(Call::Halt);
        self.control.change(|state| match state.refuse_halt {
            Some(status) => Err(HaltError { status }),
            None => {
                state.stop();
                state.halted = true;
                Ok(())
            }
        })
    }
}

impl Drop for ManualEngine {
    fn drop(&mut self) {
        self.control.change(|state| {
            state.stop();
            state.dropped = true;
        });
        self.control.enter(Call::Drop);
    }
}
