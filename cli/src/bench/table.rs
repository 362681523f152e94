//! The figures, as people read them.

use std::fmt;

use super::{
    crossover::Crossover,
    figures::{Point, Report},
    settings::Cache,
};
use crate::size;

const HEADER: [&str; 12] = [
    "size", "by", "depth", "GB/s", "Mops/s", "p50", "p90", "p99", "p99.9", "max", "cycles/B",
    "x memcpy",
];

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for engine in &self.engines {
            writeln!(f, "{}: {}", engine.name, engine.description)?;
        }
        for (cache, threads) in self.groups() {
            writeln!(f, "\n{}", self.heading(cache, threads))?;
            let rows: Vec<_> = self.group(cache, threads).map(row).collect();
            table(f, &rows)?;
        }
        writeln!(f)?;
        for series in &self.crossovers {
            let (cache, engine, depth) = (series.cache.name(), &series.engine, series.depth);
            let threads = plural(series.threads, "thread");
            let verdict = verdict(&series.crossover);
            writeln!(f, "{cache}, {threads}, {engine} at depth {depth}: {verdict}")?;
        }
        self.notes(f)
    }
}

impl Report {
    fn heading(&self, cache: Cache, threads: u32) -> String {
        let sets = || self.group(cache, threads).map(|point| point.working_set_bytes);
        let (least, most) = (sets().min().unwrap_or(0), sets().max().unwrap_or(0));
        let threads = plural(threads, "thread");
        let order = match cache {
            Cache::Cold => "in random order",
            Cache::Warm => "again and again",
        };
        let set = if bytes(least) == bytes(most) {
            bytes(most)
        } else {
            format!("{} to {}", bytes(least), bytes(most))
        };
        format!("{}, {threads}: {set} visited {order}", cache.name())
    }

    fn notes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = bytes(self.memory.cold_target_bytes);
        match (self.memory.cold_enough, self.machine.last_level_cache_bytes) {
            (Some(false), Some(_)) => writeln!(
                f,
                "note: not all cold copies are cold: 4 times the last-level cache is {target}; with more memory, or another \
                 --working-set, they are"
            )?,
            (Some(_), None) => writeln!(
                f,
                "note: the system does not tell the size of its caches: {target} is taken for 4 times the last-level cache"
            )?,
            _ => {}
        }
        if let Some(why) = &self.no_cycles {
            writeln!(f, "note: no cycles: {why}")?;
        }
        for engine in self.engines.iter().filter(|engine| engine.emulated) {
            writeln!(
                f,
                "note: {} is a model in this process: it shows that copies are right, not how fast a device is",
                engine.name
            )?;
        }
        let points = self.points.len();
        writeln!(f, "verified: the copies of all {points} points; {:.1} s", self.seconds)
    }
}

/// Where an engine passes memcpy, in words.
pub(super) fn verdict(crossover: &Crossover) -> String {
    if crossover.crossings.is_empty() {
        let faster = if crossover.ahead_at_smallest { "the engine" } else { "memcpy" };
        return format!("crossover none in range: {faster} is faster at every size");
    }
    let crossings = crossover.crossings.iter().map(|crossing| {
        let what = if crossing.ahead { "passes memcpy" } else { "falls behind memcpy" };
        format!("{what} at {}", bytes(crossing.bytes))
    });
    crossings.collect::<Vec<_>>().join(", ")
}

fn row(point: &Point) -> [String; HEADER.len()] {
    let none = || String::from("-");
    let latency = &point.latency_ns;
    [
        size::format(point.size_bytes),
        point.engine.clone().unwrap_or_else(|| String::from("memcpy")),
        point.depth.map_or_else(none, |depth| depth.to_string()),
        format!("{:.3}", point.bytes_per_second / 1e9),
        format!("{:.3}", point.operations_per_second / 1e6),
        nanos(latency.p50),
        nanos(latency.p90),
        nanos(latency.p99),
        nanos(latency.p99_9),
        nanos(latency.max),
        point.cycles_per_byte.map_or_else(none, |cycles| format!("{cycles:.3}")),
        point.ratio_to_memcpy.map_or_else(none, |ratio| format!("{ratio:.2}")),
    ]
}

/// Columns aligned to the right.
fn table(f: &mut fmt::Formatter<'_>, rows: &[[String; HEADER.len()]]) -> fmt::Result {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0).max(HEADER[column].len())
    };
    let widths: [usize; HEADER.len()] = std::array::from_fn(width);
    let header = HEADER.map(str::to_owned);
    for row in std::iter::once(&header).chain(rows) {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:>width$}"));
        writeln!(f, "  {}", cells.collect::<Vec<_>>().join("  "))?;
    }
    Ok(())
}

/// A time in a unit that fits it, with three digits or so.
pub(super) fn nanos(nanos: u64) -> String {
    let (unit, scale) = match nanos {
        0..1_000 => return format!("{nanos} ns"),
        1_000..1_000_000 => ("µs", 1e3),
        1_000_000..1_000_000_000 => ("ms", 1e6),
        1_000_000_000.. => ("s", 1e9),
    };
    let value = nanos as f64 / scale;
    let places = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.places$} {unit}")
}

/// A size in the greatest unit of which there is one.
pub(super) fn bytes(bytes: u64) -> String {
    let units = [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) if bytes.is_multiple_of(*unit) => format!("{} {name}", bytes / unit),
        Some((name, unit)) => format!("{:.2} {name}", bytes as f64 / *unit as f64),
        None => format!("{bytes} B"),
    }
}

/// `1 thread`, `2 threads`.
pub(super) fn plural(count: u32, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::{bytes, nanos};
    use crate::bench::figures::tests::report;

    #[test]
    fn the_table_has_every_point_and_says_what_is_missing() {
        let text = report().to_string();
        for part in [
            "emulated: a <model>",
            "cold, 1 thread: 1 GiB visited in random order",
            "warm, 1 thread: 1 GiB visited again and again",
            "cold, 1 thread, emulated at depth 8: passes memcpy at 2 KiB",
            "warm, 1 thread, emulated at depth 8: crossover none in range: memcpy is faster at every size",
            "note: no cycles: there is no counter",
            "emulated is a model in this process",
            "verified: the copies of all 8 points; 3.0 s",
        ] {
            assert!(text.contains(part), "{part:?} is not in {text}");
        }
        assert!(!text.contains("not all cold copies are cold"), "{text}");
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let row = text.lines().map(words).find(|line| line.starts_with("1 KiB emulated 8"));
        assert_eq!(
            row.as_deref(),
            Some("1 KiB emulated 8 0.250 0.244 1.02 µs 2.00 µs 3.00 µs 4.00 ms 5.00 s - 0.25")
        );
    }

    #[test]
    fn a_set_that_is_not_cold_and_an_unknown_cache_are_told() {
        let mut report = report();
        report.memory.cold_enough = Some(false);
        assert!(report.to_string().contains("4 times the last-level cache is 128 MiB"));
        report.machine.last_level_cache_bytes = None;
        assert!(report.to_string().contains("the system does not tell the size of its caches"));
        report.memory.cold_enough = None;
        assert!(!report.to_string().contains("caches"));
    }

    #[test]
    fn times_and_sizes_have_a_unit_that_fits_them() {
        for (number, text) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_000, "1.00 µs"),
            (12_345, "12.3 µs"),
            (123_456_789, "123 ms"),
        ] {
            assert_eq!(nanos(number), text);
        }
        for (number, text) in
            [(63, "63 B"), (1500, "1.46 KiB"), (4096, "4 KiB"), (3 << 29, "1.50 GiB")]
        {
            assert_eq!(bytes(number), text);
        }
    }
}
