//! Batches, which take their permits before they push anything, against permits that come home and a poller that goes idle.

use dmaring_ring::SubmissionEntry;
use loom::thread;

use super::{Bench, Key, Poller, abandon, is_resolved, poll, woken};
use crate::collect::Collected;

fn add(collected: &mut Collected<'_, super::Counted, super::Pair>, bench: &Bench) -> Key {
    collected.add(bench.cargo(), SubmissionEntry::default()).map_err(drop).unwrap()
}

/// Permits come home while the last of a batch, for which there was none, queues up: it is pushed, once.
#[test]
fn loom_the_last_of_a_batch_gets_a_permit_that_comes_home() {
    loom::model(|| {
        let bench = Bench::new();
        bench.grow_to(3);
        let client = bench.client.clone();
        let poller = thread::spawn(move || {
            let mut poller = Poller::default();
            poller.answer(&client, 2);
            client.reap();
            poller
        });
        let mut entries = Vec::new();
        let mut collected = bench.client.collect(3, &mut entries);
        let keys = [(); 3].map(|()| add(&mut collected, &bench));
        drop(collected);
        let mut poller = poller.join().unwrap();
        poller.turn(&bench.client);
        bench.client.reap();
        for key in keys {
            assert!(is_resolved(&bench.client, key));
            abandon(&bench.client, key);
        }
        assert_eq!(bench.client.permits.out(), 0);
    });
}

/// A batch has every permit and pushes nothing yet; another operation queues up, asks to be notified and sleeps; the poller goes idle.
/// Nobody polls the batch: the poller has to reap it, so that the other gets its permit and is woken.
#[test]
fn loom_a_poller_that_goes_idle_reaps_what_is_about_to_be_pushed() {
    loom::model(|| {
        let bench = Bench::new();
        bench.grow_to(3);
        let mut entries = Vec::new();
        let mut collected = bench.client.collect(2, &mut entries);
        let keys = [(); 2].map(|()| add(&mut collected, &bench));
        let client = bench.client.clone();
        let idle = thread::spawn(move || {
            let poller = Poller::default();
            client.reap();
            client.retire_notify(&poller.submissions);
            poller
        });
        let waiter = bench.submit().unwrap();
        let (woken, waker) = woken();
        assert!(!poll(&bench.client, waiter, &waker), "it has no permit");
        let mut poller = idle.join().unwrap();
        drop(collected);
        poller.turn(&bench.client);
        poller.turn(&bench.client);
        assert_eq!(
            woken.0.load(loom::sync::atomic::Ordering::SeqCst),
            1,
            "pending and never woken"
        );
        for key in keys.into_iter().chain([waiter]) {
            abandon(&bench.client, key);
        }
    });
}
