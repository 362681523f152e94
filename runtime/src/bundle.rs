//! Bundles: short copies of a batch, between the same two regions, that go to the poller in one entry of the ring.
//!
//! What a copy of 64 bytes costs is not the copy: it is a slot, an entry, a completion and their lines, which two cores hand to each
//! other. A bundle has one of each for [`MOST`] copies. Where the copies are stands in a *block*, two words for each,
//! four copies to a line.
//!
//! A block belongs to a slot of the in-flight table, by its index, and follows its lives: who submits owns the slot, and writes the
//! block before the entry is published; the poller reads it when it has taken the entry. If all copies were made, that is all.
//! Else the poller writes into the block how each of them ended, before it posts [`MIXED`](dmaring_ring::CompletionCode::MIXED), and the
//! future reads that while it has the slot. The words are atomics and what they say is checked: whoever may write to the ring may
//! name a block at any time, and may have it read or overwritten, but no more is done for it than for an entry of its own.
//!
//! Blocks are made when they are first used, in chunks, and stay where they are.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering},
};

use dmaring_ring::{beside::Beside, prefetch};

use crate::inflight::Ticket;

/// How many copies a bundle has at most.
pub(crate) const MOST: usize = 16;
/// How many bytes each of them has at most. Longer ones take so long themselves that the way there matters little, and are
/// worth reading ahead.
pub(crate) const LONGEST: u64 = 1 << 10;
/// How many blocks are in the first chunk, a power of two.
const FIRST: u32 = 64;
/// How many chunks there can be, each twice as long as the one before: as many as indices need.
const CHUNKS: usize = 26;
/// Below these bits of a copy's first word stands where it reads, in and above them how many bytes.
const LENGTH_SHIFT: u32 = 48;

/// How many copies stand in one line.
const PARTS_PER_LINE: usize = 64 / size_of::<Words>();

const _: () = assert!(LONGEST < 1 << (u64::BITS - LENGTH_SHIFT), "every length fits");

/// One copy of a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) source_offset: u64,
    pub(crate) destination_offset: u64,
    pub(crate) length: u64,
}

/// A copy as it stands in a block.
pub(crate) type Words = [u64; 2];

/// Where the copies of one bundle are, or how they ended.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Block([[AtomicU64; 2]; MOST]);

/// The blocks of a runtime.
#[derive(Debug)]
pub(crate) struct Blocks([OnceLock<Box<[Block]>>; CHUNKS]);

impl Part {
    /// A block holds copies that read before this.
    pub(crate) const END: u64 = 1 << LENGTH_SHIFT;

    /// The two words of a copy that reads before [`END`](Self::END) and has [`LONGEST`] bytes at most.
    #[inline]
    pub(crate) fn words(self) -> Words {
        [self.source_offset | self.length << LENGTH_SHIFT, self.destination_offset]
    }

    /// The copy that two words tell of, whatever they are.
    #[inline]
    pub(crate) fn of_words([first, second]: Words) -> Self {
        Self {
            source_offset: first & (Self::END - 1),
            destination_offset: second,
            length: first >> LENGTH_SHIFT,
        }
    }
}

/// How many copies an entry says that its bundle has, if a bundle can have as many.
#[inline]
pub(crate) fn count(said: u64) -> Option<u32> {
    u32::try_from(said).ok().filter(|count| (1..=MOST as u32).contains(count))
}

impl Block {
    fn new() -> Self {
        Self([const { [const { AtomicU64::new(0) }; 2] }; MOST])
    }

    /// Where the copies are, to be written before the entry is published that tells of them.
    #[inline]
    pub(crate) fn beside<'a>(&'a self, parts: &'a [Words]) -> Beside<'a> {
        Beside::new(self.0.as_flattened(), parts.as_flattened())
    }

    /// Where the first so many copies stand, or all.
    #[inline]
    fn first(&self, count: usize) -> &[[AtomicU64; 2]] {
        let (first, _) = self.0.split_at(count.min(MOST));
        first
    }

    /// Fetches the lines of the first so many copies, all at once: who reads one after the other waits for one after the other.
    #[inline]
    pub(crate) fn fetch(&self, count: usize) {
        self.first(count).iter().step_by(PARTS_PER_LINE).for_each(prefetch::for_reading);
    }

    /// What stands there of the first so many copies, whatever it is.
    #[inline]
    pub(crate) fn parts(&self, count: usize) -> impl Iterator<Item = Part> {
        self.first(count).iter().map(|[first, second]| {
            Part::of_words([first.load(Ordering::Relaxed), second.load(Ordering::Relaxed)])
        })
    }

    /// Writes how a copy ended.
    pub(crate) fn tell(&self, place: usize, ticket: Ticket) {
        if let Some([result, detail]) = self.0.get(place) {
            result.store(ticket.result, Ordering::Relaxed);
            detail.store(ticket.detail, Ordering::Relaxed);
        }
    }

    /// How a copy ended, once it was told.
    pub(crate) fn told(&self, place: usize) -> Option<Ticket> {
        let [result, detail] = self.0.get(place)?;
        let (result, detail) = (result.load(Ordering::Relaxed), detail.load(Ordering::Relaxed));
        Some(Ticket { result, detail })
    }
}

impl Blocks {
    pub(crate) fn new() -> Self {
        Self([const { OnceLock::new() }; CHUNKS])
    }

    /// The block of the slot with this index, if it was ever used.
    #[inline]
    pub(crate) fn get(&self, index: u32) -> Option<&Block> {
        let (chunk, place) = place(index)?;
        self.0.get(chunk)?.get()?.get(place)
    }

    /// The same; made if it never was.
    #[inline]
    pub(crate) fn get_or_make(&self, index: u32) -> Option<&Block> {
        let (chunk, place) = place(index)?;
        let make = || (0..FIRST << chunk).map(|_| Block::new()).collect();
        self.0.get(chunk)?.get_or_init(make).get(place)
    }
}

/// Which chunk a block is in, and where.
#[inline]
fn place(index: u32) -> Option<(usize, usize)> {
    let shifted = index.checked_add(FIRST)?;
    let chunk = shifted.ilog2() - FIRST.ilog2();
    Some((chunk as usize, (shifted - (FIRST << chunk)) as usize))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_told_takes_its_place() {
        let blocks = Blocks::new();
        assert!(blocks.get(3).is_none(), "nobody has used it");
        let block = blocks.get_or_make(3).unwrap();
        let parts: Vec<_> = (0..MOST as u64)
            .map(|n| Part {
                source_offset: Part::END - 1 - n,
                destination_offset: u64::MAX - n,
                length: LONGEST - n,
            })
            .collect();
        block.beside(&parts.iter().map(|part| part.words()).collect::<Vec<_>>()).write();
        let read = |count| blocks.get(3).unwrap().parts(count).collect::<Vec<_>>();
        assert_eq!((read(MOST), read(2)), (parts.clone(), parts[..2].to_vec()));
        assert_eq!(read(usize::MAX).len(), MOST, "there are no more");
        [0, 1, MOST, usize::MAX].into_iter().for_each(|count| block.fetch(count));
        assert_eq!(read(MOST), parts, "to fetch it changes nothing");
        let ticket = Ticket { result: u64::MAX - 5, detail: 7 };
        block.tell(MOST - 1, ticket);
        block.tell(MOST, ticket);
        assert_eq!((block.told(MOST - 1), block.told(MOST)), (Some(ticket), None));
        assert_eq!(read(MOST - 1), parts[..MOST - 1]);
    }

    #[test]
    fn a_bundle_has_one_copy_at_least_and_no_more_than_a_block_holds() {
        let said = [0, 1, 2, MOST as u64, MOST as u64 + 1, 1 << 32 | 1, u64::MAX];
        let counted = [None, Some(1), Some(2), Some(MOST as u32), None, None, None];
        assert_eq!(said.map(count), counted);
    }

    #[test]
    fn every_index_has_a_block_of_its_own() {
        let blocks = Blocks::new();
        let indices = (0..300).chain([447, 448, 4000]);
        let places = indices.map(|index| std::ptr::from_ref(blocks.get_or_make(index).unwrap()));
        assert_eq!(places.collect::<HashSet<_>>().len(), 303);
        for index in [63, 64, 191, 192] {
            let [one, again] = [blocks.get(index), blocks.get_or_make(index)];
            assert!(std::ptr::eq(one.unwrap(), again.unwrap()));
        }
        assert_eq!(place(0), Some((0, 0)));
        assert_eq!(place(63), Some((0, 63)));
        assert_eq!(place(64), Some((1, 0)));
        assert_eq!(place(192), Some((2, 0)));
        // The last that there can be are in the last chunk; indices beyond name none.
        assert_eq!(place(u32::MAX - FIRST), Some((CHUNKS - 1, (1 << 31) - 1)));
        assert!(place(u32::MAX).is_none() && blocks.get(u32::MAX).is_none());
        assert!(blocks.get(u32::MAX - FIRST).is_none());
    }
}
