//! Who uses a function.
#![forbid(unsafe_code)]

use std::{
    fmt,
    path::{Path, PathBuf},
};

use super::{Function, GroupState, Sysfs, SysfsError, User, group_state, users};

/// Who uses a function.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Holder {
    /// The kernel, through a channel that has so many users.
    Channel {
        /// The channel's name in `/sys/class/dma`.
        name: String,
        /// How many users it has.
        users: u32,
    },
    /// A process that has the node open.
    Process(User),
    /// A process that this one may not see.
    Unknown,
}

impl Holder {
    /// What ends the use, with the command in backquotes.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::Channel { .. } => String::from(
                "stop what uses the channel, as `sudo modprobe -r dmatest` or `sudo modprobe -r ntb_transport` does",
            ),
            Self::Process(user) => format!("`sudo kill {}` ends it", user.pid),
            Self::Unknown => String::from("`sudo dmaring doctor` names it"),
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Channel { name, users } => {
                write!(f, "the kernel (channel {name}, in_use {users})")
            }
            Self::Process(user) => user.fmt(f),
            Self::Unknown => f.write_str("a process that only root can name"),
        }
    }
}

/// Who uses a function: the kernel through its channels, or processes through VFIO or the userspace I/O framework.
///
/// `proc` and `dev` are `/proc` and `/dev`. Nobody found does not mean that it is free where a process may not see all
/// others. Only there the node of the group is opened for a moment, which shows whether somebody has it
/// ([`Holder::Unknown`]): a process that opens it at that very time is told that it is busy.
///
/// # Errors
///
/// See [`SysfsError`].
pub fn holders(
    sysfs: &Sysfs,
    proc: &Path,
    dev: &Path,
    function: &Function,
) -> Result<Vec<Holder>, SysfsError> {
    holders_by(sysfs, proc, function, |group| group_state(dev, group))
}

/// The same; `state` opens a group's node.
fn holders_by(
    sysfs: &Sysfs,
    proc: &Path,
    function: &Function,
    state: impl FnOnce(u32) -> GroupState,
) -> Result<Vec<Holder>, SysfsError> {
    let channels = sysfs.dma_channels(function.address)?.into_iter();
    let mut holders: Vec<_> = channels
        .filter(|channel| channel.in_use > 0)
        .map(|channel| Holder::Channel { name: channel.name, users: channel.in_use })
        .collect();
    let uio = sysfs.uio_nodes(function.address)?;
    let mut nodes: Vec<PathBuf> = uio.iter().map(|name| Path::new("/dev").join(name)).collect();
    if let Some(group) = function.iommu_group {
        nodes.extend(users::group_nodes(group));
    }
    let found = users::users_of(proc, &nodes);
    if let Some(group) = function.iommu_group
        && found.users.is_empty()
        && !found.all_seen
        && matches!(state(group), GroupState::Busy)
    {
        holders.push(Holder::Unknown);
    }
    holders.extend(found.users.into_iter().map(Holder::Process));
    Ok(holders)
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, fs, os::unix::fs::symlink};

    use super::{Holder, holders_by};
    use crate::pci::{GroupState, fake::Tree};

    #[test]
    fn a_group_is_opened_only_where_not_every_process_is_seen() {
        let tree = Tree::new();
        tree.function("0000:00:04.0", 0x2021).group(7);
        let function = tree.sysfs().function("0000:00:04.0".parse().unwrap()).unwrap();
        let opened = Cell::new(0);
        let look = || {
            let busy = |_| {
                opened.set(opened.get() + 1);
                GroupState::Busy
            };
            holders_by(&tree.sysfs(), &tree.beside("proc"), &function, busy).unwrap()
        };
        // Not even the first process is there to be seen.
        assert_eq!((look(), opened.get()), (vec![Holder::Unknown], 1));
        fs::create_dir_all(tree.beside("proc/1/fd")).unwrap();
        assert_eq!((look(), opened.get()), (vec![], 1));
        fs::create_dir_all(tree.beside("proc/812/fd")).unwrap();
        symlink("/dev/vfio/7", tree.beside("proc/812/fd/3")).unwrap();
        let holders = look();
        assert!(matches!(holders.as_slice(), [Holder::Process(_)]) && opened.get() == 1);
        assert!(holders[0].remedy().contains("`sudo kill 812`"));
    }
}
