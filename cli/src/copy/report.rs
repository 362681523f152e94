//! What is told at the end: lines for people, one JSON object for programs.

use std::{fmt, time::Duration};

use dmaring::Stats;
use serde::Serialize;

use super::verify::Difference;
use crate::size;

/// Every figure of a copy. Sizes and offsets are in bytes.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) version: &'static str,
    pub(crate) source: Place,
    pub(crate) destination: Place,
    pub(crate) size: u64,
    pub(crate) block: u64,
    pub(crate) depth: usize,
    pub(crate) ring_entries: u32,
    /// `null` where the poller floats.
    pub(crate) poller_core: Option<usize>,
    /// Which engines were taken, and why.
    pub(crate) engine: String,
    /// Bytes of blocks that were copied: less than `size` after an error.
    pub(crate) copied: u64,
    pub(crate) engine_time: Timing,
    pub(crate) memcpy_time: Option<Timing>,
    /// memcpy's time divided by the engine's: above 1 the engine is faster.
    pub(crate) ratio: Option<f64>,
    /// Whether the engine's time includes reading and writing what is not memory.
    pub(crate) includes_storage: bool,
    /// Whether each block was durable when it ended, and by what; `null` where nobody asked for it.
    pub(crate) durable: Option<String>,
    /// Whether DST was read back and is equal to SRC.
    pub(crate) verified: bool,
    pub(crate) first_difference: Option<Difference>,
    pub(crate) error: Option<String>,
    pub(crate) stats: Counters,
}

/// One end of the copy.
#[derive(Debug, Serialize)]
pub(crate) struct Place {
    pub(crate) location: String,
    pub(crate) offset: u64,
    pub(crate) access: Access,
}

/// How the engine reaches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Access {
    /// Memory that was allocated for the copy.
    Memory,
    /// A device or file, mapped.
    Mapped,
    /// A file, read and written through staging buffers.
    Staged,
}

/// A time, and the rate that follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Timing {
    pub(crate) seconds: f64,
    pub(crate) bytes_per_second: f64,
}

impl Timing {
    /// The time that `bytes` took.
    pub(crate) fn new(bytes: u64, time: Duration) -> Self {
        // A clock may be too coarse to see a short copy; a rate is a number all the same.
        let seconds = time.max(Duration::from_nanos(1)).as_secs_f64();
        Self { seconds, bytes_per_second: bytes as f64 / seconds }
    }
}

impl fmt::Display for Timing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, divisor) =
            if self.bytes_per_second < 1e8 { ("MB/s", 1e6) } else { ("GB/s", 1e9) };
        write!(f, "{:.6} s ({:.2} {unit})", self.seconds, self.bytes_per_second / divisor)
    }
}

/// What the runtime counted.
#[derive(Debug, Serialize)]
pub(crate) struct Counters {
    submitted: u64,
    completed: u64,
    failed: u64,
    bytes: u64,
    parks: u64,
    violations: u64,
    engines: Vec<EngineCounters>,
}

/// What the runtime counted of one engine.
#[derive(Debug, Serialize)]
struct EngineCounters {
    name: String,
    transfers: u64,
    bytes: u64,
    errors: u64,
    recoveries: u64,
    lost: bool,
}

impl From<Stats> for Counters {
    fn from(stats: Stats) -> Self {
        let engines = stats.engines.into_iter().map(|engine| EngineCounters {
            name: engine.name,
            transfers: engine.transfers,
            bytes: engine.bytes,
            errors: engine.errors,
            recoveries: engine.recoveries,
            lost: engine.lost,
        });
        Self {
            submitted: stats.submitted,
            completed: stats.completed,
            failed: stats.failed,
            bytes: stats.bytes,
            parks: stats.parks,
            violations: stats.violations,
            engines: engines.collect(),
        }
    }
}

impl fmt::Display for Report {
    /// The lines for people, without what went wrong: that goes to the error stream.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.stats.engines.iter().map(|engine| engine.name.as_str()).collect();
        let (size, block) = (size::format(self.size), size::format(self.block));
        writeln!(f, "engine: {}", self.engine)?;
        writeln!(
            f,
            "copy: {} to {}, {size} in blocks of {block}, {} in flight",
            self.source.location, self.destination.location, self.depth
        )?;
        write!(f, "{} engine: {}", names.join(" and "), self.engine_time)?;
        if let (Some(memcpy), Some(ratio)) = (self.memcpy_time, self.ratio) {
            write!(f, ", memcpy: {memcpy}, ratio {ratio:.2}x")?;
        }
        writeln!(f)?;
        if self.includes_storage {
            writeln!(
                f,
                "note: the engine's time includes reading and writing files or devices; memcpy is from memory to memory"
            )?;
        }
        if let Some(durability) = self.durable.as_ref().filter(|_| self.error.is_none()) {
            writeln!(
                f,
                "durable: {} bytes of DST outlive a loss of power ({durability})",
                self.copied
            )?;
        }
        if self.verified {
            writeln!(f, "verified: {} bytes equal", self.copied)?;
        } else if self.error.is_none() {
            writeln!(f, "not verified: --no-verify")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Timing;

    #[test]
    fn times_are_shown_with_their_rates() {
        let timing = |bytes, micros| Timing::new(bytes, Duration::from_micros(micros)).to_string();
        assert_eq!(timing(33_554_432, 4310), "0.004310 s (7.79 GB/s)");
        assert_eq!(timing(1_000_000, 100_000), "0.100000 s (10.00 MB/s)");
    }

    #[test]
    fn a_time_too_short_to_be_seen_has_a_rate() {
        assert!(Timing::new(1, Duration::ZERO).bytes_per_second.is_finite());
    }
}
