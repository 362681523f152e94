//! A lane: one engine and the operations routed to it.
//!
//! Operations are fed to the engine in turns, a part each, and one operation holds at most half of the engine: a small copy
//! behind a huge one waits for a turn, not for the huge one's end. The loops over parts and completions are
//! monomorphic; the one indirect call is per batch.
#![allow(unsafe_code, reason = "island: the one place that hands memory to an engine")]

use std::{collections::VecDeque, task::Poll, time::Duration};

use dmaring_engine::{Capabilities, Completion, Engine, EnqueueError, HaltError, Outcome, Token};
use dmaring_ring::CompletionCode;

use super::ops::{Failure, Ops};
use crate::stats::EngineCounters;

/// How many completions are taken from an engine at a time.
const BATCH: usize = 64;
/// How often per turn, so that one engine does not hold up the others.
const BATCHES: usize = 4;

#[derive(Debug)]
pub(super) struct Lane {
    driver: Box<dyn Drive>,
    pub(super) state: LaneState,
}

/// What a lane knows besides its engine.
#[derive(Debug)]
pub(super) struct LaneState {
    pub(super) capabilities: Capabilities,
    /// The index of the engine's address space.
    pub(super) domain: usize,
    /// Operations with parts to feed.
    queue: VecDeque<usize>,
    /// Bytes routed here and not yet ended: what routing balances.
    pub(super) load: u64,
    health: Health,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Working,
    Recovering,
    Lost,
}

/// What a lane's turn brought.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    pub(super) ops: &'a mut Ops,
    /// Operations that have ended.
    pub(super) ended: &'a mut Vec<usize>,
    pub(super) counters: &'a EngineCounters,
    /// Completions that named nothing outstanding.
    pub(super) violations: u64,
    pub(super) progress: bool,
}

/// An engine, driven a batch at a time.
trait Drive: Send + std::fmt::Debug {
    fn feed(&mut self, lane: &mut LaneState, turn: &mut Turn<'_>);
    fn collect(&mut self, lane: &mut LaneState, turn: &mut Turn<'_>);
    fn halt(&mut self, deadline: Duration) -> Result<(), HaltError>;
}

struct Driver<E>(E);

impl<E: Engine> std::fmt::Debug for Driver<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Driver").field(&self.0.name()).finish()
    }
}

impl Lane {
    pub(super) fn new<E: Engine + 'static>(engine: E, domain: usize, operations: usize) -> Self {
        let state = LaneState {
            capabilities: engine.capabilities(),
            domain,
            queue: VecDeque::with_capacity(operations),
            load: 0,
            health: Health::Working,
        };
        Self { driver: Box::new(Driver(engine)), state }
    }

    /// Feeds the engine, rings its doorbell, takes its completions.
    pub(super) fn turn(&mut self, turn: &mut Turn<'_>) {
        self.driver.feed(&mut self.state, turn);
        self.driver.collect(&mut self.state, turn);
    }

    /// Queues an operation that was routed here.
    pub(super) fn push(&mut self, op: usize, length: u64) {
        self.state.queue.push_back(op);
        self.state.load += length;
    }

    pub(super) fn is_lost(&self) -> bool {
        self.state.health == Health::Lost
    }

    pub(super) fn halt(&mut self, deadline: Duration) -> Result<(), HaltError> {
        self.driver.halt(deadline)
    }
}

impl<E: Engine> Drive for Driver<E> {
    fn feed(&mut self, lane: &mut LaneState, turn: &mut Turn<'_>) {
        if lane.health == Health::Lost {
            lane.fail_queue(turn);
        }
        if lane.health != Health::Working || lane.queue.is_empty() {
            return;
        }
        let share = u32::try_from(lane.capabilities.depth / 2).unwrap_or(u32::MAX).max(1);
        let mut room = self.0.room();
        let mut skipped = 0;
        let mut fed = false;
        while room > 0 && skipped < lane.queue.len() {
            let Some(index) = lane.queue.pop_front() else { break };
            match self.feed_part(index, share, turn) {
                Fed::Part { more } => {
                    (fed, skipped, room) = (true, 0, room - 1);
                    if more {
                        lane.queue.push_back(index);
                    }
                }
                Fed::Share => {
                    skipped += 1;
                    lane.queue.push_back(index);
                }
                Fed::Full => {
                    lane.queue.push_front(index);
                    break;
                }
                Fed::Nothing => {}
            }
        }
        if fed {
            turn.progress = true;
            self.0.submit();
        }
    }

    fn collect(&mut self, lane: &mut LaneState, turn: &mut Turn<'_>) {
        let empty = Completion { token: Token::new(0), outcome: Outcome::Done };
        let mut completions = [empty; BATCH];
        for _ in 0..BATCHES {
            let count = self.0.poll(&mut completions).min(BATCH);
            turn.progress |= count > 0;
            for completion in completions.iter().take(count) {
                lane.account(completion, turn);
            }
            if count < BATCH {
                break;
            }
        }
        if lane.health == Health::Recovering {
            match self.0.recover() {
                Poll::Pending => turn.progress = true,
                Poll::Ready(Ok(())) => {
                    turn.counters.recoveries.add(1);
                    lane.health = Health::Working;
                    // What was not run goes again under tokens of its own.
                    lane.queue.iter().for_each(|&index| turn.ops.renew(index));
                }
                Poll::Ready(Err(status)) => {
                    tracing::error!(engine = self.0.name(), %status, "the engine is lost");
                    turn.counters.lost.add(1);
                    lane.health = Health::Lost;
                }
            }
        }
    }

    fn halt(&mut self, deadline: Duration) -> Result<(), HaltError> {
        self.0.halt(deadline)
    }
}

/// What became of an attempt to feed one part.
enum Fed {
    Part {
        more: bool,
    },
    /// The operation has its share of the engine.
    Share,
    /// The engine has no room after all.
    Full,
    /// The operation has ended or failed.
    Nothing,
}

impl<E: Engine> Driver<E> {
    fn feed_part(&mut self, index: usize, share: u32, turn: &mut Turn<'_>) -> Fed {
        let Some(op) = turn.ops.get_mut(index) else { return Fed::Nothing };
        if op.is_larger_than(share) && op.outstanding() >= share {
            return Fed::Share;
        }
        let Some(part) = op.next_part() else { return Fed::Nothing };
        let Some(token) = turn.ops.token(index, part.number) else { return Fed::Nothing };
        let Some(op) = turn.ops.get_mut(index) else { return Fed::Nothing };
        // SAFETY: (1) the ranges were checked against their regions when the operation was admitted, and the
        // part lies within them; (2) the addresses are those of the regions' mappings in this engine's domain,
        // made with the rights that admission checked; (3) the regions stay mapped until the operation's
        // slot lets go of them, which follows the completion of its last part.
        match unsafe { self.0.enqueue(token, &part.transfer) } {
            Ok(()) => {
                op.part_taken(&part);
                Fed::Part { more: op.has_parts() }
            }
            Err(EnqueueError::Full) => Fed::Full,
            Err(refusal) => {
                tracing::error!(engine = self.0.name(), %refusal, "the engine refused a transfer within its own limits");
                op.fail(Failure::of(CompletionCode::ENGINE_LOST));
                if op.ended().is_some() {
                    turn.ended.push(index);
                }
                Fed::Nothing
            }
        }
    }
}

impl LaneState {
    /// Books one completion.
    fn account(&mut self, completion: &Completion, turn: &mut Turn<'_>) {
        let Some((index, op, number)) = turn.ops.find(completion.token) else {
            turn.violations += 1;
            return;
        };
        let Some(length) = op.part_back(number) else {
            turn.violations += 1;
            return;
        };
        match completion.outcome {
            Outcome::Done => {
                turn.counters.transfers.add(1);
                turn.counters.bytes.add(length);
            }
            Outcome::Failed(status) => {
                turn.counters.errors.add(1);
                op.fail_part(number, status);
                self.health = Health::Recovering;
            }
            Outcome::NotRun => {
                let queued = op.has_parts();
                op.run_again(number);
                if !queued && op.has_parts() {
                    self.queue.push_back(index);
                }
                self.health = Health::Recovering;
            }
        }
        if let Some(outcome) = op.ended() {
            if outcome.is_err() {
                // It may still be queued with parts to feed, and its place goes to another operation.
                self.queue.retain(|&queued| queued != index);
            }
            turn.ended.push(index);
        }
    }

    /// Ends what waits for an engine that is lost.
    fn fail_queue(&mut self, turn: &mut Turn<'_>) {
        while let Some(index) = self.queue.pop_front() {
            let Some(op) = turn.ops.get_mut(index) else { continue };
            op.fail(Failure::of(CompletionCode::ENGINE_LOST));
            if op.ended().is_some() {
                turn.ended.push(index);
            }
        }
    }
}
