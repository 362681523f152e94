//! A lane: one engine and the operations routed to it.
//!
//! Operations are fed to the engine in turns, a part each, and one operation holds at most half of the engine: a small copy
//! behind a huge one waits for a turn, not for the huge one's end. The loops over parts and completions are
//! monomorphic; the one indirect call is per batch.
#![allow(unsafe_code, reason = "island: hands memory to an engine")]

use std::{mem, task::Poll, time::Duration};

use dmaring_engine::{
    Ahead, Completion, Engine, EnqueueError, HaltError, Outcome, Status, StatusKind, Token,
    Transfer,
};
use dmaring_ring::CompletionCode;

use super::{
    line::{Line, Turn},
    ops::Failure,
    recovery::{Retirement, State},
};
use crate::{foreign, op::Lost};

/// How many completions are taken from an engine at a time.
const BATCH: usize = 64;
/// How often per turn, so that one engine does not hold up the others.
const BATCHES: usize = 4;

#[derive(Debug)]
pub(super) struct Lane {
    driver: Box<dyn Drive>,
    pub(super) line: Line,
}

/// An engine, driven a batch at a time.
trait Drive: Send + std::fmt::Debug {
    fn feed(&mut self, line: &mut Line, turn: &mut Turn<'_>);
    /// See [`Engine::run`].
    ///
    /// # Safety
    ///
    /// As there; `submit` follows before anybody is told.
    unsafe fn run(&mut self, transfer: &Transfer, ahead: Option<Ahead>) -> bool;
    /// The same for several, in order, as far as the first that is not carried out.
    ///
    /// # Safety
    ///
    /// As there, for each.
    unsafe fn run_all(&mut self, transfers: &[Transfer]) -> usize;
    fn submit(&mut self);
    fn collect(&mut self, line: &mut Line, turn: &mut Turn<'_>);
    fn stuck(&self) -> Option<Status>;
    fn halt(&mut self, deadline: Duration) -> Result<(), HaltError>;
}

/// The engine, and where it reports.
struct Driver<E>(E, [Completion; BATCH]);

impl<E: Engine> std::fmt::Debug for Driver<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Driver").finish_non_exhaustive()
    }
}

/// What a lane is made for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LaneSettings {
    /// The index of the engine's address space.
    pub(crate) domain: usize,
    /// How many operations there may be.
    pub(crate) operations: usize,
    pub(crate) retirement: Retirement,
}

impl Lane {
    pub(super) fn new<E: Engine + 'static>(engine: E, settings: LaneSettings) -> Self {
        let mut line = Line::new(engine.name().to_owned(), engine.capabilities(), settings);
        line.node = engine.numa_node();
        let empty = Completion { token: Token::new(0), outcome: Outcome::Done };
        Self { driver: Box::new(Driver(engine, [empty; BATCH])), line }
    }

    /// Feeds the engine, rings its doorbell, takes its completions.
    pub(super) fn turn(&mut self, turn: &mut Turn<'_>) {
        self.driver.feed(&mut self.line, turn);
        self.driver.collect(&mut self.line, turn);
        self.line.publish(turn.counters);
    }

    /// Has the engine carry a transfer out at once. `false`: it has to be fed.
    ///
    /// # Safety
    ///
    /// The transfer's ranges, and what the engine reads ahead, are mapped in the engine's domain, with the rights that it needs, until
    /// [`settle`](Self::settle) was called, and nobody is told of its end before.
    #[inline]
    pub(super) unsafe fn run(&mut self, transfer: &Transfer, ahead: Option<Ahead>) -> bool {
        // SAFETY: as the caller swears; `settle` submits.
        let has_run = unsafe { self.driver.run(transfer, ahead) };
        self.line.has_run |= has_run;
        has_run
    }

    /// Has the engine carry several transfers out at once. `false`: some of them have to be fed.
    ///
    /// # Safety
    ///
    /// As for [`run`](Self::run), of each.
    #[inline]
    pub(super) unsafe fn run_all(&mut self, transfers: &[Transfer]) -> bool {
        // SAFETY: as the caller swears; `settle` submits.
        let run = unsafe { self.driver.run_all(transfers) };
        self.line.has_run |= run > 0;
        run == transfers.len()
    }

    /// Makes what was carried out at once visible.
    #[inline]
    pub(super) fn settle(&mut self) {
        if mem::take(&mut self.line.has_run) {
            self.driver.submit();
        }
    }

    /// Why the engine keeps what it has, where it does and is not known for it.
    ///
    /// It is asked with nothing in it, too: what waits for its reset would wait for ever.
    pub(super) fn stuck(&self) -> Option<Status> {
        if self.line.recovery.state() == State::Dead { None } else { self.driver.stuck() }
    }

    /// Halts the engine. `Err` also where it panicked: it was not shown to have stopped.
    pub(super) fn halt(&mut self, deadline: Duration) -> Result<(), Option<HaltError>> {
        match foreign::call(|| self.driver.halt(deadline)) {
            Some(outcome) => outcome.map_err(Some),
            None => Err(None),
        }
    }
}

impl<E: Engine> Drive for Driver<E> {
    fn feed(&mut self, line: &mut Line, turn: &mut Turn<'_>) {
        if line.is_idle() {
            return;
        }
        if !line.recovery.is_fed() {
            if !line.recovery.takes_work() {
                line.evacuate(turn);
            }
            return;
        }
        let share = line.share();
        let mut room = self.0.room();
        let mut skipped = 0;
        let mut fed = false;
        while room > 0 && skipped < line.queue.len() {
            let Some(index) = line.queue.pop_front() else { break };
            match self.feed_part(index, share, line, turn) {
                Fed::Part { more } => {
                    (fed, skipped, room) = (true, 0, room - 1);
                    if more {
                        line.queue.push_back(index);
                    }
                }
                Fed::Share => {
                    skipped += 1;
                    line.queue.push_back(index);
                }
                Fed::Full => {
                    line.queue.push_front(index);
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

    unsafe fn run(&mut self, transfer: &Transfer, ahead: Option<Ahead>) -> bool {
        // SAFETY: as the caller swears.
        unsafe { self.0.run(transfer, ahead) }
    }

    unsafe fn run_all(&mut self, transfers: &[Transfer]) -> usize {
        // SAFETY: as the caller swears.
        unsafe { self.0.run_all(transfers) }
    }

    fn submit(&mut self) {
        self.0.submit();
    }

    fn collect(&mut self, line: &mut Line, turn: &mut Turn<'_>) {
        for _ in 0..BATCHES {
            let count = self.0.poll(&mut self.1).min(BATCH);
            turn.progress |= count > 0;
            for completion in self.1.iter().take(count) {
                line.account(completion, turn);
            }
            if count < BATCH {
                break;
            }
        }
        if line.recovery.state() == State::Resetting {
            self.step_recovery(line, turn);
        }
    }

    fn stuck(&self) -> Option<Status> {
        self.0.stuck()
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
    fn feed_part(&mut self, index: usize, share: u32, line: &mut Line, turn: &mut Turn<'_>) -> Fed {
        let Some(op) = turn.ops.get_mut(index) else { return Fed::Nothing };
        if op.is_larger_than(share) && op.outstanding() >= share {
            return Fed::Share;
        }
        let Some(part) = op.next_part() else { return Fed::Nothing };
        let Some(token) = line.transfers.offer() else { return Fed::Full };
        // SAFETY: (1) the ranges were checked against their regions when the operation was admitted, and the
        // part lies within them; (2) the addresses are those of the regions' mappings in this engine's domain,
        // made with the rights that admission checked; (3) the regions stay mapped until the completion of its last part:
        // each is unmapped only once this poller has found that no operation of its own names it (`quiet`), or when this
        // engine has been dropped.
        match unsafe { self.0.enqueue(token, &part.transfer) } {
            Ok(()) => {
                line.transfers.keep(index, part.number);
                let again = op.part_taken(&part);
                let more = op.has_parts();
                line.taken(index, again, turn);
                Fed::Part { more }
            }
            Err(EnqueueError::Full) => Fed::Full,
            Err(refusal) => {
                tracing::error!(engine = self.0.name(), %refusal, "the engine refused a transfer within its own limits");
                op.fail(Failure {
                    kind: Lost::Refused as u8,
                    ..Failure::of(CompletionCode::ENGINE_LOST)
                });
                if op.ended().is_some() {
                    line.forget(index, turn.ops);
                    turn.ended.push(index);
                }
                Fed::Nothing
            }
        }
    }

    #[cold]
    fn step_recovery(&mut self, line: &mut Line, turn: &mut Turn<'_>) {
        match self.0.recover() {
            Poll::Pending => turn.progress = true,
            Poll::Ready(Ok(())) => {
                tracing::info!(engine = self.0.name(), "the engine works again");
                line.begin_replay(turn);
            }
            Poll::Ready(Err(status))
                if status.kind != StatusKind::Gone && line.recovery.tries_again() =>
            {
                tracing::warn!(engine = self.0.name(), %status, "the reset failed: it is tried again");
                turn.progress = true;
            }
            Poll::Ready(Err(status)) => {
                tracing::error!(engine = self.0.name(), %status, "the engine is lost");
                line.lose(status, turn);
            }
        }
    }
}
