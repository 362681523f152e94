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

/// A number of an object, the same wherever it is the same object. Two that differ are of different ones; two that are alike may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Likeness(u64);

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

    /// What tells it from most other objects.
    pub(crate) fn likeness(&self) -> Likeness {
        const KINDS: u64 = 5;
        let (kind, number) = match self.object {
            Object::Private(number) => (0, number),
            // Files of one device differ, and mostly those of two.
            Object::File { device, inode } => (1, inode ^ device.rotate_left(32)),
            Object::Device { number } => (2, number),
            Object::Block { number } => (3, number),
            Object::Bus => (4, 0),
        };
        Likeness(number.wrapping_mul(KINDS).wrapping_add(kind))
    }

    /// Whether both are of the same object.
    fn is_of_object(&self, other: &Self) -> bool {
        self.object == other.object
    }

    /// How many bytes after this region's first byte the other's comes; `None` for different memory.
    pub(crate) fn distance_to(&self, other: &Self) -> Option<i128> {
        self.is_of_object(other).then(|| i128::from(other.start) - i128::from(self.start))
    }
}

#[cfg(test)]
mod tests {
    use super::{Identity, Object};

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

    #[test]
    fn parts_of_one_object_are_alike_and_objects_that_are_not_alike_are_two() {
        let numbers = [0, 1, 2, 5, 7, u64::MAX];
        let mut all = vec![Identity::bus(0), Identity::bus(5)];
        for number in numbers {
            let private = Identity { object: Object::Private(number), start: 0 };
            let [device, block] = [Identity::device, Identity::block].map(|of| of(number, 3));
            all.extend([private, device, block, Identity::device(number, number)]);
            all.extend(numbers.map(|inode| Identity::file(number, inode)));
        }
        let mut told_apart = 0;
        for (one, two) in all.iter().flat_map(|one| all.iter().map(move |two| (one, two))) {
            let is_alike = one.likeness() == two.likeness();
            assert!(is_alike || !one.is_of_object(two), "{one:?} and {two:?}");
            told_apart += usize::from(!is_alike);
        }
        // Nearly all that are different.
        let different =
            all.iter().map(|one| all.iter().filter(|two| !one.is_of_object(two)).count());
        assert!(told_apart * 10 >= different.sum::<usize>() * 9, "{told_apart}");
        let [private, other] = [Identity::private(), Identity::private()];
        assert_ne!(private.likeness(), other.likeness());
    }
}
