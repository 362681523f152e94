//! Values of the registers that a function has once.

use core::fmt;

use bitflags::bitflags;

/// CHANCNT: how many channels the function has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct ChannelCount(u8);

impl ChannelCount {
    /// The value as read.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// The value as read, reserved bits included.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// How many channels: bits 4:0. 1 in practice. Source: Linux, FreeBSD.
    #[must_use]
    pub const fn channels(self) -> u8 {
        self.0 & 0x1f
    }
}

/// XFERCAP: the longest transfer of one descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct XferCap(u8);

impl XferCap {
    /// The value as read.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// The value as read, reserved bits included.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// The longest transfer in bytes: two to the power of bits 4:0.
    ///
    /// `None` for 0, on which the sources differ: no channel in Linux's probe, 32 GiB by Linux's name
    /// for the value, 4 GiB in SPDK. Datasheets promise 1 MiB (20).
    #[must_use]
    pub const fn max_bytes(self) -> Option<u64> {
        match self.0 & 0x1f {
            0 => None,
            log2 => Some(1 << log2),
        }
    }
}

/// CBVER: the version of the interface. Ordered as versions are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Version(u8);

impl Version {
    /// Version 3.0: a null descriptor needs a size other than 0.
    pub const V3_0: Self = Self(0x30);
    /// Version 3.2.
    pub const V3_2: Self = Self(0x32);
    /// Version 3.3: Linux and SPDK leave `CHANERR_INT` alone from here on.
    pub const V3_3: Self = Self(0x33);
    /// Version 3.4: descriptor prefetch and latency registers.
    pub const V3_4: Self = Self(0x34);

    /// The value as read.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// The value as read.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// The major version: bits 7:4.
    #[must_use]
    pub const fn major(self) -> u8 {
        self.0 >> 4
    }

    /// The minor version: bits 3:0.
    #[must_use]
    pub const fn minor(self) -> u8 {
        self.0 & 0xf
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major(), self.minor())
    }
}

/// INTRDELAY: interrupt coalescing. Source: Linux.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct IntrDelay(u16);

impl IntrDelay {
    /// The value as read or written.
    #[must_use]
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// The value as read or written.
    #[must_use]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// How long interrupts are held together: bits 13:0. No source settles the unit.
    #[must_use]
    pub const fn delay(self) -> u16 {
        self.0 & 0x3fff
    }

    /// Whether interrupts can be held together: bit 15.
    #[must_use]
    pub const fn coalescing_supported(self) -> bool {
        self.0 & 0x8000 != 0
    }
}

bitflags! {
    /// GENCTRL: general control. Unknown bits are kept. Source: Linux.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct GenControl: u8 {
        /// Bit 0: debugging.
        const DEBUG_ENABLE = 0x01;
        const _ = !0;
    }

    /// INTRCTRL: interrupt control. Unknown bits are kept. Source: Linux.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct IntrControl: u8 {
        /// Bit 0: interrupts are enabled.
        const MASTER_ENABLE = 0x01;
        /// Bit 1, read only: a channel wants attention.
        const STATUS = 0x02;
        /// Bit 2, read only: both of the above, so an interrupt is asserted.
        const INTERRUPT = 0x04;
        /// Bit 3: every channel has an MSI-X vector.
        const MSIX_VECTOR_CONTROL = 0x08;
        const _ = !0;
    }

    /// CS_STATUS: state of the chipset. Unknown bits are kept. Source: Linux.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct CsStatus: u16 {
        /// Bit 0: the device is in degraded mode.
        const DEGRADED_MODE = 0x0001;
        /// Bit 1: MMIO is restricted.
        const MMIO_RESTRICTED = 0x0002;
        /// Bit 2: memory bypass.
        const MEMORY_BYPASS = 0x0004;
        /// Bit 3: address remapping.
        const ADDRESS_REMAPPING = 0x0008;
        const _ = !0;
    }

    /// DMACAPABILITY: what the function can do besides copying. Unknown bits are kept.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct DmaCapability: u32 {
        /// Bit 0: page breaks. Source: Linux, SPDK, FreeBSD.
        const PAGE_BREAK = 1 << 0;
        /// Bit 1: CRC. Source: Linux.
        const CRC = 1 << 1;
        /// Bit 2: skip marker. Source: Linux.
        const SKIP_MARKER = 1 << 2;
        /// Bit 4: direct cache access. Source: Linux, SPDK, FreeBSD.
        const DCA = 1 << 4;
        /// Bit 5: move and CRC. Source: Linux.
        const CRC_MOVE = 1 << 5;
        /// Bit 6: block fill. Source: Linux, SPDK, FreeBSD. Whether a part has it is read here: no
        /// source settles it for Skylake-SP and Ice Lake-SP.
        const FILL_BLOCK = 1 << 6;
        /// Bit 7: APIC ids. Source: Linux.
        const APIC = 1 << 7;
        /// Bit 8: XOR. Source: Linux, SPDK, FreeBSD.
        const XOR = 1 << 8;
        /// Bit 9: P and Q syndromes. Source: Linux, SPDK, FreeBSD.
        const PQ = 1 << 9;
        /// Bit 10: data integrity field. Source: SPDK, FreeBSD.
        const DIF = 1 << 10;
        /// Bit 13: errors are written back to descriptors. Source: Linux, FreeBSD.
        const DWBES = 1 << 13;
        /// Bit 17: super descriptors of 16 sources. Source: Linux, FreeBSD.
        const RAID16SS = 1 << 17;
        /// Bit 18: multicast. Source: FreeBSD.
        const MULTICAST = 1 << 18;
        /// Bit 19: completion timeouts. Source: FreeBSD.
        const COMPLETION_TIMEOUT = 1 << 19;
        /// Bit 23: descriptor prefetch. Version 3.4. Source: Linux.
        const DESCRIPTOR_PREFETCH = 1 << 23;
        const _ = !0;
    }
}

#[cfg(test)]
mod tests {
    use super::{ChannelCount, CsStatus, DmaCapability, GenControl, IntrControl};
    use super::{IntrDelay, Version, XferCap};

    #[test]
    fn each_bit_is_the_sources() {
        let capabilities = [
            (0, DmaCapability::PAGE_BREAK),
            (1, DmaCapability::CRC),
            (2, DmaCapability::SKIP_MARKER),
            (4, DmaCapability::DCA),
            (5, DmaCapability::CRC_MOVE),
            (6, DmaCapability::FILL_BLOCK),
            (7, DmaCapability::APIC),
            (8, DmaCapability::XOR),
            (9, DmaCapability::PQ),
            (10, DmaCapability::DIF),
            (13, DmaCapability::DWBES),
            (17, DmaCapability::RAID16SS),
            (18, DmaCapability::MULTICAST),
            (19, DmaCapability::COMPLETION_TIMEOUT),
            (23, DmaCapability::DESCRIPTOR_PREFETCH),
        ];
        for (bit, flag) in capabilities {
            assert_eq!(DmaCapability::from_bits_retain(1 << bit), flag);
        }
        assert_eq!(DmaCapability::all().iter_names().count(), capabilities.len());

        assert_eq!(GenControl::DEBUG_ENABLE.bits(), 1);
        assert_eq!(IntrControl::MASTER_ENABLE.bits(), 1);
        assert_eq!(IntrControl::STATUS.bits(), 2);
        assert_eq!(IntrControl::INTERRUPT.bits(), 4);
        assert_eq!(IntrControl::MSIX_VECTOR_CONTROL.bits(), 8);
        assert_eq!(CsStatus::DEGRADED_MODE.bits(), 1);
        assert_eq!(CsStatus::MMIO_RESTRICTED.bits(), 2);
        assert_eq!(CsStatus::MEMORY_BYPASS.bits(), 4);
        assert_eq!(CsStatus::ADDRESS_REMAPPING.bits(), 8);
    }

    #[test]
    fn every_byte_has_a_transfer_capability() {
        for bits in 0..=u8::MAX {
            let log2 = u32::from(bits % 32);
            let expected = if log2 == 0 { None } else { Some(2u64.pow(log2)) };
            assert_eq!(XferCap::from_bits(bits).max_bytes(), expected);
            assert_eq!(ChannelCount::from_bits(bits).channels(), bits % 32);
        }
        assert_eq!(XferCap::from_bits(20).max_bytes(), Some(0x10_0000));
        assert_eq!(XferCap::from_bits(12).max_bytes(), Some(4096));
    }

    #[test]
    fn versions_are_read_in_nibbles_and_ordered() {
        let version = Version::from_bits(0x34);
        assert_eq!((version, version.major(), version.minor()), (Version::V3_4, 3, 4));
        assert!(Version::V3_0 < Version::V3_2 && Version::V3_2 < Version::V3_3);
        assert!(
            Version::from_bits(0x20) < Version::V3_0 && Version::V3_4 < Version::from_bits(0x40)
        );
    }

    #[test]
    fn interrupt_delay_is_fourteen_bits_and_a_flag() {
        let delay = IntrDelay::from_bits(0xbfff);
        assert_eq!((delay.delay(), delay.coalescing_supported()), (0x3fff, true));
        let delay = IntrDelay::from_bits(0x4001);
        assert_eq!((delay.delay(), delay.coalescing_supported()), (1, false));
    }
}
