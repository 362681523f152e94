//! What is known of a PCI function.
#![forbid(unsafe_code)]

use dmaring_ioat_spec::device::Platform;

use super::Address;

/// The class and subclass of a bridge between PCI buses.
const BRIDGE: u32 = 0x0604;

/// Drivers beside which VFIO gives the rest of a group to user space: those that leave DMA to it. Source: the drivers
/// in Linux that set `driver_managed_dma`.
const HARMLESS: [&str; 3] = ["vfio-pci", "pci-stub", "pcieport"];

/// A PCI function, as sysfs has it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Function {
    /// Where it is.
    pub address: Address,
    /// The vendor id.
    pub vendor: u16,
    /// The device id.
    pub device: u16,
    /// Class, subclass and programming interface, in 24 bits.
    pub class: u32,
    /// The revision.
    pub revision: u8,
    /// The NUMA node it is nearest to, where the kernel knows.
    pub numa_node: Option<u32>,
    /// Its IOMMU group: `None` without an IOMMU.
    pub iommu_group: Option<u32>,
    /// The driver that is bound to it.
    pub driver: Option<String>,
    /// The only driver that may bind to it, where one is set.
    pub driver_override: Option<String>,
}

impl Function {
    /// Which family of parts it is of, by its ids.
    #[must_use]
    pub fn platform(&self) -> Platform {
        Platform::of(self.vendor, self.device)
    }

    /// Whether its ids are those of an I/OAT function.
    #[must_use]
    pub fn is_ioat(&self) -> bool {
        self.platform().spec().is_some()
    }

    /// Whether VFIO refuses the function's group to user space because a driver of the host has this one.
    #[must_use]
    pub fn holds_group_back(&self) -> bool {
        let bridge = self.class >> 8 == BRIDGE;
        !bridge && self.driver.as_deref().is_some_and(|driver| !HARMLESS.contains(&driver))
    }
}

/// A channel that a kernel driver made of a function.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct DmaChannel {
    /// Its name in `/sys/class/dma`.
    pub name: String,
    /// How many users it has within the kernel.
    pub in_use: u32,
}
