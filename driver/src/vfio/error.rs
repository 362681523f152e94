//! Why a function cannot be opened through VFIO, and what mends it.
#![forbid(unsafe_code)]

use std::{fmt, io, path::PathBuf, process};

use dmaring_ioat_spec::{device::VENDOR, registers::BAR_BYTES};
use vfio_bindings::bindings::vfio::{
    VFIO_REGION_INFO_FLAG_MMAP, VFIO_REGION_INFO_FLAG_READ, VFIO_REGION_INFO_FLAG_WRITE,
};

use crate::pci::{Address, Function, PeerError, SysfsError, User, config::ConfigError};

/// The device id of DSA, which took I/OAT's place.
const DSA: u16 = 0x0b25;

/// Why a function cannot be opened through VFIO. Nothing is left mapped then, and nothing open but this: after
/// [`Error::Vfio`] a group may stay in a container that has other functions, until that container goes.
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
        /// Those functions.
        others: Vec<Function>,
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
    /// The kernel took the last function of the container back while it was in use.
    #[error(
        "{address} cannot be opened in a container whose last function the kernel took back: make a new container"
    )]
    Dissolved {
        /// The function.
        address: Address,
    },
    /// The container was made by the process that forked this one.
    #[error(
        "{address} cannot be opened in a container of the process that forked this one: make one in this process"
    )]
    OtherProcess {
        /// The function.
        address: Address,
    },
    /// The IOMMU has no pages of 4 KiB.
    #[error(
        "the IOMMU maps no pages of 4096 bytes: its sizes are {sizes:#x}; on this machine the processor can copy \
         (`--engine cpu`)"
    )]
    PageSizes {
        /// A bit for each size that it has.
        sizes: u64,
    },
    /// A peer's BAR cannot be had.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// A peer has another driver than vfio-pci, or none.
    #[error(
        "{address} is bound to {}: open its BAR through sysfs, or give it to user space with `echo vfio-pci | sudo tee \
         /sys/bus/pci/devices/{address}/driver_override; echo {address} | sudo tee /sys/bus/pci/drivers_probe`",
        driver.as_deref().unwrap_or("no driver")
    )]
    PeerNotBound {
        /// The function.
        address: Address,
        /// The driver it has.
        driver: Option<String>,
    },
    /// BAR 0 is not that of an I/OAT function.
    #[error(
        "BAR 0 of {address} has {bytes} bytes, {}: {BAR_BYTES} that can be read, written and mapped are needed; \
         `lspci -vs {address}` shows whether the firmware gave it an address",
        Allowed(*.flags)
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
    #[error(
        "configuring {address} failed: where it hangs, `echo 1 | sudo tee /sys/bus/pci/devices/{address}/reset` may \
         bring it back"
    )]
    Config {
        /// The function.
        address: Address,
        /// Why.
        source: ConfigError,
    },
    /// A call of VFIO failed.
    #[error("{call} failed: the kernel may say more, see `sudo dmesg | grep -i vfio`")]
    Call {
        /// The call.
        call: &'static str,
        /// Why.
        source: io::Error,
    },
    /// VFIO gives no container.
    #[error("VFIO gives no container: the kernel may say why, see `sudo dmesg | grep -i vfio`")]
    Container {
        /// Why.
        source: vfio_ioctls::VfioError,
    },
    /// A call of VFIO failed that vfio-ioctls made.
    #[error(
        "opening {address} through VFIO failed: the kernel may say why, see `sudo dmesg | grep -e vfio -e {address}`"
    )]
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
            return f.write_str("a process of another user: `sudo fuser -v /dev/vfio/*` names it");
        }
        list(f, self.0)?;
        let others: Vec<_> =
            self.0.iter().map(|user| user.pid).filter(|pid| *pid != process::id()).collect();
        if others.is_empty() {
            return f.write_str(", which is this process: use one channel for all");
        }
        f.write_str("; `sudo kill")?;
        others.iter().try_for_each(|pid| write!(f, " {pid}"))?;
        f.write_str(if others.len() == 1 { "` ends it" } else { "` ends them" })
    }
}

struct Others<'a>(&'a [Function]);

impl fmt::Display for Others<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("VFIO does not say which, see `sudo dmesg | grep -i vfio`");
        }
        let named: Vec<_> = self
            .0
            .iter()
            .map(|function| {
                let driver = function.driver.as_deref().unwrap_or("no driver");
                format!("{} ({driver})", function.address)
            })
            .collect();
        list(f, &named)?;
        f.write_str("; ")?;
        let (ioat, foreign): (Vec<_>, Vec<_>) =
            self.0.iter().partition(|function| function.is_ioat());
        if !ioat.is_empty() {
            f.write_str("`sudo dmaring bind")?;
            ioat.iter().try_for_each(|function| write!(f, " {}", function.address))?;
            f.write_str("`")?;
        }
        // `dmaring bind` takes I/OAT functions alone. No driver at all is enough.
        for (index, Function { address, .. }) in foreign.iter().enumerate() {
            f.write_str(if index == 0 && ioat.is_empty() { "" } else { " and " })?;
            write!(f, "`echo {address} | sudo tee /sys/bus/pci/devices/{address}/driver/unbind`")?;
        }
        f.write_str(if self.0.len() == 1 { " takes it" } else { " take them" })?;
        f.write_str(" from the host")
    }
}

/// What VFIO allows of a region, by its flags.
struct Allowed(u32);

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (VFIO_REGION_INFO_FLAG_READ, "reading"),
            (VFIO_REGION_INFO_FLAG_WRITE, "writing"),
            (VFIO_REGION_INFO_FLAG_MMAP, "mapping"),
        ];
        let allowed: Vec<_> =
            names.iter().filter(|(flag, _)| self.0 & flag != 0).map(|(_, name)| *name).collect();
        if allowed.is_empty() {
            return f.write_str("for nothing");
        }
        f.write_str("for ")?;
        list(f, &allowed)
    }
}

fn list(f: &mut fmt::Formatter<'_>, items: &[impl fmt::Display]) -> fmt::Result {
    for (index, item) in items.iter().enumerate() {
        f.write_str(if index == 0 { "" } else { ", " })?;
        item.fmt(f)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
