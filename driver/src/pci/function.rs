//! What is known of a PCI function.
#![forbid(unsafe_code)]

use dmaring_ioat_spec::device::Platform;

use super::Address;

/// Drivers beside which VFIO gives the rest of a group to user space, besides those of VFIO itself: those that leave DMA
/// to it. Source: the PCI drivers in Linux that set `driver_managed_dma`. Kernels before 5.19 let any driver have a
/// bridge.
const HARMLESS: [&str; 2] = ["pci-stub", "pcieport"];

/// How names of VFIO's own drivers end, the variants for one kind of device among them, such as `mlx5_vfio_pci`.
const VFIO: [&str; 2] = ["vfio-pci", "vfio_pci"];

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

    /// Whether VFIO is likely to refuse the function's group to user space because a driver of the host has this one.
    ///
    /// The kernel alone decides, and says it of a group that is open: this explains it, by the driver's name.
    #[must_use]
    pub fn holds_group_back(&self) -> bool {
        self.driver.as_deref().is_some_and(|driver| {
            !HARMLESS.contains(&driver) && !VFIO.iter().any(|end| driver.ends_with(end))
        })
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
