//! Whether this process is the one that opened something.
//!
//! A child of fork has the parent's handles: its descriptors and, of its memory, all that is not kept from children.
//! Nothing of that is its to work with. Were it to drop a channel, it would reset the one that the parent copies with,
//! switch its bus mastering off and undo its mappings. So whatever belongs to a function or a container remembers the
//! process that made it; elsewhere it refuses to open, map, unmap, reset and halt, and its drop leaves everything as it
//! is.
//!
//! Asking costs a system call, so it is asked on the control path alone. A child that enqueues, submits or polls on a
//! channel finds no ring where the parent's is, which may end it.
#![forbid(unsafe_code)]

/// The process that made something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin(u32);

impl Origin {
    /// Remembers this process.
    pub(crate) fn here() -> Self {
        Self(process())
    }

    /// Whether this process is another one: a child after fork.
    pub(crate) fn is_elsewhere(self) -> bool {
        process() != self.0
    }
}

#[cfg(not(miri))]
fn process() -> u32 {
    std::process::id()
}

/// Without the host's, which nothing forks.
#[cfg(miri)]
fn process() -> u32 {
    1
}
