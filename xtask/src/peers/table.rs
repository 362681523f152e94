//! The table: each row's two medians, their ratio, and what the ratio is to be.

use std::{borrow::Cow, collections::BTreeMap, fmt::Write as _};

use serde::Serialize;

use super::{
    record::{self, Kept, Unit},
    targets::{Against, Bound, COMPARISONS, Comparison},
};
use crate::failure::{Failure, Outcome};

/// How many records of free cores each side needs for a ratio of them.
const ENOUGH_FREE: usize = 5;

/// One row, ready to be printed.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Row {
    what: String,
    ours: String,
    peer: String,
    ratio: Option<f64>,
    /// The median of the ratios that each round has by itself.
    in_a_round: Option<f64>,
    /// The ratio of the records of free cores, and how many of them each side has.
    free: Option<(f64, usize, usize)>,
    target: String,
    /// Whether the target was met; `None` where there is none, or nothing was measured.
    met: Option<bool>,
    /// By how many rounds alone it would have been met, and of how many.
    rounds: Option<(usize, usize)>,
}

/// The rows of all comparisons of which both sides were measured. Each figure is the median over the rounds.
pub(crate) fn timed(kept: &[Kept]) -> Outcome<Vec<Row>> {
    let (all, mut free) = (figures(kept.iter())?, figures(record::on_free_cores(kept))?);
    free.retain(|_, (_, rounds)| rounds.0.len() >= ENOUGH_FREE);
    let rows = COMPARISONS.iter().filter_map(|comparison| {
        let row = row(comparison, &all)?;
        Some(Row { free: free_ratio(comparison, &free), ..row })
    });
    Ok(rows.collect())
}

/// What each side made of each work, in each round that is not void.
fn figures<'a>(kept: impl Iterator<Item = &'a Kept>) -> Outcome<Figures<'a>> {
    let mut figures = Figures::new();
    for Kept { record, round, .. } in kept.filter(|kept| !kept.void) {
        let figure =
            figures.entry((&record.side, &record.work)).or_insert((record.unit, Rounds::default()));
        if figure.0 != record.unit {
            let message = format!("{} is told in two units for {}", record.work, record.side);
            return Err(Failure::new(message));
        }
        figure.1.0.push((*round, record.median()));
    }
    Ok(figures)
}

type Figures<'a> = BTreeMap<(&'a str, &'a str), (Unit, Rounds)>;

/// A figure's value in each round.
#[derive(Clone, Debug, Default)]
struct Rounds(Vec<(u32, f64)>);

impl Rounds {
    fn median(&self) -> f64 {
        median(self.0.iter().map(|&(_, value)| value).collect())
    }

    /// The median, and of how many it is.
    fn figure(&self) -> (f64, usize) {
        (self.median(), self.0.len())
    }

    /// The same value in each of these rounds.
    fn always(&self, value: f64) -> Self {
        Self(self.0.iter().map(|&(round, _)| (round, value)).collect())
    }

    /// The best of each round.
    fn best<'a>(sides: impl Iterator<Item = &'a Self>) -> Self {
        let mut best = BTreeMap::new();
        for &(round, value) in sides.flat_map(|side| &side.0) {
            let best = best.entry(round).or_insert(value);
            *best = value.max(*best);
        }
        Self(best.into_iter().collect())
    }

    /// Of the rounds that both have: this one's value and the other's.
    fn with<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = (f64, f64)> + 'a {
        self.0.iter().filter_map(|&(round, value)| {
            let (_, other) = other.0.iter().find(|(number, _)| *number == round)?;
            Some((value, *other))
        })
    }
}

/// What two sides made.
struct Pair<'a> {
    unit: Unit,
    ours: &'a Rounds,
    /// Whose figure that is held against, the figure, and what each round is held against.
    name: &'static str,
    peer: f64,
    by_round: Cow<'a, Rounds>,
    /// Of how many records the figure is.
    records: usize,
    /// Whether costs are compared, which are the inverse of what was measured.
    is_cost: bool,
}

impl Pair<'_> {
    fn ratio(&self, ours: f64, peer: f64) -> f64 {
        if self.is_cost { peer / ours } else { ours / peer }
    }
}

fn pair<'a>(comparison: &Comparison, figures: &'a Figures<'_>) -> Option<Pair<'a>> {
    let Comparison { side, work, against, .. } = *comparison;
    let (unit, ours) = figures.get(&(side, work))?;
    let of = |side, work| figures.get(&(side, work)).map(|(_, rounds)| rounds);
    let is_cost = matches!(against, Against::Cost(..));
    let (name, (peer, records), by_round) = match against {
        Against::Peer(side, work) | Against::Cost(side, work) => {
            let peer = of(side, work)?;
            (if is_cost { work } else { side }, peer.figure(), Cow::Borrowed(peer))
        }
        Against::BestOf(sides, work) => {
            let sides = || sides.iter().filter_map(|&side| Some((side, of(side, work)?)));
            let figures = sides().map(|(side, rounds)| (side, rounds.figure()));
            let (side, best) = figures.max_by(|(_, a), (_, b)| a.0.total_cmp(&b.0))?;
            (side, best, Cow::Owned(Rounds::best(sides().map(|(_, rounds)| rounds))))
        }
        Against::Number(number) => ("", (number, 1), Cow::Owned(ours.always(number))),
    };
    Some(Pair { unit: *unit, ours, name, peer, records, by_round, is_cost })
}

/// The ratio of records of free cores; nothing where one side has too few for a median. Loops that have too few are no loops here.
fn free_ratio(comparison: &Comparison, free: &Figures<'_>) -> Option<(f64, usize, usize)> {
    if matches!(comparison.against, Against::Number(_)) {
        return None;
    }
    let pair = pair(comparison, free)?;
    Some((pair.ratio(pair.ours.median(), pair.peer), pair.ours.0.len(), pair.records))
}

fn row(comparison: &Comparison, figures: &Figures<'_>) -> Option<Row> {
    let Comparison { against, bound, .. } = *comparison;
    let held = pair(comparison, figures)?;
    let Pair { unit, ours, name, peer, ref by_round, .. } = held;
    let in_rounds: Vec<_> =
        ours.with(by_round).map(|(ours, peer)| held.ratio(ours, peer)).collect();
    let ratio = held.ratio(ours.median(), peer);
    let (target, met) = judge(ratio, bound);
    let is_met = |ratio: &&f64| judge(**ratio, bound).1 == Some(true);
    let rounds = met.map(|_| (in_rounds.iter().filter(is_met).count(), in_rounds.len()));
    let peer = match against {
        Against::Number(_) => String::new(),
        _ => format!("{name} {}", shown(unit, peer)),
    };
    let (ratio, in_a_round, target) = match against {
        // The ratio says nothing that the figure does not.
        Against::Number(number) => (None, None, format!("≤ {}", shown(unit, number))),
        _ if in_rounds.is_empty() => (Some(ratio), None, target),
        _ => (Some(ratio), Some(median(in_rounds)), target),
    };
    let what = comparison.what.to_owned();
    Some(Row {
        what,
        ours: shown(unit, ours.median()),
        peer,
        ratio,
        in_a_round,
        target,
        met,
        rounds,
        ..Row::default()
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
    Row {
        what: what.to_owned(),
        ours,
        peer,
        ratio,
        target: "≤ 60".to_owned(),
        met,
        ..Row::default()
    }
}

/// The row that tells whether a count stays what it is.
pub(crate) fn flat(what: &str, ratio: Result<f64, String>) -> Row {
    let target = "≤ 1.05".to_owned();
    let row = |ours, ratio, met| Row {
        what: what.to_owned(),
        ours,
        ratio,
        target,
        met,
        ..Row::default()
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
        target: "0".to_owned(),
        met: Some(tests.is_ok()),
        ..Row::default()
    }
}

/// The table as text, with how many targets were met.
pub(crate) fn text(rows: &[Row]) -> String {
    let mut text = String::from(
        "| what | ours | peer | ratio | in a round | free | target | |\n|---|--:|--:|--:|--:|--:|--:|---|\n",
    );
    let told = |ratio: &Option<f64>| ratio.map_or(String::new(), |ratio| format!("{ratio:.2}"));
    for Row { what, ours, peer, ratio, in_a_round, free, target, met, rounds } in rows {
        let (ratio, in_a_round) = (told(ratio), told(in_a_round));
        let free = free
            .map_or(String::new(), |(ratio, ours, peer)| format!("{ratio:.2} ({ours}, {peer})"));
        let met = match met {
            Some(true) => "met",
            Some(false) => "NOT MET",
            None => "",
        };
        let rounds = rounds.map_or(String::new(), |(met, all)| format!(", {met} of {all}"));
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "| {what} | {ours} | {peer} | {ratio} | {in_a_round} | {free} | {target} | {met}{rounds} |"
        );
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
    use super::{
        super::record::{Kept, Unit, tests::kept},
        text, timed,
    };

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
            text(&rows)
                .contains("| 95 ns | dpdk 100 ns | 0.95 | 0.95 |  | ≤ 0.9 | NOT MET, 2 of 4 |"),
            "{}",
            text(&rows)
        );
        assert!(text(&rows).contains("0 of 1 targets met"));
    }

    #[test]
    fn a_row_says_in_how_many_rounds_its_target_was_met() {
        let ns = |round, side, value| Kept { round, ..kept(side, "copy64-1", Unit::Ns, value) };
        let mut records = Vec::new();
        // The rounds of one side do not come in the order of the other's, and one of them has no peer.
        for (round, ours, peer) in [(0, 80, 100), (1, 85, 90), (2, 70, 80)] {
            records.insert(0, ns(round, "dmaring", ours));
            records.push(ns(round, "dpdk", peer));
        }
        records.push(ns(3, "dmaring", 80));
        let rows = timed(&records).unwrap();
        assert_eq!((rows[0].met, rows[0].rounds), (Some(true), Some((2, 3))));
        assert_eq!((rows[0].ratio, rows[0].in_a_round), (Some(80.0 / 90.0), Some(0.875)));
        assert!(text(&rows).contains("| met, 2 of 3 |"), "{}", text(&rows));
        let figure =
            |round, value| Kept { round, ..kept("dmaring", "idle-first-copy", Unit::Ns, value) };
        let rows = timed(&[figure(0, 50_000), figure(1, 70_000), figure(2, 61_000)]).unwrap();
        assert_eq!((rows[0].met, rows[0].rounds), (Some(false), Some((1, 3))));
    }

    #[test]
    fn records_of_free_cores_have_a_ratio_of_their_own() {
        let of = |round, side, value, loop_ns| {
            let mut kept = Kept { round, ..kept(side, "copy64-1", Unit::Ns, value) };
            kept.record.loop_ns = [10, loop_ns];
            kept
        };
        let mut records = Vec::new();
        for round in 0..5 {
            records.extend([of(round, "dmaring", 60, 12), of(round, "dpdk", 100, 10)]);
        }
        for round in 5..11 {
            records.extend([of(round, "dmaring", 130, 20), of(round, "dpdk", 100, 10)]);
        }
        let rows = timed(&records).unwrap();
        assert_eq!((rows[0].ratio, rows[0].free), (Some(1.3), Some((0.6, 5, 11))));
        assert!(text(&rows).contains("| 1.30 | 1.30 | 0.60 (5, 11) |"), "{}", text(&rows));
        records.remove(0);
        assert_eq!(timed(&records).unwrap()[0].free, None, "too few");
        // Of loops, too.
        let cold = |round, side, value| Kept {
            round,
            ..kept(side, "cold-65536-8", Unit::BytesPerS, value)
        };
        let mut records = vec![cold(0, "rep_movsb", 200)];
        for round in 0..5 {
            records.extend([cold(round, "dmaring", 96), cold(round, "avx2_nt", 100)]);
        }
        let rows = timed(&records).unwrap();
        assert_eq!((rows[0].ratio, rows[0].free), (Some(0.48), Some((0.96, 5, 5))));
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
    fn a_round_is_held_against_its_own_best_loop() {
        let of = |round, side, value| {
            let kept = kept(side, "cold-65536-8", Unit::BytesPerS, value);
            Kept { round, ..kept }
        };
        let mut records = Vec::new();
        for (round, ours, one, other) in [(0, 96, 100, 80), (1, 96, 90, 110), (2, 96, 100, 70)] {
            records.extend([of(round, "dmaring", ours), of(round, "avx2_nt", one)]);
            records.push(of(round, "rep_movsb", other));
        }
        let rows = timed(&records).unwrap();
        // In the second round the other loop was the best.
        assert_eq!((rows[0].ratio, rows[0].rounds), (Some(0.96), Some((2, 3))));
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
