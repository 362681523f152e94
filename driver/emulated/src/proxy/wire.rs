//! Messages as bytes, little endian.
//!
//! | bytes | header |
//! | --- | --- |
//! | 0..4 | command, signed |
//! | 4..8 | padding |
//! | 8..16 | size of the payload, in bytes |
//!
//! | command | payload | file descriptors | answer |
//! | --- | --- | --- | --- |
//! | 0 SYNC_SYSMEM | 8 addresses, 8 sizes, 8 offsets, each 64 bits | one a region | none |
//! | 1 RET | the value, 64 bits | none | it is one |
//! | 2 config write, 3 config read | address, value, width, each 32 bits | none | RET |
//! | 4 BAR write, 5 BAR read | address, value, each 64 bits; width, 32; is memory, 8; padding, 24 | none | RET |
//! | 6 SET_IRQFD | none | two | none |
//! | 7 device reset | none | none | RET |

use super::ProxyError;
use crate::guest::MAX_REGIONS;

/// Bytes of a header.
pub const HEADER_BYTES: usize = 16;

/// Bytes of an answer, its header included.
pub const REPLY_BYTES: usize = 24;

const RET: i32 = 1;

/// What QEMU asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// The guest's memory is this from now on.
    SyncMemory,
    /// Writes configuration space.
    ConfigWrite,
    /// Reads configuration space.
    ConfigRead,
    /// Writes at a guest-physical address of a BAR.
    BarWrite,
    /// Reads at a guest-physical address of a BAR.
    BarRead,
    /// Where INTx would be signalled.
    SetIrqFd,
    /// Resets the function.
    Reset,
}

impl Command {
    fn from_wire(command: i32) -> Result<Self, ProxyError> {
        Ok(match command {
            0 => Self::SyncMemory,
            2 => Self::ConfigWrite,
            3 => Self::ConfigRead,
            4 => Self::BarWrite,
            5 => Self::BarRead,
            6 => Self::SetIrqFd,
            7 => Self::Reset,
            command => return Err(ProxyError::Command { command }),
        })
    }

    fn payload_bytes(self) -> usize {
        match self {
            Self::SyncMemory => 3 * 8 * MAX_REGIONS,
            Self::ConfigWrite | Self::ConfigRead => 12,
            Self::BarWrite | Self::BarRead => 24,
            Self::SetIrqFd | Self::Reset => 0,
        }
    }

    /// How many file descriptors a message of this kind may bring.
    pub(super) fn descriptors(self) -> usize {
        match self {
            Self::SyncMemory => MAX_REGIONS,
            Self::SetIrqFd => 2,
            _ => 0,
        }
    }
}

/// A header whose command is known and whose payload has the size of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    command: Command,
}

impl Header {
    /// The header of these bytes.
    ///
    /// # Errors
    ///
    /// [`ProxyError::Command`] and [`ProxyError::Size`].
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, ProxyError> {
        let command = Command::from_wire(u32_at(bytes, 0) as i32)?;
        let (size, expected) = (u64_at(bytes, 8), command.payload_bytes());
        if size != expected as u64 {
            return Err(ProxyError::Size { command, size, expected });
        }
        Ok(Self { command })
    }

    /// What is asked.
    #[must_use]
    pub fn command(self) -> Command {
        self.command
    }

    /// Bytes of the payload: at most 192.
    #[must_use]
    pub fn payload_bytes(self) -> usize {
        self.command.payload_bytes()
    }
}

/// The message that answers with this value.
#[must_use]
pub fn reply(value: u64) -> [u8; REPLY_BYTES] {
    let mut bytes = [0; REPLY_BYTES];
    bytes[0..4].copy_from_slice(&RET.to_le_bytes());
    bytes[8..16].copy_from_slice(&8u64.to_le_bytes());
    bytes[16..24].copy_from_slice(&value.to_le_bytes());
    bytes
}

/// Little-endian bytes from `offset` on; 0 past the end.
pub(super) fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    let found = bytes.get(offset..).and_then(|rest| rest.first_chunk());
    found.map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

/// As [`u32_at`].
pub(super) fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    let found = bytes.get(offset..).and_then(|rest| rest.first_chunk());
    found.map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
