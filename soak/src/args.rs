//! What the command line may say.

use std::{path::PathBuf, str::FromStr, time::Duration};

use clap::{Parser, ValueEnum};
use dmaring_driver::pci::Address;

/// Long runs of random operations and faults, held against a model.
///
/// Exit codes: 0 all held; 1 something did not; 2 refused before anything was run.
#[derive(Debug, Parser)]
#[command(name = "dmaring-soak", version)]
pub(crate) struct Arguments {
    /// How long new rounds are begun, in minutes
    #[arg(long, value_name = "N", default_value_t = 1.0, conflicts_with_all = ["round", "rounds"])]
    pub(crate) minutes: f64,
    /// How many rounds are run, instead of a time
    #[arg(long, value_name = "N", conflicts_with = "round")]
    pub(crate) rounds: Option<u64>,
    /// Only this round, as a run that failed names it
    #[arg(long, value_name = "R")]
    pub(crate) round: Option<u64>,
    /// What all rounds follow from [default: another at each run]
    #[arg(long, value_name = "S")]
    pub(crate) seed: Option<u64>,
    /// An I/OAT function to use instead of the emulated device; repeatable
    #[arg(long, value_name = "BDF")]
    pub(crate) engine: Vec<Function>,
    /// Threads that submit
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u64).range(1..=64))]
    pub(crate) threads: u64,
    /// Steps of each thread in the life of a runtime
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub(crate) steps: u64,
    /// The longest operation, in KiB
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u64).range(1..=65_536))]
    pub(crate) longest: u64,
    /// After how many seconds an operation that does not end is a failure
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) patience: u64,
    /// Where the final report goes as JSON, too
    #[arg(long, value_name = "PATH")]
    pub(crate) json: Option<PathBuf>,
    /// A defect to have, which the run must find: the control of its checks
    #[arg(long, value_enum, value_name = "DEFECT")]
    pub(crate) plant: Option<Defect>,
}

impl Arguments {
    /// How long new rounds are begun.
    pub(crate) fn time(&self) -> Result<Duration, String> {
        let seconds = self.minutes * 60.0;
        Duration::try_from_secs_f64(seconds)
            .map_err(|error| format!("--minutes {}: {error}: give a positive number", self.minutes))
    }
}

/// What is wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Defect {
    /// The device does not move all bytes, and says that it did
    ShortCopy,
    /// A byte outside of every destination changes
    StrayByte,
    /// A file descriptor is left after each round
    Descriptor,
    /// A region is left after each round
    Mapping,
    /// A thread is left after each round
    Thread,
    /// Memory is left after each round
    Memory,
    /// An operation never ends
    Hang,
}

/// The address of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Function(pub(crate) Address);

impl FromStr for Function {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self).map_err(|_| {
            String::from("no such engine: use the address of an I/OAT function, as 0000:00:04.0")
        })
    }
}
