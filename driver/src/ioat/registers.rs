//! The registers of one channel, each with the accesses that it allows.
//!
//! A register that is only read has only a `read_x` here, and one that is only written only a `write_x`.
//! CHANCTRL, whose read claims the channel, has a method named after that. Linux writes the two address
//! registers in halves; SPDK and DPDK at once, as here.

use dmaring_ioat_spec::{
    RegisterIo,
    chanerr::ChannelError,
    registers::{
        ChannelCommand, ChannelControl, ChannelCount, ChannelStatus, DmaCapability, Version,
        XferCap, channel_base, table,
    },
};

#[derive(Debug)]
pub(super) struct Registers<R> {
    io: R,
    /// Where the channel's block begins in BAR 0, in bytes.
    base: u32,
}

impl<R: RegisterIo> Registers<R> {
    pub(super) fn new(io: R, channel: u8) -> Self {
        Self { io, base: channel_base(channel) }
    }

    pub(super) fn read_cbver(&self) -> Version {
        Version::from_bits(self.io.read8(table::CBVER.offset))
    }

    pub(super) fn read_chancnt(&self) -> ChannelCount {
        ChannelCount::from_bits(self.io.read8(table::CHANCNT.offset))
    }

    pub(super) fn read_xfercap(&self) -> XferCap {
        XferCap::from_bits(self.io.read8(table::XFERCAP.offset))
    }

    pub(super) fn read_dmacapability(&self) -> DmaCapability {
        DmaCapability::from_bits_retain(self.io.read32(table::DMACAPABILITY.offset))
    }

    /// Reads CHANCTRL: where [`ChannelControl::IN_USE`] is clear in the value, this read has set it, and
    /// the caller owns the channel.
    pub(super) fn claim(&self) -> ChannelControl {
        ChannelControl::from_bits_retain(self.io.read16(self.base + table::CHANCTRL.offset))
    }

    pub(super) fn write_chanctrl(&self, control: ChannelControl) {
        self.io.write16(self.base + table::CHANCTRL.offset, control.bits());
    }

    pub(super) fn read_chancmd(&self) -> ChannelCommand {
        ChannelCommand::from_bits_retain(self.io.read8(self.base + table::CHANCMD.offset))
    }

    pub(super) fn write_chancmd(&self, command: ChannelCommand) {
        self.io.write8(self.base + table::CHANCMD.offset, command.bits());
    }

    /// The doorbell. What it covers must be in memory before: a release fence precedes it.
    #[inline]
    pub(super) fn write_dmacount(&self, count: u16) {
        self.io.write16(self.base + table::DMACOUNT.offset, count);
    }

    pub(super) fn read_chansts(&self) -> ChannelStatus {
        ChannelStatus::from_bits(self.io.read64(self.base + table::CHANSTS.offset))
    }

    pub(super) fn write_chainaddr(&self, address: u64) {
        self.io.write64(self.base + table::CHAINADDR.offset, address);
    }

    pub(super) fn write_chancmp(&self, address: u64) {
        self.io.write64(self.base + table::CHANCMP.offset, address);
    }

    pub(super) fn read_chanerr(&self) -> ChannelError {
        ChannelError::from_bits_retain(self.io.read32(self.base + table::CHANERR.offset))
    }

    /// Clears the errors given.
    pub(super) fn write_chanerr(&self, errors: ChannelError) {
        self.io.write32(self.base + table::CHANERR.offset, errors.bits());
    }
}
