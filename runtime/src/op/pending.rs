//! An operation from submission to its outcome: a key, and the waker that was left with it.
#![allow(unsafe_code, reason = "island: stands for the one future of a slot's life")]

use std::{
    mem,
    sync::Arc,
    task::{Context, Poll},
};

use dmaring_ring::{Key, SubmissionEntry, beside::Beside};

use super::{future::polled_again, request::Request};
use crate::{
    error::{Error, ErrorKind},
    inflight::{Chain, Ticket, give_back},
    own::Found,
    reap::LeftWaker,
    region::Cargo,
    shared::Shared,
    submit::{Laid, Refusal},
};

/// The one future of a slot's life, of a runtime that whoever has it keeps. Made from a key that nobody else has, and given up
/// once, by one of the two that take it.
#[derive(Debug)]
pub(super) struct Flight {
    key: Key,
    /// The waker that was left last.
    left: LeftWaker,
    polled: Polled,
}

/// Whether a flight was polled. As wide as a register: the compiler keeps the tags of `Option<Flight>` and of an operation's stage in the values
/// that are left, so that these are written and read as one word, too. With a `bool`, who moved one read a word of which a byte had
/// just been written, and waited until all stores before that had left the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
enum Polled {
    NotYet,
    Before,
}

/// The same, with the runtime.
#[derive(Debug)]
pub(crate) struct Pending {
    shared: Arc<Shared>,
    /// `None` until it has a slot.
    flight: Option<Flight>,
}

/// A look for the end of a flight. Once the end was found, and the operation's cargo is here, there is nothing to be given up any more,
/// whatever panics.
struct Look<'a> {
    flight: &'a mut Option<Flight>,
    cargo: Option<Cargo>,
}

impl Drop for Look<'_> {
    fn drop(&mut self) {
        if self.cargo.is_some() {
            *self.flight = None;
        }
        give_back(|| drop(self.cargo.take()));
    }
}

impl Flight {
    /// Submits an operation, once, into the queue for permits if none is free. `beside` gives what its entry tells of. On an error there is no
    /// flight.
    ///
    /// All that is written here is written before the entry is pushed. Otherwise whoever moves the future next reads what was just
    /// written, and waits until the ring's line has come from the poller's core: stores leave a core in order.
    #[inline]
    pub(super) fn submit<'a>(
        flight: &mut Option<Self>,
        shared: &Shared,
        (cargo, entry): (Cargo, SubmissionEntry),
        beside: impl FnOnce(Key) -> Option<Beside<'a>>,
    ) -> Result<(), Refusal> {
        let submitted = shared.client.submit(cargo, |key| {
            *flight = Some(Self::new(key));
            Laid { entry: SubmissionEntry { key, ..entry }, beside: beside(key) }
        });
        submitted.map(drop).map_err(|(why, cargo)| {
            // The life has ended, if it began, and its slot may be another's. The end of a region is foreign code: not before.
            *flight = None;
            drop(cargo);
            why
        })
    }

    /// The future of an operation that a batch prepared, and will submit whatever happens.
    #[inline]
    pub(super) fn new(key: Key) -> Self {
        Self { key, left: LeftWaker::default(), polled: Polled::NotYet }
    }

    /// The same of one that was polled.
    pub(super) fn polled(key: Key) -> Self {
        Self { polled: Polled::Before, ..Self::new(key) }
    }

    pub(super) fn key(&self) -> Key {
        self.key
    }

    /// The outcome of the operation, which has so many bytes, or a promise that `context`'s waker will be called.
    ///
    /// Most are known by the first poll. That much is in place wherever a future is polled, and the rest is not.
    #[inline(always)]
    pub(super) fn poll(
        &mut self,
        shared: &Shared,
        length: u64,
        context: &Context<'_>,
    ) -> Poll<Result<Ticket, Error>> {
        if let Err(error) = shared.check_process() {
            return Poll::Ready(Err(error));
        }
        let is_fresh = mem::replace(&mut self.polled, Polled::Before) == Polled::NotYet;
        if is_fresh && let Some(ticket) = self.known(shared) {
            return Poll::Ready(Ok(ticket));
        }
        self.look_closely(shared, is_fresh.then_some(length), context)
            .map_or(Poll::Pending, |ticket| Poll::Ready(Ok(ticket)))
    }

    /// The same of one that a batch submitted, alone or with others. Where one that is alone has ended by its first poll the flight may be gone.
    #[inline]
    pub(super) fn poll_batched(
        flight: &mut Option<Self>,
        (shared, is_alone): (&Shared, bool),
        length: u64,
        context: &Context<'_>,
    ) -> Poll<Result<Ticket, Error>> {
        let looks = is_alone && flight.as_ref().is_some_and(Self::is_fresh);
        if looks && let Some(Found::End(ticket)) = Self::look(flight, shared, length, true) {
            return Poll::Ready(Ok(ticket));
        }
        match flight {
            Some(flight) => flight.poll(shared, length, context),
            None => Poll::Ready(Err(polled_again())),
        }
    }

    /// Whether it was not polled yet.
    #[inline]
    fn is_fresh(&self) -> bool {
        self.polled == Polled::NotYet
    }

    /// Looks for the end of a flight that was not polled yet and whose outcome is not known: for a moment if it is alone, else once or not at all. Where
    /// it is found the flight is gone.
    #[inline(never)]
    fn look(flight: &mut Option<Self>, shared: &Shared, length: u64, once: bool) -> Option<Found> {
        let fresh = flight.as_mut()?;
        debug_assert!(fresh.is_fresh());
        if shared.origin.is_elsewhere() || fresh.known(shared).is_some() {
            return None;
        }
        fresh.polled = Polled::Before;
        let key = fresh.key;
        let mut look = Look { flight, cargo: None };
        // SAFETY: the flight is the one future of its life, and is forgotten where that has ended.
        let mut find = || unsafe { shared.client.look_for_end(key, &mut look.cargo) };
        linger(shared, length, &mut find).or_else(|| if once { find() } else { None })
    }

    /// The same where it is not known. For one that is polled for the first time, with so many bytes, it is looked for.
    #[inline(never)]
    fn look_closely(
        &mut self,
        shared: &Shared,
        fresh: Option<u64>,
        context: &Context<'_>,
    ) -> Option<Ticket> {
        if let Some(length) = fresh
            && let Some(ticket) = linger(shared, length, || shared.client.look(self.key))
                // With others in flight it may be there, though nobody has reaped it: to leave a waker costs more than to look.
                .or_else(|| shared.client.look(self.key).filter(|ticket| !ticket.is_early()))
        {
            return Some(ticket);
        }
        // SAFETY: `self` is the one future of this life, and gives it up only when it is taken.
        unsafe { shared.client.poll(self.key, context.waker(), &mut self.left) }
    }

    /// The outcome if it is there already, as it is for most of those that ended together. Not an early one: what comes after it is to
    /// be reaped, too.
    #[inline]
    fn known(&self, shared: &Shared) -> Option<Ticket> {
        let outcome = shared.client.inflight.slot(self.key)?.outcome();
        outcome.filter(|ticket| !ticket.is_early())
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
        unsafe { shared.client.abandon(self.key) };
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

    /// One that was submitted.
    pub(super) fn of_flight(shared: Arc<Shared>, flight: Flight) -> Self {
        Self { shared, flight: Some(flight) }
    }

    /// Submits a checked request, once, into the queue for permits if none is free.
    #[inline]
    pub(crate) fn submit(&mut self, request: &Request, cargo: Cargo) -> Result<(), Error> {
        let Self { shared, flight } = self;
        shared.check_process()?;
        let entry = request.entry(&cargo);
        Flight::submit(flight, shared, (cargo, entry), |_| None).map_err(refusal)
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
        let Self { shared, flight } = self;
        let is_fresh = flight.as_ref().is_some_and(Flight::is_fresh);
        let is_alone = is_fresh && shared.client.permits.out() <= 1;
        if is_alone && let Some(Found::End(ticket)) = Flight::look(flight, shared, length, false) {
            return Poll::Ready(Ok(ticket));
        }
        match flight {
            Some(flight) => flight.poll(shared, length, context),
            None => Poll::Ready(Err(Error::new(
                ErrorKind::Aborted,
                "given up before it began: submitting it panicked",
            ))),
        }
    }
}

/// What `look` finds within a moment, of an operation that is alone in flight.
#[inline]
fn linger<T>(shared: &Shared, length: u64, look: impl FnMut() -> Option<T>) -> Option<T> {
    let client = &shared.client;
    if client.permits.out() > 1 {
        return None;
    }
    // As a poll that returns pending does: what others leave behind, or what comes after an early outcome, is reaped.
    client.request_notify();
    shared.linger.wait(length, look)
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

#[cfg(test)]
mod tests {
    use std::mem::size_of;

    use super::*;
    use crate::op::future::Stage;

    #[test]
    fn which_kind_a_value_is_of_stands_in_the_word_that_says_whether_it_was_polled() {
        assert_eq!(size_of::<Polled>(), size_of::<u64>());
        assert_eq!(size_of::<Option<Flight>>(), size_of::<Flight>());
        assert_eq!(size_of::<Stage>(), size_of::<Pending>());
    }
}
