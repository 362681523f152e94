//! Many operations under one doorbell.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use dmaring_ring::SubmissionEntry;
use futures_core::Stream;

use super::{
    future::{Copy, CopyVectored, Fill, Op, Persist},
    pending::Pending,
};
use crate::{
    error::{Error, ErrorKind},
    shared::Shared,
};

/// Operations that are collected and then submitted together: one claim of the ring, one doorbell.
///
/// Made by [`Runtime::batch`](crate::Runtime::batch). Nothing is submitted before [`submit`](Batch::submit); a
/// dropped batch does nothing. A batch may have more operations than the ring has entries: the rest
/// follows as entries become free.
#[derive(Debug)]
#[must_use = "a batch does nothing until it is submitted"]
pub struct Batch {
    shared: Arc<Shared>,
    operations: Vec<Op>,
}

/// The operations of a submitted batch.
///
/// As a [`Stream`] it gives the outcomes in the order in which the operations were pushed, which need not be the
/// order in which they end. Dropping it stops no operation.
#[derive(Debug)]
#[must_use = "the outcomes tell whether the copies were made"]
pub struct Submitted {
    operations: VecDeque<Op>,
}

impl Batch {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, operations: Vec::new() }
    }

    /// Adds a [`struct@Copy`], a [`CopyVectored`], a [`Fill`] or a [`Persist`]. One that was submitted already is not
    /// submitted again.
    pub fn push(&mut self, operation: impl Into<Operation>) {
        self.operations.push(operation.into().0);
    }

    /// How many operations there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// Submits all, in order. What is refused gives its error as its outcome.
    pub fn submit(mut self) -> Submitted {
        let mut entries = Vec::with_capacity(self.operations.len());
        for operation in &mut self.operations {
            if matches!(operation, Op::Idle(_)) {
                let idle = std::mem::replace(operation, Op::Finished);
                *operation = prepare(&self.shared, idle, &mut entries);
            }
        }
        self.shared.client.submit_prepared(&entries);
        Submitted { operations: self.operations.into() }
    }
}

/// Gives an operation its slot and appends its entry.
fn prepare(shared: &Arc<Shared>, idle: Op, entries: &mut Vec<SubmissionEntry>) -> Op {
    let Op::Idle(mut request) = idle else { return idle };
    if let Err(error) = request.check().and_then(|()| shared.check_process()) {
        return Op::Known(Err(error));
    }
    if request.length == 0 {
        return Op::Known(Ok(0));
    }
    let Some(cargo) = request.cargo.take() else { return Op::Idle(request) };
    if !Arc::ptr_eq(shared, &cargo.destination.0.shared) {
        return Op::Known(Err(Error::new(
            ErrorKind::Unmapped,
            "the operation belongs to a different runtime than its batch",
        )));
    }
    let (place, entry) = (request.place(&cargo), request.entry(&cargo));
    match shared.client.prepare(cargo) {
        Ok(key) => {
            entries.push(SubmissionEntry { key, ..entry });
            Op::Submitted(Pending::prepared(shared.clone(), key, place))
        }
        Err(_) => Op::Known(Err(Error::new(
            ErrorKind::LimitExceeded,
            "too many operations are unfinished or unclaimed: await or drop some",
        ))),
    }
}

impl Submitted {
    /// Waits for all and gives the number of bytes written by them together.
    ///
    /// # Errors
    ///
    /// The error of the first operation, in order, that has one; the others have ended by then, too.
    pub async fn all(mut self) -> Result<u64, Error> {
        let mut total = Ok(0u64);
        while let Some(outcome) = poll_fn(|context| Pin::new(&mut self).poll_next(context)).await {
            total = match (total, outcome) {
                (Ok(total), Ok(bytes)) => Ok(total.saturating_add(bytes)),
                (Ok(_), Err(error)) | (Err(error), _) => Err(error),
            };
        }
        total
    }
}

impl Stream for Submitted {
    type Item = Result<u64, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(first) = self.operations.front_mut() else { return Poll::Ready(None) };
        match first.poll(context) {
            Poll::Ready(outcome) => {
                self.operations.pop_front();
                Poll::Ready(Some(outcome))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.operations.len(), Some(self.operations.len()))
    }
}

/// What a batch or a chain takes: a [`struct@Copy`], a [`CopyVectored`], a [`Fill`] or a [`Persist`].
#[derive(Debug)]
pub struct Operation(pub(super) Op);

impl From<Copy> for Operation {
    fn from(copy: Copy) -> Self {
        Self(copy.0)
    }
}

impl From<CopyVectored> for Operation {
    fn from(copy: CopyVectored) -> Self {
        Self(copy.0)
    }
}

impl From<Fill> for Operation {
    fn from(fill: Fill) -> Self {
        Self(fill.0)
    }
}

impl From<Persist> for Operation {
    fn from(persist: Persist) -> Self {
        Self(persist.0)
    }
}
