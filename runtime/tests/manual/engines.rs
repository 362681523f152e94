//! Several engines, and one shared fairly.

use dmaring::{ErrorKind, Runtime};
use dmaring_engine::Operation;
use dmaring_manual::{Control, ManualEngine};
use futures::executor::block_on;

use crate::common::{eventually, manual_with, never_parking, pattern, region_of};

fn pair(fills: [bool; 2]) -> (Runtime, [Control; 2]) {
    let (left, left_control) = ManualEngine::builder().name("left").fill(fills[0]).build();
    let (right, right_control) = ManualEngine::builder().name("right").fill(fills[1]).build();
    let runtime = never_parking().engine(left).engine(right).ring_entries(64).build().unwrap();
    (runtime, [left_control, right_control])
}

#[test]
fn operations_are_spread_by_bytes() {
    let (runtime, [left, right]) = pair([true, true]);
    let region = runtime.allocate(1 << 16).unwrap();
    let mut fills: Vec<_> = (0..10).map(|n| region.fill(n * 64, 64, n).submit()).collect();
    left.wait_for_submitted(5);
    right.wait_for_submitted(5);
    left.complete_all();
    right.complete_all();
    for fill in fills.drain(..) {
        block_on(fill).unwrap();
    }
    fills.push(region.fill(0, 1 << 15, 1).submit());
    eventually("the large one", || left.submitted() + right.submitted() == 1);
    let (busy, idle) = if left.submitted() == 1 { (&left, &right) } else { (&right, &left) };
    fills.extend((0..20).map(|n| region.fill((1 << 15) + n * 64, 64, n).submit()));
    idle.wait_for_submitted(20);
    assert_eq!(busy.submitted(), 1, "it has the most bytes to do");
    left.release();
    right.release();
    for fill in fills {
        block_on(fill).unwrap();
    }
}

#[test]
fn a_fill_goes_to_an_engine_that_fills() {
    let (runtime, [left, right]) = pair([false, true]);
    let region = region_of(&runtime, &pattern(1, 64 * 64));
    let fills: Vec<_> = (0..6).map(|n| region.fill(n * 64, 64, n).submit()).collect();
    right.wait_for_submitted(6);
    // A copy goes where there is less to do.
    let copy = region.copy(0, 64 * 32, 64).submit();
    let copies = left.wait_for_submitted(1);
    assert!(matches!(copies[0].transfer.operation, Operation::Copy { .. }));
    assert_eq!((left.submitted(), right.submitted()), (1, 6));
    left.release();
    right.release();
    for fill in fills {
        assert_eq!(block_on(fill).unwrap(), 64);
    }
    assert_eq!(block_on(copy).unwrap(), 64);
}

#[test]
fn a_fill_that_no_engine_can_do_is_unsupported() {
    let (runtime, [left, right]) = pair([false, false]);
    let region = region_of(&runtime, &pattern(1, 64 * 64));
    let error = block_on(region.fill(0, 64, 1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("no engine has this operation"), "{error}");
    left.release();
    right.release();
    assert_eq!(block_on(region.copy(0, 64, 64)).unwrap(), 64);
}

#[test]
fn a_large_operation_leaves_half_of_the_engine_to_others() {
    let engine = ManualEngine::builder().depth(16).max_transfer(4096);
    let (runtime, control) = manual_with(16, engine);
    let src = runtime.allocate(1 << 20).unwrap();
    let dst = runtime.allocate((1 << 20) + 64).unwrap();
    let large = src.copy_to(0, &dst, 0, 1 << 20).submit();
    control.wait_for_submitted(8);
    control.wait_for_polls(5);
    assert_eq!(control.submitted(), 8, "half of its depth");

    let small = src.copy_to(0, &dst, 1 << 20, 64).submit();
    let outstanding = control.wait_for_submitted(9);
    assert_eq!(outstanding[8].transfer.length, 64, "no part of the large one had to end first");
    control.complete_last();
    assert_eq!(block_on(small).unwrap(), 64);

    for done in 1..=(256 - 8) {
        control.complete_next();
        control.wait_for_submitted(8);
        assert_eq!(control.submitted(), 8, "after {done} parts");
    }
    control.release();
    assert_eq!(block_on(large).unwrap(), 1 << 20);
}

#[test]
fn large_operations_are_fed_in_turn() {
    let engine = ManualEngine::builder().depth(8).max_transfer(64);
    let (runtime, control) = manual_with(16, engine);
    let src = runtime.allocate(1 << 16).unwrap();
    let dst = runtime.allocate(1 << 16).unwrap();
    let base = dst.as_mut_ptr().unwrap().addr().get() as u64;
    let first = src.copy_to(0, &dst, 0, 1 << 15).submit();
    control.wait_for_submitted(4);
    let second = src.copy_to(1 << 15, &dst, 1 << 15, 1 << 15).submit();
    control.wait_for_submitted(8);
    for _ in 0..100 {
        control.complete_next();
        control.wait_for_submitted(8);
        let halves = control.outstanding();
        let of_first =
            halves.iter().filter(|part| part.transfer.destination.get() < base + (1 << 15));
        assert_eq!(of_first.count(), 4);
    }
    control.release();
    assert_eq!(block_on(first).unwrap() + block_on(second).unwrap(), 1 << 16);
}
