//! What kind of engine the test wants.

use std::sync::Arc;

use dmaring_engine::Capabilities;

use crate::{Control, ManualDomain, ManualEngine, state::State};

/// Describes a [`ManualEngine`]. Values are taken as they are, absurd ones too, so that a test can
/// show them to the runtime.
#[derive(Clone, Debug)]
#[must_use]
pub struct ManualBuilder {
    name: String,
    capabilities: Capabilities,
    numa_node: Option<u32>,
    domain: Option<Arc<ManualDomain>>,
}

impl Default for ManualBuilder {
    /// `manual`, 64 transfers deep, up to 1 MiB each, fills, does not count as host memory, a
    /// domain of its own.
    fn default() -> Self {
        let capabilities = Capabilities {
            max_transfer: 1 << 20,
            depth: 64,
            fill: true,
            host_memory: false,
            streams_from: None,
            at_once: 0,
            reads_ahead: 0,
        };
        Self { name: String::from("manual"), capabilities, numa_node: None, domain: None }
    }
}

impl ManualBuilder {
    /// How many transfers the engine holds.
    pub fn depth(mut self, transfers: usize) -> Self {
        self.capabilities.depth = transfers;
        self
    }

    /// The longest transfer, in bytes.
    pub fn max_transfer(mut self, bytes: u64) -> Self {
        self.capabilities.max_transfer = bytes;
        self
    }

    /// Whether the engine fills.
    pub fn fill(mut self, fill: bool) -> Self {
        self.capabilities.fill = fill;
        self
    }

    /// Whether the engine says that it is the host's CPU.
    pub fn host_memory(mut self, host_memory: bool) -> Self {
        self.capabilities.host_memory = host_memory;
        self
    }

    /// From how many bytes on the engine says that a transfer's whole lines are in no cache.
    pub fn streams_from(mut self, bytes: Option<u64>) -> Self {
        self.capabilities.streams_from = bytes;
        self
    }

    /// The longest transfer, in bytes, that the engine carries out where it is asked to, whatever the test says; none unless set.
    pub fn at_once(mut self, bytes: u64) -> Self {
        self.capabilities.at_once = bytes;
        self
    }

    /// How many bytes the engine says that it reads ahead: it asks to be told where, and only notes it.
    pub fn reads_ahead(mut self, bytes: u64) -> Self {
        self.capabilities.reads_ahead = bytes;
        self
    }

    /// The NUMA node that the engine says it is attached to; unknown unless set.
    pub fn numa_node(mut self, node: u32) -> Self {
        self.numa_node = Some(node);
        self
    }

    /// The engine's name.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The domain the engine shares with others.
    pub fn domain(mut self, domain: Arc<ManualDomain>) -> Self {
        self.domain = Some(domain);
        self
    }

    /// Makes the engine and its control.
    #[must_use]
    pub fn build(self) -> (ManualEngine, Control) {
        let control = Control::new(State::new(self.capabilities, self.domain.unwrap_or_default()));
        (ManualEngine::from_parts(self.name, self.numa_node, control.clone()), control)
    }
}
