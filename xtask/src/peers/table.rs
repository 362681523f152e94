//! The table: each row's two medians, their ratio, and what the ratio is to be.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::Serialize;

use super::record::{Kept, Unit};
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

/// What a ratio, or a figure, is to be.
#[derive(Clone, Copy, Debug)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
    /// No target beyond being told, and no collapse: at most this.
    Stated(f64),
}

/// What our figure is divided by.
#[derive(Clone, Copy, Debug)]
enum Against {
    /// The same unit: ours / the peer's.
    Peer(&'static str, &'static str),
    /// As above, the best of the bare loops.
    BestLoop(&'static str),
    /// Two rates, as costs: the peer's / ours.
    Cost(&'static str, &'static str),
    /// A number of our unit.
    Number(f64),
}

#[derive(Clone, Copy, Debug)]
struct Comparison {
    what: &'static str,
    work: &'static str,
    against: Against,
    bound: Bound,
}

const LOOPS: &[&str] = &["rep_movsb", "avx2_nt", "avx512_nt"];

const fn compare(what: &'static str, work: &'static str, against: Against, bound: Bound) -> Comparison {
    Comparison { what, work, against, bound }
}

use Against::{BestLoop, Cost, Number, Peer};
use Bound::{AtLeast, AtMost, Stated};

const SPIN: &str = "await of one 64-byte copy, spinning executor, p50";
const TOKIO: &str = "the same under tokio's current-thread runtime, p50";
const FUTURES: &str = "64-byte copies as futures, 32 in flight";
const BATCHED: &str = "the same in batches, 2 of 16 in flight";
const BATCHED_32: &str = "the same in batches, 1 of 32 in flight";
const COLD_4K: &str = "cold copies, 4 KiB, 32 in flight";
const COLD_64K: &str = "cold copies, 64 KiB, 8 in flight";
const COLD_256K: &str = "cold copies, 256 KiB, 8 in flight";
const COLD_1M: &str = "cold copies, 1 MiB, 8 in flight";

const COMPARISONS: &[Comparison] = &[
    compare(SPIN, "copy64-1", Peer("dpdk", "copy64-1"), AtMost(0.9)),
    compare(TOKIO, "copy64-1-tokio", Peer("spawn_blocking", "copy64-1-tokio"), AtMost(0.5)),
    compare(TOKIO, "copy64-1-tokio", Peer("mpsc_oneshot", "copy64-1-tokio"), AtMost(0.5)),
    compare(FUTURES, "copy64-32", Peer("dpdk", "copy64-32"), AtLeast(2.5)),
    compare(FUTURES, "copy64-32", Peer("io_uring", "nop-32"), AtLeast(0.8)),
    compare(FUTURES, "copy64-32", Peer("mpsc_oneshot", "copy64-32"), AtLeast(1.0)),
    compare(BATCHED, "copy64-32-batch", Peer("dpdk", "copy64-32"), AtLeast(4.0)),
    compare(BATCHED, "copy64-32-batch", Peer("io_uring", "nop-32"), AtLeast(1.5)),
    compare(BATCHED_32, "copy64-32-batch-of-32", Peer("dpdk", "copy64-32"), AtLeast(4.0)),
    compare(BATCHED_32, "copy64-32-batch-of-32", Peer("io_uring", "nop-32"), AtLeast(1.5)),
    compare(COLD_64K, "cold-65536-8", BestLoop("cold-65536-8"), AtLeast(0.95)),
    compare(COLD_64K, "cold-65536-8", Peer("memcpy", "cold-65536-8"), AtLeast(1.4)),
    compare(COLD_64K, "cold-65536-8", Peer("dpdk", "cold-65536-8"), AtLeast(1.4)),
    compare(COLD_256K, "cold-262144-8", BestLoop("cold-262144-8"), AtLeast(0.95)),
    compare(COLD_256K, "cold-262144-8", Peer("memcpy", "cold-262144-8"), AtLeast(1.4)),
    compare(COLD_256K, "cold-262144-8", Peer("dpdk", "cold-262144-8"), AtLeast(1.4)),
    compare(COLD_1M, "cold-1048576-8", BestLoop("cold-1048576-8"), AtLeast(0.95)),
    compare(COLD_1M, "cold-1048576-8", Peer("memcpy", "cold-1048576-8"), AtLeast(1.4)),
    compare(COLD_1M, "cold-1048576-8", Peer("dpdk", "cold-1048576-8"), AtLeast(1.4)),
    compare(COLD_4K, "cold-4096-32", Peer("dpdk", "cold-4096-32"), AtLeast(1.3)),
    compare(
        "cost of a copy with 10,000 regions, one pair used",
        "regions-10000",
        Cost("dmaring", "regions-1"),
        AtMost(1.2),
    ),
    compare(
        "cost of a copy, 10,000 regions used in random order",
        "regions-10000-scattered",
        Cost("dmaring", "regions-1-scattered"),
        AtMost(1.2),
    ),
    compare(
        "cost of a copy with 8 submitting threads",
        "threads-8",
        Cost("dmaring", "threads-1"),
        Stated(4.0),
    ),
    compare("idle poller, of a core", "idle-poller", Number(1e9), AtMost(0.01)),
    compare("first copy after 100 ms without work, p50", "idle-first-copy", Number(60e3), AtMost(1.0)),
];

/// The rows of all comparisons of which both sides were measured. Each figure is the median over the rounds.
pub(crate) fn timed(kept: &[Kept]) -> Outcome<Vec<Row>> {
    let mut figures: BTreeMap<(&str, &str), (Unit, Vec<f64>)> = BTreeMap::new();
    for Kept { record, .. } in kept.iter().filter(|kept| !kept.void) {
        let figure = figures.entry((&record.side, &record.work)).or_insert((record.unit, Vec::new()));
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
    let &(unit, ours) = medians.get(&("dmaring", comparison.work))?;
    let named = |side: &str, value| format!("{side} {}", shown(unit, value));
    let (peer, ratio) = match comparison.against {
        Peer(side, work) => {
            let &(_, peer) = medians.get(&(side, work))?;
            (named(side, peer), ours / peer)
        }
        BestLoop(work) => {
            let loops = LOOPS.iter().filter_map(|side| Some((side, medians.get(&(*side, work))?.1)));
            let (side, best) = loops.max_by(|a, b| a.1.total_cmp(&b.1))?;
            (named(side, best), ours / best)
        }
        Cost(side, work) => {
            let &(_, peer) = medians.get(&(side, work))?;
            (format!("{work} {}", shown(unit, peer)), peer / ours)
        }
        Number(number) => ("".to_owned(), ours / number),
    };
    let (target, met) = judge(ratio, comparison.bound);
    let (ratio, target) = match comparison.against {
        // The ratio says nothing that the figure does not.
        Number(number) => (None, format!("≤ {}", shown(unit, number * limit(comparison.bound)))),
        _ => (Some(ratio), target),
    };
    Some(Row { what: comparison.what.to_owned(), ours: shown(unit, ours), peer, ratio, target, met })
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
    let row = |ours, ratio, met| Row { what: what.to_owned(), ours, peer: String::new(), ratio, target, met };
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
    let mut text = String::from("| what | ours | peer | ratio | target | |\n|---|--:|--:|--:|--:|---|\n");
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
        AtMost(most) => (format!("≤ {most}"), Some(ratio <= most)),
        AtLeast(least) => (format!("≥ {least}"), Some(ratio >= least)),
        Stated(most) => (format!("no collapse: ≤ {most}"), Some(ratio <= most)),
    }
}

fn limit(bound: Bound) -> f64 {
    match bound {
        AtMost(limit) | AtLeast(limit) | Stated(limit) => limit,
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
    use super::{super::record::tests::kept, super::record::Unit, text, timed};

    #[test]
    fn a_row_is_the_ratio_of_medians_and_void_rounds_do_not_count() {
        let ns = |side, value| kept(side, "copy64-1", Unit::Ns, value);
        let mut records = [ns("dmaring", 90), ns("dmaring", 500), ns("dmaring", 80), ns("dpdk", 100)].to_vec();
        let mut void = ns("dpdk", 9);
        void.void = true;
        records.push(void);
        let rows = timed(&records).unwrap();
        assert_eq!((rows.len(), rows[0].ratio, rows[0].met), (1, Some(0.9), Some(true)));
        records.push(ns("dmaring", 100));
        let rows = timed(&records).unwrap();
        assert_eq!((rows[0].ratio, rows[0].met), (Some(0.95), Some(false)));
        assert!(text(&rows).contains("| 95 ns | dpdk 100 ns | 0.95 | ≤ 0.9 | NOT MET |"), "{}", text(&rows));
        assert!(text(&rows).contains("0 of 1 targets met"));
    }

    #[test]
    fn the_best_loop_is_what_a_cold_copy_is_held_against() {
        let cold = |side, value| kept(side, "cold-65536-8", Unit::BytesPerS, value);
        let records = [cold("dmaring", 96), cold("avx2_nt", 100), cold("rep_movsb", 80), cold("memcpy", 60)];
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
        assert_eq!((rows[1].ours.as_str(), rows[1].target.as_str(), rows[1].met), ("0.90 %", "≤ 1.00 %", Some(true)));
        assert_eq!((rows[2].target.as_str(), rows[2].met), ("≤ 60.0 µs", Some(false)));
    }

    #[test]
    fn one_work_in_two_units_is_refused() {
        let records = [kept("dmaring", "x", Unit::Ns, 1), kept("dmaring", "x", Unit::PerS, 1)];
        assert!(timed(&records).unwrap_err().to_string().contains("two units"));
    }
}
