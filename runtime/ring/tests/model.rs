//! Both rings against a queue, over any sequence of calls.
#![cfg(not(loom))]

mod common;

use std::{collections::VecDeque, slice::from_ref};

use common::{Memory, end, entry};
use dmaring_ring::{
    Full, Layout, beside::Beside, completion, prefetch::ForWriting, submission, sync::AtomicU64,
};
use proptest::prelude::*;

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: if cfg!(miri) { 2 } else { 512 },
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// How many calls a case makes: enough for many laps of the largest ring.
fn calls() -> impl Strategy<Value = usize> {
    if cfg!(miri) { 1..20_usize } else { 1..400_usize }
}

fn entries() -> impl Strategy<Value = u32> {
    (1_u32..=if cfg!(miri) { 2 } else { 7 }).prop_map(|power| 1 << power)
}

#[derive(Clone, Copy, Debug)]
enum Call {
    Push(usize),
    Pop(usize),
    /// Completions only: make pushes visible, give pops back.
    Publish,
    Release,
}

fn call(entries: u32) -> impl Strategy<Value = Call> {
    // Up to more than fits, so that refusals are met.
    let most = entries as usize * 2 + 2;
    prop_oneof![
        3 => (0..most).prop_map(Call::Push),
        3 => (0..most).prop_map(Call::Pop),
        2 => Just(Call::Publish),
        2 => Just(Call::Release),
    ]
}

fn case() -> impl Strategy<Value = (u32, Vec<Call>)> {
    (entries(), calls()).prop_flat_map(|(entries, calls)| {
        (Just(entries), prop::collection::vec(call(entries), calls))
    })
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_submission_ring_is_a_bounded_queue((entries, calls) in case()) {
        let memory = Memory::create(entries);
        let (header, slots) = (memory.rings().header(), memory.rings().submission_slots());
        let mut consumer = submission::Consumer::new();
        let mut model = VecDeque::new();
        let mut ids = 0..;
        for call in calls {
            match call {
                Call::Push(count) => {
                    let batch: Vec<_> = ids.by_ref().take(count).map(entry).collect();
                    let fits = model.len() + count <= entries as usize;
                    let expected = if fits { Ok(()) } else { Err(Full) };
                    let (beside, fetch) = (AtomicU64::new(0), ForWriting::detect());
                    let pushed = match (&batch[..], fetch) {
                        ([entry], fetch) => {
                            let fetch = fetch.filter(|_| model.len() % 2 == 1);
                            let entry = (entry, Beside::new(from_ref(&beside), &[7]));
                            submission::push_beside(header, slots, entry, fetch)
                        }
                        (batch, Some(fetch)) if count % 2 == 1 => {
                            submission::push_and_fetch(header, slots, batch, fetch)
                        }
                        (batch, _) => submission::push(header, slots, batch),
                    };
                    prop_assert_eq!(pushed, expected);
                    let written = if fits && count == 1 { 7 } else { 0 };
                    prop_assert_eq!(beside.into_inner(), written);
                    if fits {
                        model.extend(batch);
                    }
                }
                Call::Pop(count) => for _ in 0..count {
                    prop_assert_eq!(consumer.pop(slots), model.pop_front());
                },
                Call::Publish | Call::Release => {}
            }
            prop_assert_eq!(consumer.is_empty(slots), model.is_empty());
            prop_assert_eq!(consumer.is_drained(header), model.is_empty());
        }
    }

    #[test]
    fn the_completion_ring_is_a_bounded_queue((entries, calls) in case()) {
        let memory = Memory::create(entries);
        let (header, slots) = (memory.rings().header(), memory.rings().completion_slots());
        let (mut producer, mut consumer) =
            (completion::Producer::new(), completion::Consumer::new());
        let capacity = Layout::new(entries).unwrap().completion_entries() as usize;
        // What was pushed and not published, what can be read, and how many were read but not released.
        let (mut hidden, mut visible, mut held) = (VecDeque::new(), VecDeque::new(), 0);
        let mut ids = 0..;
        for call in calls {
            let room = capacity - hidden.len() - visible.len() - held;
            prop_assert_eq!(producer.room(header, slots), room);
            match call {
                Call::Push(count) => for (place, id) in ids.by_ref().take(count).enumerate() {
                    let expected = if place < room { Ok(()) } else { Err(Full) };
                    prop_assert_eq!(producer.push(slots, end(id)), expected);
                    if place < room {
                        hidden.push_back(end(id));
                    }
                },
                Call::Pop(count) => for _ in 0..count {
                    let expected = visible.pop_front();
                    prop_assert_eq!(consumer.pop(header, slots), expected);
                    held += usize::from(expected.is_some());
                },
                Call::Publish => {
                    prop_assert_eq!(producer.publish(header), !hidden.is_empty());
                    visible.append(&mut hidden);
                }
                Call::Release => {
                    consumer.release(header);
                    held = 0;
                }
            }
            prop_assert_eq!(consumer.is_empty(header), visible.is_empty());
        }
        prop_assert!(!consumer.is_corrupt());
    }
}
