//! Operations that depend on each other's success.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use super::{
    batch::Operation,
    future::{Copy, CopyVectored, Fill, Op, Persist},
};
use crate::error::{Error, ErrorKind};

/// Operations in a chain: each begins only if the one before it succeeded.
///
/// Made by `then` of an operation or a chain. Resolves to the last one's number of bytes. The chain moves on
/// when it is polled: dropped, it begins no further operation, while the one in flight goes on.
///
/// # Errors
///
/// The last operation's own error as it is. Where an earlier one fails, those behind it are not begun, and the
/// error is [`Aborted`](ErrorKind::Aborted): it says how many were not, and its
/// [`source`](std::error::Error::source) is the failure.
#[derive(Debug)]
#[must_use = "a chain does nothing until it is awaited or polled"]
pub struct Then {
    operations: VecDeque<Op>,
}

impl Then {
    /// Adds an operation that begins only if all before it succeeded.
    pub fn then(mut self, next: impl Into<Operation>) -> Self {
        self.operations.push_back(next.into().0);
        self
    }
}

impl Copy {
    /// Has `next` begin only if this copy succeeded.
    pub fn then(self, next: impl Into<Operation>) -> Then {
        Then { operations: [self.0, next.into().0].into() }
    }
}

impl CopyVectored {
    /// Has `next` begin only if all segments were copied.
    pub fn then(self, next: impl Into<Operation>) -> Then {
        Then { operations: [self.0, next.into().0].into() }
    }
}

impl Fill {
    /// Has `next` begin only if this fill succeeded.
    pub fn then(self, next: impl Into<Operation>) -> Then {
        Then { operations: [self.0, next.into().0].into() }
    }
}

impl Persist {
    /// Has `next` begin only if this succeeded.
    pub fn then(self, next: impl Into<Operation>) -> Then {
        Then { operations: [self.0, next.into().0].into() }
    }
}

impl Future for Then {
    type Output = Result<u64, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let Some(first) = self.operations.front_mut() else {
                let again = "polled again after it gave its outcome";
                return Poll::Ready(Err(Error::new(ErrorKind::Aborted, again)));
            };
            let outcome = ready!(first.poll(context));
            self.operations.pop_front();
            match (outcome, self.operations.len()) {
                (outcome, 0) => return Poll::Ready(outcome),
                (Ok(_), _) => {}
                (Err(error), left) => {
                    self.operations.clear();
                    let message = format!(
                        "{left} operations not begun, since the one before them failed: {error}"
                    );
                    return Poll::Ready(Err(Error::with_source(
                        ErrorKind::Aborted,
                        message,
                        error,
                    )));
                }
            }
        }
    }
}
