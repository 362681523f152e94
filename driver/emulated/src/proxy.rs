//! The remote end of QEMU's `x-pci-proxy-dev`: messages about one function, and their answers.
//!
//! [`Header`] and [`dispatch`] decode and carry out, and need no socket; [`serve`] does so for a
//! connection. QEMU sends one message after the other and waits for the answer of those that have one.
//! Every byte is hostile until it is checked: what is not a message ends the connection with a
//! [`ProxyError`]. Source: QEMU 7.2, as observed.

mod connection;
mod dispatch;
mod wire;

pub use connection::serve;
pub use dispatch::dispatch;
pub use wire::{Command, HEADER_BYTES, Header, REPLY_BYTES, reply};

use std::io;

use crate::guest::{MAX_REGIONS, MemoryError};

/// Why a connection ended before QEMU closed it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// A command that is none.
    #[error("message with command {command}: 0 to 7 are known, and 1 is ours to send")]
    Command {
        /// The command.
        command: i32,
    },
    /// A message whose payload has not the size of its kind.
    #[error("message {command:?} with {size} bytes of payload: it has {expected}")]
    Size {
        /// The command.
        command: Command,
        /// The size it says, in bytes.
        size: u64,
        /// The size it should have.
        expected: usize,
    },
    /// A message with file descriptors that its kind has not.
    #[error("message {command:?} with {count} file descriptors: at most {limit} are taken")]
    Descriptors {
        /// The command.
        command: Command,
        /// How many came.
        count: usize,
        /// How many may.
        limit: usize,
    },
    /// More file descriptors with a message than any kind has.
    #[error("a message with more file descriptors than {MAX_REGIONS}, or with others than files")]
    Ancillary,
    /// An access of a width that there is not.
    #[error("{command:?} of {bytes} bytes: {widths} are known")]
    Width {
        /// The command.
        command: Command,
        /// The width, in bytes.
        bytes: u32,
        /// The widths known.
        widths: &'static str,
    },
    /// The connection ended within a message, or the rest did not come in time.
    #[error("a message ended after {got} of {expected} bytes")]
    Truncated {
        /// Bytes that came.
        got: usize,
        /// Bytes that were to come.
        expected: usize,
    },
    /// Memory that cannot be the guest's.
    #[error("guest memory refused")]
    Memory(#[from] MemoryError),
    /// The socket failed.
    #[error("the connection failed")]
    Io(#[source] io::Error),
}
