//! What a peer may do to the shared words: anything. Every call returns, and stays in the rings.
#![cfg(not(loom))]

mod common;

use common::{Memory, end, entry};
use dmaring_ring::{Layout, LayoutError, completion, handshake, submission};
use proptest::prelude::*;

/// The shared words of the header, in units of 8 bytes.
const SHARED: [usize; 5] = [128 / 8, 256 / 8, 384 / 8, 512 / 8, 640 / 8];

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: if cfg!(miri) { 2 } else { 1024 },
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// Values near the honest ones, near every edge, and any.
fn garbage() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..40_u64,
        (0..40_u64).prop_map(u64::wrapping_neg),
        (0..40_u64).prop_map(|n| (1 << 63) - 20 + n),
        (0..40_u64).prop_map(|n| (1 << 32) - 20 + n),
        any::<u64>(),
    ]
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn garbage_in_every_shared_word_neither_panics_nor_loops(
        power in 1_u32..=if cfg!(miri) { 2 } else { 4 },
        rounds in prop::collection::vec(
            prop::collection::vec((any::<usize>(), garbage()), 1..12),
            1..if cfg!(miri) { 3 } else { 8 },
        ),
    ) {
        let memory = Memory::create(1 << power);
        let rings = memory.rings();
        let (header, submissions, completions) =
            (rings.header(), rings.submission_slots(), rings.completion_slots());
        let mut poller = (submission::Consumer::new(), completion::Producer::new());
        let mut reaper = completion::Consumer::new();
        for round in rounds {
            for (place, value) in round {
                // One time in three a shared word of the header, else any word behind it.
                let word = match place % 3 {
                    0 => SHARED[place / 3 % SHARED.len()],
                    _ => SHARED[0] + place / 3 % (memory.words() - SHARED[0]),
                };
                memory.store(word, value);
            }
            for batch in [1, 2, submissions.len(), submissions.len() + 1] {
                let entries: Vec<_> = (0..).map(entry).take(batch).collect();
                let _ = submission::push(header, submissions, &entries);
                let _ = handshake::must_wake(header);
            }
            handshake::prepare_park(header);
            for _ in 0..2 * submissions.len() {
                let is_empty = poller.0.is_empty(submissions);
                let ahead = poller.0.peek(submissions);
                prop_assert_eq!(ahead.is_none(), is_empty);
                prop_assert_eq!(poller.0.pop(submissions), ahead);
            }
            handshake::cancel_park(header);
            let room = poller.1.room(header, completions);
            prop_assert!(room <= completions.len());
            let taken = (0..).take_while(|&id| poller.1.push(completions, end(id)).is_ok()).count();
            prop_assert_eq!(taken, room);
            poller.1.publish(header);
            let _ = handshake::must_notify(header);
            handshake::retire_notify(header, &poller.0);

            handshake::request_notify(header);
            let popped = std::iter::from_fn(|| reaper.pop(header, completions)).count();
            prop_assert!(popped <= completions.len() || !reaper.is_corrupt());
            prop_assert!(reaper.is_empty(header));
            reaper.release(header);
            prop_assert!(!handshake::has_completions(header), "a reaper would look for ever");
        }
    }

    #[test]
    fn unread_completions_survive_any_head(head in garbage()) {
        let memory = Memory::create(2);
        let (header, slots) = (memory.rings().header(), memory.rings().completion_slots());
        let mut producer = completion::Producer::new();
        let mut consumer = completion::Consumer::new();
        for id in 0..4 {
            producer.push(slots, end(id)).unwrap();
        }
        producer.publish(header);
        prop_assert_eq!(consumer.pop(header, slots), Some(end(0)));
        prop_assert_eq!(consumer.pop(header, slots), Some(end(1)));
        consumer.release(header);
        prop_assert_eq!(producer.room(header, slots), 2);
        producer.push(slots, end(4)).unwrap();
        producer.push(slots, end(5)).unwrap();

        // Only a head between the last one and the published tail can be the consumer's own doing.
        memory.store(512 / 8, head);
        let freed = if (2..=4).contains(&head) { head - 2 } else { 0 };
        prop_assert_eq!(producer.room(header, slots) as u64, freed);
    }

    #[test]
    fn attaching_to_any_bytes_is_refused_or_agrees_with_the_length(
        words in prop::collection::vec((0..9_usize, garbage()), 1..4),
    ) {
        let memory = Memory::create(64);
        for (word, value) in words {
            memory.store(word, value);
        }
        if let Ok(rings) = memory.attach(0, 8192) {
            prop_assert_eq!(rings.layout(), Layout::new(64).unwrap());
        }
    }
}

#[test]
fn the_memory_of_fresh_rings_has_its_golden_words() {
    let memory = Memory::create(64);
    let word = |index: usize| memory.load(index);
    assert_eq!(word(0), 0x0067_6e69_7261_6d64); // "dmaring\0"
    assert_eq!(word(1), 0x0000_0400_0000_0001); // version 1, header of 1024 bytes
    assert_eq!(word(2), 0x0000_0080_0000_0040); // 64 and 128 entries
    assert_eq!(word(3), 0x0000_0010_0000_0040); // slots of 64 and 16 bytes
    assert_eq!((word(4), word(5), word(6)), (1024, 5120, 8192));
    assert!(SHARED.iter().all(|&index| word(index) == 0));
    for slot in 0..64 {
        assert_eq!(word(128 + slot * 8 + 7), slot as u64);
    }
}

#[test]
fn the_shared_words_are_where_the_abi_says() {
    let memory = Memory::create(2);
    let rings = memory.rings();
    let word = |offset: usize| memory.load(offset / 8);
    submission::push(rings.header(), rings.submission_slots(), &[entry(9), entry(8)]).unwrap();
    assert_eq!(word(128), 2);
    assert_eq!((word(1024 + 8), word(1024 + 48), word(1024 + 56)), (0xffff_fff6_0000_0009, 27, 1));
    handshake::prepare_park(rings.header());
    assert_eq!(word(256), 1);
    let mut producer = completion::Producer::new();
    producer.push(rings.completion_slots(), end(9)).unwrap();
    assert!(producer.publish(rings.header()));
    assert_eq!(word(384), 1);
    assert_eq!((word(1152), word(1160)), (0xffff_fff6_0000_0009, 0x0000_000c_0000_0701));
    let mut consumer = completion::Consumer::new();
    assert_eq!(consumer.pop(rings.header(), rings.completion_slots()), Some(end(9)));
    consumer.release(rings.header());
    assert_eq!(word(512), 1);
    handshake::request_notify(rings.header());
    assert_eq!(word(640), 1);
}

#[test]
fn more_entries_than_slots_are_refused_even_if_the_sequences_invite_them() {
    let memory = Memory::create(2);
    let rings = memory.rings();
    memory.store((1024 + 56) / 8, 2);
    let entries = [entry(1), entry(2), entry(3)];
    assert!(submission::push(rings.header(), rings.submission_slots(), &entries).is_err());
    assert_eq!(memory.load(128 / 8), 0, "nothing is claimed");
}

#[test]
fn memory_that_is_short_crooked_or_blank_is_refused() {
    let memory = Memory::create(64);
    assert_eq!(memory.attach(0, 8192).map(|rings| rings.layout()), Layout::new(64));
    let short = |length, needed| Some(LayoutError::TooShort { length, needed });
    assert_eq!(memory.attach(0, 0).err(), short(0, 768));
    assert_eq!(memory.attach(0, 767).err(), short(767, 768));
    assert_eq!(memory.attach(0, 8191).err(), short(8191, 8192));
    for offset in [1, 8, 64, 127] {
        let error = memory.attach(offset, 4096).err();
        assert!(matches!(error, Some(LayoutError::Misaligned { alignment: 128, .. })), "{error:?}");
    }
    assert_eq!(memory.attach(128, 4096).err(), Some(LayoutError::Magic { found: 0 }));
    assert_eq!(Memory::zeroed(4096).attach(0, 4096).err(), Some(LayoutError::Magic { found: 0 }));
}
