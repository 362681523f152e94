//! The table of causes.

use super::{
    ErrorCause,
    ErrorClass::{
        self, Check, Descriptor, DestinationAddress, Integrity, Read, Setup, SourceAddress,
        Unspecified, Write,
    },
};

/// Every bit that a source names, from the lowest up: bits 0 to 27, without a gap.
///
/// Source: Linux for bits 0 to 18, FreeBSD for all but 17. DPDK reports bit 10 as an error of
/// length. FreeBSD gives names alone: what is said of the bits above 18 is read off those.
pub const CAUSES: &[ErrorCause] = &[
    cause(0, "XSADDERR", SourceAddress, "source address refused").linux("SRC_ADDR_ERR"),
    cause(1, "XDADDERR", DestinationAddress, "destination address refused").linux("DEST_ADDR_ERR"),
    cause(2, "NDADDERR", Descriptor, "next descriptor's address refused").linux("NEXT_ADDR_ERR"),
    cause(3, "DERR", Descriptor, "next descriptor misaligned").linux("NEXT_DESC_ALIGN_ERR"),
    cause(4, "CHADDERR", Descriptor, "chain address refused").linux("CHAIN_ADDR_VALUE_ERR"),
    cause(5, "CCMDERR", Setup, "channel command refused").linux("CHANCMD_ERR"),
    cause(6, "CUNCORERR", Integrity, "uncorrectable data error in the chipset")
        .linux("CHIPSET_UNCORRECTABLE_DATA_INTEGRITY_ERR"),
    cause(7, "DUNCORERR", Integrity, "uncorrectable data error in the engine")
        .linux("DMA_UNCORRECTABLE_DATA_INTEGRITY_ERR"),
    cause(8, "RDERR", Read, "reading data failed").linux("READ_DATA_ERR").recovered(),
    cause(9, "WDERR", Write, "writing data failed").linux("WRITE_DATA_ERR").recovered(),
    cause(10, "DCERR", Descriptor, "descriptor's control word refused").linux("CONTROL_ERR"),
    cause(11, "DXSERR", Descriptor, "descriptor's length refused").linux("LENGTH_ERR"),
    cause(12, "CMPADDERR", Setup, "completion address refused").linux("COMPLETION_ADDR_ERR"),
    cause(13, "INTCFGERR", Setup, "interrupt misconfigured").linux("INT_CONFIGURATION_ERR"),
    cause(14, "SEDERR", Unspecified, "soft error").linux("SOFT_ERR"),
    cause(15, "UNAFFERR", Unspecified, "error of no descriptor").linux("UNAFFILIATED_ERR"),
    cause(16, "CXPERR", Check, "check of xor, p or crc failed").linux("XOR_P_OR_CRC_ERR"),
    cause(17, "XOR_Q_ERR", Check, "check of q failed").linux("XOR_Q_ERR"),
    cause(18, "DCNTERR", Descriptor, "descriptor count refused").linux("DESCRIPTOR_COUNT_ERR"),
    cause(19, "DIFFERR", Check, "data integrity field in error"),
    cause(20, "GTVERR", Check, "guard tag in error"),
    cause(21, "ATVERR", Check, "application tag in error"),
    cause(22, "RTVERR", Check, "reference tag in error"),
    cause(23, "BBERR", Descriptor, "bundle bit in error"),
    cause(24, "RDIFFERR", Check, "data integrity field in error (R)"),
    cause(25, "RGTVERR", Check, "guard tag in error (R)"),
    cause(26, "RATVERR", Check, "application tag in error (R)"),
    cause(27, "RRTVERR", Check, "reference tag in error (R)"),
];

const fn cause(
    bit: u8,
    name: &'static str,
    class: ErrorClass,
    meaning: &'static str,
) -> ErrorCause {
    ErrorCause { bit, name, linux_name: None, meaning, class, recoverable: false }
}

impl ErrorCause {
    const fn linux(self, name: &'static str) -> Self {
        Self { linux_name: Some(name), ..self }
    }

    const fn recovered(self) -> Self {
        Self { recoverable: true, ..self }
    }
}
