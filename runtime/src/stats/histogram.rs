//! Histograms with buckets of a bounded relative width.
//!
//! Values below 16 ns have a bucket each. Above, every power of two is cut into 16 buckets of equal width, so that a
//! bucket is at most 1/16 as wide as the least value in it, and its middle is off by at most 1/32 of
//! any value in it. Beyond 2^40 ns, some 18 minutes, everything is in the last bucket.

use std::array;

use super::{counter::Counter, latency::Latency};

/// Buckets in each power of two.
pub(crate) const SUB_BUCKETS: u64 = 1 << SUB_BITS;
/// How many buckets there are.
pub(crate) const BUCKETS: usize = ((VALUE_BITS - SUB_BITS + 1) << SUB_BITS) as usize;

const SUB_BITS: u32 = 4;
/// Of values that are told apart.
const VALUE_BITS: u32 = 40;

/// A histogram of times in nanoseconds, with one writer.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Histogram {
    /// The longest time.
    max: Counter,
    buckets: [Counter; BUCKETS],
}

impl Default for Histogram {
    fn default() -> Self {
        Self { max: Counter::default(), buckets: array::from_fn(|_| Counter::default()) }
    }
}

impl Histogram {
    /// Counts a time that stands for so many operations. Only the poller may.
    pub(crate) fn record(&self, nanos: u64, weight: u64) {
        if let Some(bucket) = self.buckets.get(bucket_of(nanos)) {
            bucket.add(weight);
        }
        if nanos > self.max.get() {
            self.max.set(nanos);
        }
    }

    pub(crate) fn snapshot(&self) -> Latency {
        Latency::new(self.buckets.iter().map(Counter::get), self.max.get())
    }
}

/// The bucket of a value.
#[inline]
pub(super) fn bucket_of(value: u64) -> usize {
    let value = value.min((1 << VALUE_BITS) - 1);
    let bucket = match value.checked_ilog2() {
        Some(power) if power >= SUB_BITS => {
            let shift = power - SUB_BITS;
            (u64::from(shift + 1) << SUB_BITS) + ((value >> shift) & (SUB_BUCKETS - 1))
        }
        _ => value,
    };
    usize::try_from(bucket).unwrap_or(BUCKETS - 1)
}

/// The least and the greatest value of a bucket.
pub(super) fn values_of(bucket: usize) -> (u64, u64) {
    let bucket = bucket.min(BUCKETS - 1) as u64;
    let (power, sub) = (bucket >> SUB_BITS, bucket & (SUB_BUCKETS - 1));
    if power == 0 {
        return (sub, sub);
    }
    let shift = power - 1;
    let first = (SUB_BUCKETS + sub) << shift;
    (first, first + (1 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_buckets_follow_each_other_without_a_gap() {
        let mut next = 0;
        for bucket in 0..BUCKETS {
            let (first, last) = values_of(bucket);
            assert_eq!(first, next, "bucket {bucket}");
            assert_eq!((bucket_of(first), bucket_of(last)), (bucket, bucket));
            next = last + 1;
        }
        assert_eq!(next, 1 << VALUE_BITS);
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
        assert_eq!(values_of(usize::MAX), values_of(BUCKETS - 1));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 6 } else { 256 }))]

        #[test]
        fn a_value_is_in_its_bucket_and_near_its_middle(bits in 0..VALUE_BITS, noise: u64) {
            let value = (1 << bits) | (noise & ((1 << bits) - 1));
            let (first, last) = values_of(bucket_of(value));
            prop_assert!((first..=last).contains(&value));
            let middle = first + (last - first) / 2;
            prop_assert!(middle.abs_diff(value) * 32 <= value, "{} for {}", middle, value);
        }
    }
}
