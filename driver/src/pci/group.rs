//! The node of an IOMMU group under `/dev/vfio`.
#![forbid(unsafe_code)]

use std::{
    fs::OpenOptions,
    io,
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, AtFlags},
    unistd::{AccessFlags, faccessat},
};

/// What became of an attempt to open a group's node, which was closed again at once; or what would, without trying.
#[derive(Debug)]
#[non_exhaustive]
pub enum GroupState {
    /// It can be opened. Where that was tried, nobody has it.
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

/// Whether a group's node may be opened, without opening it: nobody else is told that it is busy meanwhile. Never
/// [`Busy`](GroupState::Busy).
#[must_use]
pub fn group_access(dev: &Path, group: u32) -> GroupState {
    let path = group_node(dev, group);
    let wanted = AccessFlags::R_OK | AccessFlags::W_OK;
    match faccessat(AT_FDCWD, &path, wanted, AtFlags::AT_EACCESS) {
        Ok(()) => GroupState::Free,
        Err(Errno::ENOENT) => GroupState::Missing,
        Err(Errno::EACCES | Errno::EPERM) => GroupState::Denied,
        Err(errno) => GroupState::Failed(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{GroupState, group_access, group_state};

    #[test]
    fn asking_for_access_opens_nothing() {
        let dev = tempfile::tempdir().unwrap();
        assert!(matches!(group_access(dev.path(), 7), GroupState::Missing));
        assert!(matches!(group_state(dev.path(), 7), GroupState::Missing));
        // A directory has permissions, and cannot be opened for writing by anybody.
        fs::create_dir_all(dev.path().join("vfio/7")).unwrap();
        assert!(matches!(group_access(dev.path(), 7), GroupState::Free));
        assert!(matches!(group_state(dev.path(), 7), GroupState::Failed(_)));
    }
}
