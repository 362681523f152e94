//! Failures of a whole channel: what is replayed, what is lost, and what must not get mixed up meanwhile.

use dmaring::{EngineState, ErrorKind, Runtime, Status, StatusKind};
use dmaring_manual::{ManualEngine, Recovery};
use futures::executor::block_on;

use crate::common::{
    LONG, READ_ERROR, bytes, eventually, kind, manual, manual_with, never_parking, pattern,
    poll_once, region_of,
};

#[test]
fn the_culprit_fails_and_what_was_not_run_is_replayed() {
    let (runtime, control) = manual(16);
    let src = region_of(&runtime, &pattern(1, 640));
    let dst = runtime.allocate(640).unwrap();
    let mut copies: Vec<_> =
        (0..6).map(|n| src.copy_to(n * 64, &dst, n * 64, 64).submit()).collect();
    control.wait_for_submitted(6);
    control.set_recovery(Recovery::Succeeds { steps: 3 });
    control.fail_channel(2, READ_ERROR);
    let replayed = control.wait_for_submitted(3);
    assert_eq!(replayed[0].serial, 6);
    control.release();
    let culprit = copies.remove(2);
    let ErrorKind::Device(device) = kind(block_on(culprit)) else { panic!("not a device error") };
    assert_eq!((device.source_offset, device.destination_offset), (Some(128), 128));
    for copy in copies {
        assert_eq!(block_on(copy).unwrap(), 64);
    }
    let expected = [&pattern(1, 640)[..128], &[0; 64], &pattern(1, 640)[192..384]].concat();
    assert_eq!(bytes(&dst, 0, 384), expected);
    let engine = &runtime.stats().engines[0];
    assert_eq!((engine.errors, engine.recoveries, engine.lost), (1, 1, false));
    assert_eq!(runtime.stats().violations, 0);
}

#[test]
fn an_operation_in_parts_is_replayed_where_it_was_not_run() {
    let engine = ManualEngine::builder().max_transfer(64).depth(8);
    let (runtime, control) = manual_with(16, engine);
    let src = region_of(&runtime, &pattern(2, 64 * 20));
    let dst = runtime.allocate(64 * 20).unwrap();
    let culprit = dst.fill(64 * 19, 64, 1).submit();
    control.wait_for_submitted(1);
    let large = src.copy_to(0, &dst, 0, 64 * 19).submit();
    control.wait_for_submitted(5);
    control.complete(2);
    control.fail_channel(0, READ_ERROR);
    control.release();
    assert_eq!(block_on(large).unwrap(), 64 * 19);
    assert!(matches!(kind(block_on(culprit)), ErrorKind::Device(_)));
    assert_eq!(bytes(&dst, 0, 64 * 19), pattern(2, 64 * 19));
}

#[test]
fn a_lost_engine_fails_what_it_had_and_what_comes() {
    let (runtime, control) = manual(16);
    let src = region_of(&runtime, &pattern(3, 640));
    let dst = runtime.allocate(640).unwrap();
    let copies: Vec<_> = (0..5).map(|n| src.copy_to(n * 64, &dst, n * 64, 64).submit()).collect();
    control.wait_for_submitted(5);
    control.set_recovery(Recovery::Fails { steps: 2, status: READ_ERROR });
    control.fail_channel(2, READ_ERROR);
    let outcomes: Vec<_> = copies.into_iter().map(block_on).collect();
    assert!(outcomes[..2].iter().all(Result::is_ok));
    for (outcome, lost) in outcomes.into_iter().skip(2).zip([false, true, true]) {
        match kind(outcome) {
            ErrorKind::Device(_) => assert!(!lost),
            ErrorKind::EngineLost => assert!(lost),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(kind(block_on(src.copy_to(0, &dst, 0, 64))), ErrorKind::EngineLost);
    assert!(runtime.stats().engines[0].lost);
    assert_eq!(bytes(&dst, 0, 128), pattern(3, 128));
    block_on(runtime.shutdown(LONG)).unwrap();
}

#[test]
fn a_lost_engine_leaves_the_others_alone() {
    let (bad, bad_control) = ManualEngine::builder().name("bad").build();
    let (good, good_control) = ManualEngine::builder().name("good").build();
    let runtime: Runtime = never_parking().engine(bad).engine(good).build().unwrap();
    let region = region_of(&runtime, &pattern(4, 64 * 32));
    let copies: Vec<_> = (1..5).map(|n| region.copy(0, n * 64, 64).submit()).collect();
    bad_control.wait_for_submitted(2);
    good_control.wait_for_submitted(2);
    bad_control.set_recovery(Recovery::Fails { steps: 0, status: READ_ERROR });
    bad_control.fail_channel(0, READ_ERROR);
    eventually("the loss", || runtime.stats().engines[0].lost);
    good_control.release();
    let outcomes: Vec<_> = copies.into_iter().map(|copy| block_on(copy).is_ok()).collect();
    // What the lost one had not begun went to the other.
    assert_eq!(outcomes, [false, true, true, true]);
    for n in 5..30 {
        assert_eq!(block_on(region.copy(0, n * 64, 64)).unwrap(), 64);
    }
    assert_eq!(bad_control.submitted(), 0);
}

/// An operation that ended with parts still to be fed must leave the engine's queue with them: its place in
/// the poller's table goes to another operation, which that queue knows nothing of.
#[test]
fn who_takes_the_place_of_a_failed_operation_is_not_taken_for_it() {
    let engine = ManualEngine::builder().max_transfer(64).depth(4);
    let (runtime, control) = manual_with(16, engine);
    let src = region_of(&runtime, &pattern(5, 64 * 64));
    let dst = runtime.allocate(64 * 64).unwrap();
    // Two of its many parts are in the engine, the others wait.
    let large = src.copy_to(0, &dst, 0, 64 * 32).submit();
    control.wait_for_submitted(2);
    let open = src.copy_to(0, &dst, 64 * 40, 64).submit();
    control.wait_for_submitted(3);
    control.set_recovery(Recovery::Succeeds { steps: usize::MAX });
    control.fail_channel(0, READ_ERROR);
    assert!(matches!(kind(block_on(large)), ErrorKind::Device(_)));
    // It gets the place that has become free, and is held back until `open` has ended.
    let mut fenced = src.copy_to(64, &dst, 64 * 50, 64).fence().submit();
    eventually("the fenced one", || runtime.stats().submitted == 3);
    control.set_recovery(Recovery::Succeeds { steps: 0 });
    control.wait_for_submitted(1);
    control.wait_for_polls(5);
    assert_eq!(control.submitted(), 1, "nothing but the open one runs");
    assert!(poll_once(&mut fenced).is_pending());
    control.release();
    assert_eq!(block_on(open).unwrap(), 64);
    assert_eq!(block_on(fenced).unwrap(), 64);
    assert_eq!(bytes(&dst, 64 * 50, 64), pattern(5, 64 * 64)[64..128]);
    assert_eq!(control.violations(), []);
}

/// The engine works, and its owner lets go of it: what it had not begun goes nowhere where there is no other.
#[test]
fn an_engine_that_the_host_wants_back_is_lost_and_says_why() {
    let requested = Status { kind: StatusKind::Requested, bits: 0 };
    let (runtime, control) = manual(16);
    let region = region_of(&runtime, &pattern(6, 640));
    let culprit = region.copy(0, 64, 64).submit();
    let behind = region.copy(0, 128, 64).submit();
    control.wait_for_submitted(2);
    control.set_recovery(Recovery::Fails { steps: 1, status: requested });
    control.fail_channel(0, requested);
    let error = block_on(culprit).unwrap_err();
    let ErrorKind::Device(device) = error.kind() else { panic!("{error:?}") };
    assert_eq!(device.status, requested);
    assert!(error.to_string().starts_with("the host asks for the device back"), "{error}");
    assert_eq!(kind(block_on(behind)), ErrorKind::EngineLost);
    assert_eq!(runtime.stats().engines[0].state, EngineState::Lost);
    let error = block_on(runtime.restore_engine("manual")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::EngineLost);
    assert!(error.to_string().contains("the host asks for the device back"), "{error}");
    control.set_recovery(Recovery::Succeeds { steps: 0 });
    block_on(runtime.restore_engine("manual")).unwrap();
    control.release();
    assert_eq!(block_on(region.copy(0, 128, 64)).unwrap(), 64);
}
