//! The control word: flags in the low bits, the operation in the high byte.

use bitflags::bitflags;

use crate::registers::DmaCapability;

/// A descriptor's control word. Every word is one; unknown bits are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Control(u32);

impl Control {
    /// The word of this operation with these flags.
    ///
    /// Bits 31:24 of the flags are dropped.
    #[must_use]
    pub const fn new(opcode: Opcode, flags: ControlFlags) -> Self {
        Self((opcode.number() as u32) << 24 | flags.bits() & 0x00ff_ffff)
    }

    /// The word as it lies in a descriptor.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The word as it lies in a descriptor.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The operation: bits 31:24.
    #[must_use]
    pub const fn opcode(self) -> Opcode {
        Opcode::from_number((self.0 >> 24) as u8)
    }

    /// Bits 23:0, named as copy has them. Of other operations some mean something else: see
    /// [`source_count`](Self::source_count) and [`Opcode::control_mask`].
    #[must_use]
    pub const fn flags(self) -> ControlFlags {
        ControlFlags::from_bits_retain(self.0 & 0x00ff_ffff)
    }

    /// The bits that are set and that the operation does not define: reserved ones. All of bits 23:0
    /// that are set, for an unknown operation.
    #[must_use]
    pub const fn reserved_bits(self) -> u32 {
        self.0 & 0x00ff_ffff & !self.opcode().control_mask()
    }

    /// The field for the number of sources of an XOR or PQ: bits 7:5, as they stand.
    #[must_use]
    pub const fn source_count(self) -> u8 {
        (self.0 >> 5 & 0x7) as u8
    }

    /// The coefficient of a PQ update: bits 23:16.
    #[must_use]
    pub const fn coefficient(self) -> u8 {
        (self.0 >> 16) as u8
    }
}

bitflags! {
    /// Bits 23:0 of the control word, as a copy has them. Unknown bits are kept.
    ///
    /// Source: Linux, SPDK; FreeBSD agrees.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct ControlFlags: u32 {
        /// Bit 0: raise an interrupt on completion.
        const INTERRUPT = 1 << 0;
        /// Bit 1: reads do not snoop. Not in a fill.
        const SOURCE_SNOOP_DISABLE = 1 << 1;
        /// Bit 2: writes do not snoop.
        const DESTINATION_SNOOP_DISABLE = 1 << 2;
        /// Bit 3: write the completion word on completion.
        const COMPLETION_WRITE = 1 << 3;
        /// Bit 4: the next descriptor waits until this one is done. It holds the *following* ones.
        const FENCE = 1 << 4;
        /// Bit 5: move nothing. Copy only.
        const NULL = 1 << 5;
        /// Bit 6: the source goes on at another page. Copy only.
        const SOURCE_PAGE_BREAK = 1 << 6;
        /// Bit 7: the destination goes on at another page. Copy and fill only.
        const DESTINATION_PAGE_BREAK = 1 << 7;
        /// Bit 8: one of a bundle.
        const BUNDLE = 1 << 8;
        /// Bit 9: writes go to a cache. Not in a fill.
        const DESTINATION_DCA = 1 << 9;
        /// Bit 10: hint. Not in a fill.
        const HINT = 1 << 10;
        /// Bit 11: no P. PQ only.
        const P_DISABLE = 1 << 11;
        /// Bit 12: no Q. PQ only.
        const Q_DISABLE = 1 << 12;
        /// Bit 15: errors are written back to the descriptor. PQ and page comparison only, with
        /// [`DmaCapability::DWBES`]. Source: Linux.
        const WRITE_BACK_ENABLE = 1 << 15;
        /// Bit 16: `prl_en` in Linux, which does not say more. PQ only.
        const PRL_ENABLE = 1 << 16;
        const _ = !0;
    }
}

/// What a descriptor does: bits 31:24 of the control word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Opcode {
    /// 0x00: copy from source to destination. Source: Linux, SPDK, DPDK, FreeBSD.
    Copy,
    /// 0x01: fill the destination with a pattern. Source: Linux, SPDK, DPDK, FreeBSD.
    Fill,
    /// 0x86: compare pages. Source: Linux.
    PageCompare,
    /// 0x87: XOR. Source: Linux, SPDK.
    Xor,
    /// 0x88: check an XOR. Source: Linux, SPDK.
    XorCheck,
    /// 0x89: P and Q. Source: Linux, SPDK.
    Pq,
    /// 0x8a: check P and Q. Source: Linux, SPDK.
    PqCheck,
    /// 0x8b: update P and Q. Source: Linux, SPDK.
    PqUpdate,
    /// 0xa0: P and Q of up to 16 sources. Source: Linux.
    Pq16,
    /// 0xa1: check P and Q of up to 16 sources. Source: Linux.
    PqCheck16,
    /// Any other: no source has it, or not as an operation of this interface.
    Unknown(u8),
}

impl Opcode {
    /// The operation with this number.
    #[must_use]
    pub const fn from_number(number: u8) -> Self {
        match number {
            0x00 => Self::Copy,
            0x01 => Self::Fill,
            0x86 => Self::PageCompare,
            0x87 => Self::Xor,
            0x88 => Self::XorCheck,
            0x89 => Self::Pq,
            0x8a => Self::PqCheck,
            0x8b => Self::PqUpdate,
            0xa0 => Self::Pq16,
            0xa1 => Self::PqCheck16,
            unknown => Self::Unknown(unknown),
        }
    }

    /// The operation's number.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Copy => 0x00,
            Self::Fill => 0x01,
            Self::PageCompare => 0x86,
            Self::Xor => 0x87,
            Self::XorCheck => 0x88,
            Self::Pq => 0x89,
            Self::PqCheck => 0x8a,
            Self::PqUpdate => 0x8b,
            Self::Pq16 => 0xa0,
            Self::PqCheck16 => 0xa1,
            Self::Unknown(number) => number,
        }
    }

    /// What DMACAPABILITY must have for the operation; `None` where no source says.
    #[must_use]
    pub const fn needs(self) -> Option<DmaCapability> {
        match self {
            Self::Copy => Some(DmaCapability::empty()),
            Self::Fill => Some(DmaCapability::FILL_BLOCK),
            Self::Xor | Self::XorCheck => Some(DmaCapability::XOR),
            Self::Pq | Self::PqCheck | Self::PqUpdate => Some(DmaCapability::PQ),
            Self::Pq16 | Self::PqCheck16 => Some(DmaCapability::PQ.union(DmaCapability::RAID16SS)),
            Self::PageCompare | Self::Unknown(_) => None,
        }
    }

    /// Which of the control word's bits 23:0 the operation defines; none for an unknown one.
    ///
    /// Source: Linux and SPDK, whose layouts name the others reserved.
    #[must_use]
    pub const fn control_mask(self) -> u32 {
        match self {
            Self::Copy | Self::Xor | Self::XorCheck => 0x00_07ff,
            Self::Fill => 0x00_019d,
            Self::PageCompare => 0x00_801b,
            Self::Pq | Self::PqCheck | Self::Pq16 | Self::PqCheck16 => 0x01_9fff,
            Self::PqUpdate => 0xff_1fff,
            Self::Unknown(_) => 0,
        }
    }
}
