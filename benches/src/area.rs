//! Memory that is copied by engines and by bare loops in turn.
//!
//! An [`Area`] is private memory, on huge pages where the system gives them, like that of the program that drives
//! DPDK. [`Area::lend`] gives a runtime a share of it to register; while any share is out nobody gets a slice of
//! the bytes. When the region is gone and the runtime's background thread has dropped the share, slices may be
//! had again: [`Area::slice`] and [`Area::slice_mut`] ask the count of shares, which is 1 only then.
#![allow(unsafe_code, reason = "island: one mapping, lent to a runtime and as slices in turn")]

use std::{
    io,
    ops::Range,
    slice,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use dmaring::PinnedBuffer;
use memmap2::{Advice, MmapOptions, MmapRaw};

/// How long the runtime may take to drop a region that nobody uses.
const PATIENCE: Duration = Duration::from_secs(10);

/// Memory of one's own, whose every page is there.
#[derive(Debug)]
pub struct Area(Arc<MmapRaw>);

/// A share of an [`Area`], to be registered as a region: some of its bytes, or all.
#[derive(Debug)]
pub struct Lent {
    mapping: Arc<MmapRaw>,
    part: Range<usize>,
}

impl Area {
    /// `length` zeroed bytes, on huge pages where the system gives them.
    ///
    /// # Errors
    ///
    /// What the kernel says when there is no memory.
    pub fn new(length: usize) -> io::Result<Self> {
        let mut mapping = MmapOptions::new().len(length).map_anon()?;
        // Where there are none the pages are small, for every side alike.
        let _ = mapping.advise(Advice::HugePage);
        mapping.fill(0);
        Ok(Self(Arc::new(mapping.into())))
    }

    /// How many bytes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of it, for a runtime.
    #[must_use]
    pub fn lend(&self) -> Lent {
        Lent { mapping: self.0.clone(), part: 0..self.len() }
    }

    /// The bytes of `part`, for a runtime.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if they are not all of this area.
    pub fn lend_part(&self, part: Range<usize>) -> io::Result<Lent> {
        if part.start > part.end || part.end > self.len() {
            let message = format!("an area of {} bytes has no bytes {part:?}", self.len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        Ok(Lent { mapping: self.0.clone(), part })
    }

    /// The bytes, once all shares are back.
    ///
    /// # Errors
    ///
    /// `TimedOut` if one is not back after ten seconds: its region still has a handle.
    pub fn slice(&mut self) -> io::Result<&[u8]> {
        Ok(self.slice_mut()?)
    }

    /// The bytes, once all shares are back.
    ///
    /// # Errors
    ///
    /// As [`slice`](Self::slice).
    pub fn slice_mut(&mut self) -> io::Result<&mut [u8]> {
        let begin = Instant::now();
        while !self.is_alone() {
            if begin.elapsed() > PATIENCE {
                let message = "the area is still lent: drop the regions over it first";
                return Err(io::Error::new(io::ErrorKind::TimedOut, message));
            }
            thread::yield_now();
        }
        // SAFETY: (1) the mapping is that long, readable, writable and initialised, and lives as long as the borrow
        // of `self`; (2) no share is out, as was just seen, and none can be made while `self` is borrowed mutably,
        // so these bytes are reached through the slice alone.
        Ok(unsafe { slice::from_raw_parts_mut(self.0.as_mut_ptr(), self.0.len()) })
    }

    /// Whether no share is out. What was done through the last one happened before the answer.
    fn is_alone(&mut self) -> bool {
        Arc::get_mut(&mut self.0).is_some()
    }
}

// SAFETY: (1) a mapping stays where it is however its handle is moved, and both answers are of a part that lies within it
// (`lend`, `lend_part`) and does not change; (2) `Area` makes references to the bytes only while there is no `Lent`; (3) two
// `Lent` make pointers only.
unsafe impl PinnedBuffer for Lent {
    fn as_mut_ptr(&mut self) -> *mut u8 {
        self.mapping.as_mut_ptr().wrapping_add(self.part.start)
    }

    fn len(&self) -> usize {
        self.part.len()
    }
}

#[cfg(test)]
mod tests {
    use dmaring::PinnedBuffer;

    use super::Area;

    #[test]
    fn a_slice_is_had_only_when_every_share_is_back() {
        let mut area = Area::new(8192).unwrap();
        area.slice_mut().unwrap()[8191] = 7;
        let (first, second) = (area.lend(), area.lend());
        drop(first);
        assert!(!area.is_alone());
        let waiting = std::thread::spawn(move || area.slice().unwrap()[8191]);
        drop(second);
        assert_eq!(waiting.join().unwrap(), 7);
    }

    #[test]
    fn a_part_is_where_it_is_asked_for_and_within_the_area() {
        let area = Area::new(8192).unwrap();
        let (mut all, mut part) = (area.lend(), area.lend_part(4096..8192).unwrap());
        assert_eq!(part.as_mut_ptr().addr() - all.as_mut_ptr().addr(), 4096);
        assert_eq!((all.len(), part.len()), (8192, 4096));
        let refused = area.lend_part(4096..8193).unwrap_err();
        assert!(refused.to_string().contains("8192 bytes has no bytes 4096..8193"), "{refused}");
    }
}
