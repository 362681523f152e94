//! Every interleaving of the rings' races, one race a test.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release -p dmaring-ring --test loom`
#![cfg(loom)]

use dmaring_ring::{
    CompletionCode, CompletionEntry, CompletionSlot, Full, Header, Key, Layout, SubmissionEntry,
    SubmissionSlot, completion, handshake, submission,
    sync::{AtomicU32, AtomicU64, Ordering, fence},
    watch,
};
use loom::{
    cell::UnsafeCell,
    sync::{Arc, Condvar, Mutex},
    thread,
};

/// Explores the interleavings with at most this many preemptions; all of them where it is `None`.
fn explore(preemptions: Option<usize>, test: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.check(test);
}

struct Pair {
    header: Header,
    submission: Vec<SubmissionSlot>,
    completion: Vec<CompletionSlot>,
    futex: Mutex<()>,
    woken: Condvar,
}

impl Pair {
    /// Rings with this many submission slots and two completion slots. The header describes more of
    /// them; the algorithms go by the slots.
    fn new(slots: u64) -> Arc<Self> {
        Arc::new(Self {
            header: Header::new(Layout::new(2).unwrap()),
            submission: (0..slots).map(SubmissionSlot::new).collect(),
            completion: (0..2).map(|_| CompletionSlot::new()).collect(),
            futex: Mutex::new(()),
            woken: Condvar::new(),
        })
    }

    fn push(&self, ids: &[u32]) -> Result<(), Full> {
        let entries: Vec<_> = ids.iter().map(|&id| entry(id)).collect();
        submission::push(&self.header, &self.submission, &entries)
    }

    /// What a producer does: push, then wake the poller if that is due.
    fn push_and_wake(&self, id: u32) {
        self.push(&[id]).unwrap();
        if handshake::must_wake(&self.header) {
            drop(self.futex.lock().unwrap());
            self.woken.notify_one();
        }
    }

    /// FUTEX_WAIT: compares and sleeps in one step.
    fn wait_while_need_wakeup(&self) {
        let guard = self.futex.lock().unwrap();
        if self.header.need_wakeup_word().load(Ordering::Relaxed) == 1 {
            drop(self.woken.wait(guard).unwrap());
        }
    }

    fn pop(&self, consumer: &mut submission::Consumer) -> Option<u32> {
        consumer.pop(&self.submission).map(|popped| {
            assert_eq!(popped, entry(popped.key.index), "an entry of one piece");
            popped.key.index
        })
    }

    fn pop_wait(&self, consumer: &mut submission::Consumer) -> u32 {
        loop {
            match self.pop(consumer) {
                Some(id) => return id,
                None => thread::yield_now(),
            }
        }
    }
}

fn entry(id: u32) -> SubmissionEntry {
    SubmissionEntry {
        key: Key { index: id, generation: id },
        length: id.into(),
        ..SubmissionEntry::default()
    }
}

fn end(id: u32) -> CompletionEntry {
    CompletionEntry::new(Key { index: id, generation: 0 }, CompletionCode::DONE, 0, id)
}

#[test]
fn two_producers_push_and_each_entry_is_popped_once_in_its_producers_order() {
    explore(None, || {
        let pair = Pair::new(4);
        let (first, second) = (pair.clone(), pair.clone());
        let first = thread::spawn(move || first.push(&[10, 11]).unwrap());
        let second = thread::spawn(move || second.push(&[20]).unwrap());

        let mut consumer = submission::Consumer::new();
        let popped: Vec<_> = (0..3).map(|_| pair.pop_wait(&mut consumer)).collect();
        assert!(
            [[10, 11, 20], [20, 10, 11]].contains(&[popped[0], popped[1], popped[2]]),
            "a batch is consecutive: {popped:?}"
        );
        first.join().unwrap();
        second.join().unwrap();
        assert_eq!(pair.pop(&mut consumer), None);
        assert!(consumer.is_drained(&pair.header));
    });
}

#[test]
fn a_producer_reuses_a_slot_only_after_the_consumer_has_copied_its_entry() {
    explore(None, || {
        let pair = Pair::new(2);
        let producer = pair.clone();
        let producer = thread::spawn(move || {
            for id in 1..=3 {
                while producer.push(&[id]).is_err() {
                    thread::yield_now();
                }
            }
        });
        let mut consumer = submission::Consumer::new();
        for id in 1..=3 {
            assert_eq!(pair.pop_wait(&mut consumer), id);
        }
        producer.join().unwrap();
    });
}

#[test]
fn a_batch_enters_a_full_ring_whole_or_not_at_all_while_the_consumer_pops() {
    explore(None, || {
        let pair = Pair::new(2);
        pair.push(&[1, 2]).unwrap();
        let producer = pair.clone();
        let producer = thread::spawn(move || producer.push(&[3, 4]).is_ok());
        let mut consumer = submission::Consumer::new();
        assert_eq!(pair.pop_wait(&mut consumer), 1);
        assert_eq!(pair.pop_wait(&mut consumer), 2);
        let is_pushed = producer.join().unwrap();
        let rest: Vec<_> = core::iter::from_fn(|| pair.pop(&mut consumer)).collect();
        assert_eq!(rest, if is_pushed { vec![3, 4] } else { vec![] });
    });
}

#[test]
fn a_push_that_holds_a_permit_is_never_refused() {
    explore(Some(5), || {
        let pair = Pair::new(2);
        let permits = Arc::new(AtomicU32::new(0));
        // Both permits are out: entries 1 and 2 stand in the ring.
        pair.push(&[1, 2]).unwrap();
        let producers = [10, 20].map(|id| {
            let (pair, permits) = (pair.clone(), permits.clone());
            thread::spawn(move || {
                let take = |free: u32| free.checked_sub(1);
                if permits.fetch_update(Ordering::AcqRel, Ordering::Relaxed, take).is_ok() {
                    pair.push(&[id]).expect("room for whoever holds a permit");
                }
            })
        });
        let mut consumer = submission::Consumer::new();
        for id in [1, 2] {
            assert_eq!(pair.pop(&mut consumer), Some(id));
            permits.fetch_add(1, Ordering::Release);
        }
        for producer in producers {
            producer.join().unwrap();
        }
    });
}

#[test]
fn a_push_that_is_overtaken_knows_what_the_one_that_overtook_it_knew() {
    explore(None, || {
        let pair = Pair::new(2);
        pair.push(&[1, 2]).unwrap();
        // Each pop allows one push. The first producer knows of the first pop only, and its place is the one
        // that the second pop frees.
        let mut consumer = submission::Consumer::new();
        assert_eq!(pair.pop(&mut consumer), Some(1));
        let overtaken = Arc::new(AtomicU32::new(0));
        let first = thread::spawn({
            let (pair, overtaken) = (pair.clone(), overtaken.clone());
            move || {
                // Relaxed: it puts the pushes in order in time, and tells the first producer nothing.
                while overtaken.load(Ordering::Relaxed) == 0 {
                    thread::yield_now();
                }
                pair.push(&[10]).expect("room for whoever may push");
            }
        });
        assert_eq!(pair.pop(&mut consumer), Some(2));
        let second = thread::spawn(move || {
            pair.push(&[20]).expect("room for whoever may push");
            overtaken.store(1, Ordering::Relaxed);
        });
        first.join().unwrap();
        second.join().unwrap();
    });
}

#[test]
fn completions_arrive_in_order_and_whole_while_the_ring_wraps() {
    explore(None, || {
        let pair = Pair::new(2);
        // One cell a place, touched by whoever owns the place: loom reports an owner too many, which the
        // places' own relaxed words would hide.
        let owned = Arc::new([UnsafeCell::new(()), UnsafeCell::new(())]);
        let (poller, places) = (pair.clone(), owned.clone());
        let poller = thread::spawn(move || {
            let mut producer = completion::Producer::new();
            for id in 1..=3 {
                while producer.room(&poller.header, &poller.completion) == 0 {
                    thread::yield_now();
                }
                places[id as usize % 2].with_mut(|_| ());
                producer.push(&poller.completion, end(id)).unwrap();
                assert!(producer.publish(&poller.header));
            }
        });
        let mut consumer = completion::Consumer::new();
        for id in 1..=3 {
            let popped = loop {
                match consumer.pop(&pair.header, &pair.completion) {
                    Some(entry) => break entry,
                    None => thread::yield_now(),
                }
            };
            assert_eq!(popped, end(id));
            owned[id as usize % 2].with(|_| ());
            consumer.release(&pair.header);
        }
        poller.join().unwrap();
        assert!(consumer.is_empty(&pair.header) && !consumer.is_corrupt());
    });
}

/// The poller's loop, until it has popped `count` entries.
fn poll_and_park(pair: &Pair, count: usize) -> Vec<u32> {
    let mut consumer = submission::Consumer::new();
    let mut popped = Vec::new();
    while popped.len() < count {
        if let Some(id) = pair.pop(&mut consumer) {
            popped.push(id);
            continue;
        }
        handshake::prepare_park(&pair.header);
        if consumer.is_empty(&pair.submission) {
            pair.wait_while_need_wakeup();
        }
        handshake::cancel_park(&pair.header);
    }
    popped
}

#[test]
fn a_push_wakes_the_poller_that_parks() {
    explore(None, || {
        let pair = Pair::new(2);
        let producer = pair.clone();
        let producer = thread::spawn(move || producer.push_and_wake(1));
        // A wake that is lost leaves the poller asleep, which loom reports as a deadlock.
        assert_eq!(poll_and_park(&pair, 1), [1]);
        producer.join().unwrap();
    });
}

/// Two producers push while the poller waits as it does.
fn two_are_popped(push: fn(&Pair, u32), poll: fn(&Pair, usize) -> Vec<u32>) {
    explore(Some(3), move || {
        let pair = Pair::new(2);
        let producers = [1, 2].map(|id| {
            let pair = pair.clone();
            thread::spawn(move || push(&pair, id))
        });
        let mut popped = poll(&pair, 2);
        popped.sort_unstable();
        assert_eq!(popped, [1, 2]);
        for producer in producers {
            producer.join().unwrap();
        }
    });
}

#[test]
fn two_pushes_wake_the_poller_that_parks_between_them() {
    two_are_popped(|pair, id| pair.push_and_wake(id), poll_and_park);
}

#[test]
fn a_completion_is_seen_by_who_requests_notice_or_by_the_poller() {
    explore(None, || {
        let pair = Pair::new(2);
        let poller = pair.clone();
        let poller = thread::spawn(move || {
            let mut producer = completion::Producer::new();
            producer.push(&poller.completion, end(1)).unwrap();
            producer.publish(&poller.header);
            handshake::must_notify(&poller.header)
        });
        handshake::request_notify(&pair.header);
        let is_seen = handshake::has_completions(&pair.header);
        let is_notified = poller.join().unwrap();
        assert!(is_seen || is_notified, "left lying");
    });
}

#[test]
fn a_completion_is_reaped_by_who_holds_the_role_or_by_who_failed_to_take_it() {
    explore(None, || {
        let pair = Pair::new(2);
        let reaper = Arc::new(Mutex::new((completion::Consumer::new(), 0)));
        handshake::request_notify(&pair.header);
        let reap = |pair: &Pair, reaper: &Mutex<(completion::Consumer, u32)>| {
            while let Ok(mut held) = reaper.try_lock() {
                let (consumer, count) = &mut *held;
                while consumer.pop(&pair.header, &pair.completion).is_some() {
                    *count += 1;
                }
                consumer.release(&pair.header);
                drop(held);
                fence(Ordering::SeqCst);
                if !handshake::has_completions(&pair.header) {
                    break;
                }
            }
        };
        let poller = thread::spawn({
            let (pair, reaper) = (pair.clone(), reaper.clone());
            move || {
                let mut producer = completion::Producer::new();
                producer.push(&pair.completion, end(1)).unwrap();
                producer.publish(&pair.header);
                if handshake::must_notify(&pair.header) {
                    reap(&pair, &reaper);
                }
            }
        });
        reap(&pair, &reaper);
        poller.join().unwrap();
        assert_eq!(reaper.lock().unwrap().1, 1);
    });
}

#[test]
fn a_request_survives_the_poller_taking_the_flag_back() {
    explore(Some(5), || {
        let pair = Pair::new(2);
        let clients = [1, 2].map(|id| {
            let pair = pair.clone();
            thread::spawn(move || {
                pair.push(&[id]).unwrap();
                handshake::request_notify(&pair.header);
            })
        });
        let consumer = submission::Consumer::new();
        handshake::retire_notify(&pair.header, &consumer);
        handshake::retire_notify(&pair.header, &consumer);
        for client in clients {
            client.join().unwrap();
        }
        assert!(handshake::must_notify(&pair.header), "entries wait and nobody will be told");
    });
}

#[test]
fn a_request_survives_behind_an_entry_that_is_claimed_and_not_yet_published() {
    explore(None, || {
        let pair = Pair::new(2);
        let silent = pair.clone();
        let silent = thread::spawn(move || silent.push(&[1]).unwrap());
        let asking = pair.clone();
        let asking = thread::spawn(move || {
            asking.push(&[2]).unwrap();
            handshake::request_notify(&asking.header);
        });
        handshake::retire_notify(&pair.header, &submission::Consumer::new());
        silent.join().unwrap();
        asking.join().unwrap();
        assert!(handshake::must_notify(&pair.header), "an entry waits and nobody will be told");
    });
}

/// A processor's monitor: it notes the word when it is armed, and waits until that is another. No time limit ends a wait.
#[derive(Default)]
struct Monitor {
    armed: u64,
}

impl watch::Monitor for Monitor {
    fn arm(&mut self, word: &AtomicU64) {
        // Lets a producer go ahead of it, which loom does not always try with loads alone.
        thread::yield_now();
        self.armed = word.load(Ordering::Relaxed);
    }

    fn wait(&mut self, word: &AtomicU64) {
        while word.load(Ordering::Relaxed) == self.armed {
            thread::yield_now();
        }
    }
}

/// The poller that watches the line of the next entry, until it has popped `count`.
fn poll_and_watch(pair: &Pair, count: usize) -> Vec<u32> {
    let mut consumer = submission::Consumer::new();
    let mut popped = Vec::new();
    while popped.len() < count {
        match pair.pop(&mut consumer) {
            Some(id) => popped.push(id),
            // An entry that is overlooked is waited for without end, which loom reports.
            None => watch::wait(&consumer, &pair.submission, &mut Monitor::default()),
        }
    }
    popped
}

#[test]
fn a_push_ends_the_wait_of_a_poller_that_watches_the_line() {
    explore(None, || {
        let pair = Pair::new(2);
        let producer = pair.clone();
        let producer = thread::spawn(move || producer.push(&[1]).unwrap());
        assert_eq!(poll_and_watch(&pair, 1), [1]);
        producer.join().unwrap();
    });
}

#[test]
fn two_pushes_end_the_waits_of_a_poller_that_watches_whatever_order_they_are_published_in() {
    two_are_popped(|pair, id| pair.push(&[id]).unwrap(), poll_and_watch);
}
