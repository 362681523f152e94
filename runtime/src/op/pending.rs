//! An operation from submission to its outcome: a key, and the waker that was left with it.
#![allow(unsafe_code, reason = "island: stands for the one future of a slot's life")]

use std::{
    mem,
    sync::Arc,
    task::{Context, Poll},
};

use dmaring_ring::{Key, SubmissionEntry};

use super::request::Request;
use crate::{
    error::{Error, ErrorKind},
    inflight::{Chain, Ticket, give_back},
    own::Found,
    reap::LeftWaker,
    region::Cargo,
    shared::Shared,
    submit::Refusal,
};

/// The one future of a slot's life, of a runtime that whoever has it keeps. Made from a key that nobody else has, and given up
/// once, by one of the two that take it.
#[derive(Debug)]
pub(super) struct Flight {
    key: Key,
    /// The waker that was left last.
    left: LeftWaker,
    /// Whether it was not polled yet.
    fresh: bool,
}

/// The same, with the runtime.
#[derive(Debug)]
pub(crate) struct Pending {
    shared: Arc<Shared>,
    /// `None` until it has a slot.
    flight: Option<Flight>,
}

/// What came of an operation that was submitted in a poll of its future.
#[derive(Debug)]
pub(super) enum Attended {
    /// Its outcome.
    Ended(Ticket),
    /// It is in flight.
    Pending(Pending),
    /// It was not submitted, nor attended to.
    Not(Cargo),
}

impl Flight {
    /// The future of an operation that a batch prepared, and will submit whatever happens.
    #[inline]
    pub(super) fn new(key: Key) -> Self {
        Self { key, left: LeftWaker::default(), fresh: true }
    }

    pub(super) fn key(&self) -> Key {
        self.key
    }

    /// The outcome of the operation, which has so many bytes, or a promise that `context`'s waker will be called.
    #[inline]
    pub(super) fn poll(
        &mut self,
        shared: &Shared,
        length: u64,
        context: &Context<'_>,
    ) -> Poll<Result<Ticket, Error>> {
        if let Err(error) = shared.check_process() {
            return Poll::Ready(Err(error));
        }
        if mem::take(&mut self.fresh)
            && let Some(ticket) = self
                .known(shared)
                .or_else(|| self.linger(shared, length, || shared.client.look(self.key)))
        {
            return Poll::Ready(Ok(ticket));
        }
        // SAFETY: `self` is the one future of this life, and gives it up only when it is taken.
        let ticket = unsafe { shared.client.poll(self.key, context.waker(), &mut self.left) };
        ticket.map_or(Poll::Pending, |ticket| Poll::Ready(Ok(ticket)))
    }

    /// The outcome if it is there already, as it is for most of those that ended together. Not an early one: what comes after it is to
    /// be reaped, too.
    #[inline]
    fn known(&self, shared: &Shared) -> Option<Ticket> {
        let outcome = shared.client.inflight.slot(self.key)?.outcome();
        outcome.filter(|ticket| !ticket.is_early())
    }

    /// What `look` finds within a moment, of an operation that is alone in flight.
    #[inline]
    fn linger<T>(
        &self,
        shared: &Shared,
        length: u64,
        look: impl FnMut() -> Option<T>,
    ) -> Option<T> {
        let client = &shared.client;
        if client.permits.out() > 1 {
            return None;
        }
        // As a poll that returns pending does: what others leave behind, or what comes after an early outcome, is reaped.
        client.request_notify();
        shared.linger.wait(length, look)
    }

    /// Gives the life up.
    pub(super) fn end(self, shared: &Shared) {
        // SAFETY: `self` is the one future of this life and ends here.
        unsafe { self.give_up(shared) };
    }

    /// # Safety
    ///
    /// The caller has this by itself and does not use it again.
    #[inline]
    unsafe fn give_up(&self, shared: &Shared) {
        if shared.origin.is_elsewhere() {
            return;
        }
        // SAFETY: as the caller swears.
        let left = unsafe { shared.client.abandon(self.key) };
        if let Some(finished) = left {
            finished.deliver();
        }
    }

    /// Gives the life up after its outcome, and puts the slot to others that go back to the table together.
    #[inline]
    pub(super) fn end_to(self, shared: &Shared, chain: &mut Chain) {
        if shared.origin.is_elsewhere() {
            return;
        }
        // SAFETY: `self` is the one future of this life and ends here. It has its outcome, so it waits for no permit.
        unsafe { shared.client.inflight.detach_to(self.key, chain) };
    }
}

impl Pending {
    /// One that is still to be submitted.
    #[inline]
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, flight: None }
    }

    /// Submits a checked request, once, into the queue for permits if none is free.
    ///
    /// All that is written here is written before the entry is pushed. Otherwise whoever moves the future next reads what was just
    /// written, and waits until the ring's line has come from the poller's core: stores leave a core in order.
    #[inline]
    pub(crate) fn submit(&mut self, request: &Request, cargo: Cargo) -> Result<(), Error> {
        let Self { shared, flight } = self;
        shared.check_process()?;
        let entry = request.entry(&cargo);
        let submitted = shared.client.submit(cargo, |key| {
            *flight = Some(Flight::new(key));
            SubmissionEntry { key, ..entry }
        });
        match submitted {
            Ok(_) => Ok(()),
            Err((why, cargo)) => {
                // The life has ended, if it began, and its slot may be another's. The end of a region is foreign code: not before.
                *flight = None;
                drop(cargo);
                Err(refusal(why))
            }
        }
    }

    /// Submits a checked request, once, in a poll of its future. It attends to it for a moment if no other is in flight: it keeps no
    /// hold of the runtime then, since the operation's regions do.
    #[inline]
    pub(crate) fn attend(request: &Request, cargo: Cargo) -> Result<Attended, Error> {
        let at = Arc::as_ptr(&cargo.destination.0.shared);
        // SAFETY: the destination keeps the runtime. It is here, or in the slot of a life that is attended, from where nobody else takes
        // it; the reference is not used after that.
        let shared = unsafe { &*at };
        shared.check_process()?;
        let client = &shared.client;
        let slot = if shared.linger.is_tried(request.length) && client.permits.out() == 0 {
            client.take_kept()
        } else {
            None
        };
        let Some(slot) = slot else {
            return Ok(Attended::Not(cargo));
        };
        let entry = request.entry(&cargo);
        let submitted =
            client.submit_in(slot, (cargo, true), |key| SubmissionEntry { key, ..entry });
        let key = submitted.map_err(|_cargo| refusal(Refusal::TableFull))?;
        // As a poll that returns pending does: what others leave behind is reaped.
        client.request_notify();
        let mut cargo = None;
        // SAFETY: this is the one future of the life, which is used no more where that has ended.
        let look = || unsafe { client.look_for_end(key, &mut cargo) };
        if let Some(Found::End(ticket)) = shared.linger.wait(request.length, look) {
            // The last region may take the runtime with it.
            give_back(|| drop(cargo));
            return Ok(Attended::Ended(ticket));
        }
        // SAFETY: `at` came from an `Arc`, and the destination keeps what it points at, as above.
        unsafe { Arc::increment_strong_count(at) };
        // SAFETY: this is the hold that was counted just now.
        let shared = unsafe { Arc::from_raw(at) };
        // SAFETY: as above; and the runtime is kept here now.
        if let Some(ticket) = unsafe { shared.client.leave(key, &mut cargo) } {
            give_back(|| drop(cargo));
            return Ok(Attended::Ended(ticket));
        }
        let flight = Flight { fresh: false, ..Flight::new(key) };
        Ok(Attended::Pending(Self { shared, flight: Some(flight) }))
    }

    /// Submits a checked request if a permit is free; else the cargo comes back.
    pub(crate) fn try_submit(request: &Request, cargo: Cargo) -> Result<Self, (Error, Cargo)> {
        let shared = cargo.destination.0.shared.clone();
        if let Err(error) = shared.check_process() {
            return Err((error, cargo));
        }
        let entry = request.entry(&cargo);
        match shared.client.try_submit(cargo, |key| SubmissionEntry { key, ..entry }) {
            Ok(key) => Ok(Self { shared, flight: Some(Flight::new(key)) }),
            Err((why, cargo)) => Err((refusal(why), cargo)),
        }
    }

    /// As [`Flight::poll`].
    #[inline]
    pub(crate) fn poll(
        &mut self,
        length: u64,
        context: &Context<'_>,
    ) -> Poll<Result<Ticket, Error>> {
        let Self { shared, flight: Some(flight) } = self else {
            return Poll::Ready(Err(Error::new(
                ErrorKind::Aborted,
                "given up before it began: submitting it panicked",
            )));
        };
        if flight.fresh && !shared.origin.is_elsewhere() && flight.known(shared).is_none() {
            flight.fresh = false;
            let mut cargo = None;
            // SAFETY: the flight is the one future of its life, and is forgotten below where that has ended.
            let look = || unsafe { shared.client.look_for_end(flight.key, &mut cargo) };
            match flight.linger(shared, length, look) {
                Some(Found::End(ticket)) => {
                    self.flight = None;
                    give_back(|| drop(cargo));
                    return Poll::Ready(Ok(ticket));
                }
                // The poll below finds it.
                Some(Found::Outcome) | None => {}
            }
        }
        flight.poll(shared, length, context)
    }
}

impl Drop for Pending {
    #[inline]
    fn drop(&mut self) {
        if let Some(flight) = &self.flight {
            // SAFETY: the flight goes with `self`, and nobody else had it.
            unsafe { flight.give_up(&self.shared) };
        }
    }
}

pub(super) fn refusal(why: Refusal) -> Error {
    match why {
        Refusal::Closed => Error::closed(),
        Refusal::QueueFull => Error::new(
            ErrorKind::QueueFull,
            "every entry of the submission ring is in use: await a completion, or build the runtime with more ring_entries",
        ),
        Refusal::TableFull => Error::new(
            ErrorKind::LimitExceeded,
            "too many operations are unfinished or unclaimed: await or drop some",
        ),
    }
}
