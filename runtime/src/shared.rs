//! What every handle of a runtime shares with its poller.

use std::{fmt, sync::Arc};

use dmaring_engine::DmaMap;
use dmaring_ring::handshake;

use crate::{
    client::{Client, RingPair},
    clock::Clock,
    error::Error,
    fork::Origin,
    housekeeper::Housekeeper,
    lifecycle::Lifecycle,
    memory::RingMemory,
    region::{Cargo, table::RegionTable},
    staging::Staging,
    stats::Counters,
};

pub(crate) struct Shared {
    pub(crate) client: Client<Cargo, RingMemory>,
    pub(crate) regions: RegionTable,
    /// The distinct address spaces of the engines.
    pub(crate) domains: Vec<Domain>,
    pub(crate) counters: Counters,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) housekeeper: Housekeeper,
    pub(crate) staging: Staging,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) origin: Origin,
}

/// An address space, and the first engine that works in it.
#[derive(Debug)]
pub(crate) struct Domain {
    pub(crate) map: Arc<dyn DmaMap>,
    pub(crate) engine: String,
}

impl Shared {
    /// Refuses to work in a child after fork.
    pub(crate) fn check_process(&self) -> Result<(), Error> {
        if self.origin.is_elsewhere() { Err(Error::forked()) } else { Ok(()) }
    }

    /// Wakes the poller if it is parked, so that it looks at the lifecycle.
    pub(crate) fn nudge_poller(&self) {
        if handshake::must_wake(self.client.pair.header()) {
            self.client.pair.wake_poller();
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("lifecycle", &self.lifecycle).finish_non_exhaustive()
    }
}
