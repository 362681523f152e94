//! `cargo xtask vm`: a virtual machine with a real kernel, VFIO, an IOMMU, /dev/dax and modelled I/OAT functions.
//!
//! `docs/virtual-machine.md` says how it is used and what it proves.

mod assets;
mod boot;
mod build;
mod cases;
mod cpio;
mod dmatest;
mod functions;
mod image;
mod machine;
mod model;
mod modules;
mod packages;
mod port;
mod process;
mod qemu;
mod steps;
mod suite;

use std::{
    io::{IsTerminal, Write},
    process::Command,
    time::Duration,
};

use clap::{Args, Subcommand};

use self::{
    assets::Assets,
    boot::Options,
    functions::{Function, STANDARD},
    machine::Machine,
    qemu::Iommu,
};
use crate::{
    command::{Run, quoted},
    failure::{Failure, Outcome},
};

/// What to do with a machine.
#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Boot a machine, run one command in it, and end with its exit code
    Run {
        #[command(flatten)]
        hardware: Hardware,
        /// Seconds that the command may take
        #[arg(long, value_name = "SECONDS", default_value_t = 300)]
        timeout: u64,
        /// The command and its arguments; one alone is taken as a shell's line
        #[arg(last = true, required = true, value_name = "COMMAND")]
        command: Vec<String>,
    },
    /// Boot a machine and give a shell in it
    Shell {
        #[command(flatten)]
        hardware: Hardware,
    },
    /// Run the suite: the driver, the runtime and the command against a real kernel
    Test {
        /// Only these cases
        #[arg(value_parser = clap::builder::PossibleValuesParser::new(suite::names()))]
        case: Vec<String>,
        /// Processors of every machine [default: what each case asks for]
        #[arg(long, value_name = "N")]
        cpus: Option<u32>,
    },
}

/// What the machine has.
#[derive(Debug, Args)]
pub(crate) struct Hardware {
    /// Processors of the machine, all run by one thread of the host
    #[arg(long, value_name = "N", default_value_t = 1)]
    cpus: u32,
    /// What the IOMMU does
    #[arg(long, value_enum, default_value = "translating")]
    iommu: Iommu,
    /// Only these I/OAT functions, as 05.0
    #[arg(long, value_name = "SLOT", value_delimiter = ',', conflicts_with = "no_functions")]
    functions: Vec<Function>,
    /// No I/OAT functions and no device model
    #[arg(long)]
    no_functions: bool,
}

/// Builds the long run, which is the same program in the machine and outside.
pub(crate) fn soak() -> Outcome<std::path::PathBuf> {
    build::soak().map(|program| program.path)
}

/// Downloads and builds what the suite needs.
pub(crate) fn prepare() -> Outcome {
    Assets::prepare(true, true).map(drop)
}

/// Runs the suite in a process of its own, which a limit can end.
pub(crate) fn test() -> Outcome {
    let program = std::env::current_exe().map_err(Failure::of("cannot find this program"))?;
    Run::new(program).args(["vm", "test"]).limit(MINUTES).run()
}

/// What downloading, building and all cases may take.
const MINUTES: u32 = 20;

/// Does it.
pub(crate) fn run(task: &Task) -> Outcome {
    match task {
        Task::Run { hardware, timeout, command } => run_command(hardware, *timeout, command),
        Task::Test { case, cpus } => suite::run(case, *cpus),
        Task::Shell { hardware } => shell(hardware),
    }
}

fn run_command(hardware: &Hardware, timeout: u64, command: &[String]) -> Outcome {
    let mut machine = boot(hardware)?;
    let line = match command {
        [line] => line.clone(),
        several => several.iter().map(|word| quoted(word.as_ref())).collect::<Vec<_>>().join(" "),
    };
    let finished = machine.run_showing(&line, Duration::from_secs(timeout), &mut show)?;
    drop(machine);
    end(finished.code)
}

fn shell(hardware: &Hardware) -> Outcome {
    let mut machine = boot(hardware)?;
    let terminal = std::io::stdin().is_terminal();
    let set = |mode: &[&str]| terminal && Command::new("stty").args(mode).status().is_ok();
    set(&["raw", "-echo"]);
    let code = machine.shell(std::io::stdin(), &mut show);
    set(&["sane"]);
    drop(machine);
    end(code?)
}

/// The task's exit code is the command's. The machine must be gone by now: nothing is dropped any more.
fn end(code: i32) -> Outcome {
    if code == 0 { Ok(()) } else { std::process::exit(code) }
}

/// Whoever closed our output does not want it.
fn show(bytes: &[u8]) {
    let mut output = std::io::stdout();
    let _ = output.write_all(bytes).and_then(|()| output.flush());
}

fn boot(hardware: &Hardware) -> Outcome<Machine> {
    let functions = match (hardware.no_functions, hardware.functions.as_slice()) {
        (true, _) => Vec::new(),
        (false, []) => STANDARD.to_vec(),
        (false, chosen) => chosen.to_vec(),
    };
    let assets = Assets::prepare(!functions.is_empty(), false)?;
    let (processors, iommu) = (hardware.cpus, hardware.iommu);
    let options = Options { name: "run".to_owned(), processors, iommu, functions };
    let machine = boot::boot(&assets, &options)?;
    eprintln!("booted in {:.1} s", machine.boot_time().as_secs_f64());
    Ok(machine)
}
