//! The table: each row's two medians, their ratio, and what the ratio is to be.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::Serialize;

use super::{
    record::{Kept, Unit},
    targets::{Against, Bound, COMPARISONS, Comparison, LOOPS},
};
use crate::failure::{Failure, Outcome};

/// One row, ready to be printed.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    what: String,
    ours: String,
    peer: String,
    ratio: Option<f64>,
    target: String,
    /// Whether the target was met; `None` where there is none, or nothing was measured.
    met: Option<bool>,
}

/// The rows of all comparisons of which both sides were measured. Each figure is the median over the rounds.
pub(crate) fn timed(kept: &[Kept]) -> Outcome<Vec<Row>> {
    let mut figures: BTreeMap<(&str, &str), (Unit, Vec<f64>)> = BTreeMap::new();
    for Kept { record, .. } in kept.iter().filter(|kept| !kept.void) {
        let figure =
            figures.entry((&record.side, &record.work)).or_insert((record.unit, Vec::new()));
        if figure.0 != record.unit {
            let message = format!("{} is told in two units for {}", record.work, record.side);
            return Err(Failure::new(message));
        }
        figure.1.push(record.median());
    }
    let medians = figures.into_iter().map(|(key, (unit, values))| (key, (unit, median(values))));
    let medians: Medians<'_> = medians.collect();
    Ok(COMPARISONS.iter().filter_map(|comparison| row(comparison, &medians)).collect())
}

type Medians<'a> = BTreeMap<(&'a str, &'a str), (Unit, f64)>;

fn row(comparison: &Comparison, medians: &Medians<'_>) -> Option<Row> {
    let &(unit, ours) = medians.get(&(comparison.side, comparison.work))?;
    let named = |side: &str, value| format!("{side} {}", shown(unit, value));
    let (peer, ratio) = match comparison.against {
        Against::Peer(side, work) => {
            let &(_, peer) = medians.get(&(side, work))?;
            (named(side, peer), ours / peer)
        }
        Against::BestLoop(work) => {
            let loops =
                LOOPS.iter().filter_map(|side| Some((side, medians.get(&(*side, work))?.1)));
            let (side, best) = loops.max_by(|a, b| a.1.total_cmp(&b.1))?;
            (named(side, best), ours / best)
        }
        Against::Cost(side, work) => {
            let &(_, peer) = medians.get(&(side, work))?;
            (format!("{work} {}", shown(unit, peer)), peer / ours)
        }
        Against::Number(number) => (String::new(), ours / number),
    };
    let (target, met) = judge(ratio, comparison.bound);
    let (ratio, target) = match comparison.against {
        // The ratio says nothing that the figure does not.
        Against::Number(number) => (None, format!("≤ {}", shown(unit, number))),
        _ => (Some(ratio), target),
    };
    Some(Row {
        what: comparison.what.to_owned(),
        ours: shown(unit, ours),
        peer,
        ratio,
        target,
        met,
    })
}

/// The row of an instruction count.
pub(crate) fn instructions(what: &str, count: &Outcome<f64>) -> Row {
    let (ours, met) = match count {
        Ok(count) => (format!("{count:.2}"), Some(*count <= 60.0)),
        Err(failure) => (failure.to_string(), None),
    };
    let peer = "SPDK 110".to_owned();
    let ratio = count.as_ref().ok().map(|count| count / 110.0);
    Row { what: what.to_owned(), ours, peer, ratio, target: "≤ 60".to_owned(), met }
}

/// The row that tells whether a count stays what it is.
pub(crate) fn flat(what: &str, ratio: Result<f64, String>) -> Row {
    let target = "≤ 1.05".to_owned();
    let row = |ours, ratio, met| Row {
        what: what.to_owned(),
        ours,
        peer: String::new(),
        ratio,
        target,
        met,
    };
    match ratio {
        Ok(ratio) => row(String::new(), Some(ratio), Some(ratio <= 1.05)),
        Err(why) => row(why, None, None),
    }
}

/// The row of what tests count.
pub(crate) fn zero(what: &str, tests: &Outcome) -> Row {
    let ours = if tests.is_ok() { "0" } else { "the tests failed" };
    Row {
        what: what.to_owned(),
        ours: ours.to_owned(),
        peer: String::new(),
        ratio: None,
        target: "0".to_owned(),
        met: Some(tests.is_ok()),
    }
}

/// The table as text, with how many targets were met.
pub(crate) fn text(rows: &[Row]) -> String {
    let mut text =
        String::from("| what | ours | peer | ratio | target | |\n|---|--:|--:|--:|--:|---|\n");
    for Row { what, ours, peer, ratio, target, met } in rows {
        let ratio = ratio.map_or(String::new(), |ratio| format!("{ratio:.2}"));
        let met = match met {
            Some(true) => "met",
            Some(false) => "NOT MET",
            None => "",
        };
        // Writing to a string does not fail.
        let _ = writeln!(text, "| {what} | {ours} | {peer} | {ratio} | {target} | {met} |");
    }
    let judged: Vec<_> = rows.iter().filter_map(|row| row.met).collect();
    let met = judged.iter().filter(|&&met| met).count();
    let _ = writeln!(text, "\n{met} of {} targets met", judged.len());
    text
}

fn judge(ratio: f64, bound: Bound) -> (String, Option<bool>) {
    match bound {
        Bound::AtMost(most) => (format!("≤ {most}"), Some(ratio <= most)),
        Bound::AtLeast(least) => (format!("≥ {least}"), Some(ratio >= least)),
        Bound::Stated(most) => (format!("no collapse: ≤ {most}"), Some(ratio <= most)),
        Bound::Told => (String::new(), None),
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.len().saturating_sub(1) / 2, values.len() / 2);
    f64::midpoint(values.get(low).copied().unwrap_or(0.0), values.get(high).copied().unwrap_or(0.0))
}

fn shown(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Ns if value >= 10_000.0 => format!("{:.1} µs", value / 1e3),
        Unit::Ns => format!("{value:.0} ns"),
        Unit::PerS => format!("{:.2} M/s", value / 1e6),
        Unit::BytesPerS => format!("{:.2} GB/s", value / 1e9),
        Unit::NsPerS => format!("{:.2} %", value / 1e7),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::record::Unit, super::record::tests::kept, text, timed};

    #[test]
    fn a_row_is_the_ratio_of_medians_and_void_rounds_do_not_count() {
        let ns = |side, value| kept(side, "copy64-1", Unit::Ns, value);
        let mut records =
            [ns("dmaring", 90), ns("dmaring", 500), ns("dmaring", 80), ns("dpdk", 100)].to_vec();
        let mut void = ns("dpdk", 9);
        void.void = true;
        records.push(void);
        let rows = timed(&records).unwrap();
        assert_eq!((rows.len(), rows[0].ratio, rows[0].met), (1, Some(0.9), Some(true)));
        records.push(ns("dmaring", 100));
        let rows = timed(&records).unwrap();
        assert_eq!((rows[0].ratio, rows[0].met), (Some(0.95), Some(false)));
        assert!(
            text(&rows).contains("| 95 ns | dpdk 100 ns | 0.95 | ≤ 0.9 | NOT MET |"),
            "{}",
            text(&rows)
        );
        assert!(text(&rows).contains("0 of 1 targets met"));
    }

    #[test]
    fn the_best_loop_is_what_a_cold_copy_is_held_against() {
        let cold = |side, value| kept(side, "cold-65536-8", Unit::BytesPerS, value);
        let records =
            [cold("dmaring", 96), cold("avx2_nt", 100), cold("rep_movsb", 80), cold("memcpy", 60)];
        let rows = timed(&records).unwrap();
        assert_eq!((rows[0].ratio, rows[0].met), (Some(0.96), Some(true)));
        assert!(rows[0].peer.starts_with("avx2_nt"), "{rows:?}");
        assert_eq!((rows[1].ratio, rows[1].met), (Some(1.6), Some(true)));
    }

    #[test]
    fn a_cost_is_the_inverse_of_rates_and_a_figure_has_its_limit() {
        let records = [
            kept("dmaring", "regions-1", Unit::PerS, 130),
            kept("dmaring", "regions-10000", Unit::PerS, 100),
            kept("dmaring", "idle-poller", Unit::NsPerS, 9_000_000),
            kept("dmaring", "idle-first-copy", Unit::Ns, 61_000),
        ];
        let rows = timed(&records).unwrap();
        assert_eq!((rows[0].ratio, rows[0].met), (Some(1.3), Some(false)));
        assert_eq!(
            (rows[1].ours.as_str(), rows[1].target.as_str(), rows[1].met),
            ("0.90 %", "≤ 1.00 %", Some(true))
        );
        assert_eq!((rows[2].target.as_str(), rows[2].met), ("≤ 60.0 µs", Some(false)));
    }

    #[test]
    fn one_work_in_two_units_is_refused() {
        let records = [kept("dmaring", "x", Unit::Ns, 1), kept("dmaring", "x", Unit::PerS, 1)];
        assert!(timed(&records).unwrap_err().to_string().contains("two units"));
    }
}
