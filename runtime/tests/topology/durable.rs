//! Durable operations in pieces: everything is written back before the future resolves.

use std::collections::BTreeSet;

use dmaring::{ErrorKind, OnError, Region, Segment, Status, StatusKind, Striping};
use dmaring_cpu::CpuEngine;
use dmaring_manual::ManualEngine;
use futures::executor::block_on;

use crate::{
    common::{bytes, eventually, kind, pattern, poll_once, region_of},
    recorder::{persistent, recording},
};

const LENGTH: usize = 64 << 10;
const STRIPING: Striping = Striping { from: 8192, stripe: 4096 };

/// The lines that a range touches.
fn touched(offset: u64, length: u64) -> impl Iterator<Item = usize> {
    offset as usize / 64..(offset + length).div_ceil(64) as usize
}

fn segment<'a>(source: &'a Region, destination: &'a Region, at: u64, length: u64) -> Segment<'a> {
    Segment { source, source_offset: at, destination, destination_offset: at, length }
}

#[test]
fn a_striped_copy_is_written_back_whole_line_by_line_whoever_did_the_stripes() {
    let (left, left_control) = ManualEngine::builder().build();
    let (right, right_control) = ManualEngine::builder().build();
    for control in [&left_control, &right_control] {
        control.release();
    }
    let (builder, recorder) = recording();
    let builder = builder.striping(STRIPING).engine(left).engine(right).engine(CpuEngine::new());
    let runtime = builder.build().unwrap();
    let source = region_of(&runtime, &pattern(1, LENGTH));
    let destination = persistent(&runtime, LENGTH);
    for (offset, length) in [(0, 16384), (1, 16384), (63, 50_001), (100, 40_000)] {
        let copy = source.copy_to(0, &destination, offset, length).durable();
        assert_eq!(block_on(copy).unwrap(), length);
        let expected: BTreeSet<_> = touched(offset, length).collect();
        assert_eq!(recorder.take(&destination), expected, "{offset} {length}");
    }
    assert!(runtime.stats().engines.iter().filter(|engine| engine.bytes > 0).count() > 1);
}

#[test]
fn every_segment_is_written_back_before_the_copy_resolves() {
    let (engine, control) = ManualEngine::builder().build();
    control.release();
    let (builder, recorder) = recording();
    let runtime = builder.engine(engine).build().unwrap();
    let source = region_of(&runtime, &pattern(1, LENGTH));
    let destination = persistent(&runtime, LENGTH);
    recorder.allow(0);
    let ranges = [(0, 64), (100, 30), (4096, 1000), (9001, 1)];
    let segments = ranges.map(|(at, length)| segment(&source, &destination, at, length));
    let mut copy = runtime.copy_vectored(&segments).durable().submit();
    recorder.wait_for_held();
    assert_eq!(bytes(&destination, 9001, 1), pattern(1, LENGTH)[9001..9002]);
    control.wait_for_polls(100);
    assert!(poll_once(&mut copy).is_pending(), "nothing is written back");
    recorder.release();
    assert_eq!(block_on(copy).unwrap(), 1095);
    let expected: BTreeSet<_> =
        ranges.iter().flat_map(|&(at, length)| touched(at, length)).collect();
    assert_eq!(recorder.take(&destination), expected);
    assert_eq!(runtime.stats().in_flight, 0);
}

#[test]
fn a_segment_in_volatile_memory_is_named_and_nothing_is_written() {
    let (engine, control) = ManualEngine::builder().build();
    let (builder, recorder) = recording();
    let runtime = builder.engine(engine).build().unwrap();
    let source = runtime.allocate(LENGTH).unwrap();
    let (good, bad) = (persistent(&runtime, LENGTH), runtime.allocate(LENGTH).unwrap());
    let empty = segment(&source, &bad, 0, 0);
    let segments = [empty, segment(&source, &good, 0, 64), segment(&source, &bad, 64, 64)];
    let error = block_on(runtime.copy_vectored(&segments).durable()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Volatile);
    assert!(error.to_string().starts_with("segment 2: "), "{error}");
    assert_eq!((control.enqueued(), recorder.lines()), (0, 0));
    // It is the option that is refused, and a list of no use to durable memory is none of its business.
    control.release();
    assert_eq!(block_on(runtime.copy_vectored(&segments)).unwrap(), 128);
    assert_eq!(block_on(runtime.copy_vectored(&segments[..2]).durable()).unwrap(), 64);
}

#[test]
fn what_the_cpu_did_instead_is_written_back_too_and_a_failure_is_told() {
    let (engine, control) = ManualEngine::builder().build();
    let (builder, recorder) = recording();
    let runtime = builder.engine(engine).engine(CpuEngine::new()).build().unwrap();
    let source = region_of(&runtime, &pattern(1, LENGTH));
    let destination = persistent(&runtime, LENGTH);
    let segments = [0, 1, 2].map(|n| segment(&source, &destination, n * 8192, 4096));
    let copy = runtime.copy_vectored(&segments).durable().on_error(OnError::RetryOnCpu).submit();
    control.wait_for_submitted(3);
    let status = Status { kind: StatusKind::DestinationAddress, bits: 2 };
    control.fail_channel(1, status);
    assert_eq!(block_on(copy).unwrap(), 3 * 4096);
    let first: BTreeSet<_> = touched(0, 4096).collect();
    let written = recorder.take(&destination);
    assert!(written.is_superset(&first), "the engine wrote these");
    // What the CPU streamed needs no more than the fence.
    let all: BTreeSet<_> = (0..3).flat_map(|n| touched(n * 8192, 4096)).collect();
    assert!(written.is_subset(&all));
    for n in 0..3 {
        let at = n * 8192;
        assert_eq!(bytes(&destination, at, 4096), pattern(1, LENGTH)[at as usize..][..4096]);
    }

    // Of two engines with nothing to do the next in turn has it: the CPU at most once.
    let held = (0..2).find_map(|_| {
        let copy = runtime.copy_vectored(&segments).durable().on_error(OnError::Fail).submit();
        eventually("the copy", || control.submitted() == 3 || runtime.stats().in_flight == 0);
        (control.submitted() == 3).then_some(copy)
    });
    control.fail_next(status).unwrap();
    control.release();
    assert!(matches!(kind(block_on(held.unwrap())), ErrorKind::Device(_)));
}

#[test]
fn write_back_that_is_broken_is_told_of_a_vectored_copy() {
    let (engine, control) = ManualEngine::builder().build();
    control.release();
    let (builder, recorder) = recording();
    let runtime = builder.engine(engine).build().unwrap();
    let source = runtime.allocate(LENGTH).unwrap();
    let destination = persistent(&runtime, LENGTH);
    recorder.panic_next();
    let copy = runtime.copy_vectored(&[segment(&source, &destination, 0, 64)]).durable();
    let error = block_on(copy).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::EngineLost);
    assert!(error.to_string().contains("makes them durable"), "{error}");
}
