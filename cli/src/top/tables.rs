//! The figures, as people read them.

use std::{array, fmt::Write, time::Duration};

use super::{
    figures::{Engine, EngineRates, Percentiles, Totals},
    reading::{Reading, Runtime},
};

/// The tables of every runtime.
pub(super) fn text(reading: &Reading) -> String {
    let mut text = String::new();
    for runtime in &reading.runtimes {
        let Runtime { pid, name, up_seconds, live, .. } = runtime;
        let up = Duration::from_secs(*up_seconds as u64);
        let ended = if *live { "" } else { ", ended" };
        let _ = writeln!(text, "process {pid} ({name}), up {}{ended}", clock(up));
        text += &now(runtime);
        text += &operations(&runtime.totals);
        text += &engines(&runtime.totals.engines);
        text.push('\n');
    }
    text
}

/// What is going on: since the reading before, or since the beginning at the first.
fn now(runtime: &Runtime) -> String {
    let since = match &runtime.rates {
        Some(rates) => format!("last {:.1} s", rates.seconds),
        None => "since start".to_owned(),
    };
    let header = ["done/s", "bytes/s", "in flight", "p50", "p90", "p99", "p99.9", "max"];
    let mut table = Table::new(&since, header);
    let (totals, rates) = (&runtime.totals, runtime.rates.as_ref());
    let row = |done: Option<f64>, bytes: Option<f64>, in_flight: u64, latency: &Percentiles| {
        let [p50, p90, p99, p99_9, max] = times(latency);
        [done.map_or(none(), short), bytes.map_or(none(), size), in_flight.to_string()]
            .into_iter()
            .chain([p50, p90, p99, p99_9, max])
            .collect()
    };
    table.row(
        "operations",
        row(
            rates.map(|rates| rates.operations_per_second),
            rates.map(|rates| rates.bytes_per_second),
            totals.in_flight,
            rates.map_or(&totals.latency, |rates| &rates.latency),
        ),
    );
    for (number, engine) in totals.engines.iter().enumerate() {
        let rates: Option<&EngineRates> = rates.and_then(|rates| rates.engines.get(number));
        table.row(
            &engine.name,
            row(
                rates.map(|rates| rates.transfers_per_second),
                rates.map(|rates| rates.bytes_per_second),
                engine.in_flight,
                rates.map_or(&engine.latency, |rates| &rates.latency),
            ),
        );
    }
    table.text()
}

fn operations(totals: &Totals) -> String {
    let header = [
        "submitted",
        "completed",
        "failed",
        "timed out",
        "retried",
        "bytes",
        "parks",
        "violations",
    ];
    let mut table = Table::new("since start", header);
    let Totals { submitted, completed, failed, timed_out, retried, parks, violations, .. } = totals;
    let cells = [submitted, completed, failed, timed_out, retried].map(u64::to_string);
    let rest = [size(totals.bytes as f64), parks.to_string(), violations.to_string()];
    table.row("operations", cells.into_iter().chain(rest).collect());
    table.text()
}

fn engines(engines: &[Engine]) -> String {
    let header =
        ["transfers", "bytes", "errors", "resets", "retired", "replayed", "retries", "state"];
    let mut table = Table::new("engine", header);
    for engine in engines {
        let Engine { transfers, errors, resets, retirements, replayed, retries, .. } = engine;
        let counts = [errors, resets, retirements, replayed, retries].map(u64::to_string);
        let first = [transfers.to_string(), size(engine.bytes as f64)];
        let state = [engine.state.to_owned()];
        table.row(&engine.name, first.into_iter().chain(counts).chain(state).collect());
    }
    table.text()
}

/// Columns of eight figures, so wide that they seldom move from one reading to the next.
#[derive(Debug)]
struct Table {
    rows: Vec<(String, Vec<String>)>,
}

impl Table {
    const COLUMNS: usize = 8;
    const LEAST: usize = 10;

    fn new(first: &str, header: [&str; Self::COLUMNS]) -> Self {
        Self { rows: vec![(first.to_owned(), header.map(str::to_owned).into())] }
    }

    fn row(&mut self, name: &str, cells: Vec<String>) {
        self.rows.push((name.to_owned(), cells));
    }

    fn text(&self) -> String {
        let width = |cell: &String| cell.chars().count();
        let names = self.rows.iter().map(|(name, _)| width(name)).max().unwrap_or(0).max(12);
        let widths: [usize; Self::COLUMNS] = array::from_fn(|column| {
            let cells = self.rows.iter().filter_map(|(_, cells)| cells.get(column));
            cells.map(width).max().unwrap_or(0).max(Self::LEAST)
        });
        let mut text = String::new();
        for (name, cells) in &self.rows {
            let _ = write!(text, "  {name:<names$}");
            for (cell, width) in cells.iter().zip(widths) {
                let _ = write!(text, " {cell:>width$}");
            }
            text.push('\n');
        }
        text
    }
}

fn none() -> String {
    "-".to_owned()
}

/// Hours, minutes, seconds.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

fn times(latency: &Percentiles) -> [String; 5] {
    let Percentiles { p50_ns, p90_ns, p99_ns, p99_9_ns, max_ns, .. } = *latency;
    [p50_ns, p90_ns, p99_ns, p99_9_ns, max_ns].map(|nanos| {
        let Some(nanos) = nanos else { return none() };
        scaled(nanos as f64, [("ns", 1.0), ("µs", 1e3), ("ms", 1e6), ("s", 1e9)])
    })
}

fn short(number: f64) -> String {
    scaled(number, [("", 1.0), ("k", 1e3), ("M", 1e6), ("G", 1e9)])
}

fn size(bytes: f64) -> String {
    scaled(bytes, [("B", 1.0), ("kB", 1e3), ("MB", 1e6), ("GB", 1e9)])
}

/// In the greatest unit of which there is one, with three digits or so.
fn scaled(number: f64, units: [(&str, f64); 4]) -> String {
    let unit = units.iter().rev().find(|(_, scale)| number >= *scale);
    let (name, scale) = unit.unwrap_or(&units[0]);
    let value = number / scale;
    let places = if *scale == 1.0 || value >= 100.0 { 0 } else { 1 };
    format!("{value:.places$} {name}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_a_unit_that_fits_them() {
        for (number, expected) in [
            (0.0, "0"),
            (7.4, "7"),
            (999.0, "999"),
            (1000.0, "1.0 k"),
            (123_456.0, "123 k"),
            (4.2e9, "4.2 G"),
            (7e13, "70000 G"),
        ] {
            assert_eq!(short(number), expected);
        }
        assert_eq!(size(4096.0), "4.1 kB");
        assert_eq!(clock(Duration::from_secs(3 * 3600 + 62)), "3:01:02");
    }

    #[test]
    fn times_that_were_not_measured_are_dashes() {
        let latency = Percentiles {
            operations: 1,
            p50_ns: Some(900),
            p90_ns: Some(1500),
            p99_ns: Some(2_000_000),
            p99_9_ns: Some(3_000_000_000),
            max_ns: None,
        };
        assert_eq!(times(&latency), ["900 ns", "1.5 µs", "2.0 ms", "3.0 s", "-"]);
    }

    #[test]
    fn columns_stand_under_their_headers() {
        let mut table = Table::new("name", ["a"; 8]);
        table.row("ioat:0000:00:04.0", vec!["123456789012".to_owned(); 8]);
        let text = table.text();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0].chars().count(), lines[1].chars().count());
    }
}
