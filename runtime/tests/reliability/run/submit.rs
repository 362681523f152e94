//! Operations on their way: submitted alone or behind the gate, waited for at the test's pace.

use dmaring::{Error, Runtime};
use dmaring_emulated::FaultPlan;

use super::Run;
use crate::{
    memory::{Memory, Source},
    stage::Pace,
    waiting::{Waiting, resolve},
};

impl Run {
    /// Submits works and waits for them.
    pub(super) fn submit(&mut self, works: &[usize]) {
        let pace = self.stage.pace();
        let mut waiting: Vec<_> = works.iter().map(|&work| start(&self.memory, work)).collect();
        let told = tell(&self.memory, works, &mut waiting, &pace);
        self.note(works, waiting, told);
    }

    /// Submits the first work, waits until it holds the gate, sets the plan, submits the others, does `more`, opens the gate
    /// and waits for all of it.
    pub(super) fn submit_behind_gate(
        &mut self,
        works: &[usize],
        plan: &FaultPlan,
        more: impl for<'a> FnOnce(&'a Runtime) -> Option<Waiting<'a, Result<(), Error>>>,
    ) -> Option<Result<(), Error>> {
        let stage = self.stage.clone();
        let shut = stage.shut();
        let mut waiting = vec![start(&self.memory, works[0])];
        stage.wait_until_held();
        self.device.set_fault_plan(plan);
        waiting.extend(works[1..].iter().map(|&work| start(&self.memory, work)));
        // Those without a place stand in line for one.
        waiting.iter_mut().for_each(|waiting| {
            waiting.poll();
        });
        let runtime = &self.runtime;
        let mut more = more(runtime);
        if let Some(more) = &mut more {
            more.poll();
        }
        let pace = stage.pace();
        drop(shut);
        let told = tell(&self.memory, works, &mut waiting, &pace);
        drop(pace);
        let ended = more.and_then(Waiting::wait);
        self.note(works, waiting, told);
        ended
    }

    fn note(
        &mut self,
        works: &[usize],
        waiting: Vec<Waiting<'static, Result<u64, Error>>>,
        told: Vec<String>,
    ) {
        self.complaints.extend(told);
        for (&work, waiting) in works.iter().zip(waiting) {
            if self.said.len() <= work {
                self.said.resize_with(work + 1, || None);
            }
            let said = waiting.into_output();
            self.check(said.is_some(), &format!("operation {work} never resolved"));
            self.said[work] = said;
        }
    }
}

/// The operation that does a work, submitted.
fn start(memory: &Memory, number: usize) -> Waiting<'static, Result<u64, Error>> {
    let work = memory.work(number);
    let (region, offset) = (memory.region(work.destination.0), work.destination.1);
    match memory.source(number) {
        Some((from, source_offset)) => {
            let copy = memory.region(from).copy_to(source_offset, region, offset, work.length);
            Waiting::new(if work.fenced { copy.fence() } else { copy }.submit())
        }
        None => {
            let Source::Pattern(pattern) = work.source else { unreachable!() };
            Waiting::new(region.fill(offset, work.length, pattern).submit())
        }
    }
}

/// Waits for all, and compares each that says `Ok` at once.
fn tell(
    memory: &Memory,
    works: &[usize],
    waiting: &mut [Waiting<'static, Result<u64, Error>>],
    pace: &Pace,
) -> Vec<String> {
    let mut mistakes = Vec::new();
    resolve(waiting, Some(pace), |number, said| {
        if said.is_ok() {
            mistakes.extend(memory.mistake(works[number]));
        }
    });
    mistakes
}
