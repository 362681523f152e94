//! What follows from measurements: functions of numbers, and of nothing else.

use std::fmt;

use super::{Comparison, Split};

/// Ways to split that differ by less than this part of their time are as good as each other.
const TOLERANCE: f64 = 0.03;

/// The shortest length from which on the second way was faster at every length that was measured; `None` if it was not at
/// the longest. The comparisons stand in the order of their lengths.
pub(super) fn crossover(comparisons: &[Comparison]) -> Option<u64> {
    let faster = |one: &&Comparison| one.second.nanoseconds < one.first.nanoseconds;
    comparisons.iter().rev().take_while(faster).last().map(|one| one.bytes)
}

/// The fastest way to split; of several that are as good the one with the fewest engines, then the one without the CPU, then the
/// one with the longest stripes.
pub(super) fn best_split(splits: &[Split]) -> Option<&Split> {
    let fastest = splits.iter().map(|split| split.time.nanoseconds).min()?;
    let limit = fastest as f64 * (1.0 + TOLERANCE);
    let good = splits.iter().filter(|split| split.time.nanoseconds as f64 <= limit);
    good.min_by_key(|split| (split.engines, split.cpu, u64::MAX - split.stripe))
}

/// How sure it is, at the length that decided or, where none did, at the longest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verdict<'a>(Option<&'a Comparison>);

impl<'a> Verdict<'a> {
    pub(super) fn of(comparisons: &'a [Comparison]) -> Self {
        let decided = crossover(comparisons);
        let at = comparisons.iter().find(|one| Some(one.bytes) == decided);
        Self(at.or(comparisons.last()))
    }
}

impl fmt::Display for Verdict<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(one) = self.0 else { return Ok(()) };
        let spread = one.first.spread().max(one.second.spread()) * 100.0;
        write!(f, " (ratio {:.2} at {} bytes, spread {spread:.0}%", one.ratio(), one.bytes)?;
        f.write_str(if one.is_certain() { ")" } else { ": within the noise)" })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::calibration::Timing;

    fn timing(nanoseconds: u64) -> Timing {
        Timing { nanoseconds, lower: nanoseconds, upper: nanoseconds, samples: 3 }
    }

    fn comparison(bytes: u64, first: u64, second: u64) -> Comparison {
        Comparison { bytes, first: timing(first), second: timing(second) }
    }

    fn split(engines: u32, cpu: bool, stripe: u64, time: u64) -> Split {
        Split { bytes: 1 << 24, engines, cpu, stripe, time: timing(time) }
    }

    #[test]
    fn one_lucky_length_is_no_crossover() {
        let measured = [(64, 1, 9), (128, 9, 8), (256, 5, 8), (512, 10, 8), (1024, 20, 8)];
        let comparisons: Vec<_> =
            measured.iter().map(|&(bytes, cpu, engine)| comparison(bytes, cpu, engine)).collect();
        assert_eq!(crossover(&comparisons), Some(512));
        assert_eq!(crossover(&comparisons[..3]), None, "not at the longest");
        assert_eq!(crossover(&[]), None);
    }

    #[test]
    fn a_split_that_gains_nothing_takes_no_engines() {
        let splits = [
            split(1, false, 1 << 20, 1000),
            split(2, false, 1 << 20, 520),
            split(4, false, 1 << 18, 505),
            split(4, false, 1 << 20, 508),
            split(4, true, 1 << 20, 500),
        ];
        assert_eq!(best_split(&splits), Some(&splits[3]), "not the CPU, and long stripes");
        assert_eq!(best_split(&splits[..2]), Some(&splits[1]));
        assert_eq!(best_split(&[]), None);
    }

    #[test]
    fn what_is_within_the_noise_is_said_to_be() {
        let noisy = Timing { lower: 80, upper: 130, ..timing(100) };
        let one = Comparison { bytes: 64, first: noisy, second: timing(90) };
        assert!(Verdict::of(&[one]).to_string().contains("ratio 1.11 at 64 bytes, spread 50%"));
        assert!(Verdict::of(&[one]).to_string().ends_with("within the noise)"));
        let sure = comparison(64, 100, 50);
        assert!(!Verdict::of(&[sure]).to_string().contains("noise"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 6 } else { 256 }))]

        #[test]
        fn from_the_crossover_on_the_second_is_faster_and_just_below_it_is_not(
            times in proptest::collection::vec((1u64..100, 1u64..100), 0..20)
        ) {
            let comparisons: Vec<_> = (6..).zip(&times)
                .map(|(log, &(first, second))| comparison(1 << log, first, second)).collect();
            let from = crossover(&comparisons);
            let faster = |one: &Comparison| one.second.nanoseconds < one.first.nanoseconds;
            let at = comparisons.iter().position(|one| Some(one.bytes) == from);
            prop_assert_eq!(at.is_some(), from.is_some());
            let at = at.unwrap_or(comparisons.len());
            prop_assert!(comparisons[at..].iter().all(faster));
            prop_assert!(at == 0 || !faster(&comparisons[at - 1]));
        }

        #[test]
        fn the_best_split_is_nearly_the_fastest_and_none_as_fast_takes_less(
            given in proptest::collection::vec((1u32..9, any::<bool>(), 12u32..24, 1u64..1000), 1..30)
        ) {
            let splits: Vec<_> = given.iter()
                .map(|&(engines, cpu, log, time)| split(engines, cpu, 1 << log, time)).collect();
            let best = best_split(&splits).unwrap();
            let fastest = splits.iter().map(|one| one.time.nanoseconds).min().unwrap();
            let limit = fastest as f64 * (1.0 + TOLERANCE);
            prop_assert!(best.time.nanoseconds as f64 <= limit);
            for other in &splits {
                let as_good = other.time.nanoseconds as f64 <= limit;
                prop_assert!(!as_good || (other.engines, other.cpu) >= (best.engines, best.cpu));
            }
        }
    }
}
