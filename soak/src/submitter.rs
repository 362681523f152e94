//! A thread that submits: it makes its steps, claims, drops and keeps futures, and compares what they say with memory.
//!
//! A lot belongs to one *task*, a future with its operations, until that is over:
//!
//! ```text
//! free ──submitted──► of a task ──claimed, and it tells all──────────────► free
//!                         └──dropped, or its error leaves it open──► in doubt ──settled──► free
//! ```
//!
//! What is in doubt is settled by a fenced operation that has begun: all that was submitted before has ended by then.
//! Until then nothing else is done with the lot.

mod built;
mod settle;
mod task;

use std::{
    collections::BTreeMap,
    mem,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use futures::{StreamExt, executor::block_on};

use self::{
    built::{Built, one},
    task::{Mark, Outcomes, Task},
};
use crate::{
    args::Defect,
    counts::{self, Counts},
    life::Life,
    plan::{self, Fate, Operation, Place, Step, Work},
    region::Held,
};

/// How many futures are left to be claimed at a time.
const WINDOW: usize = 12;
/// At which step a planted hang comes.
const HANG_AT: usize = 20;

/// A submitter at work.
struct Player<'a> {
    life: &'a Life<'a>,
    number: usize,
    regions: Vec<Held>,
    plans: &'a [plan::Destination],
    tasks: BTreeMap<u64, Task>,
    doubts: Vec<Mark>,
    next: u64,
    step: usize,
    /// The runtime takes no more.
    closed: bool,
    counts: Counts,
}

/// Plays a submitter's part, and gives what was done.
///
/// # Errors
///
/// The first thing that was not as it should be.
pub(crate) fn play(
    life: &Life<'_>,
    number: usize,
    plan: &plan::Submitter,
) -> Result<Counts, String> {
    let working = life.progress.begin();
    let mut player = Player {
        life,
        number,
        regions: Vec::new(),
        plans: &plan.regions,
        tasks: BTreeMap::new(),
        doubts: Vec::new(),
        next: 0,
        step: 0,
        closed: false,
        counts: Counts::default(),
    };
    let told = |player: &Player<'_>, failure| {
        format!("submitter {number}, step {}: {failure}", player.step)
    };
    player.play(&plan.steps).map_err(|failure| told(&player, failure))?;
    drop(working);
    life.progress.wait_for_end();
    player.end().map_err(|failure| told(&player, failure))?;
    Ok(mem::take(&mut player.counts))
}

impl Player<'_> {
    fn play(&mut self, steps: &[Step]) -> Result<(), String> {
        for region in 0..self.plans.len() {
            if !self.open(region, 0)? {
                return Ok(());
            }
        }
        for step in steps {
            self.take(step)?;
            self.drop_what_is_due();
            self.life.progress.step();
            self.step += 1;
            if self.closed {
                break;
            }
        }
        self.step = usize::MAX;
        self.drop_what_is_due();
        while let Some(oldest) = self.oldest_to_claim() {
            self.claim(oldest)?;
        }
        self.step = steps.len();
        Ok(())
    }

    fn take(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::One { operation, manner, fate } => {
                if self.is_free(operation)? {
                    let future = one(self.built(operation), *manner);
                    self.launch(future, std::slice::from_ref(operation), false, *fate)?;
                }
            }
            Step::Batch { operations, fate } => self.batch(operations, *fate)?,
            Step::Chain { operations, fate } => {
                if self.is_free(&operations[0])? && self.frees(operations[1].to)? {
                    let [first, second] = operations.each_ref().map(|one| self.built(one));
                    let chain = match first {
                        Built::Copy(first) => first.then(second),
                        Built::Fill(first) => first.then(second),
                    };
                    let future = Box::pin(async move { vec![chain.await] });
                    self.launch(future, operations, true, *fate)?;
                }
            }
            Step::Write { to, offset, length, seed } => {
                if self.frees(*to)? {
                    let held = &mut self.regions[to.region];
                    let at = held.lots[to.lot].start + offset;
                    held.write(at as usize, &crate::region::noise(*seed, *length as usize))?;
                }
            }
            Step::Claim => {
                while let Some(oldest) = self.oldest_to_claim() {
                    self.claim(oldest)?;
                }
            }
            Step::Reopen { region, settled } => self.reopen(*region, *settled)?,
        }
        Ok(())
    }

    fn batch(&mut self, operations: &[Operation], fate: Fate) -> Result<(), String> {
        let mut free = Vec::new();
        for operation in operations {
            if self.is_free(operation)? {
                free.push(operation.clone());
            }
        }
        let submitted = self.life.with_runtime(|runtime| {
            let mut batch = runtime.batch();
            free.iter().for_each(|operation| self.put(operation, &mut batch));
            batch.submit()
        });
        let Some(submitted) = submitted else {
            self.closed = true;
            return Ok(());
        };
        self.launch(Box::pin(submitted.collect::<Vec<_>>()), &free, false, fate)
    }

    /// Whether both lots of an operation can be had.
    fn is_free(&mut self, operation: &Operation) -> Result<bool, String> {
        let source = match operation.work {
            Work::Lot(from, _) => self.frees(from)?,
            Work::Source(_) | Work::Fill(_) => true,
        };
        Ok(source && self.frees(operation.to)?)
    }

    /// Closes a region and opens another, or the same file again.
    fn reopen(&mut self, region: usize, settled: bool) -> Result<(), String> {
        let held = &self.regions[region];
        if !settled && !held.kind().is_file() {
            let next = held.generation + 1;
            self.open(region, next)?;
            return Ok(());
        }
        for lot in 0..held.lots.len() {
            if !self.frees(Place { region, lot })? {
                return Ok(());
            }
        }
        self.counts.bytes_checked += self.regions[region].check_all()?;
        if !self.regions[region].kind().is_file() {
            let next = self.regions[region].generation + 1;
            self.open(region, next)?;
            return Ok(());
        }
        let (held, ending) = (&mut self.regions[region], self.life.is_ending());
        match self.life.with_runtime(|runtime| held.reopen_file(runtime)) {
            Some(Ok(checked)) => self.counts.bytes_checked += checked,
            Some(Err(failure)) if !ending && !self.life.is_ending() => return Err(failure),
            Some(Err(_)) | None => self.closed = true,
        }
        counts::add(&mut self.counts.regions, "file opened again", 1);
        Ok(())
    }

    /// Opens a region, instead of the one that was there. `false`: the runtime has ended.
    fn open(&mut self, region: usize, generation: u64) -> Result<bool, String> {
        let plan = &self.plans[region];
        let directories = &self.life.run.directories;
        let facts = (plan.kind, plan.seed, generation);
        let opened =
            self.life.with_runtime(|runtime| Held::open(runtime, directories, facts, &plan.lots));
        let held = match opened {
            Some(Ok(held)) => held,
            Some(Err(failure)) if !self.life.is_ending() => return Err(failure),
            Some(Err(_)) | None => {
                self.closed = true;
                return Ok(false);
            }
        };
        counts::add(&mut self.counts.regions, plan.kind.name(), 1);
        if region < self.regions.len() {
            self.regions[region] = held;
        } else {
            self.regions.push(held);
        }
        Ok(true)
    }

    fn start(&self, place: Place) -> u64 {
        self.regions[place.region].lots[place.lot].start
    }

    /// Takes the lots of a future's operations, and does with it what is to be done.
    fn launch(
        &mut self,
        future: Outcomes,
        operations: &[Operation],
        chained: bool,
        fate: Fate,
    ) -> Result<(), String> {
        self.next += 1;
        let (id, mut marks) = (self.next, Vec::<Mark>::new());
        for operation in operations {
            let first = if chained { marks.first() } else { None };
            marks.push(self.mark(id, operation, first));
        }
        for (mark, operation) in marks.iter().zip(operations) {
            for place in
                [Some(mark.place), mark.reads.map(|(place, _)| place)].into_iter().flatten()
            {
                let lot = &mut self.regions[place.region].lots[place.lot];
                lot.user = Some(id);
                lot.note(id, format!("step {}, {fate:?}: {operation:?}", self.step));
            }
        }
        self.counts.operations += operations.len() as u64;
        let due = match fate {
            Fate::DroppedLater(steps) => self.step + usize::from(steps),
            _ => usize::MAX,
        };
        let mut task = Task { future, marks, chained, fate, due };
        match fate {
            Fate::Claimed => {
                self.tasks.insert(id, task);
                if self.claimed().count() > WINDOW
                    && let Some(oldest) = self.oldest_to_claim()
                {
                    self.claim(oldest)?;
                }
            }
            Fate::Awaited => {
                self.tasks.insert(id, task);
                self.claim(id)?;
            }
            Fate::Dropped(polls) => {
                for _ in 0..polls {
                    if let Poll::Ready(outcomes) = poll(&mut task.future) {
                        return self.resolve(task.marks, task.chained, outcomes);
                    }
                }
                self.lose(task, "dropped");
            }
            Fate::DroppedLater(_) | Fate::Kept => {
                if id % 2 == 0
                    && let Poll::Ready(outcomes) = poll(&mut task.future)
                {
                    return self.resolve(task.marks, task.chained, outcomes);
                }
                self.tasks.insert(id, task);
            }
            Fate::Forgotten => {
                // It is in the ring after this, if it is anywhere: what is lost is a hold on the runtime, not a region.
                if let Poll::Ready(outcomes) = poll(&mut task.future) {
                    return self.resolve(task.marks, task.chained, outcomes);
                }
                mem::forget(mem::replace(&mut task.future, Box::pin(async { Vec::new() })));
                self.counts.leaked_runtimes = 1;
                self.lose(task, "leaked");
            }
        }
        Ok(())
    }

    fn claimed(&self) -> impl Iterator<Item = u64> {
        let claimed = self.tasks.iter().filter(|(_, task)| task.fate == Fate::Claimed);
        claimed.map(|(id, _)| *id)
    }

    fn oldest_to_claim(&self) -> Option<u64> {
        self.claimed().next()
    }

    /// Waits for a future, and compares what it says with what there is.
    fn claim(&mut self, id: u64) -> Result<(), String> {
        let Some(task) = self.tasks.remove(&id) else { return Ok(()) };
        let hangs = self.life.run.plant == Some(Defect::Hang) && self.step > HANG_AT;
        let outcomes = {
            let (number, step) = (self.number, self.step);
            let _note = self.life.run.watch.wait(|| {
                format!("submitter {number}, step {step}: a future of {}", task.describe())
            });
            if hangs { block_on(futures::future::pending()) } else { block_on(task.future) }
        };
        self.resolve(task.marks, task.chained, outcomes)
    }

    fn drop_what_is_due(&mut self) {
        let due = |task: &Task| matches!(task.fate, Fate::DroppedLater(_)) && task.due <= self.step;
        let due: Vec<_> =
            self.tasks.iter().filter(|(_, task)| due(task)).map(|(id, _)| *id).collect();
        for id in due {
            if let Some(task) = self.tasks.remove(&id) {
                self.lose(task, "dropped");
            }
        }
    }

    /// Gives a future up: what it was about is in doubt.
    fn lose(&mut self, task: Task, how: &str) {
        counts::add(&mut self.counts.futures, how, task.marks.len() as u64);
        for mark in &task.marks {
            self.note(mark, how);
        }
        self.doubts.extend(task.marks);
    }
}

fn poll(future: &mut Outcomes) -> Poll<Vec<Result<u64, dmaring::Error>>> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}
