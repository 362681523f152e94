//! The host that a function is borrowed from, and the function's way back to it.
//!
//! A kernel that is to unbind a function, or sees it being unplugged, asks whoever uses it to let go, and waits. The
//! channel asks the host now and then whether that is so: where it looks at CHANSTS, and in every 64th poll with news or with
//! nothing to do, and never more often than every 10 ms of its clock, since the question is a system call: at most a
//! hundred in a second, however many transfers end in it.
//!
//! ```text
//! Kept ──the host wants it──► Wanted ──the channel has stopped──► Given
//! ```
//!
//! *Wanted* leads every life of a channel to a stop: one that runs is reset, and so is one that had failed and waited for
//! somebody to bring it back. Transfers that were done are told as done; the first that was not has failed with
//! [`StatusKind::Requested`], and those behind it were not run. Then the function is given away, and `recover` answers
//! with the same status for ever. A channel that does not stop keeps its function: it may still write. One that halted and
//! cannot be reset is given away as it is; the ring's memory then stays in place.
#![forbid(unsafe_code)]

use std::{fmt, mem, task::Poll, time::Duration};

use dmaring_engine::{Status, StatusKind};
use dmaring_ioat_spec::RegisterIo;

use super::{
    IoatChannel,
    failure::{Life, quieting},
    reset::{Goal, Reset},
};

pub(super) const REQUESTED: Status = Status { kind: StatusKind::Requested, bits: 0 };

/// How often the host is asked at most.
const EVERY: Duration = Duration::from_millis(10);

/// In which of those polls the clock is looked at.
const POLLS: u32 = 64;

/// The host that a function is borrowed from: the kernel, through VFIO.
pub trait Host: Send {
    /// Whether it wants the function back. Does not block; a system call is not too much.
    fn wants_it_back(&mut self) -> bool;

    /// Takes the function back. The channel has halted, and reads and writes no register from here on. Called once, and
    /// does not block: what takes longer goes on behind it, and the drop of the host, with the channel's, is where to wait for
    /// its end.
    fn take_it(&mut self);
}

impl fmt::Debug for dyn Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Host").finish_non_exhaustive()
    }
}

/// Whose the function is.
#[derive(Debug)]
pub(super) enum Loan {
    /// The channel's, for good.
    Own,
    Kept {
        host: Box<dyn Host>,
        /// When the host is asked next.
        next: Duration,
    },
    Wanted(Box<dyn Host>),
    /// The host may still be at it.
    Given(Box<dyn Host>),
}

impl Loan {
    pub(super) fn new(host: Option<Box<dyn Host>>) -> Self {
        host.map_or(Self::Own, |host| Self::Kept { host, next: Duration::ZERO })
    }

    pub(super) fn is_wanted(&self) -> bool {
        matches!(self, Self::Wanted(_))
    }

    pub(super) fn is_given(&self) -> bool {
        matches!(self, Self::Given(_))
    }

    /// Asks the host, if it is time to. `true`: it wants the function back, and this is news.
    fn ask(&mut self, now: impl FnOnce() -> Duration) -> bool {
        let Self::Kept { host, next } = self else { return false };
        let now = now();
        if now < *next {
            return false;
        }
        *next = now + EVERY;
        if !host.wants_it_back() {
            return false;
        }
        if let Self::Kept { host, .. } = mem::replace(self, Self::Own) {
            *self = Self::Wanted(host);
        }
        true
    }

    fn give(&mut self) {
        *self = match mem::replace(self, Self::Own) {
            Self::Wanted(host) => Self::Given(host),
            other => return *self = other,
        };
        // Whatever becomes of this call, the function is no longer the channel's.
        if let Self::Given(host) = self {
            host.take_it();
        }
    }
}

impl<R: RegisterIo> IoatChannel<R> {
    /// A poll with news, with nothing to do, or of a channel that does not run.
    #[inline]
    pub(super) fn heed_sometimes(&mut self) {
        self.polls += 1;
        if self.polls >= POLLS {
            self.heed();
        }
    }

    /// Asks the host, and leads the channel to its stop where the function is wanted.
    #[cold]
    pub(super) fn heed(&mut self) {
        self.polls = 0;
        let clock = &self.hardware.clock;
        if self.hardware.loan.ask(|| clock.now()) {
            tracing::warn!(
                name = self.name,
                "the host asks for the device back: its channel is stopped"
            );
        }
        if !self.hardware.loan.is_wanted() {
            return;
        }
        match self.life {
            Life::Running | Life::HaltedIdle(_) => {
                self.ring.close();
                self.life = quieting(None);
            }
            Life::Stopped(_) if self.ring.has_unreported() => {}
            // Nobody may ever ask it to recover.
            Life::Stopped(_) | Life::Lost => {
                self.ring.close();
                self.life = Life::Recovering(Reset::new(Goal::Quiet));
            }
            // The end, which nobody else may be waiting for, is in the life that follows.
            Life::Recovering(_) => _ = self.step_recovery(),
            Life::Quieting { .. } | Life::Ended(_) => {}
        }
    }

    /// Gives the function to the host that wants it. The channel has stopped, or nothing answers any more.
    pub(super) fn give_away(&mut self) {
        if !self.hardware.loan.is_wanted() {
            return;
        }
        self.hardware.leave();
        self.hardware.loan.give();
    }

    /// What becomes of a channel whose function was given away.
    pub(super) fn end_given(&mut self) -> Poll<Result<(), Status>> {
        self.submit_stopped();
        if matches!(self.life, Life::Stopped(_)) && self.ring.has_unreported() {
            return Poll::Pending;
        }
        self.ring.close();
        self.life = Life::Ended(REQUESTED);
        Poll::Ready(Err(REQUESTED))
    }
}
