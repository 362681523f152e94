//! What is measured: every check that can be made before anything is.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::unistd::{AccessFlags, access};
use serde::Serialize;
use thiserror::Error;

use super::{arguments::BenchArguments, stopwatch::Limits};
use crate::args::MAX_DEPTH;

/// What part of a point's time it runs before it is measured.
const WARM_UP: u32 = 8;

/// What is measured: each size with each number of threads and each depth, in each state of the caches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    /// In bytes, ascending.
    pub(super) sizes: Vec<u64>,
    /// Ascending.
    pub(super) depths: Vec<u32>,
    /// Ascending.
    pub(super) threads: Vec<u32>,
    pub(super) caches: Vec<Cache>,
    pub(super) time: Duration,
    pub(super) ring_entries: u32,
    /// The core of every poller; `None` where they float.
    pub(super) core: Option<usize>,
}

/// Whether the caches have what is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Cache {
    Cold,
    Warm,
}

impl Cache {
    /// Its name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Cold => "cold",
            Self::Warm => "warm",
        }
    }
}

/// Where memcpy and every engine are measured, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) cache: Cache,
    pub(super) threads: u32,
    /// In bytes.
    pub(super) size: u64,
}

/// What cannot be measured as it was asked for.
#[derive(Debug, Error)]
pub(super) enum BadSettings {
    #[error(
        "--depths {depth} with --threads {threads} are {} copies in flight, and the limit is {MAX_DEPTH}: use fewer of either",
        u64::from(*depth) * u64::from(*threads)
    )]
    TooManyInFlight { depth: u32, threads: u32 },
    #[error(
        "--working-set {given}: {needed} bytes are needed for a source and a destination of {size} bytes, times {threads} \
         (--threads): use at least that, or smaller --sizes"
    )]
    SmallWorkingSet { given: u64, needed: u64, size: u64, threads: u32 },
    #[error(
        "{needed} bytes of memory are needed and {available} are available for it: use {remedy}"
    )]
    Memory { needed: u64, available: u64, remedy: &'static str },
    #[error("{option} {}: {source}: use a path that can be written to", path.display())]
    NotWritable { option: &'static str, path: PathBuf, source: io::Error },
}

impl Settings {
    /// Checks what was asked for.
    pub(super) fn new(arguments: &BenchArguments) -> Result<Self, BadSettings> {
        let depths = ascending(&arguments.depths);
        let threads = ascending(&arguments.threads);
        let (depth, most_threads) = (last(&depths), last(&threads));
        // A product that does not fit is beyond the limit, too.
        let in_flight = depth.saturating_mul(most_threads);
        if i64::from(in_flight) > MAX_DEPTH {
            return Err(BadSettings::TooManyInFlight { depth, threads: most_threads });
        }
        for (option, path) in [("--json", &arguments.json), ("--plot", &arguments.plot)] {
            if let Some(path) = path {
                writable(path).map_err(|source| BadSettings::NotWritable {
                    option,
                    path: path.clone(),
                    source,
                })?;
            }
        }
        let caches = match (arguments.cold, arguments.warm) {
            (true, false) => vec![Cache::Cold],
            (false, true) => vec![Cache::Warm],
            (true, true) | (false, false) => vec![Cache::Cold, Cache::Warm],
        };
        Ok(Self {
            sizes: ascending(&arguments.sizes),
            depths,
            threads,
            caches,
            time: arguments.seconds,
            ring_entries: in_flight.next_power_of_two().max(2),
            core: arguments.core,
        })
    }

    /// How long a point is measured.
    pub(super) fn limits(&self) -> Limits {
        Limits { warm_up: self.time / WARM_UP, time: self.time }
    }

    /// The greatest size, in bytes.
    pub(super) fn largest(&self) -> u64 {
        self.sizes.last().copied().unwrap_or(1)
    }

    /// The greatest number of threads.
    pub(super) fn most_threads(&self) -> u32 {
        last(&self.threads)
    }

    /// Every place, in the order of measurement: those that a table or a line of the drawing has follow each other.
    pub(super) fn places(&self) -> Vec<Place> {
        let mut places = Vec::new();
        for cache in &self.caches {
            for threads in &self.threads {
                let place = |size: &u64| Place { cache: *cache, threads: *threads, size: *size };
                places.extend(self.sizes.iter().map(place));
            }
        }
        places
    }

    /// How many points there are with so many engines: memcpy knows no depth.
    pub(super) fn points(&self, engines: usize) -> usize {
        self.places().len() * (1 + self.depths.len() * engines)
    }
}

fn ascending<T: Ord + Copy>(values: &[T]) -> Vec<T> {
    let mut values = values.to_vec();
    values.sort_unstable();
    values.dedup();
    values
}

fn last(values: &[u32]) -> u32 {
    values.last().copied().unwrap_or(1)
}

/// Whether a file can be written there, asked without making one.
fn writable(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Err(io::Error::from(nix::errno::Errno::EISDIR));
    }
    if path.exists() {
        return Ok(access(path, AccessFlags::W_OK)?);
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    // With a slash behind it, what is no directory is an error.
    Ok(access(&parent.join(""), AccessFlags::W_OK | AccessFlags::X_OK)?)
}

#[cfg(test)]
pub(super) mod tests {
    use clap::Parser;

    use super::{BadSettings, Cache, Settings};
    use crate::{
        args::{Arguments, Command},
        bench::BenchArguments,
    };

    /// What a command line says.
    pub(in crate::bench) fn arguments(line: &str) -> BenchArguments {
        let words = ["dmaring", "bench"].into_iter().chain(line.split_whitespace());
        let Command::Bench(arguments) = Arguments::try_parse_from(words).unwrap().command else {
            panic!("{line} is no bench");
        };
        arguments
    }

    fn settings(line: &str) -> Result<Settings, BadSettings> {
        Settings::new(&arguments(line))
    }

    #[test]
    fn the_default_set_is_under_a_minute_of_measuring() {
        let settings = settings("").unwrap();
        assert_eq!(settings.sizes.len(), 9);
        assert_eq!((settings.sizes[0], settings.largest()), (64, 4 << 20));
        assert_eq!((&settings.depths[..], &settings.threads[..]), (&[1, 32][..], &[1][..]));
        assert_eq!(settings.caches, [Cache::Cold, Cache::Warm]);
        let limits = settings.limits();
        let points = u32::try_from(settings.points(1)).unwrap();
        assert_eq!(points, 9 * 2 * 3);
        // The rest is for making the buffers and for reading every destination.
        assert!(((limits.time + limits.warm_up) * points).as_secs() < 20);
    }

    #[test]
    fn lists_are_sorted_and_named_once() {
        let settings = settings("--sizes 1MiB,64,1MiB --depths 8,2,8 --threads 3,1").unwrap();
        assert_eq!(settings.sizes, [64, 1 << 20]);
        assert_eq!((settings.depths, settings.threads), (vec![2, 8], vec![1, 3]));
        assert_eq!(settings.ring_entries, 32);
    }

    #[test]
    fn cold_and_warm_are_both_or_those_named() {
        let caches = |line| settings(line).unwrap().caches;
        assert_eq!(caches("--cold"), [Cache::Cold]);
        assert_eq!(caches("--warm"), [Cache::Warm]);
        assert_eq!(caches("--warm --cold"), [Cache::Cold, Cache::Warm]);
    }

    #[test]
    fn more_in_flight_than_a_ring_has_is_refused() {
        assert_eq!(settings("--depths 16384 --threads 2").unwrap().ring_entries, 32_768);
        let message = settings("--depths 1,16385 --threads 2,1").unwrap_err().to_string();
        assert_eq!(
            message,
            "--depths 16385 with --threads 2 are 32770 copies in flight, and the limit is 32768: use fewer of either"
        );
    }

    #[test]
    fn files_that_cannot_be_written_are_refused_before_anything_is_measured() {
        for (line, parts) in [
            ("--json /dev/null/x", ["--json /dev/null/x", "Not a directory"]),
            ("--plot /nowhere/at/all.svg", ["--plot /nowhere/at/all.svg", "No such file"]),
            ("--json /dev", ["--json /dev", "Is a directory"]),
        ] {
            let message = settings(line).unwrap_err().to_string();
            assert!(parts.iter().all(|part| message.contains(part)), "{line}: {message}");
        }
        assert!(settings("--json figures.json --plot /dev/null").is_ok());
    }
}
