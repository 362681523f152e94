//! Long mappings, made part by part, so that whoever waits is told how far they are.
//!
//! The kernel pins and maps pages one by one, 4 KiB or a huge page at a time, for as long as that takes. In parts the wait
//! can be shown, and a limit that is met halfway is met early. Parts end where the largest pages of the IOMMU do: none is
//! split. There are few of them, since a container takes a limited number.
#![forbid(unsafe_code)]

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use nix::errno::Errno;

/// The shortest part, in bytes.
const PART: u64 = 256 << 20;
/// A longer part is a multiple of this: the largest page of an IOMMU.
const LARGE: u64 = 1 << 30;
/// The most parts of one mapping, but for one at an end that is not aligned.
const MOST: u64 = 64;

/// How far a long mapping is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MapProgress {
    /// Bytes that are mapped.
    pub done: u64,
    /// Bytes that will be.
    pub total: u64,
}

/// The parts of one mapping.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts {
    iova: u64,
    length: u64,
    /// Parts end at multiples of it.
    part: u64,
}

/// A part was not mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken {
    pub(super) errno: Errno,
    /// Bytes that were mapped before it.
    pub(super) done: u64,
    /// In so many parts.
    pub(super) count: u64,
}

impl Parts {
    /// The parts of `length` bytes at `iova`, at most `room` of them: one where they would be more.
    pub(super) fn of(iova: u64, length: u64, room: u64) -> Self {
        let long = length.div_ceil(MOST);
        let part = if long <= PART { PART } else { long.next_multiple_of(LARGE) };
        let parts = Self { iova, length, part };
        if parts.count() <= room { parts } else { Self { part: u64::MAX, ..parts } }
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        (self.iova + self.length).div_ceil(self.part) - self.iova / self.part
    }

    /// Maps each part, by its offset and length. Says how many there were.
    pub(super) fn each(
        &self,
        listener: &Listener,
        mut map: impl FnMut(u64, u64) -> Result<(), Errno>,
    ) -> Result<u64, Broken> {
        let total = self.length;
        let (mut done, mut count) = (0, 0);
        while done < total {
            let to_end = self.part - (self.iova + done) % self.part;
            let length = to_end.min(total - done);
            map(done, length).map_err(|errno| Broken { errno, done, count })?;
            done += length;
            count += 1;
            if length < total {
                tracing::debug!(done, total, "mapping for the device");
                listener.tell(MapProgress { done, total });
            }
        }
        Ok(count)
    }
}

type Listen = Arc<dyn Fn(MapProgress) + Send + Sync>;

/// Who wants to be told.
#[derive(Default)]
pub(super) struct Listener(Mutex<Option<Listen>>);

impl Listener {
    pub(super) fn set(&self, listen: impl Fn(MapProgress) + Send + Sync + 'static) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(listen));
    }

    /// Calls it, under no lock.
    fn tell(&self, progress: MapProgress) {
        let listen = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(listen) = listen {
            listen(progress);
        }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use nix::errno::Errno;

    use super::{Broken, Listener, MapProgress, PART, Parts};

    const GIB: u64 = 1 << 30;

    /// Each part's offset and length, and what was told.
    fn made(parts: Parts) -> (Vec<(u64, u64)>, Vec<MapProgress>) {
        let told = Arc::new(Mutex::new(Vec::new()));
        let listener = Listener::default();
        let tell = told.clone();
        listener.set(move |progress| tell.lock().unwrap().push(progress));
        let mut made = Vec::new();
        let count = parts.each(&listener, |offset, length| {
            made.push((offset, length));
            Ok(())
        });
        assert_eq!(count, Ok(made.len() as u64));
        assert_eq!(count, Ok(parts.count()));
        let told = told.lock().unwrap().clone();
        (made, told)
    }

    #[test]
    fn a_short_mapping_is_one_and_tells_nothing() {
        for (iova, length) in [(0x1000, 4096), (GIB, PART), (GIB + 4096, PART - 4096)] {
            assert_eq!(made(Parts::of(iova, length, 100)), (vec![(0, length)], vec![]));
        }
    }

    #[test]
    fn parts_cover_the_whole_and_end_at_large_pages() {
        for (iova, length) in [
            (GIB, GIB),
            (GIB + 4096, GIB),
            (GIB - 4096, 3 * PART + 8192),
            (5 * GIB, 1 << 40),
            (5 * GIB + (7 << 21), (1 << 40) + 4096),
            (4096, u64::MAX >> 1),
        ] {
            let (parts, told) = made(Parts::of(iova, length, u64::MAX));
            assert!(parts.len() as u64 <= 66, "{} parts", parts.len());
            let mut next = 0;
            for &(offset, length) in &parts {
                assert_eq!(offset, next);
                next += length;
                assert!((iova + next).is_multiple_of(PART) || next == parts_end(&parts));
            }
            assert_eq!(next, length);
            assert_eq!(told.last(), Some(&MapProgress { done: length, total: length }));
            assert_eq!(told.len(), parts.len());
        }
    }

    fn parts_end(parts: &[(u64, u64)]) -> u64 {
        parts.iter().map(|(_, length)| length).sum()
    }

    #[test]
    fn where_mappings_are_scarce_there_is_one_part() {
        assert_eq!(made(Parts::of(GIB, GIB, 4)).0.len(), 4);
        assert_eq!(made(Parts::of(GIB, GIB, 3)).0, [(0, GIB)]);
    }

    #[test]
    fn a_part_that_fails_ends_it_with_what_was_done() {
        let parts = Parts::of(GIB, GIB, 100);
        let outcome = parts.each(&Listener::default(), |offset, _| {
            if offset == 2 * PART { Err(Errno::ENOMEM) } else { Ok(()) }
        });
        assert_eq!(outcome, Err(Broken { errno: Errno::ENOMEM, done: 2 * PART, count: 2 }));
    }
}
