//! The hand-over between the poller and whoever writes caches back: nothing is missed, and nothing is touched that is gone.

use std::sync::Arc;

use loom::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use super::{Bench, Poller, abandon, is_resolved, poll, woken};
use crate::{persist::handover::Handover, sync::Mutex};
use dmaring_ring::{CompletionCode, CompletionEntry, handshake};

/// An engine's bytes are seen by the one who writes back, its line is written back before the future resolves, and a
/// sleep on either side misses nothing.
#[test]
fn loom_what_is_handed_over_is_written_back_before_its_future_resolves() {
    loom::model(|| {
        let bench = Bench::new();
        let key = bench.submit().unwrap();
        let client = bench.client.clone();
        let handover = Arc::new(Handover::new(1));
        let bytes = Arc::new(AtomicUsize::new(0));
        let durable = Arc::new(AtomicUsize::new(0));

        let (there, memory, image) = (handover.clone(), bytes.clone(), durable.clone());
        let keeper = thread::spawn(move || {
            loop {
                let Some(words) = there.receive() else {
                    thread::park();
                    continue;
                };
                image.store(memory.load(Ordering::Relaxed), Ordering::Relaxed);
                assert!(there.answer(words[0]));
                return;
            }
        });
        let image = durable.clone();
        let poller = thread::spawn(move || {
            let mut poller = Poller::default();
            let key = loop {
                if let Some(entry) = poller.submissions.pop(&client.pair.submissions) {
                    break entry.key;
                }
                thread::yield_now();
            };
            bytes.store(7, Ordering::Relaxed);
            assert!(handover.send([key.to_word(); 5]));
            keeper.thread().unpark();
            let name = loop {
                if let Some(name) = handover.next_answer() {
                    break name;
                }
                thread::yield_now();
            };
            assert_eq!(name, key.to_word());
            assert_eq!(image.load(Ordering::Relaxed), 7);
            let entry = CompletionEntry::new(key, CompletionCode::DONE, 0, 0);
            poller.completions.push(&client.pair.completions, entry).unwrap();
            if poller.completions.publish(&client.pair.header)
                && handshake::must_notify(&client.pair.header)
            {
                client.reap();
            }
            keeper.join().unwrap();
        });
        let (woken, waker) = woken();
        let resolved = poll(&bench.client, key, &waker);
        if resolved {
            assert_eq!(durable.load(Ordering::Relaxed), 7, "resolved before it was durable");
        }
        poller.join().unwrap();
        bench.client.reap();
        assert!(is_resolved(&bench.client, key));
        assert!(resolved || woken.0.load(Ordering::SeqCst) == 1, "pending and not woken once");
        assert_eq!(bench.dropped(), 1);
        abandon(&bench.client, key);
    });
}

/// The poller gives an operation up while it is being written back piece by piece. Its memory goes by a job to the one who
/// writes back: no piece comes after that.
#[test]
fn loom_what_is_given_up_is_not_touched_after_its_memory_is_gone() {
    loom::model(|| {
        let handover = Arc::new(Handover::new(1));
        let jobs = Arc::new(Mutex::new(Vec::new()));
        assert!(handover.send([1; 5]));
        let (there, orders) = (handover.clone(), jobs.clone());
        let keeper = thread::spawn(move || {
            let (mut mapped, mut pieces) = (true, 0);
            let mut held = there.receive().is_some();
            // As `housekeeper::run`: a job, then a piece.
            while mapped {
                let job = orders.lock().unwrap().pop();
                mapped &= job.is_none();
                held &= !there.is_cancelled();
                if held {
                    assert!(mapped, "a piece of memory that is gone");
                    pieces += 1;
                }
                if !held && mapped {
                    thread::park();
                }
                if pieces > 1 {
                    held = false;
                }
            }
        });
        handover.cancel();
        jobs.lock().unwrap().push("unmap");
        keeper.thread().unpark();
        keeper.join().unwrap();
    });
}
