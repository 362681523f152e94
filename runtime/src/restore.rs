//! Bringing engines back: [orders](crate::orders) from the application to the poller, and their answers.

use std::task::{Context, Poll};

use dmaring_engine::Status;

use crate::{
    orders::Orders,
    reply::{self, Listener, Teller},
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

pub(crate) type Restores = Orders<Order>;

/// One wish, at the poller.
#[derive(Debug)]
pub(crate) struct Order {
    /// Which engine.
    pub(crate) lane: usize,
    /// Whether the poller has acted on it.
    pub(crate) begun: bool,
    reply: Teller<Restored>,
}

/// The wish, where it was made.
#[derive(Debug)]
pub(crate) struct Wish(Listener<Restored>);

impl Restores {
    /// Asks for an engine. The caller wakes the poller.
    pub(crate) fn order(&self, lane: usize) -> Wish {
        let (reply, listener) = reply::pair();
        self.push(Order { lane, begun: false, reply });
        Wish(listener)
    }
}

impl Order {
    pub(crate) fn answer(self, outcome: Restored) {
        self.reply.tell(|| outcome);
    }
}

impl Wish {
    /// The answer, the same whenever it is asked for.
    pub(crate) fn poll(&self, context: &mut Context<'_>) -> Poll<Restored> {
        self.0.poll(context, |answer| *answer)
    }
}

impl Drop for Order {
    fn drop(&mut self) {
        self.reply.tell(|| Restored::Ended);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::task::Waker;

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
