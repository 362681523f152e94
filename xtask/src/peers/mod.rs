//! `cargo xtask peers`: the same copies here and by what does them today, in one run, round by round.
//!
//! Each round runs the programs of both sides one after the other, in turns first one and then the other first; what is
//! compared are the medians over the rounds. `docs/performance.md` says what each row of the table is.

mod dpdk;
mod machine;
mod record;
mod sides;
mod table;
mod targets;

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};
use serde::Serialize;

use self::{machine::Machine, record::Kept, sides::Sides, table::Row};
use crate::{
    command::Run,
    failure::{Failure, Outcome},
    instructions, target,
};

/// With fewer rounds a table is for trying.
const ENOUGH: u32 = 7;
/// What the samples' file is, for who reads it.
const VERSION: u32 = 2;

/// What to measure, where, and how often.
#[derive(Debug, Args)]
pub(crate) struct Peers {
    /// How many rounds; medians are taken over them
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// The core of the thread that submits [default: the first that this process may use]
    #[arg(long, value_name = "CORE")]
    app_core: Option<usize>,
    /// The core of the poller and of the peers' workers [default: the second]
    #[arg(long, value_name = "CORE")]
    poller_core: Option<usize>,
    /// Where the raw samples go [default: peers/samples.json in the target directory]
    #[arg(long, value_name = "PATH")]
    json: Option<PathBuf>,
    /// Only these groups of works
    #[arg(value_enum)]
    only: Vec<Group>,
}

/// Works that are measured together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Group {
    /// 64-byte copies: latency and rate, by DPDK, io_uring, tokio
    Short,
    /// Cold copies of 4 KiB to 1 MiB, by DPDK and bare loops
    Cold,
    /// What many regions and many threads cost
    Costs,
    /// What an idle runtime costs
    Idle,
    /// What is counted and not timed: instructions, allocations, system calls
    Counts,
}

impl Peers {
    fn wants(&self, group: Group) -> bool {
        self.only.is_empty() || self.only.contains(&group)
    }
}

impl Group {
    /// As both programs and the command line call it.
    fn name(self) -> &'static str {
        match self {
            Self::Short => "short",
            Self::Cold => "cold",
            Self::Costs => "costs",
            Self::Idle => "idle",
            Self::Counts => "counts",
        }
    }
}

/// The file of raw samples.
#[derive(Debug, Serialize)]
struct Samples<'a> {
    version: u32,
    machine: &'a Machine,
    rounds: u32,
    records: &'a [Kept],
    table: &'a [Row],
}

/// Measures, prints the table and leaves the raw samples.
pub(crate) fn run(peers: &Peers) -> Outcome {
    let directory = target("peers");
    fs::create_dir_all(&directory)
        .map_err(Failure::of(format!("cannot create {}", directory.display())))?;
    let machine = Machine::look(peers.app_core, peers.poller_core)?;
    println!("{machine}");
    let kept = rounds(peers, &machine, &directory)?;
    let mut rows = table::timed(&kept)?;
    if peers.wants(Group::Counts) {
        rows.extend(counted());
    }
    let path = match &peers.json {
        Some(path) => std::path::absolute(path).unwrap_or_else(|_| path.clone()),
        None => directory.join("samples.json"),
    };
    let samples = Samples {
        version: VERSION,
        machine: &machine,
        rounds: peers.rounds,
        records: &kept,
        table: &rows,
    };
    let text = serde_json::to_string(&samples).map_err(Failure::of("cannot write the samples"))?;
    fs::write(&path, text).map_err(Failure::of(format!("cannot write {}", path.display())))?;
    println!("\n{}", table::text(&rows));
    println!("{}", record::disturbances(&kept));
    println!("raw samples: {}", path.display());
    if !kept.is_empty() && peers.rounds < ENOUGH {
        println!("{} rounds are for trying: {ENOUGH} or more make a median", peers.rounds);
    }
    Ok(())
}

/// Every round of what is timed.
fn rounds(peers: &Peers, machine: &Machine, directory: &Path) -> Outcome<Vec<Kept>> {
    let timed = [Group::Short, Group::Cold, Group::Costs, Group::Idle];
    let groups: Vec<_> = timed.into_iter().filter(|&group| peers.wants(group)).collect();
    let mut kept = Vec::new();
    if groups.is_empty() {
        return Ok(kept);
    }
    let dpdk = peers.wants(Group::Short) || peers.wants(Group::Cold);
    let sides = Sides::prepare(directory, machine, dpdk)?;
    for round in 0..peers.rounds {
        for &group in &groups {
            println!("round {} of {}: {}", round + 1, peers.rounds, group.name());
            kept.extend(sides.round(group, round)?);
        }
    }
    Ok(kept)
}

/// The rows that no noise touches.
fn counted() -> Vec<Row> {
    let few = instructions::per_copy(32);
    let many = instructions::per_copy(4096);
    let flat = match (&few, &many) {
        (Ok(few), Ok(many)) => Ok(many / few),
        (Err(failure), _) | (_, Err(failure)) => Err(failure.to_string()),
    };
    let tests = Run::cargo()
        .args(["test", "--package", "dmaring", "--test", "steady_state", "--test", "system_calls"])
        // What cannot be counted here is no zero.
        .env("CI", "true")
        .run();
    vec![
        table::instructions("I/OAT driver, instructions per 4 KiB copy, 32 in flight", &few),
        table::flat("the same with 4096 in flight, against 32", flat),
        table::zero("allocations and system calls per operation (tests that count them)", &tests),
    ]
}
