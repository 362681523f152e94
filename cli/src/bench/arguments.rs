//! What the command line of `dmaring bench` may say.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use crate::{
    args::{EmulatedArguments, MAX_DEPTH},
    engine_spec::EngineSpec,
    size, top,
};

const ABOUT: &str = "\
Measure engines against memcpy: throughput, latency and the size from which an engine is ahead.

Every size is copied by memcpy and by every engine, at every depth and with every number of threads, cold and warm. Cold
copies visit a working set of at least 4 times the last-level cache in random order; where there is too little
memory for that, it is said. Warm copies go round a small one. After each point the destination is read: every
block that was visited must be equal to its source, and no other may have changed.

A latency is the time from a copy's submission until its submitting thread sees that it has ended. Cycles per
byte are those of all threads of this process in user space, waiting included, divided by the bytes copied.
The default set takes under a minute.";

const EXAMPLES: &str = "\
Examples:
  dmaring bench
      9 sizes from 64 bytes to 4 MiB, 1 and 32 in flight, one thread, cold and warm
  dmaring bench --engine cpu --sizes 4KiB,64KiB,1MiB --cold --plot cold.svg
      three sizes, with a drawing
  dmaring bench --depths 1,8,64 --threads 1,2,4 --seconds 1 --json figures.json
      more depths and threads, a second each, and every figure as JSON
  dmaring bench --engine emulated --channels 4 --warm --sizes 64KiB
      through the I/OAT driver and the emulated device

Exit codes: 0 done; 1 failed while copying, or a copy is not equal; 2 refused before anything was measured.";

/// The arguments of `dmaring bench`.
#[derive(Args, Debug)]
#[command(long_about = ABOUT, after_long_help = EXAMPLES)]
pub(crate) struct BenchArguments {
    /// How much is copied by one operation: sizes with commas between them
    #[arg(
        long,
        value_name = "SIZE,...",
        value_delimiter = ',',
        default_value = "64,256,1KiB,4KiB,16KiB,64KiB,256KiB,1MiB,4MiB",
        value_parser = size::parse_length
    )]
    pub(crate) sizes: Vec<u64>,

    /// How many copies each thread has in flight, up to 32768
    #[arg(
        long,
        value_name = "N,...",
        value_delimiter = ',',
        default_value = "1,32",
        value_parser = clap::value_parser!(u32).range(1..=MAX_DEPTH)
    )]
    pub(crate) depths: Vec<u32>,

    /// How many threads submit, or copy by memcpy, up to 256
    #[arg(
        long,
        value_name = "N,...",
        value_delimiter = ',',
        default_value = "1",
        value_parser = clap::value_parser!(u32).range(1..=256)
    )]
    pub(crate) threads: Vec<u32>,

    /// An engine to measure: auto, cpu, emulated, or the address of an I/OAT function such as 0000:00:04.0; several by
    /// several options, each measured by itself. auto takes every function that is bound to vfio-pci and can be
    /// opened, all at once, and the CPU where there is none [default: auto]
    #[arg(long = "engine", value_name = "ENGINE")]
    pub(crate) engines: Vec<EngineSpec>,

    #[command(flatten)]
    pub(crate) emulated: EmulatedArguments,

    /// How long each point is measured, from 10ms to 3600s
    #[arg(long, value_name = "TIME", default_value = "0.25", value_parser = top::parse_interval)]
    pub(crate) seconds: Duration,

    /// Cold copies only [default: cold and warm]
    #[arg(long)]
    pub(crate) cold: bool,

    /// Warm copies only [default: cold and warm]
    #[arg(long)]
    pub(crate) warm: bool,

    /// How much memory cold copies visit, sources and destinations together [default: 4 times the last-level cache]
    #[arg(long, value_name = "SIZE", value_parser = size::parse_length)]
    pub(crate) working_set: Option<u64>,

    /// The core that the poller of each engine is bound to; measuring threads are bound to the others in turn
    /// [default: the last that this process may use, if there are two]
    #[arg(long, value_name = "N")]
    pub(crate) core: Option<usize>,

    /// Write every figure to this file as one JSON object
    #[arg(long, value_name = "PATH")]
    pub(crate) json: Option<PathBuf>,

    /// Draw throughput and latency against size into this file, as SVG
    #[arg(long, value_name = "PATH")]
    pub(crate) plot: Option<PathBuf>,
}
