//! What every handle of a runtime shares with its poller.

use std::{
    fmt, io,
    sync::{Arc, OnceLock},
    time::Duration,
};

use dmaring_engine::DmaMap;
use dmaring_ring::{SubmissionEntry, handshake};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::{
    bundle::{self, Blocks},
    calibration::EngineFacts,
    client::{Client, RingPair},
    clock::Clock,
    error::Error,
    fork::Origin,
    housekeeper::Housekeeper,
    lifecycle::Lifecycle,
    memory::RingMemory,
    op::{Linger, Policy, SpareLists},
    persist::Persist,
    placement::{Kind, Steering, Striping},
    quiesce::Quiesce,
    region::{Cargo, Registered, table::RegionTable},
    restore::Restores,
    segments::SegmentTable,
    staging::Staging,
    stats::Counters,
};

pub(crate) struct Shared {
    pub(crate) client: Client<Cargo, RingMemory>,
    pub(crate) linger: Linger,
    pub(crate) batches: SpareLists,
    pub(crate) regions: RegionTable,
    pub(crate) segments: SegmentTable,
    pub(crate) bundles: Blocks,
    /// The longest copy that the engine which is to have short ones carries out at once, in bytes; 0: there is no such engine.
    pub(crate) at_once: u64,
    pub(crate) steering: Steering,
    /// What the builder said about striping.
    pub(crate) striping: Striping,
    pub(crate) engines: Vec<EngineFacts>,
    /// Which threads drive the engines: the setting's name.
    pub(crate) pollers: &'static str,
    /// The distinct address spaces of the engines.
    pub(crate) domains: Vec<Domain>,
    pub(crate) counters: Counters,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) housekeeper: Housekeeper,
    /// How bytes are made durable.
    pub(crate) persist: Arc<Persist>,
    pub(crate) staging: Staging,
    /// Written after each batch of completions, once somebody has asked for it.
    pub(crate) event: OnceLock<EventFd>,
    pub(crate) restores: Restores,
    pub(crate) quiesce: Quiesce,
    /// Where registered buffers are.
    pub(crate) registered: Arc<Registered>,
    /// What is done about failures where an operation does not say.
    pub(crate) policy: Policy,
    pub(crate) clock: Arc<dyn Clock>,
    /// When the runtime was built, by the clock: deadlines in the rings count from here.
    pub(crate) start: Duration,
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
    #[inline]
    pub(crate) fn check_process(&self) -> Result<(), Error> {
        if self.origin.is_elsewhere() { Err(Error::forked()) } else { Ok(()) }
    }

    /// The longest copy that goes into a bundle now, in bytes; 0: none does. What an engine does not carry out at once gains nothing by
    /// being in one.
    pub(crate) fn bundled(&self) -> u64 {
        let most = self.at_once.min(bundle::LONGEST);
        let is_hosts = |length| self.steering.kind(length) == Kind::Host;
        if self.engines.len() == 1 || is_hosts(1) && is_hosts(most) { most } else { 0 }
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

    /// Microseconds since the runtime was built.
    pub(crate) fn micros(&self) -> u64 {
        let since = self.clock.now().saturating_sub(self.start);
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }

    /// Nanoseconds since the runtime was built.
    pub(crate) fn nanos(&self) -> u64 {
        let since = self.clock.now().saturating_sub(self.start);
        since
            .as_secs()
            .saturating_mul(1_000_000_000)
            .saturating_add(u64::from(since.subsec_nanos()))
    }

    /// The deadline of an operation that is submitted now and may take this long, as a ring entry has it. Never early; 0, which
    /// is none, where it is further away than an entry can say.
    pub(crate) fn deadline(&self, timeout: Duration) -> u64 {
        let since = self.clock.now().saturating_sub(self.start).saturating_add(timeout);
        let micros = since.as_nanos().div_ceil(1000).max(1);
        u64::try_from(micros)
            .ok()
            .filter(|&micros| micros <= SubmissionEntry::MAX_DEADLINE)
            .unwrap_or(0)
    }

    /// Wakes the poller if it is parked: something was pushed for it.
    pub(crate) fn nudge_poller(&self) {
        if handshake::must_wake(self.client.pair.header()) {
            self.client.pair.wake_poller();
        }
    }

    /// Wakes the poller whatever the rings' words say, so that it looks at the lifecycle and at what was ordered.
    pub(crate) fn summon_poller(&self) {
        self.client.pair.summon_poller();
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("lifecycle", &self.lifecycle).finish_non_exhaustive()
    }
}
