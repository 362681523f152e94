//! Time limits against completion, drop, reuse and the end.
//!
//! The poller answers in two steps: it posts that an operation is late, and later that it has ended.

use dmaring_ring::{CompletionCode, CompletionEntry, Key, SubmissionEntry, handshake};
use loom::{sync::atomic::Ordering, thread};

use super::{Bench, Poller, TestClient, abandon, is_resolved, poll, woken};

impl Poller {
    /// Takes the one entry that is there, or will be.
    pub(super) fn take_one(&mut self, client: &TestClient) -> Key {
        loop {
            if let Some(entry) = self.submissions.pop(&client.pair.submissions) {
                return entry.key;
            }
            thread::yield_now();
        }
    }

    pub(super) fn post(&mut self, client: &TestClient, key: Key, code: CompletionCode) {
        let entry = CompletionEntry::new(key, code, 0, 0);
        self.completions.push(&client.pair.completions, entry).unwrap();
        if self.completions.publish(&client.pair.header)
            && handshake::must_notify(&client.pair.header)
        {
            client.reap();
        }
    }
}

fn code(client: &TestClient, key: Key) -> CompletionCode {
    let ticket = client.inflight.slot(key).unwrap().outcome().unwrap();
    CompletionEntry::from_words([0, ticket.result]).code()
}

/// Late, then ended: the future is woken once, hears of the first, and the cargo goes with the second.
#[test]
fn loom_a_late_operation_is_told_once_and_released_afterwards() {
    loom::model(|| {
        let bench = Bench::new();
        let key = bench.submit().unwrap();
        let (client, drops) = (bench.client.clone(), bench.drops.clone());
        let poller = thread::spawn(move || {
            let mut poller = Poller::default();
            let key = poller.take_one(&client);
            poller.post(&client, key, CompletionCode::EARLY);
            assert_eq!(drops.load(Ordering::Relaxed), 0, "the engine is still at it");
            poller.post(&client, key, CompletionCode::DONE);
        });
        let (woken, waker) = woken();
        let resolved = poll(&bench.client, key, &waker);
        poller.join().unwrap();
        // Nobody polls again.
        assert!(resolved || woken.0.load(Ordering::SeqCst) == 1, "pending and not woken once");
        assert_eq!(code(&bench.client, key), CompletionCode::EARLY);
        assert_eq!(bench.dropped(), 1);
        assert_eq!(bench.client.permits.out(), 0);
        abandon(&bench.client, key);
    });
}

/// The future hears that it is late and leaves, while the end is on its way: the slot is recycled once, and the next life is
/// not touched by what was said of the last.
#[test]
fn loom_a_late_operations_slot_is_reused_after_its_end() {
    loom::model(|| {
        let bench = Bench::new();
        let key = bench.submit().unwrap();
        let mut poller = Poller::default();
        poller.take_one(&bench.client);
        poller.post(&bench.client, key, CompletionCode::EARLY);
        bench.client.reap();
        assert!(is_resolved(&bench.client, key));
        let client = bench.client.clone();
        let end = thread::spawn(move || {
            poller.post(&client, key, CompletionCode::DONE);
            client.reap();
        });
        abandon(&bench.client, key);
        let next = bench.submit().unwrap();
        assert!(!is_resolved(&bench.client, next), "it has not ended");
        end.join().unwrap();
        bench.client.reap();
        assert!(!is_resolved(&bench.client, next), "it has not ended");
        assert_eq!(bench.dropped(), 1);
        assert_eq!(bench.client.permits.out(), 1);
        bench.client.resolve_all(CompletionCode::SHUTDOWN);
        abandon(&bench.client, next);
        assert_eq!(bench.dropped(), 2);
    });
}

/// A future is dropped while it turns late and ends.
#[test]
fn loom_a_late_operation_against_its_drop() {
    loom::model(|| {
        let bench = Bench::new();
        let key = bench.submit().unwrap();
        let client = bench.client.clone();
        let poller = thread::spawn(move || {
            let mut poller = Poller::default();
            let key = poller.take_one(&client);
            poller.post(&client, key, CompletionCode::EARLY);
            poller.post(&client, key, CompletionCode::DONE);
        });
        // Another's poll may have reaped that it is late, and nobody asked for the rest.
        bench.client.reap();
        abandon(&bench.client, key);
        poller.join().unwrap();
        assert_eq!((bench.dropped(), bench.client.permits.out()), (1, 0));
    });
}

/// The poller gives up after it said that an operation is late, and the future leaves meanwhile: no slot is resolved or
/// released twice.
#[test]
fn loom_a_late_operation_against_giving_up() {
    loom::model(|| {
        let bench = Bench::new();
        let key = bench.submit().unwrap();
        let client = bench.client.clone();
        let poller = thread::spawn(move || {
            let mut poller = Poller::default();
            let key = poller.take_one(&client);
            poller.post(&client, key, CompletionCode::EARLY);
            super::closing::give_up(&client);
        });
        let (woken, waker) = woken();
        let resolved = poll(&bench.client, key, &waker);
        // The word may stand in the ring, unread, when the poller resolves what is left.
        let expected = [CompletionCode::EARLY, CompletionCode::SHUTDOWN];
        if resolved {
            assert!(expected.contains(&code(&bench.client, key)));
            abandon(&bench.client, key);
            poller.join().unwrap();
        } else {
            poller.join().unwrap();
            assert_eq!(woken.0.load(Ordering::SeqCst), 1);
            assert!(expected.contains(&code(&bench.client, key)));
            abandon(&bench.client, key);
        }
        assert_eq!(bench.dropped(), 1);
        assert!(bench.client.permits.is_drained());
    });
}

fn timed(key: Key) -> SubmissionEntry {
    SubmissionEntry { key, deadline: 5, ..Default::default() }
}

/// A bench with every permit out and one that waits until 5.
fn with_waiter() -> (Bench, [Key; 2], Key) {
    let bench = Bench::new();
    let keys = [bench.submit().unwrap(), bench.submit().unwrap()];
    let cargo = super::Counted(bench.drops.clone());
    let waiter = bench.client.submit(cargo, timed).unwrap();
    assert_eq!(bench.client.next_deadline(), Some(5));
    (bench, keys, waiter)
}

/// A waiter's time is over while a permit comes home: it is late or pushed, and not both.
#[test]
fn loom_a_late_waiter_against_a_permit() {
    loom::model(|| {
        let (bench, keys, waiter) = with_waiter();
        let mut poller = Poller::default();
        poller.turn(&bench.client);
        let client = bench.client.clone();
        let reaper = thread::spawn(move || client.reap());
        let mut expired = 0;
        bench.client.expire_waiters(5, |count| expired += count);
        reaper.join().unwrap();
        let pushed = poller.turn(&bench.client);
        bench.client.reap();
        assert_eq!(pushed as u64 + expired, 1);
        let expected = [CompletionCode::DONE, CompletionCode::EARLY][expired as usize];
        assert_eq!(code(&bench.client, waiter), expected);
        assert_eq!((bench.client.next_deadline(), bench.client.permits.out()), (None, 0));
        for key in keys.into_iter().chain([waiter]) {
            abandon(&bench.client, key);
        }
        assert_eq!(bench.dropped(), 3);
    });
}

/// A waiter is dropped while its time runs out.
#[test]
fn loom_a_late_waiter_against_its_drop() {
    loom::model(|| {
        let (bench, keys, waiter) = with_waiter();
        let client = bench.client.clone();
        let late = thread::spawn(move || client.expire_waiters(5, |_| ()));
        abandon(&bench.client, waiter);
        late.join().unwrap();
        assert_eq!((bench.dropped(), bench.client.permits.out()), (1, 2));
        let mut poller = Poller::default();
        poller.answer(&bench.client, 2);
        bench.client.reap();
        keys.into_iter().for_each(|key| abandon(&bench.client, key));
        assert_eq!((bench.dropped(), bench.client.permits.out()), (3, 0));
    });
}

/// A waiter's time runs out while the runtime closes.
#[test]
fn loom_a_late_waiter_against_closing() {
    loom::model(|| {
        let (bench, keys, waiter) = with_waiter();
        let client = bench.client.clone();
        let closer = thread::spawn(move || super::closing::give_up(&client));
        bench.client.expire_waiters(5, |_| ());
        closer.join().unwrap();
        for key in keys.into_iter().chain([waiter]) {
            assert!(is_resolved(&bench.client, key));
            abandon(&bench.client, key);
        }
        assert_eq!(bench.dropped(), 3);
        assert!(bench.client.permits.is_drained());
    });
}

/// One that begins to wait until a deadline while the poller is about to sleep: the poller sees the deadline, or is woken.
#[test]
fn loom_a_deadline_in_the_queue_keeps_the_poller_awake() {
    loom::model(|| {
        let bench = Bench::new();
        let keys = [bench.submit().unwrap(), bench.submit().unwrap()];
        let mut poller = Poller::default();
        let taken = keys.map(|_| poller.take_one(&bench.client));
        let client = bench.client.clone();
        let sleeper = thread::spawn(move || {
            handshake::prepare_park(&client.pair.header);
            client.next_deadline().is_some()
        });
        let cargo = super::Counted(bench.drops.clone());
        let waiter = bench.client.submit(cargo, timed).unwrap();
        let seen = sleeper.join().unwrap();
        let woken = bench.client.pair.header.need_wakeup_word().load(Ordering::SeqCst) == 0;
        assert!(seen || woken, "asleep with a deadline before it");
        abandon(&bench.client, waiter);
        for key in taken {
            poller.post(&bench.client, key, CompletionCode::DONE);
        }
        bench.client.reap();
        keys.into_iter().for_each(|key| abandon(&bench.client, key));
    });
}
