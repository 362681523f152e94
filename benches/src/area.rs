//! Memory that is copied by engines and by bare loops in turn.
//!
//! An [`Area`] is private memory, on huge pages where the system gives them, like that of the program that drives
//! DPDK. [`Area::lend`] gives a runtime a share of it to register; while any share is out nobody gets a slice of
//! the bytes. When the region is gone and the runtime's background thread has dropped the share, slices may be
//! had again: [`Area::slice`] and [`Area::slice_mut`] ask the count of shares, which is 1 only then.
#![allow(unsafe_code, reason = "island: one mapping, lent to a runtime and as slices in turn")]

use std::{
    io, slice,
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

/// A share of an [`Area`], to be registered as a region.
#[derive(Debug)]
pub struct Lent(Arc<MmapRaw>);

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

    /// A share for a runtime.
    #[must_use]
    pub fn lend(&self) -> Lent {
        Lent(self.0.clone())
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

// SAFETY: (1) a mapping stays where it is however its handle is moved, and both answers are its own; (2) `Area` makes
// references to the bytes only while there is no `Lent`; (3) two `Lent` make pointers only.
unsafe impl PinnedBuffer for Lent {
    fn as_mut_ptr(&mut self) -> *mut u8 {
        self.0.as_mut_ptr()
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
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
}
