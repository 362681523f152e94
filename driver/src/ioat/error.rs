//! Why a channel does not start or come back.

use std::{fmt, io};

use dmaring_engine::{MapError, Status, StatusKind};
use dmaring_ioat_spec::{
    chanerr::ChannelError,
    registers::{ChannelState, Version},
};

use super::chanerr::{Causes, status_of};

/// Why a channel was not started. The device is as it was found, except after [`StartError::Reset`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Registers read all ones: no device answers.
    #[error("no device answers: CBVER reads all ones")]
    Absent,
    /// CBVER names an interface that this driver does not know, or the device is none of I/OAT's.
    #[error("interface version {version} is not taken: I/OAT versions 3.x are")]
    Version {
        /// What CBVER says.
        version: Version,
    },
    /// The function has no channel of this number.
    #[error("there is no channel {channel}: CHANCNT says that there are {channels}")]
    NoSuchChannel {
        /// The channel asked for.
        channel: u8,
        /// How many there are.
        channels: u8,
    },
    /// XFERCAP is 0, which says nothing: drivers differ about it.
    #[error(
        "XFERCAP is 0, which Linux takes for no channel and SPDK for 4 GiB: no transfer length is safe to assume"
    )]
    TransferCapZero,
    /// XFERCAP is too small to be true.
    #[error(
        "XFERCAP allows {bytes} bytes in a transfer, fewer than 64: Linux and SPDK would take it, no known part says so"
    )]
    TransferCapTooSmall {
        /// The longest transfer, in bytes.
        bytes: u64,
    },
    /// Somebody else drives the channel.
    #[error(
        "channel {channel} is in use: bit 8 of CHANCTRL ({control:#06x}) is set; stop whoever drives it, or, if that \
         process is gone, reset the function: `echo 1 | sudo tee /sys/bus/pci/devices/BDF/reset`"
    )]
    InUse {
        /// The channel asked for.
        channel: u8,
        /// What CHANCTRL says.
        control: u16,
    },
    /// The ring cannot have this length.
    #[error("a ring cannot have {entries} entries: a power of two from 4 to 32768 can be")]
    RingEntries {
        /// The length asked for.
        entries: u32,
    },
    /// The operating system gave no memory for the ring.
    #[error("allocating {bytes} bytes for the descriptor ring failed")]
    Memory {
        /// How many bytes were asked for.
        bytes: usize,
        /// Why.
        source: io::Error,
    },
    /// The ring's memory could not be made reachable for the device.
    #[error("mapping the descriptor ring's {bytes} bytes for the device failed")]
    Map {
        /// How many bytes it has.
        bytes: usize,
        /// Why.
        source: MapError,
    },
    /// The channel did not come up.
    #[error("the channel did not come up")]
    Reset(#[from] ResetError),
}

/// Why a reset did not bring a channel to where it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResetError {
    /// Registers read all ones: the device is gone.
    #[error("the device is gone: CHANSTS reads all ones")]
    Absent,
    /// The reset bit of CHANCMD still reads 1.
    #[error("the channel reset did not end within 200 ms")]
    Timeout,
    /// CHANERR is not 0 after it was written back and the channel was reset.
    #[error("errors stand after the reset: {}", Causes(*.0))]
    ErrorsStand(ChannelError),
    /// Writing CHAINADDR did not arm the channel.
    #[error("the channel is {} and not armed after CHAINADDR was written", Named(*.0))]
    NotArmed(ChannelState),
    /// The channel halted on a null descriptor.
    #[error("the channel halted on a null descriptor: {}", Causes(*.0))]
    Halted(ChannelError),
    /// The channel did not carry out a null descriptor.
    #[error("the channel is {} and not idle after a null descriptor", Named(*.0))]
    NotIdle(ChannelState),
    /// The channel is not halted after a reset.
    #[error("the channel is {} and not halted after the reset", Named(*.0))]
    NotHalted(ChannelState),
    /// The time or the number of steps allowed ran out.
    #[error("the channel did not get there within the time allowed")]
    OutOfTime,
}

/// A state in words.
struct Named(ChannelState);

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ChannelState::Active => f.write_str("active"),
            ChannelState::Idle => f.write_str("idle"),
            ChannelState::Suspended => f.write_str("suspended"),
            ChannelState::Halted => f.write_str("halted"),
            ChannelState::Armed => f.write_str("armed"),
            ChannelState::Unknown(number) => write!(f, "in the unknown state {number}"),
        }
    }
}

impl ResetError {
    pub(super) fn status(self) -> Status {
        match self {
            Self::Absent => Status { kind: StatusKind::Gone, bits: u32::MAX },
            Self::ErrorsStand(errors) | Self::Halted(errors) => status_of(errors),
            Self::Timeout
            | Self::NotArmed(_)
            | Self::NotIdle(_)
            | Self::NotHalted(_)
            | Self::OutOfTime => Status { kind: StatusKind::Hang, bits: 0 },
        }
    }
}
