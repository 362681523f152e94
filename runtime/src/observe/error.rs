//! Why a runtime cannot be observed.

use std::io;

use crate::stats::{ABI_VERSION, MAGIC, Mismatch, Unreadable};

/// Why a process's runtimes cannot be observed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ObserveError {
    /// There is no such process, or it has ended.
    #[error("there is no process {pid}: `pgrep -a NAME` finds processes by name")]
    NoProcess {
        /// What was asked for.
        pid: u32,
    },
    /// The process's descriptors may not be looked at.
    #[error(
        "process {pid} may not be looked at: it is another user's, or has privileges that this one lacks; \
         run this as root, with sudo for instance"
    )]
    Permission {
        /// What was asked for.
        pid: u32,
    },
    /// The process has no runtime of its own.
    #[error("process {pid} has no dmaring runtime at this moment")]
    NoRuntime {
        /// What was asked for.
        pid: u32,
    },
    /// The process's runtime lays its statistics out in another version.
    #[error(
        "process {pid} writes version {found} of the statistics, and this program reads version {expected}: \
         use the program of the same release"
    )]
    Version {
        /// The process.
        pid: u32,
        /// The version that it writes.
        found: u64,
        /// The version that is read here.
        expected: u64,
    },
    /// What is named as statistics is none.
    #[error(
        "process {pid} has memory named as statistics that is none: {word} is {found:#x} and must be {expected:#x}"
    )]
    Malformed {
        /// The process.
        pid: u32,
        /// The word in the memory.
        word: &'static str,
        /// What it holds.
        found: u64,
        /// What it must hold, or the most it may.
        expected: u64,
    },
    /// What is named as statistics could shrink under its readers.
    #[error(
        "process {pid} has memory named as statistics that is not sealed against shrinking, and is not read"
    )]
    Unsealed {
        /// The process.
        pid: u32,
    },
    /// The memory could not be opened or mapped.
    #[error("the statistics of process {pid} cannot be read: {source}")]
    Io {
        /// The process.
        pid: u32,
        /// What the kernel said.
        source: io::Error,
    },
    /// `/proc` cannot be listed.
    #[error("/proc cannot be listed: {0}; mount it with `mount -t proc proc /proc`")]
    Proc(#[source] io::Error),
}

impl ObserveError {
    pub(super) fn unreadable(pid: u32, why: Unreadable) -> Self {
        match why {
            Unreadable::Unsealed => Self::Unsealed { pid },
            Unreadable::Io(source) => Self::Io { pid, source },
            // Not yet initialised: its runtime is being built.
            Unreadable::Mismatch(Mismatch { found: 0, expected: MAGIC, .. }) => {
                Self::NoRuntime { pid }
            }
            Unreadable::Mismatch(Mismatch { word: "version", found, expected: ABI_VERSION }) => {
                Self::Version { pid, found, expected: ABI_VERSION }
            }
            Unreadable::Mismatch(Mismatch { word, found, expected }) => {
                Self::Malformed { pid, word, found, expected }
            }
        }
    }

    /// What the kernel said when a process's directory was looked at.
    pub(super) fn of_process(pid: u32, source: io::Error) -> Self {
        // ESRCH: the process ended between two looks.
        let gone = source.raw_os_error() == Some(nix::libc::ESRCH);
        match source.kind() {
            io::ErrorKind::NotFound => Self::NoProcess { pid },
            _ if gone => Self::NoProcess { pid },
            io::ErrorKind::PermissionDenied => Self::Permission { pid },
            _ => Self::Io { pid, source },
        }
    }
}
