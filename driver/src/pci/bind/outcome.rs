//! What binding and unbinding come to.
#![forbid(unsafe_code)]

use crate::pci::{Address, Function};

/// A function that is bound to `vfio-pci`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bound {
    /// Which.
    pub address: Address,
    /// Whether it was bound just now; false if it had been before.
    pub changed: bool,
    /// The driver it had before.
    pub previous: Option<String>,
    /// Its IOMMU group.
    pub group: u32,
    /// Other functions of the group which keep VFIO from giving it to user space: they must be unbound from their
    /// drivers, too.
    pub held_back_by: Vec<Function>,
}

/// A function that is not bound to `vfio-pci` any more.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unbound {
    /// Which.
    pub address: Address,
    /// Whether it was unbound just now; false if it was not bound to `vfio-pci`.
    pub changed: bool,
    /// The driver it has.
    pub driver: Option<String>,
}
