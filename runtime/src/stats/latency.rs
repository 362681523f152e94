//! How long operations took, as a distribution.

use std::{fmt, time::Duration};

use super::histogram::{bucket_of, values_of};

/// How long operations took, from being taken from the submission ring to the posting of their completion.
///
/// Of operations that succeeded. Time behind a [`fence`](crate::Copy::fence) is part of it, that in the queue for a place in the
/// ring is not. Of operations shorter than 256 KiB one in 64 is measured, on average, and stands for those since the
/// one before it; the first 64 and all that are longer are measured each. Times are told within 1/32 (3.2 %),
/// up to 18 minutes.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Latency {
    /// Operations by bucket, up to the last that has any.
    buckets: Vec<u64>,
    /// In nanoseconds.
    max: u64,
}

impl Latency {
    pub(super) fn new(buckets: impl Iterator<Item = u64>, max: u64) -> Self {
        let mut buckets: Vec<u64> = buckets.collect();
        let used = buckets.iter().rposition(|&count| count > 0).map_or(0, |last| last + 1);
        buckets.truncate(used);
        buckets.shrink_to_fit();
        Self { buckets, max }
    }

    /// How many operations it stands for: nearly as many as have ended.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().fold(0, |sum, &count| sum.saturating_add(count))
    }

    /// The time within which so many per cent of the operations ended, 99.9 for instance: the middle of a bucket, within
    /// 1/32 of the true one. `None` if nothing was measured. What is not from 0 to 100 is taken for the nearer of them.
    #[must_use]
    pub fn percentile(&self, percent: f64) -> Option<Duration> {
        let share = if percent > 0.0 { (percent / 100.0).min(1.0) } else { 0.0 };
        let count = self.count();
        // Beyond 2^53 operations a rank is off by some: of no account.
        let rank = ((count as f64 * share).ceil() as u64).clamp(1, count.max(1));
        let mut below = 0_u64;
        let bucket = self.buckets.iter().position(|&count| {
            below = below.saturating_add(count);
            below >= rank
        })?;
        let (first, last) = values_of(bucket);
        let middle = first + (last - first) / 2;
        Some(Duration::from_nanos(middle.min(self.max.max(first))))
    }

    /// The longest time, exactly, among those measured; `None` if nothing was.
    #[must_use]
    pub fn max(&self) -> Option<Duration> {
        (!self.buckets.is_empty()).then(|| Duration::from_nanos(self.max))
    }

    /// What came since an earlier reading of the same. The longest time of that is known within 1/16.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let before = earlier.buckets.iter().copied().chain(std::iter::repeat(0));
        let counts = self.buckets.iter().zip(before);
        let mut since = Self::new(counts.map(|(now, before)| now.saturating_sub(before)), self.max);
        if since.buckets.len() < bucket_of(self.max) + 1 || self.max == earlier.max {
            let (_, last) = values_of(since.buckets.len().saturating_sub(1));
            since.max = last.min(self.max);
        }
        since
    }
}

impl fmt::Debug for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Latency")
            .field("count", &self.count())
            .field("p50", &self.percentile(50.0))
            .field("p99", &self.percentile(99.0))
            .field("max", &self.max())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(times: &[(u64, u64)]) -> Latency {
        let mut buckets = vec![0; super::super::histogram::BUCKETS];
        for &(nanos, count) in times {
            buckets[bucket_of(nanos)] += count;
        }
        Latency::new(buckets.into_iter(), times.iter().map(|time| time.0).max().unwrap_or(0))
    }

    fn nanos(time: Option<Duration>) -> u128 {
        time.unwrap().as_nanos()
    }

    #[test]
    fn percentiles_are_those_of_the_operations() {
        let latency = of(&[(5, 50), (10, 49), (1_000_000, 1)]);
        assert_eq!(latency.count(), 100);
        for (percent, expected) in [(-1.0, 5), (0.0, 5), (50.0, 5), (50.1, 10), (99.0, 10)] {
            assert_eq!(nanos(latency.percentile(percent)), expected, "{percent}");
        }
        assert_eq!(nanos(latency.percentile(f64::NAN)), 5);
        for percent in [99.1, 100.0, f64::INFINITY] {
            assert!(nanos(latency.percentile(percent)).abs_diff(1_000_000) <= 1_000_000 / 32);
        }
        assert_eq!(nanos(latency.max()), 1_000_000);
    }

    #[test]
    fn nothing_measured_has_no_percentile() {
        let latency = Latency::default();
        assert_eq!((latency.percentile(50.0), latency.max(), latency.count()), (None, None, 0));
        assert_eq!(of(&[]), latency);
    }

    #[test]
    fn the_difference_of_two_readings_is_what_came_between() {
        let earlier = of(&[(5, 3), (3000, 1)]);
        let now = of(&[(5, 3), (7, 4), (3000, 1)]);
        let since = now.since(&earlier);
        assert_eq!((since.count(), nanos(since.max())), (4, 7));
        assert_eq!(now.since(&now), Latency { buckets: vec![], max: 0 });
        let longer = of(&[(5, 3), (3000, 1), (1_000_000, 1)]).since(&earlier);
        assert_eq!((longer.count(), nanos(longer.max())), (1, 1_000_000), "a new longest is exact");
        assert_eq!(earlier.since(&now).count(), 0, "another runtime's reading, or a torn one");
    }

    #[test]
    fn a_percentile_is_never_above_the_longest() {
        let latency = of(&[(1_000_001, 1)]);
        assert!(latency.percentile(100.0) <= latency.max());
        let hostile = Latency::new([u64::MAX, u64::MAX, u64::MAX].into_iter(), 0);
        assert_eq!(nanos(hostile.percentile(100.0)), 0);
        assert_eq!(hostile.count(), u64::MAX);
    }
}
