//! Replays: in which order, what is not repeated, what a fence still holds back, and reports of before a reset.

use dmaring::{EngineState, Region};
use dmaring_engine::{Completion, Outcome};
use dmaring_manual::{Control, ManualEngine, Recovery};
use futures::executor::block_on;

use crate::common::{
    READ_ERROR, bytes, eventually, kind, manual, manual_with, never_parking, pattern, poll_once,
    region_of,
};

/// Which 64-byte places of `region` the outstanding transfers write, in order of submission.
fn places(control: &Control, region: &Region) -> Vec<u64> {
    let base = region.as_mut_ptr().unwrap().addr().get() as u64;
    let outstanding = control.outstanding();
    outstanding.iter().map(|ticket| (ticket.transfer.destination.get() - base) / 64).collect()
}

#[test]
fn what_was_not_run_goes_first_and_in_its_order() {
    let (runtime, control) = manual_with(16, ManualEngine::builder().depth(6));
    let src = region_of(&runtime, &pattern(1, 64 * 16));
    let dst = runtime.allocate(64 * 16).unwrap();
    // Six fit into the engine, the others stand behind them.
    let copies: Vec<_> = (0..10).map(|n| src.copy_to(n * 64, &dst, n * 64, 64).submit()).collect();
    control.wait_for_submitted(6);
    eventually("the others", || runtime.stats().submitted == 10);
    control.set_recovery(Recovery::Succeeds { steps: 3 });
    control.fail_channel(1, READ_ERROR);
    control.wait_for_submitted(6);
    assert_eq!(places(&control, &dst), [2, 3, 4, 5, 6, 7]);
    let stats = &runtime.stats().engines[0];
    assert_eq!((stats.replayed, stats.epoch, stats.state), (4, 1, EngineState::Running));
    control.release();
    let failed = copies.into_iter().map(block_on).filter(Result::is_err).count();
    assert_eq!(failed, 1);
}

#[test]
fn a_failure_during_the_replay_keeps_the_order_and_loses_nothing() {
    let (runtime, control) = manual_with(16, ManualEngine::builder().depth(4));
    let src = region_of(&runtime, &pattern(1, 64 * 16));
    let dst = runtime.allocate(64 * 16).unwrap();
    let copies: Vec<_> = (0..8).map(|n| src.copy_to(n * 64, &dst, n * 64, 64).submit()).collect();
    control.wait_for_submitted(4);
    eventually("the others", || runtime.stats().submitted == 8);
    for (culprit, rest) in [(0, [1, 2, 3, 4]), (4, [2, 3, 4, 5]), (8, [3, 4, 5, 6])] {
        control.fail_channel(culprit, READ_ERROR);
        control.wait_for_submitted(4);
        assert_eq!(places(&control, &dst), rest);
    }
    control.release();
    let outcomes: Vec<_> = copies.into_iter().map(|copy| block_on(copy).is_ok()).collect();
    assert_eq!(outcomes, [false, false, false, true, true, true, true, true]);
    assert_eq!(bytes(&dst, 64 * 3, 64 * 5), pattern(1, 64 * 16)[64 * 3..64 * 8]);
    assert_eq!(runtime.stats().engines[0].epoch, 3);
}

#[test]
fn parts_that_are_done_are_not_done_again() {
    let engine = ManualEngine::builder().max_transfer(64).depth(16);
    let (runtime, control) = manual_with(16, engine);
    let src = region_of(&runtime, &pattern(2, 64 * 8));
    let dst = runtime.allocate(64 * 9).unwrap();
    let culprit = dst.fill(64 * 8, 64, 1).submit();
    control.wait_for_submitted(1);
    let copy = src.copy_to(0, &dst, 0, 64 * 8).submit();
    control.wait_for_submitted(9);
    control.complete(2);
    control.complete(7);
    control.fail_channel(0, READ_ERROR);
    control.wait_for_submitted(6);
    assert_eq!(places(&control, &dst), [0, 2, 3, 4, 5, 7]);
    control.release();
    assert_eq!(block_on(copy).unwrap(), 64 * 8);
    assert_eq!(bytes(&dst, 0, 64 * 8), pattern(2, 64 * 8));
    block_on(culprit).unwrap_err();
}

#[test]
fn a_fence_holds_across_a_replay_on_either_engine() {
    let (left, left_control) = ManualEngine::builder().name("left").build();
    let (right, right_control) = ManualEngine::builder().name("right").build();
    let runtime = never_parking().engine(left).engine(right).build().unwrap();
    let region = region_of(&runtime, &pattern(4, 64 * 32));
    let copies: Vec<_> = (1..5).map(|n| region.copy(0, n * 64, 64).submit()).collect();
    left_control.wait_for_submitted(2);
    right_control.wait_for_submitted(2);
    let mut fenced = region.copy(64, 64 * 20, 64).fence().submit();
    eventually("the fenced one", || runtime.stats().submitted == 5);
    // One of the left engine's two fails, the other is replayed; the right engine ends all it has.
    left_control.set_recovery(Recovery::Succeeds { steps: 4 });
    left_control.fail_channel(0, READ_ERROR);
    right_control.complete_all();
    left_control.wait_for_submitted(1);
    left_control.wait_for_polls(10);
    right_control.wait_for_polls(10);
    assert_eq!((left_control.submitted(), right_control.submitted()), (1, 0));
    assert!(poll_once(&mut fenced).is_pending());
    assert_eq!(places(&left_control, &region), [3]);
    left_control.complete_all();
    left_control.release();
    right_control.release();
    assert_eq!(block_on(fenced).unwrap(), 64);
    let outcomes: Vec<_> = copies.into_iter().map(|copy| block_on(copy).is_ok()).collect();
    assert_eq!(outcomes, [false, true, true, true]);
}

#[test]
fn a_report_of_before_the_reset_ends_nothing() {
    let (runtime, control) = manual(16);
    let region = region_of(&runtime, &pattern(5, 64 * 8));
    let culprit = region.copy(0, 64 * 4, 64).submit();
    let mut copy = region.copy(0, 64 * 5, 64).submit();
    let before = control.wait_for_submitted(2);
    control.fail_channel(0, READ_ERROR);
    control.wait_for_submitted(1);
    // The device ends the copy of the old epoch after all, late: the new one is still to be written.
    control.forge(Completion { token: before[1].token, outcome: Outcome::Done });
    eventually("the violation", || runtime.stats().violations == 1);
    assert!(poll_once(&mut copy).is_pending());
    control.forge(Completion { token: before[1].token, outcome: Outcome::Failed(READ_ERROR) });
    eventually("the violation", || runtime.stats().violations == 2);
    assert_eq!(runtime.stats().engines[0].errors, 1);
    control.release();
    assert_eq!(block_on(copy).unwrap(), 64);
    assert!(matches!(kind(block_on(culprit)), dmaring::ErrorKind::Device(_)));
}

/// An engine that tells one part twice has not told another: the memory of that is still its own.
#[test]
fn a_part_that_is_reported_twice_ends_no_other() {
    let engine = ManualEngine::builder().max_transfer(64).depth(16);
    let (runtime, control) = manual_with(16, engine);
    let src = region_of(&runtime, &pattern(6, 64 * 4));
    let dst = runtime.allocate(64 * 4).unwrap();
    let mut copy = src.copy_to(0, &dst, 0, 64 * 4).submit();
    let parts = control.wait_for_submitted(4);
    control.complete(0);
    for outcome in [Outcome::Done, Outcome::Done, Outcome::NotRun, Outcome::Failed(READ_ERROR)] {
        control.forge(Completion { token: parts[0].token, outcome });
    }
    control.complete(1);
    control.complete(2);
    eventually("the violations", || runtime.stats().violations == 4);
    control.wait_for_polls(10);
    assert!(poll_once(&mut copy).is_pending(), "the last part is with the engine");
    drop((src, dst));
    control.wait_for_polls(10);
    assert!(control.domain().live() > 0);
    control.complete(3);
    assert_eq!(block_on(copy).unwrap(), 64 * 4);
    let engine = &runtime.stats().engines[0];
    assert_eq!((engine.transfers, engine.errors, engine.recoveries), (4, 0, 0));
    assert_eq!(control.violations(), []);
}
