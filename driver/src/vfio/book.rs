//! What a container carries: functions in use, one that waits for the last unmapping, and groups without a function.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use super::{device::Device, space::Space};
use crate::pci::Address;

#[derive(Debug, Default)]
pub(super) struct Book {
    pub(super) space: Space,
    /// How many mappings the container takes.
    pub(super) limit: u64,
    /// How many the kernel has: those that are in use, and those that it did not undo.
    pub(super) mappings: u64,
    /// The functions in use, each with its group.
    pub(super) open: BTreeMap<Address, u32>,
    /// The last function, no longer in use, while there are mappings.
    pub(super) parked: Option<(Device, u32)>,
    /// Groups that vfio-ioctls has in the container though no function of them is open.
    pub(super) kept: Vec<u32>,
    /// The last function went back to the kernel while there were mappings. It stays so.
    pub(super) dissolved: bool,
    /// Whether the container cannot go: a function that went away holds it.
    stuck: bool,
}

impl Book {
    /// Whether functions are there for mappings to serve, or to be kept for.
    pub(super) fn has_domain(&self) -> bool {
        !self.open.is_empty() || self.parked.is_some()
    }

    /// Notes that the kernel has `count` mappings at addresses that were taken: as many as were made, since how a
    /// mapping is cut depends on how many there was room for.
    pub(super) fn mapped(&mut self, iova: u64, count: u64) {
        self.mappings += count;
        self.space.set_mappings(iova, count);
    }

    /// Notes that the kernel has none there any more, and gives the addresses back.
    pub(super) fn unmapped(&mut self, iova: u64) {
        let count = self.space.give_back(iova);
        self.mappings = self.mappings.saturating_sub(count);
    }

    pub(super) fn has_group(&self, group: u32) -> bool {
        self.open.values().any(|open| *open == group)
            || self.parked.as_ref().is_some_and(|(_, parked)| *parked == group)
            || self.kept.contains(&group)
    }

    /// Notes that a group is in the container without a function.
    pub(super) fn keep(&mut self, group: u32) {
        if !self.kept.contains(&group) {
            self.kept.push(group);
        }
    }

    /// Notes that a function of this group was closed. `left`: its group may leave the container, and does so with its
    /// last function.
    pub(super) fn closed(&mut self, group: u32, left: bool) {
        if !left {
            self.stuck = true;
            self.keep(group);
        } else if !self.open.values().any(|open| *open == group) {
            self.kept.retain(|kept| *kept != group);
        }
    }

    /// A function went back to the kernel. `true`: it was the last one, and the container is dissolved.
    pub(super) fn dissolve(&mut self) -> bool {
        self.dissolved |= !self.has_domain() && self.space.count() > 0;
        self.dissolved
    }

    /// Whether a new container would let groups go, and lose nothing.
    pub(super) fn is_renewable(&self) -> bool {
        !self.kept.is_empty() && !self.stuck && !self.has_domain()
    }
}

#[cfg(test)]
mod tests {
    use super::Book;
    use crate::vfio::parts::{Listener, Parts};

    const GROUP: u32 = 7;
    const GIB: u64 = 1 << 30;

    fn book(open: &[(&str, u32)]) -> Book {
        let open = open.iter().map(|(address, group)| (address.parse().unwrap(), *group)).collect();
        Book { open, ..Book::default() }
    }

    #[test]
    fn a_group_kept_after_a_failure_goes_with_a_container_that_carries_nothing() {
        let mut empty = book(&[]);
        assert!(!empty.is_renewable(), "there is nothing to let go");
        empty.keep(GROUP);
        assert!(empty.has_group(GROUP) && empty.is_renewable());
        let mut other = book(&[("0000:00:06.0", 8)]);
        other.keep(GROUP);
        assert!(!other.is_renewable(), "the other function's mappings would go too");
        other.open.clear();
        other.closed(8, true);
        assert!(other.has_group(GROUP) && other.is_renewable());
    }

    #[test]
    fn a_group_leaves_with_its_last_function() {
        let mut book = book(&[("0000:00:05.1", GROUP)]);
        book.keep(GROUP);
        book.closed(GROUP, true);
        assert_eq!(book.kept, [GROUP], "its other function is open");
        book.open.clear();
        book.closed(GROUP, true);
        assert!(!book.has_group(GROUP));
    }

    #[test]
    fn a_container_that_lost_its_last_function_under_mappings_is_dissolved_whatever_stays() {
        let mut book = book(&[("0000:00:05.0", GROUP), ("0000:00:06.0", 8)]);
        book.space.set_ranges(None);
        let iova = book.space.take(0, 4096).unwrap();
        book.open.pop_first();
        book.closed(GROUP, false);
        assert!(!book.dissolve(), "the other function reaches what is mapped");
        book.open.clear();
        book.closed(8, true);
        assert!(book.dissolve() && book.dissolved);
        book.space.give_back(iova);
        assert!(book.dissolve(), "it stays so");
    }

    /// The same length is four mappings where there is room for them, and one where there is not.
    #[test]
    fn as_many_mappings_are_undone_as_were_made() {
        let mut book = book(&[]);
        book.space.set_ranges(None);
        book.limit = 5;
        let map = |book: &mut Book| {
            let iova = book.space.take(0, GIB).unwrap();
            let parts = Parts::of(iova, GIB, book.limit - book.mappings);
            let count = parts.each(&Listener::default(), |_, _| Ok(())).unwrap();
            book.mapped(iova, count);
            iova
        };
        let roomy = map(&mut book);
        assert_eq!(book.mappings, 4);
        let scarce = map(&mut book);
        assert_eq!(book.mappings, 5);
        book.unmapped(scarce);
        assert_eq!(book.mappings, 4);
        book.unmapped(scarce);
        assert_eq!(book.mappings, 4, "nothing is undone twice");
        book.unmapped(roomy);
        assert_eq!((book.mappings, book.space.count()), (0, 0));
    }

    #[test]
    fn one_that_nothing_was_mapped_in_is_not_dissolved() {
        let mut book = book(&[]);
        book.closed(GROUP, false);
        assert!(!book.dissolve());
    }

    #[test]
    fn the_container_of_a_function_that_went_away_stays() {
        let mut book = book(&[]);
        book.closed(GROUP, false);
        assert!(book.has_group(GROUP) && !book.is_renewable());
    }
}
