//! What an address space has room for.

/// How much of something there is, and how much of that is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// In use now.
    pub used: u64,
    /// The most there can be.
    pub most: u64,
}

impl Quota {
    /// What is left.
    #[must_use]
    pub const fn left(self) -> u64 {
        self.most.saturating_sub(self.used)
    }
}

/// What an address space has room for, as far as it knows. `None`: there is no limit, or nobody says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MapLimits {
    /// Mappings.
    pub mappings: Option<Quota>,
    /// Addresses, in bytes. A single mapping needs them in one piece.
    pub addresses: Option<Quota>,
    /// Memory that the process may lock, in bytes; what a device maps is locked. Not asked before a mapping, since some
    /// memory, devdax and BARs among it, is not counted.
    pub locked: Option<Quota>,
}
