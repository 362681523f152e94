//! What the command line may say.

use std::{path::PathBuf, str::FromStr, time::Duration};

use clap::{
    Args, Parser, Subcommand,
    builder::{OsStringValueParser, TypedValueParser, ValueParser},
};

use dmaring_driver::pci::Address;
use dmaring_emulated::{FaultPlan, Preset};

use crate::{
    bench::BenchArguments, engine_spec::EngineSpec, location::Location, pollers::PollerArguments,
    size, top,
};

/// The most operations in flight: as many as the largest ring has entries.
pub(crate) const MAX_DEPTH: i64 = 32_768;

#[derive(Debug, Parser)]
#[command(
    name = "dmaring",
    version,
    about = "Awaitable copies by DMA engines, from the shell",
    after_help = "Exit codes: 0 done; 1 failed while copying; 2 refused before anything was changed.\n\
                  `dmaring copy --help` has examples.",
    disable_help_subcommand = true
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Copy between memory, files, device-dax nodes and PCI BARs, verify, and compare with memcpy
    #[command(long_about = LONG_ABOUT, after_long_help = EXAMPLES)]
    Copy(CopyArguments),
    /// Measure which engine copies what best between two places, and keep it for `copy`
    #[command(long_about = CALIBRATE_ABOUT, after_long_help = CALIBRATE_EXAMPLES)]
    Calibrate(CalibrateArguments),
    /// List I/OAT functions and devdax devices, with what is missing before each can be used
    List(ListArguments),
    /// Check every precondition, and say what mends those that do not hold
    #[command(long_about = DOCTOR_ABOUT)]
    Doctor(DoctorArguments),
    /// Show what running runtimes are doing: rates, latencies, failures, by engine
    #[command(long_about = TOP_ABOUT, after_long_help = TOP_EXAMPLES)]
    Top(TopArguments),
    /// Measure engines against memcpy: throughput, latency and the size from which an engine is ahead
    Bench(BenchArguments),
    /// Give I/OAT functions to user space: bind them to vfio-pci
    #[command(long_about = BIND_ABOUT)]
    Bind(BindArguments),
    /// Give back what `bind` took: the driver and the override that were there before
    Unbind(BindArguments),
}

const DOCTOR_ABOUT: &str = "\
Check every precondition, and say what mends those that do not hold.

One line for each: ok, warn, fail or skipped, what was found, and for anything that is not as it should be the
command that mends it. A function that is bound to vfio-pci and free is opened, which resets its channel; it is
closed again at once. Exit code 1 if any check fails, 0 otherwise.";

const TOP_ABOUT: &str = "\
Show what running runtimes are doing: rates, latencies, failures, by engine.

What they count is read from memory that they share for reading, and costs them nothing. It takes the same user as the
process has, or root. Without PID every process that may be looked at is shown, those that start later included.

On a terminal the figures are drawn in place until Ctrl-C; elsewhere, with --count and with --json one reading follows
the other. It ends when the last of the runtimes shown has ended.

done/s counts operations that ended, and for an engine transfers, of which an operation is one or more. A latency is the
time from an operation's being taken from the submission ring to the posting of its completion, within 1/32, of those that
succeeded; all of 256 KiB and more are measured, and of shorter ones one in 64. Rates and latencies are of the time between two readings; in
the first, latencies are since the runtime was built, and there are no rates.";

const TOP_EXAMPLES: &str = "\
Examples:
  dmaring top
      every runtime that may be looked at, once a second
  dmaring top 4711 --interval 250ms
      the runtimes of process 4711, four times a second
  dmaring top 4711 --count 1 --json
      one reading as one JSON object on a line

Exit codes: 0 ended by Ctrl-C, --count, or with the last runtime; 2 there is nothing to show.";

const BIND_ABOUT: &str = "\
Give I/OAT functions to user space: bind them to vfio-pci.

All are checked before the first is changed. A function in use is refused, and by whom it is used is said. What a
function had is remembered in /run/dmaring/bind, and `dmaring unbind` restores it.";

#[derive(Args, Debug)]
pub(crate) struct ListArguments {
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct DoctorArguments {
    /// Only these functions and devices, and what they need: 0000:00:04.0 or /dev/dax0.0 [default: all]
    #[arg(value_name = "BDF|DEVICE")]
    pub(crate) targets: Vec<Target>,

    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct TopArguments {
    /// The process [default: all that may be looked at]
    #[arg(value_name = "PID")]
    pub(crate) pid: Option<u32>,

    /// The time between two readings, from 10ms to 3600s
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = top::parse_interval)]
    pub(crate) interval: Duration,

    /// End after so many readings
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,

    /// Print one JSON object for each reading, on a line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct BindArguments {
    /// The functions, such as 0000:00:04.0
    #[arg(value_name = "BDF", required = true)]
    pub(crate) addresses: Vec<Address>,
}

/// What `doctor` looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Function(Address),
    /// A devdax device, by its name without `/dev/`.
    Device(String),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("/dev/") {
            Some(name) if name.starts_with("dax") => Ok(Self::Device(name.to_owned())),
            _ => text.parse().map(Self::Function).map_err(|_| {
                String::from(
                    "use the address of a function, as 0000:00:04.0, or a device /dev/daxX.Y",
                )
            }),
        }
    }
}

const CALIBRATE_ABOUT: &str = "\
Measure which engine copies what best between two places, and keep it for `copy`.

Copies of different lengths are made by the CPU and by one engine, in turn, and a large one is split over engines and
the CPU in different ways; buffers that are used once are bounced and mapped. What is printed are medians, how far the
quartiles are apart (±), and what follows: from which length on an engine is faster, how large copies are split best, and from
which length on a buffer is better mapped. Where a difference is within the noise, that
is said; longer measurements (--seconds) on an otherwise idle machine have less of it.

The beginning of DST is overwritten, as a copy would overwrite it.";

const CALIBRATE_EXAMPLES: &str = "\
Examples:
  dmaring calibrate
      memory to memory, by the CPU and every I/OAT function that can be opened
  dmaring calibrate /dev/dax0.0 /dev/dax1.0 --save pmem.json
  dmaring copy /dev/dax0.0 /dev/dax1.0 --calibration pmem.json
      between two devices of persistent memory, and a copy by what was found
  dmaring calibrate --engine cpu --engine emulated --channels 4
      with the emulated device, whose figures say nothing about silicon

Exit codes: 0 done; 1 failed while measuring; 2 refused before anything was changed.";

const LONG_ABOUT: &str = "\
Copy between memory, files, device-dax nodes and PCI BARs, verify, and compare with memcpy.

Without SRC and DST it copies between two allocated regions, the source filled with a fixed pattern.

A DST file that does not exist is created with the length needed. One that does exist keeps its length
unless --extend is given, and is never truncated. If the copy is refused, every file is as it was.

What is measured: the engine's time is from the first block submitted to the last one completed. memcpy's is
that of copying as many bytes, block by block on one thread, between two buffers of ordinary memory (of at
most 256 MiB each, used again and again), in the same run. Memory is written to right before either is
measured, so that neither pays for page faults. For files and devices the engine's time includes reading
and writing them, and does not wait until a disk has the data unless --durable is given; memcpy is from memory to
memory all the same.";

const EXAMPLES: &str = "\
Examples:
  dmaring copy
      32 MiB from memory to memory
  dmaring copy a.img b.img
      a file; b.img is created if there is none
  dmaring copy a.img b.img --src-offset 1MiB --dst-offset 4MiB --size 64KiB
      a range of a file into a range of another, which has room for it
  dmaring copy mem /dev/shm/pattern.img --size 1GiB --core 3 --depth 64
      a pattern into a file on tmpfs, the poller bound to core 3
  dmaring copy a.img b.img --src-offset 3 --dst-offset 5 --size 1000000 --engine emulated --channels 4
      at odd offsets, through the I/OAT driver and four channels of the emulated device
  dmaring copy --engine emulated --fault-plan nth=5:chanerr=8
      the fifth descriptor fails
  dmaring copy /dev/dax0.0 /dev/dax1.0 --size 256MiB --json
      from persistent memory to persistent memory, every figure as JSON
  dmaring copy /dev/dax0.0 pci:0000:3a:00.0:bar2 --size 16MiB
      from persistent memory into the memory of another PCI device
  dmaring copy a.img hugetlb:/dev/hugepages/a
      into a file of huge pages, which is created
  dmaring copy mem /dev/dax0.0 --durable
      into persistent memory, ending when it survives a loss of power

Exit codes: 0 done; 1 failed while copying, or the copy is not equal; 2 refused before anything was changed.";

#[derive(Args, Debug)]
pub(crate) struct CopyArguments {
    /// Where to copy from: /dev/daxX.Y, a path, hugetlb:PATH, pci:BDF:barN, or mem (./mem for a file of that name)
    #[arg(value_name = "SRC", value_parser = location())]
    pub(crate) source: Option<Location>,

    /// Where to copy to, named the same way
    #[arg(value_name = "DST", value_parser = location())]
    pub(crate) destination: Option<Location>,

    /// Where in SRC to begin: bytes, or a number with KiB, MiB or GiB
    #[arg(long, value_name = "N", default_value = "0", value_parser = size::parse)]
    pub(crate) src_offset: u64,

    /// Where in DST to begin
    #[arg(long, value_name = "N", default_value = "0", value_parser = size::parse)]
    pub(crate) dst_offset: u64,

    /// How much to copy [default: what SRC has from --src-offset on; 32MiB from memory]
    #[arg(long, value_name = "SIZE", value_parser = size::parse_length)]
    pub(crate) size: Option<u64>,

    /// The engine that copies: auto, cpu, emulated, or the address of an I/OAT function such as 0000:00:04.0; several by
    /// several options. auto takes every function that is bound to vfio-pci and can be opened, those on the NUMA node
    /// of DST first, and the CPU where there is none or the copy cannot be prepared with them; it says what it took
    /// and why. With functions or emulated alone the CPU copies nothing. emulated is a model of an I/OAT device in this
    /// process, driven by the real driver: it shows that copies are right, not how fast they are [default: auto]
    #[arg(long = "engine", value_name = "ENGINE")]
    pub(crate) engines: Vec<EngineSpec>,

    /// Let DMA engines read a SRC that is a BAR, instead of the CPU. No datasheet promises that they can: a channel may halt,
    /// the platform may report a fatal error, or all bytes may read as ones
    #[arg(long)]
    pub(crate) engine_reads_mmio: bool,

    #[command(flatten)]
    pub(crate) emulated: EmulatedArguments,

    #[command(flatten)]
    pub(crate) pollers: PollerArguments,

    /// Choose engines as this file says, which `dmaring calibrate --save` has written: with the same engines, and the CPU
    /// besides functions that `auto` takes
    #[arg(long, value_name = "FILE")]
    pub(crate) calibration: Option<PathBuf>,

    /// How many blocks are in flight at a time, up to 32768
    #[arg(long, value_name = "N", default_value = "32", value_parser = depth())]
    pub(crate) depth: u32,

    /// How much is copied by one operation
    #[arg(long, value_name = "SIZE", default_value = "1MiB", value_parser = size::parse_length)]
    pub(crate) block: u64,

    /// Let a DST file that is too short grow to the length needed
    #[arg(long)]
    pub(crate) extend: bool,

    /// End only when DST outlives a loss of power: caches are written back, a file is synchronised with its disk. Refused where
    /// DST is volatile
    #[arg(long)]
    pub(crate) durable: bool,

    /// Do not read both back and compare them
    #[arg(long)]
    pub(crate) no_verify: bool,

    /// Print one JSON object with every figure
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct CalibrateArguments {
    /// Where to copy from: /dev/daxX.Y, a file on tmpfs or hugetlbfs, or mem
    #[arg(value_name = "SRC", value_parser = location(), requires = "destination")]
    pub(crate) source: Option<Location>,

    /// Where to copy to, named the same way; its beginning is overwritten
    #[arg(value_name = "DST", value_parser = location())]
    pub(crate) destination: Option<Location>,

    /// How much of SRC and DST is used [default: what both have, up to 256MiB; 64MiB of memory]
    #[arg(long, value_name = "SIZE", value_parser = size::parse_length)]
    pub(crate) size: Option<u64>,

    /// The engines that are compared, as for `copy`. auto adds the CPU to the functions [default: auto]
    #[arg(long = "engine", value_name = "ENGINE")]
    pub(crate) engines: Vec<EngineSpec>,

    #[command(flatten)]
    pub(crate) emulated: EmulatedArguments,

    #[command(flatten)]
    pub(crate) pollers: PollerArguments,

    /// About how long to measure, in seconds
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) seconds: u64,

    /// Write the calibration to a file, for `dmaring copy --calibration FILE`
    #[arg(long, value_name = "FILE")]
    pub(crate) save: Option<PathBuf>,

    /// Print one JSON object with every figure
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `--engine emulated` is.
#[derive(Args, Clone, Debug)]
pub(crate) struct EmulatedArguments {
    /// The platform that the emulated device is: skx, icx or bdx [default: skx]
    #[arg(long, value_name = "PRESET")]
    pub(crate) preset: Option<Preset>,

    /// How many channels the emulated device has, up to 31 [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=31))]
    pub(crate) channels: Option<u8>,

    /// What goes wrong in the emulated device: nth=N or every=N, perhaps channel=C, and chanerr=BIT, short=BYTES,
    /// silent-short=BYTES, stall, lost-writeback, duplicate-writeback, late-writeback=DESCRIPTORS or gone, joined by colons; several
    /// such items joined by commas
    #[arg(long, value_name = "PLAN")]
    pub(crate) fault_plan: Option<FaultPlan>,
}

impl EmulatedArguments {
    /// The first of these options that was given.
    pub(crate) fn given(&self) -> Option<&'static str> {
        [
            (self.preset.is_some(), "--preset"),
            (self.channels.is_some(), "--channels"),
            (self.fault_plan.is_some(), "--fault-plan"),
        ]
        .into_iter()
        .find_map(|(given, name)| given.then_some(name))
    }
}

fn location() -> ValueParser {
    OsStringValueParser::new().try_map(Location::parse).into()
}

fn depth() -> ValueParser {
    clap::value_parser!(u32).range(1..=MAX_DEPTH).into()
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::{Arguments, Command, MAX_DEPTH};

    #[test]
    fn the_definition_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_defaults_are_those_that_help_names() {
        let arguments = Arguments::try_parse_from(["dmaring", "copy"]).unwrap();
        let Command::Copy(copy) = arguments.command else { panic!() };
        assert_eq!((copy.src_offset, copy.dst_offset, copy.size), (0, 0, None));
        assert_eq!((copy.depth, copy.block, copy.pollers.core), (32, 1 << 20, None));
        assert!(copy.engines.is_empty() && !copy.extend && !copy.no_verify && !copy.json);
        assert!(!copy.durable);
    }

    #[test]
    fn the_deepest_queue_is_one_a_ring_can_have() {
        let deepest = u32::try_from(MAX_DEPTH).unwrap();
        let builder = dmaring::Runtime::builder().engine(dmaring_cpu::CpuEngine::new());
        builder.ring_entries(deepest).build().unwrap();
    }
}
