//! Where an engine's throughput passes memcpy's.

use serde::Serialize;

/// How an engine stands against memcpy over the sizes measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Crossover {
    /// Where the engine first passes memcpy, in bytes; `null` where it does not within the sizes measured.
    #[serde(rename = "crossover_bytes")]
    pub(super) passes_at: Option<u64>,
    /// Whether it is at least as fast at the smallest size.
    pub(super) ahead_at_smallest: bool,
    /// Every change of the lead, by size.
    pub(super) crossings: Vec<Crossing>,
}

/// A change of the lead between two sizes that were measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Crossing {
    /// In bytes.
    pub(super) bytes: u64,
    /// Whether the engine is ahead from there on; else it falls behind.
    pub(super) ahead: bool,
}

impl Crossover {
    /// Finds it from the engine's throughput divided by memcpy's at each size, by ascending size.
    ///
    /// Between two sizes both throughputs are taken for straight lines in a plot with logarithmic axes, so what is
    /// found is where the lines in such a plot meet.
    pub(super) fn find(ratios: &[(u64, f64)]) -> Self {
        let crossings: Vec<_> =
            ratios.windows(2).filter_map(|pair| between(pair[0], pair[1])).collect();
        let first = crossings.iter().find(|crossing| crossing.ahead);
        Self {
            passes_at: first.map(|crossing| crossing.bytes),
            ahead_at_smallest: ratios.first().is_some_and(|(_, ratio)| *ratio >= 1.0),
            crossings,
        }
    }
}

fn between((smaller, before): (u64, f64), (larger, after): (u64, f64)) -> Option<Crossing> {
    let ahead = after >= 1.0;
    if (before >= 1.0) == ahead {
        return None;
    }
    // One of the two is not 1, and the other on its other side or 1: the difference is not 0.
    let part = -before.ln() / (after.ln() - before.ln());
    let size = smaller as f64 * (larger as f64 / smaller as f64).powf(part);
    // A ratio of 0 or none at all has no place; the nearest size has.
    let bytes = if size.is_finite() { size.round() as u64 } else { larger };
    Some(Crossing { bytes: bytes.clamp(smaller, larger), ahead })
}

#[cfg(test)]
mod tests {
    use super::{Crossing, Crossover};

    fn crossings(ratios: &[(u64, f64)]) -> Vec<(u64, bool)> {
        let found = Crossover::find(ratios).crossings;
        found.into_iter().map(|Crossing { bytes, ahead }| (bytes, ahead)).collect()
    }

    #[test]
    fn it_is_where_straight_lines_in_a_logarithmic_plot_meet() {
        // A quarter and four times as fast: half-way, and half-way from 1 KiB to 4 KiB is 2 KiB.
        assert_eq!(crossings(&[(1024, 0.25), (4096, 4.0)]), [(2048, true)]);
        assert_eq!(crossings(&[(64, 0.1), (1000, 0.5), (8000, 4.0)]), [(2000, true)]);
        // On a size that was measured.
        assert_eq!(crossings(&[(64, 0.5), (256, 1.0), (1024, 2.0)]), [(256, true)]);
    }

    #[test]
    fn none_in_range_is_an_answer() {
        for (ratios, ahead) in [
            (&[(64, 0.5), (4096, 0.99)][..], false),
            (&[(64, 1.0), (4096, 1.5)][..], true),
            (&[(64, 1.5)][..], true),
            (&[][..], false),
        ] {
            let found = Crossover::find(ratios);
            assert_eq!((found.passes_at, found.ahead_at_smallest), (None, ahead));
            assert!(found.crossings.is_empty());
        }
    }

    #[test]
    fn every_change_of_the_lead_is_told() {
        let ratios = [(64, 2.0), (256, 0.5), (1024, 2.0), (4096, 0.5)];
        assert_eq!(crossings(&ratios), [(128, false), (512, true), (2048, false)]);
        assert_eq!(Crossover::find(&ratios).passes_at, Some(512));
    }

    #[test]
    fn ratios_that_are_no_numbers_do_no_harm() {
        for (before, after) in
            [(0.0, 2.0), (f64::NAN, 2.0), (0.5, f64::INFINITY), (f64::INFINITY, 0.0)]
        {
            for (bytes, _) in crossings(&[(64, before), (128, after)]) {
                assert!((64..=128).contains(&bytes));
            }
        }
    }
}
