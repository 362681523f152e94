//! Striped operations whose stripes fail, whose time runs out, whose engines are lost, and that nobody waits for.

use std::time::Duration;

use dmaring::{ErrorKind, ManualClock, OnError, Runtime, Status, StatusKind, Striping};
use dmaring_cpu::CpuEngine;
use dmaring_manual::{Control, ManualEngine, Recovery};
use futures::executor::block_on;

use crate::{
    common::{
        LONG, READ_ERROR, bytes, eventually, kind, never_parking, pattern, poll_once, region_of,
    },
    manual,
};

/// One that a CPU may do better after.
const ADDRESS_ERROR: Status = Status { kind: StatusKind::SourceAddress, bits: 1 };
const STRIPE: u64 = 4096;
const STRIPING: Striping = Striping { from: 2 * STRIPE, stripe: STRIPE };

fn two(clock: &ManualClock) -> (Runtime, [Control; 2]) {
    let builder = never_parking().ring_entries(16).striping(STRIPING).clock(clock.clone());
    manual(builder, |_, engine| engine)
}

/// The offset, in stripes, of the transfer that an engine was given first.
fn first_stripe(control: &Control, base: u64) -> u64 {
    (control.outstanding()[0].transfer.destination.get() - base) / STRIPE
}

#[test]
fn a_failing_stripe_is_told_by_its_offsets_and_no_further_one_is_begun() {
    let (runtime, controls) = two(&ManualClock::new());
    let source = runtime.allocate(1 << 20).unwrap();
    let destination = runtime.allocate(1 << 20).unwrap();
    let base = destination.as_mut_ptr().unwrap().addr().get() as u64;
    let copy = source.copy_to(100, &destination, 0, 256 * 4000).submit();
    for control in &controls {
        control.wait_for_submitted(2);
    }
    let stripe = first_stripe(&controls[1], base);
    controls[1].fail_next(READ_ERROR);
    eventually("the failure", || runtime.stats().engines[1].errors == 1);
    // What is out is waited for, and nothing new comes.
    let ended = controls[0].complete_all() + controls[1].complete_all();
    let error = block_on(copy).unwrap_err();
    let ErrorKind::Device(device) = error.kind() else { panic!("{error:?}") };
    assert_eq!(device.source_offset, Some(100 + stripe * STRIPE));
    assert_eq!((device.destination_offset, device.segment), (stripe * STRIPE, None));
    assert!(ended <= 4, "{ended}");
    let stats = runtime.stats();
    assert_eq!((stats.failed, stats.completed, stats.in_flight), (1, 0, 0));
    controls.iter().for_each(Control::release);
    assert_eq!(block_on(source.copy_to(0, &destination, 0, 1 << 20)).unwrap(), 1 << 20);
}

#[test]
fn a_failing_stripe_is_done_again_by_the_cpu_which_does_what_is_left() {
    let (engine, control) = ManualEngine::builder().build();
    let builder = never_parking().striping(STRIPING).engine(engine).engine(CpuEngine::new());
    let runtime = builder.build().unwrap();
    let source = region_of(&runtime, &pattern(3, 1 << 16));
    let destination = runtime.allocate(1 << 16).unwrap();
    let copy = source.copy_to(0, &destination, 0, 1 << 16).submit();
    control.wait_for_submitted(2);
    control.fail_next(ADDRESS_ERROR);
    control.release();
    assert_eq!(block_on(copy).unwrap(), 1 << 16);
    assert_eq!(bytes(&destination, 0, 1 << 16), pattern(3, 1 << 16));
    let stats = runtime.stats();
    assert_eq!((stats.retried, stats.engines[1].retries, stats.completed), (1, 1, 1));
    control.hold();
    let copy = source.copy_to(0, &destination, 0, 1 << 16).on_error(OnError::Fail).submit();
    control.wait_for_submitted(1);
    control.fail_next(READ_ERROR);
    control.release();
    assert!(matches!(kind(block_on(copy)), ErrorKind::Device(_)));
}

#[test]
fn a_late_operation_begins_no_further_stripe_and_keeps_what_it_uses() {
    let clock = ManualClock::new();
    let (runtime, controls) = two(&clock);
    let region = runtime.allocate(1 << 20).unwrap();
    let late = region.fill(0, 1 << 20, 1).timeout(Duration::from_millis(1)).submit();
    for control in &controls {
        control.wait_for_submitted(2);
    }
    clock.advance(Duration::from_millis(1));
    assert_eq!(kind(block_on(late)), ErrorKind::TimedOut);
    drop(region);
    assert_eq!(runtime.stats().in_flight, 1);
    controls[0].complete_all();
    controls[1].complete_next();
    controls[0].wait_for_polls(200);
    assert_eq!((controls[0].submitted(), controls[1].submitted()), (0, 1), "nothing new");
    assert_eq!((controls[0].domain().live(), controls[1].domain().live()), (1, 1));
    controls[1].complete_all();
    eventually("the unmapping", || controls[1].domain().live() == 0);
    let stats = runtime.stats();
    assert_eq!((stats.timed_out, stats.failed, stats.in_flight), (1, 1, 0));
    assert!(controls.iter().all(|control| control.violations().is_empty()));
}

#[test]
fn a_dropped_operation_is_finished_and_a_forgotten_one_too() {
    let (runtime, controls) = two(&ManualClock::new());
    let source = region_of(&runtime, &pattern(4, 1 << 16));
    let destination = runtime.allocate(1 << 17).unwrap();
    drop(source.copy_to(0, &destination, 0, 1 << 16).submit());
    std::mem::forget(source.copy_to(0, &destination, 1 << 16, 1 << 16).submit());
    drop(source);
    controls.iter().for_each(Control::release);
    eventually("both", || runtime.stats().completed == 2);
    for at in [0, 1 << 16] {
        assert_eq!(bytes(&destination, at, 1 << 16), pattern(4, 1 << 16));
    }
}

#[test]
fn stripes_of_an_engine_that_is_lost_go_to_the_others() {
    let (runtime, controls) = two(&ManualClock::new());
    let source = region_of(&runtime, &pattern(5, 1 << 16));
    let destination = runtime.allocate(1 << 16).unwrap();
    let other = source.copy_to(0, &destination, 0, 64).submit();
    eventually("the small one", || controls.iter().any(|control| control.submitted() == 1));
    let [busy, free] = if controls[0].submitted() == 1 { [0, 1] } else { [1, 0] };
    controls[busy].set_recovery(Recovery::Fails { steps: 1, status: READ_ERROR });
    let copy = source.copy_to(0, &destination, 0, 1 << 16).submit();
    for control in &controls {
        control.wait_for_submitted(2);
    }
    // The small copy fails, and what is behind it has not run.
    controls[busy].fail_channel(controls[busy].outstanding()[0].serial, READ_ERROR);
    eventually("the loss", || runtime.stats().engines[busy].lost);
    controls[free].release();
    assert!(matches!(kind(block_on(other)), ErrorKind::Device(_)));
    assert_eq!(block_on(copy).unwrap(), 1 << 16);
    assert_eq!(bytes(&destination, 0, 1 << 16), pattern(5, 1 << 16));
}

#[test]
fn an_engine_that_keeps_a_stripe_resolves_the_whole_operation() {
    let (runtime, controls) = two(&ManualClock::new());
    let region = runtime.allocate(1 << 16).unwrap();
    let mut fill = region.fill(0, 1 << 16, 1).submit();
    for control in &controls {
        control.wait_for_submitted(2);
    }
    assert!(poll_once(&mut fill).is_pending());
    controls[0].set_stuck(Some(READ_ERROR));
    assert_eq!(kind(block_on(fill)), ErrorKind::EngineLost);
    controls[1].complete_all();
    controls[1].wait_for_polls(200);
    assert_eq!(controls[1].submitted(), 0, "it does not go on");
    assert_eq!(runtime.stats().in_flight, 1);
    controls[0].complete_all();
    eventually("the end", || runtime.stats().in_flight == 0);
    block_on(runtime.shutdown(LONG)).unwrap();
}

#[test]
fn a_runtime_that_ends_waits_for_every_stripe() {
    let (runtime, controls) = two(&ManualClock::new());
    let region = runtime.allocate(1 << 16).unwrap();
    let fill = region.fill(0, 1 << 16, 0x0101_0101_0101_0101).submit();
    for control in &controls {
        control.wait_for_submitted(2);
        control.release();
    }
    block_on(runtime.shutdown(LONG)).unwrap();
    assert_eq!(block_on(fill).unwrap(), 1 << 16);
    assert_eq!(bytes(&region, 0, 1 << 16), vec![1; 1 << 16]);
}
