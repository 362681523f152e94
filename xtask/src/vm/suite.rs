//! `cargo xtask vm test`: which cases run on which machines, and what came of them.
//!
//! Cases of one machine share a boot, each leaving it as it found it. After a case that failed the machine is thrown
//! away and the next case gets a new one, so that one failure is one.

use std::time::{Duration, Instant};

use super::{
    assets::Assets,
    boot::{self, Options},
    cases,
    functions::STANDARD,
    machine::Machine,
    qemu::Iommu,
};
use crate::failure::{Failure, Outcome};

/// A case: what is shown, and on which machines.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) machines: &'static [Kind],
    pub(crate) run: fn(&mut Machine) -> Outcome,
    /// What is shown on a machine that comes up with the same NVDIMMs after this one was stopped dead; `run` leaves that
    /// to happen.
    pub(crate) restarted: Option<fn(&mut Machine) -> Outcome>,
}

/// A kind of machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One processor, the IOMMU translating.
    Standard,
    /// Two processors.
    TwoProcessors,
    /// The IOMMU passes the kernel's own accesses through.
    PassThrough,
    /// The kernel does not use the IOMMU.
    NoIommu,
}

const KINDS: [Kind; 4] = [Kind::Standard, Kind::TwoProcessors, Kind::PassThrough, Kind::NoIommu];

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::TwoProcessors => "two-cpus",
            Self::PassThrough => "pass-through",
            Self::NoIommu => "no-iommu",
        }
    }

    fn options(self, processors: Option<u32>) -> Options {
        let own = if self == Self::TwoProcessors { 2 } else { 1 };
        let iommu = match self {
            Self::Standard | Self::TwoProcessors => Iommu::Translating,
            Self::PassThrough => Iommu::PassThrough,
            Self::NoIommu => Iommu::Off,
        };
        Options {
            name: format!("test-{}", self.name()),
            processors: processors.unwrap_or(own),
            iommu,
            functions: STANDARD.to_vec(),
        }
    }
}

/// The names of all cases.
pub(crate) fn names() -> Vec<&'static str> {
    cases::ALL.iter().map(|case| case.name).collect()
}

/// Runs the cases named in `only`, or all where none is named, and fails at the end if one did.
pub(crate) fn run(only: &[String], processors: Option<u32>) -> Outcome {
    let begin = Instant::now();
    let assets = Assets::prepare(true, true)?;
    println!("prepared in {:.1} s", begin.elapsed().as_secs_f64());
    let mut rows = Vec::new();
    let mut failed = 0;
    for kind in KINDS {
        let chosen = cases::ALL.iter().filter(|case| {
            case.machines.contains(&kind)
                && (only.is_empty() || only.iter().any(|name| name == case.name))
        });
        let mut machine = None;
        for case in chosen {
            let begin = Instant::now();
            println!("\n---- {} on {}", case.name, kind.name());
            let options = kind.options(processors);
            let mut outcome = run_one(&assets, &options, &mut machine, case);
            if let (Ok(()), Some(restarted)) = (&outcome, case.restarted) {
                outcome = run_restarted(&assets, &options, &mut machine, restarted);
            }
            let result = if outcome.is_ok() { "ok" } else { "FAILED" };
            if let Err(failure) = outcome {
                println!("error: {failure}");
                machine = None;
                failed += 1;
            }
            let row = row(case.name, kind.name(), result, begin.elapsed());
            println!("---- {row}");
            rows.push(row);
        }
    }
    println!("\n---- all cases");
    rows.iter().for_each(|row| println!("{row}"));
    let result = if failed == 0 { "ok" } else { "FAILED" };
    println!("{}", row("total", "", result, begin.elapsed()));
    if failed == 0 {
        return Ok(());
    }
    let logs = assets.logs().display();
    Err(Failure::new(format!("{failed} of {} cases failed: logs in {logs}", rows.len())))
}

fn run_one(
    assets: &Assets,
    options: &Options,
    machine: &mut Option<Machine>,
    case: &Case,
) -> Outcome {
    let machine = match machine {
        Some(machine) => machine,
        none => {
            let booted = boot::boot(assets, options)?;
            println!("booted in {:.1} s", booted.boot_time().as_secs_f64());
            none.insert(booted)
        }
    };
    (case.run)(machine)
}

/// Stops the machine as a loss of power does to QEMU, boots another with its NVDIMMs, and goes on there.
fn run_restarted(
    assets: &Assets,
    options: &Options,
    machine: &mut Option<Machine>,
    restarted: fn(&mut Machine) -> Outcome,
) -> Outcome {
    let stopped = machine.take().ok_or_else(|| Failure::new("there is no machine to stop"))?;
    let dimms = stopped.stop_dead();
    let booted = boot::boot_with(assets, options, &dimms)?;
    println!("booted again in {:.1} s", booted.boot_time().as_secs_f64());
    restarted(machine.insert(booted))
}

fn row(case: &str, machine: &str, result: &str, time: Duration) -> String {
    format!("{case:<24} {machine:<14} {result:<6} {:>8.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{KINDS, Kind, cases};

    #[test]
    fn every_case_has_a_name_of_its_own_and_a_machine() {
        let names: BTreeSet<_> = cases::ALL.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), cases::ALL.len());
        assert!(cases::ALL.iter().all(|case| !case.machines.is_empty()));
    }

    #[test]
    fn every_kind_of_machine_is_booted_for_a_case() {
        for kind in KINDS {
            assert!(cases::ALL.iter().any(|case| case.machines.contains(&kind)), "{kind:?}");
        }
        assert_eq!(Kind::TwoProcessors.options(None).processors, 2);
        assert_eq!(Kind::TwoProcessors.options(Some(1)).processors, 1);
    }
}
