//! Engines that fail, do not stop and keep what they have: nobody waits for them, and nothing begins that they could spoil.

use std::time::Duration;

use dmaring::{EngineState, Error, ErrorKind, ManualClock, Region, Runtime};
use dmaring_manual::{Control, ManualEngine, Recovery};
use futures::executor::block_on;

use crate::common::{
    LONG, READ_ERROR, bytes, eventually, kind, never_parking, pattern, poll_once, region_of,
};

/// Two engines; the first copy goes to the left one.
fn two(entries: u32) -> (Runtime, Control, Control) {
    let (left, left_control) = ManualEngine::builder().name("left").build();
    let (right, right_control) = ManualEngine::builder().name("right").build();
    let builder = never_parking().engine(left).engine(right).ring_entries(entries);
    (builder.build().unwrap(), left_control, right_control)
}

fn one(entries: u32) -> (Runtime, Control) {
    let (engine, control) = ManualEngine::builder().name("only").build();
    (never_parking().engine(engine).ring_entries(entries).build().unwrap(), control)
}

/// Waits until the runtime has found an engine to be lost.
fn lose(runtime: &Runtime, control: &Control, engine: usize) {
    control.set_stuck(Some(READ_ERROR));
    eventually("the loss", || runtime.stats().engines[engine].state == EngineState::Lost);
}

/// The engine lets go, and is brought back.
fn mend(runtime: &Runtime, control: &Control, name: &str) {
    control.set_stuck(None);
    control.complete_all();
    eventually("the release", || runtime.stats().in_flight == 0);
    block_on(runtime.restore_engine(name)).unwrap();
    control.release();
}

fn lost(outcome: Result<u64, Error>, words: &str) {
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::EngineLost);
    assert!(error.to_string().contains(words), "{error}");
}

fn copy(region: &Region, n: u64) -> dmaring::Copy {
    region.copy(0, n * 64, 64)
}

#[test]
fn what_is_fenced_against_it_fails_unbegun_and_what_is_not_goes_on() {
    let (runtime, left, right) = two(16);
    let region = region_of(&runtime, &pattern(1, 4096));
    let held = copy(&region, 10).submit();
    left.wait_for_submitted(1);
    let chain = [11, 12, 13].map(|n| copy(&region, n).fence().submit());
    let beside = copy(&region, 14).submit();
    eventually("all", || runtime.stats().submitted == 5);
    lose(&runtime, &left, 0);
    lost(block_on(held), "stay mapped");
    for fenced in chain {
        lost(block_on(fenced), "was not begun");
    }
    // Fences that come later meet the same engine.
    lost(block_on(copy(&region, 15).fence()), "was not begun");
    right.release();
    assert_eq!(block_on(beside).unwrap(), 64);
    assert_eq!(block_on(copy(&region, 16)).unwrap(), 64);
    let untouched = [11u64, 12, 13, 15].map(|n| bytes(&region, n * 64, 64));
    assert_eq!(untouched, [11, 12, 13, 15].map(|n| pattern(1, 4096)[n * 64..][..64].to_vec()));
    assert_eq!(runtime.stats().in_flight, 1);
    mend(&runtime, &left, "left");
    assert_eq!(block_on(copy(&region, 15).fence()).unwrap(), 64);
    assert_eq!((left.violations(), runtime.stats().violations), (vec![], 0));
}

#[test]
fn a_fence_before_it_holds_and_begins() {
    let (runtime, left, right) = two(16);
    let region = region_of(&runtime, &pattern(1, 4096));
    let before = copy(&region, 10).submit();
    left.wait_for_submitted(1);
    let mut fenced = copy(&region, 11).fence().submit();
    eventually("the fenced one", || runtime.stats().submitted == 2);
    // It passes the fence, and its engine is lost.
    let held = copy(&region, 12).submit();
    right.wait_for_submitted(1);
    lose(&runtime, &right, 1);
    lost(block_on(held), "stay mapped");
    left.wait_for_polls(200);
    assert!(poll_once(&mut fenced).is_pending(), "it waits for the first alone");
    left.release();
    assert_eq!(block_on(before).unwrap() + block_on(fenced).unwrap(), 128);
    mend(&runtime, &right, "right");
}

#[test]
fn who_waits_for_a_place_that_it_holds_is_told_and_so_are_later_ones() {
    let (runtime, control) = one(4);
    let region = region_of(&runtime, &pattern(1, 8192));
    let held: Vec<_> = (10..14).map(|n| copy(&region, n).submit()).collect();
    control.wait_for_submitted(4);
    // More than leave the queue at a time.
    let waiters: Vec<_> = (0..100).map(|n| copy(&region, 14 + n % 8).submit()).collect();
    lose(&runtime, &control, 0);
    for copy in held {
        lost(block_on(copy), "stay mapped");
    }
    for waiter in waiters {
        lost(block_on(waiter), "every place in the ring");
    }
    for n in 0..3 {
        lost(block_on(copy(&region, 20 + n)), "every place in the ring");
    }
    assert_eq!((runtime.stats().in_flight, runtime.stats().submitted), (4, 4));
    mend(&runtime, &control, "only");
    for n in 0..10 {
        assert_eq!(block_on(copy(&region, 20 + n)).unwrap(), 64);
    }
    assert_eq!((control.violations(), runtime.stats().violations), (vec![], 0));
}

#[test]
fn who_waits_for_a_place_that_another_gives_back_is_served() {
    let (runtime, left, right) = two(4);
    let region = region_of(&runtime, &pattern(1, 4096));
    let held: Vec<_> = (10..14).map(|n| copy(&region, n).submit()).collect();
    left.wait_for_submitted(2);
    right.wait_for_submitted(2);
    let mut waiters: Vec<_> = (14..20).map(|n| copy(&region, n).submit()).collect();
    lose(&runtime, &left, 0);
    left.wait_for_polls(300);
    assert!(waiters.iter_mut().all(|waiter| poll_once(waiter).is_pending()));
    right.release();
    for waiter in waiters {
        assert_eq!(block_on(waiter).unwrap(), 64);
    }
    let done = held.into_iter().map(block_on).filter(Result::is_ok).count();
    assert_eq!(done, 2);
    mend(&runtime, &left, "left");
}

/// The words that they were told early stand unread in the completion ring, since nobody polls: each has but one more to come,
/// and the place that is left is enough for another operation.
#[test]
fn forgotten_futures_of_held_operations_leave_room_for_another() {
    let (left, left_control) = ManualEngine::builder().name("left").build();
    let (right, right_control) = ManualEngine::builder().name("right").fill(false).build();
    let builder = never_parking().engine(left).engine(right).ring_entries(4);
    let runtime = builder.build().unwrap();
    let region = region_of(&runtime, &pattern(1, 4096));
    for n in 10..13 {
        std::mem::forget(region.fill(n * 64, 64, 0).submit());
    }
    left_control.wait_for_submitted(3);
    lose(&runtime, &left_control, 0);
    right_control.release();
    std::mem::forget(copy(&region, 13).submit());
    eventually("its end", || runtime.stats().completed == 1);
    assert_eq!(bytes(&region, 13 * 64, 64), pattern(1, 64));
    for n in 14..40 {
        assert_eq!(block_on(copy(&region, n)).unwrap(), 64);
    }
    mend(&runtime, &left_control, "left");
}

#[test]
fn a_retired_engine_that_keeps_what_it_has_leaves_nobody_waiting() {
    let (engine, control) = ManualEngine::builder().name("only").build();
    let builder = never_parking().engine(engine).retire_after(1, Duration::from_secs(10));
    let runtime = builder.build().unwrap();
    let region = region_of(&runtime, &pattern(1, 4096));
    let (culprit, held) = (copy(&region, 10).submit(), copy(&region, 11).submit());
    control.wait_for_submitted(2);
    control.fail_and_hold(0, READ_ERROR);
    assert!(matches!(kind(block_on(culprit)), ErrorKind::Device(_)));
    assert_eq!(runtime.stats().engines[0].state, EngineState::Retired);
    let fenced = copy(&region, 12).fence().submit();
    lose(&runtime, &control, 0);
    lost(block_on(held), "stay mapped");
    lost(block_on(fenced), "was not begun");
    mend(&runtime, &control, "only");
    assert_eq!(block_on(copy(&region, 13)).unwrap(), 64);
}

#[test]
fn an_engine_that_is_stuck_with_nothing_in_it_keeps_nobody_in_its_line() {
    let (runtime, control) = one(4);
    let region = region_of(&runtime, &pattern(1, 4096));
    let culprit = copy(&region, 10).submit();
    control.wait_for_submitted(1);
    control.set_recovery(Recovery::Succeeds { steps: usize::MAX });
    control.fail_channel(0, READ_ERROR);
    block_on(culprit).unwrap_err();
    let mut waiting = copy(&region, 11).submit();
    control.wait_for_polls(200);
    assert!(poll_once(&mut waiting).is_pending(), "it is being reset");
    lose(&runtime, &control, 0);
    lost(block_on(waiting), "restore_engine");
}

#[test]
fn one_that_timed_out_before_is_held_like_others() {
    let clock = ManualClock::new();
    let (engine, control) = ManualEngine::builder().name("only").build();
    let builder = never_parking().engine(engine).ring_entries(2).clock(clock.clone());
    let runtime = builder.build().unwrap();
    let region = region_of(&runtime, &pattern(1, 4096));
    let limit = Duration::from_millis(3);
    let late: Vec<_> = (10..12).map(|n| copy(&region, n).timeout(limit).submit()).collect();
    control.wait_for_submitted(2);
    let mut waiter = copy(&region, 12).submit();
    clock.advance(limit);
    for copy in late {
        assert_eq!(kind(block_on(copy)), ErrorKind::TimedOut);
    }
    control.wait_for_polls(200);
    assert!(poll_once(&mut waiter).is_pending(), "the engine works, and will let go");
    lose(&runtime, &control, 0);
    lost(block_on(waiter), "every place in the ring");
    assert_eq!((runtime.stats().timed_out, runtime.stats().failed), (2, 2), "told once");
    mend(&runtime, &control, "only");
}

#[test]
fn a_shutdown_does_not_wait_for_what_never_comes() {
    let (runtime, left, right) = two(4);
    let region = region_of(&runtime, &pattern(1, 4096));
    let held = copy(&region, 10).submit();
    let other = copy(&region, 11).submit();
    left.wait_for_submitted(1);
    right.wait_for_submitted(1);
    lose(&runtime, &left, 0);
    lost(block_on(held), "stay mapped");
    let mut shutdown = Box::pin(runtime.shutdown(Duration::MAX));
    assert!(poll_once(&mut shutdown).is_pending());
    right.wait_for_polls(200);
    assert!(poll_once(&mut shutdown).is_pending(), "the right one works");
    right.release();
    assert_eq!(kind(block_on(shutdown)), ErrorKind::TimedOut);
    assert_eq!(block_on(other).unwrap(), 64);
    assert!(left.halted() && right.halted());
    assert_eq!(left.violations(), []);
}

#[test]
fn one_that_is_never_shown_to_stop_keeps_its_memory() {
    let (runtime, control) = one(4);
    let region = region_of(&runtime, &pattern(1, 4096));
    let held = copy(&region, 10).submit();
    control.wait_for_submitted(1);
    lose(&runtime, &control, 0);
    control.refuse_halt(READ_ERROR);
    lost(block_on(held), "stay mapped");
    assert_eq!(kind(block_on(runtime.shutdown(LONG))), ErrorKind::EngineLost);
    drop((runtime, region));
    assert_eq!(control.domain().live(), 1, "mapped for good");
    assert_eq!(control.violations(), []);
}
