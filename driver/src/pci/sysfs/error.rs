//! Why something could not be learnt from sysfs.
#![forbid(unsafe_code)]

use std::{io, path::PathBuf};

use crate::pci::Address;

/// Why something could not be learnt from sysfs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SysfsError {
    /// No PCI function has this address.
    #[error(
        "there is no PCI function {address}: `dmaring list` lists the I/OAT functions, `lspci -D` all"
    )]
    NoSuchFunction {
        /// The address.
        address: Address,
    },
    /// An attribute could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// An attribute holds what no kernel is known to write.
    #[error("{} holds `{text}`, which is not understood", path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// What it holds.
        text: String,
    },
}

impl SysfsError {
    pub(super) fn is_gone(&self) -> bool {
        match self {
            Self::NoSuchFunction { .. } => true,
            // ENODEV: the attribute is still there, the device no more.
            Self::Io { source, .. } => {
                source.kind() == io::ErrorKind::NotFound || source.raw_os_error() == Some(19)
            }
            Self::Malformed { .. } => false,
        }
    }
}
