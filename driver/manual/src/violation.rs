//! What breaks the rules of the seam.

use dmaring_engine::{Iova, Transfer};

/// A rule of the seam that was broken. The memory concerned was not touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Violation {
    /// A transfer's source does not lie within one live mapping.
    UnmappedSource {
        /// The transfer.
        transfer: Transfer,
    },
    /// What was said to be ahead does not lie within one live mapping.
    UnmappedAhead {
        /// Its first byte.
        source: Iova,
        /// How many bytes it was told of.
        length: u64,
    },
    /// What was said to be ahead has no byte, or more than the engine reads ahead.
    LengthAhead {
        /// How many bytes it was told of.
        length: u64,
    },
    /// A transfer's destination does not lie within one live mapping that may be written.
    UnmappedDestination {
        /// The transfer.
        transfer: Transfer,
    },
    /// Source and destination of a copy overlap.
    Overlap {
        /// The transfer.
        transfer: Transfer,
    },
    /// A mapping was taken back under a transfer that was enqueued and had not ended.
    UnmapInUse {
        /// The transfer.
        transfer: Transfer,
    },
    /// `unmap` was called for what is not mapped.
    UnmapUnknown {
        /// The address given.
        iova: Iova,
        /// The length given, in bytes.
        length: usize,
    },
}
