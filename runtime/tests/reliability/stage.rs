//! The device's side of a cell: time, steps and the gate, all of them moved by the poller's own register accesses.
//!
//! Nothing here runs by itself. The device takes its steps after every other read of CHANSTS, on the thread that reads:
//! the driver learns of them from the completion word first, or from the next read. The driver's clock goes on by a fixed time
//! with each such read and each look at a pending reset. So what happens is a function of the order in
//! which the poller accesses registers, and not of how fast it runs.
//!
//! The test's thread is the only other one. The *gate* keeps it apart: once shut, the next read of CHANSTS waits in it
//! until it opens again, and the poller with it. What is submitted meanwhile is taken in one turn, in its order. The read
//! that was held moves no step, so that the batch is in the channel before anything of it is carried out.
//!
//! While the test waits for futures it keeps *pace*: before each read of CHANSTS the poller waits until the test has polled
//! all that was woken and compared what said `Ok`. A read that shows progress is followed by one without a step, so that
//! whatever is told is compared before the device goes on. Else a driver that tells of an operation too early could
//! be right by then. Only the comparison depends on it: what happens is the same without.

use std::{
    panic::resume_unwind,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use dmaring_driver::ioat::Clock;
use dmaring_emulated::{Bar, Device};
use dmaring_ioat_spec::{
    RegisterIo,
    registers::{channel_base, table},
};

use crate::random::Random;

/// How far the driver's clock goes on with an access that waits.
const TICK: Duration = Duration::from_millis(10);
/// How long the test waits for the poller to come to the gate.
const PATIENCE: Duration = Duration::from_secs(60);

/// When the engine panics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Panic {
    /// In the look at CHANSTS after so many more descriptors.
    After(u64),
    /// While a reset is waited for.
    InReset,
}

#[derive(Debug)]
pub(crate) struct Stage {
    device: Device,
    nanoseconds: AtomicU64,
    script: Mutex<Script>,
    bell: Condvar,
}

#[derive(Debug)]
struct Script {
    random: Random,
    gate: Gate,
    /// The device goes as far as it can, whatever chance says.
    hurries: bool,
    /// The next read of CHANSTS is followed by a step.
    steps_next: bool,
    /// The test keeps pace.
    paced: bool,
    /// The poller waits for the test.
    waits: bool,
    panic: Option<Panic>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    Open,
    Shut,
    /// Shut, and the poller waits in it.
    Held,
}

/// Opens the gate when it is dropped, lest a test that fails leaves the poller in it.
#[must_use]
pub(crate) struct Shut<'a>(&'a Stage);

/// The test keeps pace until this is dropped.
#[must_use]
pub(crate) struct Pace(Arc<Stage>);

impl Stage {
    pub(crate) fn new(device: Device, random: Random) -> Arc<Self> {
        let script = Script {
            random,
            gate: Gate::Open,
            hurries: false,
            steps_next: false,
            paced: false,
            waits: false,
            panic: None,
        };
        let (nanoseconds, bell) = (AtomicU64::new(0), Condvar::new());
        Arc::new(Self { device, nanoseconds, script: Mutex::new(script), bell })
    }

    /// Shuts the gate.
    pub(crate) fn shut(&self) -> Shut<'_> {
        self.script().gate = Gate::Shut;
        Shut(self)
    }

    /// Waits until the poller is in the gate.
    pub(crate) fn wait_until_held(&self) {
        let (script, held) = (self.script(), |script: &mut Script| script.gate != Gate::Held);
        let outcome = self.bell.wait_timeout_while(script, PATIENCE, held);
        let (_script, timeout) = outcome.unwrap_or_else(PoisonError::into_inner);
        assert!(!timeout.timed_out(), "the poller did not read CHANSTS within {PATIENCE:?}");
    }

    /// Begins to keep pace.
    pub(crate) fn pace(self: &Arc<Self>) -> Pace {
        self.script().paced = true;
        Pace(self.clone())
    }

    /// From here on the device goes as far as it can with each step.
    pub(crate) fn hurry(&self) {
        self.script().hurries = true;
    }

    /// Has the engine panic.
    pub(crate) fn panic(&self, when: Panic) {
        let when = match when {
            Panic::After(descriptors) => Panic::After(self.device.executed() + descriptors),
            Panic::InReset => when,
        };
        self.script().panic = Some(when);
    }

    /// Whether the engine is still to panic.
    pub(crate) fn is_to_panic(&self) -> bool {
        self.script().panic.is_some()
    }

    /// Before a read of CHANSTS. Whether the device takes a step after it.
    fn before_status(&self) -> bool {
        self.tick();
        let mut script = self.script();
        if script.gate == Gate::Shut {
            (script.gate, script.steps_next) = (Gate::Held, true);
            self.bell.notify_all();
            let shut = |script: &mut Script| script.gate != Gate::Open;
            drop(self.bell.wait_while(script, shut).unwrap_or_else(PoisonError::into_inner));
            return false;
        }
        if script.paced && self.device.has_work() {
            script.waits = true;
            let waits = |script: &mut Script| script.waits && script.paced;
            script = self.bell.wait_while(script, waits).unwrap_or_else(PoisonError::into_inner);
        }
        script.steps_next = !script.steps_next;
        !script.steps_next
    }

    fn after_status(&self) {
        let mut script = self.script();
        let mut steps = 1 + script.random.below(4);
        if script.hurries {
            steps = u64::MAX;
        }
        if let Some(Panic::After(count)) = script.panic {
            steps = steps.min(count - self.device.executed());
        }
        // A completion word that arrives late is seen before anything else happens.
        while self.device.held_words() > 0 && steps > 0 && self.device.step(1) == 1 {
            steps = if self.device.held_words() > 0 { steps - 1 } else { 0 };
        }
        self.device.step(usize::try_from(steps).unwrap_or(usize::MAX));
        if let Some(Panic::After(count)) = script.panic
            && self.device.executed() == count
        {
            script.panic = None;
            drop(script);
            resume_unwind(Box::new("planned"));
        }
    }

    fn before_command(&self) {
        self.tick();
        let mut script = self.script();
        if script.panic == Some(Panic::InReset) {
            script.panic = None;
            drop(script);
            resume_unwind(Box::new("planned"));
        }
    }

    fn tick(&self) {
        self.nanoseconds.fetch_add(TICK.as_nanos() as u64, Ordering::Relaxed);
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pace {
    /// Whether the poller waits for the test.
    pub(crate) fn is_awaited(&self) -> bool {
        self.0.script().waits
    }

    /// Lets the poller go on.
    pub(crate) fn go_on(&self) {
        self.0.script().waits = false;
        self.0.bell.notify_all();
    }
}

impl Drop for Pace {
    fn drop(&mut self) {
        let mut script = self.0.script();
        (script.paced, script.waits) = (false, false);
        self.0.bell.notify_all();
    }
}

impl Drop for Shut<'_> {
    fn drop(&mut self) {
        self.0.script().gate = Gate::Open;
        self.0.bell.notify_all();
    }
}

/// The driver's clock, which accesses to registers move.
#[derive(Debug)]
pub(crate) struct StageClock(pub(crate) Arc<Stage>);

impl Clock for StageClock {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.0.nanoseconds.load(Ordering::Relaxed))
    }
}

/// The registers of the device's one channel, as the driver has them.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) bar: Bar,
    pub(crate) stage: Arc<Stage>,
}

impl RegisterIo for Wire {
    fn read8(&self, offset: u32) -> u8 {
        if offset == channel_base(0) + table::CHANCMD.offset {
            self.stage.before_command();
        }
        self.bar.read8(offset)
    }

    fn read16(&self, offset: u32) -> u16 {
        self.bar.read16(offset)
    }

    fn read32(&self, offset: u32) -> u32 {
        self.bar.read32(offset)
    }

    fn read64(&self, offset: u32) -> u64 {
        let is_status = offset == channel_base(0) + table::CHANSTS.offset;
        let moves = is_status && self.stage.before_status();
        let value = self.bar.read64(offset);
        if moves {
            self.stage.after_status();
        }
        value
    }

    fn write8(&self, offset: u32, value: u8) {
        self.bar.write8(offset, value);
    }

    fn write16(&self, offset: u32, value: u16) {
        self.bar.write16(offset, value);
    }

    fn write32(&self, offset: u32, value: u32) {
        self.bar.write32(offset, value);
    }

    fn write64(&self, offset: u32, value: u64) {
        self.bar.write64(offset, value);
    }
}
