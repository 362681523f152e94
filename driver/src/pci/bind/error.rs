//! Why a function was not bound or unbound.
#![forbid(unsafe_code)]

use std::{fmt, io, path::PathBuf, time::Duration};

use crate::pci::{Address, Holder, SysfsError};

/// Why a function was not bound or unbound. [`BindError::Midway`] alone says that something was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The function is not there, or sysfs does not say what it is.
    #[error(transparent)]
    Sysfs(#[from] SysfsError),
    /// The function is something else.
    #[error(
        "{address} is {vendor:04x}:{device:04x}, which is no I/OAT function: `dmaring list` lists those there are"
    )]
    NotIoat {
        /// Which function.
        address: Address,
        /// Its vendor id.
        vendor: u16,
        /// Its device id.
        device: u16,
    },
    /// No IOMMU keeps the function to its memory.
    #[error(
        "{address}: no IOMMU is in use: enable VT-d in the firmware and boot Linux with intel_iommu=on"
    )]
    NoIommu {
        /// Which function.
        address: Address,
    },
    /// The IOMMU does not cover the function.
    #[error(
        "{address} is in no IOMMU group: boot Linux with intel_iommu=on, and look for DMAR errors in `dmesg`"
    )]
    NoGroup {
        /// Which function.
        address: Address,
    },
    /// A driver is needed that is not there.
    #[error("{address}: the driver {driver} is not loaded: run `modprobe {driver}`")]
    NoDriver {
        /// Which function.
        address: Address,
        /// Which driver.
        driver: String,
    },
    /// Somebody uses the function.
    #[error("{address} is in use by {}: {}", Listed(.by), Remedies(.by))]
    InUse {
        /// Which function.
        address: Address,
        /// By whom.
        by: Vec<Holder>,
    },
    /// The process may not do it.
    #[error("{}: permission denied: run it as root: `sudo dmaring {verb} {address}`", path.display())]
    Permission {
        /// Which function.
        address: Address,
        /// `bind` or `unbind`.
        verb: &'static str,
        /// What may not be written to.
        path: PathBuf,
    },
    /// What must be written to cannot be.
    #[error("cannot write to {}: {source}", path.display())]
    NotWritable {
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The function was bound by somebody else, so that nothing is known that could be restored.
    #[error(
        "{address} was bound to vfio-pci by something else than `dmaring bind`, so what it had before is not known: \
         leave it to that, or run `sudo sh -c 'echo > {at}/driver_override; echo {address} > {at}/driver/unbind; \
         echo {address} > /sys/bus/pci/drivers_probe'`",
        at = directory.display()
    )]
    NotOurs {
        /// Which function.
        address: Address,
        /// Its directory in sysfs.
        directory: PathBuf,
    },
    /// The record of what the function had before cannot be read or written.
    #[error("the record {} cannot be used: {source}", path.display())]
    Record {
        /// Where it is.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The record holds what was not written so.
    #[error("{path} is not as it was written: `sudo rm {path}` forgets what the function had", path = path.display())]
    Damaged {
        /// Where it is.
        path: PathBuf,
    },
    /// Another process binds or unbinds, and does not end.
    #[error(
        "{} binds or unbinds functions and has held {} for {} s: let it end, and try again; it waits for whoever uses \
         its function, whom `sudo dmaring doctor` names",
        holder(*.pid),
        path.display(),
        waited.as_secs()
    )]
    Locked {
        /// The lock.
        path: PathBuf,
        /// Which process, where it says so.
        pid: Option<u32>,
        /// How long it was waited for.
        waited: Duration,
    },
    /// It failed when something had been changed already.
    #[error("{address}: {cause}; {undone}")]
    Midway {
        /// Which function.
        address: Address,
        /// What failed.
        cause: Cause,
        /// What became of the function.
        undone: Undone,
    },
}

impl BindError {
    /// Whether something had been changed by then.
    #[must_use]
    pub fn is_midway(&self) -> bool {
        matches!(self, Self::Midway { .. })
    }
}

/// A step that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// The kernel refused what was written.
    #[error("writing `{text}` to {} failed: {source}", path.display())]
    Write {
        /// What.
        text: String,
        /// To where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The kernel took it, and the function has another driver than it should have.
    #[error(
        "it has {} and not {}: `dmesg` may say why",
        driver_or_none(.found.as_deref()),
        driver_or_none(.wanted.as_deref())
    )]
    Driver {
        /// The driver it has.
        found: Option<String>,
        /// The driver it should have.
        wanted: Option<String>,
    },
    /// What the function has cannot be read any more.
    #[error(transparent)]
    Sysfs(#[from] SysfsError),
}

/// What became of a function when a step had failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Undone {
    /// It has what it had.
    Restored,
    /// It could not be given back what it had.
    Failed {
        /// Its driver before.
        driver: Option<String>,
        /// Why it is not back.
        cause: Box<Cause>,
    },
}

impl fmt::Display for Undone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Restored => f.write_str("it has been given back what it had"),
            Self::Failed { driver, cause } => {
                let driver = driver_or_none(driver.as_deref());
                write!(f, "it had {driver} and could not be given that back: {cause}")
            }
        }
    }
}

struct Listed<'a>(&'a [Holder]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, holder) in self.0.iter().enumerate() {
            write!(f, "{}{holder}", if number == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// What ends each use, each once.
struct Remedies<'a>(&'a [Holder]);

impl fmt::Display for Remedies<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut remedies: Vec<_> = self.0.iter().map(Holder::remedy).collect();
        remedies.dedup();
        f.write_str(&remedies.join(", "))
    }
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| String::from("another process"), |pid| format!("pid {pid}"))
}

fn driver_or_none(driver: Option<&str>) -> String {
    driver.map_or_else(|| String::from("no driver"), |driver| format!("the driver {driver}"))
}
