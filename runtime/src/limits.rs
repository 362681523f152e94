//! Limits, stated before they bite.
//!
//! What an address space has room for is asked when a region is opened, before anything is mapped in it: a region that
//! cannot fit is refused with how much it needs and how much there is. Locked memory is the exception. The kernel counts it
//! page by page, by the memory's kind, so it alone decides, and refuses as soon as the limit is reached.

use dmaring_engine::{MapLimits, Quota};
use dmaring_ring::layout::MAX_ENTRIES;

use crate::{
    error::{Error, ErrorKind},
    shared::{Domain, Shared},
};

/// What a runtime has room for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Operations that can be in its rings at a time, of which copies that share a place count as one: what `ring_entries` asked for.
    pub ring_entries: u32,
    /// The most that `ring_entries` can ask for.
    pub max_ring_entries: u32,
    /// The longest region, in bytes: this process's address space.
    pub max_region: u64,
    /// Each distinct address space of the engines.
    pub spaces: Vec<SpaceLimits>,
}

/// What one address space has room for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpaceLimits {
    /// The first engine that works in it.
    pub engine: String,
    /// What it has room for.
    pub limits: MapLimits,
}

impl Limits {
    pub(crate) fn of(shared: &Shared) -> Self {
        let spaces = shared.domains.iter().map(|domain| SpaceLimits {
            engine: domain.engine.clone(),
            limits: domain.map.limits(),
        });
        Self {
            ring_entries: shared.client.pair.entries(),
            max_ring_entries: MAX_ENTRIES,
            max_region: isize::MAX as u64,
            spaces: spaces.collect(),
        }
    }
}

/// Refuses a mapping of `bytes` for which an address space has no room.
pub(crate) fn check(domain: &Domain, bytes: u64) -> Result<(), Error> {
    let MapLimits { mappings, addresses, .. } = domain.map.limits();
    refuse_beyond(&domain.engine, mappings, 1, "mappings", "close regions")?;
    let remedy = "close regions, or open a part of it";
    refuse_beyond(&domain.engine, addresses, bytes, "bytes of device addresses", remedy)
}

fn refuse_beyond(
    engine: &str,
    quota: Option<Quota>,
    needed: u64,
    what: &str,
    remedy: &str,
) -> Result<(), Error> {
    let Some(quota) = quota.filter(|quota| quota.left() < needed) else { return Ok(()) };
    let Quota { used, most } = quota;
    let message = format!(
        "{needed} {what} needed for engine {engine}, {} left: {used} of {most} are in use: {remedy}",
        quota.left()
    );
    Err(Error::new(ErrorKind::LimitExceeded, message))
}
