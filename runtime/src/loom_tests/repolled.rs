//! A future that is polled again with the waker that it left before, and a poller that asks for sleepers late.
#![allow(unsafe_code, reason = "island: stands for the one future of each key")]

use std::{
    ptr,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    task::{RawWaker, RawWakerVTable, Waker},
};

use dmaring_ring::handshake;
use loom::{sync::atomic::Ordering, thread};

use super::{Bench, Poller, TestClient, abandon, is_resolved, woken};
use crate::reap::LeftWaker;

/// Publishes the answer to one entry, and asks whether somebody is to be notified some time after it.
fn answer_and_ask_late(client: &TestClient) {
    let mut poller = Poller::default();
    while poller.publish(client) == 0 {
        thread::yield_now();
    }
    // Its turns go on, and it is idle at last: it reaps what it has not asked about, and then takes the flag back.
    if handshake::must_notify(&client.pair.header) {
        client.reap();
    }
    client.reap();
    handshake::retire_notify(&client.pair.header, &poller.submissions);
}

#[test]
fn loom_a_future_polled_again_with_the_same_waker_is_woken() {
    loom::model(|| {
        let bench = Bench::new();
        let key = bench.submit().unwrap();
        let client = bench.client.clone();
        let poller = thread::spawn(move || answer_and_ask_late(&client));
        let (woken, waker) = woken();
        let mut left = LeftWaker::default();
        // SAFETY: this test has the one future of the key, and has not detached it.
        let mut poll = || unsafe { bench.client.poll(key, &waker, &mut left) }.is_some();
        let resolved = poll() || poll();
        poller.join().unwrap();
        assert!(resolved || woken.0.load(Ordering::SeqCst) == 1, "pending and never woken");
        assert!(is_resolved(&bench.client, key));
        abandon(&bench.client, key);
    });
}

/// Clones of this waker are somebody else's than it is itself, as of one on a stack whose clones are on the heap.
static ODD: RawWakerVTable = RawWakerVTable::new(
    |data| {
        CLONES.fetch_add(1, Relaxed);
        RawWaker::new(data.wrapping_byte_add(1), &ODD)
    },
    |_| {},
    |_| {},
    |_| {},
);
static CLONES: AtomicUsize = AtomicUsize::new(0);

/// The address of a waker that is gone may be that of another task's: only what the slot itself has is known again.
#[test]
fn loom_a_waker_is_known_by_its_clone() {
    loom::model(|| {
        let bench = Bench::new();
        let key = bench.submit().unwrap();
        // SAFETY: the functions touch nothing.
        let waker = unsafe { Waker::new(ptr::null(), &ODD) };
        let mut left = LeftWaker::default();
        CLONES.store(0, Relaxed);
        for count in 1..4 {
            // SAFETY: this test has the one future of the key, and has not detached it.
            let outcome = unsafe { bench.client.poll(key, &waker, &mut left) };
            assert!(outcome.is_none());
            assert_eq!(CLONES.load(Relaxed), count, "each poll leaves its own");
        }
        Poller::default().answer(&bench.client, 1);
        abandon(&bench.client, key);
    });
}
