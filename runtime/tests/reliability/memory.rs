//! All memory that the device can reach, and what it may hold in the end.
//!
//! Every operation writes a range of its own, once, with bytes of nobody's around it. In the end an operation that
//! said `Ok` has exactly its source's bytes there; of any other, each byte is the old one or its source's; and
//! everything else is as it was.

use dmaring::{Region, Runtime};

use crate::{
    common::{bytes, pattern},
    random::Random,
};

/// The longest transfer of the channel, in bytes, as log2: operations above it are in parts.
pub(crate) const XFERCAP_LOG2: u8 = 7;
/// The shortest operation, in bytes: longer than what a short copy moves.
pub(crate) const SHORTEST: u64 = 32;
/// From one destination to the next.
const STRIDE: u64 = 512;
/// Destinations of each region.
const PLACES: u64 = 40;
const SOURCE_BYTES: usize = 4096;
/// Where the destinations begin; two regions of sources are before.
const DESTINATIONS: usize = 2;

/// Regions with bytes to read, to write, and one that nobody uses.
pub(crate) struct Memory {
    regions: Vec<Region>,
    before: Vec<Vec<u8>>,
    works: Vec<Work>,
}

/// What an operation does.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    pub(crate) source: Source,
    /// The region, and the offset in it.
    pub(crate) destination: (usize, u64),
    pub(crate) length: u64,
    pub(crate) fenced: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Source {
    /// The region, and the offset in it.
    Region(usize, u64),
    Pattern(u64),
    /// What another work writes.
    Written(usize),
}

impl Memory {
    pub(crate) fn new(runtime: &Runtime, random: &mut Random) -> Self {
        let written = (STRIDE * PLACES) as usize;
        let lengths = [SOURCE_BYTES, SOURCE_BYTES, written, written, 4096];
        let before = lengths.map(|length| pattern(random.below(256) as usize, length)).to_vec();
        let region = |contents: &Vec<u8>| {
            let region = runtime.allocate(contents.len()).unwrap();
            region.write_at(0, contents).unwrap();
            region
        };
        Self { regions: before.iter().map(region).collect(), before, works: Vec::new() }
    }

    /// A work of [`SHORTEST`] to `longest` bytes.
    pub(crate) fn plan(&mut self, random: &mut Random, longest: u64) -> usize {
        let length = SHORTEST + random.below(longest - SHORTEST + 1);
        let source = if random.once_in(4) {
            Source::Pattern(random.word())
        } else {
            let from = random.below(SOURCE_BYTES as u64 - length);
            Source::Region(random.below(DESTINATIONS as u64) as usize, from)
        };
        self.add(random, Work { source, destination: (0, 0), length, fenced: false })
    }

    /// A fenced work that reads what `other` writes.
    pub(crate) fn plan_behind(&mut self, random: &mut Random, other: usize) -> usize {
        let length = self.works[other].length;
        let source = Source::Written(other);
        self.add(random, Work { source, destination: (0, 0), length, fenced: true })
    }

    fn add(&mut self, random: &mut Random, work: Work) -> usize {
        let number = self.works.len() as u64;
        assert!(number < 2 * PLACES, "there is no place left");
        let region = DESTINATIONS + (number % 2) as usize;
        let offset = number / 2 * STRIDE + 1 + random.below(64);
        self.works.push(Work { destination: (region, offset), ..work });
        number as usize
    }

    pub(crate) fn work(&self, number: usize) -> &Work {
        &self.works[number]
    }

    pub(crate) fn region(&self, number: usize) -> &Region {
        &self.regions[number]
    }

    /// Where a work reads; `None` for a fill.
    pub(crate) fn source(&self, number: usize) -> Option<(usize, u64)> {
        match self.works[number].source {
            Source::Region(region, offset) => Some((region, offset)),
            Source::Written(other) => Some(self.works[other].destination),
            Source::Pattern(_) => None,
        }
    }

    /// What is wrong with what a work that said `Ok` has written; `None`: nothing.
    pub(crate) fn mistake(&self, number: usize) -> Option<String> {
        let now = self.now(number);
        let expected = self.expected(number);
        let place = now.iter().zip(&expected).position(|(now, expected)| now != expected)?;
        let (found, wanted) = (now[place], expected[place]);
        let work = &self.works[number];
        Some(format!("byte {place} of {work:?}, which said Ok, is {found:#x} and not {wanted:#x}"))
    }

    /// Holds all memory against what operations said: a complaint for each that lied, and how many bytes changed that
    /// are nobody's destination.
    pub(crate) fn compare(&self, said_ok: impl Fn(usize) -> bool) -> (Vec<String>, usize) {
        let mut complaints = Vec::new();
        let mut nobodys: Vec<Vec<bool>> =
            self.before.iter().map(|bytes| vec![true; bytes.len()]).collect();
        for (number, work) in self.works.iter().enumerate() {
            let (region, offset) = work.destination;
            nobodys[region][offset as usize..][..work.length as usize].fill(false);
            if said_ok(number) {
                complaints.extend(self.mistake(number));
                continue;
            }
            let before = &self.before[region][offset as usize..];
            let (now, new) = (self.now(number), self.expected(number));
            let wild = (0..now.len()).find(|&at| now[at] != before[at] && now[at] != new[at]);
            if let Some(at) = wild {
                complaints.push(format!("byte {at} of {work:?}, which failed, is nobody's"));
            }
        }
        let changed = (0..self.regions.len()).map(|region| {
            let now = bytes(&self.regions[region], 0, self.before[region].len());
            let places = now.iter().zip(&self.before[region]).zip(&nobodys[region]);
            places.filter(|((now, before), nobodys)| **nobodys && now != before).count()
        });
        (complaints, changed.sum())
    }

    fn now(&self, number: usize) -> Vec<u8> {
        let Work { destination: (region, offset), length, .. } = self.works[number];
        bytes(&self.regions[region], offset, length as usize)
    }

    fn expected(&self, number: usize) -> Vec<u8> {
        let length = self.works[number].length as usize;
        match self.works[number].source {
            Source::Region(region, offset) => {
                self.before[region][offset as usize..][..length].to_vec()
            }
            Source::Pattern(pattern) => {
                pattern.to_le_bytes().into_iter().cycle().take(length).collect()
            }
            Source::Written(other) => self.now(other),
        }
    }
}
