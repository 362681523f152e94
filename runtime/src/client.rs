//! One side of a ring pair: the application's. What submission and reaping share.
//!
//! `submit` and `reap` are its two directions; `inflight` and `permit` its bookkeeping. It is generic over the cargo
//! that a slot owns and over where the rings live, so that the same code runs on a memfd and under loom.

use crossbeam_utils::CachePadded;
use dmaring_ring::{CompletionSlot, Header, SubmissionSlot, completion, prefetch::ForWriting};

use crate::{
    inflight::{Inflight, Role},
    permit::Permits,
    sync::AtomicU64,
    try_lock::TryLock,
};

/// Where a ring pair lives, and how its poller is woken.
pub(crate) trait RingPair {
    fn header(&self) -> &Header;
    fn submission_slots(&self) -> &[SubmissionSlot];
    fn completion_slots(&self) -> &[CompletionSlot];
    /// Wakes the poller that parked on this pair: it was told so by `handshake::must_wake`.
    fn wake_poller(&self);
    /// Tells the poller that the shared words were overwritten, so that it resolves everything as lost.
    fn report_corrupt(&self);
}

#[derive(Debug)]
pub(crate) struct Client<C, P> {
    pub(crate) pair: P,
    pub(crate) inflight: Inflight<C>,
    pub(crate) permits: Permits,
    pub(crate) reaper: CachePadded<TryLock<Reaper>>,
    /// The position up to which completions were taken off the ring. The ring's own word says the same, unless a peer overwrote it:
    /// whether somebody is to be woken must not depend on that. Written under the reap role.
    /// By itself in its lines: the poller often looks at its neighbours, and here each end writes.
    pub(crate) reaped: CachePadded<AtomicU64>,
    /// The earliest deadline among the operations that wait for a permit, or [`NO_DEADLINE`]; never later than it is. Written
    /// under the waiters' lock.
    pub(crate) waiters_deadline: AtomicU64,
    /// Whether the poller ever sleeps, so that it has to be asked whether it does.
    pub(crate) sleeps: bool,
    /// Whether lines can be fetched for writing.
    pub(crate) for_writing: Option<ForWriting>,
}

/// No operation that waits has a deadline.
pub(crate) const NO_DEADLINE: u64 = u64::MAX;

/// The reap role: who holds its lock is the completion ring's one consumer.
#[derive(Debug)]
pub(crate) struct Reaper {
    pub(crate) consumer: completion::Consumer,
    pub(crate) role: Role,
}

impl<C, P: RingPair> Client<C, P> {
    /// The client of a fresh ring pair with `entries` submission entries, and of a poller that sleeps or never does.
    pub(crate) fn new(pair: P, entries: u32, sleeps: bool) -> Self {
        Self {
            pair,
            inflight: Inflight::new(entries),
            permits: Permits::new(entries),
            waiters_deadline: AtomicU64::new(NO_DEADLINE),
            reaped: CachePadded::new(AtomicU64::new(0)),
            sleeps,
            for_writing: ForWriting::detect(),
            reaper: CachePadded::new(TryLock::new(Reaper {
                consumer: completion::Consumer::new(),
                role: Role::new(),
            })),
        }
    }
}
