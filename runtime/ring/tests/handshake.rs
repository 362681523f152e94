//! The two flags, a call at a time: what each call sees and leaves behind. Who races whom is loom's part.
#![cfg(not(loom))]

mod common;

use std::sync::atomic::Ordering::Relaxed;

use common::{Memory, end, entry};
use dmaring_ring::{completion, handshake, submission};

#[test]
fn one_producer_is_told_to_wake_a_poller_that_parks_and_none_else() {
    let memory = Memory::create(2);
    let header = memory.rings().header();
    let flag = || header.need_wakeup_word().load(Relaxed);
    assert!(!handshake::must_wake(header), "nobody has parked");
    handshake::prepare_park(header);
    assert_eq!(flag(), 1);
    assert!(handshake::must_wake(header));
    assert_eq!(flag(), 0);
    assert!(!handshake::must_wake(header), "somebody wakes it already");

    handshake::prepare_park(header);
    handshake::cancel_park(header);
    assert_eq!(flag(), 0);
    assert!(!handshake::must_wake(header), "it has changed its mind");
}

#[test]
fn a_poller_that_waits_on_anything_but_zero_is_woken() {
    let memory = Memory::create(2);
    let header = memory.rings().header();
    for word in [1, 2, u32::MAX] {
        header.need_wakeup_word().store(word, Relaxed);
        assert!(handshake::must_wake(header), "{word}");
        assert_eq!(header.need_wakeup_word().load(Relaxed), 0);
    }
}

#[test]
fn a_request_to_notify_stands_until_it_is_taken_back() {
    let memory = Memory::create(2);
    let header = memory.rings().header();
    assert!(!handshake::must_notify(header));
    assert!(!handshake::clear_notify(header), "nothing to take back");
    handshake::request_notify(header);
    assert!(handshake::must_notify(header) && handshake::must_notify(header));
    assert!(handshake::clear_notify(header));
    assert!(!handshake::must_notify(header));
    handshake::rearm(header);
    assert!(handshake::must_notify(header));
}

#[test]
fn a_request_is_retired_only_when_every_claimed_position_was_popped() {
    let memory = Memory::create(2);
    let (header, slots) = (memory.rings().header(), memory.rings().submission_slots());
    let mut consumer = submission::Consumer::new();
    submission::push(header, slots, &[entry(1)]).unwrap();
    handshake::request_notify(header);
    assert!(!handshake::retire_notify(header, &consumer));
    assert!(handshake::must_notify(header));
    assert_eq!(consumer.pop(slots), Some(entry(1)));
    assert!(handshake::retire_notify(header, &consumer));
    assert!(!handshake::must_notify(header));
}

#[test]
fn completions_are_there_from_publication_to_release() {
    let memory = Memory::create(2);
    let (header, slots) = (memory.rings().header(), memory.rings().completion_slots());
    let (mut producer, mut consumer) = (completion::Producer::new(), completion::Consumer::new());
    assert!(!handshake::has_completions(header));
    producer.push(slots, end(1)).unwrap();
    assert!(!handshake::has_completions(header), "nobody can see it yet");
    producer.publish(header);
    assert!(handshake::has_completions(header));
    assert_eq!(consumer.pop(header, slots), Some(end(1)));
    assert!(handshake::has_completions(header), "its place is not free yet");
    consumer.release(header);
    assert!(!handshake::has_completions(header));
}

#[test]
fn a_tail_beyond_the_ring_ends_the_consumers_work_and_one_within_does_not() {
    for (tail, is_corrupt) in [(4, false), (5, true), (u64::MAX, true), (1 << 63, true)] {
        let memory = Memory::create(2);
        let (header, slots) = (memory.rings().header(), memory.rings().completion_slots());
        let mut consumer = completion::Consumer::new();
        memory.store(384 / 8, tail);
        assert_eq!(consumer.pop(header, slots).is_none(), is_corrupt, "tail {tail}");
        assert_eq!(consumer.is_corrupt(), is_corrupt, "tail {tail}");
        assert_eq!(consumer.is_empty(header), is_corrupt, "tail {tail}");
    }
}

#[test]
fn a_completion_that_does_not_pass_a_test_stays_where_it_is() {
    let memory = Memory::create(2);
    let (header, slots) = (memory.rings().header(), memory.rings().completion_slots());
    let (mut producer, mut consumer) = (completion::Producer::new(), completion::Consumer::new());
    let asked = |consumer: &mut completion::Consumer, end| {
        consumer.pop_if(header, slots, |entry| *entry == end)
    };
    assert_eq!(asked(&mut consumer, end(0)), None, "there is none");
    let [first, second] = [end(5), end(6)];
    for entry in [first, second] {
        producer.push(slots, entry).unwrap();
    }
    producer.publish(header);
    assert_eq!(asked(&mut consumer, second), None, "it is not the next");
    assert_eq!(consumer.position(), 0);
    assert_eq!(asked(&mut consumer, first), Some(first));
    assert_eq!(consumer.pop(header, slots), Some(second));
    assert_eq!(asked(&mut consumer, second), None);
    memory.store(384 / 8, u64::MAX);
    assert_eq!(asked(&mut consumer, second), None);
    assert!(consumer.is_corrupt());
}
