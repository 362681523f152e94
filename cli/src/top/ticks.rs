//! The time between two readings, which ends early when the user has seen enough.

use std::{
    os::fd::AsFd,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
    },
};

/// Waits for the next reading, or for Ctrl-C or a request to terminate.
#[derive(Debug)]
pub(crate) struct Ticks {
    interval: Duration,
    signals: SignalFd,
}

/// What has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tick {
    /// The interval is over.
    Next,
    /// The user asked for the end.
    Stop,
}

impl Ticks {
    /// Blocks the signals that it waits for, in the calling thread and those it starts.
    pub(super) fn new(interval: Duration) -> Result<Self, Errno> {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGINT);
        signals.add(Signal::SIGTERM);
        signals.thread_block()?;
        let signals = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC)?;
        Ok(Self { interval, signals })
    }

    /// Waits for an interval.
    pub(super) fn wait(&self) -> Tick {
        let end = Instant::now() + self.interval;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Tick::Next;
            }
            // Whole milliseconds, never less than what is left.
            let left = left + Duration::from_millis(1);
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let mut descriptors = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
            match poll(&mut descriptors, timeout) {
                Ok(0) | Err(Errno::EINTR | Errno::EAGAIN) => {}
                Ok(_) | Err(_) => return Tick::Stop,
            }
        }
    }
}
