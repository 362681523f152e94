//! `dmaring-peers`: one round of measurements, on this side of the comparison that `cargo xtask peers` makes.
//!
//! Each work prints one line of JSON, as the program for DPDK does: see `docs/performance.md`. The thread that submits
//! and the poller, or whoever does a peer's work, are pinned to one core each.
#![allow(clippy::print_stderr, reason = "a program says on standard error why it failed")]

mod cold;
mod costs;
mod executors;
mod floor;
mod idle;
mod limits;
mod locks;
mod memory;
mod server;
mod short;
mod sleeper;
mod together;

use std::{error::Error, process::ExitCode};

use clap::{Parser, ValueEnum};
use dmaring::{Idle, Runtime};
use dmaring_benches::pinning;
use dmaring_cpu::CpuEngine;

/// What came of a work.
type Outcome = Result<(), Box<dyn Error>>;

/// Measures what dmaring and its peers cost, once.
#[derive(Debug, Parser)]
struct Setup {
    /// The core of the thread that submits
    #[arg(long)]
    app_core: usize,
    /// The core of the poller, and of the threads that do a peer's work
    #[arg(long)]
    poller_core: usize,
    /// Which round this is: the order of the blocks follows from it
    #[arg(long, default_value_t = 0)]
    round: u64,
    /// How long source and destination of cold copies are each, in bytes
    #[arg(long, default_value_t = 576 << 20)]
    area: usize,
    /// What to measure
    #[arg(required = true)]
    groups: Vec<Group>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Group {
    /// 64-byte copies: latency and rate, and the peers on the same work
    Short,
    /// Cold copies of 4 KiB to 1 MiB, and the bare loops
    Cold,
    /// What many regions and many threads cost
    Costs,
    /// What an idle runtime costs
    Idle,
}

fn main() -> ExitCode {
    let setup = Setup::parse();
    match run(&setup) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(setup: &Setup) -> Outcome {
    let core = setup.app_core;
    pinning::pin(core).map_err(|error| {
        format!("--app-core: core {core} cannot be had: {error}; `nproc` and `taskset -p $$` tell which can")
    })?;
    for group in &setup.groups {
        match group {
            Group::Short => short::measure(setup)?,
            Group::Cold => cold::measure(setup)?,
            Group::Costs => costs::measure(setup)?,
            Group::Idle => idle::measure(setup)?,
        }
    }
    Ok(())
}

impl Setup {
    /// A runtime that copies with the CPU, its poller pinned and near.
    fn runtime(&self, idle: Idle) -> Result<Runtime, Box<dyn Error>> {
        together::bring(self.poller_core)?;
        // The poller may have the cores that the thread that builds it may have.
        pinning::unpin()?;
        let builder = Runtime::builder().engine(CpuEngine::new());
        let runtime = builder.poller_core(self.poller_core).idle(idle).build();
        pinning::pin(self.app_core)?;
        Ok(runtime?)
    }
}
