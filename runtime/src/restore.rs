//! Bringing engines back: orders from the application to the poller, and their answers.
//!
//! An order waits in a list behind a lock that nobody takes in steady state. Each is answered once: by the poller, when
//! it is dropped, or because the list was closed. So nobody waits for a poller that has ended.
//!
//! A poller that is about to sleep does not miss an order. Who makes one sets `waiting`, then clears the word that the poller
//! sleeps on (`park::summon`); the poller sets that word, executes a full fence, and looks at `waiting`. Both write the word
//! by exchanges, which stand in one order. If the poller's is the later one, it has read what the other's released, and the
//! look sees the order; if it is the earlier one, the word is clear again, and the poller does not sleep on it.

use std::{
    sync::Arc,
    task::{Context, Poll, Waker},
};

use dmaring_engine::Status;

use crate::{
    foreign,
    sync::{AtomicU32, Mutex, Ordering, lock},
};

/// What became of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Restored {
    /// The engine takes operations.
    Works,
    /// It did not come back, for this reason if it gave one.
    Failed(Option<Status>),
    /// The runtime ended first.
    Ended,
}

#[derive(Debug)]
pub(crate) struct Restores {
    /// 1: the list is not empty.
    waiting: AtomicU32,
    orders: Mutex<Orders>,
}

#[derive(Debug, Default)]
struct Orders {
    closed: bool,
    list: Vec<Order>,
}

/// One wish, at the poller.
#[derive(Debug)]
pub(crate) struct Order {
    /// Which engine.
    pub(crate) lane: usize,
    /// Whether the poller has acted on it.
    pub(crate) begun: bool,
    reply: Arc<Mutex<Reply>>,
}

#[derive(Debug, Default)]
struct Reply {
    outcome: Option<Restored>,
    waker: Option<Waker>,
}

/// The wish, where it was made.
#[derive(Debug)]
pub(crate) struct Wish(Arc<Mutex<Reply>>);

impl Restores {
    pub(crate) fn new() -> Self {
        Self { waiting: AtomicU32::new(0), orders: Mutex::new(Orders::default()) }
    }

    /// Asks for an engine. The caller wakes the poller.
    pub(crate) fn order(&self, lane: usize) -> Wish {
        let reply = Arc::new(Mutex::new(Reply::default()));
        let order = Order { lane, begun: false, reply: reply.clone() };
        let mut orders = lock(&self.orders);
        if orders.closed {
            drop(orders);
            drop(order);
        } else {
            orders.list.push(order);
            self.waiting.store(1, Ordering::Release);
        }
        Wish(reply)
    }

    pub(crate) fn has_orders(&self) -> bool {
        self.waiting.load(Ordering::Acquire) != 0
    }

    /// Takes what was asked for.
    pub(crate) fn take(&self) -> Vec<Order> {
        let mut orders = lock(&self.orders);
        self.waiting.store(0, Ordering::Release);
        std::mem::take(&mut orders.list)
    }

    /// Takes no more orders: the poller has ended.
    pub(crate) fn close(&self) {
        let left = {
            let mut orders = lock(&self.orders);
            orders.closed = true;
            std::mem::take(&mut orders.list)
        };
        drop(left);
    }
}

impl Order {
    pub(crate) fn answer(self, outcome: Restored) {
        self.tell(outcome);
    }

    fn tell(&self, outcome: Restored) {
        let waker = {
            let mut reply = lock(&self.reply);
            reply.outcome.get_or_insert(outcome);
            reply.waker.take()
        };
        if let Some(waker) = waker
            && foreign::call(|| waker.wake()).is_none()
        {
            tracing::error!("a waker panicked; the engine it waited for was answered for");
        }
    }
}

impl Drop for Order {
    fn drop(&mut self) {
        self.tell(Restored::Ended);
    }
}

impl Wish {
    pub(crate) fn poll(&self, context: &mut Context<'_>) -> Poll<Restored> {
        // Cloned and dropped outside the lock: a waker is foreign code.
        let waker = context.waker().clone();
        let mut reply = lock(&self.0);
        if let Some(outcome) = reply.outcome {
            drop(reply);
            return Poll::Ready(outcome);
        }
        let before = reply.waker.replace(waker);
        drop(reply);
        drop(before);
        Poll::Pending
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn poll(wish: &Wish) -> Poll<Restored> {
        wish.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn an_order_is_answered_once_and_one_that_is_dropped_is_answered_too() {
        let restores = Restores::new();
        let wishes = [restores.order(0), restores.order(1)];
        assert!(restores.has_orders());
        assert!(poll(&wishes[0]).is_pending());
        let mut orders = restores.take();
        assert!(!restores.has_orders());
        let second = orders.pop().unwrap();
        assert_eq!(second.lane, 1);
        orders.pop().unwrap().answer(Restored::Works);
        drop(second);
        assert_eq!(
            wishes.each_ref().map(poll).map(|poll| poll.map(|outcome| outcome)),
            [Poll::Ready(Restored::Works), Poll::Ready(Restored::Ended)]
        );
    }

    #[test]
    fn nobody_waits_for_a_poller_that_has_ended() {
        let restores = Restores::new();
        let before = restores.order(0);
        restores.close();
        assert_eq!(poll(&before), Poll::Ready(Restored::Ended));
        assert_eq!(poll(&restores.order(0)), Poll::Ready(Restored::Ended));
        assert!(!restores.take().iter().any(|_| true));
    }
}
