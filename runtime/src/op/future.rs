//! `Copy`, `Fill` and `Persist`: named futures over one operation.

use std::{
    error, fmt,
    future::Future,
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use super::{OnError, pending::Pending, request::Request};
use crate::error::{Error, ErrorKind};

/// Where an operation stands, as its future sees it.
#[derive(Debug)]
pub(super) enum Op {
    /// Not submitted, and not checked.
    Idle(Request),
    /// The outcome is known and nothing is in flight.
    Known(Result<u64, Error>),
    Submitted(Pending),
    /// The outcome was given out.
    Finished,
}

impl Op {
    pub(super) fn set(&mut self, set: impl FnOnce(&mut Request)) {
        if let Self::Idle(request) = self {
            set(request);
        }
    }

    /// Submits what was not submitted. In place: a request is long, and moving it about costs more than checking it.
    #[inline]
    fn submit(&mut self) {
        let Self::Idle(request) = self else { return };
        let submitted = match request.check() {
            Ok(()) if request.length == 0 => Ok(Self::Known(Ok(0))),
            Ok(()) => Pending::submit(request).map(Self::Submitted),
            Err(error) => Err(error),
        };
        *self = submitted.unwrap_or_else(|error| Self::Known(Err(error)));
    }

    /// Submits if there is a place. On an error the operation is as it was.
    fn try_submit(&mut self) -> Result<(), Error> {
        match self {
            Self::Idle(request) => {
                request.check()?;
                *self = if request.length == 0 {
                    Self::Known(Ok(0))
                } else {
                    Self::Submitted(Pending::try_submit(request)?)
                };
                Ok(())
            }
            Self::Submitted(_) | Self::Known(Ok(_)) => Ok(()),
            Self::Known(Err(_)) | Self::Finished => match mem::replace(self, Self::Finished) {
                Self::Known(Err(error)) => Err(error),
                _ => Err(polled_again()),
            },
        }
    }

    pub(super) fn poll(&mut self, context: &Context<'_>) -> Poll<Result<u64, Error>> {
        self.submit();
        if let Self::Submitted(pending) = self {
            let outcome = ready!(pending.poll(context));
            *self = Self::Finished;
            return Poll::Ready(outcome);
        }
        match mem::replace(self, Self::Finished) {
            Self::Known(outcome) => Poll::Ready(outcome),
            _ => Poll::Ready(Err(polled_again())),
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
            pub(crate) fn new(request: Request) -> Self {
                Self(Op::Idle(request))
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

impl CopyVectored {
    /// One whose outcome is known before it begins.
    pub(crate) fn known(outcome: Result<u64, Error>) -> Self {
        Self(Op::Known(outcome))
    }
}
