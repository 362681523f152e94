//! Both rings in raw memory, between real threads: for Miri's eyes, and for the machine's own races.
#![cfg(not(loom))]

mod common;

use std::thread;

use common::{Memory, end, entry};
use dmaring_ring::{CompletionCode, completion, submission};

const PRODUCERS: u32 = 3;

/// Operations of each producer; a multiple of three, for they go in batches of one and two.
const OPERATIONS: u32 = if cfg!(miri) { 18 } else { 60_000 };

#[test]
fn every_operation_comes_back_once_and_in_its_producers_order() {
    let memory = Memory::create(4);
    thread::scope(|scope| {
        for producer in 0..PRODUCERS {
            let memory = &memory;
            scope.spawn(move || produce(memory, producer));
        }
        scope.spawn(|| poll(&memory));
        reap(&memory);
    });
}

/// Names an operation by its producer and its number there.
fn id(producer: u32, number: u32) -> u32 {
    producer << 24 | number
}

fn produce(memory: &Memory, producer: u32) {
    let rings = memory.rings();
    for number in (0..OPERATIONS).step_by(3) {
        let entries = [0, 1, 2].map(|i| entry(id(producer, number + i)));
        for batch in [&entries[..1], &entries[1..]] {
            while submission::push(rings.header(), rings.submission_slots(), batch).is_err() {
                thread::yield_now();
            }
        }
    }
}

/// Answers every entry; the peer of the other two, so it attaches to the memory.
fn poll(memory: &Memory) {
    let rings = memory.attach(0, 4096).expect("rings that were created");
    let (header, completions) = (rings.header(), rings.completion_slots());
    let (mut consumer, mut producer) = (submission::Consumer::new(), completion::Producer::new());
    let mut answered = 0;
    while answered < PRODUCERS * OPERATIONS {
        if producer.room(header, completions) > 0
            && let Some(popped) = consumer.pop(rings.submission_slots())
        {
            assert_eq!(popped, entry(popped.key.index), "an entry of one piece");
            producer.push(completions, end(popped.key.index)).expect("room for it");
            producer.publish(header);
            answered += 1;
        } else {
            thread::yield_now();
        }
    }
}

fn reap(memory: &Memory) {
    let rings = memory.rings();
    let mut consumer = completion::Consumer::new();
    let mut next = [0; PRODUCERS as usize];
    while next != [OPERATIONS; PRODUCERS as usize] {
        let Some(popped) = consumer.pop(rings.header(), rings.completion_slots()) else {
            consumer.release(rings.header());
            thread::yield_now();
            continue;
        };
        assert_eq!((popped, popped.code()), (end(popped.key.index), CompletionCode::DEVICE));
        let (producer, number) = (popped.key.index >> 24, popped.key.index & 0xff_ffff);
        assert_eq!(next[producer as usize], number, "of producer {producer}");
        next[producer as usize] += 1;
    }
}
