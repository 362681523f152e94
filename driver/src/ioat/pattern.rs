//! Fills on a channel that cannot fill: copies out of areas that hold the pattern.
//!
//! There are a few areas, each full of one pattern. A fill is copied in pieces from an area's start, each
//! piece a multiple of eight bytes but the last, so that every piece begins with the pattern's first byte.
//! An area gets another pattern only when every descriptor that reads it is done; while none is free, a
//! fill finds no room.
#![forbid(unsafe_code)]

/// How many areas: so many patterns can be in flight.
const AREAS: usize = 4;
/// Bytes of an area, and the longest piece.
const AREA_BYTES: u64 = 16 * 1024;
/// Bytes of all areas.
pub(super) const POOL_BYTES: usize = AREAS * AREA_BYTES as usize;

#[derive(Debug)]
pub(super) struct Patterns {
    /// The address of the first area.
    base: u64,
    /// The longest piece in bytes, a power of two of at least 64.
    piece: u64,
    areas: [Area; AREAS],
}

#[derive(Clone, Copy, Debug, Default)]
struct Area {
    pattern: Option<u64>,
    /// The ring's position after the last descriptor that reads it.
    until: u64,
}

/// An area for a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Source {
    /// Where the pattern's first byte is, for the device.
    pub(super) address: u64,
    /// The area's number, for [`Patterns::used`].
    pub(super) area: usize,
    /// What to write before the area is used: offset and length in bytes. `None` when it holds the pattern.
    pub(super) to_write: Option<(usize, usize)>,
}

/// The longest transfer, in bytes, for a ring of that many descriptors, of which each moves up to
/// `transfer_cap` bytes: a fill takes no more than a quarter of the ring.
pub(super) fn max_transfer(transfer_cap: u64, descriptors: u32) -> u64 {
    transfer_cap.min(piece(transfer_cap) * u64::from(descriptors / 4))
}

fn piece(transfer_cap: u64) -> u64 {
    transfer_cap.min(AREA_BYTES)
}

impl Patterns {
    /// Areas from this address on, for descriptors that move up to `transfer_cap` bytes.
    pub(super) fn new(base: u64, transfer_cap: u64) -> Self {
        Self { base, piece: piece(transfer_cap), areas: [Area::default(); AREAS] }
    }

    /// How many descriptors a fill of that many bytes takes.
    pub(super) fn pieces(&self, length: u64) -> u64 {
        length.div_ceil(self.piece)
    }

    /// The pieces of that many bytes, in order: offset and length of each.
    pub(super) fn split(&self, length: u64) -> impl Iterator<Item = (u64, u64)> + use<> {
        let piece = self.piece;
        (0..self.pieces(length))
            .map(move |index| (index * piece, (length - index * piece).min(piece)))
    }

    /// An area that holds the pattern, or is free to hold it; `completed` is the ring's position up to
    /// which the device is done. `None` when all hold other patterns that are still being read.
    pub(super) fn source(&mut self, pattern: u64, completed: u64) -> Option<Source> {
        let holds = |area: &Area| area.pattern == Some(pattern);
        let free = |area: &Area| area.until <= completed;
        let area =
            self.areas.iter().position(holds).or_else(|| self.areas.iter().position(free))?;
        let offset = area as u64 * AREA_BYTES;
        let slot = self.areas.get_mut(area)?;
        let fresh = slot.pattern.replace(pattern) != Some(pattern);
        let to_write = fresh.then_some((offset as usize, self.piece as usize));
        Some(Source { address: self.base.wrapping_add(offset), area, to_write })
    }

    /// Takes note that descriptors up to this position read the area.
    pub(super) fn used(&mut self, area: usize, until: u64) {
        if let Some(area) = self.areas.get_mut(area) {
            area.until = until;
        }
    }

    /// Starts over with the ring: nothing reads the areas. They keep their patterns.
    pub(super) fn rebase(&mut self) {
        for area in &mut self.areas {
            area.until = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_the_length_and_keep_the_phase() {
        for cap in [64, 4096, 1 << 20] {
            let patterns = Patterns::new(0x10_0000, cap);
            for length in [1, 7, 8, 63, 64, 65, 4096, 16_385, 1 << 20] {
                let mut next = 0;
                for (offset, bytes) in patterns.split(length) {
                    assert_eq!((offset, offset % 8), (next, 0));
                    assert!(bytes > 0 && bytes <= cap && bytes <= AREA_BYTES);
                    next += bytes;
                }
                assert_eq!(next, length);
                assert_eq!(patterns.split(length).count() as u64, patterns.pieces(length));
            }
        }
    }

    #[test]
    fn the_longest_fill_fits_the_smallest_ring() {
        for entries in [4, 8, 16, 1024, 32_768] {
            for cap in [64, 4096, 1 << 20, 1 << 31] {
                let max = max_transfer(cap, entries);
                assert!(max >= 64 && max <= cap);
                assert!(Patterns::new(0, cap).pieces(max) < u64::from(entries));
            }
        }
        assert_eq!(max_transfer(1 << 20, 1024), 1 << 20);
    }

    #[test]
    fn an_area_in_use_keeps_its_pattern() {
        let mut patterns = Patterns::new(0x10_0000, 1 << 20);
        for pattern in 0..4 {
            let source = patterns.source(pattern, 0).unwrap();
            assert_eq!(source.address, 0x10_0000 + pattern * AREA_BYTES);
            assert_eq!(source.to_write.unwrap().1, 16 * 1024);
            patterns.used(source.area, 10 + pattern);
        }
        assert_eq!(patterns.source(4, 9), None);
        // A pattern that is there is shared, and its area is in use for longer.
        let again = patterns.source(0, 9).unwrap();
        assert_eq!((again.area, again.to_write), (0, None));
        patterns.used(again.area, 20);
        assert_eq!(patterns.source(4, 11).unwrap().area, 1);
        patterns.used(1, 21);
        assert_eq!(patterns.source(5, 11), None);
        patterns.rebase();
        assert_eq!(patterns.source(5, 0).unwrap().area, 0);
    }
}
