//! The first words of the statistics' memory: what it is, and how it is laid out.
//!
//! The creator writes each once, the magic last. Whoever maps the memory reads each once and believes none: all
//! but the number of engines, the process and the times must be what this version of the layout says.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::{
    EngineCounters, RuntimeCounters, counter::Counter, histogram::BUCKETS, histogram::SUB_BUCKETS,
};

/// Begins the memory, when all else in it can be read.
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"dmarstat");
/// The version of the layout that this crate writes and reads.
pub(crate) const ABI_VERSION: u64 = 1;
/// The most engines of a runtime that is observed: more than the channels of eight processors and the CPU, and less than 1 MiB to
/// be mapped, whatever the file says.
pub(crate) const MAX_ENGINES: u64 = 128;

#[derive(Debug)]
#[repr(C, align(128))]
pub(crate) struct Header {
    magic: AtomicU64,
    version: Counter,
    /// Of the whole memory, in bytes.
    length: Counter,
    /// The sizes of the blocks, in bytes.
    header: Counter,
    runtime: Counter,
    engine: Counter,
    /// How many blocks of engines there are.
    engines: Counter,
    /// Of each histogram.
    buckets: Counter,
    /// In each power of two.
    sub_buckets: Counter,
    /// The process, as it knows itself.
    pid: Counter,
    /// Nanoseconds of Unix time.
    started: Counter,
    /// 0 while the runtime works, 1 afterwards.
    ended: Counter,
}

/// A word that does not hold what it must.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mismatch {
    pub(crate) word: &'static str,
    pub(crate) found: u64,
    pub(crate) expected: u64,
}

impl Header {
    /// Writes all words, for so many engines.
    pub(super) fn initialise(&self, engines: usize, pid: u32, started: u64) {
        for (_, word, value) in self.fixed(engines as u64) {
            word.set(value);
        }
        self.engines.set(engines as u64);
        self.pid.set(pid.into());
        self.started.set(started);
        self.ended.set(0);
        self.magic.store(MAGIC, Ordering::Release);
    }

    /// How many engines there are, once everything is as it should be in memory of this length.
    pub(super) fn identify(&self, length: usize) -> Result<usize, Mismatch> {
        let magic = self.magic.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        expect("magic", magic, MAGIC)?;
        expect("version", self.version.get(), ABI_VERSION)?;
        let engines = self.engines.get();
        if engines > MAX_ENGINES {
            return Err(Mismatch { word: "engines", found: engines, expected: MAX_ENGINES });
        }
        for (name, word, value) in self.fixed(engines) {
            expect(name, word.get(), value)?;
        }
        expect("length of the file", length as u64, Self::length_for(engines))?;
        usize::try_from(engines).map_err(|_| Mismatch {
            word: "engines",
            found: engines,
            expected: MAX_ENGINES,
        })
    }

    /// The runtime has ended: nothing is written any more.
    pub(super) fn end(&self) {
        self.ended.set(1);
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.get() != 0
    }

    pub(super) fn pid(&self) -> u64 {
        self.pid.get()
    }

    /// In nanoseconds of Unix time.
    pub(super) fn started(&self) -> u64 {
        self.started.get()
    }

    /// Where the runtime's block begins.
    pub(super) const fn runtime_offset() -> usize {
        size_of::<Self>()
    }

    /// Where the engines' blocks begin.
    pub(super) const fn engines_offset() -> usize {
        Self::runtime_offset() + size_of::<RuntimeCounters>()
    }

    /// How long the memory is for so many engines, in bytes.
    pub(super) const fn length_for(engines: u64) -> u64 {
        (Self::engines_offset() as u64)
            .saturating_add(engines.saturating_mul(size_of::<EngineCounters>() as u64))
    }

    /// The words that follow from the version and the number of engines.
    fn fixed(&self, engines: u64) -> [(&'static str, &Counter, u64); 7] {
        [
            ("version", &self.version, ABI_VERSION),
            ("length", &self.length, Self::length_for(engines)),
            ("header size", &self.header, size_of::<Self>() as u64),
            ("runtime size", &self.runtime, size_of::<RuntimeCounters>() as u64),
            ("engine size", &self.engine, size_of::<EngineCounters>() as u64),
            ("buckets", &self.buckets, BUCKETS as u64),
            ("sub-buckets", &self.sub_buckets, SUB_BUCKETS),
        ]
    }
}

fn expect(word: &'static str, found: u64, expected: u64) -> Result<(), Mismatch> {
    if found == expected { Ok(()) } else { Err(Mismatch { word, found, expected }) }
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    /// The figures of `docs/statistics.md`.
    #[test]
    fn the_layout_is_the_documented_one() {
        assert_eq!(MAGIC, 0x7461_7473_7261_6d64);
        assert_eq!((size_of::<Header>(), align_of::<Header>()), (128, 128));
        assert_eq!(offset_of!(Header, engines), 48);
        assert_eq!(offset_of!(Header, pid), 72);
        assert_eq!(offset_of!(Header, ended), 88);
        assert_eq!((Header::runtime_offset(), size_of::<RuntimeCounters>()), (128, 4864));
        assert_eq!(offset_of!(RuntimeCounters, in_flight), 48);
        assert_eq!(offset_of!(RuntimeCounters, latency), 72);
        assert_eq!((Header::engines_offset(), size_of::<EngineCounters>()), (4992, 4992));
        assert_eq!(offset_of!(EngineCounters, latency), 80);
        assert_eq!(offset_of!(EngineCounters, name), 4824);
        assert_eq!(Header::length_for(2), 3 * 4992);
        assert_eq!(Header::length_for(u64::MAX), u64::MAX);
        assert_eq!((BUCKETS, SUB_BUCKETS), (592, 16));
    }
}
