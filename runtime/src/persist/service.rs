//! What the poller and the housekeeper's thread know of each other.

use std::{sync::OnceLock, thread::Thread};

use super::{Span, WriteBack, handover::Handover};

/// A runtime's way of making bytes durable.
#[derive(Debug)]
pub(crate) struct Persist {
    pub(super) write_back: Box<dyn WriteBack>,
    /// How many operations the poller can have.
    operations: usize,
    /// There once a region was opened that can be written back.
    handover: OnceLock<Handover>,
    /// The housekeeper's thread, once it runs.
    thread: OnceLock<Thread>,
}

impl Persist {
    /// In an answer: it could not be written back. No name has the bit: operations are fewer.
    pub(super) const FAILED: u64 = 1 << 63;

    pub(crate) fn new(write_back: Box<dyn WriteBack>, operations: usize) -> Self {
        Self { write_back, operations, handover: OnceLock::new(), thread: OnceLock::new() }
    }

    /// Makes room for what will be handed over: a region was opened that can be written back.
    pub(crate) fn prepare(&self) {
        self.handover.get_or_init(|| Handover::new(self.operations));
    }

    /// Says who writes back.
    pub(crate) fn serve_from(&self, thread: Thread) {
        self.thread.get_or_init(|| thread);
    }

    pub(super) fn handover(&self) -> Option<&Handover> {
        self.handover.get()
    }

    /// Hands a span over. Only the poller may. `false`: nobody is there to write it back.
    pub(crate) fn send(&self, span: Span) -> bool {
        let (Some(handover), Some(thread)) = (self.handover.get(), self.thread.get()) else {
            return false;
        };
        let sent = handover.send(span.to_words());
        thread.unpark();
        sent
    }

    /// The next span that was written back, by its name, and whether that failed. Only the poller may ask.
    pub(crate) fn next_ended(&self) -> Option<(u64, bool)> {
        let answer = self.handover.get()?.next_answer()?;
        Some((answer & !Self::FAILED, answer & Self::FAILED != 0))
    }

    /// Fences what needs no writing back: see [`Durability::PowerFailSafe`](crate::Durability::PowerFailSafe).
    pub(crate) fn fence(&self) {
        self.write_back.fence();
    }

    /// Gives up what was handed over, before its regions may go.
    pub(crate) fn cancel(&self) {
        if let Some(handover) = self.handover.get() {
            handover.cancel();
        }
    }
}
