//! Every line that may be in a cache is written back exactly once, no other is, and all before the future resolves.

use std::collections::BTreeSet;

use dmaring::{Durability, OnError};
use dmaring_cpu::CpuEngine;
use dmaring_engine::Engine;
use dmaring_manual::ManualEngine;
use futures::executor::block_on;

use crate::{
    common::{WRITE_ERROR, bytes, pattern, poll_once, region_of},
    device::FakeBar,
    recorder::{manual, persistent, recording},
};

/// The lines that a range touches.
fn touched(offset: u64, length: u64) -> BTreeSet<usize> {
    (offset as usize / 64..(offset + length).div_ceil(64) as usize).collect()
}

#[test]
fn a_devices_copy_is_written_back_line_by_line() {
    let (engine, control) = ManualEngine::builder().max_transfer(256).build();
    control.set_auto(true);
    let (builder, recorder) = recording();
    let runtime = builder.engine(engine).build().unwrap();
    let source = region_of(&runtime, &pattern(1, 1 << 20));
    let destination = persistent(&runtime, 1 << 20);
    for offset in [0, 1, 63, 64, 100] {
        for length in [1, 8, 63, 64, 65, 128, 1000, 70_001, 900_001] {
            let copy = source.copy_to(3, &destination, offset, length).durable();
            assert_eq!(block_on(copy).unwrap(), length);
            assert_eq!(recorder.take(&destination), touched(offset, length), "{offset} {length}");
            let fill = destination.fill(offset, length, 7).durable();
            assert_eq!(block_on(fill).unwrap(), length);
            assert_eq!(recorder.take(&destination), touched(offset, length), "{offset} {length}");
            assert_eq!(block_on(destination.persist(offset..offset + length)).unwrap(), length);
            assert_eq!(recorder.take(&destination), touched(offset, length), "{offset} {length}");
        }
    }
    block_on(source.copy_to(0, &destination, 0, 4096)).unwrap();
    assert!(recorder.take(&destination).is_empty(), "nobody asked for it");
}

/// The CPU engine's threshold is 4096 bytes.
#[test]
fn the_cpus_streamed_lines_are_fenced_only_and_the_others_written_back() {
    let engine = CpuEngine::new();
    let streams = engine.instructions() != "portable";
    let part = engine.capabilities().max_transfer;
    let (builder, recorder) = recording();
    let runtime = builder.engine(engine).build().unwrap();
    let source = region_of(&runtime, &pattern(1, 1 << 20));
    let destination = persistent(&runtime, 1 << 20);
    let written = |offset: u64, length: u64| {
        let fences = recorder.fences();
        block_on(source.copy_to(1, &destination, offset, length).durable()).unwrap();
        assert_eq!(recorder.fences(), fences + 1);
        let copied = recorder.take(&destination);
        block_on(destination.fill(offset, length, 9).durable()).unwrap();
        assert_eq!(recorder.take(&destination), copied, "a fill streams as a copy does");
        copied
    };
    for (offset, length) in [(0, 64), (5, 200), (0, 4095), (60, 4095)] {
        assert_eq!(written(offset, length), touched(offset, length), "small copies");
    }
    if !streams {
        return;
    }
    assert!(written(0, 4096).is_empty());
    assert!(written(128, 128 << 10).is_empty());
    // The head's line and the tail's.
    assert_eq!(written(1, 4096), [0, 64].into());
    assert_eq!(written(0, 4097), [64].into());
    // Two whole parts and a short one; the line where parts meet is whole in neither, and comes once.
    let seams = [0, part / 64, 2 * part / 64].map(|line| line as usize);
    let rest = touched(2 * part + 10, 100);
    assert_eq!(written(10, 2 * part + 100), seams.into_iter().chain(rest).collect());
}

/// Bytes of a BAR are read by words and stored as any program stores, whatever their number: nothing of them is streamed.
#[test]
fn what_the_cpu_copies_from_a_bar_is_written_back_whole() {
    let (builder, recorder) = recording();
    let runtime = builder.engine(CpuEngine::new()).build().unwrap();
    let (bar, outside) = FakeBar::new(256 << 10);
    outside.write(0, &pattern(1, 256 << 10));
    let bar = runtime.open_bar(bar).unwrap();
    let destination = persistent(&runtime, 1 << 20);
    for (offset, length) in [(0, 64), (0, 4096), (5, 8000), (64, 200_000)] {
        let copy = bar.copy_to(0, &destination, offset, length).durable();
        assert_eq!(block_on(copy).unwrap(), length);
        assert_eq!(recorder.take(&destination), touched(offset, length), "{offset} {length}");
    }
}

#[test]
fn what_failed_and_was_done_by_the_cpu_is_written_back_whole() {
    let (engine, control) = ManualEngine::builder().max_transfer(4096).build();
    let (builder, recorder) = recording();
    let runtime = builder.engine(engine).engine(CpuEngine::new()).build().unwrap();
    let source = region_of(&runtime, &pattern(1, 1 << 20));
    let destination = persistent(&runtime, 1 << 20);
    // The engine with the least to do comes in turn: the first is the manual one.
    let copy = source.copy_to(0, &destination, 0, 8192).durable();
    let mut copy = copy.on_error(OnError::RetryOnCpu).submit();
    control.wait_for_submitted(2);
    control.fail_next(WRITE_ERROR);
    control.complete_all();
    assert_eq!(block_on(&mut copy).unwrap(), 8192);
    assert_eq!(runtime.stats().retried, 1);
    assert_eq!(recorder.take(&destination), touched(0, 8192));
    assert_eq!(bytes(&destination, 0, 8192), pattern(1, 8192));
}

#[test]
fn the_future_resolves_after_the_fence_and_not_before() {
    let (control, recorder, runtime) = manual();
    let source = region_of(&runtime, &pattern(1, 4096));
    let destination = persistent(&runtime, 4096);
    let mut copy = source.copy_to(0, &destination, 1, 200).durable().submit();
    recorder.allow(0);
    control.wait_for_submitted(1);
    control.wait_for_polls(100);
    assert_eq!(recorder.lines(), 0, "the engine is not done");
    control.complete_next();
    for call in ["lines", "fence"] {
        recorder.wait_for_held();
        control.wait_for_polls(100);
        assert!(poll_once(&mut copy).is_pending(), "before the {call}");
        assert_eq!(runtime.stats().completed, 0);
        recorder.allow(usize::from(call == "lines"));
    }
    recorder.release();
    assert_eq!(block_on(copy).unwrap(), 200);
    assert!(recorder.is_fenced());
    assert_eq!(recorder.take(&destination), touched(1, 200));
}

#[test]
fn what_is_power_fail_safe_is_fenced_and_nothing_is_written_back() {
    let (builder, recorder) = recording();
    let runtime = builder.engine(CpuEngine::new()).build().unwrap();
    let region = runtime.allocate(1 << 20).unwrap();
    region.assume_durability(Durability::PowerFailSafe).unwrap();
    for (operation, fences) in [(0, 1), (1, 2)] {
        let outcome = match operation {
            0 => block_on(region.copy(0, 1 << 16, 50_000).durable()),
            _ => block_on(region.persist(1 << 16..(1 << 16) + 50_000)),
        };
        assert_eq!(outcome.unwrap(), 50_000);
        assert_eq!(recorder.fences(), fences);
    }
    assert!(recorder.take(&region).is_empty());
}

#[test]
fn large_ones_go_piece_by_piece_and_do_not_hold_up_others() {
    let (control, recorder, runtime) = manual();
    let large = persistent(&runtime, 16 << 20);
    let small = persistent(&runtime, 4096);
    recorder.allow(1);
    let mut slow = large.persist(..).submit();
    recorder.wait_for_held();
    // One piece of the large one was written back, and it is held at the second.
    let mut quick = small.persist(0..64).submit();
    assert!(poll_once(&mut quick).is_pending());
    // Until the poller has handed it over.
    control.wait_for_polls(100);
    // That piece, one more of the large one, the small one, and a fence for that.
    recorder.allow(4);
    assert_eq!(block_on(quick).unwrap(), 64);
    assert!(poll_once(&mut slow).is_pending());
    recorder.release();
    assert_eq!(block_on(slow).unwrap(), 16 << 20);
}
