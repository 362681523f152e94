//! The two programs, and one round of both.

use std::path::{Path, PathBuf};

use super::{
    Group,
    dpdk::Skeleton,
    machine::Machine,
    record::{self, Kept, Record},
};
use crate::{
    command::Run,
    failure::{Failure, Outcome},
    target,
};

/// How often a void round is run again.
const AGAIN: u32 = 5;

/// Both programs, built.
#[derive(Debug)]
pub(crate) struct Sides<'a> {
    ours: PathBuf,
    skeleton: Option<Skeleton>,
    machine: &'a Machine,
}

#[derive(Clone, Copy, Debug)]
enum Side {
    Ours,
    Dpdk,
}

impl<'a> Sides<'a> {
    /// Builds them; DPDK's only where it is to be run.
    pub(crate) fn prepare(directory: &Path, machine: &'a Machine, dpdk: bool) -> Outcome<Self> {
        let name = "dmaring-peers";
        Run::cargo()
            .args(["build", "--release", "--package", "dmaring-benches", "--bin", name])
            .run()?;
        let skeleton = if dpdk { Some(Skeleton::build(directory)?) } else { None };
        Ok(Self { ours: target("release").join(name), skeleton, machine })
    }

    /// One round of a group, by all sides that have it. What is void is run again, and kept as such.
    pub(crate) fn round(&self, group: Group, round: u32) -> Outcome<Vec<Kept>> {
        let sides: &[_] = match group {
            Group::Short | Group::Cold if round.is_multiple_of(2) => &[Side::Ours, Side::Dpdk],
            Group::Short | Group::Cold => &[Side::Dpdk, Side::Ours],
            Group::Costs | Group::Idle => &[Side::Ours],
            Group::Counts => &[],
        };
        let mut kept = Vec::new();
        for &side in sides {
            for _ in 0..=AGAIN {
                let records = self.once(side, group, round)?;
                let why = records.iter().find_map(Record::void);
                let void = why.is_some();
                kept.extend(records.into_iter().map(|record| Kept { round, void, record }));
                let Some(why) = why else { break };
                println!("void, and run again: {why}");
            }
            if kept.last().is_some_and(|last| last.void) {
                return Err(Failure::new(format!(
                    "round {} of {} was void {} times: what moves pinned threads on this machine?",
                    round + 1,
                    group.name(),
                    AGAIN + 1
                )));
            }
        }
        Ok(kept)
    }

    fn once(&self, side: Side, group: Group, round: u32) -> Outcome<Vec<Record>> {
        let Machine { app_core, poller_core, area, .. } = self.machine;
        let run = match (side, &self.skeleton) {
            (Side::Dpdk, Some(skeleton)) => {
                let works: &[_] = match group {
                    Group::Short => &["copy64-1", "copy64-1-lfence", "copy64-32"],
                    _ => &["cold-4096-32", "cold-65536-8", "cold-262144-8", "cold-1048576-8"],
                };
                let numbers = [*app_core as u64, *poller_core as u64, round.into(), *area];
                skeleton.run().args(numbers.map(|number| number.to_string())).args(works)
            }
            (Side::Dpdk, None) => return Ok(Vec::new()),
            (Side::Ours, _) => Run::new(&self.ours)
                .arg(format!("--app-core={app_core}"))
                .arg(format!("--poller-core={poller_core}"))
                .arg(format!("--round={round}"))
                .arg(format!("--area={area}"))
                .arg(group.name()),
        };
        record::read(&run.output()?)
    }
}
