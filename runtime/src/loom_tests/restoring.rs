//! Orders to bring an engine back, against a poller that sleeps, answers and ends.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use dmaring_ring::handshake;
use loom::{sync::atomic::Ordering, thread};

use super::{Pair, woken};
use crate::restore::{Restored, Restores, Wish};

fn outcome(wish: &Wish) -> Option<Restored> {
    let (_woken, waker) = woken();
    match wish.poll(&mut Context::from_waker(&waker)) {
        Poll::Ready(outcome) => Some(outcome),
        Poll::Pending => None,
    }
}

/// An order while the poller is about to sleep: it sees the order, or the word that it sleeps on is clear.
#[test]
fn loom_an_order_keeps_the_poller_awake() {
    loom::model(|| {
        let (pair, restores) = (Arc::new(Pair::new()), Arc::new(Restores::new()));
        let (its_pair, its_restores) = (pair.clone(), restores.clone());
        let sleeper = thread::spawn(move || {
            handshake::prepare_park(&its_pair.header);
            its_restores.has_orders()
        });
        let wish = restores.order(1);
        // As `park::summon` does, before it wakes the thread.
        pair.header.need_wakeup_word().swap(0, Ordering::SeqCst);
        let seen = sleeper.join().unwrap();
        let awake = pair.header.need_wakeup_word().load(Ordering::SeqCst) == 0;
        assert!(seen || awake, "asleep with an order before it");
        for order in restores.take() {
            order.answer(Restored::Works);
        }
        assert_eq!(outcome(&wish), Some(Restored::Works));
    });
}

/// An order while the poller takes what there is: it is taken now, or still said to wait.
#[test]
fn loom_an_order_is_taken_or_still_there() {
    loom::model(|| {
        let restores = Arc::new(Restores::new());
        let first = restores.order(0);
        let its_restores = restores.clone();
        let poller = thread::spawn(move || its_restores.take().len());
        let second = restores.order(1);
        let taken = poller.join().unwrap();
        assert!(taken == 2 || restores.has_orders(), "nobody would look");
        drop(restores.take());
        for wish in [first, second] {
            assert_eq!(outcome(&wish), Some(Restored::Ended));
        }
    });
}

/// An order while the poller ends: it is answered.
#[test]
fn loom_an_order_against_the_end() {
    loom::model(|| {
        let restores = Arc::new(Restores::new());
        let its_restores = restores.clone();
        let poller = thread::spawn(move || {
            drop(its_restores.take());
            its_restores.close();
        });
        let wish = restores.order(0);
        poller.join().unwrap();
        assert_eq!(outcome(&wish), Some(Restored::Ended));
    });
}

/// Who waits for an answer is woken by it.
#[test]
fn loom_an_answer_wakes_who_waits() {
    loom::model(|| {
        let restores = Restores::new();
        let wish = restores.order(0);
        let order = restores.take().pop().unwrap();
        let poller = thread::spawn(move || order.answer(Restored::Works));
        let (woken, waker) = woken();
        let at_once = wish.poll(&mut Context::from_waker(&waker)).is_ready();
        poller.join().unwrap();
        assert!(at_once || woken.0.load(Ordering::SeqCst) == 1, "pending and never woken");
        assert_eq!(outcome(&wish), Some(Restored::Works));
    });
}
