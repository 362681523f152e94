//! Quiescing regions: [orders](crate::orders) from the application to the poller, which answers when nothing is at a region
//! any more.

use std::fmt;

use dmaring_ring::Key;

use crate::orders::Orders;

/// What the poller says about a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing names it any more, in the line for a place, in the ring or in an engine, and nothing will: its key was retired.
    Quiet,
    /// Nothing names it but operations that a lost engine keeps, which may still be at its memory. Its key was retired, too.
    Captive,
    /// The runtime has ended, and its engines with it.
    Ended,
}

/// How far the poller has come. What was submitted before the order has to pass all three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Operations on the region may wait for a place in the ring.
    Line,
    /// They may stand in the ring. So many entries had been taken from it when none waited for a place any more.
    Ring { taken: u64 },
    /// They are the poller's, or have ended.
    Engines,
}

pub(crate) type Quiesce = Orders<Order>;

/// One order, at the poller.
pub(crate) struct Order {
    /// Which region.
    pub(crate) key: Key,
    pub(crate) progress: Progress,
    answer: Option<Answer>,
}

/// What is done with the verdict. It runs on the poller: it hands over and returns.
type Answer = Box<dyn FnOnce(Verdict) + Send>;

impl Quiesce {
    /// Asks for a verdict on a region that takes no more operations. The caller wakes the poller.
    pub(crate) fn order(&self, key: Key, answer: Answer) {
        self.push(Order { key, progress: Progress::Line, answer: Some(answer) });
    }

    /// Asks for a verdict on a region that nobody has a handle of any more: no slot either, so that what was submitted has
    /// passed the line and the ring. The caller wakes the poller.
    #[cfg_attr(loom, allow(dead_code, reason = "its user is not built under loom"))]
    pub(crate) fn order_last(&self, key: Key, answer: Answer) {
        self.push(Order { key, progress: Progress::Engines, answer: Some(answer) });
    }
}

impl Order {
    pub(crate) fn answer(mut self, verdict: Verdict) {
        self.tell(verdict);
    }

    fn tell(&mut self, verdict: Verdict) {
        if let Some(answer) = self.answer.take() {
            answer(verdict);
        }
    }
}

impl Drop for Order {
    fn drop(&mut self) {
        self.tell(Verdict::Ended);
    }
}

impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Order")
            .field("key", &self.key)
            .field("progress", &self.progress)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn every_order_is_answered_once_whatever_becomes_of_it() {
        let quiesce = Quiesce::new();
        let (tell, told) = mpsc::channel();
        let order = |index| {
            let tell = tell.clone();
            let answer = move |verdict| tell.send((index, verdict)).unwrap();
            quiesce.order(Key { index, generation: 1 }, Box::new(answer));
        };
        order(0);
        order(1);
        assert!(quiesce.has_orders());
        let mut orders = quiesce.take();
        assert!(!quiesce.has_orders());
        drop(orders.pop());
        orders.pop().unwrap().answer(Verdict::Quiet);
        order(2);
        quiesce.close();
        order(3);
        let told: Vec<_> = told.try_iter().collect();
        let ended = |index| (index, Verdict::Ended);
        assert_eq!(told, [ended(1), (0, Verdict::Quiet), ended(2), ended(3)]);
    }
}
