//! What an engine is asked to do.

use crate::Iova;

/// One piece of work for an engine: at most one descriptor's worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// What is written to the destination.
    pub operation: Operation,
    /// The first byte written.
    pub destination: Iova,
    /// How many bytes are written: from 1 to
    /// [`Capabilities::max_transfer`](crate::Capabilities::max_transfer).
    pub length: u64,
}

/// Where a copy to come is likely to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ahead {
    /// The first byte read.
    pub source: Iova,
    /// How many bytes are read from there on: from 1 to [`Capabilities::reads_ahead`](crate::Capabilities::reads_ahead).
    pub length: u64,
}

/// What a transfer writes to its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation {
    /// The bytes that begin at `source`. The source and destination of an operation that was checked do not overlap; where a peer
    /// made one up that does, what is written to the destination is unspecified.
    Copy {
        /// The first byte read.
        source: Iova,
    },
    /// The pattern's eight bytes, little endian, again and again from the destination's first byte,
    /// whatever its alignment; the last repetition is cut where the length is no multiple of eight.
    Fill {
        /// The eight bytes, the lowest first.
        pattern: u64,
    },
    /// As [`Copy`](Operation::Copy), where the source, the destination or both are memory of a device
    /// ([`DeviceMemory`](crate::DeviceMemory)) that the CPU reaches: by aligned accesses of 8 bytes, of 4, 2 and 1 at the
    /// ends, none outside the ranges, and none that is non-temporal or wider.
    ///
    /// For engines that are the [host's CPU](crate::Capabilities::host_memory) alone. Others are given `Copy`.
    DeviceCopy {
        /// The first byte read.
        source: Iova,
    },
    /// As [`Fill`](Operation::Fill), to memory of a device, in the accesses of [`DeviceCopy`](Operation::DeviceCopy).
    DeviceFill {
        /// The eight bytes, the lowest first.
        pattern: u64,
    },
}
