//! Every figure of a run, as programs read them: the schema is documented in `docs/bench.md`.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::{
    areas::{Blocks, Lengths},
    crossover::Crossover,
    machine::Machine,
    point::Totals,
    settings::{Cache, Settings},
};

/// The version of the schema. It changes when a field goes or means something else, not when one is added.
const SCHEMA: u32 = 1;

/// A run. Every point in it was verified.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) schema: &'static str,
    pub(super) schema_version: u32,
    /// Of the command.
    pub(super) version: &'static str,
    pub(super) machine: Machine,
    pub(super) seconds_per_point: f64,
    /// `null` where pollers float.
    pub(super) poller_core: Option<usize>,
    pub(super) memory: Lengths,
    pub(super) engines: Vec<Engine>,
    /// Why no cycles were counted.
    pub(super) no_cycles: Option<String>,
    pub(super) points: Vec<Point>,
    pub(super) crossovers: Vec<Series>,
    /// What the run took, all told.
    pub(super) seconds: f64,
}

/// What one `--engine` named.
#[derive(Debug, Serialize)]
pub(super) struct Engine {
    /// As the points have it.
    pub(super) name: String,
    /// What was taken, and why.
    pub(super) description: String,
    pub(super) emulated: bool,
}

/// One measurement.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Point {
    pub(super) cache: Cache,
    pub(super) threads: u32,
    pub(super) size_bytes: u64,
    /// `null` for memcpy.
    pub(super) engine: Option<String>,
    /// In flight for each thread; `null` for memcpy.
    pub(super) depth: Option<u32>,
    /// Sources and destinations that were visited.
    pub(super) working_set_bytes: u64,
    pub(super) operations: u64,
    pub(super) seconds: f64,
    pub(super) operations_per_second: f64,
    pub(super) bytes_per_second: f64,
    pub(super) latency_ns: Latency,
    pub(super) cycles_per_byte: Option<f64>,
    /// Throughput divided by memcpy's at the same size, with as many threads; `null` for memcpy.
    pub(super) ratio_to_memcpy: Option<f64>,
}

/// Latencies in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Latency {
    /// How many copies were timed.
    pub(super) samples: u64,
    pub(super) p50: u64,
    pub(super) p90: u64,
    pub(super) p99: u64,
    pub(super) p99_9: u64,
    pub(super) max: u64,
}

/// How an engine at one depth stands against memcpy.
#[derive(Debug, Serialize)]
pub(super) struct Series {
    pub(super) cache: Cache,
    pub(super) threads: u32,
    pub(super) engine: String,
    pub(super) depth: u32,
    #[serde(flatten)]
    pub(super) crossover: Crossover,
}

impl Report {
    /// A report without points.
    pub(super) fn new(settings: &Settings, machine: Machine, memory: Lengths) -> Self {
        Self {
            schema: "dmaring-bench",
            schema_version: SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            machine,
            seconds_per_point: settings.time.as_secs_f64(),
            poller_core: settings.core,
            memory,
            engines: Vec::new(),
            no_cycles: None,
            points: Vec::new(),
            crossovers: Vec::new(),
            seconds: 0.0,
        }
    }

    /// Finds where engines pass memcpy, in what was measured.
    pub(super) fn finish(&mut self, time: Duration) {
        self.seconds = time.as_secs_f64();
        self.crossovers = self.series().into_iter().map(|key| self.crossover(key)).collect();
    }

    /// The points of one state of the caches and number of threads, in the order in which they were measured.
    pub(super) fn group(&self, cache: Cache, threads: u32) -> impl Iterator<Item = &Point> {
        self.points.iter().filter(move |point| (point.cache, point.threads) == (cache, threads))
    }

    /// The states and numbers of threads that were measured, in order.
    pub(super) fn groups(&self) -> Vec<(Cache, u32)> {
        in_order(self.points.iter().map(|point| (point.cache, point.threads)))
    }

    fn series(&self) -> Vec<(Cache, u32, &str, u32)> {
        in_order(self.points.iter().filter_map(|point| {
            Some((point.cache, point.threads, point.engine.as_deref()?, point.depth?))
        }))
    }

    fn crossover(&self, (cache, threads, engine, depth): (Cache, u32, &str, u32)) -> Series {
        let ratios: Vec<_> = self
            .group(cache, threads)
            .filter(|point| point.engine.as_deref() == Some(engine) && point.depth == Some(depth))
            .filter_map(|point| Some((point.size_bytes, point.ratio_to_memcpy?)))
            .collect();
        let crossover = Crossover::find(&ratios);
        Series { cache, threads, engine: engine.to_owned(), depth, crossover }
    }
}

/// Each value once, where it comes first.
fn in_order<T: PartialEq>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = Vec::new();
    for value in values {
        if !seen.contains(&value) {
            seen.push(value);
        }
    }
    seen
}

impl Point {
    /// A point of memcpy.
    pub(super) fn of_memcpy(cache: Cache, blocks: &Blocks, totals: &Totals) -> Self {
        let size = blocks.size as f64;
        Self {
            cache,
            threads: blocks.threads,
            size_bytes: blocks.size,
            engine: None,
            depth: None,
            working_set_bytes: blocks.visited(),
            operations: totals.operations,
            seconds: totals.time.as_secs_f64(),
            operations_per_second: totals.operations_per_second,
            bytes_per_second: totals.operations_per_second * size,
            latency_ns: Latency::of(&totals.latencies),
            cycles_per_byte: totals.cycles_per_operation.map(|cycles| cycles / size),
            ratio_to_memcpy: None,
        }
    }

    /// A point of an engine, held against that of memcpy.
    pub(super) fn of_engine(
        memcpy: &Self,
        engine: &str,
        depth: u32,
        blocks: &Blocks,
        totals: &Totals,
    ) -> Self {
        let point = Self::of_memcpy(memcpy.cache, blocks, totals);
        let ratio = point.bytes_per_second / memcpy.bytes_per_second;
        Self {
            engine: Some(engine.to_owned()),
            depth: Some(depth),
            // JSON has no other numbers.
            ratio_to_memcpy: Some(ratio).filter(|ratio| ratio.is_finite()),
            ..point
        }
    }
}

impl Latency {
    fn of(latencies: &Histogram<u64>) -> Self {
        let at = |quantile| latencies.value_at_quantile(quantile);
        Self {
            samples: latencies.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            max: latencies.max(),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::{Cache, Engine, Latency, Lengths, Machine, Point, Report};
    use crate::bench::settings::{Settings, tests::arguments};

    fn point(cache: Cache, size: u64, engine: Option<(&str, u32)>, ratio: f64) -> Point {
        let bytes_per_second = 1e9 * ratio;
        Point {
            cache,
            threads: 1,
            size_bytes: size,
            engine: engine.map(|(name, _)| name.to_owned()),
            depth: engine.map(|(_, depth)| depth),
            working_set_bytes: 1 << 30,
            operations: 1000,
            seconds: 0.25,
            operations_per_second: bytes_per_second / size as f64,
            bytes_per_second,
            latency_ns: Latency {
                samples: 9,
                p50: size,
                p90: 2000,
                p99: 3000,
                p99_9: 4_000_000,
                max: 5_000_000_000,
            },
            cycles_per_byte: None,
            ratio_to_memcpy: engine.map(|_| ratio),
        }
    }

    /// A report whose engine passes memcpy at 2 KiB where copies are cold, and nowhere where they are warm.
    pub(in crate::bench) fn report() -> Report {
        let settings = Settings::new(&arguments("--sizes 1KiB,4KiB --depths 8")).unwrap();
        let machine = Machine {
            cpu: Some(String::from("A processor")),
            cpus: Some(2),
            last_level_cache_bytes: Some(32 << 20),
            available_memory_bytes: Some(1 << 30),
        };
        let memory =
            Lengths { area_bytes: 64 << 20, cold_target_bytes: 128 << 20, cold_enough: Some(true) };
        let mut report = Report::new(&settings, machine, memory);
        let description = String::from("a <model> & \"more\"");
        report.engines.push(Engine { name: String::from("emulated"), description, emulated: true });
        report.no_cycles = Some(String::from("there is no counter"));
        for (cache, size, ratio) in [
            (Cache::Cold, 1024, 0.25),
            (Cache::Cold, 4096, 4.0),
            (Cache::Warm, 1024, 0.25),
            (Cache::Warm, 4096, 0.5),
        ] {
            report.points.push(point(cache, size, None, 1.0));
            report.points.push(point(cache, size, Some(("emulated", 8)), ratio));
        }
        report.finish(Duration::from_secs(3));
        report
    }

    #[test]
    fn crossovers_are_of_each_state_by_itself() {
        let report = report();
        assert_eq!(report.groups(), [(Cache::Cold, 1), (Cache::Warm, 1)]);
        let found: Vec<_> = report
            .crossovers
            .iter()
            .map(|series| (series.cache, series.crossover.passes_at))
            .collect();
        assert_eq!(found, [(Cache::Cold, Some(2048)), (Cache::Warm, None)]);
    }
}
