//! What a driver did that it must not.

use std::fmt;

/// How many violations are kept; all are counted.
const KEPT: usize = 1024;

/// An access that breaks the device's rules. The device never fails on one: each kind says what became
/// of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The function.
    pub function: u8,
    /// The channel within it; `None` where it concerns no channel.
    pub channel: Option<u8>,
    /// What was done.
    pub kind: ViolationKind,
}

/// The kinds of violation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ViolationKind {
    /// CHAINADDR written while the channel was active. Ignored.
    ChainAddressWhileActive,
    /// CHANCMP written while the channel was active. Ignored.
    CompletionAddressWhileActive,
    /// CHAINADDR written to a halted channel while CHANERR or CHANERR_INT was set. It stays halted.
    ChainAddressWithErrors,
    /// DMACOUNT written while the channel was halted. Ignored.
    CountWhileHalted,
    /// DMACOUNT covers fewer descriptors than before. Taken as it is.
    CountMovedBack,
    /// A register that is read only was written. Ignored.
    ReadOnlyWritten {
        /// The register's name.
        register: &'static str,
    },
    /// An access outside BAR 0, or one that is not aligned to its width. Reads as ones, or ignored.
    BadAccess {
        /// The offset in BAR 0, in bytes.
        offset: u32,
        /// The width of the access, in bytes.
        bytes: u32,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "function {}", self.function)?;
        if let Some(channel) = self.channel {
            write!(f, ", channel {channel}")?;
        }
        write!(f, ": {:?}", self.kind)
    }
}

/// The violations of a device.
#[derive(Debug, Default)]
pub(crate) struct Log {
    count: u64,
    kept: Vec<Violation>,
}

impl Log {
    pub(crate) fn add(&mut self, violation: Violation) {
        self.count += 1;
        if self.kept.len() < KEPT {
            self.kept.push(violation);
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn kept(&self) -> &[Violation] {
        &self.kept
    }
}
