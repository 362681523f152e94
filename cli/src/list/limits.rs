//! Limits, before they bite.

use std::fmt;

use serde::Serialize;

use super::table::Table;
use crate::{
    args::MAX_DEPTH,
    machine::{Locked, Machine},
    size,
};

/// Bits of an address that every I/OAT part takes: this driver gives no others.
const CHANNEL_BITS: u32 = 39;
/// Bits of the addresses of a process on x86-64.
const PROCESS_BITS: u32 = 47;

/// What there is room for. Sizes are in bytes.
#[derive(Debug, Serialize)]
pub(crate) struct Limits {
    /// Mappings that a container takes.
    mappings: Option<u64>,
    locked_memory: LockedMemory,
    iommu_address_bits: Option<u32>,
    /// Addresses that a container gives to regions.
    device_address_bytes: u64,
    /// The longest region.
    region_bytes: u64,
    /// The most operations in a ring.
    ring_entries: i64,
}

/// Memory that is pinned for devices.
#[derive(Debug, Serialize)]
struct LockedMemory {
    used: Option<u64>,
    /// `null`: it is not limited, or not known.
    most: Option<u64>,
    set_by: &'static str,
}

impl Limits {
    pub(super) fn of(machine: &Machine) -> Self {
        let facts = &machine.limits;
        let (most, set_by) = match machine.host.locked {
            Some(Locked::Bytes(bytes)) => {
                (Some(bytes), "RLIMIT_MEMLOCK: `ulimit -l KIB`, or LimitMEMLOCK= of a service")
            }
            Some(Locked::Unlimited) => (None, "RLIMIT_MEMLOCK, which is unlimited"),
            Some(Locked::Privileged) => (None, "CAP_IPC_LOCK, which this process has: no limit"),
            None => (None, "unknown"),
        };
        let bits = facts.iommu_bits.map_or(CHANNEL_BITS, |bits| bits.min(CHANNEL_BITS));
        let process = 1 << PROCESS_BITS;
        Self {
            mappings: facts.mappings,
            locked_memory: LockedMemory { used: facts.locked, most, set_by },
            iommu_address_bits: facts.iommu_bits,
            device_address_bytes: 1 << bits,
            region_bytes: facts.address_space.map_or(process, |bytes| bytes.min(process)),
            ring_entries: MAX_DEPTH,
        }
    }
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(["LIMIT", "IN USE", "MOST", "SET BY"]);
        let mut row = |name: &str, used: Option<String>, most: String, by: &str| {
            let used = used.unwrap_or_else(|| String::from("-"));
            table.row([name.to_owned(), used, most, by.to_owned()], Vec::new());
        };
        let unknown = || String::from("unknown");
        let mappings = self.mappings.map_or_else(unknown, |count| count.to_string());
        row(
            "mappings of a container",
            None,
            mappings,
            "dma_entry_limit of the module vfio_iommu_type1",
        );
        let LockedMemory { used, most, set_by } = &self.locked_memory;
        let most = most.map_or_else(|| String::from("-"), size::format);
        row("locked memory", used.map(size::format), most, set_by);
        let by = match self.iommu_address_bits {
            Some(bits) if bits < CHANNEL_BITS => "the IOMMU",
            _ => "I/OAT, some parts of which take no more",
        };
        row("device addresses", None, size::format(self.device_address_bytes), by);
        let region = size::format(self.region_bytes);
        row("length of a region", None, region, "this process's address space");
        row("operations in a ring", None, self.ring_entries.to_string(), "dmaring");
        write!(f, "{table}")
    }
}
