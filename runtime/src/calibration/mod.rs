//! Which engine for which length, measured instead of assumed.

mod choice;
mod file;
mod machine;
mod measure;
mod plan;

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

pub(crate) use self::machine::EngineFacts;
use self::{choice::Verdict, machine::Machine};
use crate::placement::{Course, Striping};

/// How long copies take between two regions: by the host's CPU, by an engine, by several at a time; and what follows from it.
///
/// Made by [`measure`](Calibration::measure), put to use by [`Policy::Calibrated`](crate::Policy::Calibrated), and kept
/// from one run to the next by [`save`](Calibration::save) and [`load`](Calibration::load). It holds for the machine and
/// the engines that it was measured with and is refused elsewhere. [`Display`](fmt::Display) gives the
/// figures as a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    machine: Machine,
    /// The nodes of source and destination, where they were known.
    nodes: [Option<u32>; 2],
    /// Copies of one length by the CPU and by one engine, by length.
    kinds: Vec<Comparison>,
    /// A large copy, split in different ways.
    splits: Vec<Split>,
    /// Copies of one length by whom `kinds` chose and split as `splits` chose, by length.
    stripes: Vec<Comparison>,
    /// A buffer of the application's that is used once, by length: bounced, and mapped.
    bounces: Vec<Comparison>,
}

/// How long one copy takes: the median of several measurements, and the quartiles that tell how far to believe it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Timing {
    /// The median, in nanoseconds.
    pub nanoseconds: u64,
    /// A quarter of the measurements took no longer than this, in nanoseconds.
    pub lower: u64,
    /// A quarter took no less, in nanoseconds.
    pub upper: u64,
    /// How often it was measured.
    pub samples: u32,
}

/// Two ways to make copies of one length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Comparison {
    /// The length of a copy.
    pub bytes: u64,
    /// By the host's CPU; of stripes, not striped; of buffers, bounced.
    pub first: Timing,
    /// By an engine; of stripes, striped; of buffers, mapped.
    pub second: Timing,
}

/// A large copy, split in one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Split {
    /// The length of the copy.
    pub bytes: u64,
    /// Over how many engines, the host's CPU not counted.
    pub engines: u32,
    /// Whether the host's CPU took part.
    pub cpu: bool,
    /// How many bytes each gets at a time.
    pub stripe: u64,
    /// How long it took.
    pub time: Timing,
}

impl Timing {
    /// How far the quartiles are apart, as a part of the median.
    #[must_use]
    pub fn spread(&self) -> f64 {
        self.upper.saturating_sub(self.lower) as f64 / self.nanoseconds.max(1) as f64
    }
}

impl Comparison {
    /// How many times as long the first takes as the second: above 1 the second is faster.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        self.first.nanoseconds as f64 / self.second.nanoseconds.max(1) as f64
    }

    /// Whether the difference is larger than the noise: the quartiles do not overlap.
    #[must_use]
    pub fn is_certain(&self) -> bool {
        self.first.lower > self.second.upper || self.second.lower > self.first.upper
    }
}

impl Calibration {
    /// From how many bytes on an engine is faster than the host's CPU; `None` where it never is, or where there is only one of
    /// the two.
    #[must_use]
    pub fn crossover(&self) -> Option<u64> {
        choice::crossover(&self.kinds)
    }

    /// How large copies are split best; `None` where that is faster for no length that was measured.
    #[must_use]
    pub fn split(&self) -> Option<(Striping, &Split)> {
        let from = choice::crossover(&self.stripes)?;
        let best = choice::best_split(&self.splits)?;
        Some((Striping { from, stripe: best.stripe }, best))
    }

    /// From how many bytes on a buffer of the application's that is used once is better [registered](crate::Runtime::register),
    /// copied from and given back than [bounced](crate::bounce::BouncePool); `None` where that was never faster.
    #[must_use]
    pub fn map_from(&self) -> Option<u64> {
        choice::crossover(&self.bounces)
    }

    /// The measurements behind [`map_from`](Self::map_from): bounced first, mapped second.
    #[must_use]
    pub fn bounces(&self) -> &[Comparison] {
        &self.bounces
    }

    /// The measurements behind [`crossover`](Self::crossover): the host's CPU first, an engine second.
    #[must_use]
    pub fn kinds(&self) -> &[Comparison] {
        &self.kinds
    }

    /// The ways to split a large copy that were measured.
    #[must_use]
    pub fn splits(&self) -> &[Split] {
        &self.splits
    }

    /// The measurements behind [`split`](Self::split): not striped first, striped second.
    #[must_use]
    pub fn stripes(&self) -> &[Comparison] {
        &self.stripes
    }

    /// What the poller is to do.
    pub(crate) fn course(&self) -> Course {
        let has = |host| self.machine.engines.iter().any(|engine| engine.host_memory == host);
        let cpu_below = match self.crossover() {
            Some(bytes) => bytes.max(1),
            None if has(true) => u64::MAX,
            None => 0,
        };
        let unsplit =
            Course { cpu_below, striping: Striping::OFF, engines: u32::MAX, cpu_joins: false };
        self.split().map_or(unsplit, |(striping, split)| Course {
            striping,
            engines: split.engines,
            cpu_joins: split.cpu,
            ..unsplit
        })
    }
}

impl fmt::Display for Calibration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.kinds.is_empty() {
            writeln!(f, "{:>12}  {:>24}  {:>24}  ratio", "bytes", "cpu", "engine")?;
        }
        self.kinds.iter().try_for_each(|one| writeln!(f, "{one}"))?;
        if !self.splits.is_empty() {
            writeln!(f, "{:>12}  {:>7}  {:>3}  {:>10}  time", "bytes", "engines", "cpu", "stripe")?;
        }
        for Split { bytes, engines, cpu, stripe, time } in &self.splits {
            let cpu = if *cpu { "yes" } else { "no" };
            writeln!(f, "{bytes:>12}  {engines:>7}  {cpu:>3}  {stripe:>10}  {time}")?;
        }
        if !self.stripes.is_empty() {
            writeln!(f, "{:>12}  {:>24}  {:>24}  ratio", "bytes", "whole", "striped")?;
        }
        self.stripes.iter().try_for_each(|one| writeln!(f, "{one}"))?;
        if !self.bounces.is_empty() {
            writeln!(f, "{:>12}  {:>24}  {:>24}  ratio", "bytes", "bounced", "mapped")?;
        }
        self.bounces.iter().try_for_each(|one| writeln!(f, "{one}"))?;
        let verdict = Verdict::of(&self.kinds);
        match self.crossover() {
            Some(bytes) => writeln!(f, "an engine is faster from {bytes} bytes on{verdict}")?,
            None if self.kinds.is_empty() => writeln!(f, "there is one kind of engine only")?,
            None => writeln!(f, "no engine is faster than the CPU at the longest length{verdict}")?,
        }
        match self.split() {
            Some((striping, split)) => writeln!(
                f,
                "from {} bytes on copies are striped: engines {}, the CPU {}, {} bytes at a time{}",
                striping.from,
                split.engines,
                if split.cpu { "too" } else { "not" },
                split.stripe,
                Verdict::of(&self.stripes),
            )?,
            None => writeln!(f, "copies are not striped: that is faster for no length measured")?,
        }
        let verdict = Verdict::of(&self.bounces);
        match self.map_from() {
            Some(bytes) => write!(
                f,
                "a buffer that is used once is bounced below {bytes} bytes and mapped from there on{verdict}"
            ),
            None if self.bounces.is_empty() => {
                write!(f, "the regions are too short to compare bouncing with mapping")
            }
            None => {
                write!(f, "a buffer that is used once is bounced whatever its length{verdict}")
            }
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, second) = (self.first.to_string(), self.second.to_string());
        let noise = if self.is_certain() { "" } else { " (within the noise)" };
        write!(f, "{:>12}  {first:>24}  {second:>24}  {:.2}{noise}", self.bytes, self.ratio())
    }
}

impl fmt::Display for Timing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = Duration::from_nanos(self.nanoseconds);
        write!(f, "{time:.2?} ±{:.0}%", self.spread() * 50.0)
    }
}
