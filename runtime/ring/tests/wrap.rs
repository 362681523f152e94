//! Positions at the ends of their numbers: nothing is compared but differences.
//!
//! A consumer begins at position 0, which is where the producers' positions come to after the last of 64 bits.
//! So rings that stand just before it, as 2^64 operations would leave them, are filled across it.
#![cfg(not(loom))]

mod common;

use std::collections::VecDeque;

use common::{Memory, end, entry};
use dmaring_ring::{Full, Rings, completion, submission};
use proptest::prelude::*;

const TAIL: usize = 128 / 8;
const COMPLETION_TAIL: usize = 384 / 8;
const COMPLETION_HEAD: usize = 512 / 8;

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: if cfg!(miri) { 2 } else { 512 },
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// The index of the sequence of the slot that `position` has.
fn sequence(rings: &Rings, position: u64) -> usize {
    let layout = rings.layout();
    let slot = position as usize & (layout.entries() as usize - 1);
    (layout.submission_offset() + slot * 64 + 56) / 8
}

/// Rings whose producers are at `tail`, with every slot free for the lap that begins there.
fn at(entries: u32, tail: u64) -> Memory {
    let memory = Memory::create(entries);
    memory.store(TAIL, tail);
    for position in (0..u64::from(entries)).map(|ahead| tail.wrapping_add(ahead)) {
        memory.store(sequence(memory.rings(), position), position);
    }
    memory
}

/// What the consumer of an entry does to its slot, as the table of the ring says.
fn free(memory: &Memory, position: u64) {
    let at = sequence(memory.rings(), position);
    assert_eq!(memory.load(at), position.wrapping_add(1), "published");
    memory.store(at, position.wrapping_add(memory.rings().layout().entries().into()));
}

/// Positions just before a number wraps or its sign turns.
fn starts() -> impl Strategy<Value = u64> {
    let before = prop::sample::select(vec![0, 1 << 16, 1 << 31, 1 << 32, 1 << 63]);
    (before, 0..40_u64).prop_map(|(edge, less): (u64, u64)| edge.wrapping_sub(less))
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn producers_cross_every_edge_as_they_cross_any_position(
        power in 1_u32..=4,
        start in starts(),
        calls in prop::collection::vec(
            (0_usize..20, 0_usize..20),
            1..if cfg!(miri) { 8 } else { 30 },
        ),
    ) {
        let entries = 1 << power;
        let memory = at(entries, start);
        let (header, slots) = (memory.rings().header(), memory.rings().submission_slots());
        let (mut head, mut tail) = (start, start);
        for (push, pop) in calls {
            let batch: Vec<_> = (0..).map(entry).take(push).collect();
            let taken = tail.wrapping_sub(head) as usize;
            let fits = taken + push <= entries as usize;
            let pushed = submission::push(header, slots, &batch);
            prop_assert_eq!(pushed, if fits { Ok(()) } else { Err(Full) });
            tail = tail.wrapping_add(if fits { push as u64 } else { 0 });
            prop_assert_eq!(memory.load(TAIL), tail);
            for _ in 0..pop.min(tail.wrapping_sub(head) as usize) {
                free(&memory, head);
                head = head.wrapping_add(1);
            }
        }
    }

    #[test]
    fn what_is_pushed_across_the_last_position_is_popped_behind_it(
        power in 1_u32..=4,
        before in 1_u64..16,
        behind in 1_u32..16,
    ) {
        let entries = 1_u32 << power;
        let before = before.min(u64::from(entries) - 1);
        let memory = at(entries, before.wrapping_neg());
        let (header, slots) = (memory.rings().header(), memory.rings().submission_slots());
        let mut consumer = submission::Consumer::new();
        let behind = behind.min(entries - before as u32);
        let batch: Vec<_> = (0..before as u32 + behind).map(entry).collect();
        submission::push(header, slots, &batch).unwrap();
        prop_assert_eq!(memory.load(TAIL), u64::from(behind));
        let mut expected: VecDeque<_> = batch.into_iter().skip(before as usize).collect();
        for _ in 0..=behind {
            prop_assert_eq!(consumer.pop(slots), expected.pop_front());
        }
        prop_assert!(consumer.is_drained(header) && consumer.is_empty(slots));
    }

    #[test]
    fn only_a_head_between_the_last_and_the_published_tail_makes_room(
        power in 1_u32..=4,
        published in 0_u64..32,
        head in prop_oneof![0..40_u64, starts()],
    ) {
        let memory = Memory::create(1 << power);
        let (header, slots) = (memory.rings().header(), memory.rings().completion_slots());
        let mut producer = completion::Producer::new();
        let published = published.min(slots.len() as u64);
        for id in 0..published {
            producer.push(slots, end(id as u32)).unwrap();
        }
        prop_assert_eq!(producer.publish(header), published > 0);
        prop_assert_eq!(memory.load(COMPLETION_TAIL), published);
        memory.store(COMPLETION_HEAD, head);
        let freed = if head <= published { head } else { 0 };
        let room = slots.len() as u64 - published + freed;
        prop_assert_eq!(producer.room(header, slots) as u64, room);
        for _ in 0..room {
            producer.push(slots, end(7)).unwrap();
        }
        prop_assert_eq!(producer.push(slots, end(8)), Err(Full));
    }
}

#[test]
fn a_ring_of_every_size_takes_exactly_as_many_entries_as_it_has() {
    let sizes: &[u32] = if cfg!(miri) { &[2, 4] } else { &[2, 4, 64, 1024, 32_768] };
    for &entries in sizes {
        let memory = Memory::create(entries);
        let (header, slots) = (memory.rings().header(), memory.rings().submission_slots());
        let batch: Vec<_> = (0..entries).map(entry).collect();
        let (last, others) = batch.split_last().unwrap();
        submission::push(header, slots, others).unwrap();
        assert_eq!(submission::push(header, slots, &[*last, *last]), Err(Full));
        submission::push(header, slots, &[*last]).unwrap();
        assert_eq!(submission::push(header, slots, &[*last]), Err(Full));
        let mut consumer = submission::Consumer::new();
        for entry in batch {
            assert_eq!(consumer.pop(slots), Some(entry));
        }
        assert_eq!(consumer.pop(slots), None);

        let slots = memory.rings().completion_slots();
        let mut producer = completion::Producer::new();
        assert_eq!(producer.room(header, slots), 2 * entries as usize);
        for id in 0..2 * entries {
            producer.push(slots, end(id)).unwrap();
        }
        assert_eq!(producer.push(slots, end(0)), Err(Full));
    }
}
