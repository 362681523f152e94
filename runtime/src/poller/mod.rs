//! The poller: one thread that drains the rings, checks every entry, drives the engines and posts completions.
//!
//! A turn takes what the rings hold, as far as there is room for the answers, feeds the lanes, takes their
//! completions, and publishes what ended. Everything a turn touches is the poller's own; it shares the
//! rings' words, the region table's atomics and those that say where copies are that come together, and nothing else.

mod admit;
mod bundled;
mod captive;
mod deadlines;
mod doze;
mod durable;
mod end;
mod fence;
mod idle;
mod keys;
mod lane;
mod lanes;
mod line;
mod notice;
mod ops;
mod pace;
mod pieces;
mod port;
mod quiet;
mod recovery;
mod route;
mod sampler;
mod short;
mod split;
mod table;
mod transfers;
mod vectored;
mod watch;

use std::sync::Arc;

use dmaring_ring::{CompletionCode, Key, Opcode, SubmissionEntry, handshake};

pub use self::idle::Idle;
pub(crate) use self::idle::{Advice, Idler};
use self::{
    admit::{Admitted, admit},
    bundled::admit_bundle,
    deadlines::Deadlines,
    fence::Fences,
    keys::Keys,
    lane::Lane,
    line::Turn,
    ops::{ActiveOp, Route, Source},
    pace::Pace,
    port::Port,
    sampler::Samples,
    short::Short,
    split::Splits,
    table::Ops,
    vectored::admit_vectored,
};
pub(crate) use self::{lane::LaneSettings, lanes::Lanes, recovery::Retirement};
use crate::{
    client::RingPair,
    foreign,
    lifecycle::Outcome,
    park, quiesce,
    restore::Order,
    shared::Shared,
    staging::{self, StagingPort},
};

/// The application's port; the staging thread's is the other.
const APPLICATION: usize = 0;
/// How many entries are taken from a port in one turn.
const ENTRIES_PER_TURN: usize = 64;

#[derive(Debug)]
pub(crate) struct Poller {
    shared: Arc<Shared>,
    lanes: Vec<Lane>,
    short: Short,
    pace: Pace,
    next_lane: usize,
    /// Whether engines are on different NUMA nodes, so that it matters where regions are.
    is_spread: bool,
    splits: Splits,
    ops: Ops,
    /// Of the application's port.
    keys: Keys,
    fences: Fences,
    deadlines: Deadlines,
    samples: Samples,
    ports: Vec<Port>,
    staging: Option<Arc<StagingPort>>,
    idler: Idler,
    turns: u32,
    ended: Vec<usize>,
    moved: Vec<usize>,
    /// Operations that are being made durable.
    persisting: usize,
    /// Who waits for an engine to be brought back.
    restoring: Vec<Order>,
    /// Who waits for a region to be quiet.
    quiescing: Vec<quiesce::Order>,
    /// How many of the application's operations an engine has that was lost and keeps them.
    captives: usize,
    closing: bool,
}

impl Poller {
    /// How many operations there may be at a time: those of the ring, the staging thread's own, and pieces.
    pub(crate) fn operations(entries: u32) -> usize {
        entries as usize + staging::ENTRIES as usize + split::PIECES
    }

    pub(crate) fn new(
        shared: Arc<Shared>,
        lanes: Lanes,
        entries: u32,
        idler: (Idle, bool),
    ) -> Self {
        let operations = Self::operations(entries);
        let mut nodes = lanes.0.iter().map(|lane| lane.line.node);
        let first = nodes.next();
        Self {
            is_spread: nodes.any(|node| Some(node) != first),
            splits: Splits::default(),
            // On one CPU whoever could reap waits for this thread.
            ports: vec![Port::application(shared.clone(), !idler.1)],
            shared,
            short: Short::new(&lanes.0),
            // On one CPU nobody writes meanwhile.
            pace: Pace::new(!idler.1),
            lanes: lanes.0,
            next_lane: 0,
            ops: Ops::new(operations),
            keys: Keys::new(entries),
            fences: Fences::new(operations),
            deadlines: Deadlines::new(operations),
            samples: Samples::new(operations),
            staging: None,
            idler: Idler::new(idler.0, idler.1),
            turns: 0,
            ended: Vec::with_capacity(operations),
            moved: Vec::with_capacity(operations),
            persisting: 0,
            restoring: Vec::new(),
            quiescing: Vec::new(),
            captives: 0,
            closing: false,
        }
    }

    /// Runs until the runtime ends. Whatever happens, every operation is resolved by then.
    pub(crate) fn run(mut self) {
        let outcome = foreign::call(|| self.work()).unwrap_or_else(|| {
            let shared = Arc::clone(&self.shared);
            end::after_panic(&shared.lifecycle, || self.abandon(CompletionCode::ENGINE_LOST))
        });
        if let Some(staging) = self.shared.staging.get() {
            staging.stop();
        }
        self.shared.client.pair.orphan();
        let Self { shared, lanes, restoring, quiescing, .. } = self;
        for lane in lanes {
            // The engines go before anybody may learn that the runtime has ended.
            if foreign::call(|| drop(lane)).is_none() {
                tracing::error!("dropping an engine panicked: memory stays mapped for good");
                shared.lifecycle.leak();
            }
        }
        drop(restoring);
        shared.restores.close();
        drop(quiescing);
        shared.quiesce.close();
        shared.counters.end();
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
                if self.lets_gather() {
                    let clock = &self.shared.clock;
                    self.idler.hold(|| clock.now());
                    if let Some(port) = self.ports.get_mut(APPLICATION) {
                        port.moved(notice::BYTES_PER_HOLD);
                    }
                }
                continue;
            }
            // What else keeps it awake stands on other cores' lines, and is of interest only when it may sleep.
            let busy =
                self.ops.len() > 0 || self.closing || self.idler.may_advise() && self.is_watching();
            let shared = &self.shared;
            match self.idler.pass(busy, || shared.clock.now()) {
                Advice::Again if busy => {}
                Advice::Again => self.glance(),
                Advice::Doze => self.doze(busy),
                Advice::Park => self.park(),
            }
        }
    }

    /// Looks at the rings some more before the next turn.
    #[inline]
    fn glance(&mut self) {
        let ports = &self.ports;
        let glances = self.idler.glance(|| ports.iter().any(|port| !port.is_empty()));
        if let Some(port) = self.ports.get_mut(APPLICATION) {
            // Each takes about as long as a turn.
            port.moved(u64::from(glances) * notice::BYTES_PER_TURN);
        }
    }

    /// One turn. `true`: something was done.
    fn turn(&mut self) -> bool {
        self.watch();
        let mut progress = false;
        for port in 0..self.ports.len() {
            progress |= self.take_entries(port);
        }
        self.tell_short();
        let mut lost = false;
        for (number, lane) in self.lanes.iter_mut().enumerate() {
            let Some(counters) = self.shared.counters.engines.get(number) else { continue };
            let mut turn = Turn {
                ops: &mut self.ops,
                ended: &mut self.ended,
                moved: &mut self.moved,
                counters,
                clock: &*self.shared.clock,
                violations: 0,
                bytes: 0,
                progress: false,
                lost: false,
            };
            lane.turn(&mut turn);
            if turn.progress {
                counters.in_flight.set(lane.line.outstanding());
            }
            progress |= turn.progress;
            lost |= turn.lost;
            let violations = turn.violations;
            if let Some(port) = self.ports.get_mut(APPLICATION) {
                port.moved(turn.bytes);
            }
            self.shared.counters.runtime.violations.add(violations);
        }
        if lost {
            self.take_captives();
        }
        while let Some(op) = self.moved.pop() {
            self.go_elsewhere(op);
        }
        if self.persisting > 0 {
            self.take_persisted();
        }
        progress |= !self.ended.is_empty();
        while let Some(op) = self.ended.pop() {
            self.finish(op);
        }
        if progress && let Some(port) = self.ports.get(APPLICATION) {
            self.shared.counters.runtime.in_flight.set(port.active as u64);
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
            } else if port != APPLICATION && entry.opcode == staging::HELD {
                self.hold_staged(&entry);
            } else if port != APPLICATION || !self.carry_out(&entry) {
                self.begin(port, &entry);
            } else if self.short.has_had_its_turn() {
                break;
            }
        }
        true
    }

    /// Checks an entry and begins its operation, or answers that it is refused.
    fn begin(&mut self, port: usize, entry: &SubmissionEntry) {
        let copies = bundled::copies(entry);
        if port == APPLICATION && !self.enter_key(entry.key, copies) {
            return;
        }
        let counters = &self.shared.counters.runtime;
        let admitted = match entry.opcode {
            Opcode::COPY_VECTORED => admit_vectored(&self.shared, port, entry),
            Opcode::COPY_BUNDLE => admit_bundle(&self.shared, port, entry),
            _ => admit(&self.shared.regions, self.shared.policy, port, entry),
        };
        let admitted = match admitted {
            // It would wait for an engine that may never let go.
            Ok(admitted) if admitted.fenced && self.captives > 0 => Err(captive::behind_captive()),
            admitted => admitted,
        };
        let admitted = match admitted {
            Ok(admitted) => admitted,
            Err(failure) => {
                counters.failed.add(copies.into());
                if port == APPLICATION {
                    self.keys.leave(entry.key.index);
                }
                if let Some(port) = self.ports.get_mut(port) {
                    port.post(entry.key, Err(failure));
                }
                return;
            }
        };
        let Admitted { plan, fenced, staged } = admitted;
        let (deadline, length) = (plan.deadline, plan.length);
        if deadline != 0 && deadline <= self.shared.micros() {
            return self.refuse_late(port, entry.key);
        }
        let index = self.ops.insert(plan);
        if deadline != 0 {
            self.deadlines.enter(index, deadline);
        }
        let mut weight = None;
        if let Some(port) = self.ports.get_mut(port) {
            port.owed += port::ENTRIES_PER_OPERATION;
            port.active += 1;
            weight = if copies > 1 {
                port.bundles.weigh_together(copies)
            } else {
                port.sampler.weigh(length)
            };
        }
        let mut begins = true;
        if let Some(op) = self.ops.get_mut(index) {
            if let Some(weight) = weight {
                op.is_sampled = true;
                self.samples.begin(index, weight, self.shared.nanos());
            }
            if staged {
                op.route = Route::Staging;
            }
            // The staging thread's own copies are part of operations that have their place already.
            if port == APPLICATION {
                (op.group, begins) = self.fences.enter(index, fenced);
                op.is_held = !begins;
            }
        }
        if begins {
            self.start(index);
        }
    }

    /// Counts an entry of the application's, unless it is refused for its key: see [`keys`].
    fn enter_key(&mut self, key: Key, copies: u32) -> bool {
        let is_in = self.keys.enter(key.index) || self.enter_beside(key);
        let counters = &self.shared.counters.runtime;
        if is_in {
            counters.submitted.add(copies.into());
        } else {
            counters.violations.add(1);
        }
        is_in
    }

    /// Sends an operation that nothing holds back to where it is carried out.
    fn start(&mut self, index: usize) {
        let Some(op) = self.ops.get_mut(index) else { return };
        op.is_held = false;
        let (route, source, length, port) = (op.route, op.source, op.length, op.port);
        let sent = match (route, source) {
            (Route::Staging, _) => self.send_to_staging(index),
            (_, Source::Nothing) => {
                self.ended.push(index);
                Ok(())
            }
            (_, Source::Segments(list)) => return self.send_segments(index, list),
            (_, Source::Bundle(..)) => return self.send_bundle(index),
            _ => {
                if port == APPLICATION
                    && let Some(stripes) = self.shared.steering.stripes(length)
                    && self.send_stripes(index, stripes)
                {
                    return;
                }
                self.send_to_lane(index, false)
            }
        };
        if let Err(failure) = sent {
            if let Some(op) = self.ops.get_mut(index) {
                op.fail(failure);
            }
            self.ended.push(index);
        }
    }

    /// Answers an operation that has ended, and begins what waited for it.
    fn finish(&mut self, index: usize) {
        if self.ops.get(index).is_some_and(ActiveOp::is_to_persist) && self.persist(index) {
            return;
        }
        let Some(op) = self.ops.remove(index) else { return };
        if op.deadline != 0 {
            self.deadlines.leave(index);
        }
        let outcome = op.outcome();
        if let Route::Lane(lane) = op.route
            && let Some(lane) = self.lanes.get_mut(lane)
        {
            lane.line.load = lane.line.load.saturating_sub(op.length);
        }
        if op.port == split::PORT {
            return self.finish_piece(index, &op, outcome);
        }
        if op.port == APPLICATION {
            self.keys.leave(op.key.index);
        }
        if op.port == APPLICATION && !op.told_early {
            let counters = &self.shared.counters.runtime;
            match outcome {
                Ok(()) => {
                    counters.completed.add(op.copies());
                    counters.bytes.add(op.length);
                    if op.is_retrying() {
                        counters.retried.add(1);
                    }
                }
                // Of a mixed bundle those that were made were counted.
                Err(failure) => counters.failed.add(failure.failed_of(op.copies())),
            }
        }
        if let Some(port) = self.ports.get_mut(op.port) {
            let owed = port::ENTRIES_PER_OPERATION - usize::from(op.told_early);
            port.owed = port.owed.saturating_sub(owed);
            port.active = port.active.saturating_sub(1);
            if op.told_early {
                port.post_release(op.key);
            } else {
                port.post(op.key, outcome);
            }
        }
        if op.is_captive && op.port == APPLICATION {
            self.captives = self.captives.saturating_sub(1);
        }
        if op.is_sampled && outcome.is_ok() {
            self.measure(index, op.port, op.route);
        }
        self.fences.leave(op.group);
        while let Some(released) = self.fences.next_released() {
            self.start(released);
        }
    }

    /// Sleeps until somebody pushes, waits for a place until a deadline, or asks for the end or for an engine to be
    /// brought back. Nothing is in flight.
    fn park(&mut self) {
        self.shared.client.reap();
        if let Some(port) = self.ports.get(APPLICATION) {
            port.retire_notify();
        }
        let header = self.shared.client.pair.header();
        handshake::prepare_park(header);
        let idle = self.ports.iter().all(Port::is_empty) && !self.is_watching();
        let shared = &self.shared;
        if idle && shared.lifecycle.deadline().is_none() && !shared.client.pair.is_corrupt() {
            self.shared.counters.runtime.parks.add(1);
            park::wait(header.need_wakeup_word());
        }
        handshake::cancel_park(header);
        // Engines are polled for a while, whatever woke it: what they have to say of themselves they say then.
        self.idler.reset();
    }
}
