//! What every handle of a runtime shares with its poller.

use std::{
    fmt, io,
    sync::{Arc, OnceLock},
};

use dmaring_engine::DmaMap;
use dmaring_ring::handshake;
use nix::sys::eventfd::{EfdFlags, EventFd};

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
    /// Written after each batch of completions, once somebody has asked for it.
    pub(crate) event: OnceLock<EventFd>,
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

    /// The event descriptor, made when first asked for.
    pub(crate) fn event(&self) -> io::Result<&EventFd> {
        if let Some(event) = self.event.get() {
            return Ok(event);
        }
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let event = EventFd::from_value_and_flags(0, flags)?;
        Ok(self.event.get_or_init(|| event))
    }

    /// Makes the event descriptor readable, if there is one.
    pub(crate) fn ring_event(&self) {
        if let Some(event) = self.event.get() {
            // It fails only when the counter is full, and then the descriptor is readable.
            let _ = event.write(1);
        }
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
