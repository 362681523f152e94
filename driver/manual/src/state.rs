//! What the engine and its control share.
//!
//! A transfer is in one of three queues: *enqueued* (before the doorbell), *running* (after it),
//! *ended* (decided, not yet polled). Only the test, or automatic mode, moves one from running to
//! ended, and at that moment its bytes move. Taking back memory before then is a bug of the runtime
//! and shows.
//!
//! The engine is *working* until the test fails the channel. It is then *failed*: everything
//! outstanding has ended, there is no room, and `recover` leads back to working, or to *lost*.
//! `halt` and drop lead to *stopped*: what had not ended is abandoned and never touched again.

use std::{collections::VecDeque, sync::Arc, task::Poll};

use dmaring_engine::{
    Ahead, Capabilities, Completion, EnqueueError, Operation, Outcome, Status, StatusKind, Token,
    Transfer,
};

use crate::ManualDomain;

/// One transfer the engine took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The transfer's number on this engine: 0 for the first ever enqueued, and so on.
    pub serial: u64,
    /// The token it was enqueued with.
    pub token: Token,
    /// What is to be done.
    pub transfer: Transfer,
}

/// The order in which automatic mode ends transfers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Each `poll` ends all running transfers, in order of submission.
    Fifo,
    /// Each `poll` ends a random choice of the running transfers, at least one, in random order.
    Random {
        /// Determines the choice.
        seed: u64,
    },
}

/// A call of the runtime's in which an engine can be made to panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `room`.
    Room,
    /// `enqueue`.
    Enqueue,
    /// `run`.
    Run,
    /// `submit`.
    Submit,
    /// `poll`.
    Poll,
    /// `recover`.
    Recover,
    /// `halt`.
    Halt,
    /// The destructor.
    Drop,
}

/// What becomes of `recover` after the channel failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// Ready and working, after this many pending answers.
    Succeeds {
        /// How many calls answer pending first.
        steps: usize,
    },
    /// The engine is lost for good, after this many pending answers.
    Fails {
        /// How many calls answer pending first.
        steps: usize,
        /// What `recover` then says.
        status: Status,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Working,
    Failed { steps: usize },
    Lost { status: Status },
    Stopped,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) capabilities: Capabilities,
    pub(crate) domain: Arc<ManualDomain>,
    pub(crate) phase: Phase,
    pub(crate) recovery: Recovery,
    pub(crate) enqueued: VecDeque<Ticket>,
    pub(crate) running: VecDeque<Ticket>,
    ended: VecDeque<Completion>,
    next_serial: u64,
    pub(crate) auto: bool,
    order: Order,
    random: u64,
    pub(crate) refuse_halt: Option<Status>,
    /// How many more transfers are carried out at once; `None`: any number.
    pub(crate) runs_left: Option<u64>,
    /// The calls that panic.
    pub(crate) panics: Vec<Call>,
    pub(crate) stuck: Option<Status>,
    pub(crate) halted: bool,
    pub(crate) dropped: bool,
    pub(crate) doorbells: u64,
    pub(crate) polls: u64,
    /// How many transfers were carried out at once.
    pub(crate) run: u64,
    /// How many bytes since the last poll, and how many at most between two.
    run_bytes: u64,
    pub(crate) most_run: u64,
    /// Of those carried out at once, how many no `submit` followed.
    pub(crate) unsettled: u64,
    /// How many bytes those had, and how many at most.
    unsettled_bytes: u64,
    pub(crate) most_unsettled: u64,
    /// What was said to be ahead, oldest first.
    pub(crate) told_ahead: Vec<Ahead>,
    /// How many threads wait for a change.
    pub(crate) waiting: usize,
}

impl State {
    pub(crate) fn new(capabilities: Capabilities, domain: Arc<ManualDomain>) -> Self {
        let depth = capabilities.depth;
        Self {
            capabilities,
            domain,
            phase: Phase::Working,
            recovery: Recovery::Succeeds { steps: 0 },
            enqueued: VecDeque::with_capacity(depth),
            running: VecDeque::with_capacity(depth),
            ended: VecDeque::with_capacity(depth),
            next_serial: 0,
            auto: false,
            order: Order::Fifo,
            random: 0,
            refuse_halt: None,
            runs_left: None,
            panics: Vec::new(),
            stuck: None,
            halted: false,
            dropped: false,
            doorbells: 0,
            polls: 0,
            run: 0,
            run_bytes: 0,
            most_run: 0,
            unsettled: 0,
            unsettled_bytes: 0,
            most_unsettled: 0,
            told_ahead: Vec::new(),
            waiting: 0,
        }
    }

    pub(crate) fn set_order(&mut self, order: Order) {
        self.order = order;
        if let Order::Random { seed } = order {
            self.random = seed;
        }
    }

    pub(crate) fn room(&self) -> usize {
        let held = self.enqueued.len() + self.running.len() + self.ended.len();
        match self.phase {
            Phase::Working => self.capabilities.depth.saturating_sub(held),
            _ => 0,
        }
    }

    pub(crate) fn enqueue(&mut self, token: Token, transfer: Transfer) -> Result<(), EnqueueError> {
        match transfer.operation {
            Operation::Copy { .. } => {}
            Operation::Fill { .. } if self.capabilities.fill => {}
            Operation::DeviceCopy { .. } if self.capabilities.host_memory => {}
            Operation::DeviceFill { .. }
                if self.capabilities.host_memory && self.capabilities.fill => {}
            _ => return Err(EnqueueError::Unsupported),
        }
        let max = self.capabilities.max_transfer;
        if transfer.length == 0 || transfer.length > max {
            return Err(EnqueueError::TooLong { max });
        }
        if self.room() == 0 {
            return Err(EnqueueError::Full);
        }
        self.domain.begin(&transfer);
        self.enqueued.push_back(Ticket { serial: self.next_serial, token, transfer });
        self.next_serial += 1;
        Ok(())
    }

    pub(crate) fn run(&mut self, transfer: &Transfer, ahead: Option<Ahead>) -> bool {
        let known = match transfer.operation {
            Operation::Copy { .. } => true,
            Operation::Fill { .. } => self.capabilities.fill,
            _ => false,
        };
        if !known || transfer.length > self.capabilities.at_once || self.room() == 0 {
            return false;
        }
        if let Some(left) = &mut self.runs_left {
            let Some(less) = left.checked_sub(1) else { return false };
            *left = less;
        }
        self.domain.begin(transfer);
        if let Some(ahead) = ahead {
            self.domain.look_ahead(ahead, self.capabilities.reads_ahead);
            self.told_ahead.push(ahead);
        }
        let has_run = self.domain.carry_out(transfer) == Outcome::Done;
        self.run += u64::from(has_run);
        self.run_bytes += if has_run { transfer.length } else { 0 };
        self.most_run = self.most_run.max(self.run_bytes);
        self.unsettled += u64::from(has_run);
        self.unsettled_bytes += if has_run { transfer.length } else { 0 };
        self.most_unsettled = self.most_unsettled.max(self.unsettled_bytes);
        has_run
    }

    pub(crate) fn submit(&mut self) {
        (self.unsettled, self.unsettled_bytes) = (0, 0);
        if !self.enqueued.is_empty() {
            self.doorbells += 1;
            self.running.append(&mut self.enqueued);
        }
    }

    pub(crate) fn poll(&mut self, completions: &mut [Completion]) -> usize {
        self.polls += 1;
        self.run_bytes = 0;
        if self.auto {
            self.end_automatically();
        }
        let count = self.ended.len().min(completions.len());
        for (place, end) in completions.iter_mut().zip(self.ended.drain(..count)) {
            *place = end;
        }
        count
    }

    pub(crate) fn recover(&mut self) -> Poll<Result<(), Status>> {
        match self.phase {
            Phase::Working => Poll::Ready(Ok(())),
            // Every end is reported before the first step.
            Phase::Failed { .. } if !self.ended.is_empty() => Poll::Pending,
            Phase::Failed { steps } => {
                let (needed, status) = match self.recovery {
                    Recovery::Succeeds { steps } => (steps, None),
                    Recovery::Fails { steps, status } => (steps, Some(status)),
                };
                if steps < needed {
                    self.phase = Phase::Failed { steps: steps + 1 };
                    return Poll::Pending;
                }
                self.phase = status.map_or(Phase::Working, |status| Phase::Lost { status });
                Poll::Ready(status.map_or(Ok(()), Err))
            }
            // Asked again, after the test has changed its mind.
            Phase::Lost { .. } if matches!(self.recovery, Recovery::Succeeds { .. }) => {
                self.phase = Phase::Failed { steps: 0 };
                self.recover()
            }
            Phase::Lost { status } => Poll::Ready(Err(status)),
            Phase::Stopped => Poll::Ready(Err(Status { kind: StatusKind::Gone, bits: 0 })),
        }
    }

    /// Forgets everything that has not ended; its memory is never touched again.
    pub(crate) fn stop(&mut self) {
        self.phase = Phase::Stopped;
        for ticket in self.enqueued.drain(..).chain(self.running.drain(..)) {
            self.domain.end(&ticket.transfer);
        }
    }

    /// Carries out the running transfer at `place`.
    pub(crate) fn complete(&mut self, place: usize) -> Option<Ticket> {
        let ticket = self.running.remove(place)?;
        let outcome = self.domain.carry_out(&ticket.transfer);
        self.ended.push_back(Completion { token: ticket.token, outcome });
        Some(ticket)
    }

    /// Fails the running transfer at `place`, and nothing else.
    pub(crate) fn fail(&mut self, place: usize, status: Status) -> Option<Ticket> {
        let ticket = self.running.remove(place)?;
        self.end(&ticket, Outcome::Failed(status));
        Some(ticket)
    }

    /// Stops the channel at the running transfer at `place`: those before it are carried out, it
    /// fails, those behind it have not run.
    pub(crate) fn fail_channel(&mut self, place: usize, status: Status) -> Option<Ticket> {
        self.running.get(place)?;
        for _ in 0..place {
            self.complete(0);
        }
        let failed = self.fail(0, status)?;
        self.running.append(&mut self.enqueued);
        while let Some(ticket) = self.running.pop_front() {
            self.end(&ticket, Outcome::NotRun);
        }
        self.phase = Phase::Failed { steps: 0 };
        Some(failed)
    }

    /// Stops the channel at the running transfer at `place`, which fails, while the others stay where they are.
    pub(crate) fn fail_and_hold(&mut self, place: usize, status: Status) -> Option<Ticket> {
        let failed = self.fail(place, status)?;
        self.phase = Phase::Failed { steps: 0 };
        Some(failed)
    }

    /// Reports an end that is none.
    pub(crate) fn forge(&mut self, completion: Completion) {
        self.ended.push_back(completion);
    }

    fn end(&mut self, ticket: &Ticket, outcome: Outcome) {
        self.domain.end(&ticket.transfer);
        self.ended.push_back(Completion { token: ticket.token, outcome });
    }

    fn end_automatically(&mut self) {
        let running = self.running.len();
        match self.order {
            Order::Fifo => {
                for _ in 0..running {
                    self.complete(0);
                }
            }
            Order::Random { .. } if running > 0 => {
                for _ in 0..=self.below(running) {
                    let place = self.below(self.running.len());
                    self.complete(place);
                }
            }
            Order::Random { .. } => {}
        }
    }

    /// A random number below `limit`, by SplitMix64.
    fn below(&mut self, limit: usize) -> usize {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.random;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((word ^ (word >> 31)) % limit as u64).unwrap_or(0)
    }
}
