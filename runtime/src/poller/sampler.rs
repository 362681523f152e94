//! Which operations are measured, so that the measuring costs next to nothing.
//!
//! A time costs two looks at the clock, some 50 ns, about as much as a copy of 64 bytes, and where it is written is in no near cache after
//! a copy of cold memory: 80 ns together, a fiftieth of a copy of 64 KiB. So of short operations one in 64 is
//! measured, on average and at irregular distances, lest a pattern in the submissions be all that is seen. It
//! counts for as many as have come since the one before it. Of bundles, whose copies take as long as the bundle, one in 64 is measured, too,
//! chosen apart from the others: it counts for the copies of all bundles since the one before it. Long operations take so much longer than two
//! looks that each is measured, and counts once. So the distribution is that of all operations, whatever their mix.

use std::{mem, num::NonZeroU32};

use super::{APPLICATION, Poller, ops::Route};

/// From this length on, in bytes, every operation is measured.
const LONG: u64 = 256 << 10;
/// So many short ones are measured each, before it is one in [`DISTANCE`].
const FIRST: u32 = 64;
/// How far apart short ones are that are measured, on average.
const DISTANCE: u32 = 64;

/// Chooses the operations of one port that are measured.
#[derive(Debug)]
pub(super) struct Sampler {
    /// How often it is asked until the next time that is measured, that time included.
    left: u32,
    /// For how many short operations it was asked since the last that was measured.
    behind: u32,
    /// How many of the first are still to come.
    first: u32,
    noise: u32,
}

/// The operations that are measured, by their places in the poller's table: beside it, so that those that are not
/// carry nothing.
#[derive(Debug)]
pub(super) struct Samples(Vec<Sample>);

#[derive(Clone, Copy, Debug)]
struct Sample {
    /// When it was taken, in nanoseconds since the runtime was built.
    since: u64,
    /// For how many operations it counts.
    weight: NonZeroU32,
}

impl Default for Sampler {
    fn default() -> Self {
        Self { left: 1, behind: 0, first: FIRST, noise: 0x9e37_79b9 }
    }
}

impl Sampler {
    /// For how many operations one of this length counts; `None`: it is not measured.
    #[inline]
    pub(super) fn weigh(&mut self, length: u64) -> Option<NonZeroU32> {
        if length >= LONG {
            return Some(NonZeroU32::MIN);
        }
        self.weigh_together(1)
    }

    /// For how many operations short ones count that are measured together; `None`: they are not.
    #[inline]
    pub(super) fn weigh_together(&mut self, count: u32) -> Option<NonZeroU32> {
        self.behind = self.behind.saturating_add(count);
        self.left = self.left.saturating_sub(1);
        if self.left > 0 { None } else { self.draw() }
    }

    /// Whether the next that is weighed, if it has this length, is measured.
    #[inline]
    pub(super) fn is_next(&self, length: u64) -> bool {
        length >= LONG || self.is_next_short()
    }

    /// Whether the next short ones that are weighed, one or together, are measured.
    #[inline]
    pub(super) fn is_next_short(&self) -> bool {
        self.left <= 1
    }

    /// The weight of those chosen, after the next were chosen.
    #[cold]
    fn draw(&mut self) -> Option<NonZeroU32> {
        self.left = 1;
        if self.first > 1 {
            self.first -= 1;
        } else {
            // Marsaglia's xorshift.
            self.noise ^= self.noise << 13;
            self.noise ^= self.noise >> 17;
            self.noise ^= self.noise << 5;
            self.left += self.noise % (2 * DISTANCE - 1);
        }
        NonZeroU32::new(mem::take(&mut self.behind))
    }
}

impl Samples {
    /// Room for so many operations.
    pub(super) fn new(operations: usize) -> Self {
        Self(vec![Sample { since: 0, weight: NonZeroU32::MIN }; operations])
    }

    /// Notes when an operation was taken, and for how many it counts.
    pub(super) fn begin(&mut self, index: usize, weight: NonZeroU32, since: u64) {
        if let Some(sample) = self.0.get_mut(index) {
            *sample = Sample { since, weight };
        }
    }
}

impl Poller {
    /// Counts the time of an operation that has succeeded and was chosen. By values: the operation's address is not
    /// taken, since it would have to be copied to have one.
    #[inline(never)]
    pub(super) fn measure(&self, index: usize, port: usize, route: Route) {
        let Some(&sample) = self.samples.0.get(index) else { return };
        let lane = if let Route::Lane(lane) = route { Some(lane) } else { None };
        self.record(sample, port == APPLICATION, lane);
    }

    /// The same, of one that is in no table.
    #[cold]
    pub(super) fn measure_short(&self, since: u64, weight: NonZeroU32, lane: usize) {
        self.record(Sample { since, weight }, true, Some(lane));
    }

    fn record(&self, sample: Sample, of_application: bool, lane: Option<usize>) {
        let taken = self.shared.nanos().saturating_sub(sample.since);
        let (counters, weight) = (&self.shared.counters, sample.weight.get().into());
        if of_application {
            counters.runtime.latency.record(taken, weight);
        }
        if let Some(engine) = lane.and_then(|lane| counters.engines.get(lane)) {
            engine.latency.record(taken, weight);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_add_up_to_the_operations_there_were() {
        let mut sampler = Sampler::default();
        let (mut measured, mut weights, mut longest) = (0, 0, 0);
        let operations = if cfg!(miri) { 3000 } else { 100_000 };
        for count in 1..=operations {
            let is_next = sampler.is_next(LONG - 1);
            let weight = sampler.weigh(LONG - 1);
            assert_eq!(is_next, weight.is_some());
            if let Some(weight) = weight {
                measured += 1_u32;
                weights += weight.get();
                longest = longest.max(weight.get());
                assert_eq!(weights, count, "all up to this one are stood for");
            }
            assert!(count > FIRST || measured == count, "the first are measured each");
        }
        assert_eq!(longest, 2 * DISTANCE - 1);
        let expected = (operations - FIRST) / DISTANCE + FIRST;
        assert!(measured.abs_diff(expected) < expected / 10, "{measured}, not about {expected}");
    }

    #[test]
    fn those_that_are_measured_together_stand_for_all_up_to_the_last_of_them() {
        let mut sampler = Sampler::default();
        let (mut weights, mut count) = (0, 0);
        for round in 0..if cfg!(miri) { 300 } else { 10_000 } {
            let together = round % 16 + 1;
            let is_among = sampler.is_next_short();
            let weight = sampler.weigh_together(together);
            assert_eq!(is_among, weight.is_some());
            count += together;
            if let Some(weight) = weight {
                weights += weight.get();
                assert_eq!(weights, count);
            }
        }
        assert!(weights > count - 16 * 2 * DISTANCE);
    }

    #[test]
    fn long_operations_are_measured_each_and_change_nothing_for_short_ones() {
        let (mut with, mut without) = (Sampler::default(), Sampler::default());
        for _ in 0..if cfg!(miri) { 100 } else { 1000 } {
            assert_eq!(with.weigh(LONG), Some(NonZeroU32::MIN));
            assert_eq!(with.weigh(64), without.weigh(64));
        }
    }
}
