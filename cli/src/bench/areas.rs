//! The memory that is copied: how much of it, and what it holds.
//!
//! Every contender, memcpy and each engine, has a source and a destination of its own, all of one length and of one kind
//! of memory: anonymous, on transparent huge pages where the kernel has them. All sources hold the same bytes, none
//! of which is [`UNTOUCHED`]; all destinations hold nothing else until they are copied to.
//!
//! With t threads a thread has the t-th part of both, in which its blocks lie side by side. A cold copy goes to any
//! block of the part; a warm one to the few at the part's beginning.

use std::io;

use memmap2::{Advice, MmapMut};
use serde::Serialize;

use super::{
    machine::Machine,
    settings::{BadSettings, Cache, Settings},
};

/// What a destination holds where nothing was copied to.
pub(super) const UNTOUCHED: u8 = 0xa5;

/// What a thread's part of a warm area has, in bytes, unless one block is longer. Source and destination fit the
/// second-level cache of every server processor.
const WARM_PART: u64 = 256 << 10;

/// What threads' parts begin at a multiple of, in bytes, wherever they are long enough.
const PAGE: u64 = 4096;

/// How many times the last-level cache a cold working set is.
const COLD: u64 = 4;

/// What the last-level cache is taken for where the system does not tell, in bytes.
const USUAL_CACHE: u64 = 64 << 20;

/// How long each source and each destination is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Lengths {
    /// The length of each source and each destination, in bytes.
    pub(super) area_bytes: u64,
    /// What cold copies ought to visit, in bytes: 4 times the last-level cache.
    pub(super) cold_target_bytes: u64,
    /// Whether they do. `null` where no copy is cold.
    pub(super) cold_enough: Option<bool>,
}

/// The blocks of one size in an area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Blocks {
    pub(super) size: u64,
    pub(super) threads: u32,
    /// Where each thread's part begins, and the length of what it leaves to the next, in bytes.
    pub(super) stride: u64,
    /// How many of its blocks a thread visits.
    pub(super) count: u64,
}

impl Lengths {
    /// Chooses them, by what memory there is. At most half of what is available is taken.
    pub(super) fn choose(
        settings: &Settings,
        working_set: Option<u64>,
        machine: &Machine,
        engines: usize,
    ) -> Result<Self, BadSettings> {
        let (size, threads) = (settings.largest(), settings.most_threads());
        let contenders = engines as u64 + 1;
        let block_each = size.saturating_mul(threads.into());
        let is_cold = settings.caches.contains(&Cache::Cold);
        let cache = machine.last_level_cache_bytes.unwrap_or(USUAL_CACHE);
        let target = cache.saturating_mul(COLD);
        // A part is rounded down to whole pages and blocks: one more of each for each thread makes up for that.
        let rounding = size.saturating_add(PAGE).saturating_mul(threads.into());
        let wanted = match (working_set, is_cold) {
            (Some(given), true) if given / 2 < block_each => {
                let needed = block_each.saturating_mul(2);
                return Err(BadSettings::SmallWorkingSet { given, needed, size, threads });
            }
            (Some(given), true) => given / 2,
            (None, true) => (target / 2).saturating_add(rounding),
            (_, false) => 0,
        };
        let warm = size.max(WARM_PART).saturating_mul(threads.into());
        let least = if working_set.is_some() { wanted.max(block_each) } else { warm };
        let available = machine.available_memory_bytes.map_or(u64::MAX, |bytes| bytes / 2);
        let most = available / (2 * contenders);
        if least > most {
            let needed = least.saturating_mul(2 * contenders);
            let remedy = match working_set {
                Some(_) if is_cold => "a smaller --working-set or fewer engines",
                _ => "smaller --sizes, fewer --threads or fewer engines",
            };
            return Err(BadSettings::Memory { needed, available, remedy });
        }
        let area = wanted.min(most).max(least);
        let lengths = Self { area_bytes: area, cold_target_bytes: target, cold_enough: None };
        let smallest = settings.sizes.iter().flat_map(|size| {
            let visited = |threads: &u32| lengths.blocks(Cache::Cold, *size, *threads).visited();
            settings.threads.iter().map(visited)
        });
        let enough = smallest.min().is_some_and(|bytes| bytes >= target);
        Ok(Self { cold_enough: is_cold.then_some(enough), ..lengths })
    }

    /// The blocks that copies of one size visit.
    pub(super) fn blocks(&self, cache: Cache, size: u64, threads: u32) -> Blocks {
        let part = self.area_bytes / u64::from(threads.max(1));
        let pages = part - part % PAGE;
        let part = if pages >= size { pages } else { part };
        let visited = match cache {
            Cache::Cold => part,
            Cache::Warm => part.min(WARM_PART.max(size)),
        };
        Blocks { size, threads, stride: part, count: (visited / size).max(1) }
    }
}

impl Blocks {
    /// How many bytes are visited, sources and destinations together.
    pub(super) fn visited(&self) -> u64 {
        2 * u64::from(self.threads) * self.count * self.size
    }
}

/// The source and the destination of a contender.
#[derive(Debug)]
pub(super) struct Areas {
    pub(super) source: MmapMut,
    pub(super) destination: MmapMut,
}

impl Areas {
    /// Makes both, every page of them present.
    pub(super) fn new(length: u64) -> io::Result<Self> {
        let (mut source, mut destination) = (map(length)?, map(length)?);
        fill(0, &mut source);
        destination.fill(UNTOUCHED);
        Ok(Self { source, destination })
    }
}

fn map(length: u64) -> io::Result<MmapMut> {
    let length = usize::try_from(length).map_err(io::Error::other)?;
    let memory = MmapMut::map_anon(length)?;
    // Where the kernel has none, ordinary pages do.
    let _ = memory.advise(Advice::HugePage);
    Ok(memory)
}

/// Writes what every source holds from `offset` on: bytes of which no two blocks are alike, and none is [`UNTOUCHED`].
pub(super) fn fill(offset: u64, buffer: &mut [u8]) {
    let lead = (offset % 8) as usize;
    let (first, rest) = buffer.split_at_mut(buffer.len().min((8 - lead) % 8));
    first.copy_from_slice(&word(offset / 8)[lead..][..first.len()]);
    for (bytes, number) in rest.chunks_mut(8).zip(offset.div_ceil(8)..) {
        bytes.copy_from_slice(&word(number)[..bytes.len()]);
    }
}

/// Eight bytes of a source, by their number.
fn word(number: u64) -> [u8; 8] {
    const ONES: u64 = 0x0101_0101_0101_0101;
    // splitmix64's finaliser; the highest bit of each byte is cleared, and UNTOUCHED has it set.
    let mixed = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    ((mixed ^ (mixed >> 27)) & (ONES * 0x7f)).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::{Areas, Cache, Lengths, Machine, UNTOUCHED, fill};
    use crate::bench::settings::{Settings, tests::arguments};

    fn machine(cache: u64, memory: u64) -> Machine {
        Machine {
            cpu: None,
            cpus: Some(2),
            last_level_cache_bytes: Some(cache),
            available_memory_bytes: Some(memory),
        }
    }

    fn lengths(line: &str, machine: &Machine, engines: usize) -> Result<Lengths, String> {
        let arguments = arguments(line);
        let settings = Settings::new(&arguments).unwrap();
        Lengths::choose(&settings, arguments.working_set, machine, engines)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn cold_copies_visit_four_times_the_cache_at_every_size_and_number_of_threads() {
        let lengths = lengths("--threads 1,3 --sizes 64,1000,4MiB", &machine(32 << 20, 1 << 40), 2);
        let lengths = lengths.unwrap();
        assert_eq!(lengths.cold_enough, Some(true));
        for (size, threads) in [(64, 1), (1000, 3), (4 << 20, 3), (4 << 20, 1)] {
            let blocks = lengths.blocks(Cache::Cold, size, threads);
            assert!(blocks.visited() >= 128 << 20, "{blocks:?}");
            assert!(blocks.count * size <= blocks.stride && blocks.stride.is_multiple_of(4096));
            assert!(blocks.stride * u64::from(threads) <= lengths.area_bytes);
        }
    }

    #[test]
    fn where_there_is_too_little_memory_the_set_is_smaller_and_says_so() {
        let lengths = lengths("--sizes 4KiB", &machine(32 << 20, 64 << 20), 1).unwrap();
        assert_eq!((lengths.area_bytes, lengths.cold_enough), (8 << 20, Some(false)));
        assert_eq!(lengths.cold_target_bytes, 128 << 20);
        let short = Lengths::choose(
            &Settings::new(&arguments("--sizes 1GiB --threads 2")).unwrap(),
            None,
            &machine(32 << 20, 8 << 30),
            1,
        );
        let message = short.unwrap_err().to_string();
        assert!(message.starts_with("8589934592 bytes of memory are needed and 4294967296"));
        assert!(message.contains("smaller --sizes"), "{message}");
    }

    #[test]
    fn a_working_set_that_was_given_is_taken_or_refused() {
        let lengths = |line| lengths(line, &machine(32 << 20, 1 << 30), 1);
        let given = lengths("--working-set 1MiB --sizes 64KiB").unwrap();
        assert_eq!((given.area_bytes, given.cold_enough), (512 << 10, Some(false)));
        let refused = lengths("--working-set 1MiB --sizes 1MiB --threads 2").unwrap_err();
        assert!(refused.contains("--working-set 1048576: 4194304 bytes are needed"), "{refused}");
        let refused = lengths("--working-set 4GiB").unwrap_err();
        assert!(refused.contains("a smaller --working-set"), "{refused}");
    }

    #[test]
    fn warm_copies_visit_little_and_need_little() {
        let lengths = lengths("--warm --threads 2 --sizes 64,1MiB", &machine(32 << 20, 1 << 30), 1);
        let lengths = lengths.unwrap();
        assert_eq!((lengths.area_bytes, lengths.cold_enough), (2 << 20, None));
        assert_eq!(lengths.blocks(Cache::Warm, 64, 2).visited(), 2 * 2 * (256 << 10));
        assert_eq!(lengths.blocks(Cache::Warm, 1 << 20, 2).visited(), 2 * 2 * (1 << 20));
    }

    #[test]
    fn sources_are_alike_and_have_no_byte_of_an_untouched_destination() {
        let [one, other] = [(); 2].map(|()| Areas::new(100_001).unwrap());
        assert!(one.source[..] == other.source[..]);
        assert!(!one.source.contains(&UNTOUCHED));
        assert!(one.destination.iter().all(|byte| *byte == UNTOUCHED));
        let mut blocks: Vec<_> = one.source.chunks(64).collect();
        blocks.sort_unstable();
        assert!(blocks.windows(2).all(|pair| pair[0] != pair[1]));
        for (offset, length) in
            (0..20).flat_map(|offset| (0..30).map(move |length| (offset, length)))
        {
            let mut bytes = vec![UNTOUCHED; length];
            fill(offset, &mut bytes);
            assert_eq!(bytes, one.source[offset as usize..][..length], "{length} from {offset} on");
        }
    }
}
