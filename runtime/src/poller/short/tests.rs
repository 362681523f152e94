//! What is short, what is told of it and when, and what is ahead of it.

use dmaring_engine::{Ahead, Iova, Rights};
use dmaring_manual::ManualEngine;
use dmaring_ring::{Key, Opcode, SubmissionEntry};
use futures::executor::block_on;
use proptest::prelude::*;

use super::{
    super::{admit::admit, ops::Reach},
    BYTES_IN_A_TURN, BYTES_TOGETHER, BYTES_UNTOLD, READ_AHEAD_FROM, Short, TOLD_TOGETHER, ahead,
};
use crate::{
    OnError, Runtime,
    op::Policy,
    placement::{Course, Striping},
    region::table::{RegionFacts, RegionTable},
};

/// Bytes of each region below.
const LENGTH: u64 = 4096;

/// A region of every kind, with where it is; the last has ended.
fn regions() -> (RegionTable, Vec<(Key, u64)>) {
    let table = RegionTable::new(1);
    let memory = |rights, staged| RegionFacts::new(LENGTH, rights, staged);
    let open = memory(Rights::ReadWrite, false);
    let facts = [
        open,
        memory(Rights::Read, false),
        memory(Rights::ReadWrite, true),
        open.of_device(false),
        open.of_device(true),
        open,
    ];
    let publish = |(base, facts)| (table.publish(facts, &[Iova::new(base)]).unwrap(), base);
    let keys: Vec<_> = (1u64..).map(|page| page << 12).zip(facts).map(publish).collect();
    table.retire(keys[5].0);
    (table, keys)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    /// What passes the short way's checks passes those of all others, and the other way round, where nothing is asked of it
    /// that the short way has not.
    #[test]
    fn what_is_plain_is_what_is_admitted_as_memory(
        // Half of the regions are memory that may be written.
        (source, destination) in (0..10usize, 0..10usize),
        length in prop_oneof![1..=LENGTH + 1, Just(u64::MAX)],
        // Offsets by how far behind the last byte's end the range ends.
        (from, to) in (-2..3i64, prop_oneof![-2..3i64, Just(i64::MAX)]),
        (fills, has_cpu) in any::<(bool, bool)>(),
    ) {
        let [source, destination] = [source, destination].map(|which| which.saturating_sub(4));
        let [from, to] = [from, to].map(|end| LENGTH.wrapping_add_signed(end).wrapping_sub(length));
        let (table, keys) = regions();
        let ((source, source_base), (destination, base)) = (keys[source], keys[destination]);
        let opcode = if fills { Opcode::FILL } else { Opcode::COPY };
        let (source_offset, destination_offset) = (from, to);
        let entry = SubmissionEntry {
            opcode, source, destination, source_offset, destination_offset, length,
            ..SubmissionEntry::default()
        };
        let policy = Policy { on_error: OnError::Fail, has_cpu };
        let admitted = admit(&table, policy, 0, &entry);
        let as_memory = admitted.is_ok_and(|admitted| {
            !admitted.staged && admitted.plan.reach == Reach::Memory
        });
        let written = table.plain((destination, to), length, 0, Rights::ReadWrite);
        let read = table.plain((source, from), length, 0, Rights::Read);
        prop_assert_eq!(written.is_some() && (fills || read.is_some()), as_memory);
        if as_memory {
            prop_assert_eq!(written, Iova::new(base).checked_add(to));
            prop_assert!(fills || read == Iova::new(source_base).checked_add(from));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    /// Whatever is written in an entry that waits: what is ahead of it lies within memory that is there and may be read.
    #[test]
    fn what_is_ahead_lies_within_memory(
        source in 0..6usize,
        most in 1..=LENGTH,
        length in prop_oneof![1..=LENGTH + 1, Just(u64::MAX)],
        // By how far behind the last byte's end what is read ahead would end.
        beyond in prop_oneof![-2..3i64, Just(i64::MAX), Just(i64::MIN)],
        opcode in prop_oneof![Just(Opcode::COPY), Just(Opcode::FILL), Just(Opcode::COPY_VECTORED)],
    ) {
        let (table, keys) = regions();
        let (key, base) = keys[source];
        let told = length.min(most);
        let source_offset = LENGTH.wrapping_sub(told).wrapping_add_signed(beyond);
        let next = SubmissionEntry { opcode, source: key, source_offset, length, ..Default::default() };
        // Open memory, and memory that may be read.
        let is_memory = source < 2;
        let fits = source_offset.checked_add(told).is_some_and(|end| end <= LENGTH);
        let expected = opcode == Opcode::COPY && length >= READ_AHEAD_FROM && is_memory && fits;
        let source = Iova::new(base).checked_add(source_offset).filter(|_| expected);
        let expected = source.map(|source| Ahead { source, length: told });
        prop_assert_eq!(ahead(&table, &next, most, 0), expected);
    }
}

#[test]
fn a_turn_counts_what_was_carried_out_in_it() {
    let mut short = Short::new(&[]);
    assert_eq!(short.end_turn(), (0, 0));
    (0..TOLD_TOGETHER - 1).for_each(|_| short.count(1, 64));
    assert!(!short.is_to_be_told());
    short.count(1, 1);
    assert!(short.is_to_be_told());
    assert_eq!(short.end_turn(), (TOLD_TOGETHER, u64::from(TOLD_TOGETHER - 1) * 64 + 1));
    assert_eq!(short.end_turn(), (0, 0));
    assert!(short.is_to_be_told(), "until it is told, whatever turn it is");
    // One by itself, and two: how many bytes is too few, and how many is enough.
    for (operations, enough) in [(1, BYTES_UNTOLD), (2, BYTES_TOGETHER)] {
        for bytes in [enough - 1, enough] {
            let mut short = Short::new(&[]);
            short.count(operations, bytes);
            assert_eq!(short.is_to_be_told(), bytes == enough, "{bytes} of {operations}");
        }
    }
}

#[test]
fn what_is_ahead_is_the_source_of_the_copy_behind() {
    const PAGE: u64 = 4096;
    let (engine, control) = ManualEngine::builder().at_once(PAGE).reads_ahead(3072).build();
    let runtime = Runtime::builder().engine(engine).build().unwrap();
    control.release();
    let [source, destination] = [(); 2].map(|()| runtime.allocate(4 * PAGE as usize).unwrap());
    let base = runtime.shared().regions.base(source.0.key, 0).unwrap();
    // Whether something was ahead of a copy of `first` bytes, with one of `second` bytes behind it, in so many batches.
    let is_told = |batches, first, second| {
        let before = control.told_ahead().len();
        for _ in 0..batches {
            let mut batch = runtime.batch();
            batch.copy(&source, 0, &destination, 0, first);
            batch.copy(&source, 2 * PAGE, &destination, 2 * PAGE, second);
            block_on(batch.submit().all()).unwrap();
            if control.told_ahead().len() > before {
                return true;
            }
        }
        false
    };
    // The poller may be quicker than who submits, but not always.
    assert!(is_told(100_000, PAGE, PAGE));
    assert!(is_told(100_000, 2048, 2048));
    for (first, second) in [(2047, PAGE), (PAGE, 2047)] {
        assert!(!is_told(1000, first, second), "{first} and {second}");
    }
    let mut told = control.told_ahead();
    told.dedup();
    let source = base.checked_add(2 * PAGE).unwrap();
    assert_eq!(told, [3072, 2048].map(|length| Ahead { source, length }));
    assert_eq!(control.violations(), []);
}

#[test]
fn a_turn_carries_out_some_and_leaves_the_rest_to_the_next() {
    // Of the second length two are more than a turn's.
    for (length, most) in [(64 << 10, BYTES_IN_A_TURN), (160 << 10, 320 << 10)] {
        let (engine, control) = ManualEngine::builder().at_once(length).build();
        let runtime = Runtime::builder().engine(engine).build().unwrap();
        let region = runtime.allocate(64 * length as usize).unwrap();
        for _ in 0..10 {
            let mut batch = runtime.batch();
            // They come faster than this engine, whose every byte is looked up, carries them out.
            (0..64).for_each(|block| batch.push(region.fill(block * length, length, block)));
            block_on(batch.submit().all()).unwrap();
        }
        assert_eq!((control.run(), control.most_run()), (640, most));
        assert_eq!(control.violations(), []);
    }
}

#[test]
fn who_waits_for_a_short_one_does_not_wait_for_the_long_one_behind_it() {
    // How long each is, and how many bytes are run at most before their ends are told.
    const LONG: u64 = BYTES_UNTOLD / 2;
    for (lengths, most) in [
        ([64, 64, BYTES_UNTOLD], BYTES_UNTOLD),
        ([64, 64, LONG], LONG),
        ([64, 64, BYTES_TOGETHER], BYTES_TOGETHER),
        // Two may go together.
        ([LONG, LONG, LONG], BYTES_UNTOLD),
        ([LONG, LONG + 1, 64], LONG + 1 + 64),
    ] {
        let (engine, control) = ManualEngine::builder().at_once(BYTES_UNTOLD).build();
        let runtime = Runtime::builder().engine(engine).build().unwrap();
        let region = runtime.allocate(3 * BYTES_UNTOLD as usize).unwrap();
        for _ in 0..100 {
            let mut batch = runtime.batch();
            for (offset, length) in (0..).step_by(BYTES_UNTOLD as usize).zip(lengths) {
                batch.push(region.fill(offset, length, 1));
            }
            block_on(batch.submit().all()).unwrap();
        }
        assert_eq!((control.run(), control.most_unsettled()), (300, most), "{lengths:?}");
    }
}

#[test]
fn among_engines_it_is_the_cpus_by_the_calibrations_word_alone() {
    let [(left, one), (right, other)] =
        [false, true].map(|host| ManualEngine::builder().host_memory(host).at_once(8192).build());
    let runtime = Runtime::builder().engine(left).engine(right).build().unwrap();
    let region = runtime.allocate(1 << 16).unwrap();
    one.release();
    other.release();
    let fill = |length| {
        for _ in 0..10 {
            block_on(region.fill(0, length, 1)).unwrap();
        }
        (one.run(), other.run())
    };
    assert_eq!(fill(64), (0, 0), "loads are balanced");
    let course = Course { cpu_below: 1024, engines: 2, cpu_joins: true, striping: Striping::OFF };
    runtime.shared().steering.set(course);
    assert_eq!(fill(1024), (0, 0));
    assert_eq!(fill(64), (0, 10));
    // What is striped is for several engines.
    let striping = Striping { from: 0, stripe: 4096 };
    runtime.shared().steering.set(Course { cpu_below: 1 << 20, striping, ..course });
    assert_eq!(fill(8192), (0, 10));
    assert_eq!((one.violations(), other.violations()), (vec![], vec![]));
}
