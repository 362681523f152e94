//! The end: closing and giving up against submission.

use dmaring_ring::{CompletionCode, SubmissionEntry};
use loom::thread;

use super::{Bench, Poller, abandon, is_resolved};
use crate::submit::Refusal;

/// Shutdown against submit: what is not refused is seen by the poller before it ends.
#[test]
fn loom_close_against_submit() {
    loom::model(|| {
        let bench = Bench::new();
        let client = bench.client.clone();
        let poller = thread::spawn(move || {
            let mut poller = Poller::default();
            client.close();
            loop {
                client.refuse_waiters(CompletionCode::SHUTDOWN);
                poller.turn(&client);
                client.reap();
                if client.permits.is_drained() {
                    return;
                }
                thread::yield_now();
            }
        });
        let submitted = bench.submit();
        poller.join().unwrap();
        match submitted {
            Ok(key) => {
                assert!(is_resolved(&bench.client, key));
                abandon(&bench.client, key);
            }
            Err(refusal) => assert_eq!(refusal, Refusal::Closed),
        }
        assert_eq!(bench.dropped(), 1);
    });
}

/// The same with every permit out, so that the operation queues up: it is refused, by itself or by who closes.
#[test]
fn loom_close_against_a_waiter() {
    loom::model(|| {
        let bench = Bench::new();
        let keys = [bench.submit().unwrap(), bench.submit().unwrap()];
        let client = bench.client.clone();
        let closer = thread::spawn(move || {
            client.close();
            client.refuse_waiters(CompletionCode::SHUTDOWN);
            Poller::default().turn(&client);
            client.reap();
        });
        let submitted = bench.submit();
        closer.join().unwrap();
        assert!(bench.client.permits.is_drained());
        if let Ok(key) = submitted {
            assert!(is_resolved(&bench.client, key));
            abandon(&bench.client, key);
        }
        keys.into_iter().for_each(|key| abandon(&bench.client, key));
        assert_eq!(bench.dropped(), 3);
    });
}

/// What the poller does when it gives up: no completion is posted any more.
pub(super) fn give_up(client: &super::TestClient) {
    client.close();
    loop {
        client.refuse_waiters(CompletionCode::SHUTDOWN);
        client.reap();
        client.resolve_all(CompletionCode::SHUTDOWN);
        if client.permits.is_drained() {
            return;
        }
        thread::yield_now();
    }
}

/// Giving up against submit: the operation is resolved once, by one of them, and every permit comes home.
#[test]
fn loom_giving_up_against_submit() {
    loom::model(|| {
        let bench = Bench::new();
        let client = bench.client.clone();
        let poller = thread::spawn(move || give_up(&client));
        let submitted = bench.submit();
        poller.join().unwrap();
        if let Ok(key) = submitted {
            assert!(is_resolved(&bench.client, key));
            abandon(&bench.client, key);
        }
        assert_eq!(bench.dropped(), 1);
        assert!(bench.client.permits.is_drained());
    });
}

/// The same with one for which no permit is free: it is refused, or resolved as one that waits.
#[test]
fn loom_giving_up_against_one_that_queues_up() {
    loom::model(|| {
        let bench = Bench::new();
        bench.grow_to(3);
        let keys = [bench.submit().unwrap(), bench.submit().unwrap()];
        let client = bench.client.clone();
        let poller = thread::spawn(move || give_up(&client));
        let submitted = bench.submit();
        poller.join().unwrap();
        for key in keys.into_iter().chain(submitted.ok()) {
            assert!(is_resolved(&bench.client, key));
            abandon(&bench.client, key);
        }
        assert_eq!(bench.dropped(), 6);
        assert!(bench.client.permits.is_drained());
    });
}

/// The same with a batch, which has its permits before its operations are prepared; the last of them has none.
#[test]
fn loom_giving_up_against_a_batch() {
    loom::model(|| {
        let bench = Bench::new();
        bench.grow_to(3);
        let client = bench.client.clone();
        let poller = thread::spawn(move || give_up(&client));
        let mut entries = Vec::new();
        let mut collected = bench.client.collect(3, &mut entries);
        let keys = [(); 3].map(|()| {
            collected.add(bench.cargo(), SubmissionEntry::default()).map_err(drop).unwrap()
        });
        drop(collected);
        poller.join().unwrap();
        for key in keys {
            assert!(is_resolved(&bench.client, key));
            abandon(&bench.client, key);
        }
        assert_eq!(bench.dropped(), 6);
        assert!(bench.client.permits.is_drained());
    });
}

/// The same with an operation that will not wait, which has its permit before it is prepared.
#[test]
fn loom_giving_up_against_try_submit() {
    loom::model(|| {
        let bench = Bench::new();
        let client = bench.client.clone();
        let poller = thread::spawn(move || give_up(&client));
        let cargo = super::Counted(bench.drops.clone());
        let submitted = bench.client.try_submit(cargo, super::entry);
        poller.join().unwrap();
        match submitted {
            Ok(key) => {
                assert!(is_resolved(&bench.client, key));
                abandon(&bench.client, key);
            }
            Err((refusal, cargo)) => {
                assert_eq!(refusal, Refusal::Closed);
                drop(cargo);
            }
        }
        assert_eq!(bench.dropped(), 1);
        assert!(bench.client.permits.is_drained());
    });
}
