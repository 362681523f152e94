//! An operation from submission to its outcome: a key, and what its errors will name.
#![allow(unsafe_code, reason = "island: stands for the one future of a slot's life")]

use std::{
    mem,
    sync::Arc,
    task::{Context, Poll},
};

use dmaring_ring::Key;

use super::{
    future::polled_again,
    outcome::{Place, decode},
    request::Request,
};
use crate::{
    error::{Error, ErrorKind},
    inflight::{Chain, Ticket},
    reap::LeftWaker,
    region::Cargo,
    segments::SegmentCargo,
    shared::Shared,
    submit::Refusal,
};

/// The one future of a slot's life, of a runtime that whoever has it keeps. Made from a key that nobody else has, and given up
/// once, by one of the two that take it.
#[derive(Debug)]
pub(super) struct Flight {
    key: Key,
    place: Place,
    /// The waker that was left last.
    left: LeftWaker,
    /// Whether it was not polled yet.
    fresh: bool,
}

/// The same, with the runtime.
#[derive(Debug)]
pub(crate) struct Pending {
    shared: Arc<Shared>,
    flight: Flight,
}

impl Flight {
    /// The future of an operation that a batch prepared, and will submit whatever happens.
    #[inline]
    pub(super) fn new(key: Key, place: Place) -> Self {
        Self { key, place, left: LeftWaker::default(), fresh: true }
    }

    /// The outcome, or a promise that `context`'s waker will be called.
    #[inline]
    pub(super) fn poll(
        &mut self,
        shared: &Shared,
        context: &Context<'_>,
    ) -> Poll<Result<u64, Error>> {
        if let Err(error) = shared.check_process() {
            return Poll::Ready(Err(error));
        }
        if mem::take(&mut self.fresh)
            && let Some(ticket) = self.linger(shared)
        {
            return Poll::Ready(decode(&self.place, ticket));
        }
        // SAFETY: `self` is the one future of this life, and gives it up only when it is taken.
        let ticket = unsafe { shared.client.poll(self.key, context.waker(), &mut self.left) };
        ticket.map_or(Poll::Pending, |ticket| Poll::Ready(decode(&self.place, ticket)))
    }

    /// The outcome if it comes within a moment, of an operation that is alone in flight.
    fn linger(&self, shared: &Shared) -> Option<Ticket> {
        let client = &shared.client;
        if client.permits.out() > 1 {
            return None;
        }
        // As a poll that returns pending does: what others leave behind, or what comes after an early outcome, is reaped.
        client.request_notify();
        shared.linger.wait(self.place.length, || client.look(self.key))
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
    /// Submits a checked request, into the queue for permits if none is free. Its cargo is gone then, taken or not.
    #[inline]
    pub(crate) fn submit(request: &mut Request) -> Result<Self, Error> {
        let cargo = request.cargo.take().ok_or_else(polled_again)?;
        let shared = cargo.destination.0.shared.clone();
        shared.check_process()?;
        let (place, entry) = (request.place(&cargo), request.entry(&cargo));
        let key = shared
            .client
            .submit(cargo, |key| dmaring_ring::SubmissionEntry { key, ..entry })
            .map_err(refusal)?;
        Ok(Self { shared, flight: Flight::new(key, place) })
    }

    /// Submits a checked request if a permit is free; else the request is as it was.
    pub(crate) fn try_submit(request: &mut Request) -> Result<Self, Error> {
        let cargo = request.cargo.take().ok_or_else(polled_again)?;
        let shared = cargo.destination.0.shared.clone();
        if let Err(error) = shared.check_process() {
            request.cargo = Some(cargo);
            return Err(error);
        }
        let (place, entry) = (request.place(&cargo), request.entry(&cargo));
        let submitted =
            shared.client.try_submit(cargo, |key| dmaring_ring::SubmissionEntry { key, ..entry });
        match submitted {
            Ok(key) => Ok(Self { shared, flight: Flight::new(key, place) }),
            Err((why, cargo)) => {
                request.cargo = Some(cargo);
                Err(refusal(why))
            }
        }
    }

    /// The outcome, or a promise that `context`'s waker will be called.
    #[inline]
    pub(crate) fn poll(&mut self, context: &Context<'_>) -> Poll<Result<u64, Error>> {
        self.flight.poll(&self.shared, context)
    }
}

impl Drop for Pending {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the flight goes with `self`, and nobody else had it.
        unsafe { self.flight.give_up(&self.shared) };
    }
}

impl Request {
    #[inline]
    pub(crate) fn place(&self, cargo: &Cargo) -> Place {
        Place {
            source_offset: self.source_offset(),
            destination_offset: self.destination_offset,
            length: self.length,
            timeout: self.timeout,
            segments: cargo.segments.as_ref().map(SegmentCargo::numbers),
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
