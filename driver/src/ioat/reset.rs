//! The reset sequence, a step at a time: how a channel comes up, comes back and is stopped.
//!
//! It is the union of what Linux, SPDK, DPDK and FreeBSD do:
//!
//! ```text
//! Look ──active, idle──► CHANCMD = suspend ──► Suspending ──neither any more, or 100 ms──┐
//!   └─────────────────────────other states───────────────────────────────────────────────┤
//!        ┌────────────────────────────────────────────────────────────────────── Clear ◄─┘
//!        │  CHANERR and CHANERR_INT written back, CHANCMD = reset
//!        ▼
//!     Resetting ──reset bit 0──► CHANERR 0? ──to stop──► halted? CHANCTRL = 0 ──► done
//!      │  ▲  └─200 ms──► failed                  └──to run──► Arm
//!      └──┘ CHAINADDR = 0
//!        Arm: CHANCTRL, null descriptor, CHANCMP, CHAINADDR ──► Arming ──armed──► DMACOUNT = 1 ──►
//!        Proving ──idle, completion word written──► done
//! ```
//!
//! Each call of [`Reset::step`] does what one arrow says and never waits. A channel that was never started
//! does not reach *suspended*, and one that hangs does not either: both are reset all the same. Some parts
//! lose their MSI-X table in a reset; no interrupt is used here, so there is nothing to restore.
#![forbid(unsafe_code)]

use std::{
    sync::atomic::{Ordering::Release, fence},
    task::Poll,
    time::Duration,
};

use dmaring_ioat_spec::{
    RegisterIo,
    chanerr::ChannelError,
    descriptor::{ControlFlags, Descriptor},
    registers::{ChannelCommand, ChannelControl, ChannelState, ChannelStatus},
};

use super::{ResetError, hardware::Hardware};

/// How long a channel may take to be suspended. Source: the union of the drivers.
const SUSPEND_TIMEOUT: Duration = Duration::from_millis(100);
/// How long a reset may take. Source: Linux, DPDK.
const RESET_TIMEOUT: Duration = Duration::from_millis(200);
/// How long a state that follows at once may take: SPDK gives it 10 ms. In a virtual machine the time counts in which
/// neither it nor the device ran.
const STATE_TIMEOUT: Duration = Duration::from_millis(200);

/// How many descriptors have been carried out once a channel runs: the null one.
pub(super) const DONE_AT_START: u64 = 1;

/// Where a reset leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    /// The channel runs, and has carried out a null descriptor at index 0.
    Run,
    /// The channel has stopped and is given up.
    Stop,
    /// The channel has stopped, and is kept.
    Quiet,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Look,
    Suspending { until: Duration },
    Clear,
    Resetting { until: Duration },
    Arm,
    Arming { until: Duration },
    Proving { until: Duration },
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Reset {
    goal: Goal,
    step: Step,
    suspend_timeout: Duration,
    status: ChannelStatus,
    errors: ChannelError,
}

impl Reset {
    pub(super) fn new(goal: Goal) -> Self {
        let (status, errors) = (ChannelStatus::from_bits(0), ChannelError::empty());
        Self { goal, step: Step::Look, suspend_timeout: SUSPEND_TIMEOUT, status, errors }
    }

    /// The same, for somebody who waits no longer than this: half of it is kept for the reset itself.
    pub(super) fn within(self, timeout: Duration) -> Self {
        Self { suspend_timeout: SUSPEND_TIMEOUT.min(timeout / 2), ..self }
    }

    /// Where the reset is. It waits for the device when a step leaves this as it was.
    pub(super) fn place(&self) -> Step {
        self.step
    }

    /// What CHANERR said before it was written back.
    pub(super) fn errors(&self) -> ChannelError {
        self.errors
    }

    /// What CHANSTS said last before the channel was reset: its last completed descriptor.
    pub(super) fn last_status(&self) -> ChannelStatus {
        self.status
    }

    /// Does the next step. After `Ready` the reset is over and is not stepped again.
    pub(super) fn step<R: RegisterIo>(
        &mut self,
        hardware: &mut Hardware<R>,
    ) -> Poll<Result<(), ResetError>> {
        let next = match self.step {
            Step::Look => self.look(hardware),
            Step::Suspending { until } => self.suspending(hardware, until),
            Step::Clear => Ok(Some(self.clear(hardware))),
            Step::Resetting { until } => self.resetting(hardware, until),
            Step::Arm => Ok(Some(arm(hardware))),
            Step::Arming { until } => arming(hardware, until),
            Step::Proving { until } => proving(hardware, until),
        };
        match next {
            Ok(Some(step)) => {
                self.step = step;
                Poll::Pending
            }
            Ok(None) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    fn look<R: RegisterIo>(&mut self, hardware: &Hardware<R>) -> Result<Option<Step>, ResetError> {
        self.status = present(hardware)?;
        if !is_moving(self.status.state()) {
            return Ok(Some(Step::Clear));
        }
        hardware.registers.write_chancmd(ChannelCommand::SUSPEND);
        Ok(Some(Step::Suspending { until: hardware.clock.now() + self.suspend_timeout }))
    }

    fn suspending<R: RegisterIo>(
        &mut self,
        hardware: &Hardware<R>,
        until: Duration,
    ) -> Result<Option<Step>, ResetError> {
        self.status = present(hardware)?;
        if !is_moving(self.status.state()) {
            return Ok(Some(Step::Clear));
        }
        if hardware.clock.now() < until {
            return Ok(Some(self.step));
        }
        tracing::debug!(state = ?self.status.state(), "the channel was not suspended: reset all the same");
        Ok(Some(Step::Clear))
    }

    fn clear<R: RegisterIo>(&mut self, hardware: &Hardware<R>) -> Step {
        let registers = &hardware.registers;
        self.errors = registers.read_chanerr();
        registers.write_chanerr(self.errors);
        hardware.clear_internal_errors();
        registers.write_chancmd(ChannelCommand::RESET);
        Step::Resetting { until: hardware.clock.now() + RESET_TIMEOUT }
    }

    fn resetting<R: RegisterIo>(
        &self,
        hardware: &mut Hardware<R>,
        until: Duration,
    ) -> Result<Option<Step>, ResetError> {
        let registers = &hardware.registers;
        if registers.read_chancmd().contains(ChannelCommand::RESET) {
            present(hardware)?;
            if hardware.clock.now() >= until {
                return Err(ResetError::Timeout);
            }
            registers.write_chainaddr(0);
            return Ok(Some(self.step));
        }
        let errors = registers.read_chanerr();
        if !errors.is_empty() {
            present(hardware)?;
            return Err(ResetError::ErrorsStand(errors));
        }
        let status = present(hardware)?;
        // Armed is what a write of CHAINADDR leaves behind, and nothing is fetched before DMACOUNT says so.
        if !matches!(status.state(), ChannelState::Halted | ChannelState::Armed) {
            return Err(ResetError::NotHalted(status.state()));
        }
        hardware.memory.take_back();
        match self.goal {
            Goal::Run => return Ok(Some(Step::Arm)),
            Goal::Stop => hardware.release(),
            Goal::Quiet => {}
        }
        Ok(None)
    }
}

fn arm<R: RegisterIo>(hardware: &mut Hardware<R>) -> Step {
    hardware.unmute();
    let registers = &hardware.registers;
    registers.write_chanctrl(ChannelControl::ANY_ERROR_ABORT | ChannelControl::ERROR_COMPLETION);
    // Writing the in-use bit as 0 gave up the claim: the read takes it again.
    registers.claim();
    hardware.claimed = true;
    let null = Descriptor::null().with_flags(ControlFlags::COMPLETION_WRITE);
    hardware.memory.write_descriptor(0, &null);
    hardware.memory.next_completion();
    hardware.memory.lend();
    fence(Release);
    registers.write_chancmp(hardware.memory.completion_address());
    registers.write_chainaddr(hardware.memory.descriptor_address(0));
    Step::Arming { until: hardware.clock.now() + STATE_TIMEOUT }
}

fn arming<R: RegisterIo>(
    hardware: &Hardware<R>,
    until: Duration,
) -> Result<Option<Step>, ResetError> {
    match present(hardware)?.state() {
        ChannelState::Armed => {
            hardware.registers.write_dmacount(DONE_AT_START as u16);
            Ok(Some(Step::Proving { until: hardware.clock.now() + STATE_TIMEOUT }))
        }
        state if hardware.clock.now() >= until => Err(ResetError::NotArmed(state)),
        _ => Ok(Some(Step::Arming { until })),
    }
}

fn proving<R: RegisterIo>(
    hardware: &Hardware<R>,
    until: Duration,
) -> Result<Option<Step>, ResetError> {
    let state = present(hardware)?.state();
    if state == ChannelState::Halted {
        return Err(ResetError::Halted(hardware.registers.read_chanerr()));
    }
    let word = ChannelStatus::from_bits(hardware.memory.read_completion());
    let written = word.completed() == hardware.memory.descriptor_address(0);
    let idle = state == ChannelState::Idle;
    if idle && written {
        return Ok(None);
    }
    if hardware.clock.now() < until {
        return Ok(Some(Step::Proving { until }));
    }
    if !idle {
        return Err(ResetError::NotIdle(state));
    }
    // CHANSTS is read now and then anyhow, so the channel is slow without the word, and not lost.
    tracing::warn!("the channel carried out a null descriptor and wrote no completion word");
    Ok(None)
}

/// CHANSTS, of a device that is there.
fn present<R: RegisterIo>(hardware: &Hardware<R>) -> Result<ChannelStatus, ResetError> {
    let status = hardware.registers.read_chansts();
    if status.is_absent() { Err(ResetError::Absent) } else { Ok(status) }
}

fn is_moving(state: ChannelState) -> bool {
    matches!(state, ChannelState::Active | ChannelState::Idle)
}
