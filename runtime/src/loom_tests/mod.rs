//! The client's races, one each, model checked: `RUSTFLAGS="--cfg loom" cargo test --release -p dmaring --lib loom_`.
//!
//! The poller is played by a thread that pops entries and posts completions by the protocol of the rings.
#![allow(unsafe_code, reason = "island: tests stand for the one future of a slot's life")]

use std::{
    sync::Arc,
    task::{Wake, Waker},
};

use dmaring_ring::{
    CompletionCode, CompletionEntry, CompletionSlot, Header, Key, Layout, SubmissionEntry,
    SubmissionSlot, completion, handshake, submission,
};
use loom::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use crate::{
    client::{Client, RingPair},
    inflight::Chain,
    reap::{LeftWaker, Load},
    submit::Refusal,
};

mod batches;
mod closing;
mod durable;
mod handles;
mod late;
mod own;
mod quiet;
mod repolled;
mod restoring;
mod slots;

struct Pair {
    header: Header,
    submissions: Vec<SubmissionSlot>,
    completions: Vec<CompletionSlot>,
}

impl Pair {
    fn new() -> Self {
        let layout = Layout::new(2).unwrap();
        Self {
            header: Header::new(layout),
            submissions: (0..2).map(SubmissionSlot::new).collect(),
            completions: (0..4).map(|_| CompletionSlot::new()).collect(),
        }
    }
}

impl RingPair for Pair {
    fn header(&self) -> &Header {
        &self.header
    }

    fn submission_slots(&self) -> &[SubmissionSlot] {
        &self.submissions
    }

    fn completion_slots(&self) -> &[CompletionSlot] {
        &self.completions
    }

    fn wake_poller(&self) {}

    fn report_corrupt(&self) {
        unreachable!("nobody overwrites the shared words");
    }
}

/// Cargo that counts how often it is dropped.
#[derive(Debug)]
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Load for Counted {}

type TestClient = Client<Counted, Pair>;

/// What the poller keeps to itself.
#[derive(Default)]
struct Poller {
    submissions: submission::Consumer,
    completions: completion::Producer,
}

impl Poller {
    /// Answers what stands in the ring, and does not ask whether anybody sleeps. Returns how many it answered.
    fn publish(&mut self, client: &TestClient) -> usize {
        let (header, slots) = (&client.pair.header, &client.pair.completions);
        let mut answered = 0;
        while let Some(entry) = self.submissions.pop(&client.pair.submissions) {
            assert!(self.completions.room(header, slots) >= 2, "a permit is room for a completion");
            let done = CompletionEntry::new(entry.key, CompletionCode::DONE, 0, 0);
            self.completions.push(slots, done).unwrap();
            answered += 1;
        }
        self.completions.publish(header);
        answered
    }

    /// Answers what stands in the ring, reaping if asked to. Returns how many it answered.
    fn turn(&mut self, client: &TestClient) -> usize {
        let answered = self.publish(client);
        if answered > 0 && handshake::must_notify(&client.pair.header) {
            client.reap();
        }
        answered
    }

    /// Answers until `count` entries have been answered.
    fn answer(&mut self, client: &TestClient, count: usize) {
        let mut answered = self.turn(client);
        while answered < count {
            thread::yield_now();
            answered += self.turn(client);
        }
    }
}

struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn woken() -> (Arc<Woken>, Waker) {
    let woken = Arc::new(Woken(AtomicUsize::new(0)));
    (woken.clone(), Waker::from(woken))
}

struct Bench {
    client: Arc<TestClient>,
    drops: Arc<AtomicUsize>,
}

impl Bench {
    fn new() -> Self {
        Self {
            client: Arc::new(Client::new(Pair::new(), 2, true)),
            drops: Arc::new(AtomicUsize::new(0)),
        }
    }

    fn submit(&self) -> Result<Key, Refusal> {
        submit(&self.client, &self.drops)
    }

    fn cargo(&self) -> Counted {
        Counted(self.drops.clone())
    }

    /// Prepares so many operations, with slots that are taken together.
    fn prepare(&self, operations: u32) -> Vec<Key> {
        let mut slots = self.client.inflight.reserve(operations);
        (0..operations).map(|_| slots.prepare(self.cargo(), false).map_err(drop).unwrap()).collect()
    }

    /// Has the table grow beforehand: it does so by a lock of the standard library's, which loom does not see.
    fn grow_to(&self, operations: u32) {
        self.prepare(operations).into_iter().for_each(|key| take_back(&self.client, key));
    }

    fn dropped(&self) -> usize {
        self.drops.load(Ordering::Relaxed)
    }
}

fn submit(client: &TestClient, drops: &Arc<AtomicUsize>) -> Result<Key, Refusal> {
    client.submit(Counted(drops.clone()), entry).map_err(|(refusal, _)| refusal)
}

fn entry(key: Key) -> SubmissionEntry {
    SubmissionEntry { key, ..Default::default() }
}

/// Polls the future of `key`. `true`: resolved.
fn poll(client: &TestClient, key: Key, waker: &Waker) -> bool {
    // SAFETY: each test has one future for a key, and has not detached it.
    unsafe { client.poll(key, waker, &mut LeftWaker::default()) }.is_some()
}

fn is_resolved(client: &TestClient, key: Key) -> bool {
    client.inflight.slot(key).unwrap().outcome().is_some()
}

/// Ends an operation that was prepared and nothing else.
fn take_back(client: &TestClient, key: Key) {
    // SAFETY: the operation was neither armed nor queued, and its key was given to no future.
    drop(unsafe { client.inflight.take_back(key) });
}

/// The future of an operation that has ended goes, and its slot to others.
fn detach_to(client: &TestClient, key: Key, chain: &mut Chain) {
    // SAFETY: each test drops the one future of a key once.
    unsafe { client.inflight.detach_to(key, chain) };
}

fn abandon(client: &TestClient, key: Key) {
    // SAFETY: each test drops the one future of a key once.
    unsafe { client.abandon(key) };
}

/// A future that returned pending is woken: no wake-up is lost between its last look and its sleep.
#[test]
fn loom_a_pending_future_is_woken() {
    loom::model(|| {
        let bench = Bench::new();
        let key = bench.submit().unwrap();
        let client = bench.client.clone();
        let poller = thread::spawn(move || Poller::default().answer(&client, 1));
        let (woken, waker) = woken();
        let resolved = poll(&bench.client, key, &waker);
        poller.join().unwrap();
        assert!(resolved || woken.0.load(Ordering::SeqCst) == 1, "pending and never woken");
        assert!(is_resolved(&bench.client, key));
        assert_eq!(bench.dropped(), 1);
        abandon(&bench.client, key);
    });
}

/// A future polled again with another waker: whichever is called, the last one left is.
#[test]
fn loom_the_last_waker_left_is_the_one_called() {
    loom::model(|| {
        let bench = Bench::new();
        let key = bench.submit().unwrap();
        let client = bench.client.clone();
        let poller = thread::spawn(move || Poller::default().answer(&client, 1));
        let (_first, first_waker) = woken();
        let (second, second_waker) = woken();
        let resolved =
            poll(&bench.client, key, &first_waker) || poll(&bench.client, key, &second_waker);
        poller.join().unwrap();
        assert!(resolved || second.0.load(Ordering::SeqCst) == 1);
        abandon(&bench.client, key);
    });
}

/// Two reapers and the poller: each completion is reaped once, and none is left behind.
#[test]
fn loom_two_reapers_leave_nothing_behind() {
    loom::model(|| {
        let bench = Bench::new();
        let keys = [bench.submit().unwrap(), bench.submit().unwrap()];
        Poller::default().turn(&bench.client);
        let client = bench.client.clone();
        let other = thread::spawn(move || client.reap());
        let here = bench.client.reap();
        let there = other.join().unwrap();
        assert_eq!(here + there, 2);
        for key in keys {
            assert!(is_resolved(&bench.client, key));
            abandon(&bench.client, key);
        }
        assert_eq!(bench.dropped(), 2);
        assert_eq!(bench.client.permits.out(), 0);
    });
}

/// A future dropped while its operation completes: the cargo goes once, the slot comes back once.
#[test]
fn loom_drop_against_completion() {
    loom::model(|| {
        let bench = Bench::new();
        let key = bench.submit().unwrap();
        let client = bench.client.clone();
        let poller = thread::spawn(move || Poller::default().answer(&client, 1));
        abandon(&bench.client, key);
        poller.join().unwrap();
        // Whoever comes last has reaped it: the poller, which was asked to, or the one who dropped it.
        assert_eq!(bench.dropped(), 1);
        // The slot is back: two lives fit into the two slots, and have new keys.
        for _ in 0..2 {
            assert_ne!(bench.submit().unwrap(), key);
        }
        assert_eq!(bench.client.inflight.capacity(), 2);
    });
}

/// A waker that submits from inside the reaping: what it submits is carried out like any other operation.
#[test]
fn loom_a_waker_submits() {
    struct Submits(Arc<TestClient>, Arc<AtomicUsize>, Arc<AtomicUsize>);
    impl Wake for Submits {
        fn wake(self: Arc<Self>) {
            self.2.fetch_add(1, Ordering::Relaxed);
            submit(&self.0, &self.1).unwrap();
        }
    }
    loom::model(|| {
        let bench = Bench::new();
        let key = bench.submit().unwrap();
        let calls = Arc::new(AtomicUsize::new(0));
        let submits = Submits(bench.client.clone(), bench.drops.clone(), calls.clone());
        let waker = Waker::from(Arc::new(submits));
        let client = bench.client.clone();
        let poller = thread::spawn(move || {
            let mut poller = Poller::default();
            poller.answer(&client, 1);
            poller
        });
        let resolved = poll(&bench.client, key, &waker);
        let mut poller = poller.join().unwrap();
        drop(waker);
        let calls = calls.load(Ordering::Relaxed);
        assert!(resolved || calls == 1);
        poller.turn(&bench.client);
        bench.client.reap();
        assert_eq!(bench.dropped(), 1 + calls);
        assert_eq!(bench.client.permits.out(), 0);
        abandon(&bench.client, key);
    });
}

/// A waker that panics takes nothing with it.
#[test]
fn loom_a_waker_panics() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            std::panic::resume_unwind(Box::new("a waker's panic"));
        }
    }
    loom::model(|| {
        let bench = Bench::new();
        let keys = [bench.submit().unwrap(), bench.submit().unwrap()];
        let client = bench.client.clone();
        let poller = thread::spawn(move || Poller::default().answer(&client, 2));
        let (woken, waker) = woken();
        let panics = Waker::from(Arc::new(Panics));
        poll(&bench.client, keys[0], &panics);
        let resolved = poll(&bench.client, keys[1], &waker);
        poller.join().unwrap();
        assert!(resolved || woken.0.load(Ordering::SeqCst) == 1);
        assert_eq!(bench.client.permits.out(), 0);
        keys.into_iter().for_each(|key| abandon(&bench.client, key));
    });
}

/// An operation queues up for a permit while one comes home: it is pushed, by itself or by the reaper.
#[test]
fn loom_a_waiter_gets_the_permit_that_comes_home() {
    loom::model(|| {
        let bench = Bench::new();
        let keys = [bench.submit().unwrap(), bench.submit().unwrap()];
        let mut poller = Poller::default();
        poller.turn(&bench.client);
        let client = bench.client.clone();
        let reaper = thread::spawn(move || client.reap());
        let waiter = bench.submit().unwrap();
        reaper.join().unwrap();
        poller.answer(&bench.client, 1);
        bench.client.reap();
        assert!(is_resolved(&bench.client, waiter));
        for key in keys.into_iter().chain([waiter]) {
            abandon(&bench.client, key);
        }
        assert_eq!(bench.client.permits.out(), 0);
    });
}

/// A waiter is dropped while a permit comes home: it leaves or is pushed, and the permit is not lost.
#[test]
fn loom_a_waiter_leaves_while_a_permit_comes_home() {
    loom::model(|| {
        let bench = Bench::new();
        let keys = [bench.submit().unwrap(), bench.submit().unwrap()];
        let waiter = bench.submit().unwrap();
        let mut poller = Poller::default();
        poller.turn(&bench.client);
        let client = bench.client.clone();
        let reaper = thread::spawn(move || client.reap());
        abandon(&bench.client, waiter);
        reaper.join().unwrap();
        poller.turn(&bench.client);
        bench.client.reap();
        keys.into_iter().for_each(|key| abandon(&bench.client, key));
        assert_eq!(bench.dropped(), 3);
        assert_eq!(bench.client.permits.out(), 0);
    });
}

/// The poller finds the role taken by one who has just drained the ring: that one looks again.
#[test]
fn loom_a_completion_published_under_anothers_role_is_reaped() {
    loom::model(|| {
        let bench = Bench::new();
        let key = bench.submit().unwrap();
        handshake::request_notify(&bench.client.pair.header);
        let client = bench.client.clone();
        let poller = thread::spawn(move || Poller::default().answer(&client, 1));
        bench.client.reap();
        poller.join().unwrap();
        assert!(is_resolved(&bench.client, key), "left to each other");
        abandon(&bench.client, key);
    });
}

/// A waiter asks to be notified, the poller takes that back while the waiter's entry is not yet in the ring: who
/// pushes it asks again.
#[test]
fn loom_a_waiter_is_notified_though_the_poller_went_idle() {
    loom::model(|| {
        let bench = Bench::new();
        let keys = [bench.submit().unwrap(), bench.submit().unwrap()];
        let mut poller = Poller::default();
        poller.turn(&bench.client);
        let waiter = bench.submit().unwrap();
        let client = bench.client.clone();
        let idle = thread::spawn(move || {
            // Nothing is in flight: all that was taken is answered.
            handshake::retire_notify(&client.pair.header, &poller.submissions);
            poller.answer(&client, 1);
        });
        let (woken, waker) = woken();
        let resolved = poll(&bench.client, waiter, &waker);
        bench.client.reap();
        idle.join().unwrap();
        assert!(resolved || woken.0.load(Ordering::SeqCst) == 1, "pending and never woken");
        for key in keys.into_iter().chain([waiter]) {
            abandon(&bench.client, key);
        }
    });
}

/// A slot whose future saw the outcome and left is reused while the reaper still delivers: the next life's waker
/// is not the last one's.
#[test]
fn loom_a_slot_is_reused_while_its_waker_is_taken() {
    loom::model(|| {
        let bench = Bench::new();
        let key = bench.submit().unwrap();
        let client = bench.client.clone();
        let poller = thread::spawn(move || Poller::default().answer(&client, 2));
        let (_first, waker) = woken();
        poll(&bench.client, key, &waker);
        while !is_resolved(&bench.client, key) {
            thread::yield_now();
        }
        abandon(&bench.client, key);
        let next = bench.submit().unwrap();
        let (second, waker) = woken();
        let resolved = poll(&bench.client, next, &waker);
        poller.join().unwrap();
        assert!(resolved || second.0.load(Ordering::SeqCst) == 1);
        abandon(&bench.client, next);
    });
}
