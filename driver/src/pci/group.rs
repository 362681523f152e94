//! The node of an IOMMU group under `/dev/vfio`.
#![forbid(unsafe_code)]

use std::{
    fs::OpenOptions,
    io,
    path::{Path, PathBuf},
};

/// What became of an attempt to open a group's node, which was closed again at once.
#[derive(Debug)]
#[non_exhaustive]
pub enum GroupState {
    /// It can be opened, and nobody has it.
    Free,
    /// Somebody has it open: a group is open once at a time.
    Busy,
    /// This process may not open it.
    Denied,
    /// There is none: no function of the group is bound to VFIO.
    Missing,
    /// Something else.
    Failed(io::Error),
}

/// The node of a group, under the device directory `dev`.
#[must_use]
pub fn group_node(dev: &Path, group: u32) -> PathBuf {
    dev.join("vfio").join(group.to_string())
}

/// Whether a group's node can be opened, by trying.
#[must_use]
pub fn group_state(dev: &Path, group: u32) -> GroupState {
    match OpenOptions::new().read(true).write(true).open(group_node(dev, group)) {
        Ok(_) => GroupState::Free,
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound => GroupState::Missing,
            io::ErrorKind::PermissionDenied => GroupState::Denied,
            io::ErrorKind::ResourceBusy => GroupState::Busy,
            _ => GroupState::Failed(error),
        },
    }
}
