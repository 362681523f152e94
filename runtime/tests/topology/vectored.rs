//! Vectored copies: one completion, one doorbell, every byte, and what is refused before anything begins.

use dmaring::{ErrorKind, Region, Runtime, Segment, Striping};
use dmaring_cpu::CpuEngine;
use dmaring_manual::{Control, ManualEngine, Order};
use futures::executor::block_on;
use proptest::prelude::*;

use crate::{
    common::{bytes, cpu, eventually, kind, manual_with, never_parking, pattern, region_of},
    manual,
};

fn within<'a>(source: &'a Region, destination: &'a Region, at: [u64; 3]) -> Segment<'a> {
    let [source_offset, destination_offset, length] = at;
    Segment { source, source_offset, destination, destination_offset, length }
}

#[test]
fn segments_of_several_regions_are_one_operation_under_one_doorbell() {
    let (runtime, control) = manual_with(16, ManualEngine::builder());
    let (header, body) = (region_of(&runtime, &[7; 64]), region_of(&runtime, &pattern(1, 4096)));
    let (log, index) = (runtime.allocate(8192).unwrap(), runtime.allocate(64).unwrap());
    let copy = runtime
        .copy_vectored(&[
            within(&header, &log, [0, 0, 64]),
            within(&body, &log, [100, 64, 3000]),
            within(&body, &log, [0, 3064, 0]),
            within(&header, &index, [8, 1, 9]),
        ])
        .submit();
    let parts = control.wait_for_submitted(3);
    assert_eq!(control.doorbells(), 1);
    let lengths: Vec<_> = parts.iter().map(|part| part.transfer.length).collect();
    assert_eq!(lengths, [64, 3000, 9], "in order, and nothing for the empty one");
    control.complete_last();
    control.complete_next();
    control.wait_for_polls(5);
    assert_eq!(runtime.stats().completed, 0);
    control.complete_next();
    assert_eq!(block_on(copy).unwrap(), 64 + 3000 + 9);
    assert_eq!(bytes(&log, 0, 64), [7; 64]);
    assert_eq!(bytes(&log, 64, 3000), pattern(1, 4096)[100..3100]);
    assert_eq!(bytes(&log, 3064, 8), [0; 8]);
    assert_eq!(bytes(&index, 0, 11), [0, 7, 7, 7, 7, 7, 7, 7, 7, 7, 0]);
    let stats = runtime.stats();
    assert_eq!((stats.submitted, stats.completed, stats.bytes), (1, 1, 3073));
    assert_eq!(control.violations(), []);
}

#[test]
fn nothing_begins_unless_every_segment_is_in_bounds() {
    let (runtime, control) = manual_with(16, ManualEngine::builder());
    let (src, dst) = (runtime.allocate(4096).unwrap(), runtime.allocate(4096).unwrap());
    let good = within(&src, &dst, [0, 0, 64]);
    for (bad, what) in [
        (within(&src, &dst, [4090, 64, 7]), "source range of 7 bytes at offset 4090"),
        (within(&src, &dst, [0, 4096, 1]), "destination range of 1 bytes at offset 4096"),
        (within(&src, &dst, [u64::MAX, 64, 2]), "source range"),
        (within(&src, &dst, [0, 64, u64::MAX]), "destination range"),
    ] {
        let error = block_on(runtime.copy_vectored(&[good, good_after(&good), bad])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfBounds, "{error}");
        let text = error.to_string();
        assert!(text.starts_with("segment 2: ") && text.contains(what), "{text}");
    }
    let other = cpu(4);
    let foreign = other.allocate(4096).unwrap();
    let error = block_on(runtime.copy_vectored(&[good, within(&foreign, &dst, [0, 64, 64])]));
    assert_eq!(kind(error), ErrorKind::Unmapped);
    control.wait_for_polls(5);
    assert_eq!((runtime.stats().submitted, control.submitted()), (0, 0));
}

/// Apart from the first.
fn good_after<'a>(first: &Segment<'a>) -> Segment<'a> {
    Segment { source_offset: 128, destination_offset: 128, ..*first }
}

#[test]
fn what_is_opened_for_reading_is_no_destination() {
    let runtime = cpu(4);
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = directory.path().join("a");
    std::fs::write(&path, [1; 4096]).unwrap();
    let readable = runtime.open_file_read_only(&path).unwrap();
    let memory = runtime.allocate(4096).unwrap();
    let segments =
        [within(&readable, &memory, [0, 0, 64]), within(&memory, &readable, [64, 0, 64])];
    let error = block_on(runtime.copy_vectored(&segments)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permission);
    assert!(error.to_string().starts_with("segment 1: "), "{error}");
}

#[test]
fn segments_that_depend_on_each_other_are_refused() {
    let runtime = cpu(4);
    let (a, b) = (runtime.allocate(4096).unwrap(), runtime.allocate(4096).unwrap());
    let overlap = |segments: &[Segment<'_>]| {
        let error = block_on(runtime.copy_vectored(segments)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Overlap, "{error}");
        error.to_string()
    };
    let text = overlap(&[within(&a, &b, [0, 0, 65]), within(&a, &b, [100, 64, 64])]);
    assert!(text.contains("destination of segment 0 and the destination of segment 1"), "{text}");
    overlap(&[within(&a, &b, [0, 64, 64]), within(&b, &a, [100, 64, 64])]);
    overlap(&[within(&a, &a, [0, 32, 64])]);
    // A long one reaches past others into the last.
    overlap(&[
        within(&a, &b, [0, 0, 1000]),
        within(&b, &a, [2000, 2000, 8]),
        within(&b, &a, [3000, 3000, 8]),
        within(&b, &a, [999, 3500, 8]),
    ]);
    // Sources may overlap, and neighbours touch.
    let fine =
        [within(&a, &b, [0, 0, 64]), within(&a, &b, [32, 64, 64]), within(&a, &b, [0, 128, 64])];
    assert_eq!(block_on(runtime.copy_vectored(&fine)).unwrap(), 192);
}

#[test]
fn there_are_as_many_segments_as_are_said_and_no_more() {
    let runtime = cpu(4);
    let (src, dst) = (region_of(&runtime, &pattern(2, 8192)), runtime.allocate(8192).unwrap());
    let segments: Vec<_> =
        (0..257).map(|n| within(&src, &dst, [n * 16, 8176 - n * 16, 16])).collect();
    let error = block_on(runtime.copy_vectored(&segments)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    assert!(error.to_string().contains("257 segments are more than the 256"), "{error}");
    assert_eq!(Segment::MAX, 256);
    assert_eq!(block_on(runtime.copy_vectored(&segments[..256])).unwrap(), 4096);
    for n in 0..256 {
        let at = n as usize * 16;
        assert_eq!(bytes(&dst, 8176 - n * 16, 16), pattern(2, 8192)[at..at + 16]);
    }
    assert_eq!(block_on(runtime.copy_vectored(&[])).unwrap(), 0);
    assert_eq!(block_on(runtime.copy_vectored(&[within(&src, &dst, [8192, 0, 0])])).unwrap(), 0);
    assert_eq!(runtime.stats().submitted, 1);
}

#[test]
fn a_vectored_copy_leaves_half_of_the_engine_to_others() {
    let (runtime, control) = manual_with(16, ManualEngine::builder().depth(16));
    let (src, dst) = (runtime.allocate(1 << 16).unwrap(), runtime.allocate(1 << 16).unwrap());
    let segments: Vec<_> = (0..100).map(|n| within(&src, &dst, [n * 64, n * 64, 64])).collect();
    let many = runtime.copy_vectored(&segments).submit();
    control.wait_for_submitted(8);
    control.wait_for_polls(5);
    assert_eq!(control.submitted(), 8, "half of its depth");
    let small = src.copy_to(0, &dst, 1 << 15, 64).submit();
    control.wait_for_submitted(9);
    control.complete_last();
    assert_eq!(block_on(small).unwrap(), 64);
    control.release();
    assert_eq!(block_on(many).unwrap(), 6400);
}

#[test]
fn vectored_copies_take_part_in_fences_batches_and_chains() {
    let runtime = cpu(16);
    let region = region_of(&runtime, &pattern(3, 64));
    let log = runtime.allocate(4096).unwrap();
    let copy = |from, to| runtime.copy_vectored(&[within(&region, &log, [from, to, 16])]);
    block_on(async {
        let first = copy(0, 0).submit();
        let again = log.copy(0, 100, 16).fence().submit();
        let chained = copy(16, 200).then(log.copy(200, 300, 16)).then(copy(32, 400));
        assert_eq!(chained.await.unwrap(), 16);
        assert_eq!(first.await.unwrap() + again.await.unwrap(), 32);
        let mut batch = runtime.batch();
        batch.push(copy(0, 500));
        batch.push(log.fill(600, 8, 1));
        batch.push(copy(48, 700).fence());
        assert_eq!(batch.submit().all().await.unwrap(), 40);
        let copy = copy(0, 800).try_submit().unwrap();
        assert_eq!(copy.await.unwrap(), 16);
        let nowhere = runtime.copy_vectored(&[within(&region, &log, [0, 4090, 16])]);
        let rejected = nowhere.try_submit().unwrap_err();
        assert_eq!(rejected.error.kind(), ErrorKind::OutOfBounds);
    });
    for (at, from) in
        [(0, 0), (100, 0), (200, 16), (300, 16), (400, 32), (500, 0), (700, 48), (800, 0)]
    {
        assert_eq!(bytes(&log, at, 16), pattern(3, 64)[from..from + 16], "at {at}");
    }
}

#[test]
fn more_segments_than_places_are_copied_one_after_another() {
    let (runtime, controls) =
        manual::<2>(never_parking().ring_entries(64), |_, engine| engine.depth(64));
    let (src, dst) =
        (region_of(&runtime, &pattern(4, 1 << 16)), runtime.allocate(1 << 20).unwrap());
    // Sixty-four copies of as many segments, each engine holding 32 of a copy.
    let copies: Vec<_> = (0..64u64)
        .map(|copy| {
            let at = |n: u64| (copy * 64 + n) * 256;
            let segments: Vec<_> =
                (0..64).map(|n| within(&src, &dst, [n * 256, at(n), 200])).collect();
            runtime.copy_vectored(&segments).submit()
        })
        .collect();
    eventually("all", || runtime.stats().submitted == 64);
    controls.iter().for_each(Control::release);
    copies.into_iter().for_each(|copy| assert_eq!(block_on(copy).unwrap(), 64 * 200));
    for place in 0..64 * 64 {
        let from = (place % 64 * 256) as usize;
        assert_eq!(bytes(&dst, place * 256, 200), pattern(4, 1 << 16)[from..from + 200]);
    }
}

fn several(seed: u64) -> Runtime {
    let striping = Striping { from: 8192, stripe: 4096 };
    let mut builder = never_parking().striping(striping).engine(CpuEngine::with_depth(4));
    for (number, limit) in (0..).zip([64, 1 << 20]) {
        let (engine, control) = ManualEngine::builder().max_transfer(limit).depth(8).build();
        control.set_auto_order(Order::Random { seed: seed ^ number });
        control.release();
        builder = builder.engine(engine);
    }
    builder.build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Segments of any length, striped where they are many bytes: what a loop of memcpy would do.
    #[test]
    fn a_vectored_copy_is_all_of_its_segments(
        pieces in proptest::collection::vec((0u64..30_000, 0u64..9000, 0u64..200), 1..40),
        seed: u64
    ) {
        let runtime = several(seed);
        let contents = pattern(seed as usize % 1000, 40_000);
        let (src, dst) = (region_of(&runtime, &contents), runtime.allocate(400_000).unwrap());
        let mut expected = vec![0; 400_000];
        let (mut segments, mut at, mut total) = (Vec::new(), 0, 0);
        for (from, length, gap) in pieces {
            at += gap;
            segments.push(within(&src, &dst, [from, at, length]));
            let (from, to, bytes) = (from as usize, at as usize, length as usize);
            expected[to..to + bytes].copy_from_slice(&contents[from..from + bytes]);
            (at, total) = (at + length, total + length);
        }
        prop_assert_eq!(block_on(runtime.copy_vectored(&segments)).unwrap(), total);
        prop_assert!(bytes(&dst, 0, 400_000) == expected);
    }
}
