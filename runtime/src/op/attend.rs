//! An operation that its future submits in a poll, and does not leave to itself for a moment.
//!
//! The end of a short copy that is alone in flight mostly comes within the poll that submitted it. Until that poll returns pending nothing but
//! its own frame has to reach the runtime, and the operation's regions keep that: no hold of it is counted. See
//! [`own`](crate::own) for the end, and the slot's states for who has what meanwhile.
#![allow(unsafe_code, reason = "island: stands for the one future of a slot's life")]

use std::{mem, sync::Arc};

use dmaring_ring::{Key, SubmissionEntry};

use super::{
    future::Stage,
    pending::{Flight, Pending, refusal},
    request::Request,
};
use crate::{
    error::Error,
    inflight::{Ticket, give_back},
    own::Found,
    region::Cargo,
    shared::Shared,
    submit::Refusal,
};

/// What came of an operation that was submitted in a poll of its future.
#[derive(Debug)]
pub(super) enum Attended {
    /// Its outcome.
    Ended(Ticket),
    /// It is in flight.
    Pending(Pending),
    /// It was not submitted, nor attended to.
    Not,
}

/// Attends to an operation, as the one future of its life. Who is dropped before the end, by a panic, gives it up.
struct Attending {
    /// From an `Arc`. The operation's regions keep it, in the slot or here.
    shared: *const Shared,
    key: Key,
    /// What the operation had, once its life is over.
    cargo: Option<Cargo>,
    /// Whether it attends no more.
    has_left: bool,
}

impl Attending {
    /// Attends no more, to a life that is not over.
    #[cold]
    fn leave(&mut self) -> Attended {
        self.has_left = true;
        // SAFETY: it came from an `Arc`, and is kept: the cargo is in the slot, from where nobody else takes it.
        unsafe { Arc::increment_strong_count(self.shared) };
        // SAFETY: this is the hold that was counted just now.
        let shared = unsafe { Arc::from_raw(self.shared) };
        // SAFETY: this is the one future of the life, and has attended until now; the runtime is kept here.
        if let Some(ticket) = unsafe { shared.client.leave(self.key, &mut self.cargo) } {
            return Attended::Ended(ticket);
        }
        Attended::Pending(Pending::of_flight(shared, Flight::polled(self.key)))
    }
}

impl Drop for Attending {
    #[inline]
    fn drop(&mut self) {
        if self.cargo.is_none() && !self.has_left {
            drop(self.leave());
        }
        // The last region may take the runtime with it.
        give_back(|| drop(self.cargo.take()));
    }
}

/// Submits a checked request, once, in a poll of its future. It attends to it for a moment if no other is in flight: it keeps no hold of the
/// runtime then, since the operation's regions do. What it does not attend to stays in its stage.
#[inline]
pub(super) fn attend(request: &Request, stage: &mut Stage) -> Result<Attended, Error> {
    let Stage::Idle(cargo) = stage else { return Ok(Attended::Not) };
    let at = Arc::as_ptr(&cargo.destination.0.shared);
    // SAFETY: the destination keeps the runtime. It is in the stage, or here, or in the slot of a life that is attended, from where nobody else
    // takes it, or with who attends; the reference is not used after that.
    let shared = unsafe { &*at };
    shared.check_process()?;
    let client = &shared.client;
    let length = request.length;
    let is_alone = client.permits.has_kept() && client.permits.out() == 0;
    if !is_alone || !shared.linger.is_tried(length) {
        return Ok(Attended::Not);
    }
    // It may ask a clock, which is foreign code: before anything is taken.
    let entry = request.entry(cargo);
    let Some(slot) = client.take_kept() else { return Ok(Attended::Not) };
    // Not before: who made the operation wrote its handles one by one, and both are read at once now, which waits until they are written.
    let cargo = match mem::replace(stage, Stage::Finished) {
        Stage::Idle(cargo) => cargo,
        other => {
            *stage = other;
            client.give_up(slot);
            return Ok(Attended::Not);
        }
    };
    let submitted = client.submit_in(slot, (cargo, true), |key| SubmissionEntry { key, ..entry });
    let key = submitted.map_err(|_cargo| refusal(Refusal::TableFull))?;
    let mut attending = Attending { shared: at, key, cargo: None, has_left: false };
    // As a poll that returns pending does: what others leave behind is reaped.
    client.request_notify();
    // SAFETY: this is the one future of the life, which is used no more where that has ended.
    let look = || unsafe { client.look_for_end(key, &mut attending.cargo) };
    match shared.linger.wait(length, look) {
        Some(Found::End(ticket)) => Ok(Attended::Ended(ticket)),
        Some(Found::Outcome) | None => Ok(attending.leave()),
    }
}

#[cfg(test)]
mod tests;
