//! Where the registers are, what an access does, and what the values mean.
//!
//! Registers keep their datasheet names. The constants of [`table`] say where each is in BAR 0;
//! [`REGISTERS`] lists them all and [`at`] finds one by its offset. [`config`] has the registers in
//! PCI configuration space. The types re-exported here are the values, as read from or written to a
//! register: each is made from any word and gives the same word back.

pub mod config;
pub mod table;

mod access;
mod channel;
mod general;

pub use access::{Access, Location, Place, RegisterSpec, Reset, Width, at, channel_base};
pub use channel::{
    ChannelCommand, ChannelControl, ChannelState, ChannelStatus, DcaControl, LtrLatency, LtrSelect,
    RingSizeControl,
};
pub use general::{
    ChannelCount, CsStatus, DmaCapability, GenControl, IntrControl, IntrDelay, Version, XferCap,
};
pub use table::REGISTERS;

/// Bytes of BAR 0: 16 KiB. Source: the datasheet puts the MSI-X pending bits in its last 4 KiB.
pub const BAR_BYTES: u32 = 0x4000;

/// Bytes of a channel's register block; channel n's begins at [`channel_base`]. Source: Linux.
pub const CHANNEL_BYTES: u32 = 0x80;

/// The most channels that CHANCNT can announce: it has five bits. Source: FreeBSD, for the five bits.
pub const MAX_CHANNELS: u8 = 31;

/// Offset of the MSI-X table in BAR 0; one vector per function. Source: datasheet, 14.4.19.
pub const MSIX_TABLE_OFFSET: u32 = 0x2000;

/// Offset of the MSI-X pending bits in BAR 0. Source: datasheet, 14.4.20.
pub const MSIX_PENDING_OFFSET: u32 = 0x3000;

/// What CHANCMP must be a multiple of, in bytes. Source: SPDK, DPDK. Linux gives it a cache line.
pub const CHANCMP_ALIGN: u64 = 8;
