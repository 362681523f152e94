//! Every known register of BAR 0: name, offset, width, access, reset value and source.

use super::{
    Access::{
        self, Command, Doorbell, ReadOnly, ReadWrite, ReadWriteWithReadEffect, WriteOneToClear,
    },
    Place::{Channel, General, PastChannel},
    RegisterSpec,
    Reset::{Fixed, Unsettled, Value},
    Width::{self, Bits8, Bits16, Bits32, Bits64},
};

/// All of them: the general ones, then a channel's, each group by offset.
pub const REGISTERS: &[RegisterSpec] = &[
    CHANCNT,
    XFERCAP,
    GENCTRL,
    INTRCTRL,
    ATTNSTATUS,
    CBVER,
    PERPORTOFFSET,
    INTRDELAY,
    CS_STATUS,
    DMACAPABILITY,
    DCAOFFSET,
    CBPRIO,
    CHWPREFLMT,
    CHANCTRL,
    DMA_COMP,
    CHANCMD,
    DMACOUNT,
    CHANSTS,
    CHAINADDR,
    CHANCMP,
    CDAR,
    CHANERR,
    CHANERRMSK,
    DCACTRL,
    DRSCTL,
    LTR_SWSEL,
    LTR_ACTIVE,
    LTR_IDLE,
];

/// How many channels the function has; [`ChannelCount`](super::ChannelCount).
pub const CHANCNT: RegisterSpec = general("CHANCNT", 0x00, Bits8, ReadOnly)
    .fixed()
    .is("number of channels", "Linux, SPDK, DPDK, FreeBSD");

/// The longest transfer; [`XferCap`](super::XferCap).
pub const XFERCAP: RegisterSpec = general("XFERCAP", 0x01, Bits8, ReadOnly)
    .fixed()
    .is("log2 of the longest transfer in bytes", "Linux, SPDK, DPDK, FreeBSD");

/// General control; [`GenControl`](super::GenControl). No driver touches it.
pub const GENCTRL: RegisterSpec =
    general("GENCTRL", 0x02, Bits8, ReadWrite).is("general control", "Linux");

/// Interrupt control; [`IntrControl`](super::IntrControl).
///
/// Linux's INTx handler writes back what it read, once it has read ATTNSTATUS.
pub const INTRCTRL: RegisterSpec = general("INTRCTRL", 0x03, Bits8, ReadWrite)
    .is("interrupt enable, status and mode", "Linux, SPDK, DPDK, FreeBSD");

/// Which channels want attention: bit n for channel n.
///
/// Linux reads it in its INTx handler and never writes it. Whether the read clears it is unsettled.
pub const ATTNSTATUS: RegisterSpec =
    general("ATTNSTATUS", 0x04, Bits32, ReadOnly).is("attention, a bit per channel", "Linux");

/// The version of the interface; [`Version`](super::Version).
pub const CBVER: RegisterSpec = general("CBVER", 0x08, Bits8, ReadOnly)
    .fixed()
    .is("version, major in the high nibble", "Linux, SPDK, DPDK, FreeBSD");

/// Where the per-port registers begin. No driver reads it.
pub const PERPORTOFFSET: RegisterSpec = general("PERPORTOFFSET", 0x0a, Bits16, ReadOnly)
    .fixed()
    .is("offset of the per-port registers", "Linux");

/// Interrupt coalescing; [`IntrDelay`](super::IntrDelay).
pub const INTRDELAY: RegisterSpec = general("INTRDELAY", 0x0c, Bits16, ReadWrite)
    .is("interrupt delay and whether coalescing is supported", "Linux, FreeBSD");

/// State of the chipset; [`CsStatus`](super::CsStatus).
pub const CS_STATUS: RegisterSpec = general("CS_STATUS", 0x0e, Bits16, ReadOnly)
    .is("chipset status", "Linux (as DEVICE_STATUS), SPDK, DPDK, FreeBSD");

/// What the function can do; [`DmaCapability`](super::DmaCapability).
pub const DMACAPABILITY: RegisterSpec = general("DMACAPABILITY", 0x10, Bits32, ReadOnly)
    .fixed()
    .is("capabilities", "Linux, SPDK, DPDK, FreeBSD");

/// Where the DCA registers begin.
pub const DCAOFFSET: RegisterSpec =
    general("DCAOFFSET", 0x14, Bits16, ReadOnly).fixed().is("offset of the DCA registers", "Linux");

/// Priority of the function; unused on the part of the datasheet, where it reads 0.
pub const CBPRIO: RegisterSpec =
    general("CBPRIO", 0x40, Bits8, ReadOnly).resets_to(0).is("unused", "datasheet, 14.5.11");

/// How far ahead descriptors are fetched. Version 3.4, with
/// [`DmaCapability::DESCRIPTOR_PREFETCH`](super::DmaCapability::DESCRIPTOR_PREFETCH).
pub const CHWPREFLMT: RegisterSpec = general("CHWPREFLMT", 0x4c, Bits8, ReadWrite)
    .is("descriptor prefetch limit, in descriptors", "Linux");

/// Channel control; [`ChannelControl`](super::ChannelControl).
///
/// A read that gives [`IN_USE`](super::ChannelControl::IN_USE) clear has set it: the reader owns the
/// channel.
pub const CHANCTRL: RegisterSpec = channel("CHANCTRL", 0x00, Bits16, ReadWriteWithReadEffect)
    .resets_to(0)
    .is("control, and the claim on the channel", "Linux, SPDK, DPDK; datasheet, 14.5.12");

/// Which older versions the channel is compatible with: bit 0 version 1, bit 1 version 2.
pub const DMA_COMP: RegisterSpec =
    channel("DMA_COMP", 0x02, Bits16, ReadOnly).fixed().is("compatibility", "Linux");

/// Channel command; [`ChannelCommand`](super::ChannelCommand).
///
/// The reset bit reads 1 until the reset has happened: DPDK and Linux poll it. After a channel reset
/// the channel is halted, DMACOUNT counts from 0 and CHANERR is as it was: DPDK checks the first,
/// Linux relies on the second; the third is unsettled, and safe to assume.
pub const CHANCMD: RegisterSpec = channel("CHANCMD", 0x04, Bits8, Command)
    .resets_to(0)
    .is("suspend, resume, reset", "Linux, SPDK, DPDK, FreeBSD");

/// The doorbell: how many descriptors of the chain are ready since CHAINADDR was written, modulo 65536.
///
/// The count is absolute, not an increment. Writing CHAINADDR starts it at 0 again.
pub const DMACOUNT: RegisterSpec = channel("DMACOUNT", 0x06, Bits16, Doorbell)
    .resets_to(0)
    .is("descriptors ready since CHAINADDR was written, modulo 65536", "Linux, SPDK, DPDK");

/// Last completed descriptor and state; [`ChannelStatus`](super::ChannelStatus).
pub const CHANSTS: RegisterSpec = channel("CHANSTS", 0x08, Bits64, ReadOnly)
    .resets_to(3)
    .is("last completed descriptor and state", "Linux, SPDK, DPDK (halted at start), FreeBSD");

/// The address of the first descriptor. The write arms the channel and starts DMACOUNT at 0.
///
/// A multiple of 64. Linux writes it in halves, the low one first; SPDK and DPDK at once. It must be
/// accepted right after a reset command: DPDK does not wait between the two.
pub const CHAINADDR: RegisterSpec = channel("CHAINADDR", 0x10, Bits64, ReadWrite)
    .is("address of the first descriptor, in bytes", "Linux, SPDK, DPDK, FreeBSD");

/// Where the channel writes an image of CHANSTS on a completion; a multiple of
/// [`CHANCMP_ALIGN`](super::CHANCMP_ALIGN).
///
/// Linux writes it in halves, the low one first; SPDK and DPDK at once.
pub const CHANCMP: RegisterSpec = channel("CHANCMP", 0x18, Bits64, ReadWrite)
    .is("address of the completion word, in bytes", "Linux, SPDK, DPDK, FreeBSD");

/// The address of the descriptor in hand.
pub const CDAR: RegisterSpec =
    channel("CDAR", 0x20, Bits64, ReadOnly).is("address of the current descriptor", "Linux");

/// Why the channel halted; [`ChannelError`](crate::chanerr::ChannelError).
pub const CHANERR: RegisterSpec =
    channel("CHANERR", 0x28, Bits32, WriteOneToClear).is("errors", "Linux, SPDK, DPDK, FreeBSD");

/// Which errors are masked; the bits of [`ChannelError`](crate::chanerr::ChannelError).
pub const CHANERRMSK: RegisterSpec =
    channel("CHANERRMSK", 0x2c, Bits32, ReadWrite).is("error mask", "Linux, SPDK, DPDK");

/// Direct cache access; [`DcaControl`](super::DcaControl).
pub const DCACTRL: RegisterSpec =
    channel("DCACTRL", 0x30, Bits32, ReadWrite).is("direct cache access", "Linux");

/// Size of the descriptor ring; [`RingSizeControl`](super::RingSizeControl). Version 3.4, with
/// [`DmaCapability::DESCRIPTOR_PREFETCH`](super::DmaCapability::DESCRIPTOR_PREFETCH).
pub const DRSCTL: RegisterSpec =
    past("DRSCTL", 0xb6, Bits16).is("size of the descriptor ring", "Linux");

/// Which latency is in force; [`LtrSelect`](super::LtrSelect). Version 3.4.
pub const LTR_SWSEL: RegisterSpec =
    past("LTR_SWSEL", 0xbc, Bits8).is("latency tolerance in force", "Linux");

/// Latency tolerated by an active channel; [`LtrLatency`](super::LtrLatency). Version 3.4.
pub const LTR_ACTIVE: RegisterSpec =
    past("LTR_ACTIVE", 0xc0, Bits32).is("latency tolerance when active", "Linux");

/// Latency tolerated by an idle channel; [`LtrLatency`](super::LtrLatency). Version 3.4.
pub const LTR_IDLE: RegisterSpec =
    past("LTR_IDLE", 0xc4, Bits32).is("latency tolerance when idle", "Linux");

const fn general(name: &'static str, offset: u32, width: Width, access: Access) -> RegisterSpec {
    let reset = Unsettled;
    RegisterSpec { name, place: General, offset, width, access, reset, meaning: "", source: "" }
}

const fn channel(name: &'static str, offset: u32, width: Width, access: Access) -> RegisterSpec {
    RegisterSpec { place: Channel, ..general(name, offset, width, access) }
}

const fn past(name: &'static str, offset: u32, width: Width) -> RegisterSpec {
    RegisterSpec { place: PastChannel, ..general(name, offset, width, ReadWrite) }
}

impl RegisterSpec {
    const fn fixed(self) -> Self {
        Self { reset: Fixed, ..self }
    }

    const fn resets_to(self, value: u64) -> Self {
        Self { reset: Value(value), ..self }
    }

    const fn is(self, meaning: &'static str, source: &'static str) -> Self {
        Self { meaning, source, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::REGISTERS;
    use crate::registers::{CHANNEL_BYTES, Place, Reset};

    /// Name, whether a channel's, offset, bits: typed from the sources, not from the constants.
    const BY_HAND: &[(&str, bool, u32, u32)] = &[
        ("CHANCNT", false, 0x00, 8),
        ("XFERCAP", false, 0x01, 8),
        ("GENCTRL", false, 0x02, 8),
        ("INTRCTRL", false, 0x03, 8),
        ("ATTNSTATUS", false, 0x04, 32),
        ("CBVER", false, 0x08, 8),
        ("PERPORTOFFSET", false, 0x0a, 16),
        ("INTRDELAY", false, 0x0c, 16),
        ("CS_STATUS", false, 0x0e, 16),
        ("DMACAPABILITY", false, 0x10, 32),
        ("DCAOFFSET", false, 0x14, 16),
        ("CBPRIO", false, 0x40, 8),
        ("CHWPREFLMT", false, 0x4c, 8),
        ("CHANCTRL", true, 0x00, 16),
        ("DMA_COMP", true, 0x02, 16),
        ("CHANCMD", true, 0x04, 8),
        ("DMACOUNT", true, 0x06, 16),
        ("CHANSTS", true, 0x08, 64),
        ("CHAINADDR", true, 0x10, 64),
        ("CHANCMP", true, 0x18, 64),
        ("CDAR", true, 0x20, 64),
        ("CHANERR", true, 0x28, 32),
        ("CHANERRMSK", true, 0x2c, 32),
        ("DCACTRL", true, 0x30, 32),
        ("DRSCTL", true, 0xb6, 16),
        ("LTR_SWSEL", true, 0xbc, 8),
        ("LTR_ACTIVE", true, 0xc0, 32),
        ("LTR_IDLE", true, 0xc4, 32),
    ];

    #[test]
    fn the_table_is_the_one_typed_by_hand() {
        assert_eq!(REGISTERS.len(), BY_HAND.len());
        for (register, (name, of_channel, offset, bits)) in REGISTERS.iter().zip(BY_HAND) {
            assert_eq!(register.name, *name);
            assert_eq!(register.place != Place::General, *of_channel, "{name}");
            assert_eq!(register.offset, *offset, "{name}");
            assert_eq!(register.width.bits(), *bits, "{name}");
        }
    }

    #[test]
    fn registers_are_aligned_described_inside_their_block_and_do_not_overlap() {
        for register in REGISTERS {
            let end = register.offset + register.width.bytes();
            assert_eq!(register.offset % register.width.bytes(), 0, "{}", register.name);
            assert_eq!(end > CHANNEL_BYTES, register.place == Place::PastChannel);
            assert!(!register.meaning.is_empty() && !register.source.is_empty());
            if let Reset::Value(value) = register.reset {
                assert!(u128::from(value) < 1 << register.width.bits());
            }
        }
        for pair in REGISTERS.windows(2) {
            let end = pair[0].offset + pair[0].width.bytes();
            assert!(pair[0].place != pair[1].place || end <= pair[1].offset, "{}", pair[1].name);
        }
    }
}
