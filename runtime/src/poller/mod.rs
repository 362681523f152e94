//! The poller: one thread that drains the rings, checks every entry, drives the engines and posts completions.
//!
//! A turn takes what the rings hold, as far as there is room for the answers, feeds the lanes, takes their
//! completions, and publishes what ended. Everything a turn touches is the poller's own; it shares the
//! rings' words and the region table's atomics, and nothing else.

mod admit;
mod fence;
mod idle;
mod lane;
mod ops;
mod port;

use std::{sync::Arc, thread, time::Duration};

use dmaring_engine::Engine;
use dmaring_ring::{CompletionCode, SubmissionEntry, handshake};

pub use self::idle::Idle;
use self::{
    admit::{Admitted, admit, refuse},
    fence::Fences,
    idle::{Advice, Idler},
    lane::{Lane, Turn},
    ops::{Addresses, Failure, Ops, Route, Source},
    port::Port,
};
use crate::{
    client::RingPair,
    foreign,
    lifecycle::Outcome,
    op::Refused,
    park,
    shared::Shared,
    staging::{self, StagedRequest, StagingPort},
};

/// The application's port; the staging thread's is the other.
const APPLICATION: usize = 0;
/// How many entries are taken from a port in one turn.
const ENTRIES_PER_TURN: usize = 64;
/// How long an engine is given to stop.
const HALT: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Poller {
    shared: Arc<Shared>,
    lanes: Vec<Lane>,
    next_lane: usize,
    ops: Ops,
    fences: Fences,
    ports: Vec<Port>,
    staging: Option<Arc<StagingPort>>,
    idler: Idler,
    ended: Vec<usize>,
    closing: bool,
}

/// Builds lanes from engines, which then move to the poller's thread.
#[derive(Debug, Default)]
pub(crate) struct Lanes(Vec<Lane>);

impl Lanes {
    /// Adds an engine that works in the address space with index `domain`.
    pub(crate) fn add<E: Engine + 'static>(&mut self, engine: E, domain: usize, operations: usize) {
        self.0.push(Lane::new(engine, domain, operations));
    }
}

impl Poller {
    pub(crate) fn new(
        shared: Arc<Shared>,
        lanes: Lanes,
        entries: u32,
        idler: (Idle, bool),
    ) -> Self {
        // As many again for the staging thread's own.
        let operations = entries as usize + staging::ENTRIES as usize;
        Self {
            ports: vec![Port::application(shared.clone())],
            shared,
            lanes: lanes.0,
            next_lane: 0,
            ops: Ops::new(operations),
            fences: Fences::new(operations),
            staging: None,
            idler: Idler::new(idler.0, idler.1),
            ended: Vec::with_capacity(operations),
            closing: false,
        }
    }

    /// Runs until the runtime ends. Whatever happens, every operation is resolved by then.
    pub(crate) fn run(mut self) {
        let outcome = foreign::call(|| self.work()).unwrap_or_else(|| {
            tracing::error!("the poller panicked: every operation is resolved as lost");
            self.abandon(CompletionCode::ENGINE_LOST);
            Outcome::Lost
        });
        if let Some(staging) = self.shared.staging.get() {
            staging.stop();
        }
        self.shared.client.pair.orphan();
        let Self { shared, lanes, .. } = self;
        // The engines go before anybody may learn that the runtime has ended.
        if foreign::call(|| drop(lanes)).is_none() {
            tracing::error!("dropping an engine panicked: memory stays mapped for good");
            shared.lifecycle.leak();
        }
        shared.ring_event();
        shared.lifecycle.end(outcome);
    }

    fn work(&mut self) -> Outcome {
        loop {
            let progress = self.turn();
            if self.shared.client.pair.is_corrupt() {
                tracing::error!("the submission ring's shared words were overwritten");
                self.abandon(CompletionCode::ENGINE_LOST);
                return Outcome::Lost;
            }
            if let Some(deadline) = self.shared.lifecycle.deadline()
                && let Some(outcome) = self.try_end(deadline)
            {
                return outcome;
            }
            if progress {
                self.idler.reset();
                continue;
            }
            let busy = self.ops.len() > 0 || self.closing;
            let shared = &self.shared;
            if self.idler.pass(busy, || shared.clock.now()) == Advice::Park {
                self.park();
            }
        }
    }

    /// One turn. `true`: something was done.
    fn turn(&mut self) -> bool {
        let mut progress = false;
        for port in 0..self.ports.len() {
            progress |= self.take_entries(port);
        }
        for (number, lane) in self.lanes.iter_mut().enumerate() {
            let Some(counters) = self.shared.counters.engines.get(number) else { continue };
            let mut turn = Turn {
                ops: &mut self.ops,
                ended: &mut self.ended,
                counters,
                violations: 0,
                progress: false,
            };
            lane.turn(&mut turn);
            progress |= turn.progress;
            let violations = turn.violations;
            self.shared.counters.runtime.violations.add(violations);
        }
        progress |= !self.ended.is_empty();
        while let Some(op) = self.ended.pop() {
            self.finish(op);
        }
        for port in &mut self.ports {
            port.publish();
        }
        progress
    }

    fn take_entries(&mut self, port: usize) -> bool {
        for taken in 0..ENTRIES_PER_TURN {
            let Some(entry) = self.ports.get_mut(port).and_then(Port::take) else {
                return taken > 0;
            };
            if port != APPLICATION && entry.opcode == staging::DONE {
                self.finish_staged(&entry);
            } else {
                self.begin(port, &entry);
            }
        }
        true
    }

    /// Checks an entry and begins its operation, or answers that it is refused.
    fn begin(&mut self, port: usize, entry: &SubmissionEntry) {
        let counters = &self.shared.counters.runtime;
        if port == APPLICATION {
            counters.submitted.add(1);
        }
        let admitted = match admit(&self.shared.regions, port, entry) {
            Ok(admitted) => admitted,
            Err(failure) => {
                counters.failed.add(1);
                if let Some(port) = self.ports.get_mut(port) {
                    port.post(entry.key, Err(failure));
                }
                return;
            }
        };
        let Admitted { plan, fenced, staged } = admitted;
        let index = self.ops.insert(plan);
        if let Some(port) = self.ports.get_mut(port) {
            port.active += 1;
        }
        let mut begins = true;
        if let Some(op) = self.ops.get_mut(index) {
            if staged {
                op.route = Route::Staging;
            }
            // The staging thread's own copies are part of operations that have their place already.
            if port == APPLICATION {
                (op.group, begins) = self.fences.enter(index, fenced);
            }
        }
        if begins {
            self.start(index);
        }
    }

    /// Sends an operation that nothing holds back to where it is carried out.
    fn start(&mut self, index: usize) {
        let sent = match self.ops.get_mut(index).map(|op| op.route) {
            Some(Route::Staging) => self.send_to_staging(index),
            Some(_) => self.send_to_lane(index),
            None => return,
        };
        if let Err(failure) = sent {
            if let Some(op) = self.ops.get_mut(index) {
                op.fail(failure);
            }
            self.ended.push(index);
        }
    }

    /// Routes to the working engine with the least to do that has the operation.
    fn send_to_lane(&mut self, index: usize) -> Result<(), Failure> {
        let Some(op) = self.ops.get_mut(index) else { return Ok(()) };
        let is_fill = matches!(op.source, Source::Pattern(_));
        let count = self.lanes.len();
        // Of lanes with equal loads the next in turn.
        let best = (0..count)
            .map(|step| (self.next_lane + step) % count)
            .filter_map(|number| self.lanes.get(number).map(|lane| (number, lane)))
            .filter(|(_, lane)| !lane.is_lost() && (!is_fill || lane.state.capabilities.fill))
            .min_by_key(|(_, lane)| lane.state.load)
            .map(|(number, _)| number);
        let Some((number, lane)) = best.and_then(|best| Some((best, self.lanes.get_mut(best)?)))
        else {
            let lost = self.lanes.iter().all(Lane::is_lost);
            return Err(if lost {
                Failure::of(CompletionCode::ENGINE_LOST)
            } else {
                refuse(Refused::Unsupported)
            });
        };
        self.next_lane = (number + 1) % count;
        let regions = &self.shared.regions;
        let address = |region, offset| {
            regions.base(region, lane.state.domain).and_then(|base| base.checked_add(offset))
        };
        let destination = address(op.destination.0, op.destination.1);
        let source = match op.source {
            Source::Region(region, offset) => address(region, offset),
            Source::Pattern(_) => destination,
        };
        let (Some(source), Some(destination)) = (source, destination) else {
            return Err(refuse(Refused::Unmapped));
        };
        let part = lane.state.capabilities.max_transfer;
        if !op.route_to(number, part, Addresses { source, destination }) {
            return Err(refuse(Refused::TooLong));
        }
        lane.push(index, op.length);
        Ok(())
    }

    fn send_to_staging(&mut self, index: usize) -> Result<(), Failure> {
        let lost = Failure::of(CompletionCode::ENGINE_LOST);
        if self.staging.is_none() {
            let port =
                self.shared.staging.get().map(|staging| staging.port().clone()).ok_or(lost)?;
            self.ports.push(Port::staging(port.clone()));
            self.staging = Some(port);
        }
        let name = self.ops.name(index).ok_or(lost)?;
        let Some(op) = self.ops.get_mut(index) else { return Ok(()) };
        let request = StagedRequest {
            name,
            source: match op.source {
                Source::Region(region, offset) => staging::Source::Region(region, offset),
                Source::Pattern(pattern) => staging::Source::Pattern(pattern),
            },
            destination: op.destination,
            length: op.length,
        };
        let sent = self.staging.as_ref().is_some_and(|staging| staging.send(request));
        if sent { Ok(()) } else { Err(lost) }
    }

    /// The staging thread says that an operation has ended.
    fn finish_staged(&mut self, entry: &SubmissionEntry) {
        let Some(index) = self.ops.find_named(entry.key) else {
            self.shared.counters.runtime.violations.add(1);
            return;
        };
        let outcome = staging::outcome(entry);
        let Some(op) = self.ops.get_mut(index).filter(|op| op.route == Route::Staging) else {
            self.shared.counters.runtime.violations.add(1);
            return;
        };
        if let Err((code, kind, bits, offset)) = outcome {
            op.fail(Failure { code, kind, bits, offset });
        }
        self.ended.push(index);
    }

    /// Answers an operation that has ended, and begins what waited for it.
    fn finish(&mut self, index: usize) {
        let Some(op) = self.ops.remove(index) else { return };
        let outcome = match op.route {
            Route::Staging => op.failure().map_or(Ok(()), Err),
            _ => op.ended().unwrap_or(Err(Failure::of(CompletionCode::ENGINE_LOST))),
        };
        if let Route::Lane(lane) = op.route
            && let Some(lane) = self.lanes.get_mut(lane)
        {
            lane.state.load = lane.state.load.saturating_sub(op.length);
        }
        if op.port == APPLICATION {
            let counters = &self.shared.counters.runtime;
            match outcome {
                Ok(()) => {
                    counters.completed.add(1);
                    counters.bytes.add(op.length);
                }
                Err(_) => counters.failed.add(1),
            }
        }
        if let Some(port) = self.ports.get_mut(op.port) {
            port.active = port.active.saturating_sub(1);
            port.post(op.key, outcome);
        }
        self.fences.leave(op.group);
        while let Some(released) = self.fences.next_released() {
            self.start(released);
        }
    }

    /// Sleeps until somebody pushes or asks for the end. Nothing is in flight.
    fn park(&mut self) {
        self.shared.client.reap();
        if let Some(port) = self.ports.get(APPLICATION) {
            port.retire_notify();
        }
        let header = self.shared.client.pair.header();
        handshake::prepare_park(header);
        let idle = self.ports.iter().all(Port::is_empty);
        let shared = &self.shared;
        if idle && shared.lifecycle.deadline().is_none() && !shared.client.pair.is_corrupt() {
            self.shared.counters.runtime.parks.add(1);
            park::wait(header.need_wakeup_word());
        }
        handshake::cancel_park(header);
        self.idler.reset();
    }

    /// Takes a step towards the end; `Some` when it is reached.
    fn try_end(&mut self, deadline: Duration) -> Option<Outcome> {
        let client = &self.shared.client;
        if !self.closing {
            self.closing = true;
            client.permits.close();
        }
        if client.refuse_waiters(CompletionCode::SHUTDOWN) {
            self.shared.ring_event();
        }
        client.reap();
        if client.permits.is_drained() && self.ops.len() == 0 {
            return Some(self.halt(Outcome::Drained, 0));
        }
        if self.shared.clock.now() < deadline {
            return None;
        }
        let given_up = client.permits.out();
        tracing::error!(
            operations = given_up,
            "shutdown: the deadline passed, operations are given up"
        );
        Some(self.abandon_after_halt(CompletionCode::SHUTDOWN, given_up))
    }

    fn abandon_after_halt(&mut self, code: CompletionCode, given_up: u64) -> Outcome {
        let outcome = self.halt(Outcome::GivenUp(given_up), given_up);
        self.resolve_rest(code);
        outcome
    }

    /// Gives up: stops what can be stopped, resolves what is left.
    fn abandon(&mut self, code: CompletionCode) {
        if foreign::call(|| self.halt(Outcome::Lost, 0)).is_none() {
            tracing::error!("halting an engine panicked: memory stays mapped for good");
            self.shared.lifecycle.leak();
        }
        self.shared.client.permits.close();
        self.resolve_rest(code);
    }

    /// Halts every engine. One that does not stop may still touch memory, all of which is leaked.
    fn halt(&mut self, otherwise: Outcome, given_up: u64) -> Outcome {
        let mut outcome = otherwise;
        for lane in &mut self.lanes {
            if let Err(error) = lane.halt(HALT) {
                tracing::error!(%error, "memory that the engine may touch stays mapped for good");
                self.shared.lifecycle.leak();
                outcome = Outcome::Leaked(given_up);
            }
        }
        outcome
    }

    /// Resolves everything in flight, until every permit is at home: threads between taking a permit and
    /// pushing are waited for.
    fn resolve_rest(&mut self, code: CompletionCode) {
        let client = &self.shared.client;
        loop {
            client.refuse_waiters(code);
            client.reap();
            client.resolve_all(code);
            if client.permits.is_drained() {
                return;
            }
            thread::yield_now();
        }
    }
}
