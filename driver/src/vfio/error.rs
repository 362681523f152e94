//! Why a function cannot be opened through VFIO, and what mends it.
#![forbid(unsafe_code)]

use std::{fmt, io, path::PathBuf};

use dmaring_ioat_spec::{device::VENDOR, registers::BAR_BYTES};

use crate::pci::{Address, SysfsError, User, config::ConfigError};

/// The device id of DSA, which took I/OAT's place.
const DSA: u16 = 0x0b25;

/// Why a function cannot be opened through VFIO. Nothing is left open or mapped then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such function, or sysfs cannot be read.
    #[error(transparent)]
    Sysfs(#[from] SysfsError),
    /// The function's ids are none of I/OAT's.
    #[error(
        "{address} is no I/OAT function: vendor and device {vendor:04x}:{device:04x}, class {class:06x}{}; \
         `dmaring list` lists those there are",
        dsa(*.vendor, *.device)
    )]
    NotIoat {
        /// The function.
        address: Address,
        /// Its vendor id.
        vendor: u16,
        /// Its device id.
        device: u16,
        /// Its class, subclass and programming interface.
        class: u32,
    },
    /// No IOMMU is in use, so that a device could reach all memory.
    #[error(
        "no IOMMU is in use: enable VT-d in the firmware and put `intel_iommu=on` on the kernel's command line"
    )]
    NoIommu,
    /// The function's group is one of VFIO's no-IOMMU mode, in which nothing can be mapped.
    #[error(
        "group {group} is in VFIO's no-IOMMU mode, which maps no memory for a device: enable VT-d in the firmware \
         and put `intel_iommu=on` on the kernel's command line"
    )]
    NoIommuMode {
        /// The group.
        group: u32,
    },
    /// The function is in no IOMMU group, though there is an IOMMU.
    #[error(
        "{address} is in no IOMMU group: put `intel_iommu=on` on the kernel's command line, and look for its IOMMU \
         with `dmesg | grep DMAR`"
    )]
    NoGroup {
        /// The function.
        address: Address,
    },
    /// VFIO is not there.
    #[error("{} is missing: `modprobe vfio-pci` makes it", path.display())]
    NoVfio {
        /// The node that is missing.
        path: PathBuf,
    },
    /// VFIO has no driver for this IOMMU.
    #[error("VFIO has no type 1 IOMMU: `modprobe vfio_iommu_type1` loads it")]
    NoType1,
    /// The function has another driver than vfio-pci, or none.
    #[error(
        "{address} is bound to {}: `dmaring bind {address}` binds it to vfio-pci",
        driver.as_deref().unwrap_or("no driver")
    )]
    NotBound {
        /// The function.
        address: Address,
        /// The driver it has.
        driver: Option<String>,
    },
    /// A group's node is missing.
    #[error(
        "{} is missing, though {address} is bound to vfio-pci: pass the node into this container, or run \
         `udevadm settle`",
        path.display()
    )]
    NoNode {
        /// The function.
        address: Address,
        /// The node.
        path: PathBuf,
    },
    /// A node may not be opened by this user.
    #[error("{} may not be opened: `sudo chown $USER {}` allows it", path.display(), path.display())]
    Permission {
        /// The node.
        path: PathBuf,
    },
    /// The function, or another one of its group, is in use.
    #[error("{address} is in use: IOMMU group {group} is held open by {}", Users(users))]
    Busy {
        /// The function.
        address: Address,
        /// Its group.
        group: u32,
        /// Who has it open, as far as this process may see.
        users: Vec<User>,
    },
    /// Other functions of the group have drivers of the host, so that VFIO does not give the group away.
    #[error("IOMMU group {group} has functions in use by the host: {}", Others(others))]
    NotViable {
        /// The group.
        group: u32,
        /// Those functions, each with its driver.
        others: Vec<(Address, String)>,
    },
    /// The platform does not isolate interrupts, so that VFIO does not give the group away.
    #[error(
        "VFIO does not take {address} without interrupt remapping: enable it in the firmware (VT-d, x2APIC), or accept \
         the risk with `echo 1 > /sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts`"
    )]
    NoInterruptRemapping {
        /// The function.
        address: Address,
    },
    /// The IOMMU has no pages of 4 KiB.
    #[error("the IOMMU maps no pages of 4096 bytes: its sizes are {sizes:#x}")]
    PageSizes {
        /// A bit for each size that it has.
        sizes: u64,
    },
    /// BAR 0 is not that of an I/OAT function.
    #[error(
        "BAR 0 of {address} has {bytes} bytes (flags {flags:#x}): {BAR_BYTES} that can be mapped are needed"
    )]
    Registers {
        /// The function.
        address: Address,
        /// How long it is, in bytes.
        bytes: u64,
        /// What VFIO allows: bits 0 to 2 stand for read, write and map.
        flags: u32,
    },
    /// The function's configuration space does not do what is asked of it.
    #[error("configuring {address} failed")]
    Config {
        /// The function.
        address: Address,
        /// Why.
        source: ConfigError,
    },
    /// A call of VFIO failed.
    #[error("{call} failed")]
    Call {
        /// The call.
        call: &'static str,
        /// Why.
        source: io::Error,
    },
    /// VFIO gives no container.
    #[error("VFIO gives no container")]
    Container {
        /// Why.
        source: vfio_ioctls::VfioError,
    },
    /// A call of VFIO failed that vfio-ioctls made.
    #[error("opening {address} through VFIO failed")]
    Vfio {
        /// The function.
        address: Address,
        /// Why.
        source: vfio_ioctls::VfioError,
    },
}

fn dsa(vendor: u16, device: u16) -> &'static str {
    if (vendor, device) == (VENDOR, DSA) {
        " (it is DSA, another interface, which this driver does not have)"
    } else {
        ""
    }
}

struct Users<'a>(&'a [User]);

impl fmt::Display for Users<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str(
                "a process of another user: root sees which with `fuser -v /dev/vfio/*`",
            );
        }
        list(f, self.0)
    }
}

struct Others<'a>(&'a [(Address, String)]);

impl fmt::Display for Others<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("VFIO does not say which, see `dmesg | grep vfio`");
        }
        let named: Vec<_> =
            self.0.iter().map(|(address, driver)| format!("{address} ({driver})")).collect();
        list(f, &named)?;
        f.write_str(": `dmaring bind")?;
        self.0.iter().try_for_each(|(address, _)| write!(f, " {address}"))?;
        f.write_str("` takes them from it")
    }
}

fn list(f: &mut fmt::Formatter<'_>, items: &[impl fmt::Display]) -> fmt::Result {
    for (index, item) in items.iter().enumerate() {
        f.write_str(if index == 0 { "" } else { ", " })?;
        item.fmt(f)?;
    }
    Ok(())
}
