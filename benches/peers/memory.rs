//! The two areas that are copied between, which block goes where, and whether it arrived.

use std::{io, iter};

use dmaring::{Region, Runtime};
use dmaring_benches::{area::Area, blocks::permutation};

use crate::Setup;

/// Source and destination.
#[derive(Debug)]
pub(crate) struct Pair {
    source: Area,
    destination: Area,
}

/// Blocks of one size: each of the source goes to one of the destination, both in random order.
#[derive(Debug)]
pub(crate) struct Blocks {
    pub(crate) size: u64,
    /// Which block goes where, copy after copy.
    order: Vec<(u32, u32)>,
    /// The bits of a copy's number that say which of them it is, where there are as many as a power of two.
    mask: Option<u64>,
}

impl Pair {
    /// Two areas of `length` bytes. No two words of the source are alike.
    pub(crate) fn new(length: usize) -> io::Result<Self> {
        let mut pair = Self { source: Area::new(length)?, destination: Area::new(length)? };
        for (index, word) in (0u64..).zip(pair.source.slice_mut()?.chunks_exact_mut(8)) {
            word.copy_from_slice(
                &(8 * index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes(),
            );
        }
        Ok(pair)
    }

    /// Nothing has been copied then. All regions must be gone.
    pub(crate) fn clear(&mut self) -> io::Result<()> {
        self.destination.slice_mut()?.fill(0);
        Ok(())
    }

    /// Both as regions of a runtime; nothing has been copied yet.
    pub(crate) fn regions(
        &mut self,
        runtime: &Runtime,
    ) -> Result<(Region, Region), Box<dyn std::error::Error>> {
        self.clear()?;
        self.lent(runtime)
    }

    /// The same as they are.
    pub(crate) fn lent(
        &mut self,
        runtime: &Runtime,
    ) -> Result<(Region, Region), Box<dyn std::error::Error>> {
        Ok((runtime.register(self.source.lend())?, runtime.register(self.destination.lend())?))
    }

    /// Both as slices; nothing has been copied yet.
    pub(crate) fn slices(&mut self) -> io::Result<(&[u8], &mut [u8])> {
        self.clear()?;
        Ok((self.source.slice()?, self.destination.slice_mut()?))
    }

    /// Whether every block is where it was to be copied to. All regions must be gone.
    pub(crate) fn verify(&mut self, blocks: &Blocks) -> io::Result<bool> {
        let (source, destination) = (self.source.slice()?, self.destination.slice()?);
        let size = blocks.size as usize;
        let arrived = |number| {
            let (from, to) = blocks.copy(number);
            source[from as usize..][..size] == destination[to as usize..][..size]
        };
        Ok((0..blocks.count()).all(arrived))
    }

    /// Whether every block of the destination has that word everywhere.
    pub(crate) fn is_filled(&mut self, blocks: &Blocks, word: u64) -> io::Result<bool> {
        let length = (blocks.count() * blocks.size) as usize;
        let mut words = self.destination.slice()?[..length].chunks_exact(8);
        Ok(words.all(|found| found == word.to_ne_bytes()))
    }
}

impl Blocks {
    /// All blocks of `size` bytes in areas of `length` bytes, in this round's order.
    pub(crate) fn new(setup: &Setup, size: u64, length: usize) -> Self {
        let count = (length as u64 / size) as u32;
        let order = |seed| permutation(count, 2 * setup.round + seed);
        let mask = count.is_power_of_two().then(|| u64::from(count - 1));
        Self { size, order: iter::zip(order(1), order(2)).collect(), mask }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.order.len() as u64
    }

    /// How many copies go through all of them, again and again in the same order, until they are at least `least`.
    pub(crate) fn copies(&self, least: u64) -> u64 {
        least.div_ceil(self.count().max(1)) * self.count()
    }

    /// Which block copy `number` reads and which it writes; they begin again when all have been.
    ///
    /// Without a division where there is a mask: it would take as long as much else that a copy of a few bytes does.
    #[inline]
    pub(crate) fn pair(&self, number: u64) -> (u32, u32) {
        let place = self.mask.map_or_else(|| number % self.count(), |mask| number & mask);
        self.order[place as usize]
    }

    /// The same in bytes.
    #[inline]
    pub(crate) fn copy(&self, number: u64) -> (u64, u64) {
        let (from, to) = self.pair(number);
        (u64::from(from) * self.size, u64::from(to) * self.size)
    }
}
