//! The registers in PCI configuration space, with offsets in bytes.
//!
//! Those at [`DMAUNCERRSTS`] and above are in extended configuration space. Where the platform gives
//! a function no more than 256 bytes, a read there fails or gives all ones: a warning for a driver,
//! never a reason to give up.

/// PCI vendor id, 16 bits.
pub const VENDOR_ID: u16 = 0x00;
/// PCI device id, 16 bits.
pub const DEVICE_ID: u16 = 0x02;
/// DMACTRL, 32 bits: bit 0 enables DMA, bit 1 enables MSI. Source: Linux.
pub const DMACTRL: u16 = 0x48;
/// MSI-X message control, 16 bits, on the datasheet's part; walk the capability list elsewhere.
/// Source: datasheet, 14.4.18.
pub const MSIX_CONTROL: u16 = 0x82;
/// DMAUNCERRSTS, 32 bits, write 1 to clear.
///
/// Linux writes [`DMAUNCERRSTS_CONFIG_PARITY`] to it on device 3430, where the bit stands spuriously
/// after a restart.
pub const DMAUNCERRSTS: u16 = 0x148;
/// CHANERR_INT, 32 bits, write 1 to clear: errors that the channel met inside. Source: Linux, SPDK,
/// DPDK, FreeBSD.
///
/// A channel does not leave the halted state until CHANERR and this are both clear, so a reset reads
/// it and writes the value back, whatever the version. Linux and SPDK do so below version 3.3 only,
/// DPDK never.
pub const CHANERR_INT: u16 = 0x180;
/// CHANERRMSK_INT, 32 bits: mask of [`CHANERR_INT`]. Source: Linux, FreeBSD.
pub const CHANERRMSK_INT: u16 = 0x184;

/// Bit 4 of [`DMAUNCERRSTS`]: parity error of a configuration register. Source: Linux.
pub const DMAUNCERRSTS_CONFIG_PARITY: u32 = 0x10;
/// What FreeBSD and older versions of Linux write to [`CHANERRMSK_INT`] on version 3 parts, so that
/// errors which upset the channel are masked.
pub const CHANERRMSK_INT_VERSION_3: u32 = 0x3e07;

/// Offset in the PCI Express capability of the device control register, 16 bits. Source: Linux.
pub const PCIE_DEVICE_CONTROL: u16 = 0x08;
/// Bit 4 of the device control register: relaxed ordering. Linux clears it. Source: Linux.
pub const PCIE_RELAXED_ORDERING: u16 = 0x0010;
/// Bit 11 of the device control register: no snoop. Source: the PCI Express specification.
pub const PCIE_NO_SNOOP: u16 = 0x0800;

#[cfg(test)]
mod tests {
    #[test]
    fn offsets_are_the_sources() {
        assert_eq!(super::DMAUNCERRSTS, 0x148);
        assert_eq!(super::CHANERR_INT, 0x180);
        assert_eq!(super::CHANERRMSK_INT, 0x184);
        assert_eq!(super::PCIE_DEVICE_CONTROL, 0x08);
    }
}
