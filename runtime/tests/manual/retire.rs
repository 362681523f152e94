//! Engines that fail too often, engines that are lost, and how they come back.

use std::time::Duration;

use dmaring::{BuildError, EngineState, ErrorKind, ManualClock, Runtime};
use dmaring_manual::{Control, ManualEngine, Recovery};
use futures::executor::block_on;

use crate::common::{
    LONG, READ_ERROR, bytes, eventually, kind, never_parking, pattern, poll_once, region_of,
};

const WINDOW: Duration = Duration::from_secs(10);

/// Engines by name, of which each is retired after three failures.
fn runtime<const N: usize>(names: [&str; N]) -> (Runtime, [Control; N], ManualClock) {
    let clock = ManualClock::new();
    let mut builder = never_parking().clock(clock.clone()).retire_after(3, WINDOW);
    let controls = names.map(|name| {
        let (engine, control) = ManualEngine::builder().name(name).build();
        builder = std::mem::take(&mut builder).engine(engine);
        control
    });
    (builder.build().unwrap(), controls, clock)
}

/// Fails copies on an engine that has nothing else.
fn fail(runtime: &Runtime, region: &dmaring::Region, control: &Control, times: u32) {
    for _ in 0..times {
        let recovered = runtime.stats().engines[0].recoveries;
        let copy = region.copy(0, 512, 64).submit();
        control.wait_for_submitted(1);
        control.fail_next(READ_ERROR);
        assert!(matches!(kind(block_on(copy)), ErrorKind::Device(_)));
        eventually("the recovery", || {
            let engine = runtime.stats().engines[0].clone();
            engine.recoveries > recovered || engine.retired
        });
    }
}

#[test]
fn an_engine_that_fails_too_often_is_retired_and_its_load_moves() {
    let (runtime, [left, right], _) = runtime(["left", "right"]);
    let region = region_of(&runtime, &pattern(1, 4096));
    let mut copies: Vec<_> = (0..4).map(|n| region.copy(0, 1024 + n * 64, 64).submit()).collect();
    left.wait_for_submitted(2);
    right.wait_for_submitted(2);
    for _ in 0..3 {
        // The culprit is another one each time; what was not run comes again.
        let serial = left.outstanding()[0].serial;
        left.fail_channel(serial, READ_ERROR);
        copies.extend([region.copy(0, 2048, 64).submit(), region.copy(0, 2112, 64).submit()]);
        eventually("the failure", || left.submitted() > 0 || runtime.stats().engines[0].retired);
    }
    eventually("the retirement", || runtime.stats().engines[0].retired);
    assert_eq!(runtime.stats().engines[0].retirements, 1);
    right.release();
    let failed = copies.into_iter().map(block_on).filter(Result::is_err).count();
    assert_eq!(failed, 3);
    for n in 0..20 {
        assert_eq!(block_on(region.copy(0, 1024 + n * 64, 64)).unwrap(), 64);
    }
    assert_eq!((left.submitted(), left.enqueued()), (0, 0));
    assert_eq!(runtime.stats().engines[0].state, EngineState::Retired);
}

#[test]
fn failures_that_are_far_apart_retire_nobody() {
    let (runtime, [control], clock) = runtime(["only"]);
    let region = region_of(&runtime, &pattern(1, 4096));
    for _ in 0..10 {
        fail(&runtime, &region, &control, 2);
        clock.advance(WINDOW + Duration::from_secs(1));
    }
    assert_eq!(runtime.stats().engines[0].state, EngineState::Running);
    assert_eq!(runtime.stats().engines[0].recoveries, 20);
}

#[test]
fn with_every_engine_retired_operations_fail_with_the_remedy_and_restoring_helps() {
    let (runtime, [control], _) = runtime(["only"]);
    let region = region_of(&runtime, &pattern(1, 4096));
    fail(&runtime, &region, &control, 3);
    assert!(runtime.stats().engines[0].retired);
    let error = block_on(region.copy(0, 512, 64)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::EngineLost);
    assert!(error.to_string().contains("restore_engine"), "{error}");

    block_on(runtime.restore_engine("only")).unwrap();
    control.release();
    assert_eq!(block_on(region.copy(0, 512, 64)).unwrap(), 64);
    assert_eq!(bytes(&region, 512, 64), pattern(1, 64));
    // Its past is forgotten: two more failures do not retire it.
    control.hold();
    fail(&runtime, &region, &control, 2);
    assert_eq!(runtime.stats().engines[0].state, EngineState::Running);
}

#[test]
fn restoring_waits_for_the_reset_and_says_when_it_fails() {
    let (runtime, [control], _) = runtime(["only"]);
    let region = region_of(&runtime, &pattern(1, 4096));
    control.set_recovery(Recovery::Fails { steps: 0, status: READ_ERROR });
    let copy = region.copy(0, 512, 64).submit();
    control.wait_for_submitted(1);
    control.fail_channel(0, READ_ERROR);
    block_on(copy).unwrap_err();
    eventually("the loss", || runtime.stats().engines[0].lost);
    let error = block_on(runtime.restore_engine("only")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::EngineLost);
    assert!(error.to_string().contains("reading the source failed"), "{error}");

    control.set_recovery(Recovery::Succeeds { steps: usize::MAX });
    let mut restored = Box::pin(runtime.restore_engine("only"));
    assert!(poll_once(&mut restored).is_pending());
    eventually("the reset", || runtime.stats().engines[0].state == EngineState::Resetting);
    assert!(poll_once(&mut restored).is_pending());
    control.set_recovery(Recovery::Succeeds { steps: 0 });
    block_on(restored).unwrap();
    control.release();
    assert_eq!(block_on(region.copy(0, 512, 64)).unwrap(), 64);
}

#[test]
fn restoring_needs_a_name_and_a_runtime_and_does_nothing_to_an_engine_that_works() {
    let (runtime, [left, _right], _) = runtime(["left", "right"]);
    let nobody: Box<dyn Future<Output = _> + Send> = Box::new(runtime.restore_engine("nobody"));
    let error = block_on(Box::into_pin(nobody)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("there are left, right"), "{error}");
    block_on(runtime.restore_engine("left")).unwrap();
    assert_eq!(runtime.stats().engines[0].recoveries, 0);
    drop(left);
    block_on(runtime.shutdown(LONG)).unwrap();
    assert_eq!(kind(block_on(runtime.restore_engine("left"))), ErrorKind::Closed);
}

#[test]
fn a_poller_that_sleeps_wakes_to_restore() {
    let (engine, control) = ManualEngine::builder().name("only").build();
    let idle = dmaring::Idle::Adaptive { spin: Duration::ZERO, park_after: Duration::ZERO };
    let builder = Runtime::builder().engine(engine).idle(idle).retire_after(1, WINDOW);
    let runtime = builder.build().unwrap();
    let region = region_of(&runtime, &pattern(1, 4096));
    let copy = region.copy(0, 512, 64).submit();
    control.wait_for_submitted(1);
    control.fail_next(READ_ERROR);
    block_on(copy).unwrap_err();
    for _ in 0..20 {
        let parks = runtime.stats().parks;
        eventually("the poller's sleep", || runtime.stats().parks > parks || parks > 0);
        block_on(runtime.restore_engine("only")).unwrap();
    }
    control.release();
    assert_eq!(block_on(region.copy(0, 512, 64)).unwrap(), 64);
}

#[test]
fn an_operation_with_parts_in_a_retired_engine_moves_once_they_are_back() {
    let (left, left_control) =
        ManualEngine::builder().name("left").max_transfer(128).depth(8).build();
    let (right, right_control) = ManualEngine::builder().name("right").max_transfer(64).build();
    let builder = never_parking().engine(left).engine(right).retire_after(1, WINDOW);
    let runtime = builder.build().unwrap();
    let src = region_of(&runtime, &pattern(3, 8192));
    let dst = runtime.allocate(16_384).unwrap();
    let culprit = src.copy_to(0, &dst, 8192, 128).submit();
    left_control.wait_for_submitted(1);
    let filler = dst.fill(9000, 4000, 0).submit();
    right_control.wait_for_submitted(32);
    // Four of its parts are in the engine when that is retired, and go on there.
    let large = src.copy_to(0, &dst, 0, 2048).submit();
    left_control.wait_for_submitted(5);
    left_control.fail(0, READ_ERROR);
    block_on(culprit).unwrap_err();
    assert!(runtime.stats().engines[0].retired);
    let on_right = right_control.submitted();
    right_control.wait_for_polls(20);
    assert_eq!((right_control.submitted(), left_control.submitted()), (on_right, 4));
    left_control.complete_all();
    right_control.release();
    assert_eq!(block_on(large).unwrap(), 2048);
    assert_eq!(block_on(filler).unwrap(), 4000);
    assert_eq!(bytes(&dst, 0, 2048), pattern(3, 2048));
    assert_eq!(runtime.stats().engines[0].transfers, 4, "not done twice");
    assert_eq!(left_control.violations(), []);
}

#[test]
fn an_operation_with_parts_in_a_retired_engine_that_is_restored_goes_on_there() {
    let (engine, control) = ManualEngine::builder().name("only").max_transfer(64).depth(8).build();
    let runtime = never_parking().engine(engine).retire_after(1, WINDOW).build().unwrap();
    let src = region_of(&runtime, &pattern(3, 4096));
    let dst = runtime.allocate(8192).unwrap();
    let culprit = src.copy_to(0, &dst, 8000, 64).submit();
    control.wait_for_submitted(1);
    let large = src.copy_to(0, &dst, 0, 4096).submit();
    control.wait_for_submitted(5);
    control.fail(0, READ_ERROR);
    block_on(culprit).unwrap_err();
    control.wait_for_polls(5);
    assert!(runtime.stats().engines[0].retired);
    assert_eq!(control.submitted(), 4, "it is fed nothing");
    block_on(runtime.restore_engine("only")).unwrap();
    control.release();
    assert_eq!(block_on(large).unwrap(), 4096);
    assert_eq!(bytes(&dst, 0, 4096), pattern(3, 4096));
    assert_eq!(runtime.stats().engines[0].transfers, 64);
}

#[test]
fn an_innocent_operation_moves_to_an_engine_with_shorter_transfers() {
    let (left, left_control) = ManualEngine::builder().name("left").max_transfer(128).build();
    let (right, right_control) = ManualEngine::builder().name("right").max_transfer(100).build();
    let builder = never_parking().engine(left).engine(right).retire_after(1, WINDOW);
    let runtime = builder.build().unwrap();
    let src = region_of(&runtime, &pattern(3, 4096));
    let dst = runtime.allocate(8192).unwrap();
    let culprit = src.copy_to(0, &dst, 6000, 64).submit();
    left_control.wait_for_submitted(1);
    let filler = dst.fill(7000, 1000, 0).submit();
    right_control.wait_for_submitted(16);
    // Ten parts are in the engine, of which two are done; the others have not run.
    let copy = src.copy_to(1, &dst, 3, 1220).submit();
    left_control.wait_for_submitted(11);
    left_control.complete(2);
    left_control.complete(10);
    left_control.fail_channel(0, READ_ERROR);
    right_control.release();
    assert_eq!(block_on(copy).unwrap(), 1220);
    assert_eq!(bytes(&dst, 3, 1220), pattern(3, 4096)[1..1221]);
    block_on(filler).unwrap();
    block_on(culprit).unwrap_err();
    assert_eq!(runtime.stats().engines[0].transfers, 2);
    assert_eq!(left_control.violations(), []);
}

#[test]
fn an_engine_that_is_lost_and_holds_on_leaves_nobody_waiting() {
    let (runtime, [control], _) = runtime(["only"]);
    let region = region_of(&runtime, &pattern(1, 4096));
    let culprit = region.copy(0, 512, 64).submit();
    let held = region.copy(0, 1024, 64).submit();
    control.wait_for_submitted(2);
    control.set_recovery(Recovery::Fails { steps: 2, status: READ_ERROR });
    control.fail_and_hold(0, READ_ERROR);
    assert!(matches!(kind(block_on(culprit)), ErrorKind::Device(_)));
    let error = block_on(held).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::EngineLost);
    assert!(error.to_string().contains("stay mapped"), "{error}");
    // The engine still has it, so the region stays and its permit is out.
    drop(region);
    assert_eq!(runtime.stats().in_flight, 1);
    assert_eq!(control.domain().live(), 1);
    control.complete_next();
    eventually("the release", || control.domain().live() == 0);
    assert_eq!((runtime.stats().in_flight, control.violations()), (0, vec![]));
}

#[test]
fn an_engine_that_hangs_and_does_not_stop_leaves_nobody_waiting() {
    let (runtime, [left, right], _) = runtime(["left", "right"]);
    let region = region_of(&runtime, &pattern(1, 4096));
    let held = region.copy(0, 1024, 64).submit();
    left.wait_for_submitted(1);
    right.release();
    left.wait_for_polls(200);
    left.set_stuck(Some(READ_ERROR));
    assert_eq!(kind(block_on(held)), ErrorKind::EngineLost);
    assert_eq!(runtime.stats().engines[0].state, EngineState::Lost);
    for n in 0..8 {
        assert_eq!(block_on(region.copy(0, 2048 + n * 64, 64)).unwrap(), 64);
    }
    assert_eq!(runtime.stats().in_flight, 1);
    // It stops after all, and is brought back.
    left.set_stuck(None);
    left.complete_next();
    block_on(runtime.restore_engine("left")).unwrap();
    left.release();
    for n in 0..8 {
        assert_eq!(block_on(region.copy(0, 2048 + n * 64, 64)).unwrap(), 64);
    }
    let stats = runtime.stats();
    assert!(stats.engines[0].transfers > 1);
    assert_eq!((stats.in_flight, stats.violations), (0, 0));
}

#[test]
fn more_failures_than_can_be_remembered_are_refused() {
    let engine = ManualEngine::new().0;
    let error = Runtime::builder().engine(engine).retire_after(1025, WINDOW).build();
    let error = error.map(drop).unwrap_err();
    assert!(matches!(error, BuildError::RetireAfter { failures: 1025, most: 1024 }), "{error}");
}
