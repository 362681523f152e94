//! Which processes hold a device node open.
#![forbid(unsafe_code)]

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

/// A process that holds a node open.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct User {
    /// Its process id.
    pub pid: u32,
    /// What it was started as; empty where that cannot be read.
    pub command: String,
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {}", self.pid)?;
        if self.command.is_empty() { Ok(()) } else { write!(f, " ({})", self.command) }
    }
}

/// Who holds a VFIO group open, by process id.
///
/// Only processes whose descriptors this one may see are found: all of them for root, its own else. So nobody found
/// does not mean that the group is free.
#[must_use]
pub fn users(group: u32) -> Vec<User> {
    users_in(Path::new("/proc"), group)
}

/// The same, in another proc file system than the one at `/proc`.
#[must_use]
pub fn users_in(proc: &Path, group: u32) -> Vec<User> {
    users_of(proc, &group_nodes(group)).users
}

/// The nodes that a group may have.
pub(super) fn group_nodes(group: u32) -> [PathBuf; 2] {
    [group.to_string(), format!("noiommu-{group}")].map(|name| Path::new("/dev/vfio").join(name))
}

/// Who was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) users: Vec<User>,
    /// Whether no process can have been overlooked.
    pub(super) all_seen: bool,
}

/// Who holds one of `nodes` open.
pub(super) fn users_of(proc: &Path, nodes: &[PathBuf]) -> Found {
    let mut users = Vec::new();
    // Those of others may be hidden altogether: the first process is of root.
    let mut all_seen = fs::read_dir(proc.join("1/fd")).is_ok();
    for entry in fs::read_dir(proc).into_iter().flatten().flatten() {
        let directory = entry.path();
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        match holds(&directory.join("fd"), nodes) {
            Ok(true) => users.push(User { pid, command: command(&directory) }),
            Ok(false) => {}
            Err(error) => all_seen &= error.kind() != io::ErrorKind::PermissionDenied,
        }
    }
    users.sort();
    Found { users, all_seen }
}

/// Whether one of the descriptors leads to one of the nodes. Processes end while they are looked at.
fn holds(descriptors: &Path, nodes: &[PathBuf]) -> io::Result<bool> {
    let mut descriptors = fs::read_dir(descriptors)?.flatten();
    Ok(descriptors.any(|descriptor| {
        fs::read_link(descriptor.path()).is_ok_and(|target| nodes.contains(&target))
    }))
}

fn command(directory: &Path) -> String {
    let name = fs::read(directory.join("comm")).unwrap_or_default();
    String::from_utf8_lossy(&name).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, path::Path};

    use super::users_in;

    fn process(proc: &Path, pid: u32, command: &str, opened: &[&str]) {
        let descriptors = proc.join(pid.to_string()).join("fd");
        fs::create_dir_all(&descriptors).unwrap();
        fs::write(proc.join(pid.to_string()).join("comm"), format!("{command}\n")).unwrap();
        for (number, target) in opened.iter().enumerate() {
            symlink(target, descriptors.join(number.to_string())).unwrap();
        }
    }

    #[test]
    fn who_has_the_group_open_is_found_by_pid() {
        let directory = tempfile::tempdir().unwrap();
        let proc = directory.path();
        process(proc, 812, "qemu", &["/dev/null", "/dev/vfio/7"]);
        process(proc, 90, "spdk_tgt", &["/dev/vfio/noiommu-7"]);
        process(proc, 3, "other", &["/dev/vfio/77", "/dev/vfio/vfio"]);
        fs::write(proc.join("version"), "Linux").unwrap();
        let users: Vec<_> = users_in(proc, 7).iter().map(ToString::to_string).collect();
        assert_eq!(users, ["pid 90 (spdk_tgt)", "pid 812 (qemu)"]);
        assert!(users_in(proc, 8).is_empty());
        assert!(users_in(&proc.join("none"), 7).is_empty());
    }
}
