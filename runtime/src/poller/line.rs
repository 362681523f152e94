//! What stands in line for one engine, and what its reports do to it.
//!
//! An operation with parts to feed stands in `queue`, once. One that was reported as not run moves from there, or from
//! nowhere, to `replay`, in the order of the reports, which is that of submission. When the engine is ready
//! again, those go before all others.

use std::collections::VecDeque;

use dmaring_engine::{Capabilities, Completion, Outcome, Status};

use super::{
    lane::LaneSettings,
    ops::Rest,
    recovery::{Recovery, State},
    table::Ops,
    transfers::Transfers,
};
use crate::{clock::Clock, stats::EngineCounters};

/// What a lane knows besides its engine.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) capabilities: Capabilities,
    /// The engine's name.
    name: String,
    /// The engine's NUMA node, where it is known.
    pub(super) node: Option<u32>,
    /// The index of the engine's address space.
    pub(super) domain: usize,
    /// Operations with parts to feed.
    pub(super) queue: VecDeque<usize>,
    /// Operations to be replayed, while the engine is being reset.
    replay: VecDeque<usize>,
    /// Operations of `queue` that are being replayed.
    replaying: usize,
    /// Parts in the engine.
    outstanding: usize,
    pub(super) transfers: Transfers,
    /// Whether the engine carried something out at once that is not settled.
    pub(super) has_run: bool,
    /// Bytes routed here and not yet ended: what routing balances.
    pub(super) load: u64,
    pub(super) recovery: Recovery,
    /// Where the statistics say that the engine stands.
    published: State,
    /// Why the engine was lost.
    pub(super) lost: Option<Status>,
}

/// What a lane's turn brought.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    pub(super) ops: &'a mut Ops,
    /// Operations that have ended.
    pub(super) ended: &'a mut Vec<usize>,
    /// Operations with nothing in the engine that cannot go on here.
    pub(super) moved: &'a mut Vec<usize>,
    pub(super) counters: &'a EngineCounters,
    pub(super) clock: &'a dyn Clock,
    /// Completions that named nothing outstanding.
    pub(super) violations: u64,
    /// Bytes that were moved.
    pub(super) bytes: u64,
    pub(super) progress: bool,
    /// The engine was lost with transfers in it.
    pub(super) lost: bool,
}

impl Line {
    /// The line of an engine with this name.
    pub(super) fn new(name: String, capabilities: Capabilities, settings: LaneSettings) -> Self {
        let LaneSettings { domain, operations, retirement } = settings;
        Self {
            capabilities,
            name,
            node: None,
            domain,
            queue: VecDeque::with_capacity(operations),
            replay: VecDeque::with_capacity(operations),
            replaying: 0,
            outstanding: 0,
            transfers: Transfers::new(capabilities.depth),
            has_run: false,
            load: 0,
            recovery: Recovery::new(retirement),
            published: State::Running,
            lost: None,
        }
    }

    /// How many of the engine's transfers one operation may hold.
    pub(super) fn share(&self) -> u32 {
        u32::try_from(self.capabilities.depth / 2).unwrap_or(u32::MAX).max(1)
    }

    /// Whether nothing waits to be fed.
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.replay.is_empty()
    }

    /// Tells the statistics where the engine stands, at the end of each turn: whatever led there.
    #[inline]
    pub(super) fn publish(&mut self, counters: &EngineCounters) {
        let state = self.recovery.state();
        if state != self.published {
            self.published = state;
            counters.set_state(state);
        }
    }

    /// How many parts are in the engine.
    pub(super) fn outstanding(&self) -> u64 {
        self.outstanding as u64
    }

    /// Queues an operation that was routed here.
    pub(super) fn push(&mut self, op: usize, length: u64) {
        self.queue.push_back(op);
        self.load += length;
    }

    /// Takes an operation out of the line: its place in the table may go to another.
    pub(super) fn forget(&mut self, op: usize, ops: &mut Ops) {
        self.queue.retain(|&queued| queued != op);
        self.replay.retain(|&queued| queued != op);
        self.end_replay(op, ops);
    }

    /// A part is in the engine. `again`: it had been in one before.
    #[inline]
    pub(super) fn taken(&mut self, op: usize, again: bool, turn: &mut Turn<'_>) {
        self.outstanding += 1;
        if again {
            turn.counters.replayed.add(1);
            if turn.ops.get_mut(op).is_some_and(|op| !op.has_again()) {
                self.end_replay(op, turn.ops);
                self.publish(turn.counters);
            }
        }
    }

    /// Books one completion.
    pub(super) fn account(&mut self, completion: &Completion, turn: &mut Turn<'_>) {
        let Some((index, number)) = self.transfers.end(completion.token) else {
            turn.violations += 1;
            return;
        };
        // An operation stays where it is while one of its parts is in an engine.
        let Some(op) = turn.ops.get_mut(index) else { return };
        let length = op.part_back(number);
        self.outstanding = self.outstanding.saturating_sub(1);
        match completion.outcome {
            Outcome::Done => {
                turn.counters.transfers.add(1);
                turn.counters.bytes.add(length);
                turn.bytes += length;
                if op.is_retry(number) {
                    turn.counters.retries.add(1);
                }
            }
            Outcome::Failed(status) => {
                turn.counters.errors.add(1);
                op.fail_part(number, status, self.capabilities.host_memory);
                self.fail(turn);
            }
            Outcome::NotRun => {
                op.run_again(number);
                self.fail(turn);
                self.stand_for_replay(index, turn.ops);
            }
        }
        self.settle(index, turn);
    }

    /// What becomes of an operation of which a part came back.
    fn settle(&mut self, index: usize, turn: &mut Turn<'_>) {
        let Some(op) = turn.ops.get_mut(index) else { return };
        match op.rest() {
            None => {}
            Some(Rest::Parts) if self.recovery.takes_work() => {}
            Some(Rest::Nothing) => {
                if op.failure().is_some() {
                    // It may still be queued with parts to feed.
                    self.forget(index, turn.ops);
                }
                turn.ended.push(index);
            }
            Some(Rest::Parts | Rest::Retry) => {
                self.forget(index, turn.ops);
                turn.moved.push(index);
            }
        }
    }

    /// The engine failed.
    #[cold]
    fn fail(&mut self, turn: &mut Turn<'_>) {
        let before = self.recovery.state();
        self.recovery.failed(|| turn.clock.now());
        let state = self.recovery.state();
        if state != before {
            // What was being replayed and was not reached stays in the queue, and is found there.
            for &queued in &self.queue {
                if let Some(op) = turn.ops.get_mut(queued) {
                    op.replaying = false;
                }
            }
            self.replaying = 0;
            if state == State::Retired {
                turn.counters.retirements.add(1);
                tracing::warn!(
                    engine = self.name,
                    "the engine failed too often and is retired: its operations go to others"
                );
            }
        }
    }

    /// The engine is ready: what was not run goes first, in its order.
    pub(super) fn begin_replay(&mut self, turn: &mut Turn<'_>) {
        self.recovery.reset_done(self.outstanding);
        turn.counters.recoveries.add(1);
        turn.counters.epoch.set(self.recovery.epoch().0);
        self.lost = None;
        let (ops, replay) = (&mut *turn.ops, &mut self.replay);
        // An operation that has failed since, or goes to a CPU, runs nothing again here.
        replay.retain(|&index| match ops.get_mut(index) {
            Some(op) if op.has_again() => true,
            Some(op) => {
                op.replaying = false;
                false
            }
            None => false,
        });
        self.queue.retain(|&index| match ops.get_mut(index) {
            Some(op) if op.replaying => false,
            Some(op) if op.has_again() => {
                op.replaying = true;
                replay.push_back(index);
                false
            }
            op => op.is_some(),
        });
        self.replaying = self.replay.len();
        while let Some(op) = self.replay.pop_back() {
            self.queue.push_front(op);
        }
        self.check_replayed();
        turn.progress = true;
    }

    /// The engine does not stop.
    pub(super) fn give_up(&mut self, status: Status) {
        tracing::error!(engine = self.name, %status, "the engine does not stop: it is lost");
        self.recovery.stuck();
        self.lost = Some(status);
    }

    /// The engine did not come back.
    pub(super) fn lose(&mut self, status: Status, turn: &mut Turn<'_>) {
        self.recovery.reset_failed();
        self.lost = Some(status);
        turn.lost |= self.outstanding > 0;
        turn.progress = true;
    }

    /// Sends what waits for an engine that takes no work elsewhere. What still has parts in it stays in line: it follows when
    /// they are back, or goes on here if the engine works again before.
    #[cold]
    pub(super) fn evacuate(&mut self, turn: &mut Turn<'_>) {
        for list in [&mut self.replay, &mut self.queue] {
            list.retain(|&index| match turn.ops.get_mut(index) {
                Some(op) if op.outstanding() > 0 => true,
                Some(op) => {
                    op.replaying = false;
                    // It may stand in both.
                    if !turn.moved.contains(&index) {
                        turn.moved.push(index);
                        turn.progress = true;
                    }
                    false
                }
                None => false,
            });
        }
    }

    fn stand_for_replay(&mut self, index: usize, ops: &mut Ops) {
        if let Some(op) = ops.get_mut(index).filter(|op| !op.replaying && op.has_again()) {
            op.replaying = true;
            self.replay.push_back(index);
        }
    }

    fn end_replay(&mut self, index: usize, ops: &mut Ops) {
        if let Some(op) = ops.get_mut(index).filter(|op| op.replaying) {
            op.replaying = false;
            self.replaying = self.replaying.saturating_sub(1);
            self.check_replayed();
        }
    }

    fn check_replayed(&mut self) {
        if self.replaying == 0 {
            self.recovery.replayed();
        }
    }
}

#[cfg(test)]
mod tests;
