//! The outcomes of a submitted batch, one by one or together.

use std::{
    collections::VecDeque,
    future::Future,
    ops::Range,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use dmaring_ring::CompletionCode;
use futures_core::Stream;

use super::super::{
    future::{Op, polled_again},
    lists::{Held, Lists},
};
use crate::{bundle::Part, error::Error, inflight::Chain, shared::Shared};

/// The operations of a submitted batch.
///
/// As a [`Stream`] it gives the outcomes in the order in which the operations were pushed, which need not be the
/// order in which they end. Dropping it stops no operation.
#[derive(Debug)]
#[must_use = "the outcomes tell whether the copies were made"]
pub struct Submitted {
    pub(super) shared: Arc<Shared>,
    pub(super) lists: Held,
}

/// How far the outcomes of a batch were given.
#[derive(Debug, Default)]
pub(in super::super) struct Told {
    /// How many outcomes are still to be given, besides those of the bundle that has just ended.
    pub(super) left: usize,
    /// The first operation that has not given its outcome.
    pub(super) next: usize,
    /// The copies of the bundle before it that were made, and are still to be told of.
    made: Range<usize>,
    /// The outcomes of that bundle, where not all of its copies were made.
    pub(super) mixed: VecDeque<Result<u64, Error>>,
    /// The slots of those that have given their outcome.
    free: Chain,
}

/// The bytes that all operations of a batch have written: see [`Submitted::all`].
///
/// Dropping it stops no operation. Polled again after it gave the sum it gives [`ErrorKind::Aborted`](crate::ErrorKind::Aborted).
#[derive(Debug)]
#[must_use = "the sum tells whether the copies were made"]
pub struct All {
    /// The operations, and the sum so far; `None` once it was given.
    asked: Option<(Submitted, Result<u64, Error>)>,
}

/// How the first operation of a batch that has not given its outcome ended.
enum First {
    /// It is one operation.
    One(Result<u64, Error>),
    /// It is a bundle, and all of its copies were made: these, of so many bytes together.
    Made(Range<usize>, u64),
    /// It is a bundle of which not all were made, of each of which is noted how it ended.
    Mixed,
}

/// How many free slots are kept at most, to be given back together.
pub(super) const KEPT: u32 = 16;

impl Submitted {
    /// Waits for all and gives the number of bytes written by them together.
    ///
    /// # Errors
    ///
    /// The error of the first operation, in order, that has one; the others have ended by then, too.
    pub fn all(self) -> All {
        All { asked: Some((self, Ok(0))) }
    }

    /// What is known of the bundle that ended last and was not told of yet: `None` if that is nothing.
    #[inline]
    fn next_known(&mut self) -> Option<Result<u64, Error>> {
        let Lists { parts, told, .. } = self.lists.get();
        if let Some(part) = told.made.next().and_then(|place| parts.get(place)) {
            return Some(Ok(Part::of_words(*part).length));
        }
        told.mixed.pop_front()
    }

    /// How the first operation that has not given its outcome ended: `None` if there is none.
    #[inline]
    fn poll_first(&mut self, context: &Context<'_>) -> Poll<Option<First>> {
        let Self { shared, lists } = self;
        let Lists { operations, told, .. } = lists.get();
        let with = (&**shared, operations.len() == 1);
        let Some(first) = operations.get_mut(told.next) else { return Poll::Ready(None) };
        let ended = match first.bundle() {
            None => {
                let outcome = ready!(first.poll_with(with, context));
                told.left -= 1;
                First::One(outcome)
            }
            Some((places, bytes)) => {
                let outcome = ready!(first.poll_bundle(with, context));
                told.left -= places.len();
                match outcome {
                    Ok(ticket) if ticket.entry().code() == CompletionCode::DONE => {
                        First::Made(places, bytes)
                    }
                    outcome => {
                        self.tell_mixed(places, outcome);
                        First::Mixed
                    }
                }
            }
        };
        self.end_first();
        Poll::Ready(Some(ended))
    }

    /// The first operation has its outcome: its slot goes back, and the next is the first.
    #[inline]
    fn end_first(&mut self) {
        let Self { shared, lists } = self;
        let Lists { operations, told: Told { next, free, .. }, .. } = lists.get();
        if let Some(flight) = operations.get_mut(*next).and_then(Op::take_flight) {
            flight.end_to(shared, free);
        }
        *next += 1;
        if free.len() >= KEPT || *next == operations.len() {
            shared.client.inflight.give_back(free);
        }
    }
}

impl Stream for Submitted {
    type Item = Result<u64, Error>;

    #[inline]
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(outcome) = self.next_known() {
                return Poll::Ready(Some(outcome));
            }
            match ready!(self.poll_first(context)) {
                None => return Poll::Ready(None),
                Some(First::One(outcome)) => return Poll::Ready(Some(outcome)),
                Some(First::Made(places, _)) => self.lists.get().told.made = places,
                Some(First::Mixed) => {}
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.lists.peek().map_or(0, |lists| lists.told.left());
        (left, Some(left))
    }
}

impl Future for All {
    type Output = Result<u64, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some((submitted, total)) = &mut self.asked else {
            return Poll::Ready(Err(polled_again()));
        };
        // Of a bundle of which some were told one by one.
        while let Some(outcome) = submitted.next_known() {
            add(total, outcome);
        }
        while let Some(ended) = ready!(submitted.poll_first(context)) {
            match ended {
                First::One(outcome) => add(total, outcome),
                First::Made(_, bytes) => add(total, Ok(bytes)),
                First::Mixed => {
                    while let Some(outcome) = submitted.next_known() {
                        add(total, outcome);
                    }
                }
            }
        }
        // Nothing is held for a sum that was given.
        let total = self.asked.take().map(|(_, total)| total);
        Poll::Ready(total.unwrap_or_else(|| Err(polled_again())))
    }
}

/// Adds the bytes of an operation to those of others. The first error stays.
#[inline]
fn add(total: &mut Result<u64, Error>, outcome: Result<u64, Error>) {
    if let Ok(bytes) = total {
        match outcome {
            Ok(more) => *bytes = bytes.saturating_add(more),
            error => *total = error,
        }
    }
}

impl Told {
    /// How many outcomes are still to be given.
    fn left(&self) -> usize {
        self.left + self.made.len() + self.mixed.len()
    }

    /// For another batch.
    pub(in super::super) fn clear(&mut self) {
        let Self { left, next, made, mixed, free } = self;
        debug_assert_eq!(free.len(), 0, "slots go back before");
        (*left, *next, *made) = (0, 0, 0..0);
        mixed.clear();
    }
}

impl Drop for Submitted {
    fn drop(&mut self) {
        let Self { shared, lists } = self;
        if shared.origin.is_elsewhere() {
            return;
        }
        let Lists { operations, told, .. } = lists.get();
        shared.client.inflight.give_back(&mut told.free);
        for flight in operations.iter_mut().skip(told.next).filter_map(Op::take_flight) {
            flight.end(shared);
        }
        shared.batches.put(lists);
    }
}
