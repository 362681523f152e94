//! How registers and configuration space are reached: what a driver asks for and a device answers.

/// The registers of one function, reached at byte offsets of BAR 0, little endian.
///
/// No access panics: one outside the registers reads all ones, and is ignored as a write. An access of a
/// width that is not the register's own is up to the device.
pub trait RegisterIo: Send {
    /// Reads 8 bits.
    fn read8(&self, offset: u32) -> u8;
    /// Reads 16 bits.
    fn read16(&self, offset: u32) -> u16;
    /// Reads 32 bits.
    fn read32(&self, offset: u32) -> u32;
    /// Reads 64 bits.
    fn read64(&self, offset: u32) -> u64;
    /// Writes 8 bits.
    fn write8(&self, offset: u32, value: u8);
    /// Writes 16 bits.
    fn write16(&self, offset: u32, value: u16);
    /// Writes 32 bits.
    fn write32(&self, offset: u32, value: u32);
    /// Writes 64 bits.
    fn write64(&self, offset: u32, value: u64);
}

/// The configuration space of one function.
pub trait ConfigIo: Send {
    /// Reads the doubleword at a byte offset; `None` where it cannot be reached.
    fn read_config32(&self, offset: u16) -> Option<u32>;
    /// Writes the doubleword at a byte offset. `false`: it cannot be reached.
    fn write_config32(&self, offset: u16, value: u32) -> bool;
}
