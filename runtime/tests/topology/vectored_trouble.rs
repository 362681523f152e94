//! Vectored copies that fail, run out of time, are dropped, or name files that are staged.

use std::{fs, time::Duration};

use dmaring::{ErrorKind, ManualClock, Region, Runtime, Segment, Status, StatusKind, Striping};
use dmaring_cpu::CpuEngine;
use dmaring_manual::{Control, ManualEngine};
use futures::{StreamExt, executor::block_on};

#[path = "../staged/mod.rs"]
mod staged;

use crate::common::{
    READ_ERROR, bytes, eventually, kind, manual_with, never_parking, pattern, region_of,
};

/// One that a CPU may do better after.
const ADDRESS_ERROR: Status = Status { kind: StatusKind::SourceAddress, bits: 1 };

fn of<'a>(source: &'a Region, destination: &'a Region, n: u64) -> Segment<'a> {
    let at = n * 100;
    Segment { source, source_offset: at, destination, destination_offset: at + 7, length: 64 }
}

fn five(runtime: &Runtime) -> [Region; 2] {
    [region_of(runtime, &pattern(1, 512)), runtime.allocate(512).unwrap()]
}

fn copy(runtime: &Runtime, [src, dst]: &[Region; 2]) -> dmaring::CopyVectored {
    runtime.copy_vectored(&[0, 1, 2, 3, 4].map(|n| of(src, dst, n)))
}

#[test]
fn the_segment_that_failed_is_named_with_its_offsets() {
    for culprit in 0..5 {
        let (runtime, control) = manual_with(16, ManualEngine::builder().max_transfer(64));
        let regions = five(&runtime);
        let copy = copy(&runtime, &regions).submit();
        control.wait_for_submitted(5);
        control.fail(culprit, READ_ERROR);
        control.release();
        let error = block_on(copy).unwrap_err();
        let ErrorKind::Device(device) = error.kind() else { panic!("{error:?}") };
        assert_eq!(device.segment, Some(culprit as u32));
        assert_eq!(device.source_offset, Some(culprit * 100));
        assert_eq!(device.destination_offset, culprit * 100 + 7);
        assert!(error.to_string().starts_with(&format!("segment {culprit}: ")), "{error}");
        for n in (0..5).filter(|&n| n != culprit) {
            let at = n as usize * 100;
            assert_eq!(bytes(&regions[1], n * 100 + 7, 64), pattern(1, 512)[at..at + 64]);
        }
        assert_eq!((runtime.stats().failed, runtime.stats().in_flight), (1, 0));
    }
}

#[test]
fn of_several_failures_the_first_segments_is_told_and_none_behind_is_begun() {
    let (runtime, control) = manual_with(16, ManualEngine::builder().depth(4));
    let regions = five(&runtime);
    let copy = copy(&runtime, &regions).submit();
    control.wait_for_submitted(2);
    control.fail(1, READ_ERROR);
    eventually("the failure", || runtime.stats().engines[0].errors == 1);
    control.fail(0, READ_ERROR);
    let ErrorKind::Device(device) = kind(block_on(copy)) else { panic!() };
    assert_eq!(device.segment, Some(0));
    assert_eq!(control.submitted() + control.enqueued(), 0);
    assert_eq!(bytes(&regions[1], 207, 300), vec![0; 300]);
}

#[test]
fn a_segment_that_fails_is_copied_by_the_cpu_and_so_is_what_was_not_run() {
    let (engine, control) = ManualEngine::builder().build();
    // The engine has the least to do at first.
    let runtime = never_parking().engine(engine).engine(CpuEngine::new()).build().unwrap();
    let regions = five(&runtime);
    let copy = copy(&runtime, &regions).submit();
    control.wait_for_submitted(5);
    control.fail_channel(2, ADDRESS_ERROR);
    control.release();
    assert_eq!(block_on(copy).unwrap(), 5 * 64);
    for n in 0..5 {
        let at = n as usize * 100;
        assert_eq!(bytes(&regions[1], n * 100 + 7, 64), pattern(1, 512)[at..at + 64]);
    }
    let stats = runtime.stats();
    assert_eq!((stats.completed, stats.retried), (1, 1));
    assert_eq!((stats.engines[0].replayed, stats.engines[1].retries), (0, 1));
    assert_eq!(stats.engines[1].transfers, 3, "what failed, and the two that were not run");
}

/// Each of a hundred segments would fail in the engine: as one copy they are one failure, whatever they are cut into.
#[test]
fn a_copy_that_is_bad_all_over_is_one_failure_of_the_engine() {
    let (engine, control) = ManualEngine::builder().depth(8).build();
    let builder = never_parking().engine(engine).engine(CpuEngine::new());
    let runtime = builder.build().unwrap();
    let (src, dst) = (region_of(&runtime, &pattern(2, 6400)), runtime.allocate(6400).unwrap());
    let segments: Vec<_> = (0..100)
        .map(|n| Segment {
            source: &src,
            source_offset: n * 64,
            destination: &dst,
            destination_offset: n * 64,
            length: 64,
        })
        .collect();
    let copy = runtime.copy_vectored(&segments).submit();
    control.wait_for_submitted(4);
    control.fail_channel(0, ADDRESS_ERROR);
    assert_eq!(block_on(copy).unwrap(), 6400);
    assert_eq!(bytes(&dst, 0, 6400), pattern(2, 6400));
    let stats = runtime.stats();
    assert_eq!((stats.completed, stats.retried, stats.engines[0].transfers), (1, 1, 0));
    assert_eq!((stats.engines[0].errors, stats.engines[0].replayed), (1, 0));
    assert_eq!((stats.engines[1].bytes, control.enqueued()), (6400, 0));
}

#[test]
fn a_late_one_keeps_every_region_until_the_engine_lets_go() {
    let clock = ManualClock::new();
    let (engine, control) = ManualEngine::builder().depth(4).build();
    let runtime = never_parking().engine(engine).clock(clock.clone()).build().unwrap();
    let (src, dst) = (runtime.allocate(4096).unwrap(), runtime.allocate(4096).unwrap());
    let other = runtime.allocate(4096).unwrap();
    let segments = [of(&src, &dst, 0), of(&other, &dst, 1), of(&src, &dst, 2)];
    let limit = Duration::from_millis(2);
    let late = runtime.copy_vectored(&segments).timeout(limit).submit();
    control.wait_for_submitted(2);
    clock.advance(limit);
    assert_eq!(kind(block_on(late)), ErrorKind::TimedOut);
    drop((src, dst, other));
    control.wait_for_polls(200);
    assert_eq!((control.domain().live(), control.submitted()), (3, 2));
    control.complete_all();
    eventually("the unmapping", || control.domain().live() == 0);
    assert_eq!(runtime.stats().in_flight, 0);
    assert_eq!(control.violations(), []);
}

/// A poller that sleeps, and reaps before it does, though nobody polls.
fn parking() -> (Runtime, Control) {
    let (engine, control) = ManualEngine::builder().build();
    (Runtime::builder().engine(engine).ring_entries(16).build().unwrap(), control)
}

#[test]
fn dropped_and_forgotten_ones_are_finished_and_give_everything_back() {
    let (runtime, control) = parking();
    for round in 0..50 {
        let regions = five(&runtime);
        let dropped = copy(&runtime, &regions);
        let submitted = copy(&runtime, &regions).submit();
        let forgotten = copy(&runtime, &regions).submit();
        control.wait_for_submitted(10);
        drop((dropped, submitted));
        std::mem::forget(forgotten);
        drop(regions);
        control.complete_all();
        eventually("both", || runtime.stats().completed == 2 * (round + 1));
        eventually("the unmapping", || control.domain().live() == 0);
    }
    assert_eq!(control.violations(), []);
}

#[test]
fn a_result_that_nobody_claims_holds_no_region() {
    let (runtime, control) = parking();
    let regions = five(&runtime);
    let unclaimed = copy(&runtime, &regions).submit();
    control.wait_for_submitted(5);
    control.fail(3, READ_ERROR);
    control.release();
    drop(regions);
    eventually("the end", || runtime.stats().failed == 1 && control.domain().live() == 0);
    let ErrorKind::Device(device) = kind(block_on(unclaimed)) else { panic!() };
    assert_eq!((device.segment, device.destination_offset), (Some(3), 307));
}

#[test]
fn lists_are_limited_and_come_back() {
    let (runtime, _control) = manual_with(4, ManualEngine::builder());
    let regions = five(&runtime);
    let mut held: Vec<_> = (0..1024).map(|_| copy(&runtime, &regions)).collect();
    let error = block_on(copy(&runtime, &regions)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    assert!(error.to_string().contains("await or drop some"), "{error}");
    held.truncate(1000);
    drop(copy(&runtime, &regions).submit());
}

/// One that was refused, or awaited, needs its list no more, though its future is still there.
#[test]
fn the_list_of_what_was_refused_or_has_ended_comes_back_before_its_future_goes() {
    let (runtime, control) = manual_with(4, ManualEngine::builder());
    control.release();
    let (open, closed) = (five(&runtime), five(&runtime));
    let mut ended = copy(&runtime, &open);
    assert_eq!(block_on(&mut ended).unwrap(), 320);
    let mut alone: Vec<_> = (0..500).map(|_| copy(&runtime, &closed)).collect();
    let mut batch = runtime.batch();
    (0..524).for_each(|_| batch.push(copy(&runtime, &closed)));
    assert_eq!(kind(block_on(copy(&runtime, &open))), ErrorKind::LimitExceeded);
    block_on(closed[0].close()).unwrap();
    let mut refused = batch.submit();
    for copy in &mut alone {
        assert_eq!(kind(block_on(copy)), ErrorKind::Closed);
    }
    for _ in 0..524 {
        assert_eq!(kind(block_on(refused.next()).unwrap()), ErrorKind::Closed);
    }
    let all: Vec<_> = (0..1024).map(|_| copy(&runtime, &open)).collect();
    assert_eq!(kind(block_on(copy(&runtime, &open))), ErrorKind::LimitExceeded);
    for copy in all {
        assert_eq!(block_on(copy).unwrap(), 320);
    }
    drop((alone, refused, ended));
}

/// How many pieces there are at a time, in all.
const PIECES: usize = 1024;

/// A piece with the staging thread is in two engines, of which one is lost with it and brought back before the other lets go. It has
/// its place when it ends, and gives it back once: others have neither more places than before nor fewer.
#[test]
fn a_piece_that_was_a_captive_gives_its_place_back_once() {
    let Some(directory) = staged::directory() else { return };
    let builder = never_parking().ring_entries(64).striping(Striping::OFF);
    let builder = builder.file_blocks(4, staged::BLOCK as u32);
    let (runtime, controls) = crate::manual::<2>(builder, |_, engine| engine.depth(2 * PIECES));
    let total = || controls.iter().map(Control::submitted).sum::<usize>();
    let length = 2 * staged::BLOCK;
    let file = staged::file(&directory, "to", &vec![0; length as usize]);
    let file = runtime.open_file(file).unwrap();
    let (src, dst) = (runtime.allocate(1 << 15).unwrap(), runtime.allocate(1 << 15).unwrap());
    let segment = |at, destination, length| Segment {
        source: &src,
        source_offset: at,
        destination,
        destination_offset: at,
        length,
    };
    let other = runtime.copy_vectored(&[segment(0, &dst, 64)]).submit();
    eventually("another piece", || total() == 1);
    let [busy, lost] = if controls[0].submitted() == 1 { [0, 1] } else { [1, 0] };
    let staged = runtime.copy_vectored(&[segment(0, &file, length)]).submit();
    eventually("a block in each", || {
        (controls[busy].submitted(), controls[lost].submitted()) == (2, 1)
    });
    controls[lost].set_stuck(Some(READ_ERROR));
    assert_eq!(kind(block_on(staged)), ErrorKind::EngineLost);
    controls[lost].set_stuck(None);
    controls[lost].complete_all();
    block_on(runtime.restore_engine(&format!("engine{lost}"))).unwrap();
    assert_eq!(runtime.stats().in_flight, 2, "the other engine is still at it");
    controls[busy].complete_last().unwrap();
    eventually("its end", || runtime.stats().in_flight == 1);
    let list: Vec<_> = (0..256).map(|n| segment(n * 64, &dst, 64)).collect();
    let copies: Vec<_> = (0..8).map(|_| runtime.copy_vectored(&list).submit()).collect();
    eventually("as many as there may be", || total() >= PIECES);
    for control in &controls {
        control.wait_for_polls(200);
    }
    assert_eq!(total(), PIECES);
    controls.iter().for_each(Control::release);
    for copy in copies {
        assert_eq!(block_on(copy).unwrap(), 256 * 64);
    }
    assert_eq!(block_on(other).unwrap(), 64);
    assert!(controls.iter().all(|control| control.violations().is_empty()));
}

#[test]
fn segments_of_staged_files_and_of_memory_go_together() {
    let Some(directory) = staged::directory() else { return };
    let (from, to) = (directory.path().join("from"), directory.path().join("to"));
    let contents = staged::pattern(1, 100_000);
    fs::write(&from, &contents).unwrap();
    fs::write(&to, vec![0; 100_000]).unwrap();
    let runtime = staged::cpu(4);
    let (from, to_file) = (runtime.open_file(&from).unwrap(), runtime.open_file(&to).unwrap());
    let memory = region_of(&runtime, &[9; 4096]);
    let segment = |source, destination, source_offset, destination_offset, length| Segment {
        source,
        source_offset,
        destination,
        destination_offset,
        length,
    };
    let copied = block_on(runtime.copy_vectored(&[
        segment(&from, &to_file, 3, 50_000, 40_000),
        segment(&memory, &to_file, 0, 10, 4096),
        segment(&from, &to_file, 90_000, 95_000, 5000),
    ]));
    assert_eq!(copied.unwrap(), 49_096);
    let found = fs::read(&to).unwrap();
    assert_eq!(found[50_000..90_000], contents[3..40_003]);
    assert_eq!(found[10..4106], [9; 4096]);
    assert_eq!(found[95_000..], contents[90_000..95_000]);
}
