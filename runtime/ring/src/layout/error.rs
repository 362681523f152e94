//! Why memory is not taken for rings.

use core::fmt;

use super::{ABI_VERSION, MAGIC, MAX_ENTRIES, MIN_ENTRIES};

/// Why a layout, or memory that claims to have one, was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LayoutError {
    /// The number of entries is not a power of two within the limits.
    Entries {
        /// How many were asked for, or found in a header.
        entries: u32,
    },
    /// The memory is shorter than its rings.
    TooShort {
        /// How long it is, in bytes.
        length: usize,
        /// How long it has to be, in bytes.
        needed: usize,
    },
    /// The memory does not begin where a header may stand.
    Misaligned {
        /// Where it begins.
        address: usize,
        /// What the address has to be a multiple of, in bytes.
        alignment: usize,
    },
    /// The memory holds no rings, or their creator has not finished.
    Magic {
        /// The first word of the memory.
        found: u64,
    },
    /// The rings are of another version.
    Version {
        /// Theirs.
        found: u32,
    },
    /// A size or offset in the header is not the one that follows from its number of entries.
    Inconsistent {
        /// Which one it is.
        word: &'static str,
        /// What the header says.
        found: u64,
        /// What follows from the number of entries.
        expected: u64,
    },
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entries { entries } => write!(
                f,
                "{entries} ring entries asked for: use a power of two from {MIN_ENTRIES} to {MAX_ENTRIES}"
            ),
            Self::TooShort { length, needed } => write!(
                f,
                "{length} bytes of ring memory, {needed} bytes needed: map the whole of it"
            ),
            Self::Misaligned { address, alignment } => write!(
                f,
                "ring memory at address {address:#x}, which is no multiple of {alignment} bytes: map it at a page boundary"
            ),
            Self::Magic { found } => write!(
                f,
                "ring memory begins with {found:#018x}, not with {MAGIC:#018x}: attach only to rings that were created"
            ),
            Self::Version { found } => write!(
                f,
                "rings of version {found}, version {ABI_VERSION} needed: use the same release on both sides"
            ),
            Self::Inconsistent { word, found, expected } => write!(
                f,
                "ring header says {word} {found}, {expected} expected: the memory is damaged, create it anew"
            ),
        }
    }
}

impl core::error::Error for LayoutError {}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::LayoutError;

    #[test]
    fn each_refusal_names_value_limit_and_remedy() {
        let cases = [
            (
                LayoutError::Entries { entries: 1000 },
                "1000 ring entries asked for: use a power of two from 2 to 32768",
            ),
            (
                LayoutError::TooShort { length: 4096, needed: 8192 },
                "4096 bytes of ring memory, 8192 bytes needed: map the whole of it",
            ),
            (
                LayoutError::Misaligned { address: 0x1008, alignment: 128 },
                "ring memory at address 0x1008, which is no multiple of 128 bytes: map it at a page boundary",
            ),
            (
                LayoutError::Magic { found: 1 },
                "ring memory begins with 0x0000000000000001, not with 0x00676e6972616d64: attach only to rings that were created",
            ),
            (
                LayoutError::Version { found: 2 },
                "rings of version 2, version 1 needed: use the same release on both sides",
            ),
            (
                LayoutError::Inconsistent { word: "size", found: 1, expected: 4096 },
                "ring header says size 1, 4096 expected: the memory is damaged, create it anew",
            ),
        ];
        for (error, message) in cases {
            assert_eq!(error.to_string(), message);
        }
    }
}
