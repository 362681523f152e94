//! What passes between the poller and a worker.
//!
//! **Who sleeps.** A worker that finds nothing to do says so in `parked`, executes a full fence, looks at the transfers once more,
//! and parks. Who hands over transfers pushes them, executes a full fence, and looks at `parked`. So either the worker sees
//! the transfers or the other side sees that it is to be woken. An order always wakes: `unpark` before `park`
//! is remembered.

use std::{
    any::Any,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering, fence},
        mpsc::Sender,
    },
    thread::Thread,
    time::Duration,
};

use crossbeam_queue::ArrayQueue;
use dmaring_engine::{Completion, HaltError, Status, StatusKind, Token, Transfer};

/// What a panic says.
pub(super) type Payload = Box<dyn Any + Send>;

/// The queues of one engine. Each has as many places as the engine holds transfers, and so has always room.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) transfers: ArrayQueue<(Token, Transfer)>,
    pub(super) completions: ArrayQueue<Completion>,
    /// Why the engine keeps what it has, by its own word; 0: it does not.
    stuck: AtomicU64,
    panicked: AtomicBool,
    payload: Mutex<Option<Payload>>,
}

/// What the poller asks for. The answer goes where the order says.
#[derive(Debug)]
pub(super) enum Order {
    Recover(Sender<Result<(), Status>>),
    Halt(Duration, Sender<Result<(), HaltError>>),
    /// The engine is to be dropped. `Err`: that panicked.
    Drop(Sender<Result<(), Payload>>),
}

/// How a worker is woken.
#[derive(Debug, Default)]
pub(super) struct Bell {
    parked: AtomicBool,
    thread: OnceLock<Thread>,
}

const IS_STUCK: u64 = 1 << 63;

impl Link {
    pub(super) fn new(depth: usize) -> Self {
        Self {
            transfers: ArrayQueue::new(depth.max(1)),
            completions: ArrayQueue::new(depth.max(1)),
            stuck: AtomicU64::new(0),
            panicked: AtomicBool::new(false),
            payload: Mutex::default(),
        }
    }

    pub(super) fn set_stuck(&self, status: Option<Status>) {
        let word = status.map_or(0, |status| {
            IS_STUCK | u64::from(status.kind as u8) << 32 | u64::from(status.bits)
        });
        self.stuck.store(word, Ordering::Relaxed);
    }

    #[allow(clippy::cast_possible_truncation, reason = "each field is shifted to its width")]
    pub(super) fn stuck(&self) -> Option<Status> {
        let word = self.stuck.load(Ordering::Relaxed);
        let kind = StatusKind::from_number((word >> 32) as u8);
        (word & IS_STUCK != 0).then_some(Status { kind, bits: word as u32 })
    }

    /// The engine panicked, and is not driven any more.
    pub(super) fn panic(&self, payload: Payload) {
        *self.payload.lock().unwrap_or_else(PoisonError::into_inner) = Some(payload);
        self.panicked.store(true, Ordering::Release);
    }

    /// What the engine's panic said, once.
    pub(super) fn take_panic(&self) -> Option<Payload> {
        if !self.panicked.load(Ordering::Acquire) {
            return None;
        }
        self.payload.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Bell {
    /// The calling thread is the one to be woken.
    pub(super) fn listen(&self) {
        let _ = self.thread.set(std::thread::current());
    }

    /// Transfers were pushed.
    pub(super) fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.parked.load(Ordering::Relaxed) {
            self.wake();
        }
    }

    /// An order was sent.
    pub(super) fn wake(&self) {
        // A thread that does not listen yet has not looked yet.
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// Parks, unless there is work after all.
    pub(super) fn sleep(&self, has_work: impl FnOnce() -> bool) {
        self.parked.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if !has_work() {
            std::thread::park();
        }
        self.parked.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_an_engine_is_stuck_passes_through_a_word() {
        let link = Link::new(2);
        assert_eq!(link.stuck(), None);
        let status = Status { kind: StatusKind::Unspecified, bits: 0 };
        link.set_stuck(Some(status));
        assert_eq!(link.stuck(), Some(status));
        let status = Status { kind: StatusKind::Gone, bits: u32::MAX };
        link.set_stuck(Some(status));
        assert_eq!(link.stuck(), Some(status));
        link.set_stuck(None);
        assert_eq!(link.stuck(), None);
    }
}
