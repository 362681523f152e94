//! CHANERR: what its bits mean to whoever waits for a transfer.

use std::fmt;

use dmaring_engine::{Status, StatusKind};
use dmaring_ioat_spec::chanerr::{ChannelError, ErrorClass};

/// The kind of failure that CHANERR tells of.
///
/// Of several, one that tells of bad data outweighs the others: on the strength of the kind the CPU may be sent to where the
/// device failed. Failed checks, which no transfer asks for, have no kind of their own: they are
/// [`StatusKind::Unspecified`], and the bits tell more. A channel that halts without any error was reset by somebody else: that
/// clears them.
#[must_use]
pub fn status_kind(errors: ChannelError) -> StatusKind {
    if errors.is_absent() {
        return StatusKind::Gone;
    }
    if errors.is_empty() {
        return StatusKind::Reset;
    }
    let bad_data = [ErrorClass::Integrity, ErrorClass::Read];
    let told = |class: &ErrorClass| errors.causes().any(|cause| cause.class() == *class);
    match bad_data.into_iter().find(told).unwrap_or(errors.class()) {
        ErrorClass::SourceAddress => StatusKind::SourceAddress,
        ErrorClass::DestinationAddress => StatusKind::DestinationAddress,
        ErrorClass::Read => StatusKind::Read,
        ErrorClass::Write => StatusKind::Write,
        // The completion address and the commands are the driver's own, as descriptors are.
        ErrorClass::Descriptor | ErrorClass::Setup => StatusKind::Descriptor,
        ErrorClass::Integrity => StatusKind::Integrity,
        ErrorClass::Check | ErrorClass::Unspecified => StatusKind::Unspecified,
    }
}

pub(super) fn status_of(errors: ChannelError) -> Status {
    Status { kind: status_kind(errors), bits: errors.bits() }
}

/// CHANERR in words: every bit that is set, from the lowest up, then the value.
///
/// ```
/// use dmaring_driver::ioat::Causes;
/// use dmaring_ioat_spec::chanerr::ChannelError;
///
/// let causes = Causes(ChannelError::READ_DATA | ChannelError::LENGTH);
/// assert_eq!(
///     causes.to_string(),
///     "reading data failed (RDERR, bit 8), descriptor's length refused (DXSERR, bit 11); CHANERR 0x00000900"
/// );
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Causes(
    /// The value of CHANERR.
    pub ChannelError,
);

impl fmt::Display for Causes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("no error is set; CHANERR 0");
        }
        if self.0.is_absent() {
            return f.write_str("the device is gone; CHANERR 0xffffffff");
        }
        for (index, cause) in self.0.causes().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{} ({}, bit {})", cause.meaning(), cause.name(), cause.bit())?;
        }
        write!(f, "; CHANERR {:#010x}", self.0.bits())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Typed from the facts: bit, kind.
    const KINDS: &[(u32, StatusKind)] = &[
        (0, StatusKind::SourceAddress),
        (1, StatusKind::DestinationAddress),
        (2, StatusKind::Descriptor),
        (3, StatusKind::Descriptor),
        (4, StatusKind::Descriptor),
        (5, StatusKind::Descriptor),
        (6, StatusKind::Integrity),
        (7, StatusKind::Integrity),
        (8, StatusKind::Read),
        (9, StatusKind::Write),
        (10, StatusKind::Descriptor),
        (11, StatusKind::Descriptor),
        (12, StatusKind::Descriptor),
        (13, StatusKind::Descriptor),
        (14, StatusKind::Unspecified),
        (15, StatusKind::Unspecified),
        (16, StatusKind::Unspecified),
        (17, StatusKind::Unspecified),
        (18, StatusKind::Descriptor),
        (31, StatusKind::Unspecified),
    ];

    #[test]
    fn each_bit_has_its_kind() {
        for &(bit, kind) in KINDS {
            assert_eq!(status_kind(ChannelError::from_bits_retain(1 << bit)), kind, "bit {bit}");
        }
        assert_eq!(status_kind(ChannelError::empty()), StatusKind::Reset);
        assert_eq!(status_kind(ChannelError::all()), StatusKind::Gone);
    }

    #[test]
    fn bad_data_outweighs_whatever_else_is_told() {
        let kind = |bits| status_kind(ChannelError::from_bits_retain(bits));
        assert_eq!(kind(0x0101), StatusKind::Read);
        assert_eq!(kind(0x0c04 | 0x0100), StatusKind::Read);
        assert_eq!(kind(0x0101 | 0x80), StatusKind::Integrity);
        assert_eq!(kind(0x8000_0201), StatusKind::SourceAddress);
    }

    #[test]
    fn every_bit_is_named_and_no_value_panics() {
        for bit in 0..32 {
            let text = Causes(ChannelError::from_bits_retain(1 << bit)).to_string();
            assert!(text.contains(&format!("bit {bit})")), "{text}");
        }
        let unknown = Causes(ChannelError::from_bits_retain(1 << 31)).to_string();
        assert!(unknown.starts_with("an error that no source names (UNKNOWN, bit 31)"));
        assert!(Causes(ChannelError::empty()).to_string().contains("no error"));
        assert!(Causes(ChannelError::all()).to_string().contains("gone"));
    }
}
