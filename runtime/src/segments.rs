//! Lists of segments: what a vectored copy is made of, in a table that grows and never moves.
//!
//! A ring entry names its list by index and generation, as it names regions. The poller reads a list's numbers, which are
//! atomics, and judges each segment by the region table when it admits the operation and again when it begins with the
//! segment: nothing that stands in a list reaches an engine unchecked.
//!
//! A list has two holders. The slot's *cargo* holds the list with the handles of its regions until no hardware touches them any
//! more; the *future* needs the numbers until it has told the outcome, to say in which segment something failed.
//! Whoever lets go last ends the list's life and puts it on the free list. Nothing is allocated unless more lists are in use than ever
//! before.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU32, AtomicU64, Ordering, fence},
};

use crossbeam_queue::ArrayQueue;
use dmaring_ring::Key;

use crate::{
    error::Error,
    region::Region,
    shared::Shared,
    sync::{Mutex, MutexGuard, lock},
};

/// The most segments of one vectored copy.
pub(crate) const MAX_SEGMENTS: usize = 256;
/// The most vectored copies that are unfinished or unclaimed. Miri takes long for each list.
pub(crate) const MAX_LISTS: usize = if cfg!(miri) { 8 } else { 1024 };

/// Where one segment is, as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Numbers {
    pub(crate) source: Key,
    pub(crate) source_offset: u64,
    pub(crate) destination: Key,
    pub(crate) destination_offset: u64,
    pub(crate) length: u64,
}

/// The lists of a runtime.
#[derive(Debug)]
pub(crate) struct SegmentTable {
    lists: Box<[OnceLock<List>]>,
    /// How many lists there are.
    made: AtomicU32,
    free: ArrayQueue<u32>,
}

#[derive(Debug)]
struct List {
    /// Changes when a life ends.
    generation: AtomicU32,
    holders: AtomicU32,
    count: AtomicU32,
    words: Box<[[AtomicU64; 5]]>,
    /// The handles of the regions that it names, as long as the cargo holds it. Nobody waits for the lock: who makes the list has it,
    /// then its request or its slot.
    regions: Mutex<Vec<Region>>,
}

/// One of the two holds on a list.
#[derive(Debug)]
struct Hold {
    shared: Arc<Shared>,
    key: Key,
}

/// What the slot of a vectored copy owns: its list, and the regions in it.
#[derive(Debug)]
pub(crate) struct SegmentCargo(Hold);

/// What the future of a vectored copy keeps: the numbers of its list.
#[derive(Debug)]
pub(crate) struct SegmentNumbers(Hold);

impl SegmentTable {
    pub(crate) fn new() -> Self {
        Self {
            lists: (0..MAX_LISTS).map(|_| OnceLock::new()).collect(),
            made: AtomicU32::new(0),
            free: ArrayQueue::new(MAX_LISTS),
        }
    }

    /// The segment at `place` of the list that `key` names; `None` if it names none, or one that is shorter.
    pub(crate) fn get(&self, key: Key, place: usize) -> Option<Numbers> {
        let list = self.list(key.index)?;
        let before = list.generation.load(Ordering::Acquire);
        let count = list.count.load(Ordering::Relaxed) as usize;
        let words = list.words.get(place)?;
        let [source, source_offset, destination, destination_offset, length] =
            words.each_ref().map(|word| word.load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        let after = list.generation.load(Ordering::Relaxed);
        (before == key.generation && after == key.generation && place < count).then_some(Numbers {
            source: Key::from_word(source),
            source_offset,
            destination: Key::from_word(destination),
            destination_offset,
            length,
        })
    }

    fn list(&self, index: u32) -> Option<&List> {
        self.lists.get(index as usize)?.get()
    }

    /// A list that is nobody's, and its index.
    fn take(&self) -> Option<(u32, &List)> {
        if let Some(index) = self.free.pop() {
            return Some((index, self.list(index)?));
        }
        let more = |made: u32| (made < MAX_LISTS as u32).then(|| made + 1);
        let made = self.made.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some((made, self.lists.get(made as usize)?.get_or_init(List::new)))
    }
}

impl List {
    fn new() -> Self {
        Self {
            generation: AtomicU32::new(1),
            holders: AtomicU32::new(0),
            count: AtomicU32::new(0),
            words: (0..MAX_SEGMENTS).map(|_| [const { AtomicU64::new(0) }; 5]).collect(),
            regions: Mutex::default(),
        }
    }

    fn regions(&self) -> MutexGuard<'_, Vec<Region>> {
        lock(&self.regions)
    }
}

/// Makes a list of segments: source and offset, destination and offset, length. `None`: too many lists are in use, or too many segments.
pub(crate) fn enlist<'a>(
    shared: &Arc<Shared>,
    segments: impl ExactSizeIterator<Item = (&'a Region, u64, &'a Region, u64, u64)>,
) -> Option<SegmentCargo> {
    let table = &shared.segments;
    let count = u32::try_from(segments.len()).ok().filter(|&n| n as usize <= MAX_SEGMENTS)?;
    let (index, list) = table.take()?;
    // Who reads what follows under an earlier life's key sees that it ended.
    fence(Ordering::Release);
    let mut regions = list.regions();
    for (words, (source, from, destination, to, length)) in list.words.iter().zip(segments) {
        let numbers = [source.0.key.to_word(), from, destination.0.key.to_word(), to, length];
        for (word, number) in words.iter().zip(numbers) {
            word.store(number, Ordering::Relaxed);
        }
        keep(&mut regions, source);
        keep(&mut regions, destination);
    }
    list.count.store(count, Ordering::Relaxed);
    list.holders.store(1, Ordering::Relaxed);
    let key = Key { index, generation: list.generation.load(Ordering::Relaxed) };
    Some(SegmentCargo(Hold { shared: shared.clone(), key }))
}

/// Keeps a handle, unless it is one of the last two that were kept.
fn keep(regions: &mut Vec<Region>, region: &Region) {
    let last = regions.iter().rev().take(2);
    if !last.into_iter().any(|kept| kept.0.is_of(&region.0)) {
        regions.push(region.clone());
    }
}

impl SegmentCargo {
    /// By which a ring entry names the list.
    pub(crate) fn key(&self) -> Key {
        self.0.key
    }

    /// Refuses a list that names a region which is ending, by the first segment that does.
    pub(crate) fn check_open(&self) -> Result<(), Error> {
        let Some(list) = self.0.list() else { return Ok(()) };
        let regions = list.regions();
        // They stand in the order of the segments.
        let refused = regions.iter().find_map(|region| Some((region, region.check_open().err()?)));
        let Some((region, error)) = refused else { return Ok(()) };
        let key = region.0.key;
        let number = self
            .segments()
            .position(|segment| segment.source == key || segment.destination == key)
            .and_then(|number| u32::try_from(number).ok());
        Err(match number {
            Some(number) => error.in_segment(number),
            None => error,
        })
    }

    /// Refuses a list of which a segment could never become durable.
    pub(crate) fn check_durable(&self) -> Result<(), Error> {
        let Some(list) = self.0.list() else { return Ok(()) };
        let regions = list.regions();
        let numbered = (0..).zip(self.segments());
        for (number, segment) in numbered.filter(|(_, segment)| segment.length > 0) {
            let destination = regions.iter().find(|region| region.0.key == segment.destination);
            let check = destination.map_or(Ok(()), Region::check_durable);
            check.map_err(|error| error.in_segment(number))?;
        }
        Ok(())
    }

    fn segments(&self) -> impl Iterator<Item = Numbers> {
        let table = &self.0.shared.segments;
        (0..).map_while(|place| table.get(self.0.key, place))
    }

    /// The numbers, for whoever outlives this.
    pub(crate) fn numbers(&self) -> SegmentNumbers {
        if let Some(list) = self.0.list() {
            list.holders.fetch_add(1, Ordering::Relaxed);
        }
        SegmentNumbers(Hold { shared: self.0.shared.clone(), key: self.0.key })
    }
}

impl SegmentNumbers {
    /// The segment at `place`.
    pub(crate) fn get(&self, place: usize) -> Option<Numbers> {
        self.0.shared.segments.get(self.0.key, place)
    }
}

impl Hold {
    fn list(&self) -> Option<&List> {
        self.shared.segments.list(self.key.index)
    }
}

impl Drop for SegmentCargo {
    fn drop(&mut self) {
        if self.0.shared.origin.is_elsewhere() {
            // The parent's handles, and a lock that one of its threads may have had.
            return;
        }
        let Some(list) = self.0.list() else { return };
        // The last handle of a region may be among them: not under the lock.
        let mut regions = std::mem::take(&mut *list.regions());
        regions.clear();
        // With the room that it has.
        *list.regions() = regions;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.shared.origin.is_elsewhere() {
            return;
        }
        let Some(list) = self.list() else { return };
        if list.holders.fetch_sub(1, Ordering::AcqRel) == 1 {
            list.generation.store(self.key.generation.wrapping_add(1), Ordering::Release);
            let _ = self.shared.segments.free.push(self.key.index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_keys_and_places_name_nothing() {
        let table = SegmentTable::new();
        assert_eq!(table.get(Key::default(), 0), None);
        let (index, list) = table.take().unwrap();
        list.count.store(2, Ordering::Relaxed);
        let key = Key { index, generation: 1 };
        assert!(table.get(key, 1).is_some());
        assert_eq!(table.get(key, 2), None);
        assert_eq!(table.get(key, usize::MAX), None);
        assert_eq!(table.get(Key { generation: 2, ..key }, 0), None);
        assert_eq!(table.get(Key { index: u32::MAX, ..key }, 0), None);
    }

    #[cfg(not(miri))]
    #[test]
    fn a_list_lets_go_of_its_regions_with_the_copy_and_keeps_its_room() {
        use crate::{Runtime, Segment};

        let (engine, control) = dmaring_manual::ManualEngine::new();
        let runtime = Runtime::builder().engine(engine).build().unwrap();
        let [source, destination] = [(); 2].map(|()| runtime.allocate(4096).unwrap());
        let handles = || [&source, &destination].map(|region| region.0.count());
        let (at, length) = (0, 64);
        let segment = Segment {
            source: &source,
            source_offset: at,
            destination: &destination,
            destination_offset: at,
            length,
        };
        let copy = runtime.copy_vectored(&[segment; 1]).submit();
        // The destination of the first segment is the operation's, too.
        assert_eq!(handles(), [2, 3]);
        control.release();
        futures::executor::block_on(copy).unwrap();
        crate::region::eventually("the handles", || handles() == [1, 1]);
        let list = source.0.shared.segments.list(0).unwrap();
        assert!(list.regions().is_empty() && list.regions().capacity() >= 2);
    }

    /// Nobody makes a list shorter. If somebody did, bytes that were not copied would not be told to be.
    #[cfg(not(miri))]
    #[test]
    fn a_list_that_became_shorter_fails_its_copy() {
        use crate::{ErrorKind, Runtime, Segment, Striping};

        let (engine, control) = dmaring_manual::ManualEngine::builder().depth(2).build();
        let builder = Runtime::builder().engine(engine).striping(Striping::OFF);
        let runtime = builder.build().unwrap();
        let [source, destination] = [(); 2].map(|()| runtime.allocate(4096).unwrap());
        let (source, destination) = (&source, &destination);
        let segments = [0, 64, 128].map(|at| Segment {
            source,
            source_offset: at,
            destination,
            destination_offset: at,
            length: 64,
        });
        let copy = runtime.copy_vectored(&segments).submit();
        control.wait_for_submitted(1);
        let list = source.0.shared.segments.list(0).unwrap();
        list.count.store(1, Ordering::Relaxed);
        control.release();
        let error = futures::executor::block_on(copy).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::EngineLost);
    }

    #[test]
    fn lists_are_made_up_to_the_limit_and_no_further() {
        let table = SegmentTable::new();
        let taken: Vec<_> = (0..MAX_LISTS).map(|_| table.take().unwrap().0).collect();
        assert!(table.take().is_none());
        table.free.push(taken[7]).unwrap();
        assert_eq!(table.take().map(|(index, _)| index), Some(7));
    }
}
