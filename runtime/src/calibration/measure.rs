//! The measurement: every way in turn, again and again, until the time is over.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Calibration, Comparison, Split, Timing, choice, machine::Machine, plan};
use crate::{
    bounce,
    error::{Error, ErrorKind},
    placement::{Course, Striping},
    region::Region,
    runtime::Runtime,
    shared::Shared,
};

/// How long a measurement takes unless told.
const TIME: Duration = Duration::from_secs(3);
/// How many rounds there are at least, unless they take far longer than they may, and at most.
const ROUNDS: (u32, u32) = (3, 25);
/// After how many times the time a round is the last one, however few there were.
const LATE: u32 = 3;
/// How many copies are in flight at a time.
const COPIES: u64 = 16;
/// How many bytes they have together at most, unless one has more.
const BYTES: u64 = 4 << 20;
/// The part of the time that one large copy may take.
const LARGE_COPIES: u32 = 200;

impl Calibration {
    /// Measures copies from one region to another, for about 3 seconds.
    ///
    /// Copies of different lengths are made by the host's CPU and by one engine; a large one is split in different ways; and
    /// copies are made whole and split as that was fastest, by length. Last, buffers that are used once are bounced and mapped, by
    /// length, with engines chosen as was found. All ways of a step take turns, each time 16
    /// copies in flight or fewer where they are long, and medians are compared, so that what else the machine does hits all
    /// alike.
    ///
    /// **The beginning of `destination` is overwritten**, up to 256 MiB. Meanwhile the runtime chooses engines as the
    /// measurement needs it, for every operation: what else is submitted is copied, and disturbs the figures.
    ///
    /// # Errors
    ///
    /// Whatever error a copy gives, [`Overlap`](ErrorKind::Overlap) among them; [`Busy`](ErrorKind::Busy) while the runtime is being
    /// measured already; [`Unsupported`](ErrorKind::Unsupported) for memory of a device.
    ///
    /// # Cancellation
    ///
    /// Engines are chosen as before once the future is dropped.
    pub async fn measure(
        runtime: &Runtime,
        source: &Region,
        destination: &Region,
    ) -> Result<Self, Error> {
        Self::measure_within(runtime, source, destination, TIME).await
    }

    /// The same, for about as long as `time`. Three rounds are made of each step where that takes no more than three times as long,
    /// and one in any case: [`Timing::samples`] tells.
    ///
    /// # Errors
    ///
    /// As [`measure`](Self::measure).
    ///
    /// # Cancellation
    ///
    /// As [`measure`](Self::measure).
    pub async fn measure_within(
        runtime: &Runtime,
        source: &Region,
        destination: &Region,
        time: Duration,
    ) -> Result<Self, Error> {
        let shared = runtime.shared();
        if source.0.facts.device || destination.0.facts.device {
            let message = "memory of a device is an engine's wherever one reaches it, whatever was measured: measure between regions of memory";
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let bench = Bench { runtime, source, destination, _turn: Turn::take(shared)? };
        let engines = &shared.engines;
        let devices = engines.iter().filter(|engine| !engine.host_memory).count();
        let has_cpu = devices < engines.len();
        let length = source.len().min(destination.len());
        let mut calibration = Self {
            machine: Machine::here(engines, shared.pollers),
            nodes: [source.numa_node(), destination.numa_node()],
            kinds: Vec::new(),
            splits: Vec::new(),
            stripes: Vec::new(),
            bounces: Vec::new(),
        };
        if has_cpu && devices > 0 {
            let lengths = plan::kinds(length);
            let ways = [plan::alone(true), plan::alone(false)];
            calibration.kinds = bench.compare(&lengths, ways, time / 4).await?;
        }
        let whole = calibration.course();
        let devices = u32::try_from(devices).unwrap_or(u32::MAX);
        if engines.len() > 1 {
            bench.measure_splits(&mut calibration, whole, (devices, has_cpu), time / 4).await?;
        }
        shared.steering.set(calibration.course());
        let longest = usize::try_from(length).unwrap_or(usize::MAX).min(bounce::LONGEST);
        let is_over = |rounds, spent| is_over(rounds, spent, time / 4);
        let samples = bounce::samples(runtime, longest, is_over).await?;
        calibration.bounces = samples.into_iter().map(Comparison::of_buffers).collect();
        Ok(calibration)
    }
}

/// Whether so many rounds are enough, by what they took of the time they have.
fn is_over(rounds: u32, spent: Duration, time: Duration) -> bool {
    rounds >= ROUNDS.1 || rounds >= ROUNDS.0 && spent >= time || rounds > 0 && spent >= time * LATE
}

/// One runtime is measured by one at a time; what it was told before holds again afterwards.
struct Turn {
    shared: Arc<Shared>,
    before: Course,
}

impl Turn {
    fn take(shared: &Arc<Shared>) -> Result<Self, Error> {
        let busy = "the runtime is being calibrated: wait until that has ended";
        let before = shared.steering.begin_measuring();
        let before = before.ok_or_else(|| Error::new(ErrorKind::Busy, busy))?;
        Ok(Self { shared: shared.clone(), before })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.shared.steering.end_measuring(self.before);
    }
}

struct Bench<'a> {
    runtime: &'a Runtime,
    source: &'a Region,
    destination: &'a Region,
    _turn: Turn,
}

impl Bench<'_> {
    /// Both ways for each length.
    async fn compare(
        &self,
        lengths: &[u64],
        ways: [Course; 2],
        time: Duration,
    ) -> Result<Vec<Comparison>, Error> {
        let cases: Vec<_> =
            lengths.iter().flat_map(|&bytes| ways.map(|course| (bytes, course))).collect();
        let times = self.rounds(&cases, time).await?;
        let pairs = times.chunks_exact(2).zip(lengths);
        let compared = pairs.filter_map(|(pair, &bytes)| {
            let &[first, second] = pair else { return None };
            Some(Comparison { bytes, first, second })
        });
        Ok(compared.collect())
    }

    async fn measure_splits(
        &self,
        calibration: &mut Calibration,
        whole: Course,
        (devices, has_cpu): (u32, bool),
        time: Duration,
    ) -> Result<(), Error> {
        let length = self.source.len().min(self.destination.len());
        let mebibyte = (1 << 20).min(length);
        let one = self.rounds(&[(mebibyte, whole)], time / 10).await?;
        let nanoseconds = one.first().map_or(1, |time| time.nanoseconds);
        let allowed = u64::try_from((time / LARGE_COPIES).as_nanos()).unwrap_or(u64::MAX);
        let large = plan::large(length, nanoseconds, allowed);
        let ways = plan::splits(large, devices, has_cpu);
        let cases: Vec<_> = ways.iter().map(|&(_, course)| (large, course)).collect();
        let times = self.rounds(&cases, time).await?;
        let split = |(&(stripe, course), time): (&(u64, Course), Timing)| Split {
            bytes: large,
            engines: course.engines,
            cpu: course.cpu_joins,
            stripe,
            time,
        };
        calibration.splits = ways.iter().zip(times).map(split).collect();
        let Some(best) = choice::best_split(&calibration.splits) else { return Ok(()) };
        let striping = Striping { from: 0, stripe: best.stripe };
        let striped = Course { striping, engines: best.engines, cpu_joins: best.cpu, ..whole };
        let lengths = plan::stripes(best.stripe, large);
        calibration.stripes = self.compare(&lengths, [whole, striped], time).await?;
        Ok(())
    }

    /// Every case once a round, after a round that does not count.
    async fn rounds(&self, cases: &[(u64, Course)], time: Duration) -> Result<Vec<Timing>, Error> {
        let mut samples = vec![Vec::new(); cases.len()];
        for &(bytes, course) in cases {
            self.sample(bytes, course).await?;
        }
        let begin = Instant::now();
        for round in 0.. {
            if is_over(round, begin.elapsed(), time) {
                break;
            }
            for (&(bytes, course), samples) in cases.iter().zip(&mut samples) {
                samples.push(self.sample(bytes, course).await?);
            }
        }
        Ok(samples.into_iter().map(Timing::of).collect())
    }

    /// How many nanoseconds a copy takes, of several in flight.
    async fn sample(&self, bytes: u64, course: Course) -> Result<u64, Error> {
        self.runtime.shared().steering.set(course);
        let length = self.source.len().min(self.destination.len());
        let copies = (BYTES.min(length) / bytes.max(1)).clamp(1, COPIES);
        let mut batch = self.runtime.batch();
        for place in 0..copies {
            let offset = place * bytes;
            batch.push(self.source.copy_to(offset, self.destination, offset, bytes));
        }
        let begin = Instant::now();
        batch.submit().all().await?;
        let nanoseconds = u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Ok((nanoseconds / copies).max(1))
    }
}

impl Comparison {
    fn of_buffers(samples: bounce::Samples) -> Self {
        let bounce::Samples { bytes, bounced, mapped } = samples;
        let (first, second) = (Timing::of(bounced), Timing::of(mapped));
        Self { bytes: bytes as u64, first, second }
    }
}

impl Timing {
    /// What these samples say; there is one at least.
    fn of(mut samples: Vec<u64>) -> Self {
        samples.sort_unstable();
        let last = samples.len().saturating_sub(1);
        let at = |quarter: usize| samples.get(last * quarter / 4).copied().unwrap_or(1);
        Self {
            nanoseconds: at(2),
            lower: at(1),
            upper: samples.get((last * 3).div_ceil(4)).copied().unwrap_or(1),
            samples: u32::try_from(samples.len()).unwrap_or(u32::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timing_is_the_median_and_the_quartiles() {
        let time = Timing::of(vec![9, 1, 5, 3, 7]);
        assert_eq!((time.lower, time.nanoseconds, time.upper, time.samples), (3, 5, 7, 5));
        let one = Timing::of(vec![4]);
        assert_eq!((one.lower, one.nanoseconds, one.upper), (4, 4, 4));
        assert!((time.spread() - 0.8).abs() < 1e-9);
    }
}
