//! What a program of measurements prints: one line of JSON for each work.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    time::{Duration, Instant},
};

use serde::Serialize;

use crate::{
    pinning::{self, Counts, Threads},
    shared,
};

/// In how many equal parts a rate is measured.
pub const CHUNKS: u64 = 8;

/// What the samples are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Nanoseconds.
    Ns,
    /// Operations in a second.
    PerS,
    /// Bytes in a second.
    BytesPerS,
    /// Nanoseconds of a core's time in a second.
    NsPerS,
}

/// One work of one side, measured once.
#[derive(Clone, Debug, Serialize)]
pub struct Record<'a> {
    /// Who did it.
    pub side: &'a str,
    /// What was to be done.
    pub work: &'a str,
    /// What the samples are.
    pub unit: Unit,
    /// Values, and how often each was seen.
    pub samples: Vec<(u64, u64)>,
    /// Whether every byte was found where it belongs afterwards, where bytes were moved.
    pub verified: bool,
    /// What happened to the pinned threads.
    pub threads: Threads,
    /// What was [found](shared::found) of both cores before it: how long a loop took.
    pub loop_ns: [u64; 2],
}

/// A measurement under way: it begins with a look at the threads.
#[derive(Debug)]
pub struct Measuring<'a> {
    side: &'a str,
    work: &'a str,
    before: Counts,
}

impl<'a> Measuring<'a> {
    /// Begins.
    ///
    /// # Errors
    ///
    /// If `/proc` cannot be read.
    pub fn begin(side: &'a str, work: &'a str) -> io::Result<Self> {
        Ok(Self { side, work, before: pinning::look()? })
    }

    /// Ends: looks at the threads again. Call it while they are there; verify afterwards.
    ///
    /// # Errors
    ///
    /// If `/proc` cannot be read.
    pub fn end(self, unit: Unit, samples: Vec<(u64, u64)>) -> io::Result<Record<'a>> {
        let Self { side, work, before } = self;
        let threads = pinning::look()?.since(&before);
        let loop_ns = shared::found();
        Ok(Record { side, work, unit, samples, verified: false, threads, loop_ns })
    }
}

impl Record<'_> {
    /// The upper median of the samples, which are in order; 0 if there are none.
    #[must_use]
    pub fn median(&self) -> u64 {
        let half = self.samples.iter().map(|(_, count)| count).sum::<u64>() / 2;
        let mut seen = 0;
        let beyond = self.samples.iter().find(|(_, count)| {
            seen += count;
            seen > half
        });
        beyond.map_or(0, |&(value, _)| value)
    }

    /// Prints the line.
    ///
    /// # Errors
    ///
    /// If standard output cannot be written to.
    pub fn print(mut self, verified: bool) -> io::Result<()> {
        self.verified = verified;
        let mut output = io::stdout().lock();
        serde_json::to_writer(&mut output, &self)?;
        output.write_all(b"\n")
    }
}

/// How often each duration was seen, in nanoseconds; what is longer than 100 µs counts as that.
#[derive(Debug)]
pub struct Latencies {
    counts: Vec<u64>,
    last: Instant,
}

impl Latencies {
    const MOST: usize = 100_000;

    /// None yet; the first begins now.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "it begins to measure")]
    pub fn new() -> Self {
        Self { counts: vec![0; Self::MOST + 1], last: Instant::now() }
    }

    /// One has ended and the next begins. One look at the clock.
    pub fn tick(&mut self) {
        let now = Instant::now();
        let took = (now - self.last).as_nanos() as usize;
        self.last = now;
        self.counts[took.min(Self::MOST)] += 1;
    }

    /// Forgets what was seen: it was to warm up.
    pub fn reset(&mut self) {
        self.counts.fill(0);
        self.last = Instant::now();
    }

    /// The durations that were seen, and how often.
    #[must_use]
    pub fn samples(&self) -> Vec<(u64, u64)> {
        let counts = (0..).zip(&self.counts);
        counts.filter(|(_, count)| **count > 0).map(|(took, &count)| (took, count)).collect()
    }
}

/// When each of the equal parts of a work was over.
#[derive(Debug)]
pub struct Chunks {
    part: u64,
    times: Vec<Instant>,
}

impl Chunks {
    /// The parts of `count` operations; the first begins now.
    #[must_use]
    pub fn of(count: u64) -> Self {
        let mut times = Vec::with_capacity(CHUNKS as usize + 1);
        times.push(Instant::now());
        Self { part: (count / CHUNKS).max(1), times }
    }

    /// So many operations have ended by now.
    pub fn ended(&mut self, count: u64) {
        while self.times.len() as u64 <= CHUNKS && count >= self.part * self.times.len() as u64 {
            self.times.push(Instant::now());
        }
    }

    /// The rate of each part, where one operation counts as `weight`.
    #[must_use]
    pub fn rates(&self, weight: u64) -> Vec<(u64, u64)> {
        let amount = (self.part * weight) as f64;
        let rate = |took: Duration| (amount / took.as_secs_f64()) as u64;
        let mut rates = BTreeMap::new();
        for pair in self.times.windows(2) {
            *rates.entry(rate(pair[1] - pair[0])).or_insert(0) += 1;
        }
        rates.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{CHUNKS, Chunks, Latencies};

    #[test]
    fn every_part_has_a_rate() {
        let mut chunks = Chunks::of(80);
        (1..=80).for_each(|count| chunks.ended(count));
        let rates = chunks.rates(64);
        assert_eq!(rates.iter().map(|(_, count)| count).sum::<u64>(), CHUNKS);
        assert!(rates.iter().all(|&(rate, _)| rate > 0));
    }

    #[test]
    fn every_tick_is_a_sample_and_a_reset_forgets_them() {
        let mut latencies = Latencies::new();
        latencies.tick();
        latencies.reset();
        (0..5).for_each(|_| latencies.tick());
        assert_eq!(latencies.samples().iter().map(|(_, count)| count).sum::<u64>(), 5);
    }
}
