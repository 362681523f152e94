//! From open to ended: what the runtime's handles and its poller tell each other about shutting down.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use crate::foreign;

/// No shutdown was asked for.
const OPEN: u64 = u64::MAX;

#[derive(Debug)]
pub(crate) struct Lifecycle {
    /// When draining gives up, in nanoseconds of the runtime's clock; `OPEN` before shutdown is asked for.
    deadline: AtomicU64,
    /// An engine did not stop: no memory it might reach may be given back.
    leak: AtomicBool,
    end: Mutex<End>,
}

#[derive(Debug, Default)]
struct End {
    outcome: Option<Outcome>,
    waiting: Vec<Waker>,
}

/// How a runtime ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Everything in flight had ended.
    Drained,
    /// The deadline passed: so many operations were given up, and the engines were halted.
    GivenUp(u64),
    /// The deadline passed and an engine did not stop: memory was leaked.
    Leaked(u64),
    /// The poller panicked: everything in flight was resolved as lost.
    Lost,
}

impl Lifecycle {
    pub(crate) fn new() -> Self {
        Self { deadline: AtomicU64::new(OPEN), leak: AtomicBool::new(false), end: Mutex::default() }
    }

    /// Asks for the end by `deadline` of the runtime's clock. The earliest of several requests holds.
    pub(crate) fn request_end(&self, deadline: Duration) {
        let nanoseconds = u64::try_from(deadline.as_nanos()).unwrap_or(OPEN).min(OPEN - 1);
        self.deadline.fetch_min(nanoseconds, Ordering::AcqRel);
    }

    /// By when draining gives up, if the end was asked for.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let nanoseconds = self.deadline.load(Ordering::Acquire);
        (nanoseconds != OPEN).then(|| Duration::from_nanos(nanoseconds))
    }

    /// From now on no region's memory is given back.
    pub(crate) fn leak(&self) {
        self.leak.store(true, Ordering::Release);
    }

    pub(crate) fn must_leak(&self) -> bool {
        self.leak.load(Ordering::Acquire)
    }

    /// The poller's last word: wakes whoever waits for it.
    pub(crate) fn end(&self, outcome: Outcome) {
        let waiting = {
            let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
            end.outcome.get_or_insert(outcome);
            std::mem::take(&mut end.waiting)
        };
        for waker in waiting {
            foreign::call_or_tell(
                || waker.wake(),
                || tracing::error!("a waker panicked; the runtime it waited for has ended"),
            );
        }
    }

    /// How the runtime ended, once it has.
    pub(crate) fn poll_end(&self, context: &mut Context<'_>) -> Poll<Outcome> {
        // Cloned and dropped outside the lock: a waker is foreign code.
        let waker = context.waker().clone();
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(outcome) = end.outcome {
            drop(end);
            return Poll::Ready(outcome);
        }
        let known = end.waiting.iter().any(|known| known.will_wake(&waker));
        if !known {
            end.waiting.push(waker);
        }
        Poll::Pending
    }
}
