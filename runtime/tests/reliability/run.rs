//! One run of a cell: the runtime with the I/OAT driver on the emulated device, a fault, and what came of it.
//!
//! 1. Nine operations that all succeed. For a word of an old epoch, the last one's completion word is held back.
//! 2. One operation alone; or many, of which the first holds the gate, so that all the others are one batch behind it.
//!    The culprit has some of them before and some behind it.
//! 3. Every future resolves. Each that says `Ok` is compared at once, before anything else happens in the test.
//! 4. An engine that was lost is asked back, and two more operations show whether it works.
//! 5. The runtime shuts down, all memory is compared, and the device is asked what it saw.

mod checks;
mod submit;

use std::{sync::Arc, time::Duration};

use dmaring::{EngineState, Error, ErrorKind, Idle, OnError, Runtime};
use dmaring_cpu::CpuEngine;
use dmaring_driver::ioat::{IoatChannel, Options};
use dmaring_emulated::{Device, Fault, FaultPlan, PlannedFault, Preset};

use crate::{
    cell::{Cell, Column, Policy, Row},
    common::{LONG, eventually},
    memory::{Memory, SHORTEST, XFERCAP_LOG2},
    outcome::{Others, Seen, in_words},
    random::Random,
    stage::{Panic, Stage, StageClock, Wire},
    waiting::Waiting,
};

/// The engine's name.
const ENGINE: &str = "emulated0";
/// Entries of the runtime's rings, and descriptors of the channel's.
const RING_ENTRIES: u32 = 32;
const DESCRIPTORS: u32 = 16;
/// Operations under way when the fault hits, beside the one that holds the gate; those of a full ring wait for places, too.
const BATCH: usize = 20;
const FULL: usize = 40;
/// Which descriptor of the batch is the culprit's; the one that holds the gate is 0.
const CULPRIT: usize = 5;
const LONGEST: u64 = 1 << XFERCAP_LOG2;

/// What a run came to, and what was wrong with it.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) seen: Seen,
    pub(crate) complaints: Vec<String>,
}

/// Runs a cell.
pub(crate) fn run(cell: Cell, policy: Policy) -> Ran {
    let fault = cell.row.fault();
    Run::new(cell, policy).run(fault)
}

/// Runs a cell with another fault than its row's: for what the checks are to find.
pub(crate) fn run_with(cell: Cell, policy: Policy, fault: Fault) -> Ran {
    Run::new(cell, policy).run(Some(fault))
}

struct Run {
    cell: Cell,
    policy: Policy,
    random: Random,
    device: Device,
    stage: Arc<Stage>,
    runtime: Runtime,
    memory: Memory,
    /// What each work said, by its number.
    said: Vec<Option<Result<u64, Error>>>,
    complaints: Vec<String>,
}

impl Run {
    fn new(cell: Cell, policy: Policy) -> Self {
        let mut random = Random::new(cell.seed());
        let device = Device::builder(Preset::Skx)
            .xfercap(XFERCAP_LOG2)
            .seed(random.word())
            .reset_polls(1 + random.below(4) as u32);
        let device = device.build().unwrap();
        let stage = Stage::new(device.clone(), random.fork());
        // Of those that wait for a place none may come in before the fault.
        let is_full = cell.column == Column::FullRing;
        let options = Options {
            name: ENGINE.to_owned(),
            ring_entries: DESCRIPTORS,
            status_interval: if is_full { 1 } else { 1 + random.below(4) as u32 },
            hang_after: Some(Duration::from_secs(2)),
            clock: Box::new(StageClock(stage.clone())),
            ..Options::default()
        };
        let wire = Wire { bar: device.registers(), stage: stage.clone() };
        let config = Box::new(device.config());
        let channel = IoatChannel::start(wire, Some(config), device.domain(), options).unwrap();
        let idle = Idle::Adaptive { spin: Duration::ZERO, park_after: LONG };
        let builder = Runtime::builder().engine(channel).ring_entries(RING_ENTRIES).idle(idle);
        let builder = match policy {
            Policy::Fail => builder.on_error(OnError::Fail),
            Policy::RetryOnCpu => builder.engine(CpuEngine::new()).on_error(OnError::RetryOnCpu),
        };
        let runtime = builder.build().unwrap();
        let memory = Memory::new(&runtime, &mut random);
        let (said, complaints) = (Vec::new(), Vec::new());
        Self { cell, policy, random, device, stage, runtime, memory, said, complaints }
    }

    fn run(mut self, fault: Option<Fault>) -> Ran {
        self.work_before();
        let before = self.runtime.stats();
        let operations = self.plan_works();
        let (faults, ended) = self.work(&operations, fault);
        self.check(self.device.faults_fired() == faults, "not every planned fault happened");
        self.check(!self.stage.is_to_panic(), "the engine did not panic");
        self.await_reset();
        let stats = self.runtime.stats();
        self.check(stats.violations == 0, "completions named nothing outstanding");

        let culprit = operations[self.culprit()];
        let identified = self.policy == Policy::Fail;
        let others = Others::of(
            operations
                .iter()
                .filter(|&&work| !identified || work != culprit)
                .map(|&work| self.said[work].as_ref()),
        );
        let mut seen = Seen {
            operations: operations.len(),
            failed: operations.iter().filter(|&&work| !self.said_ok(work)).count(),
            culprit: identified.then(|| in_words(self.said[culprit].as_ref())),
            others,
            replayed: stats.engines[0].replayed - before.engines[0].replayed,
            retried: stats.retried - before.retried,
            resets: stats.engines[0].recoveries - before.engines[0].recoveries,
            afterwards: String::new(),
            outside: 0,
        };
        if identified {
            self.check_culprit(culprit);
            let made = stats.engines[0].transfers - before.engines[0].transfers;
            self.check_made_once(&operations, culprit, made);
        }
        self.check_others(&operations, identified.then_some(culprit));
        seen.afterwards = match ended {
            Some(ended) => in_words_of_the_end(&ended),
            None => self.go_on(),
        };
        seen.outside = self.end();
        let complaints = self.complaints;
        Ran { seen, complaints }
    }

    /// Which of the operations is the culprit.
    fn culprit(&self) -> usize {
        if self.cell.column == Column::OneOperation { 0 } else { CULPRIT }
    }

    /// Operations that nothing happens to; a completion word of theirs may be late.
    fn work_before(&mut self) {
        let works: Vec<_> = (0..9).map(|_| self.memory.plan(&mut self.random, LONGEST)).collect();
        let plan = match self.cell.row {
            Row::StaleEpoch => {
                let nulls = if self.cell.column == Column::DuringReset { 1 } else { 2 };
                FaultPlan::new().with(PlannedFault::nth(2, Fault::LateWriteBack(nulls)))
            }
            _ => FaultPlan::new(),
        };
        self.submit_behind_gate(&works, &plan, |_| None);
        let held = usize::from(self.cell.row == Row::StaleEpoch);
        self.check(self.device.held_words() == held, "no completion word is late");
        let all_ok = works.iter().all(|&work| self.said_ok(work));
        self.check(all_ok, "an operation before the fault failed");
        self.aim_at_channel();
    }

    /// Engines with equal loads take turns: has the CPU take its turn, so that the channel is next.
    fn aim_at_channel(&mut self) {
        let by_cpu = |run: &Self| run.runtime.stats().engines.get(1).map(|cpu| cpu.transfers);
        let before = by_cpu(self);
        while before.is_some() && by_cpu(self) == before {
            let work = self.memory.plan(&mut self.random, LONGEST);
            self.submit(&[work]);
            let made = self.said_ok(work);
            self.check(made, "an operation before the fault failed");
        }
    }

    fn plan_works(&mut self) -> Vec<usize> {
        let count = match self.cell.column {
            Column::OneOperation => 1,
            Column::FullRing => FULL,
            _ => 1 + BATCH,
        };
        let mut works = Vec::new();
        for number in 0..count {
            let work = if number + 1 == count && count > 1 {
                // It reads what the one behind the culprit writes.
                self.memory.plan_behind(&mut self.random, works[CULPRIT + 1])
            } else {
                // One behind the culprit is in parts. Those that come in late are so short that they go to the engine
                // which stands still only where there is no other.
                let longest = match number {
                    _ if number == CULPRIT + 2 => 3 * LONGEST,
                    _ if number >= RING_ENTRIES as usize => SHORTEST,
                    _ => LONGEST,
                };
                self.memory.plan(&mut self.random, longest)
            };
            works.push(work);
        }
        works
    }

    /// Has the operations carried out while the fault hits. How many faults that are, and how a shutdown ended that was
    /// called before it.
    fn work(&mut self, works: &[usize], fault: Option<Fault>) -> (u64, Option<Result<(), Error>>) {
        let descriptor = self.culprit() as u64 + 1;
        let mut plan = FaultPlan::new();
        let row = self.cell.row;
        let during_reset = self.cell.column == Column::DuringReset;
        if during_reset || row == Row::StaleEpoch {
            plan = plan.with(PlannedFault::nth(descriptor, Fault::ChanErr(9)));
        }
        // The next descriptor that is fetched is the null one that proves the reset.
        let at = descriptor + u64::from(during_reset);
        if let Some(fault) = fault {
            plan = plan.with(PlannedFault::nth(at, fault));
        }
        if row == Row::PollerPanic {
            self.stage.panic(if during_reset {
                Panic::InReset
            } else {
                Panic::After(descriptor - 1)
            });
        }
        let faults = plan.items().len() as u64;
        if self.cell.column == Column::OneOperation {
            self.device.set_fault_plan(&plan);
            self.submit(works);
            return (faults, None);
        }
        let shuts = self.cell.column == Column::DuringShutdown;
        if self.cell.column == Column::FullRing {
            self.stage.hurry();
        }
        let ended = self.submit_behind_gate(works, &plan, |runtime| {
            shuts.then(|| Waiting::new(runtime.shutdown(LONG)))
        });
        (faults, ended)
    }

    /// A CPU may have saved every operation before the channel is back.
    fn await_reset(&self) {
        let ends = self.cell.column == Column::DuringShutdown || self.cell.row == Row::PollerPanic;
        let settled = || {
            let state = self.runtime.stats().engines[0].state;
            !matches!(state, EngineState::Resetting | EngineState::Replaying)
        };
        if !ends {
            eventually("the end of the reset", settled);
        }
    }

    fn said_ok(&self, work: usize) -> bool {
        let length = self.memory.work(work).length;
        matches!(self.said.get(work), Some(Some(Ok(bytes))) if *bytes == length)
    }
}

fn in_words_of_the_end(ended: &Result<(), Error>) -> String {
    match ended {
        Ok(()) => "drained".to_owned(),
        Err(error) if error.kind() == ErrorKind::EngineLost => "ended, engine lost".to_owned(),
        Err(error) => format!("ended: {error}"),
    }
}
