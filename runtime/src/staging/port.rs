//! What passes between the poller and the staging thread.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::atomic::{AtomicBool, Ordering},
};

use crossbeam_queue::ArrayQueue;
use dmaring_ring::{CompletionCode, CompletionEntry, Key, Layout, Opcode, SubmissionEntry};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::memory::RingMemory;

/// The entries of the staging thread's own submission ring: a power of two, and more than it has blocks.
pub(crate) const ENTRIES: u32 = 64;

/// The staging thread's word that an operation has ended. Taken from its own ring pair only.
pub(crate) const DONE: Opcode = Opcode(0xf0);

/// The staging thread's word that an engine was lost with a piece of an operation, and holds on to it: the end comes
/// later, or never. Taken from its own ring pair only.
pub(crate) const HELD: Opcode = Opcode(0xf1);

/// An operation for the staging thread. Its ranges were checked against the regions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StagedRequest {
    /// By which the poller knows the operation when its end is told.
    pub(crate) name: Key,
    pub(crate) source: Source,
    /// A region and an offset in it, in bytes.
    pub(crate) destination: (Key, u64),
    /// In bytes.
    pub(crate) length: u64,
    /// By when it is to have ended, in microseconds since the runtime was built; 0: whenever.
    pub(crate) deadline: u64,
    /// Whether what an engine fails to copy is done by the CPU.
    pub(crate) retries: bool,
    /// Whether the file that is written is synchronised before the end is told.
    pub(crate) durable: bool,
}

/// What a staged operation writes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source {
    /// The bytes at an offset of a region.
    Region(Key, u64),
    /// Eight bytes, again and again.
    Pattern(u64),
    /// Nothing: the file has it already.
    Nothing,
}

/// The staging thread's ring pair, and the way to it.
#[derive(Debug)]
pub(crate) struct StagingPort {
    pair: RingMemory,
    requests: ArrayQueue<StagedRequest>,
    /// Written when there is a request or a completion, or when the thread is to stop.
    bell: EventFd,
    stopping: AtomicBool,
}

/// How a staged operation failed: code, kind, bits and the offset from the operation's first byte.
pub(crate) type StagedFailure = (CompletionCode, u8, u32, u64);

impl StagingPort {
    /// A port for a runtime with so many operations at a time.
    pub(crate) fn new(operations: usize) -> io::Result<Self> {
        let layout = Layout::new(ENTRIES).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Self {
            pair: RingMemory::create(layout)?,
            requests: ArrayQueue::new(operations.max(1)),
            bell: EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?,
            stopping: AtomicBool::new(false),
        })
    }

    pub(crate) fn pair(&self) -> &RingMemory {
        &self.pair
    }

    /// Hands an operation over. `false`: more operations than there can be.
    pub(crate) fn send(&self, request: StagedRequest) -> bool {
        let sent = self.requests.push(request).is_ok();
        self.wake();
        sent
    }

    /// The next operation handed over.
    pub(crate) fn receive(&self) -> Option<StagedRequest> {
        self.requests.pop()
    }

    /// Whether an operation waits to be received.
    pub(crate) fn has_requests(&self) -> bool {
        !self.requests.is_empty()
    }

    /// Makes the staging thread look.
    pub(crate) fn wake(&self) {
        // It fails only when the counter is full, and then the thread has been woken.
        let _ = self.bell.write(1);
    }

    /// Tells the staging thread to end: no engine will answer it any more.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.wake();
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub(crate) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// Stops the bell ringing: the staging thread is about to look.
    pub(crate) fn quiet(&self) {
        // It fails only when the bell does not ring.
        let _ = self.bell.read();
    }
}

/// The entry that tells the end of the operation named `name`.
pub(crate) fn done(name: Key, outcome: Result<(), StagedFailure>) -> SubmissionEntry {
    let (result, offset) = match outcome {
        Ok(()) => (CompletionEntry::new(name, CompletionCode::DONE, 0, 0), 0),
        Err((code, kind, bits, offset)) => (CompletionEntry::new(name, code, kind, bits), offset),
    };
    SubmissionEntry {
        opcode: DONE,
        key: name,
        source_offset: result.result_word(),
        destination_offset: offset,
        ..SubmissionEntry::default()
    }
}

/// The entry that tells that an engine holds on to a part of the operation named `name`.
pub(crate) fn held(name: Key) -> SubmissionEntry {
    SubmissionEntry { opcode: HELD, key: name, ..SubmissionEntry::default() }
}

/// The outcome that a `done` entry tells.
pub(crate) fn outcome(entry: &SubmissionEntry) -> Result<(), StagedFailure> {
    let result = CompletionEntry::from_words([0, entry.source_offset]);
    match result.code() {
        CompletionCode::DONE => Ok(()),
        code => Err((code, result.kind(), result.bits(), entry.destination_offset)),
    }
}
