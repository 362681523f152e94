//! The poller's side: an engine that hands everything over.
#![allow(
    unsafe_code,
    reason = "island: keeps the engine's contract on behalf of the one behind it"
)]

use std::{
    cell::Cell,
    panic,
    sync::{
        Arc,
        mpsc::{self, Receiver, Sender, TryRecvError},
    },
    task::Poll,
    thread,
    time::Duration,
};

use dmaring_engine::{
    Capabilities, Completion, DmaMap, Engine, EnqueueError, HaltError, Operation, Status,
    StatusKind, Token, Transfer,
};

use super::{
    GRACE,
    link::{Bell, Link, Order},
    worker::Worker,
};

/// Stands for an engine that a worker drives.
#[derive(Debug)]
pub(crate) struct RemoteEngine {
    name: String,
    capabilities: Capabilities,
    domain: Arc<dyn DmaMap>,
    node: Option<u32>,
    link: Arc<Link>,
    orders: Sender<Order>,
    bell: Arc<Bell>,
    /// Transfers handed over and not reported.
    outstanding: usize,
    /// Transfers were handed over since the bell was rung.
    fresh: bool,
    /// How many orders to recover were given.
    ordered: u64,
    recovering: Option<Receiver<Result<(), Status>>>,
    /// What the recovery led to, until all that was reported before it is taken.
    recovered: Option<Result<(), Status>>,
    /// Whether the engine was said to be stuck while it recovers: whoever asked gives that attempt up.
    given_up: Cell<bool>,
}

impl RemoteEngine {
    /// Gives an engine to a worker.
    pub(crate) fn new<E: Engine + 'static>(engine: E, worker: &Worker) -> Self {
        let name = engine.name().to_owned();
        // What is at once there is not at once here.
        let capabilities = Capabilities { at_once: 0, reads_ahead: 0, ..engine.capabilities() };
        let (domain, node) = (engine.domain(), engine.numa_node());
        let link = Arc::new(Link::new(capabilities.depth));
        let orders = worker.hire(engine, link.clone());
        Self {
            name,
            capabilities,
            domain,
            node,
            link,
            orders,
            bell: worker.bell(),
            outstanding: 0,
            fresh: false,
            ordered: 0,
            recovering: None,
            recovered: None,
            given_up: Cell::new(false),
        }
    }

    fn order(&self, order: Order) {
        // A worker that is gone answers by its absence.
        let _ = self.orders.send(order);
        self.bell.wake();
    }
}

const GONE: Status = Status { kind: StatusKind::Gone, bits: 0 };

// SAFETY: (1) a completion is passed on as it comes, and each token goes to the engine once or is reported as not run by
// the worker that then drops it; (2) a report passes through a queue, whose push releases and whose pop acquires what the
// engine wrote before; (3) `halt` is `Ok` only if the engine's own is, and `drop` waits until the engine was dropped; (4) transfers are
// passed on as they are; (5) what is asked once is remembered.
unsafe impl Engine for RemoteEngine {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn domain(&self) -> Arc<dyn DmaMap> {
        self.domain.clone()
    }

    fn numa_node(&self) -> Option<u32> {
        self.node
    }

    fn room(&self) -> usize {
        self.capabilities.depth.saturating_sub(self.outstanding)
    }

    unsafe fn enqueue(&mut self, token: Token, transfer: &Transfer) -> Result<(), EnqueueError> {
        let Capabilities { fill, host_memory, .. } = self.capabilities;
        match transfer.operation {
            Operation::Copy { .. } => {}
            Operation::Fill { .. } if fill => {}
            Operation::DeviceCopy { .. } if host_memory => {}
            Operation::DeviceFill { .. } if fill && host_memory => {}
            _ => return Err(EnqueueError::Unsupported),
        }
        let max = self.capabilities.max_transfer;
        if transfer.length == 0 || transfer.length > max {
            return Err(EnqueueError::TooLong { max });
        }
        if self.room() == 0 || self.link.transfers.push((token, *transfer)).is_err() {
            return Err(EnqueueError::Full);
        }
        self.outstanding += 1;
        self.fresh = true;
        Ok(())
    }

    fn submit(&mut self) {
        if std::mem::take(&mut self.fresh) {
            self.bell.ring();
        }
    }

    fn poll(&mut self, completions: &mut [Completion]) -> usize {
        let mut count = 0;
        for place in completions {
            let Some(completion) = self.link.completions.pop() else { break };
            self.outstanding = self.outstanding.saturating_sub(1);
            *place = completion;
            count += 1;
        }
        if let Some(payload) = self.link.take_panic() {
            panic::resume_unwind(payload);
        }
        count
    }

    fn recover(&mut self) -> Poll<Result<(), Status>> {
        if self.given_up.take() {
            // What the worker answers to that order, and has said of the engine since, is of no interest.
            (self.recovering, self.recovered) = (None, None);
        }
        let Some(answer) = &self.recovering else {
            let (sender, receiver) = mpsc::channel();
            self.recovering = Some(receiver);
            self.ordered += 1;
            self.order(Order::Recover(sender));
            return Poll::Pending;
        };
        if self.recovered.is_none() {
            self.recovered = match answer.try_recv() {
                Ok(outcome) => Some(outcome),
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Disconnected) => Some(Err(GONE)),
            };
        }
        // The worker reported everything before it answered.
        if self.recovered.is_none() || !self.link.completions.is_empty() {
            return Poll::Pending;
        }
        self.recovering = None;
        Poll::Ready(self.recovered.take().unwrap_or(Err(GONE)))
    }

    fn stuck(&self) -> Option<Status> {
        let stuck = self.link.stuck(self.ordered);
        if stuck.is_some() && self.recovering.is_some() {
            self.given_up.set(true);
        }
        stuck
    }

    fn halt(&mut self, deadline: Duration) -> Result<(), HaltError> {
        let (sender, answer) = mpsc::channel();
        self.order(Order::Halt(deadline, sender));
        let status = Status { kind: StatusKind::Hang, bits: 0 };
        answer.recv_timeout(deadline.saturating_add(GRACE)).unwrap_or(Err(HaltError { status }))
    }
}

impl Drop for RemoteEngine {
    fn drop(&mut self) {
        let (sender, answer) = mpsc::channel();
        self.order(Order::Drop(sender));
        if let Ok(Err(payload)) = answer.recv()
            && !thread::panicking()
        {
            panic::resume_unwind(payload);
        }
    }
}
