//! CHANERR: why a channel halted, bit by bit.
//!
//! The same bits stand in CHANERR, in its mask, and in `CHANERR_INT` and its mask in configuration
//! space. Several can be set at once. A bit that no source names has a cause too,
//! [`Cause::Unknown`].

use bitflags::bitflags;

mod causes;

pub use causes::CAUSES;

bitflags! {
    /// The value of CHANERR and of its masks. Unknown bits are kept.
    ///
    /// Names are after Linux's for bits 0 to 18 and FreeBSD's above; [`CAUSES`] has both.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct ChannelError: u32 {
        /// Bit 0.
        const SOURCE_ADDRESS = 1 << 0;
        /// Bit 1.
        const DESTINATION_ADDRESS = 1 << 1;
        /// Bit 2.
        const NEXT_ADDRESS = 1 << 2;
        /// Bit 3.
        const NEXT_DESCRIPTOR_ALIGNMENT = 1 << 3;
        /// Bit 4.
        const CHAIN_ADDRESS_VALUE = 1 << 4;
        /// Bit 5.
        const CHANCMD = 1 << 5;
        /// Bit 6.
        const CHIPSET_DATA_INTEGRITY = 1 << 6;
        /// Bit 7.
        const DMA_DATA_INTEGRITY = 1 << 7;
        /// Bit 8.
        const READ_DATA = 1 << 8;
        /// Bit 9.
        const WRITE_DATA = 1 << 9;
        /// Bit 10.
        const CONTROL = 1 << 10;
        /// Bit 11.
        const LENGTH = 1 << 11;
        /// Bit 12.
        const COMPLETION_ADDRESS = 1 << 12;
        /// Bit 13.
        const INTERRUPT_CONFIGURATION = 1 << 13;
        /// Bit 14.
        const SOFT = 1 << 14;
        /// Bit 15.
        const UNAFFILIATED = 1 << 15;
        /// Bit 16.
        const XOR_P_OR_CRC = 1 << 16;
        /// Bit 17.
        const XOR_Q = 1 << 17;
        /// Bit 18.
        const DESCRIPTOR_COUNT = 1 << 18;
        /// Bit 19.
        const DIFFERR = 1 << 19;
        /// Bit 20.
        const GTVERR = 1 << 20;
        /// Bit 21.
        const ATVERR = 1 << 21;
        /// Bit 22.
        const RTVERR = 1 << 22;
        /// Bit 23.
        const BBERR = 1 << 23;
        /// Bit 24.
        const RDIFFERR = 1 << 24;
        /// Bit 25.
        const RGTVERR = 1 << 25;
        /// Bit 26.
        const RATVERR = 1 << 26;
        /// Bit 27.
        const RRTVERR = 1 << 27;
        const _ = !0;
    }
}

impl ChannelError {
    /// The cause behind each bit that is set, from the lowest bit up.
    pub fn causes(self) -> impl Iterator<Item = Cause> {
        (0..u32::BITS as u8).filter(move |bit| self.bits() >> bit & 1 == 1).map(Cause::of_bit)
    }

    /// What kind of error this is: that of the lowest bit that has one of its own.
    ///
    /// [`ErrorClass::Unspecified`] for no bit at all, and for bits that are all of that class.
    #[must_use]
    pub fn class(self) -> ErrorClass {
        self.causes()
            .map(Cause::class)
            .find(|class| *class != ErrorClass::Unspecified)
            .unwrap_or(ErrorClass::Unspecified)
    }

    /// Whether a bit is set, and every set bit is one after which Linux resets the channel and goes
    /// on: bits 8 and 9.
    #[must_use]
    pub fn is_recoverable(self) -> bool {
        !self.is_empty() && self.causes().all(Cause::recoverable)
    }

    /// Whether this is all ones, as a read of a device gives that is no longer there.
    #[must_use]
    pub const fn is_absent(self) -> bool {
        self.bits() == u32::MAX
    }
}

/// What one bit of CHANERR says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A bit that a source names.
    Known(&'static ErrorCause),
    /// The number of a bit that none does.
    Unknown(u8),
}

impl Cause {
    /// The cause of the bit with this number, 0 being the lowest.
    #[must_use]
    pub fn of_bit(bit: u8) -> Self {
        CAUSES.iter().find(|cause| cause.bit == bit).map_or(Self::Unknown(bit), Self::Known)
    }

    /// The bit's number.
    #[must_use]
    pub const fn bit(self) -> u8 {
        match self {
            Self::Known(cause) => cause.bit,
            Self::Unknown(bit) => bit,
        }
    }

    /// The short name; `UNKNOWN` for a bit that has none.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Known(cause) => cause.name,
            Self::Unknown(_) => "UNKNOWN",
        }
    }

    /// What went wrong, in one line, lower case.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Known(cause) => cause.meaning,
            Self::Unknown(_) => "an error that no source names",
        }
    }

    /// What kind of error it is.
    #[must_use]
    pub const fn class(self) -> ErrorClass {
        match self {
            Self::Known(cause) => cause.class,
            Self::Unknown(_) => ErrorClass::Unspecified,
        }
    }

    /// Whether Linux resets the channel and goes on.
    #[must_use]
    pub const fn recoverable(self) -> bool {
        match self {
            Self::Known(cause) => cause.recoverable,
            Self::Unknown(_) => false,
        }
    }
}

/// One bit of CHANERR that a source names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorCause {
    /// The bit's number, 0 being the lowest.
    pub bit: u8,
    /// FreeBSD's short name; Linux's for bit 17, which FreeBSD has as reserved.
    pub name: &'static str,
    /// Linux's name without its prefix; `None` above bit 18.
    pub linux_name: Option<&'static str>,
    /// What went wrong, in one line, lower case.
    pub meaning: &'static str,
    /// What kind of error it is.
    pub class: ErrorClass,
    /// Whether Linux resets the channel and goes on. After any other it gives up, except for class
    /// [`ErrorClass::Check`] on bits 16 and 17, which it takes as results.
    pub recoverable: bool,
}

/// The kinds of error, by whom they concern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// The source address was refused.
    SourceAddress,
    /// The destination address was refused.
    DestinationAddress,
    /// Reading data failed.
    Read,
    /// Writing data failed.
    Write,
    /// The channel refused a descriptor, the chain or a count.
    Descriptor,
    /// The channel refused a command, the completion address or the interrupt's configuration.
    Setup,
    /// Data was corrupt inside the chipset or the engine.
    Integrity,
    /// A check of data that was asked for found a difference.
    Check,
    /// None of these.
    Unspecified,
}

#[cfg(test)]
mod tests;
