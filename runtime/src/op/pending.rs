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
    inflight::Ticket,
    reap::LeftWaker,
    region::Cargo,
    segments::SegmentCargo,
    shared::Shared,
    submit::Refusal,
};

/// The one future of a slot's life. Made from a key that nobody else has; gives it up when dropped.
#[derive(Debug)]
pub(crate) struct Pending {
    shared: Arc<Shared>,
    key: Key,
    place: Place,
    /// The waker that was left last.
    left: LeftWaker,
    /// Whether it was not polled yet.
    fresh: bool,
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
        Ok(Self::prepared(shared, key, place))
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
            Ok(key) => Ok(Self::prepared(shared, key, place)),
            Err((why, cargo)) => {
                request.cargo = Some(cargo);
                Err(refusal(why))
            }
        }
    }

    /// The future of an operation that a batch prepared, and will submit whatever happens.
    pub(crate) fn prepared(shared: Arc<Shared>, key: Key, place: Place) -> Self {
        Self { shared, key, place, left: LeftWaker::default(), fresh: true }
    }

    /// The outcome, or a promise that `context`'s waker will be called.
    pub(crate) fn poll(&mut self, context: &Context<'_>) -> Poll<Result<u64, Error>> {
        if let Err(error) = self.shared.check_process() {
            return Poll::Ready(Err(error));
        }
        if mem::take(&mut self.fresh)
            && let Some(ticket) = self.linger()
        {
            return Poll::Ready(decode(&self.place, ticket));
        }
        // SAFETY: `self` is the one future of this life, and gives it up only when dropped.
        let ticket = unsafe { self.shared.client.poll(self.key, context.waker(), &mut self.left) };
        ticket.map_or(Poll::Pending, |ticket| Poll::Ready(decode(&self.place, ticket)))
    }

    /// The outcome if it comes within a moment, of an operation that is alone in flight.
    fn linger(&self) -> Option<Ticket> {
        let client = &self.shared.client;
        if client.permits.out() > 1 {
            return None;
        }
        // As a poll that returns pending does: what others leave behind, or what comes after an early outcome, is reaped.
        client.request_notify();
        self.shared.linger.wait(self.place.length, || client.look(self.key))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if self.shared.origin.is_elsewhere() {
            return;
        }
        // SAFETY: `self` is the one future of this life and ends here.
        let left = unsafe { self.shared.client.abandon(self.key) };
        if let Some(finished) = left {
            finished.deliver();
        }
    }
}

impl Request {
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

fn refusal(why: Refusal) -> Error {
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
