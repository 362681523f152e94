//! The figures, as programs read them.

use std::time::Duration;

use dmaring::{EngineState, EngineStats, Latency, Stats};
use serde::Serialize;

use crate::failure::is_unprintable;

/// What was done since the runtime was built.
#[derive(Debug, Serialize)]
pub(super) struct Totals {
    pub(super) submitted: u64,
    pub(super) completed: u64,
    pub(super) failed: u64,
    pub(super) timed_out: u64,
    pub(super) retried: u64,
    pub(super) bytes: u64,
    pub(super) in_flight: u64,
    pub(super) parks: u64,
    pub(super) violations: u64,
    pub(super) latency: Percentiles,
    pub(super) engines: Vec<Engine>,
}

/// What an engine did since then.
#[derive(Debug, Serialize)]
pub(super) struct Engine {
    pub(super) name: String,
    pub(super) state: &'static str,
    pub(super) transfers: u64,
    pub(super) bytes: u64,
    pub(super) in_flight: u64,
    pub(super) errors: u64,
    pub(super) resets: u64,
    pub(super) replayed: u64,
    pub(super) retries: u64,
    pub(super) retirements: u64,
    pub(super) latency: Percentiles,
}

/// What was done between two readings.
#[derive(Debug, Serialize)]
pub(super) struct Rates {
    /// Between them.
    pub(super) seconds: f64,
    pub(super) operations_per_second: f64,
    pub(super) bytes_per_second: f64,
    pub(super) latency: Percentiles,
    /// In the order of the totals.
    pub(super) engines: Vec<EngineRates>,
}

/// What an engine did between them.
#[derive(Debug, Serialize)]
pub(super) struct EngineRates {
    pub(super) transfers_per_second: f64,
    pub(super) bytes_per_second: f64,
    pub(super) latency: Percentiles,
}

/// Times of operations in nanoseconds; `null` where none was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Percentiles {
    /// How many operations they stand for.
    pub(super) operations: u64,
    pub(super) p50_ns: Option<u64>,
    pub(super) p90_ns: Option<u64>,
    pub(super) p99_ns: Option<u64>,
    pub(super) p99_9_ns: Option<u64>,
    pub(super) max_ns: Option<u64>,
}

impl Totals {
    pub(super) fn of(stats: &Stats) -> Self {
        Self {
            submitted: stats.submitted,
            completed: stats.completed,
            failed: stats.failed,
            timed_out: stats.timed_out,
            retried: stats.retried,
            bytes: stats.bytes,
            in_flight: stats.in_flight,
            parks: stats.parks,
            violations: stats.violations,
            latency: Percentiles::of(&stats.latency),
            engines: stats.engines.iter().map(Engine::of).collect(),
        }
    }
}

impl Engine {
    fn of(engine: &EngineStats) -> Self {
        Self {
            // Another process wrote it.
            name: engine.name.chars().filter(|character| !is_unprintable(*character)).collect(),
            state: state(engine.state),
            transfers: engine.transfers,
            bytes: engine.bytes,
            in_flight: engine.in_flight,
            errors: engine.errors,
            resets: engine.recoveries,
            replayed: engine.replayed,
            retries: engine.retries,
            retirements: engine.retirements,
            latency: Percentiles::of(&engine.latency),
        }
    }
}

impl Rates {
    pub(super) fn between(before: &Stats, now: &Stats, time: Duration) -> Self {
        // Two readings at one moment have no rate; a number it is all the same.
        let seconds = time.max(Duration::from_micros(1)).as_secs_f64();
        let rate = |before: u64, now: u64| now.saturating_sub(before) as f64 / seconds;
        let engines = before.engines.iter().zip(&now.engines).map(|(before, now)| EngineRates {
            transfers_per_second: rate(before.transfers, now.transfers),
            bytes_per_second: rate(before.bytes, now.bytes),
            latency: Percentiles::of(&now.latency.since(&before.latency)),
        });
        let ended = |stats: &Stats| stats.completed.saturating_add(stats.failed);
        Self {
            seconds,
            operations_per_second: rate(ended(before), ended(now)),
            bytes_per_second: rate(before.bytes, now.bytes),
            latency: Percentiles::of(&now.latency.since(&before.latency)),
            engines: engines.collect(),
        }
    }
}

impl Percentiles {
    fn of(latency: &Latency) -> Self {
        let nanos =
            |time: Option<Duration>| time.and_then(|time| u64::try_from(time.as_nanos()).ok());
        let percentile = |percent| nanos(latency.percentile(percent));
        Self {
            operations: latency.count(),
            p50_ns: percentile(50.0),
            p90_ns: percentile(90.0),
            p99_ns: percentile(99.0),
            p99_9_ns: percentile(99.9),
            max_ns: nanos(latency.max()),
        }
    }
}

fn state(state: EngineState) -> &'static str {
    match state {
        EngineState::Running => "running",
        EngineState::Resetting => "resetting",
        EngineState::Replaying => "replaying",
        EngineState::Retired => "retired",
        EngineState::Lost => "lost",
        _ => "unknown",
    }
}
