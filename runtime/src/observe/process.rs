//! A process in `/proc`: its descriptors, and whether it still lives.
//!
//! The number of a process that has ended goes to another. So its `stat` is opened once and kept: it can be read for as
//! long as that process exists, and never tells of another.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::PathBuf,
};

use super::ObserveError;
use crate::stats::NAME;

#[derive(Debug)]
pub(super) struct Process {
    pid: u32,
    stat: File,
}

/// A file that a process has under the statistics' name.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) file: File,
    pub(super) inode: u64,
}

impl Process {
    pub(super) fn open(pid: u32) -> Result<Self, ObserveError> {
        let stat = File::open(directory(pid).join("stat"))
            .map_err(|error| ObserveError::of_process(pid, error))?;
        let process = Self { pid, stat };
        if process.is_alive() { Ok(process) } else { Err(ObserveError::NoProcess { pid }) }
    }

    /// The same process once more.
    pub(super) fn another(&self) -> io::Result<Self> {
        Ok(Self { pid: self.pid, stat: self.stat.try_clone()? })
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// The number by which the process knows itself: another than ours if it is in a container, say.
    pub(super) fn inner_pid(&self) -> u64 {
        let status = fs::read_to_string(directory(self.pid).join("status")).unwrap_or_default();
        let inner = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        let inner = inner.and_then(|pids| pids.split_whitespace().last()?.parse().ok());
        inner.unwrap_or(self.pid.into())
    }

    /// Whether it has not ended. One that nobody has waited for yet has.
    pub(super) fn is_alive(&self) -> bool {
        let mut bytes = [0; 512];
        let Ok(length) = self.stat.read_at(&mut bytes, 0) else { return false };
        let text = bytes.get(..length).unwrap_or_default();
        // The name, in parentheses, may hold anything; what follows holds no parenthesis.
        let after = text.iter().rposition(|&byte| byte == b')').map_or(0, |end| end + 2);
        !matches!(text.get(after), None | Some(b'Z' | b'X' | b'x'))
    }

    /// The first files under the statistics' name, `most` at most, each once, opened for reading.
    pub(super) fn memory(&self, most: usize) -> Result<Vec<Found>, ObserveError> {
        let failed = |error| ObserveError::of_process(self.pid, error);
        let name = PathBuf::from(format!("/memfd:{NAME} (deleted)"));
        let mut found: Vec<Found> = Vec::new();
        for entry in fs::read_dir(directory(self.pid).join("fd")).map_err(failed)? {
            if found.len() >= most {
                tracing::warn!(
                    pid = self.pid,
                    most,
                    "the process has more memory of that name: the rest is not looked at"
                );
                break;
            }
            let path = entry.map_err(failed)?.path();
            // What was closed meanwhile is of no interest.
            if fs::read_link(&path).is_ok_and(|link| link == name)
                && let Some(file) = open(&path).map_err(failed)?
            {
                let inode = file.metadata().map_err(failed)?.ino();
                if found.iter().all(|known| known.inode != inode) {
                    found.push(Found { file, inode });
                }
            }
        }
        Ok(found)
    }
}

/// The numbers of all processes, in ascending order.
pub(super) fn all() -> Result<Vec<u32>, ObserveError> {
    let entries = fs::read_dir("/proc").map_err(ObserveError::Proc)?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut pids: Vec<u32> = names.filter_map(|name| name.parse().ok()).collect();
    pids.sort_unstable();
    Ok(pids)
}

fn directory(pid: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}"))
}

/// Opens a descriptor's link; `None` if it was closed meanwhile. It may have become anything: a FIFO is not waited for.
fn open(path: &PathBuf) -> io::Result<Option<File>> {
    let flags = nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY;
    match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
