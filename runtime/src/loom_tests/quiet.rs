//! A region that ends, against operations on their way to the poller and a poller that sleeps or ends.

use std::sync::Arc;

use dmaring_ring::{Key, SubmissionEntry, handshake, submission};
use loom::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use super::{Bench, Counted, Pair};
use crate::quiesce::{Quiesce, Verdict};

const REGION: Key = Key { index: 7, generation: 3 };

/// Submits an operation on the region.
fn submit(bench: &Bench) {
    let cargo = Counted(bench.drops.clone());
    let entry = |key| SubmissionEntry { key, destination: REGION, ..Default::default() };
    bench.client.submit(cargo, entry).unwrap();
}

/// Orders a verdict on the region. Gives how often it was answered.
fn order(quiesce: &Quiesce) -> Arc<AtomicUsize> {
    let answers = Arc::new(AtomicUsize::new(0));
    let told = answers.clone();
    let answer = move |_: Verdict| {
        told.fetch_add(1, Ordering::SeqCst);
    };
    quiesce.order(REGION, Box::new(answer));
    answers
}

/// A place comes free for an operation that waits for one while the poller looks: it is found in the line, or the ring is not
/// empty.
#[test]
fn loom_one_on_its_way_from_the_line_to_the_ring_is_found() {
    loom::model(|| {
        let bench = Bench::new();
        bench.submit().unwrap();
        bench.submit().unwrap();
        submit(&bench);
        let mut ring = submission::Consumer::new();
        while ring.pop(&bench.client.pair.submissions).is_some() {}
        let client = bench.client.clone();
        let reaper = thread::spawn(move || client.return_permits(1));
        let waits = bench.client.any_waiting(|entry| entry.destination == REGION);
        let drained = ring.is_drained(&bench.client.pair.header);
        assert!(waits || !drained, "it was overlooked");
        reaper.join().unwrap();
    });
}

/// A poller that finds an order finds what was submitted before it.
#[test]
fn loom_what_was_submitted_before_an_order_is_found_with_it() {
    loom::model(|| {
        let (bench, quiesce) = (Bench::new(), Arc::new(Quiesce::new()));
        let (client, orders) = (bench.client.clone(), quiesce.clone());
        let poller = thread::spawn(move || {
            let orders = orders.take();
            let drained = submission::Consumer::new().is_drained(&client.pair.header);
            assert!(orders.is_empty() || !drained, "it was overlooked");
        });
        submit(&bench);
        let answers = order(&quiesce);
        poller.join().unwrap();
        quiesce.close();
        assert_eq!(answers.load(Ordering::SeqCst), 1, "answered once");
    });
}

/// An order while the poller is about to sleep: it sees the order, or the word that it sleeps on is clear.
#[test]
fn loom_an_end_keeps_the_poller_awake() {
    loom::model(|| {
        let (pair, quiesce) = (Arc::new(Pair::new()), Arc::new(Quiesce::new()));
        let (its_pair, its_orders) = (pair.clone(), quiesce.clone());
        let sleeper = thread::spawn(move || {
            handshake::prepare_park(&its_pair.header);
            its_orders.has_orders()
        });
        let _answers = order(&quiesce);
        // As `park::summon` does, before it wakes the thread.
        pair.header.need_wakeup_word().swap(0, Ordering::SeqCst);
        let seen = sleeper.join().unwrap();
        let awake = pair.header.need_wakeup_word().load(Ordering::SeqCst) == 0;
        assert!(seen || awake, "asleep with an order before it");
    });
}

/// An order while the poller takes what there is and ends: it is answered, once.
#[test]
fn loom_an_end_against_the_pollers() {
    loom::model(|| {
        let quiesce = Arc::new(Quiesce::new());
        let orders = quiesce.clone();
        let poller = thread::spawn(move || {
            drop(orders.take());
            orders.close();
        });
        let answers = order(&quiesce);
        poller.join().unwrap();
        assert_eq!(answers.load(Ordering::SeqCst), 1);
    });
}
