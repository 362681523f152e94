//! What becomes of a channel that stops, and how it is brought back.
//!
//! ```text
//!          halted, or gone, with transfers          every token told, recover
//! Running ─────────────────────────────────► Stopped ──────────────► Recovering ──► Running
//!  │ │                                        ▲  ▲                         │
//!  │ └─halted with none─► HaltedIdle ──submit─┘  │                      ▲  └─fails─► Lost
//!  └───no progress, no answer─► Quieting ──reset─┘                      └──recover──┘
//! ```
//!
//! A halt by the caller leads from each of them to Ended, for good.
//!
//! A halt shows in the completion word or, where nothing was written, in CHANSTS, which is read after so
//! many polls without news; nothing is classified before CHANSTS has said *halted*. Then each outstanding
//! token is told once: done up to the last completed descriptor, failed for the transfer after it, not run
//! for those behind. Where the device names no completed descriptor, or one that cannot be, the first
//! outstanding transfer is the one that failed. A device that is gone cannot say how far it came: all that
//! it had has failed. But registers that do not answer are no proof that it is gone: nothing is told before it is shown to be
//! cut off from memory (see [`super::mastering`]). Where that cannot be shown, it counts as one that does not stop.
//!
//! A channel that hangs may still touch memory. Its tokens are told only when a reset has stopped it; until
//! then it is reset again and again, and after the first attempt that failed it says of itself that it is stuck.
#![forbid(unsafe_code)]

use std::{
    sync::atomic::{Ordering::Acquire, fence},
    task::Poll,
    time::Duration,
};

use dmaring_engine::{Completion, HaltError, Status, StatusKind};
use dmaring_ioat_spec::{
    RegisterIo,
    chanerr::ChannelError,
    registers::{ChannelState, ChannelStatus},
};

use super::{
    Causes, IoatChannel, ResetError,
    chanerr::status_of,
    host::REQUESTED,
    reset::{Goal, Reset},
    ring::Verdict,
};

const GONE: Status = Status { kind: StatusKind::Gone, bits: u32::MAX };
const HANG: Status = Status { kind: StatusKind::Hang, bits: 0 };

/// After how long a device that does not answer is looked at again.
const AGAIN: Duration = Duration::from_millis(100);

/// How long a drop waits for the channel to stop.
const DROP_TIMEOUT: Duration = Duration::from_millis(500);

/// How many steps a call that blocks makes at most, lest a clock that stands still hold it for ever.
const MAX_STEPS: u32 = 1 << 24;

#[derive(Clone, Copy, Debug)]
pub(super) enum Life {
    Running,
    /// The channel halted with nothing to do: what is submitted next is not run.
    HaltedIdle(Status),
    /// The channel hangs, or does not answer, and is being reset.
    Quieting {
        reset: Reset,
        /// Not stepped before.
        not_before: Duration,
        /// Why the channel counts as one that does not stop: an earlier attempt failed.
        resists: Option<Status>,
    },
    /// The channel has stopped, and this is being told.
    Stopped(Verdict),
    Recovering(Reset),
    /// The channel did not come back. It is tried again when `recover` is called again.
    Lost,
    /// The channel was given up.
    Ended(Status),
}

impl<R: RegisterIo> IoatChannel<R> {
    /// Reads CHANSTS, and takes what it says.
    #[cold]
    pub(super) fn look(&mut self) {
        self.quiet_polls = 0;
        self.heed();
        if !matches!(self.life, Life::Running) {
            return;
        }
        let status = self.hardware.registers.read_chansts();
        // A read of a register pushes ahead of it what the device wrote before.
        fence(Acquire);
        if status.is_absent() {
            if self.hardware.is_gone() {
                self.vanished();
            } else {
                self.violation(status);
            }
            return;
        }
        self.forget_earlier_word(status);
        self.absorb(status);
        if status.state() == ChannelState::Halted {
            self.absorb_completion();
            let errors = self.hardware.registers.read_chanerr();
            if errors.is_absent() && self.hardware.is_gone() {
                return self.vanished();
            }
            self.halted(errors);
        } else {
            self.watch_progress();
        }
    }

    /// What is submitted to a channel that has halted is not begun.
    #[cold]
    pub(super) fn submit_stopped(&mut self) {
        if let Life::HaltedIdle(status) = self.life {
            self.ring.close();
            self.life = Life::Stopped(self.ring.blame_none(status));
        }
    }

    #[cold]
    pub(super) fn collect_stopped(&mut self, completions: &mut [Completion]) -> usize {
        self.heed_sometimes();
        match &mut self.life {
            Life::Stopped(verdict) => self.ring.reap_stopped(verdict, completions),
            Life::Running | Life::HaltedIdle(_) => self.ring.reap(completions),
            Life::Quieting { not_before, .. } if self.hardware.clock.now() < *not_before => {
                self.ring.reap(completions)
            }
            Life::Quieting { reset, .. } => {
                let ended = reset.step(&mut self.hardware);
                let reset = *reset;
                let count = self.ring.reap(completions);
                if let Poll::Ready(result) = ended {
                    self.quieted(&reset, result);
                }
                count
            }
            Life::Recovering(_) | Life::Lost | Life::Ended(_) => 0,
        }
    }

    pub(super) fn step_recovery(&mut self) -> Poll<Result<(), Status>> {
        if self.hardware.memory.is_elsewhere() {
            return Poll::Ready(Err(HANG));
        }
        if self.hardware.loan.is_given() {
            return self.end_given();
        }
        match self.life {
            Life::Running => return Poll::Ready(Ok(())),
            Life::HaltedIdle(_) if self.ring.has_unreported() => return Poll::Ready(Ok(())),
            Life::Stopped(_) if self.ring.has_unreported() => return Poll::Pending,
            Life::HaltedIdle(_) | Life::Stopped(_) => {
                self.ring.close();
                self.life = Life::Recovering(Reset::new(Goal::Run));
            }
            Life::Quieting { .. } => return Poll::Pending,
            Life::Recovering(_) => {}
            Life::Lost => self.life = Life::Recovering(Reset::new(Goal::Run)),
            Life::Ended(status) => return Poll::Ready(Err(status)),
        }
        let Life::Recovering(reset) = &mut self.life else { return Poll::Pending };
        match reset.step(&mut self.hardware) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(result) if self.hardware.loan.is_wanted() => {
                if result.is_ok() && self.hardware.memory.is_lent() {
                    // It was brought back while the host began to want it.
                    self.life = Life::Recovering(Reset::new(Goal::Quiet));
                    return Poll::Pending;
                }
                self.give_away();
                self.life = Life::Ended(REQUESTED);
                Poll::Ready(Err(REQUESTED))
            }
            Poll::Ready(Ok(())) => {
                self.begin();
                tracing::info!(name = self.name, "the channel is back");
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => {
                tracing::error!(name = self.name, %error, "the channel did not come back");
                self.life = Life::Lost;
                Poll::Ready(Err(error.status()))
            }
        }
    }

    /// Why the channel counts as one that does not stop: it hangs and was not stopped by a reset, or does not answer and was
    /// not cut off from memory.
    pub(super) fn resists(&self) -> Option<Status> {
        match self.life {
            Life::Quieting { resists, .. } => resists,
            _ => None,
        }
    }

    /// Stops the channel and gives it up.
    pub(super) fn stop(&mut self, deadline: Duration) -> Result<(), HaltError> {
        if self.hardware.memory.is_elsewhere() {
            return Err(HaltError { status: HANG });
        }
        self.ring.close();
        let result = if self.hardware.memory.is_lent() {
            self.drive(Goal::Stop, deadline)
        } else {
            self.hardware.release();
            Ok(())
        };
        let status = result.err().map(ResetError::status);
        self.life = Life::Ended(status.unwrap_or(GONE));
        match status {
            None => Ok(()),
            Some(_) if self.hardware.is_gone() && self.hardware.cut_off() => {
                self.hardware.memory.take_back();
                Ok(())
            }
            Some(status) => Err(HaltError { status }),
        }
    }

    /// Resets the channel to the end. The time counts only where there is something to wait for.
    pub(super) fn drive(&mut self, goal: Goal, timeout: Duration) -> Result<(), ResetError> {
        let until = self.hardware.clock.now().saturating_add(timeout);
        let mut reset = Reset::new(goal).within(timeout);
        for _ in 0..MAX_STEPS {
            let place = reset.place();
            if let Poll::Ready(result) = reset.step(&mut self.hardware) {
                return result;
            }
            if reset.place() != place {
                continue;
            }
            if self.hardware.clock.now() >= until {
                return Err(ResetError::OutOfTime);
            }
            self.hardware.clock.pause();
        }
        Err(ResetError::OutOfTime)
    }

    /// A completion word that was written since the last look at it may be older than CHANSTS, or than what was taken before. It must not be looked at
    /// later: what CHANSTS says makes room in the ring, and once that is filled the word's address is also that of a new
    /// descriptor.
    fn forget_earlier_word(&mut self, status: ChannelStatus) {
        let word = self.hardware.memory.read_completion();
        let completed = ChannelStatus::from_bits(word).completed();
        let earlier = self.ring.is_earlier(completed, status.completed());
        if word != self.seen && (earlier || self.ring.is_far(completed)) {
            self.seen = word;
        }
    }

    fn absorb_completion(&mut self) {
        let word = self.hardware.memory.read_completion();
        if word != self.seen {
            self.seen = word;
            let status = ChannelStatus::from_bits(word);
            // CHANSTS was taken before: what it does not say of so many is not so.
            if !self.ring.is_doubtful(status.completed()) {
                self.absorb(status);
            }
        }
    }

    fn halted(&mut self, errors: ChannelError) {
        let status = status_of(errors);
        tracing::warn!(name = self.name, causes = %Causes(errors), "the channel halted");
        self.blame_first(status);
    }

    /// The registers do not answer.
    fn vanished(&mut self) {
        if self.hardware.cut_off() {
            if !self.hardware.is_gone() {
                // It was away while somebody else reset it, say. What it did is found out, and it is reset before it goes on.
                self.ring.close();
                self.life = quieting(None);
                return;
            }
            self.gone();
            return self.give_away();
        }
        if self.resists() != Some(GONE) {
            tracing::error!(
                name = self.name,
                "the device does not answer and is not shown to be cut off from memory: it may still write"
            );
        }
        self.ring.close();
        let not_before = self.hardware.clock.now().saturating_add(AGAIN);
        let reset = Reset::new(Goal::Quiet);
        self.life = Life::Quieting { reset, not_before, resists: Some(GONE) };
    }

    fn gone(&mut self) {
        tracing::error!(name = self.name, "the device is gone");
        self.absorb_completion();
        let verdict = self.ring.has_waiting().then(|| self.ring.blame_all(GONE));
        self.stop_with(verdict, GONE);
    }

    fn blame_first(&mut self, status: Status) {
        let verdict = match self.ring.blame_first(status) {
            None if self.ring.has_waiting() => Some(self.ring.blame_none(status)),
            verdict => verdict,
        };
        self.stop_with(verdict, status);
    }

    /// Tells what became of what is outstanding. Where nothing is, nobody would hear of it: what is submitted next tells.
    fn stop_with(&mut self, verdict: Option<Verdict>, status: Status) {
        self.life = match verdict {
            Some(verdict) => {
                self.ring.close();
                Life::Stopped(verdict)
            }
            None => {
                self.ring.stand_idle();
                Life::HaltedIdle(status)
            }
        };
    }

    /// Takes the channel for hung when it has made no progress for too long.
    fn watch_progress(&mut self) {
        let Some(limit) = self.hang_after else { return };
        let (at, now) = (self.ring.completed(), self.hardware.clock.now());
        match self.stalled {
            Some((stalled_at, since)) if stalled_at == at => {
                if now.saturating_sub(since) >= limit {
                    tracing::error!(name = self.name, ?limit, "no progress: the channel is reset");
                    self.ring.close();
                    self.life = quieting(None);
                }
            }
            _ => self.stalled = Some((at, now)),
        }
    }

    fn quieted(&mut self, reset: &Reset, result: Result<(), ResetError>) {
        match result {
            Ok(()) => {
                self.absorb(reset.last_status());
                self.absorb_completion();
                let errors = reset.errors();
                let status = match self.hardware.loan.is_wanted() {
                    _ if !errors.is_empty() => status_of(errors),
                    true => REQUESTED,
                    false => HANG,
                };
                self.blame_first(status);
                self.give_away();
            }
            Err(_) if self.hardware.is_gone() => self.vanished(),
            Err(error) => {
                tracing::error!(name = self.name, %error, "the channel does not stop: it is reset again");
                self.life = quieting(Some(HANG));
            }
        }
    }
}

pub(super) fn quieting(resists: Option<Status>) -> Life {
    Life::Quieting { reset: Reset::new(Goal::Quiet), not_before: Duration::ZERO, resists }
}

impl<R: RegisterIo> Drop for IoatChannel<R> {
    fn drop(&mut self) {
        if self.hardware.memory.is_elsewhere() {
            // The channel is the parent's, and runs on.
            return;
        }
        if self.hardware.memory.is_lent() {
            if let Err(error) = self.stop(DROP_TIMEOUT) {
                tracing::error!(name = self.name, %error, "dropped while it may be running");
            }
        } else {
            self.hardware.release();
        }
    }
}
