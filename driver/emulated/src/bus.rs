//! The way of one channel to memory: page by page through what is upstream, or nowhere without bus mastering.

use dmaring_ioat_spec::{descriptor::Descriptor, registers::CHANCMP_ALIGN};

use crate::{iommu::PAGE, upstream::Upstream};

/// One channel's accesses to memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bus<'a> {
    /// What translates.
    pub(crate) upstream: &'a dyn Upstream,
    /// The channel, counted through the device.
    pub(crate) channel: usize,
    /// Whether the function may use the bus.
    pub(crate) master: bool,
}

/// Which address of a transfer was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Source,
    Destination,
}

impl Bus<'_> {
    /// The descriptor at an address that is a multiple of 64.
    pub(crate) fn read_descriptor(self, address: u64) -> Option<Descriptor> {
        let words = self.on()?.upstream.read_words(self.channel, address)?;
        Some(Descriptor::from_words(words))
    }

    /// Writes a completion word.
    pub(crate) fn write_completion(self, address: u64, word: u64) -> Option<()> {
        if address == 0 || !address.is_multiple_of(CHANCMP_ALIGN) {
            return None;
        }
        self.on()?.upstream.write_word(self.channel, address, word)
    }

    /// Copies upwards, page by page; pages before one that is refused have been moved.
    pub(crate) fn copy(self, source: u64, destination: u64, length: u64) -> Result<(), Side> {
        self.on().ok_or(Side::Source)?;
        let mut done = 0;
        while done < length {
            let pair = [source.wrapping_add(done), destination.wrapping_add(done)];
            let piece = pair.map(to_page_end).into_iter().fold(length - done, u64::min);
            self.upstream.copy(self.channel, pair, piece as usize)?;
            done += piece;
        }
        Ok(())
    }

    /// Fills upwards, page by page; pages before one that is refused have been filled.
    pub(crate) fn fill(self, pattern: u64, destination: u64, length: u64) -> Result<(), Side> {
        self.on().ok_or(Side::Destination)?;
        let mut done = 0;
        while done < length {
            let address = destination.wrapping_add(done);
            let piece = to_page_end(address).min(length - done);
            let pattern = pattern.rotate_right(8 * (done % 8) as u32);
            self.upstream.fill(self.channel, address, piece as usize, pattern)?;
            done += piece;
        }
        Ok(())
    }

    fn on(self) -> Option<Self> {
        self.master.then_some(self)
    }
}

fn to_page_end(address: u64) -> u64 {
    PAGE - address % PAGE
}
