//! What passes between the poller and a worker.
//!
//! **Who sleeps.** A worker that finds nothing to do says so in `parked`, executes a full fence, looks at the transfers once more,
//! and parks. Who hands over transfers pushes them, executes a full fence, and looks at `parked`. So either the worker sees
//! the transfers or the other side sees that it is to be woken. An order always wakes: `unpark` before `park`
//! is remembered.
//!
//! **Whether an engine is stuck** the worker says now and then, so its word may be old. What it said before an order to recover
//! says nothing of the engine since: with its word goes how many such orders it has obeyed, and the poller goes by no word
//! of fewer than it gave.

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
    /// Why the engine keeps what it has, by its own word, and after how many orders to recover. Only the worker writes it.
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
/// Above the status stands how many orders to recover were obeyed.
const OBEYED_SHIFT: u32 = 40;
const OBEYED_MASK: u64 = 0xffff;
/// The most transfers that there can be between the poller and an engine, whatever the engine says of its depth.
const MOST: usize = 1 << 16;

impl Link {
    pub(super) fn new(depth: usize) -> Self {
        Self {
            transfers: ArrayQueue::new(depth.clamp(1, MOST)),
            completions: ArrayQueue::new(depth.clamp(1, MOST)),
            stuck: AtomicU64::new(0),
            panicked: AtomicBool::new(false),
            payload: Mutex::default(),
        }
    }

    /// How many completions there is room for. It only grows while the worker adds none.
    pub(super) fn room(&self) -> usize {
        self.completions.capacity().saturating_sub(self.completions.len())
    }

    /// What the engine says after so many orders to recover.
    pub(super) fn set_stuck(&self, status: Option<Status>, obeyed: u64) {
        let word = status.map_or(0, |status| {
            IS_STUCK | u64::from(status.kind as u8) << 32 | u64::from(status.bits)
        });
        self.stuck.store(word | (obeyed & OBEYED_MASK) << OBEYED_SHIFT, Ordering::Relaxed);
    }

    /// What the engine said last, unless that was before the last of so many orders to recover.
    #[allow(clippy::cast_possible_truncation, reason = "each field is shifted to its width")]
    pub(super) fn stuck(&self, ordered: u64) -> Option<Status> {
        let word = self.stuck.load(Ordering::Relaxed);
        let is_old = word >> OBEYED_SHIFT & OBEYED_MASK != ordered & OBEYED_MASK;
        let kind = StatusKind::from_number((word >> 32) as u8);
        (word & IS_STUCK != 0 && !is_old).then_some(Status { kind, bits: word as u32 })
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
        assert_eq!(link.stuck(0), None);
        let status = Status { kind: StatusKind::Unspecified, bits: 0 };
        link.set_stuck(Some(status), 0);
        assert_eq!(link.stuck(0), Some(status));
        let status = Status { kind: StatusKind::Gone, bits: u32::MAX };
        link.set_stuck(Some(status), u64::MAX);
        assert_eq!(link.stuck(u64::MAX), Some(status));
        link.set_stuck(None, 7);
        assert_eq!(link.stuck(7), None);
    }

    #[test]
    fn a_word_from_before_an_order_to_recover_says_nothing() {
        let link = Link::new(2);
        let status = Status { kind: StatusKind::Hang, bits: 9 };
        link.set_stuck(Some(status), 3);
        assert_eq!((link.stuck(3), link.stuck(4)), (Some(status), None));
        link.set_stuck(Some(status), 4);
        assert_eq!(link.stuck(4), Some(status));
    }

    #[test]
    fn an_absurd_depth_is_bounded() {
        assert_eq!(Link::new(usize::MAX).room(), MOST);
        assert_eq!(Link::new(0).room(), 1);
    }
}
