//! What must hold before VFIO can open a function, looked at in the order in which it is mended.
#![forbid(unsafe_code)]

use std::{
    fs::{File, OpenOptions},
    io,
    path::Path,
};

use nix::errno::Errno;
use vfio_bindings::bindings::vfio::VFIO_GROUP_FLAGS_VIABLE;

use super::{Error, calls};
use crate::pci::{Address, Function, Sysfs, users};

/// The driver that gives functions to user space.
const DRIVER: &str = "vfio-pci";

/// Checks whatever can be checked without opening the function's group, and gives the group's number.
///
/// `nodes` is the directory that has VFIO's nodes, `/dev/vfio`. Nothing is changed.
///
/// # Errors
///
/// The first thing that stands in the way, as [`Error`], with what mends it.
pub fn check(sysfs: &Sysfs, nodes: &Path, address: Address) -> Result<u32, Error> {
    let function = sysfs.function(address)?;
    if !function.is_ioat() {
        let Function { vendor, device, class, .. } = function;
        return Err(Error::NotIoat { address, vendor, device, class });
    }
    check_system(sysfs, nodes, &function)?;
    if function.driver.as_deref() != Some(DRIVER) {
        return Err(Error::NotBound { address, driver: function.driver });
    }
    check_group(nodes, &function)
}

/// The same for a function of any kind, whose BARs are to be reached.
pub(super) fn check_peer(sysfs: &Sysfs, nodes: &Path, address: Address) -> Result<u32, Error> {
    let function = sysfs.function(address)?;
    check_system(sysfs, nodes, &function)?;
    if function.driver.as_deref() != Some(DRIVER) {
        return Err(Error::PeerNotBound { address, driver: function.driver });
    }
    check_group(nodes, &function)
}

/// Checks what does not depend on the function's driver.
fn check_system(sysfs: &Sysfs, nodes: &Path, function: &Function) -> Result<(), Error> {
    if let Some(group) = function.iommu_group
        && (sysfs.is_no_iommu_group(group) || nodes.join(format!("noiommu-{group}")).exists())
    {
        return Err(Error::NoIommuMode { group });
    }
    if !sysfs.has_iommu() {
        return Err(Error::NoIommu);
    }
    function.iommu_group.ok_or(Error::NoGroup { address: function.address })?;
    let path = nodes.join("vfio");
    if path.exists() { Ok(()) } else { Err(Error::NoVfio { path }) }
}

/// The group's number, where containers can be opened.
fn check_group(nodes: &Path, function: &Function) -> Result<u32, Error> {
    let group = function.iommu_group.ok_or(Error::NoGroup { address: function.address })?;
    let path = nodes.join("vfio");
    open(&path).map_err(|error| container_error(&path, error))?;
    Ok(group)
}

/// Opens the group, which nobody else has open then, to see whether VFIO would give it away, and closes it again.
pub(super) fn probe(
    sysfs: &Sysfs,
    nodes: &Path,
    address: Address,
    group: u32,
) -> Result<(), Error> {
    let path = nodes.join(group.to_string());
    let file = open(&path).map_err(|error| group_error(&path, address, group, error))?;
    let flags = calls::group_flags(&file)
        .map_err(|errno| Error::Call { call: "VFIO_GROUP_GET_STATUS", source: errno.into() })?;
    if flags & VFIO_GROUP_FLAGS_VIABLE != 0 { Ok(()) } else { Err(not_viable(sysfs, group)) }
}

/// The error of a group that VFIO does not give away because of its other functions.
pub(super) fn not_viable(sysfs: &Sysfs, group: u32) -> Error {
    let mut others = sysfs.group_members(group).unwrap_or_default();
    others.retain(Function::holds_group_back);
    Error::NotViable { group, others }
}

/// The error of a container's node that was not opened.
pub(super) fn container_error(path: &Path, error: io::Error) -> Error {
    let path = path.to_owned();
    match error.kind() {
        io::ErrorKind::NotFound => Error::NoVfio { path },
        io::ErrorKind::PermissionDenied => Error::Permission { path },
        // A node that is there before its module is.
        _ if error.raw_os_error() == Some(Errno::ENODEV as i32) => Error::NoVfio { path },
        _ => Error::Call { call: "opening the VFIO container", source: error },
    }
}

/// The error of a group's node that was not opened.
pub(super) fn group_error(path: &Path, address: Address, group: u32, error: io::Error) -> Error {
    let path = path.to_owned();
    match error.kind() {
        io::ErrorKind::NotFound => Error::NoNode { address, path },
        io::ErrorKind::PermissionDenied => Error::Permission { path },
        io::ErrorKind::ResourceBusy => Error::Busy { address, group, users: users(group) },
        _ => Error::Call { call: "opening the VFIO group", source: error },
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

#[cfg(test)]
mod tests;
