//! Orders from the application to the poller.
//!
//! An order waits in a list behind a lock that nobody takes in steady state. Each is answered once: by the poller, or by its
//! drop, which comes at the latest when the list is closed. So nobody waits for a poller that has ended.
//!
//! A poller that is about to sleep does not miss an order. Who makes one sets `waiting`, then clears the word that the poller
//! sleeps on (`park::summon`); the poller sets that word, executes a full fence, and looks at `waiting`. Both write the word
//! by exchanges, which stand in one order. If the poller's is the later one, it has read what the other's released, and the
//! look sees the order; if it is the earlier one, the word is clear again, and the poller does not sleep on it.

use crate::sync::{AtomicU32, Mutex, Ordering, lock};

/// Orders of one kind. An order's drop answers it.
#[derive(Debug)]
pub(crate) struct Orders<T> {
    /// 1: the list is not empty.
    waiting: AtomicU32,
    list: Mutex<List<T>>,
}

#[derive(Debug)]
struct List<T> {
    closed: bool,
    orders: Vec<T>,
}

impl<T> Orders<T> {
    pub(crate) fn new() -> Self {
        let list = List { closed: false, orders: Vec::new() };
        Self { waiting: AtomicU32::new(0), list: Mutex::new(list) }
    }

    /// Appends an order, or drops it where the list is closed. The caller wakes the poller.
    pub(crate) fn push(&self, order: T) {
        let mut list = lock(&self.list);
        if list.closed {
            drop(list);
            drop(order);
        } else {
            list.orders.push(order);
            self.waiting.store(1, Ordering::Release);
        }
    }

    pub(crate) fn has_orders(&self) -> bool {
        self.waiting.load(Ordering::Acquire) != 0
    }

    /// Takes what was asked for.
    pub(crate) fn take(&self) -> Vec<T> {
        let mut list = lock(&self.list);
        self.waiting.store(0, Ordering::Release);
        std::mem::take(&mut list.orders)
    }

    /// Takes no more orders: the poller has ended.
    pub(crate) fn close(&self) {
        let left = {
            let mut list = lock(&self.list);
            list.closed = true;
            std::mem::take(&mut list.orders)
        };
        drop(left);
    }
}
