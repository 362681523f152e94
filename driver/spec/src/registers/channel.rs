//! Values of the registers that each channel has.

use bitflags::bitflags;

/// CHANSTS, and the word that the channel writes at CHANCMP, which is an image of it: the last
/// completed descriptor and the state.
///
/// With [`ChannelControl::ERROR_COMPLETION`], an error writes the last descriptor that succeeded and
/// [`ChannelState::Halted`]; address 0 when none has since CHAINADDR was written. Whether a word
/// written after a success says active or idle is settled by no source: take the address of it only.
/// Source: Linux, SPDK, DPDK, FreeBSD.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct ChannelStatus(u64);

impl ChannelStatus {
    /// Bits 63:6: the address of the last completed descriptor.
    pub const COMPLETED_MASK: u64 = !0x3f;
    /// Bits 2:0: the state.
    pub const STATE_MASK: u64 = 0x7;
    /// Bit 3: an error that belongs to no descriptor.
    pub const UNAFFILIATED_ERROR: u64 = 0x8;
    /// Bit 4: a soft error.
    pub const SOFT_ERROR: u64 = 0x10;

    /// The value as read.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The value of a channel that completed this descriptor last and is in this state.
    ///
    /// Bits 5:0 of the address are dropped.
    #[must_use]
    pub const fn new(completed: u64, state: ChannelState) -> Self {
        Self(completed & Self::COMPLETED_MASK | state.number() as u64)
    }

    /// The value as read, reserved bits included.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The address of the last completed descriptor in bytes; 0 when there is none.
    #[must_use]
    pub const fn completed(self) -> u64 {
        self.0 & Self::COMPLETED_MASK
    }

    /// What the channel is doing.
    #[must_use]
    pub const fn state(self) -> ChannelState {
        ChannelState::from_number((self.0 & Self::STATE_MASK) as u8)
    }

    /// Whether an error stands that belongs to no descriptor.
    #[must_use]
    pub const fn has_unaffiliated_error(self) -> bool {
        self.0 & Self::UNAFFILIATED_ERROR != 0
    }

    /// Whether a soft error stands.
    #[must_use]
    pub const fn has_soft_error(self) -> bool {
        self.0 & Self::SOFT_ERROR != 0
    }

    /// Whether this is all ones, as a read of a device gives that is no longer there.
    #[must_use]
    pub const fn is_absent(self) -> bool {
        self.0 == u64::MAX
    }
}

/// What a channel is doing: bits 2:0 of CHANSTS. Source: Linux, SPDK (armed), FreeBSD.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChannelState {
    /// 0: it has descriptors in hand.
    Active,
    /// 1: it has done all that DMACOUNT covers. Linux says done.
    Idle,
    /// 2: suspended by a command.
    Suspended,
    /// 3: stopped by an error or a reset, until CHAINADDR is written.
    Halted,
    /// 4: CHAINADDR is written and DMACOUNT not yet.
    Armed,
    /// 5 to 7: no source says.
    Unknown(u8),
}

impl ChannelState {
    /// The state with this number, of which bits 2:0 count.
    #[must_use]
    pub const fn from_number(number: u8) -> Self {
        match number & 0x7 {
            0 => Self::Active,
            1 => Self::Idle,
            2 => Self::Suspended,
            3 => Self::Halted,
            4 => Self::Armed,
            unknown => Self::Unknown(unknown),
        }
    }

    /// The state's number, 0 to 7.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Active => 0,
            Self::Idle => 1,
            Self::Suspended => 2,
            Self::Halted => 3,
            Self::Armed => 4,
            Self::Unknown(number) => number & 0x7,
        }
    }
}

bitflags! {
    /// CHANCTRL: what the channel does on an error, and who owns it. Unknown bits are kept.
    ///
    /// DPDK writes 0x0c, Linux 0x1d, SPDK 0x08. Source: Linux, SPDK, DPDK, FreeBSD.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct ChannelControl: u16 {
        /// Bit 0: the next interrupt is let through. Interrupts are one-shot: after one, none comes
        /// until this is written again.
        const INTERRUPT_REARM = 0x0001;
        /// Bit 2: an error writes the completion word. Without it a halt shows in CHANSTS alone.
        const ERROR_COMPLETION = 0x0004;
        /// Bit 3: any error stops the channel.
        const ANY_ERROR_ABORT = 0x0008;
        /// Bit 4: an error raises an interrupt.
        const ERROR_INTERRUPT = 0x0010;
        /// Bit 5: descriptors are not snooped.
        const DESCRIPTOR_SNOOP_CONTROL = 0x0020;
        /// Bit 8: the channel is in use. A read that finds it clear sets it; writing 0 frees the
        /// channel. Source: datasheet, 14.5.12.
        const IN_USE = 0x0100;
        /// Bit 9: completion writes go to the target CPU's cache; see [`DcaControl`].
        const COMPLETION_DCA = 0x0200;
        const _ = !0;
    }

    /// CHANCMD: what the channel is told to do. Unknown bits are kept. Source: Linux.
    ///
    /// Drivers of version 3 use [`SUSPEND`](Self::SUSPEND) and [`RESET`](Self::RESET) alone; whether
    /// the others do anything from 3.0 on is settled by no source.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct ChannelCommand: u8 {
        /// Bit 0: start.
        const START = 0x01;
        /// Bit 1: append.
        const APPEND = 0x02;
        /// Bit 2: suspend.
        const SUSPEND = 0x04;
        /// Bit 3: abort.
        const ABORT = 0x08;
        /// Bit 4: resume.
        const RESUME = 0x10;
        /// Bit 5: reset the channel; reads 1 until it is done.
        const RESET = 0x20;
        const _ = !0;
    }

    /// DRSCTL: the descriptor ring's size. Unknown bits are kept. Version 3.4. Source: Linux.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct RingSizeControl: u16 {
        /// Bit 8: the size holds.
        const ENABLE = 0x0100;
        /// Bit 9: the ring is one contiguous chunk, so fetching wraps at its end.
        const AUTO_WRAP = 0x0200;
        const _ = !0;
    }

    /// LTR_ACTIVE and LTR_IDLE: a latency tolerated. Unknown bits are kept. Version 3.4. Source:
    /// Linux, which writes 0x8801 to both: one microsecond.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct LtrLatency: u32 {
        /// Bit 0: the lowest bit of the latency.
        const SNOOP_VALUE_1 = 0x0001;
        /// Bit 11: the latency is in units of one microsecond.
        const SNOOP_SCALE_MICROSECOND = 0x0800;
        /// Bit 15: the latency holds for snooped accesses.
        const SNOOP_REQUIREMENT = 0x8000;
        const _ = !0;
    }
}

impl ChannelControl {
    /// Bits 15:12: the channel's priority. Source: Linux, SPDK, DPDK, FreeBSD. Reserved on the
    /// datasheet's part.
    pub const PRIORITY_MASK: u16 = 0xf000;

    /// The channel's priority, 0 to 15.
    #[must_use]
    pub const fn priority(self) -> u16 {
        (self.bits() & Self::PRIORITY_MASK) >> 12
    }
}

impl RingSizeControl {
    /// Bits 3:0 for a ring of 4 KiB; each step doubles it. Whether the field is wider is unsettled.
    pub const SIZE_4_KIB: u16 = 0x0;
    /// Bits 3:0 for a ring of 2 MiB, as Linux writes it.
    pub const SIZE_2_MIB: u16 = 0x9;
}

/// LTR_SWSEL: which latency is in force. Version 3.4. Source: Linux.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LtrSelect {
    /// 0: LTR_ACTIVE. Linux writes it before it starts a channel.
    Active,
    /// 1: LTR_IDLE. Linux writes it after it has stopped one.
    Idle,
    /// Any other value: no source says.
    Unknown(u8),
}

impl LtrSelect {
    /// The selection with this value.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        match bits {
            0 => Self::Active,
            1 => Self::Idle,
            unknown => Self::Unknown(unknown),
        }
    }

    /// The selection's value.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::Active => 0,
            Self::Idle => 1,
            Self::Unknown(bits) => bits,
        }
    }
}

/// DCACTRL: to whose cache completion writes go. Source: Linux.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct DcaControl(u32);

impl DcaControl {
    /// Bit 16: completion writes are directed.
    pub const COMPLETION_WRITE_ENABLE: u32 = 0x1_0000;

    /// The value as read or written.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The value as read or written.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The target's APIC id: bits 15:0.
    #[must_use]
    pub const fn target(self) -> u16 {
        (self.0 & 0xffff) as u16
    }

    /// Whether completion writes are directed.
    #[must_use]
    pub const fn is_enabled(self) -> bool {
        self.0 & Self::COMPLETION_WRITE_ENABLE != 0
    }
}

#[cfg(test)]
mod tests;
