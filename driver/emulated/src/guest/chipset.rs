//! The chipset's registers, as accesses to guest-physical addresses.

use std::{fmt, io, time::Duration};

/// Reads and writes at guest-physical addresses, which QEMU's main loop serves.
///
/// A call may wait, for a bounded time, and is made with no lock of the device held.
pub trait Chipset: fmt::Debug + Send + Sync {
    /// Reads 32 bits.
    ///
    /// # Errors
    ///
    /// [`ChipsetError`] where nobody answers, or something else.
    fn read32(&self, address: u64) -> Result<u32, ChipsetError>;

    /// Reads 64 bits.
    ///
    /// # Errors
    ///
    /// As for [`read32`](Self::read32).
    fn read64(&self, address: u64) -> Result<u64, ChipsetError>;

    /// Writes 32 bits.
    ///
    /// # Errors
    ///
    /// As for [`read32`](Self::read32).
    fn write32(&self, address: u64, value: u32) -> Result<(), ChipsetError>;
}

/// Why the chipset could not be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChipsetError {
    /// QEMU never connected.
    #[error(
        "no connection for qtest within {} s: start QEMU with -qtest unix:PATH and the path given here",
        within.as_secs()
    )]
    NotConnected {
        /// How long was waited.
        within: Duration,
    },
    /// The connection was closed: QEMU has gone.
    #[error("the connection for qtest was closed by QEMU")]
    Closed,
    /// QEMU did not answer in time.
    #[error("no answer to qtest `{command}` within {} s: is QEMU stopped?", within.as_secs())]
    TimedOut {
        /// The command.
        command: String,
        /// How long was waited.
        within: Duration,
    },
    /// An answer that is none.
    #[error(
        "qtest `{command}` was answered with `{answer}`: the form is OK, with a value for a read"
    )]
    Answer {
        /// The command.
        command: String,
        /// The answer, cut at 80 characters.
        answer: String,
    },
    /// The socket failed.
    #[error("the connection for qtest failed")]
    Io(#[source] io::Error),
}
