//! Opening memory of a device: a PCIe BAR, as a driver has mapped it.
//!
//! It is mapped for every engine like any other memory, which lets one device write to another: peer to peer. What is
//! different is who reads it. Datasheets of DMA engines promise that they write to other devices, and none that they read
//! from them; so the host's CPU reads, unless whoever opens it takes the risk.

use std::{fmt, ptr::NonNull, sync::Arc};

use dmaring_engine::{DeviceMemory, Rights};

use super::{Backing, Draft, Identity, Region};
use crate::{
    error::{Error, ErrorKind},
    shared::Shared,
};

/// The granule of access where reads may have side effects, in bytes: a doubleword.
pub(super) const DOUBLEWORD: u64 = 4;

/// How memory of a device is used; see [`Runtime::open_bar_with`](crate::Runtime::open_bar_with).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use = "options do nothing until a BAR is opened with them"]
pub struct BarOptions {
    engine_reads: bool,
    side_effects: bool,
}

impl BarOptions {
    /// Reads by the CPU alone, of a BAR whose reads have no side effects.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets every engine read the BAR, and not the CPU alone.
    ///
    /// **The risk**: I/OAT's datasheets promise transfers from memory to memory and from memory to MMIO; none promises a
    /// read of MMIO. A channel may fail such a transfer and halt, time out in the root complex and take the link or, by
    /// the platform's error policy, the machine down with it, or complete with all ones. Each platform has to be tried,
    /// and every copy verified. The CPU's reads are slow, since each waits for the device, and work.
    pub fn engine_reads_mmio(mut self) -> Self {
        self.engine_reads = true;
        self
    }

    /// Opens a BAR that is not prefetchable, too: registers, whose reads may have side effects.
    ///
    /// Operations on it must begin and end at multiples of 4 bytes. What reading or writing does is up to the device.
    pub fn with_side_effects(mut self) -> Self {
        self.side_effects = true;
        self
    }
}

/// A device's memory that is open.
pub(crate) struct Bar {
    memory: Box<dyn DeviceMemory>,
    base: NonNull<u8>,
    length: usize,
    engine_reads: bool,
}

/// How a device's memory is accessed.
#[derive(Debug)]
pub(super) struct Manner {
    name: Box<str>,
    prefetchable: bool,
}

impl Bar {
    pub(super) fn span(&self) -> (NonNull<u8>, usize) {
        (self.base, self.length)
    }

    /// Whether the host's CPU alone reads it.
    pub(super) fn host_reads(&self) -> bool {
        !self.engine_reads
    }

    pub(super) fn manner(&self) -> Manner {
        Manner { name: self.memory.name().into(), prefetchable: self.memory.prefetchable() }
    }
}

impl Manner {
    /// Refuses a range that no access of a sane width covers.
    pub(super) fn check_width(&self, what: &str, offset: u64, length: u64) -> Result<(), Error> {
        if self.prefetchable || (offset | length).is_multiple_of(DOUBLEWORD) {
            return Ok(());
        }
        let name = &self.name;
        let message = format!(
            "{what} range of {length} bytes at offset {offset}: {name} is not prefetchable, so that it is accessed in whole doublewords: use multiples of {DOUBLEWORD}"
        );
        Err(Error::new(ErrorKind::Unsupported, message))
    }
}

impl fmt::Debug for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bar").field(&self.memory.name()).finish()
    }
}

pub(crate) fn open(
    shared: &Arc<Shared>,
    memory: impl DeviceMemory,
    options: BarOptions,
) -> Result<Region, Error> {
    let memory: Box<dyn DeviceMemory> = Box::new(memory);
    let name = memory.name().to_owned();
    if memory.is_empty() {
        let message = format!("{name} has 0 bytes: the firmware gave it no address");
        return Err(Error::new(ErrorKind::OutOfBounds, message));
    }
    let prefetchable = memory.prefetchable();
    if !prefetchable && !options.side_effects {
        let message = format!(
            "{name} is not prefetchable: reading it may have side effects, as of registers; BarOptions::with_side_effects takes it all the same"
        );
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    let identity = memory.bus_address().map_or_else(Identity::private, Identity::bus);
    let numa_node = memory.numa_node();
    let (base, length) = (memory.base(), memory.len());
    let bar = Bar { memory, base, length, engine_reads: options.engine_reads };
    Region::establish(
        shared,
        Draft {
            backing: Backing::Device(bar),
            length: length as u64,
            rights: Rights::ReadWrite,
            identity,
            numa_node,
        },
    )
    .map_err(|error| explain(&name, &error))
}

/// Says of a refused mapping what it means for a BAR.
fn explain(name: &str, error: &Error) -> Error {
    let why = match error.kind() {
        ErrorKind::Unmapped | ErrorKind::Unsupported => {
            ": the kernel maps this device's memory for no other device; the CPU can copy (an engine of its own, dmaring_cpu::CpuEngine alone)"
        }
        _ => "",
    };
    Error::new(error.kind(), format!("{name}: {error}{why}"))
}
