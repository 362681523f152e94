//! Fences: what they hold back, for how long, and what may pass them.

use dmaring::{ErrorKind, Region};
use dmaring_manual::{Control, ManualEngine};
use futures::executor::block_on;

use crate::common::{
    READ_ERROR, bytes, kind, manual, never_parking, pattern, poll_once, region_of,
};

/// Which 64-byte places of `region` the outstanding transfers write, in order of submission.
fn places(control: &Control, region: &Region) -> Vec<u64> {
    let base = region.as_mut_ptr().unwrap().addr().get() as u64;
    let outstanding = control.outstanding();
    outstanding.iter().map(|ticket| (ticket.transfer.destination.get() - base) / 64).collect()
}

#[test]
fn a_fence_waits_for_all_before_it_and_others_pass() {
    let (runtime, control) = manual(16);
    let region = region_of(&runtime, &pattern(1, 64 * 8));
    let first = region.copy(0, 64, 64).submit();
    let second = region.copy(0, 128, 64).submit();
    let mut fenced = region.copy(64, 192, 64).fence().submit();
    let passes = region.copy(0, 256, 64).submit();
    control.wait_for_submitted(3);
    assert_eq!(places(&control, &region), [1, 2, 4]);

    control.complete(2);
    block_on(passes).unwrap();
    control.complete(1);
    block_on(second).unwrap();
    control.wait_for_polls(5);
    assert_eq!(places(&control, &region), [1], "one before the fence is still running");
    assert!(poll_once(&mut fenced).is_pending());

    control.complete(0);
    block_on(first).unwrap();
    control.wait_for_submitted(1);
    assert_eq!(places(&control, &region), [3]);
    control.complete_all();
    assert_eq!(block_on(fenced).unwrap(), 64);
    assert_eq!(bytes(&region, 192, 64), pattern(1, 64), "it read what the first had written");
}

#[test]
fn a_fence_waits_for_what_fails_too() {
    let (runtime, control) = manual(16);
    let region = runtime.allocate(64 * 8).unwrap();
    let failing = region.fill(0, 64, 1).submit();
    let fenced = region.fill(64, 64, 2).fence().submit();
    control.wait_for_submitted(1);
    control.wait_for_polls(5);
    assert_eq!(places(&control, &region), [0]);
    control.fail(0, READ_ERROR);
    control.wait_for_submitted(1);
    assert_eq!(places(&control, &region), [1]);
    control.complete_all();
    assert_eq!(block_on(fenced).unwrap(), 64, "a fence orders, it does not depend");
    assert!(matches!(kind(block_on(failing)), ErrorKind::Device(_)));
}

#[test]
fn a_fence_waits_for_every_engine() {
    let (left, left_control) = ManualEngine::builder().name("left").build();
    let (right, right_control) = ManualEngine::builder().name("right").build();
    let runtime = never_parking().engine(left).engine(right).build().unwrap();
    let region = runtime.allocate(64 * 8).unwrap();
    let before: Vec<_> = (0..2).map(|n| region.fill(n * 64, 64, n).submit()).collect();
    let fenced = region.fill(128, 64, 2).fence().submit();
    left_control.wait_for_submitted(1);
    right_control.wait_for_submitted(1);
    left_control.complete_all();
    left_control.wait_for_polls(5);
    right_control.wait_for_polls(5);
    assert_eq!((left_control.submitted(), right_control.submitted()), (0, 1));
    right_control.complete_all();
    left_control.release();
    right_control.release();
    assert_eq!(block_on(fenced).unwrap(), 64);
    for fill in before {
        block_on(fill).unwrap();
    }
}

#[test]
fn a_chain_of_fences_runs_one_at_a_time() {
    let (runtime, control) = manual(8);
    let region = region_of(&runtime, &[pattern(2, 64), vec![0; 64 * 20]].concat());
    // Longer than the ring: the tail of the chain waits for permits, and keeps its order.
    let chain: Vec<_> =
        (0..20).map(|n| region.copy(n * 64, (n + 1) * 64, 64).fence().submit()).collect();
    for (place, copy) in (1..).zip(chain) {
        control.wait_for_submitted(1);
        assert_eq!(places(&control, &region), [place]);
        control.complete_all();
        assert_eq!(block_on(copy).unwrap(), 64);
    }
    assert_eq!(bytes(&region, 20 * 64, 64), pattern(2, 64));
}

#[test]
fn a_fence_holds_though_the_futures_before_it_are_gone() {
    let (runtime, control) = manual(8);
    let region = runtime.allocate(64 * 8).unwrap();
    drop(region.fill(0, 64, 1).submit());
    std::mem::forget(region.fill(64, 64, 2).submit());
    let fenced = region.fill(128, 64, 3).fence().submit();
    control.wait_for_submitted(2);
    control.complete(1);
    control.wait_for_polls(5);
    assert_eq!(places(&control, &region), [0]);
    control.complete(0);
    control.wait_for_submitted(1);
    control.complete_all();
    assert_eq!(block_on(fenced).unwrap(), 64);
}
