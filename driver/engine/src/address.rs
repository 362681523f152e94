//! Addresses as a device sees them.

use core::fmt;

/// An I/O virtual address: what an engine puts on its bus, in bytes.
///
/// It has a meaning in one [`DmaMap`](crate::DmaMap) only. In the domain of an engine that works on the
/// host's own memory it equals the virtual address of the mapping.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Iova(u64);

impl Iova {
    /// The address with this value.
    #[must_use]
    pub const fn new(address: u64) -> Self {
        Self(address)
    }

    /// The address as a number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The address `offset` bytes further on, or `None` where it would wrap.
    #[must_use]
    pub const fn checked_add(self, offset: u64) -> Option<Self> {
        match self.0.checked_add(offset) {
            Some(address) => Some(Self(address)),
            None => None,
        }
    }
}

impl fmt::Debug for Iova {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Iova({:#x})", self.0)
    }
}

impl fmt::LowerHex for Iova {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::Iova;

    #[test]
    fn addition_stops_at_the_top_of_the_address_space() {
        assert_eq!(Iova::new(0x1000).checked_add(0x10), Some(Iova::new(0x1010)));
        assert_eq!(Iova::new(u64::MAX).checked_add(1), None);
    }
}
