//! From which length on mapping memory for the engines is faster than bouncing it: measured, not assumed.
//!
//! Both ways move the same bytes from a vector of the application's to one region. *Bounced*, the CPU copies them to a buffer
//! that is mapped, and an engine from there. *Mapped*, the vector is registered, an engine copies from it, and it is given back:
//! what a buffer costs that is used once. The two take turns, so that whatever else the machine does hits both; of each
//! length and way the median counts.

use std::time::{Duration, Instant};

use super::BouncePool;
use crate::{error::Error, region::Region, runtime::Runtime};

/// The lengths tried are the powers of two from here, in bytes.
const SHORTEST: usize = 1 << 10;
/// To here.
pub(crate) const LONGEST: usize = 4 << 20;
/// How often each way is tried for each length, after once that does not count.
const ROUNDS: u32 = 15;

/// Both ways for one length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Point {
    /// The length in bytes.
    pub bytes: usize,
    /// How long it took through a bounce buffer: the median.
    pub bounced: Duration,
    /// How long it took to register, copy from and give back: the median.
    pub mapped: Duration,
}

/// When to bounce and when to map, on this machine and with this runtime's engines.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Crossover {
    /// What was measured, by ascending length.
    pub points: Vec<Point>,
    /// The shortest length measured from which on mapping was never slower, in bytes. `None`: the longest was still
    /// faster bounced.
    pub bytes: Option<usize>,
}

impl Crossover {
    /// Whether so many bytes that are used once are better bounced than mapped.
    #[must_use]
    pub fn bounces(&self, length: usize) -> bool {
        self.bytes.is_none_or(|bytes| length < bytes)
    }

    fn of(points: Vec<Point>) -> Self {
        let slower = |point: &Point| point.mapped > point.bounced;
        let first = points.iter().rposition(slower).map_or(0, |last| last + 1);
        let bytes = points.get(first).map(|point| point.bytes);
        Self { points, bytes }
    }
}

/// Measures both ways, for lengths from 1 KiB to 4 MiB. Takes a second or less, and 16 MiB; measure while nothing else
/// uses the runtime. [`Calibration::measure`](crate::Calibration::measure) does so too, and keeps what it finds.
///
/// # Errors
///
/// Any of [`Runtime::allocate`], [`Runtime::register`] and [`Region::copy_to`].
///
/// # Cancellation
///
/// What was begun is finished, and its memory given back.
pub async fn measure(runtime: &Runtime) -> Result<Crossover, Error> {
    let samples = samples(runtime, LONGEST, |rounds, _| rounds >= ROUNDS).await?;
    let points = samples.into_iter().map(|Samples { bytes, bounced, mapped }| Point {
        bytes,
        bounced: median(bounced),
        mapped: median(mapped),
    });
    Ok(Crossover::of(points.collect()))
}

/// How many nanoseconds each way took for one length, round by round.
#[derive(Debug)]
pub(crate) struct Samples {
    pub(crate) bytes: usize,
    pub(crate) bounced: Vec<u64>,
    pub(crate) mapped: Vec<u64>,
}

/// Both ways for each length up to `longest`, once a round, until `is_over` says so of the number of rounds and the time they
/// took; the round before them does not count.
pub(crate) async fn samples(
    runtime: &Runtime,
    longest: usize,
    is_over: impl Fn(u32, Duration) -> bool,
) -> Result<Vec<Samples>, Error> {
    let lengths = std::iter::successors(Some(SHORTEST), |bytes| Some(bytes * 2));
    let none = |bytes| Samples { bytes, bounced: Vec::new(), mapped: Vec::new() };
    let mut found: Vec<_> =
        lengths.take_while(|&bytes| bytes <= longest.min(LONGEST)).map(none).collect();
    let Some(longest) = found.last().map(|samples| samples.bytes) else { return Ok(found) };
    let pool = BouncePool::new(runtime, 1, longest)?;
    let destination = runtime.allocate(longest)?;
    let mut buffers: Vec<_> = found.iter().map(|samples| vec![1; samples.bytes]).collect();
    let mut begin = Instant::now();
    for round in 0.. {
        for (samples, buffer) in found.iter_mut().zip(&mut buffers) {
            let start = Instant::now();
            pool.copy_from_slice(buffer, &destination, 0).await?;
            let between = Instant::now();
            *buffer = map_once(runtime, std::mem::take(buffer), &destination).await?;
            let end = Instant::now();
            if round > 0 {
                samples.bounced.push(nanoseconds(between - start));
                samples.mapped.push(nanoseconds(end - between));
            }
        }
        if round == 0 {
            begin = Instant::now();
        } else if is_over(round, begin.elapsed()) {
            break;
        }
    }
    Ok(found)
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

async fn map_once(
    runtime: &Runtime,
    bytes: Vec<u8>,
    destination: &Region,
) -> Result<Vec<u8>, Error> {
    let length = bytes.len() as u64;
    let region = runtime.register(bytes)?;
    region.copy_to(0, destination, 0, length).await?;
    region.close_into().await
}

fn median(mut times: Vec<u64>) -> Duration {
    times.sort_unstable();
    Duration::from_nanos(times.get(times.len() / 2).copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crossover(points: &[(u64, u64)]) -> Option<usize> {
        let point = |(number, &(bounced, mapped)): (usize, &(u64, u64))| Point {
            bytes: 1024 << number,
            bounced: Duration::from_nanos(bounced),
            mapped: Duration::from_nanos(mapped),
        };
        let crossover = Crossover::of(points.iter().enumerate().map(point).collect());
        if let Some(bytes) = crossover.bytes {
            assert!(crossover.bounces(bytes - 1) && !crossover.bounces(bytes));
        } else {
            assert!(crossover.bounces(usize::MAX));
        }
        crossover.bytes
    }

    #[test]
    fn it_is_where_mapping_is_never_slower_again() {
        assert_eq!(crossover(&[(1, 5), (2, 5), (4, 5), (8, 5)]), Some(8192));
        assert_eq!(crossover(&[(1, 5), (6, 5), (4, 5), (8, 5)]), Some(8192), "one odd length");
        assert_eq!(crossover(&[(1, 5), (5, 5)]), Some(2048));
        assert_eq!(crossover(&[(6, 5), (8, 5)]), Some(1024));
        assert_eq!(crossover(&[(1, 5), (2, 5)]), None);
    }
}
