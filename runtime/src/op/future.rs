//! `Copy`, `Fill` and `Persist`: named futures over one operation.

use std::{
    error, fmt,
    future::Future,
    mem,
    ops::Range,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use dmaring_ring::Key;

use super::{
    OnError,
    attend::{Attended, attend},
    outcome::decode,
    pending::{Flight, Pending},
    request::{Request, Work},
};
use crate::{
    bundle::{Part, Words},
    error::{Error, ErrorKind},
    inflight::Ticket,
    region::Cargo,
    shared::Shared,
};

/// An operation, as its future has it. What it asks for stays in place: to move it about costs more than to check it.
#[derive(Debug)]
pub(super) struct Op {
    request: Request,
    stage: Stage,
}

/// Where an operation stands.
#[derive(Debug)]
pub(super) enum Stage {
    /// Not submitted, and not checked.
    Idle(Cargo),
    /// The outcome is known and nothing is in flight.
    Known(Result<u64, Error>),
    Submitted(Pending),
    /// Submitted with a batch, which has the runtime and gives the life up. `None`: it is over.
    Batched(Option<Flight>),
    /// The outcome was given out.
    Finished,
}

impl Stage {
    /// Follows `Finished`, of which nothing is left to be dropped. A mere assignment asks what is there, in a call.
    #[inline]
    fn follow(&mut self, next: Self) {
        debug_assert!(matches!(self, Self::Finished), "what is forgotten has nothing");
        mem::forget(mem::replace(self, next));
    }

    /// Follows `Finished` with an operation of its own, which is submitted.
    #[inline]
    fn submit(&mut self, request: &Request, cargo: Cargo) -> Result<(), Error> {
        self.follow(Self::Submitted(Pending::new(cargo.destination.0.shared.clone())));
        let Self::Submitted(pending) = self else { return Err(polled_again()) };
        pending.submit(request, cargo)
    }
}

impl Op {
    #[inline]
    pub(super) fn new(request: Request, cargo: Cargo) -> Self {
        Self { request, stage: Stage::Idle(cargo) }
    }

    /// One whose outcome is known before it begins.
    pub(super) fn known(outcome: Result<u64, Error>) -> Self {
        Self { request: Request::new(Work::Persist, 0, 0), stage: Stage::Known(outcome) }
    }

    pub(super) fn set(&mut self, set: impl FnOnce(&mut Request)) {
        if let Stage::Idle(_) = self.stage {
            set(&mut self.request);
        }
    }

    /// Which copies of its batch it makes, and of how many bytes together, if it is a bundle of them.
    #[inline]
    pub(super) fn bundle(&self) -> Option<(Range<usize>, u64)> {
        self.request.bundle()
    }

    /// A bundle of one copy becomes that copy.
    #[inline]
    pub(super) fn be_one_copy(&mut self, parts: &[Words]) {
        if let Work::Bundle { first, count: 1 } = self.request.work
            && let Some(part) = parts.get(first)
        {
            self.set(|request| *request = Part::of_words(*part).request());
        }
    }

    /// The name of what was submitted with a batch.
    pub(super) fn key(&self) -> Option<Key> {
        match &self.stage {
            Stage::Batched(flight) => flight.as_ref().map(Flight::key),
            _ => None,
        }
    }

    /// Whether it is to be submitted, unless it is refused.
    pub(super) fn wants_a_place(&self) -> bool {
        matches!(self.stage, Stage::Idle(_)) && self.request.length > 0
    }

    /// Submits what was not submitted.
    #[inline]
    fn submit(&mut self) {
        self.begin(|request, cargo, stage| stage.submit(request, cargo));
    }

    /// The same in a poll. Gives the outcome if it comes within a moment.
    #[inline]
    fn submit_in_poll(&mut self) -> Option<Ticket> {
        if !self.admit() {
            return None;
        }
        let Self { request, stage } = self;
        match attend(request, stage) {
            Ok(Attended::Ended(ticket)) => return Some(ticket),
            Ok(Attended::Pending(pending)) => stage.follow(Stage::Submitted(pending)),
            Ok(Attended::Not) => self.go(|request, cargo, stage| stage.submit(request, cargo)),
            Err(error) => self.know(Err(error)),
        }
        None
    }

    /// Submits what was not submitted, as part of a batch that has a key for it.
    #[inline]
    pub(super) fn submit_with(
        &mut self,
        submit: impl FnOnce(&Request, Cargo) -> Result<Flight, Error>,
    ) {
        self.begin(|request, cargo, stage| {
            stage.follow(Stage::Batched(Some(submit(request, cargo)?)));
            Ok(())
        });
    }

    /// The same of one that has its batch to itself.
    #[inline]
    pub(super) fn submit_alone(
        &mut self,
        submit: impl FnOnce(&Request, Cargo, &mut Option<Flight>) -> Result<(), Error>,
    ) {
        self.begin(|request, cargo, stage| {
            stage.follow(Stage::Batched(None));
            let Stage::Batched(flight) = stage else { return Err(polled_again()) };
            submit(request, cargo, flight)
        });
    }

    /// Refuses what was not submitted.
    pub(super) fn refuse(&mut self, why: impl FnOnce() -> Error) {
        if let Stage::Idle(_) = self.stage {
            self.know(Err(why()));
        }
    }

    /// Checks what was not submitted, and has it submitted.
    #[inline]
    fn begin(&mut self, submit: impl FnOnce(&Request, Cargo, &mut Stage) -> Result<(), Error>) {
        if self.admit() {
            self.go(submit);
        }
    }

    /// Checks what was not submitted, and whether it is to be. Where it is not, the outcome is known then.
    #[inline]
    fn admit(&mut self) -> bool {
        let Stage::Idle(cargo) = &self.stage else { return false };
        let outcome = match self.request.check(cargo) {
            Err(error) => Err(error),
            Ok(()) if self.request.length == 0 => Ok(0),
            Ok(()) => return true,
        };
        self.know(outcome);
        false
    }

    /// Has what was admitted submitted.
    #[inline]
    fn go(&mut self, submit: impl FnOnce(&Request, Cargo, &mut Stage) -> Result<(), Error>) {
        let Self { request, stage } = self;
        if let Stage::Idle(cargo) = mem::replace(stage, Stage::Finished)
            && let Err(error) = submit(request, cargo, stage)
        {
            self.know(Err(error));
        }
    }

    /// Keeps an outcome that is known before anything is in flight, and nothing else.
    fn know(&mut self, outcome: Result<u64, Error>) {
        self.stage = Stage::Known(outcome);
        self.forget();
    }

    /// Submits if there is a place. On an error the operation is as it was.
    fn try_submit(&mut self) -> Result<(), Error> {
        let Self { request, stage } = self;
        match mem::replace(stage, Stage::Finished) {
            Stage::Idle(cargo) => {
                let submitted = match request.check(&cargo) {
                    Err(error) => Err((error, cargo)),
                    Ok(()) if request.length == 0 => Ok(Stage::Known(Ok(0))),
                    Ok(()) => Pending::try_submit(request, cargo).map(Stage::Submitted),
                };
                match submitted {
                    Ok(submitted) => *stage = submitted,
                    Err((error, cargo)) => {
                        *stage = Stage::Idle(cargo);
                        return Err(error);
                    }
                }
            }
            Stage::Known(Err(error)) => return Err(error),
            Stage::Finished => return Err(polled_again()),
            under_way => *stage = under_way,
        }
        Ok(())
    }

    #[inline]
    pub(super) fn poll(&mut self, context: &Context<'_>) -> Poll<Result<u64, Error>> {
        if let Stage::Idle(_) = self.stage
            && let Some(ticket) = self.submit_in_poll()
        {
            let outcome = decode(&self.request, ticket);
            self.forget();
            return Poll::Ready(outcome);
        }
        let Self { request, stage } = self;
        if let Stage::Submitted(pending) = stage {
            let ticket = ready!(pending.poll(request.length, context));
            return Poll::Ready(self.end(ticket));
        }
        match mem::replace(stage, Stage::Finished) {
            Stage::Known(outcome) => Poll::Ready(outcome),
            _ => Poll::Ready(Err(polled_again())),
        }
    }

    /// As [`poll`](Self::poll), for the batch that submitted it, alone or with others.
    #[inline]
    pub(super) fn poll_with(
        &mut self,
        (shared, is_alone): (&Shared, bool),
        context: &Context<'_>,
    ) -> Poll<Result<u64, Error>> {
        let Stage::Batched(flight) = &mut self.stage else { return self.poll(context) };
        let length = self.request.length;
        let ticket = ready!(Flight::poll_batched(flight, (shared, is_alone), length, context));
        Poll::Ready(ticket.and_then(|ticket| decode(&self.request, ticket)))
    }

    /// The same of a bundle, of which the ticket tells.
    #[inline]
    pub(super) fn poll_bundle(
        &mut self,
        (shared, is_alone): (&Shared, bool),
        context: &Context<'_>,
    ) -> Poll<Result<Ticket, Error>> {
        let length = self.request.length;
        match &mut self.stage {
            Stage::Batched(flight) => {
                Flight::poll_batched(flight, (shared, is_alone), length, context)
            }
            // It was refused.
            _ => self.poll(context).map(|outcome| outcome.and(Err(polled_again()))),
        }
    }

    /// What the batch that submitted it gives up.
    #[inline]
    pub(super) fn take_flight(&mut self) -> Option<Flight> {
        if !matches!(self.stage, Stage::Batched(_)) {
            return None;
        }
        self.forget();
        match mem::replace(&mut self.stage, Stage::Finished) {
            Stage::Batched(flight) => flight,
            _ => None,
        }
    }

    /// Gives the outcome out, and what it was kept with up.
    #[inline]
    fn end(&mut self, ticket: Result<Ticket, Error>) -> Result<u64, Error> {
        let outcome = ticket.and_then(|ticket| decode(&self.request, ticket));
        // Dropped where it is: to move it is to read as a whole what was written in parts just now.
        self.stage = Stage::Finished;
        self.forget();
        outcome
    }

    /// Forgets what was asked for, if that keeps anything from being used again.
    #[inline]
    fn forget(&mut self) {
        if self.request.segments().is_some() {
            self.request.work = Work::Persist;
        }
    }
}

pub(super) fn polled_again() -> Error {
    Error::new(ErrorKind::Aborted, "polled again after it gave its outcome")
}

/// An operation that was not taken, and why. The operation is as it was and can be tried again.
#[derive(Debug)]
pub struct Rejected<T> {
    /// Why.
    pub error: Error,
    /// The operation.
    pub operation: T,
}

impl<T> fmt::Display for Rejected<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}

impl<T: fmt::Debug> error::Error for Rejected<T> {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(&self.error)
    }
}

impl<T> From<Rejected<T>> for Error {
    fn from(rejected: Rejected<T>) -> Self {
        rejected.error
    }
}

macro_rules! operation {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// Submitted when first polled, or by [`submit`](Self::submit). Resolves to the number of bytes of
        /// its range. Any executor will do. Dropping it never stops an operation that was submitted.
        #[derive(Debug)]
        #[must_use = "an operation does nothing until it is awaited, polled or submitted"]
        pub struct $name(pub(super) Op);

        impl $name {
            #[inline]
            pub(crate) fn new(request: Request, cargo: Cargo) -> Self {
                Self(Op::new(request, cargo))
            }

            /// Starts only after every operation that was submitted to this runtime before it has ended,
            /// successfully or not, on every engine. Later operations without a fence may overtake it.
            ///
            /// No effect on an operation that was submitted already, nor on one of 0 bytes, which is done at once.
            pub fn fence(mut self) -> Self {
                self.0.set(|request| request.fenced = true);
                self
            }

            /// What is done about parts that an engine fails to copy, instead of what the
            /// [builder](crate::Builder::on_error) says.
            ///
            /// Without an engine that is the host's CPU, [`RetryOnCpu`](OnError::RetryOnCpu) resolves to
            /// [`Unsupported`](crate::ErrorKind::Unsupported). Where the engines give an operation to the CPU in
            /// the first place, a failure there is not tried again. No effect on an operation that was submitted already.
            pub fn on_error(mut self, on_error: OnError) -> Self {
                self.0.set(|request| request.on_error = Some(on_error));
                self
            }

            /// How long it may take, counted from its submission by the runtime's clock.
            ///
            /// When the time is over it resolves to [`TimedOut`](crate::ErrorKind::TimedOut). What is not begun by then,
            /// because a fence or other operations hold it back, is not begun. What is goes on: its destination is
            /// unspecified, and its regions and its place in the ring stay in use, until the engine has let go. The clock
            /// is looked at now and then, so it may resolve late, by milliseconds where the CPU engine is busy, and never
            /// early. No effect on an operation that was submitted already.
            pub fn timeout(mut self, timeout: Duration) -> Self {
                self.0.set(|request| request.timeout = Some(timeout));
                self
            }

            /// Submits now, without waiting: into the ring, or into the queue for a place in it. An error
            /// is given when the future is awaited.
            #[inline]
            pub fn submit(mut self) -> Self {
                self.0.submit();
                self
            }

            /// Submits now if the ring has a place.
            ///
            /// # Errors
            ///
            /// [`QueueFull`](crate::ErrorKind::QueueFull) if it has none or others wait for one, or any error that
            /// the operation itself would give. The operation comes back with it.
            pub fn try_submit(mut self) -> Result<Self, Rejected<Self>> {
                match self.0.try_submit() {
                    Ok(()) => Ok(self),
                    Err(error) => Err(Rejected { error, operation: self }),
                }
            }
        }

        impl Future for $name {
            type Output = Result<u64, Error>;

            fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
                self.0.poll(context)
            }
        }
    };
}

operation! {
    /// A copy between regions or within one: the future that [`Region::copy_to`](crate::Region::copy_to) returns.
    Copy
}

operation! {
    /// A fill: the future that [`Region::fill`](crate::Region::fill) returns.
    Fill
}

operation! {
    /// Making durable what is there: the future that [`Region::persist`](crate::Region::persist) returns.
    Persist
}

operation! {
    /// A copy of several segments: the future that [`Runtime::copy_vectored`](crate::Runtime::copy_vectored) returns.
    CopyVectored
}
