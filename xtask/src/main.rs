//! The workspace's own tasks. `cargo xtask --help` lists them; `docs/testing.md` says what each proves.
#![allow(clippy::print_stdout, reason = "a task talks to the person or the log that started it")]
#![allow(clippy::print_stderr, reason = "a task talks to the person or the log that started it")]

mod account;
mod ci;
mod command;
mod debian;
mod docs;
mod examples;
mod failure;
mod fuzz;
mod guard;
mod instructions;
mod loom;
mod miri;
mod mutants;
mod peers;
mod processes;
mod quick_start;
mod soak;
mod test;
mod tidy;
mod tool;
mod totals;
mod vm;
mod watch;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{ExitCode, exit},
};

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "The workspace's own tasks", version)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Run every test of the workspace, documentation examples included
    Test,
    /// Check dependencies, file lengths, unsafe islands, manifests and documents
    Tidy,
    /// Explore the interleavings of the lock-free parts with loom
    Loom,
    /// Run the tests under Miri, on the nightly that xtask/miri-toolchain names
    Miri {
        /// Only these packages
        #[arg(short, long)]
        package: Vec<String>,
    },
    /// Fuzz the code that reads what others wrote, on the nightly that xtask/miri-toolchain names
    Fuzz {
        /// Only this target
        target: Option<String>,
        /// How long each target runs, in seconds
        #[arg(long, default_value_t = 60)]
        seconds: u32,
    },
    /// Plant faults in the code and see that the tests fail
    Mutants {
        /// Only these groups of files
        #[arg(value_parser = clap::builder::PossibleValuesParser::new(mutants::names()))]
        group: Vec<String>,
        /// Only in this file; with the group that has it
        #[arg(long, requires = "group")]
        file: Vec<String>,
    },
    /// Run random operations and faults for a long time, held against a model
    Soak(soak::Soak),
    /// Count the instructions that a copy costs the I/OAT driver, with callgrind
    Instructions,
    /// Measure the same copies here and by what does them today, and print the ratios
    Peers(peers::Peers),
    /// Boot a virtual machine with VFIO, an IOMMU, /dev/dax and modelled I/OAT functions
    #[command(subcommand)]
    Vm(vm::Task),
    /// Build the API documentation and the book, warnings being errors
    Docs,
    /// Run everything that a change must pass
    Ci {
        /// Only these steps
        #[arg(value_parser = clap::builder::PossibleValuesParser::new(ci::names()))]
        step: Vec<String>,
    },
    /// Run a program of tests with a limit; `cargo xtask test` has cargo start it so
    #[command(hide = true)]
    Guard {
        /// How long it may take, in minutes
        minutes: u32,
        /// The program and its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Test => test::run(),
        Task::Tidy => tidy::run(),
        Task::Loom => loom::run(),
        Task::Miri { package } => miri::run(&package),
        Task::Fuzz { target, seconds } => fuzz::run(target.as_deref(), seconds),
        Task::Mutants { group, file } => mutants::run(&group, &file),
        Task::Soak(soak) => soak::run(&soak),
        Task::Instructions => instructions::run(),
        Task::Peers(peers) => peers::run(&peers),
        Task::Vm(task) => vm::run(&task),
        Task::Docs => docs::run(),
        Task::Ci { step } => ci::run(&step),
        Task::Guard { minutes, command } => {
            guard::run(minutes, &command).map(|ended| ended.unwrap_or_else(|code| exit(code)))
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// The workspace's root directory.
fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_path_buf()
}

/// Where a task that needs build flags of its own puts its build, so that no other build is thrown away.
fn target(name: &str) -> PathBuf {
    let shared =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    shared.join(name)
}
