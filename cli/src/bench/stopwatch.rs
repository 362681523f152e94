//! When a point begins and ends, and how long its copies take.
//!
//! The clock is read for every `stride`th copy only, at its submission and its end, since reading it takes as long as a
//! small copy does. Measuring begins at the first such end after the warm-up and ends at the first one after the
//! time, and what is counted is the ends between these two: whole intervals, whatever is in flight at either.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// The longest latency that is told from longer ones, in nanoseconds: a minute.
const LONGEST: u64 = 60_000_000_000;

/// Digits of a latency that count.
const DIGITS: u8 = 3;

/// Copies from this many bytes on are each measured.
const LARGE: u64 = 64 << 10;

/// How long a point is measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) warm_up: Duration,
    pub(super) time: Duration,
}

/// What one thread measured.
#[derive(Debug)]
pub(super) struct Measured {
    /// Copies that ended within the measured time.
    pub(super) operations: u64,
    /// The measured time.
    pub(super) time: Duration,
    /// Nanoseconds of those copies for which the clock was read.
    pub(super) latencies: Histogram<u64>,
}

/// Measures the copies of one thread.
#[derive(Debug)]
pub(super) struct Stopwatch {
    limits: Limits,
    stride: u64,
    start: Instant,
    begun: u64,
    /// Ends since `from`.
    ended: u64,
    from: Option<Instant>,
    measured: Measured,
}

impl Stopwatch {
    /// Starts the warm-up. Of copies shorter than 64 KiB the clock is read for one in `stride`, a prime number, lest
    /// it be the same one of those in flight each time.
    pub(super) fn start(limits: Limits, size: u64, stride: u64, now: Instant) -> Self {
        let stride = if size >= LARGE { 1 } else { stride };
        let measured = Measured { operations: 0, time: Duration::ZERO, latencies: histogram() };
        Self { limits, stride, start: now, begun: 0, ended: 0, from: None, measured }
    }

    /// A copy is about to be submitted: whether the clock is to be read for it.
    pub(super) fn begins(&mut self) -> bool {
        let due = self.begun.is_multiple_of(self.stride);
        self.begun += 1;
        due
    }

    /// A copy for which the clock was not read has ended.
    pub(super) fn ends(&mut self) {
        self.ended += 1;
    }

    /// A copy submitted at `begun` has ended `now`. Returns whether to go on.
    pub(super) fn ends_at(&mut self, begun: Instant, now: Instant) -> bool {
        self.ended += 1;
        let Some(from) = self.from else {
            if now.saturating_duration_since(self.start) >= self.limits.warm_up {
                (self.from, self.ended) = (Some(now), 0);
            }
            return true;
        };
        if self.measured.time >= self.limits.time {
            // What was in flight when the time was over ends with less and less beside it.
            return false;
        }
        let nanos = now.saturating_duration_since(begun).as_nanos();
        self.measured.latencies.saturating_record(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.measured.operations = self.ended;
        self.measured.time = now.saturating_duration_since(from);
        self.measured.time < self.limits.time
    }

    /// What was measured.
    pub(super) fn finish(self) -> Measured {
        self.measured
    }
}

/// An empty histogram of nanoseconds.
pub(super) fn histogram() -> Histogram<u64> {
    // Bounds and digits are within what the histogram takes.
    Histogram::new_with_bounds(1, LONGEST, DIGITS)
        .unwrap_or_else(|_| unreachable!("from 1 to {LONGEST} with {DIGITS} digits"))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{LARGE, Limits, Stopwatch};

    const MILLI: Duration = Duration::from_millis(1);

    fn stopwatch(size: u64, start: Instant) -> Stopwatch {
        let limits = Limits { warm_up: 2 * MILLI, time: 10 * MILLI };
        Stopwatch::start(limits, size, 3, start)
    }

    #[test]
    fn one_small_copy_in_a_stride_and_every_large_one_is_timed() {
        let now = Instant::now();
        let timed = |size| {
            let mut stopwatch = stopwatch(size, now);
            (0..7).map(|_| stopwatch.begins()).collect::<Vec<_>>()
        };
        assert_eq!(timed(LARGE - 1), [true, false, false, true, false, false, true]);
        assert_eq!(timed(LARGE), [true; 7]);
    }

    #[test]
    fn what_ends_in_the_warm_up_is_not_counted_and_intervals_are_whole() {
        let start = Instant::now();
        let at = |millis: u32| start + millis * MILLI;
        let mut stopwatch = stopwatch(64, start);
        for millis in [0, 1] {
            stopwatch.ends();
            assert!(stopwatch.ends_at(start, at(millis)));
        }
        // Measuring begins here, and this end is not counted.
        assert!(stopwatch.ends_at(start, at(3)));
        for millis in [6, 9, 12] {
            stopwatch.ends();
            stopwatch.ends();
            assert!(stopwatch.ends_at(at(millis - 1), at(millis)));
        }
        stopwatch.ends();
        stopwatch.ends();
        assert!(!stopwatch.ends_at(at(11), at(15)));
        // Those in flight at the end do not count.
        stopwatch.ends();
        assert!(!stopwatch.ends_at(at(11), at(19)));
        let measured = stopwatch.finish();
        assert_eq!((measured.operations, measured.time), (12, 12 * MILLI));
        assert_eq!(measured.latencies.len(), 4);
        let median = measured.latencies.value_at_quantile(0.5);
        assert!(median.abs_diff(1_000_000) <= 1_000, "{median}");
        assert!(measured.latencies.max().abs_diff(4_000_000) <= 4_000);
    }

    #[test]
    fn one_copy_longer_than_the_time_is_a_measurement() {
        let start = Instant::now();
        let mut stopwatch = stopwatch(LARGE, start);
        assert!(stopwatch.ends_at(start, start + 50 * MILLI));
        assert!(!stopwatch.ends_at(start + 50 * MILLI, start + 100 * MILLI));
        let measured = stopwatch.finish();
        assert_eq!((measured.operations, measured.time), (1, 50 * MILLI));
    }
}
