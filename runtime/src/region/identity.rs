//! Which memory a region is, so that two handles to the same bytes know of each other.

use std::sync::atomic::{AtomicU64, Ordering};

/// The object behind a region, and where in it the region begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    object: Object,
    /// In bytes.
    start: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Object {
    /// Memory that no other region can be: an allocation or an owned buffer.
    Private(u64),
    /// A file, however it was reached.
    File { device: u64, inode: u64 },
    /// A character device, whichever node names it.
    Device { number: u64 },
    /// A block device that is part of no other, likewise.
    Block { number: u64 },
    /// Memory of devices, by its address on the host's bus.
    Bus,
}

impl Object {
    /// No memory: it equals none that there is.
    pub(crate) const NONE: Self = Self::Private(u64::MAX);
}

impl Identity {
    /// Memory of its own.
    pub(crate) fn private() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self { object: Object::Private(NEXT.fetch_add(1, Ordering::Relaxed)), start: 0 }
    }

    /// A file from its first byte on.
    pub(crate) fn file(device: u64, inode: u64) -> Self {
        Self { object: Object::File { device, inode }, start: 0 }
    }

    /// A device from byte `start` on.
    pub(crate) fn device(number: u64, start: u64) -> Self {
        Self { object: Object::Device { number }, start }
    }

    /// A block device from byte `start` on.
    pub(crate) fn block(number: u64, start: u64) -> Self {
        Self { object: Object::Block { number }, start }
    }

    /// Memory of a device from this address on the host's bus on.
    pub(crate) fn bus(address: u64) -> Self {
        Self { object: Object::Bus, start: address }
    }

    /// The object, and where in it the byte at `offset` of the region is.
    pub(crate) fn position(&self, offset: u64) -> (Object, u64) {
        (self.object, self.start.saturating_add(offset))
    }

    /// Whether both are of the same object.
    #[inline]
    pub(crate) fn is_of_object(&self, other: &Self) -> bool {
        self.object == other.object
    }

    /// How many bytes after this region's first byte the other's comes; `None` for different memory.
    pub(crate) fn distance_to(&self, other: &Self) -> Option<i128> {
        self.is_of_object(other).then(|| i128::from(other.start) - i128::from(self.start))
    }
}

#[cfg(test)]
mod tests {
    use super::Identity;

    #[test]
    fn the_same_object_is_the_same_memory_whatever_its_start() {
        let whole = Identity::device(7, 0);
        let part = Identity::device(7, 0x20_0000);
        assert_eq!(whole.distance_to(&part), Some(0x20_0000));
        assert_eq!(part.distance_to(&whole), Some(-0x20_0000));
        assert_eq!(whole.distance_to(&Identity::device(8, 0)), None);
        assert_eq!(Identity::device(7, 0).distance_to(&Identity::block(7, 0)), None);
        assert_eq!(Identity::file(1, 2).distance_to(&Identity::file(1, 3)), None);
        assert_eq!(Identity::private().distance_to(&Identity::private()), None);
    }
}
