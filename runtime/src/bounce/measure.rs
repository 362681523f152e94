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
const LONGEST: usize = 4 << 20;
/// How often each way is tried for each length, after once that does not count.
const ROUNDS: usize = 15;

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

/// Measures both ways, for lengths from 1 KiB to 4 MiB. Takes a second or less, and 12 MiB; measure while nothing else
/// uses the runtime.
///
/// # Errors
///
/// Any of [`Runtime::allocate`], [`Runtime::register`] and [`Region::copy_to`].
///
/// # Cancellation
///
/// What was begun is finished, and its memory given back.
pub async fn measure(runtime: &Runtime) -> Result<Crossover, Error> {
    let pool = BouncePool::new(runtime, 1, LONGEST)?;
    let destination = runtime.allocate(LONGEST)?;
    let mut points = Vec::new();
    let mut length = SHORTEST;
    while length <= LONGEST {
        let mut bytes = vec![1; length];
        let (mut bounced, mut mapped) = ([Duration::ZERO; ROUNDS], [Duration::ZERO; ROUNDS]);
        for round in 0..=ROUNDS {
            let start = Instant::now();
            pool.copy_from_slice(&bytes, &destination, 0).await?;
            let between = Instant::now();
            bytes = map_once(runtime, bytes, &destination).await?;
            let end = Instant::now();
            // The first one warms up.
            if let Some(at) = round.checked_sub(1) {
                bounced[at] = between - start;
                mapped[at] = end - between;
            }
        }
        points.push(Point { bytes: length, bounced: median(bounced), mapped: median(mapped) });
        length *= 2;
    }
    Ok(Crossover::of(points))
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

fn median(mut times: [Duration; ROUNDS]) -> Duration {
    times.sort_unstable();
    times[ROUNDS / 2]
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
