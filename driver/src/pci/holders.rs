//! Who uses a function.
#![forbid(unsafe_code)]

use std::{fmt, path::Path};

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
/// others: of a group in use that much is known, and [`Holder::Unknown`] says it.
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
    let channels = sysfs.dma_channels(function.address)?.into_iter();
    let mut holders: Vec<_> = channels
        .filter(|channel| channel.in_use > 0)
        .map(|channel| Holder::Channel { name: channel.name, users: channel.in_use })
        .collect();
    let mut nodes = Vec::new();
    for name in sysfs.uio_nodes(function.address)? {
        nodes.push(Path::new("/dev").join(name));
    }
    let mut processes = users::users_of(proc, &nodes);
    if let Some(group) = function.iommu_group {
        processes.extend(users::users_in(proc, group));
        let busy = matches!(group_state(dev, group), GroupState::Busy);
        if busy && processes.is_empty() {
            holders.push(Holder::Unknown);
        }
    }
    holders.extend(processes.into_iter().map(Holder::Process));
    Ok(holders)
}
