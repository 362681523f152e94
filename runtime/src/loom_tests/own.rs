//! Futures that end their operations by themselves, and the slot and the permit that are kept then.
#![allow(unsafe_code, reason = "island: tests stand for the one future of a slot's life")]

use dmaring_ring::{CompletionCode, Key};
use loom::{sync::atomic::Ordering, thread};

use super::{Bench, Poller, TestClient, abandon, entry, is_resolved, poll, submit, woken};
use crate::{own::Found, submit::Refusal};

/// Looks once for the end of an operation, then polls and goes as a future does. `true`: it is over.
fn look(client: &TestClient, key: Key) -> bool {
    let mut cargo = None;
    // SAFETY: each test has one future for a key, which is over where this says so.
    match unsafe { client.look_for_end(key, &mut cargo) } {
        Some(Found::End(ticket)) => {
            assert_eq!(ticket.entry().code(), CompletionCode::DONE);
            assert!(cargo.is_some());
            true
        }
        Some(Found::Outcome) => {
            abandon(client, key);
            true
        }
        None => false,
    }
}

/// Checks that both slots and both permits are there for others.
fn check_all_there(bench: &Bench) {
    assert!(bench.submit().is_ok() && bench.submit().is_ok());
    assert_eq!((bench.client.permits.out(), bench.client.inflight.capacity()), (2, 2));
}

/// Looks until the operation is over.
fn wait(client: &TestClient, key: Key) {
    while !look(client, key) {
        thread::yield_now();
    }
}

/// The same while somebody else reaps: the operation ends once, what it had is dropped once, and slot and permit are there for others.
#[test]
fn loom_an_own_end_against_a_reaper() {
    loom::model(|| {
        let bench = Bench::new();
        let key = bench.submit().unwrap();
        Poller::default().publish(&bench.client);
        let client = bench.client.clone();
        let reaper = thread::spawn(move || client.reap());
        wait(&bench.client, key);
        reaper.join().unwrap();
        assert_eq!((bench.dropped(), bench.client.permits.out()), (1, 0));
        for _ in 0..2 {
            assert_ne!(bench.submit().unwrap(), key);
        }
        assert_eq!((bench.client.permits.out(), bench.client.inflight.capacity()), (2, 2));
    });
}

/// Two futures look, each for its own end, of which the one stands before the other: both are over, whoever has the role.
#[test]
fn loom_two_own_ends() {
    loom::model(|| {
        let bench = Bench::new();
        let keys = [bench.submit().unwrap(), bench.submit().unwrap()];
        Poller::default().publish(&bench.client);
        let client = bench.client.clone();
        let other = thread::spawn(move || wait(&client, keys[1]));
        wait(&bench.client, keys[0]);
        other.join().unwrap();
        assert_eq!((bench.dropped(), bench.client.permits.out()), (2, 0));
        check_all_there(&bench);
    });
}

/// A future that ends its operation, and another that was left pending: what is published while the first has the role is not left
/// behind.
#[test]
fn loom_an_own_end_leaves_no_other_behind() {
    loom::model(|| {
        let bench = Bench::new();
        let keys = [bench.submit().unwrap(), bench.submit().unwrap()];
        let (woken, waker) = woken();
        assert!(!poll(&bench.client, keys[1], &waker));
        let client = bench.client.clone();
        // It is asked to reap for the one who sleeps.
        let poller = thread::spawn(move || Poller::default().answer(&client, 2));
        let is_over = look(&bench.client, keys[0]);
        poller.join().unwrap();
        assert!(is_resolved(&bench.client, keys[1]), "nobody reaps it any more");
        assert_eq!(woken.0.load(Ordering::SeqCst), 1);
        assert_eq!(bench.client.permits.out(), 0);
        abandon(&bench.client, keys[1]);
        if !is_over {
            assert!(is_resolved(&bench.client, keys[0]));
            abandon(&bench.client, keys[0]);
        }
        assert_eq!(bench.dropped(), 2);
    });
}

/// Somebody queues up while a permit is kept: it is had from there, or brought.
#[test]
fn loom_a_kept_permit_is_not_kept_from_a_waiter() {
    loom::model(|| {
        let bench = Bench::new();
        bench.grow_to(3);
        let (first, mut poller) = (bench.submit().unwrap(), Poller::default());
        poller.publish(&bench.client);
        let second = bench.submit().unwrap();
        let (client, drops) = (bench.client.clone(), bench.drops.clone());
        let waiter = thread::spawn(move || submit(&client, &drops).unwrap());
        wait(&bench.client, first);
        let third = waiter.join().unwrap();
        assert_eq!(poller.publish(&bench.client), 2, "a permit was kept from one who waits");
        bench.client.reap();
        assert!(is_resolved(&bench.client, third));
        // Three were dropped when the table grew.
        assert_eq!((bench.dropped(), bench.client.permits.out()), (6, 0));
        [second, third].into_iter().for_each(|key| abandon(&bench.client, key));
    });
}

/// Two take what is kept: one gets it, the other a slot and a permit of its own.
#[test]
fn loom_what_is_kept_is_taken_once() {
    loom::model(|| {
        let bench = Bench::new();
        let key = bench.submit().unwrap();
        Poller::default().publish(&bench.client);
        assert!(look(&bench.client, key) && bench.client.permits.has_kept());
        let (client, drops) = (bench.client.clone(), bench.drops.clone());
        let other = thread::spawn(move || submit(&client, &drops).unwrap());
        let here = bench.submit().unwrap();
        let there = other.join().unwrap();
        assert_ne!(here.index, there.index);
        assert!(!bench.client.permits.has_kept());
        assert_eq!((bench.client.permits.out(), bench.client.inflight.capacity()), (2, 2));
    });
}

/// A permit is kept, and taken, while there are to be none any more: every one comes home.
#[test]
fn loom_close_against_a_kept_permit() {
    loom::model(|| {
        let bench = Bench::new();
        let key = bench.submit().unwrap();
        let mut poller = Poller::default();
        poller.publish(&bench.client);
        let client = bench.client.clone();
        let closer = thread::spawn(move || client.close());
        assert!(look(&bench.client, key), "it is there");
        let next = bench.submit();
        closer.join().unwrap();
        match next {
            Ok(key) => {
                assert_eq!(poller.publish(&bench.client), 1);
                wait(&bench.client, key);
            }
            Err(refusal) => assert_eq!(refusal, Refusal::Closed),
        }
        assert!(bench.client.permits.is_drained(), "one was kept");
        assert_eq!(bench.submit(), Err(Refusal::Closed));
        assert_eq!(bench.dropped(), 3);
    });
}

/// The poller gives up while a future ends its operation, or looks for an end that never comes.
#[test]
fn loom_giving_up_against_an_own_end() {
    loom::model(|| {
        let bench = Bench::new();
        let key = bench.submit().unwrap();
        let client = bench.client.clone();
        let poller = thread::spawn(move || {
            Poller::default().publish(&client);
            super::closing::give_up(&client);
        });
        let is_over = look(&bench.client, key);
        poller.join().unwrap();
        if !is_over {
            assert!(is_resolved(&bench.client, key));
            abandon(&bench.client, key);
        }
        assert_eq!(bench.dropped(), 1);
        assert!(bench.client.permits.is_drained());
    });
}

/// Submits an operation whose future attends, in the slot that another left.
fn attend(bench: &Bench, poller: &mut Poller) -> Key {
    let client = &bench.client;
    let key = bench.submit().unwrap();
    poller.publish(client);
    wait(client, key);
    let slot = client.take_kept().unwrap();
    client.submit_in(slot, (bench.cargo(), true), entry).map_err(drop).unwrap()
}

/// The future looks once for the end, then goes on as any other does. Gives how the operation ended if that is over.
fn look_and_leave(client: &TestClient, key: Key) -> Option<CompletionCode> {
    let mut cargo = None;
    // SAFETY: the key has one future, which is over where this gives an end.
    let ticket = match unsafe { client.look_for_end(key, &mut cargo) } {
        Some(Found::End(ticket)) => Some(ticket),
        // SAFETY: as above; it attended.
        _ => unsafe { client.leave(key, &mut cargo) },
    };
    assert_eq!(
        ticket.is_some(),
        cargo.is_some(),
        "what is over leaves its cargo, and nothing else"
    );
    ticket.map(|ticket| ticket.entry().code())
}

/// A future attends while others reap: the operation is over once, by one of them, and if it is not the future is woken as any other.
#[test]
fn loom_an_attended_operation_against_a_reaper() {
    loom::model(|| {
        let bench = Bench::new();
        let mut poller = Poller::default();
        let key = attend(&bench, &mut poller);
        let client = bench.client.clone();
        let reaper = thread::spawn(move || {
            poller.publish(&client);
            client.reap();
            poller
        });
        let is_over = look_and_leave(&bench.client, key).is_some();
        let (woken, waker) = woken();
        let is_known = is_over || poll(&bench.client, key, &waker);
        let mut poller = reaper.join().unwrap();
        if !is_over {
            bench.client.reap();
            assert!(is_known || woken.0.load(Ordering::SeqCst) == 1, "pending and never woken");
            assert!(is_resolved(&bench.client, key));
            abandon(&bench.client, key);
        }
        assert_eq!((bench.dropped(), bench.client.permits.out()), (2, 0));
        check_all_there(&bench);
        assert_eq!(poller.publish(&bench.client), 2);
    });
}

/// It is told early, and ends, while its future attends: what it had stays until its end, and is dropped once.
#[test]
fn loom_a_late_operation_that_is_attended() {
    loom::model(|| {
        let bench = Bench::new();
        let mut poller = Poller::default();
        let key = attend(&bench, &mut poller);
        let client = bench.client.clone();
        let late = thread::spawn(move || {
            poller.take_one(&client);
            poller.post(&client, key, CompletionCode::EARLY);
            poller.post(&client, key, CompletionCode::DONE);
            client.reap();
        });
        if let Some(code) = look_and_leave(&bench.client, key) {
            assert_eq!(code, CompletionCode::EARLY, "what is said first stays");
        } else {
            while !is_resolved(&bench.client, key) {
                thread::yield_now();
            }
            abandon(&bench.client, key);
        }
        late.join().unwrap();
        bench.client.reap();
        assert_eq!((bench.dropped(), bench.client.permits.out()), (2, 0));
        check_all_there(&bench);
    });
}

/// The poller gives up while a future attends.
#[test]
fn loom_giving_up_against_an_attended_operation() {
    loom::model(|| {
        let bench = Bench::new();
        let key = attend(&bench, &mut Poller::default());
        let client = bench.client.clone();
        let poller = thread::spawn(move || super::closing::give_up(&client));
        let ended = look_and_leave(&bench.client, key);
        poller.join().unwrap();
        if let Some(code) = ended {
            assert_eq!(code, CompletionCode::SHUTDOWN);
        } else {
            assert!(is_resolved(&bench.client, key));
            abandon(&bench.client, key);
        }
        assert_eq!(bench.dropped(), 2);
        assert!(bench.client.permits.is_drained());
    });
}

/// Where the ring was found overwritten permits are closed, and nothing is sent home there: what is kept is taken by nobody.
#[test]
fn loom_what_is_kept_is_not_taken_after_the_end() {
    loom::model(|| {
        let bench = Bench::new();
        let key = bench.submit().unwrap();
        Poller::default().publish(&bench.client);
        wait(&bench.client, key);
        bench.client.permits.close();
        assert!(bench.client.permits.has_kept());
        assert_eq!(bench.submit(), Err(Refusal::Closed));
        assert!(bench.client.permits.is_drained());
    });
}
