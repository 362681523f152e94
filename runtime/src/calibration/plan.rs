//! What is measured: the lengths and the ways, from what there is.

use crate::placement::{Course, Striping};

/// The shortest and the longest copies by which the CPU is compared with an engine, in bytes.
const SHORTEST: u64 = 64;
const LONGEST: u64 = 4 << 20;
/// How much longer the next is.
const STEP: u64 = 4;
/// The stripes that are tried, in bytes.
const STRIPES: [u64; 3] = [256 << 10, 1 << 20, 4 << 20];
/// The longest copy that is split, in bytes.
const LARGEST: u64 = 256 << 20;

/// Lengths for the comparison of the CPU with an engine, of regions that have `length` bytes.
pub(super) fn kinds(length: u64) -> Vec<u64> {
    let lengths = std::iter::successors(Some(SHORTEST), |bytes| Some(bytes * STEP));
    let mut lengths: Vec<_> = lengths.take_while(|&bytes| bytes <= LONGEST.min(length)).collect();
    if lengths.is_empty() {
        lengths.push(length);
    }
    lengths
}

/// By the CPU alone, or by one engine that is not.
pub(super) fn alone(cpu: bool) -> Course {
    let cpu_below = if cpu { u64::MAX } else { 1 };
    Course { cpu_below, striping: Striping::OFF, engines: 1, cpu_joins: false }
}

/// How long a copy is that takes `nanoseconds`, if 1 MiB takes `mebibyte`: a power of two within what is sensible.
pub(super) fn large(length: u64, mebibyte: u64, nanoseconds: u64) -> u64 {
    let bytes = (1u64 << 20).saturating_mul(nanoseconds / mebibyte.max(1));
    let bytes = bytes.clamp(8 << 20, LARGEST).min(length).max(1);
    1 << bytes.ilog2()
}

/// The ways to split a copy of `bytes` bytes over up to so many engines, with and without the CPU; none if it is too short.
pub(super) fn splits(bytes: u64, engines: u32, has_cpu: bool) -> Vec<(u64, Course)> {
    let mut numbers: Vec<u32> =
        std::iter::successors(Some(1), |n| Some(n * 2)).take_while(|&n| n < engines).collect();
    numbers.extend((engines > 0).then_some(engines));
    if engines == 0 {
        // The host's CPU several times over.
        numbers.push(0);
    }
    let mut ways = Vec::new();
    for stripe in STRIPES.into_iter().filter(|&stripe| stripe <= bytes / 4) {
        for &number in &numbers {
            for cpu_joins in [false, true] {
                let parties = number + u32::from(cpu_joins);
                if cpu_joins && !has_cpu || number > 0 && parties < 2 {
                    continue;
                }
                if number == 0 && !cpu_joins {
                    continue;
                }
                let striping = Striping { from: 0, stripe };
                ways.push((stripe, Course { cpu_below: 0, striping, engines: number, cpu_joins }));
            }
        }
    }
    ways
}

/// Lengths for the comparison of whole copies with striped ones.
pub(super) fn stripes(stripe: u64, largest: u64) -> Vec<u64> {
    let lengths = std::iter::successors(stripe.checked_mul(2), |bytes| bytes.checked_mul(2));
    lengths.take_while(|&bytes| bytes <= largest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_within_the_regions_and_in_order() {
        assert_eq!(kinds(10), [10]);
        assert_eq!(kinds(64), [64]);
        assert_eq!(kinds(5000), [64, 256, 1024, 4096]);
        assert_eq!(kinds(u64::MAX).last(), Some(&(4 << 20)));
        assert_eq!(stripes(1 << 20, 8 << 20), [2 << 20, 4 << 20, 8 << 20]);
        assert!(stripes(1 << 20, 1 << 20).is_empty());
    }

    #[test]
    fn a_large_copy_takes_about_as_long_as_it_may() {
        // 1 MiB in 1 ms, 32 ms allowed.
        assert_eq!(large(u64::MAX, 1_000_000, 32_000_000), 32 << 20);
        assert_eq!(large(u64::MAX, 1, 32_000_000), LARGEST);
        assert_eq!(large(u64::MAX, u64::MAX, 1), 8 << 20);
        assert_eq!(large(5000, 1_000_000, 32_000_000), 4096);
        assert_eq!(large(0, 0, 0), 1);
    }

    #[test]
    fn engines_are_tried_by_doubling_and_all_at_once() {
        let ways = |engines, cpu| -> Vec<_> {
            let all = splits(1 << 20, engines, cpu).into_iter();
            all.map(|(_, course)| (course.engines, course.cpu_joins)).collect()
        };
        assert_eq!(ways(1, false), []);
        assert_eq!(ways(1, true), [(1, true)]);
        assert_eq!(ways(6, false), [(2, false), (4, false), (6, false)]);
        assert_eq!(ways(2, true), [(1, true), (2, false), (2, true)]);
        assert_eq!(ways(0, true), [(0, true)]);
        assert!(splits(1000, 8, true).is_empty());
        let stripes: Vec<_> =
            splits(64 << 20, 2, false).iter().map(|(stripe, _)| *stripe).collect();
        assert_eq!(stripes, STRIPES);
    }
}
