//! What an engine reports.

use core::fmt;

/// Names one transfer from `enqueue` to its completion. The engine carries it and reads nothing into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Token(u64);

impl Token {
    /// The token with this value.
    #[must_use]
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// The value the token was made from.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// The end of one transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The token that [`Engine::enqueue`](crate::Engine::enqueue) was given.
    pub token: Token,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a transfer. Whichever it is, the engine no longer touches the transfer's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every byte is written and visible to every CPU that sees this completion.
    Done,
    /// The transfer failed. Its destination range holds anything.
    Failed(Status),
    /// The engine stopped before it began this transfer, because an earlier one failed. Nothing was
    /// written; the transfer can be enqueued again once [`Engine::recover`](crate::Engine::recover) is
    /// ready.
    NotRun,
}

/// Why a transfer or an engine failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// What kind of failure it is.
    pub kind: StatusKind,
    /// The engine's own error bits: CHANERR on an I/OAT channel, 0 where an engine has none.
    pub bits: u32,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (error bits {:#x})", self.kind, self.bits)
    }
}

/// The kinds of failure that a user can act on; [`Status::bits`] has the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[non_exhaustive]
pub enum StatusKind {
    /// None of the others.
    Unspecified = 0,
    /// The source address was refused by the device or its IOMMU.
    SourceAddress = 1,
    /// The destination address was refused by the device or its IOMMU.
    DestinationAddress = 2,
    /// Reading the source failed: poisoned or absent memory.
    Read = 3,
    /// Writing the destination failed.
    Write = 4,
    /// The engine refused its own descriptor or ring: a bug of the driver, or a broken device.
    Descriptor = 5,
    /// The engine made no progress.
    Hang = 6,
    /// The device is gone: unplugged, or without power.
    Gone = 7,
    /// The host asks for the device back: it works, and its user is to let go of it.
    Requested = 8,
    /// What was read is not what was stored there, or nobody knows: a check of the data on its way failed.
    Integrity = 9,
    /// The device stands still and tells of no error: somebody else has reset it.
    Reset = 10,
}

impl StatusKind {
    /// The kind with this number; [`StatusKind::Unspecified`] for a number that is none.
    #[must_use]
    pub const fn from_number(number: u8) -> Self {
        match number {
            1 => Self::SourceAddress,
            2 => Self::DestinationAddress,
            3 => Self::Read,
            4 => Self::Write,
            5 => Self::Descriptor,
            6 => Self::Hang,
            7 => Self::Gone,
            8 => Self::Requested,
            9 => Self::Integrity,
            10 => Self::Reset,
            _ => Self::Unspecified,
        }
    }
}

impl fmt::Display for StatusKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unspecified => "unspecified device error",
            Self::SourceAddress => "source address refused",
            Self::DestinationAddress => "destination address refused",
            Self::Read => "reading the source failed",
            Self::Write => "writing the destination failed",
            Self::Descriptor => "descriptor refused",
            Self::Hang => "no progress",
            Self::Gone => "device gone",
            Self::Requested => "the host asks for the device back",
            Self::Integrity => "the data's integrity was lost",
            Self::Reset => "reset by somebody else",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::StatusKind;

    #[test]
    fn a_kind_survives_its_number_and_an_unknown_number_is_unspecified() {
        for number in 0..=u8::MAX {
            let kind = StatusKind::from_number(number);
            let expected = if number <= 10 { number } else { 0 };
            assert_eq!(kind as u8, expected);
        }
    }
}
