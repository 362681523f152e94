//! The lists that a batch is made of. Those of batches that are over are used again: in steady state nothing is allocated.

use crossbeam_queue::ArrayQueue;
use dmaring_ring::SubmissionEntry;

use super::future::Op;
use crate::bundle::Part;

/// How many operations a batch has room for at first.
const ROOM: usize = 16;
/// Lists for more operations than this are not kept.
const LARGEST: usize = 256;
/// Those of so many batches are kept.
const KEPT: usize = 8;

/// A batch's operations, and their entries while they are submitted.
#[derive(Debug, Default)]
pub(super) struct Lists {
    pub(super) operations: Vec<Op>,
    /// The copies that are in bundles.
    pub(super) parts: Vec<Part>,
    pub(super) entries: Vec<SubmissionEntry>,
}

/// Lists that no batch has. They are empty.
#[derive(Debug)]
pub(crate) struct SpareLists(ArrayQueue<Lists>);

impl SpareLists {
    pub(crate) fn new() -> Self {
        Self(ArrayQueue::new(KEPT))
    }

    pub(super) fn take(&self) -> Lists {
        self.0.pop().unwrap_or_else(|| Lists {
            operations: Vec::with_capacity(ROOM),
            parts: Vec::with_capacity(ROOM),
            entries: Vec::with_capacity(ROOM),
        })
    }

    /// Keeps lists for another batch, if there is place. What operations they have is dropped.
    pub(super) fn put(&self, mut lists: Lists) {
        lists.operations.clear();
        lists.entries.clear();
        lists.parts.clear();
        trim(&mut lists.entries);
        trim(&mut lists.parts);
        if lists.operations.capacity() <= LARGEST {
            // There is no place: they are freed.
            let _ = self.0.push(lists);
        }
    }
}

/// Gives the room of a list back that will not be kept.
pub(super) fn trim<T>(list: &mut Vec<T>) {
    if list.capacity() > LARGEST {
        *list = Vec::new();
    }
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;

    #[test]
    fn lists_come_back_empty_and_with_their_room() {
        let spare = SpareLists::new();
        let mut lists = spare.take();
        lists.entries.extend([SubmissionEntry::default(); 40]);
        lists.operations.push(Op::known(Ok(1)));
        let room = lists.entries.capacity();
        spare.put(lists);
        let again = spare.take();
        assert!(again.entries.is_empty() && again.operations.is_empty());
        assert_eq!(again.entries.capacity(), room);
    }

    #[test]
    fn neither_many_nor_large_ones_are_kept() {
        let spare = SpareLists::new();
        (0..KEPT + 3).for_each(|_| spare.put(Lists::default()));
        assert_eq!(spare.0.len(), KEPT);
        while spare.0.pop().is_some() {}
        spare.put(Lists { operations: Vec::with_capacity(LARGEST + 1), ..Lists::default() });
        assert_eq!(spare.0.len(), 0);
        let (entries, parts) = (Vec::with_capacity(LARGEST + 1), Vec::with_capacity(LARGEST + 1));
        spare.put(Lists { operations: Vec::new(), parts, entries });
        let kept = spare.take();
        assert_eq!((kept.entries.capacity(), kept.parts.capacity()), (0, 0));
    }
}
