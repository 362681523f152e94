//! The lists that a batch is made of. Those of batches that are over are used again: in steady state nothing is allocated.

use arrayvec::ArrayVec;
use crossbeam_queue::ArrayQueue;
use dmaring_ring::SubmissionEntry;

use super::{batch::Told, future::Op};
use crate::bundle::{MOST, Words};

/// How many operations a batch has room for at first.
const ROOM: usize = 16;
/// Lists for more operations than this are not kept.
const LARGEST: usize = 256;
/// Those of so many batches are kept.
const KEPT: usize = 8;

/// A batch's operations, their entries while they are submitted, and how far their outcomes were given.
#[derive(Debug, Default)]
pub(super) struct Lists {
    pub(super) operations: Vec<Op>,
    /// The copies that are in bundles.
    pub(super) parts: Vec<Words>,
    /// Those of the bundle that others can join, which stand here until it is closed. None: there is no such bundle.
    pub(super) joined: ArrayVec<Words, MOST>,
    pub(super) entries: Vec<SubmissionEntry>,
    pub(super) told: Told,
}

impl Lists {
    /// How many copies are in the bundle that others can join, besides the first.
    pub(super) fn others(&self) -> usize {
        self.joined.len().saturating_sub(1)
    }
}

/// The lists that a batch has, until it is dropped.
#[derive(Debug, Default)]
pub(super) struct Held(Option<Box<Lists>>);

impl Held {
    #[inline]
    pub(super) fn get(&mut self) -> &mut Lists {
        #[cold]
        fn others() -> Box<Lists> {
            Box::default()
        }
        self.0.get_or_insert_with(others)
    }

    #[inline]
    pub(super) fn peek_mut(&mut self) -> Option<&mut Lists> {
        self.0.as_deref_mut()
    }

    #[inline]
    pub(super) fn peek(&self) -> Option<&Lists> {
        self.0.as_deref()
    }
}

/// Lists that no batch has. They are empty.
#[derive(Debug)]
pub(crate) struct SpareLists(ArrayQueue<Box<Lists>>);

impl SpareLists {
    pub(crate) fn new() -> Self {
        Self(ArrayQueue::new(KEPT))
    }

    pub(super) fn take(&self) -> Held {
        let lists = self.0.pop().unwrap_or_else(|| {
            Box::new(Lists {
                operations: Vec::with_capacity(ROOM),
                parts: Vec::with_capacity(ROOM),
                entries: Vec::with_capacity(ROOM),
                joined: ArrayVec::new(),
                told: Told::default(),
            })
        });
        Held(Some(lists))
    }

    /// Keeps lists for another batch, if there is place. What operations they have is dropped.
    pub(super) fn put(&self, held: &mut Held) {
        let Some(mut lists) = held.0.take() else { return };
        let Lists { operations, parts, joined, entries, told } = &mut *lists;
        operations.clear();
        joined.clear();
        told.clear();
        trim(parts);
        trim(entries);
        if operations.capacity() <= LARGEST {
            // There is no place: they are freed.
            let _ = self.0.push(lists);
        }
    }
}

/// Empties a list, and gives the room back that will not be kept. Enough stays for the next: a list that began with none could pass
/// what is kept by a row that is no longer, and begin anew each time.
pub(super) fn trim<T>(list: &mut Vec<T>) {
    list.clear();
    list.shrink_to(LARGEST);
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;

    #[test]
    fn lists_come_back_empty_and_with_their_room() {
        let spare = SpareLists::new();
        let mut lists = spare.take();
        lists.get().entries.extend([SubmissionEntry::default(); 40]);
        lists.get().operations.push(Op::known(Ok(1)));
        lists.get().joined.push([1, 2]);
        lists.get().parts.push([3, 4]);
        let room = lists.get().entries.capacity();
        spare.put(&mut lists);
        let again = spare.take();
        let again = again.peek().unwrap();
        assert!(again.entries.is_empty() && again.operations.is_empty());
        assert!(again.joined.is_empty() && again.parts.is_empty());
        assert_eq!(again.entries.capacity(), room);
    }

    #[test]
    fn neither_many_nor_large_ones_are_kept() {
        let spare = SpareLists::new();
        let put = |lists| spare.put(&mut Held(Some(Box::new(lists))));
        (0..KEPT + 3).for_each(|_| put(Lists::default()));
        assert_eq!(spare.0.len(), KEPT);
        while spare.0.pop().is_some() {}
        let operations = Vec::with_capacity(LARGEST + 1);
        put(Lists { operations, ..Lists::default() });
        assert_eq!(spare.0.len(), 0);
        let (entries, parts) = (Vec::with_capacity(LARGEST + 1), Vec::with_capacity(LARGEST + 1));
        put(Lists { parts, entries, ..Lists::default() });
        let kept = spare.take();
        let kept = kept.peek().unwrap();
        assert_eq!((kept.entries.capacity(), kept.parts.capacity()), (LARGEST, LARGEST));
    }
}
