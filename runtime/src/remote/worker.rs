//! The worker's side: a thread that drives the engines it was given.
#![allow(unsafe_code, reason = "island: hands memory to an engine on the poller's word")]

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        mpsc::{self, Receiver, Sender},
    },
    task::Poll,
    thread,
    time::Instant,
};

use dmaring_engine::{
    Completion, Engine, EnqueueError, HaltError, Outcome, Status, StatusKind, Token, Transfer,
};

use super::link::{Bell, Link, Order};
use crate::{
    foreign, housekeeper, placement,
    poller::{Advice, Idle, Idler},
};

/// How many completions are taken at a time.
const BATCH: usize = 64;
/// How many turns pass between two questions whether an engine is stuck.
const TURNS_PER_LOOK: u32 = 64;

/// A thread that drives engines, from outside.
#[derive(Debug)]
pub(crate) struct Worker {
    engines: Sender<Box<dyn Work>>,
    bell: Arc<Bell>,
}

/// One engine, driven a turn at a time.
trait Work: Send {
    /// Whether something was done; `None`: the engine was dropped.
    fn turn(&mut self) -> Option<bool>;
    /// Whether it has transfers, or is being reset.
    fn is_busy(&self) -> bool;
    /// Whether transfers wait for it.
    fn has_work(&self) -> bool;
}

struct Driven<E> {
    /// Taken when it is dropped.
    engine: Option<E>,
    link: Arc<Link>,
    orders: Receiver<Order>,
    /// Taken from the queue, when the engine had no room after all.
    waiting: Option<(Token, Transfer)>,
    outstanding: usize,
    /// What is handed over is not run until the engine has recovered.
    failed: bool,
    recovering: Option<Sender<Result<(), Status>>>,
    /// How many orders to recover there were.
    ordered: u64,
    /// How many of them the engine has begun with.
    obeyed: u64,
    panicked: bool,
    turns: u32,
}

impl Worker {
    /// Starts a thread, on the cores of a node if that is known.
    pub(super) fn start(node: Option<u32>, idle: (Idle, bool)) -> io::Result<Self> {
        let (engines, hired) = mpsc::channel();
        let bell = Arc::new(Bell::default());
        let listening = bell.clone();
        placement::without_signals(|| {
            thread::Builder::new().name("dmaring-engine".into()).spawn(move || {
                housekeeper::enter_service_thread();
                if let Some(node) = node
                    && let Err(error) = placement::pin_to_node(node)
                {
                    tracing::debug!(node, %error, "the engines' thread floats");
                }
                run(&hired, &listening, Idler::new(idle.0, idle.1));
            })
        })?;
        Ok(Self { engines, bell })
    }

    pub(super) fn bell(&self) -> Arc<Bell> {
        self.bell.clone()
    }

    /// Takes an engine, and gives the way to order it about.
    pub(super) fn hire<E: Engine + 'static>(&self, engine: E, link: Arc<Link>) -> Sender<Order> {
        let (sender, orders) = mpsc::channel();
        let driven = Driven {
            engine: Some(engine),
            link,
            orders,
            waiting: None,
            outstanding: 0,
            failed: false,
            recovering: None,
            ordered: 0,
            obeyed: 0,
            panicked: false,
            turns: 0,
        };
        // The thread lives until this is dropped and its engines are, too.
        let _ = self.engines.send(Box::new(driven));
        self.bell.wake();
        sender
    }
}

/// Drives engines until all were dropped and no more can come.
fn run(hired: &Receiver<Box<dyn Work>>, bell: &Bell, mut idler: Idler) {
    bell.listen();
    let mut engines: Vec<Box<dyn Work>> = Vec::new();
    let begin = Instant::now();
    loop {
        if engines.is_empty() {
            // Nothing to drive: waits for an engine, or for the end.
            match hired.recv() {
                Ok(engine) => engines.push(engine),
                Err(_) => return,
            }
        }
        engines.extend(hired.try_iter());
        let mut progress = false;
        engines.retain_mut(|engine| match engine.turn() {
            Some(done) => {
                progress |= done;
                true
            }
            None => false,
        });
        if progress {
            idler.reset();
            continue;
        }
        let busy = engines.iter().any(|engine| engine.is_busy());
        match idler.pass(busy, || begin.elapsed()) {
            Advice::Again => {}
            // Transfers come through a queue whose line is not known here.
            Advice::Doze => idler.doze(busy, None),
            Advice::Park => {
                bell.sleep(|| engines.iter().any(|engine| engine.has_work()));
                idler.reset();
            }
        }
    }
}

impl<E: Engine> Work for Driven<E> {
    fn turn(&mut self) -> Option<bool> {
        let mut progress = false;
        while let Ok(order) = self.orders.try_recv() {
            progress = true;
            self.obey(order)?;
        }
        if self.panicked {
            return Some(progress);
        }
        match catch_unwind(AssertUnwindSafe(|| self.drive())) {
            Ok(done) => Some(progress | done),
            Err(payload) => {
                self.panicked = true;
                self.link.panic(payload);
                Some(true)
            }
        }
    }

    fn is_busy(&self) -> bool {
        let waits = self.waiting.is_some() || self.recovering.is_some();
        !self.panicked && (self.outstanding > 0 || waits)
    }

    fn has_work(&self) -> bool {
        !self.link.transfers.is_empty()
    }
}

impl<E: Engine> Driven<E> {
    /// `None`: the engine was dropped.
    fn obey(&mut self, order: Order) -> Option<()> {
        match order {
            Order::Recover(answer) => {
                self.recovering = Some(answer);
                self.ordered += 1;
            }
            Order::Halt(deadline, answer) => {
                let engine = self.engine.as_mut()?;
                let status = Status { kind: StatusKind::Unspecified, bits: 0 };
                let outcome = foreign::call(|| engine.halt(deadline));
                // Nobody listens who has given up waiting.
                let _ = answer.send(outcome.unwrap_or(Err(HaltError { status })));
                // Nothing is begun after it.
                self.failed = true;
            }
            Order::Drop(answer) => {
                let engine = self.engine.take();
                let _ = answer.send(catch_unwind(AssertUnwindSafe(|| drop(engine))));
                return None;
            }
        }
        Some(())
    }

    fn drive(&mut self) -> bool {
        let mut progress = self.feed();
        progress |= self.collect();
        if self.recovering.is_some() {
            progress = true;
            self.step_recovery();
        }
        self.turns = self.turns.wrapping_add(1);
        if self.turns.is_multiple_of(TURNS_PER_LOOK) {
            self.look();
        }
        progress
    }

    /// Says whether the engine is stuck. One that is has not recovered, and is not asked to until there is another order.
    fn look(&mut self) {
        let stuck = self.engine.as_ref().and_then(|engine| engine.stuck());
        self.link.set_stuck(stuck, self.obeyed);
        if let Some(status) = stuck
            && self.obeyed == self.ordered
            && let Some(answer) = self.recovering.take()
        {
            let _ = answer.send(Err(status));
        }
    }

    fn feed(&mut self) -> bool {
        let Some(engine) = &mut self.engine else { return false };
        let mut fed = false;
        while self.link.room() > 0
            && let Some((token, transfer)) =
                self.waiting.take().or_else(|| self.link.transfers.pop())
        {
            if self.failed {
                report(&self.link, token, Outcome::NotRun);
                continue;
            }
            // SAFETY: (1) the poller swore for this transfer, whose ranges are mapped in this engine's domain, when it
            // handed it over; (2) its memory stays until the token is reported, which is done by this thread, or until the
            // engine was halted or dropped.
            match unsafe { engine.enqueue(token, &transfer) } {
                Ok(()) => {
                    fed = true;
                    self.outstanding += 1;
                }
                Err(EnqueueError::Full) => {
                    self.waiting = Some((token, transfer));
                    break;
                }
                Err(refusal) => {
                    tracing::error!(engine = engine.name(), %refusal, "the engine refused a transfer within its own limits");
                    let status = Status { kind: StatusKind::Unspecified, bits: 0 };
                    report(&self.link, token, Outcome::Failed(status));
                    self.failed = true;
                }
            }
        }
        if fed {
            engine.submit();
        }
        fed
    }

    fn collect(&mut self) -> bool {
        let Some(engine) = &mut self.engine else { return false };
        let empty = Completion { token: Token::new(0), outcome: Outcome::Done };
        let mut completions = [empty; BATCH];
        // An engine that tells an end twice takes room from others: they wait in it until there is some.
        let room = self.link.room().min(BATCH);
        let Some(places) = completions.get_mut(..room).filter(|places| !places.is_empty()) else {
            return false;
        };
        let count = engine.poll(places).min(room);
        for completion in completions.iter().take(count) {
            self.failed |= completion.outcome != Outcome::Done;
            self.outstanding = self.outstanding.saturating_sub(1);
            report(&self.link, completion.token, completion.outcome);
        }
        count > 0
    }

    /// A step of the reset, once nothing of what was handed over is left that is not in the engine.
    #[cold]
    fn step_recovery(&mut self) {
        self.failed = true;
        self.feed();
        if self.waiting.is_some() || self.has_work() {
            return;
        }
        let Some(engine) = &mut self.engine else { return };
        self.obeyed = self.ordered;
        if let Poll::Ready(outcome) = engine.recover() {
            // The poller must not hear that it works before it hears that it is stuck.
            let stuck = engine.stuck();
            self.link.set_stuck(stuck, self.obeyed);
            let outcome = stuck.map_or(outcome, Err);
            self.failed = outcome.is_err();
            if let Some(answer) = self.recovering.take() {
                let _ = answer.send(outcome);
            }
        }
    }
}

/// Passes an end on. There is room: it was asked for, and only the poller changes it.
fn report(link: &Link, token: Token, outcome: Outcome) {
    if link.completions.push(Completion { token, outcome }).is_err() {
        tracing::error!("there was no room for an engine's report, which is lost");
    }
}
