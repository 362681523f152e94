//! Time limits: who is told when, what is not begun, and what stays in use.

use std::{task::Poll, time::Duration};

use dmaring::{Copy, ErrorKind, Idle, ManualClock, Region, Runtime};
use dmaring_manual::{Control, ManualBuilder, ManualEngine, Recovery};
use futures::{StreamExt, executor::block_on};

use crate::common::{
    LONG, READ_ERROR, bytes, eventually, kind, never_parking, pattern, poll_once, region_of,
};

const LIMIT: Duration = Duration::from_millis(3);
const TICK: Duration = Duration::from_micros(1);

fn runtime(entries: u32, engine: ManualBuilder) -> (Runtime, Control, ManualClock) {
    let clock = ManualClock::new();
    let (engine, control) = engine.build();
    let builder = never_parking().engine(engine).ring_entries(entries).clock(clock.clone());
    (builder.build().unwrap(), control, clock)
}

fn copy(region: &Region, n: u64) -> Copy {
    region.copy(0, n * 64, 64)
}

fn is_timed_out<F: Future<Output = Result<u64, dmaring::Error>>>(future: F) -> bool {
    kind(block_on(future)) == ErrorKind::TimedOut
}

#[test]
fn a_late_copy_is_told_at_its_deadline_and_not_before_and_keeps_what_it_uses() {
    let (runtime, control, clock) = runtime(16, ManualEngine::builder());
    let region = region_of(&runtime, &pattern(1, 4096));
    let mut late = copy(&region, 4).timeout(LIMIT).submit();
    control.wait_for_submitted(1);
    clock.advance(LIMIT - TICK);
    control.wait_for_polls(200);
    assert!(poll_once(&mut late).is_pending());
    clock.advance(TICK);
    let error = block_on(late).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(error.to_string().contains("within 3ms"), "{error}");
    // The engine is still at it: the permit is out, and the region stays mapped without a handle.
    drop(region);
    let stats = runtime.stats();
    assert_eq!((stats.timed_out, stats.failed, stats.in_flight), (1, 1, 1));
    control.wait_for_polls(200);
    assert_eq!(control.domain().live(), 1);
    control.complete_next();
    eventually("the unmapping", || control.domain().live() == 0);
    let stats = runtime.stats();
    assert_eq!((stats.timed_out, stats.failed, stats.completed, stats.in_flight), (1, 1, 0, 0));
    assert_eq!(control.violations(), []);
}

#[test]
fn what_was_late_before_its_first_poll_is_let_go_of_when_it_ends_though_nobody_polls_again() {
    let (runtime, control, clock) = runtime(16, ManualEngine::builder());
    let region = region_of(&runtime, &pattern(1, 4096));
    // Not one alone, which its first poll would linger for.
    let late: Vec<_> = (4..6).map(|n| copy(&region, n).timeout(LIMIT).submit()).collect();
    control.wait_for_submitted(2);
    clock.advance(LIMIT);
    eventually("both are told", || runtime.stats().timed_out == 2);
    control.wait_for_polls(200);
    for mut late in late {
        let Poll::Ready(outcome) = poll_once(&mut late) else { panic!("it is told") };
        assert_eq!(kind(outcome), ErrorKind::TimedOut);
    }
    drop(region);
    control.complete_all();
    eventually("the unmapping", || control.domain().live() == 0);
    assert_eq!(runtime.stats().in_flight, 0);
    assert_eq!(control.violations(), []);
}

#[test]
fn what_is_dropped_before_its_first_poll_is_let_go_of_when_it_ends() {
    let (runtime, control, _) = runtime(16, ManualEngine::builder());
    let region = region_of(&runtime, &pattern(1, 4096));
    let dropped: Vec<_> = (4..6).map(|n| copy(&region, n).submit()).collect();
    control.wait_for_submitted(2);
    drop((dropped, region));
    control.complete_all();
    eventually("the unmapping", || control.domain().live() == 0);
    assert_eq!(runtime.stats().in_flight, 0);
    assert_eq!(control.violations(), []);
}

#[test]
fn a_time_limit_of_one_that_waited_and_was_served_keeps_nobody_awake() {
    let (engine, control) = ManualEngine::builder().build();
    let idle = Idle::Adaptive { spin: Duration::ZERO, park_after: Duration::ZERO };
    let runtime = Runtime::builder().engine(engine).ring_entries(4).idle(idle).build().unwrap();
    let region = region_of(&runtime, &pattern(1, 4096));
    let held: Vec<_> = (4..8).map(|n| copy(&region, n).submit()).collect();
    control.wait_for_submitted(4);
    let mut waiter = copy(&region, 8).timeout(10 * LONG).submit();
    let mut leaver = copy(&region, 9).timeout(10 * LONG).submit();
    assert!(poll_once(&mut waiter).is_pending() && poll_once(&mut leaver).is_pending());
    drop(leaver);
    control.complete_all();
    held.into_iter().for_each(|copy| assert_eq!(block_on(copy).unwrap(), 64));
    control.wait_for_submitted(1);
    control.complete_all();
    assert_eq!(block_on(waiter).unwrap(), 64);
    let parks = runtime.stats().parks;
    eventually("the poller's sleep", || runtime.stats().parks > parks);
}

#[test]
fn what_ends_in_time_is_not_late_afterwards() {
    let (runtime, control, clock) = runtime(16, ManualEngine::builder());
    let region = region_of(&runtime, &pattern(1, 4096));
    let mut first = copy(&region, 4).timeout(LIMIT).submit();
    control.wait_for_submitted(1);
    control.release();
    eventually("its end", || runtime.stats().completed == 1);
    clock.advance(LIMIT * 2);
    let second = block_on(copy(&region, 5).timeout(LIMIT));
    assert_eq!(second.unwrap(), 64);
    assert_eq!(outcome(poll_once(&mut first)).unwrap().unwrap(), 64);
    assert_eq!(runtime.stats().timed_out, 0);
}

#[test]
fn deadlines_pass_in_their_own_order() {
    let (runtime, control, clock) = runtime(16, ManualEngine::builder());
    let region = region_of(&runtime, &pattern(1, 4096));
    let limits = [7u32, 3, 9, 1, 5];
    let mut copies: Vec<_> =
        limits.iter().map(|&n| copy(&region, 4).timeout(LIMIT * n).submit()).collect();
    let mut untimed = region.fill(512, 64, 0).submit();
    control.wait_for_submitted(6);
    for now in 1..=9 {
        clock.advance(LIMIT);
        let due = limits.iter().filter(|&&n| n <= now).count() as u64;
        eventually("those due", || runtime.stats().timed_out == due);
        control.wait_for_polls(200);
        assert_eq!(runtime.stats().timed_out, due);
    }
    for copy in &mut copies {
        assert!(outcome(poll_once(copy)).unwrap().is_err());
    }
    assert!(poll_once(&mut untimed).is_pending());
    control.release();
    assert_eq!(block_on(untimed).unwrap(), 64);
    eventually("the release", || runtime.stats().in_flight == 0);
}

#[test]
fn what_a_fence_holds_back_is_not_begun_and_holds_nobody() {
    let (runtime, control, clock) = runtime(16, ManualEngine::builder());
    let region = region_of(&runtime, &pattern(2, 4096));
    let before = copy(&region, 4).submit();
    let late = copy(&region, 5).fence().timeout(LIMIT).submit();
    let mut behind = copy(&region, 6).fence().submit();
    eventually("all three", || runtime.stats().submitted == 3);
    clock.advance(LIMIT);
    assert!(is_timed_out(late));
    control.wait_for_polls(5);
    assert_eq!(control.submitted(), 1, "the other fence holds");
    assert!(poll_once(&mut behind).is_pending());
    assert_eq!(runtime.stats().in_flight, 2, "the late one has left");
    control.complete_next();
    block_on(before).unwrap();
    control.release();
    assert_eq!(block_on(behind).unwrap(), 64);
    assert_eq!(bytes(&region, 5 * 64, 64), pattern(2, 4096)[320..384]);
}

/// A late operation's place in the poller's table goes to another, of which neither the fences nor the engine's line know
/// anything.
#[test]
fn who_takes_the_place_of_a_late_operation_behind_a_fence_is_not_taken_for_it() {
    let (runtime, control, clock) = runtime(16, ManualEngine::builder());
    let region = region_of(&runtime, &pattern(2, 4096));
    let before = copy(&region, 4).submit();
    let late = copy(&region, 5).fence().timeout(LIMIT).submit();
    let beside = copy(&region, 6).submit();
    control.wait_for_submitted(2);
    clock.advance(LIMIT);
    assert!(is_timed_out(late));
    let mut heir = copy(&region, 7).fence().submit();
    eventually("the heir", || runtime.stats().submitted == 4);
    control.complete_next();
    block_on(before).unwrap();
    control.wait_for_polls(5);
    assert_eq!(control.submitted(), 1, "the heir waits for the one beside");
    assert!(poll_once(&mut heir).is_pending());
    control.release();
    assert_eq!(block_on(beside).unwrap() + block_on(heir).unwrap(), 128);
}

#[test]
fn who_takes_the_place_of_a_late_operation_in_the_engines_line_is_not_taken_for_it() {
    let (runtime, control, clock) = runtime(16, ManualEngine::builder().depth(2));
    let region = region_of(&runtime, &pattern(2, 4096));
    let running = [4, 5].map(|n| copy(&region, n).submit());
    let late = copy(&region, 6).timeout(LIMIT).submit();
    control.wait_for_submitted(2);
    eventually("the late one", || runtime.stats().submitted == 3);
    clock.advance(LIMIT);
    assert!(is_timed_out(late));
    let mut heir = copy(&region, 7).fence().submit();
    eventually("the heir", || runtime.stats().submitted == 4);
    control.complete_next();
    control.wait_for_polls(5);
    assert_eq!(control.submitted(), 1, "the heir waits for the other");
    assert!(poll_once(&mut heir).is_pending());
    control.release();
    for copy in running {
        block_on(copy).unwrap();
    }
    assert_eq!(block_on(heir).unwrap(), 64);
    assert_eq!(control.violations(), []);
}

#[test]
fn a_fence_waits_for_the_hardware_and_not_for_the_deadline() {
    let (runtime, control, clock) = runtime(16, ManualEngine::builder());
    let region = region_of(&runtime, &pattern(2, 4096));
    let late = copy(&region, 4).timeout(LIMIT).submit();
    let mut fenced = copy(&region, 5).fence().submit();
    eventually("both", || runtime.stats().submitted == 2);
    clock.advance(LIMIT);
    assert!(is_timed_out(late));
    control.wait_for_polls(50);
    assert_eq!(control.submitted(), 1);
    assert!(poll_once(&mut fenced).is_pending());
    control.release();
    assert_eq!(block_on(fenced).unwrap(), 64);
}

#[test]
fn who_waits_for_a_place_in_the_ring_is_told_too_and_never_begins() {
    let (runtime, control, clock) = runtime(2, ManualEngine::builder());
    let region = region_of(&runtime, &pattern(3, 4096));
    let running: Vec<_> = (1..3).map(|n| copy(&region, n).submit()).collect();
    // More of them than leave the queue at a time, and some without a limit among them.
    let waiters: Vec<_> = (0..100)
        .map(|n| {
            let limit = if n % 2 == 0 { LIMIT } else { LIMIT * 2 };
            copy(&region, 10).timeout(limit).submit()
        })
        .collect();
    let patient = copy(&region, 12).submit();
    control.wait_for_submitted(2);
    clock.advance(LIMIT);
    let mut later = Vec::new();
    for (n, waiter) in waiters.into_iter().enumerate() {
        if n % 2 == 0 { assert!(is_timed_out(waiter)) } else { later.push(waiter) }
    }
    assert_eq!(runtime.stats().timed_out, 50);
    clock.advance(LIMIT);
    for waiter in later {
        assert!(is_timed_out(waiter));
    }
    control.release();
    for copy in running.into_iter().chain([patient]) {
        assert_eq!(block_on(copy).unwrap(), 64);
    }
    assert_eq!(runtime.stats().submitted, 3, "no other entry was ever pushed");
    assert_eq!(bytes(&region, 640, 64), pattern(3, 4096)[640..704]);
    assert_eq!(runtime.stats().in_flight, 0);
}

#[test]
fn a_deadline_that_passed_in_the_queue_counts_in_the_ring() {
    let (runtime, control, clock) = runtime(2, ManualEngine::builder());
    let region = region_of(&runtime, &pattern(3, 4096));
    let mut running: Vec<_> = (1..3).map(|n| copy(&region, n).submit()).collect();
    let waiter = copy(&region, 10).timeout(LIMIT).submit();
    control.wait_for_submitted(2);
    clock.advance(LIMIT - TICK);
    control.complete_next();
    block_on(running.remove(0)).unwrap();
    // It has its place now, and what is left of its time.
    control.wait_for_submitted(2);
    clock.advance(TICK);
    assert!(is_timed_out(waiter));
    control.release();
    block_on(running.remove(0)).unwrap();
}

#[test]
fn a_large_copy_feeds_no_further_part() {
    let engine = ManualEngine::builder().max_transfer(64).depth(8);
    let (runtime, control, clock) = runtime(16, engine);
    let src = region_of(&runtime, &pattern(4, 4096));
    let dst = runtime.allocate(4096).unwrap();
    let late = src.copy_to(0, &dst, 0, 4096).timeout(LIMIT).submit();
    control.wait_for_submitted(4);
    clock.advance(LIMIT);
    assert!(is_timed_out(late));
    control.complete_all();
    control.wait_for_polls(5);
    assert_eq!(control.submitted(), 0);
    assert_eq!(bytes(&dst, 0, 256), pattern(4, 256));
    assert_eq!(bytes(&dst, 256, 3840), vec![0; 3840]);
    // The poller gives others some time to take the end off the ring, and does it then.
    eventually("its end", || runtime.stats().in_flight == 0);
    control.release();
    assert_eq!(block_on(src.copy_to(0, &dst, 0, 4096)).unwrap(), 4096);
}

#[test]
fn a_late_copy_is_not_replayed() {
    let (runtime, control, clock) = runtime(16, ManualEngine::builder());
    let region = region_of(&runtime, &pattern(5, 4096));
    let culprit = copy(&region, 4).submit();
    let late = copy(&region, 5).timeout(LIMIT).submit();
    let innocent = copy(&region, 6).submit();
    control.wait_for_submitted(3);
    control.set_recovery(Recovery::Succeeds { steps: usize::MAX });
    control.fail_channel(0, READ_ERROR);
    block_on(culprit).unwrap_err();
    clock.advance(LIMIT);
    assert!(is_timed_out(late));
    eventually("the release", || runtime.stats().in_flight == 1);
    control.set_recovery(Recovery::Succeeds { steps: 0 });
    control.release();
    assert_eq!(block_on(innocent).unwrap(), 64);
    assert_eq!(runtime.stats().engines[0].replayed, 1);
    assert_eq!(bytes(&region, 320, 64), pattern(5, 4096)[320..384]);
}

#[test]
fn each_of_a_batch_has_its_own_limit() {
    let (runtime, control, clock) = runtime(4, ManualEngine::builder());
    let region = region_of(&runtime, &pattern(6, 4096));
    let mut batch = runtime.batch();
    for n in 0..8 {
        let limit = if n % 2 == 0 { LIMIT } else { LONG };
        batch.push(region.fill(n * 64, 64, n).timeout(limit));
    }
    let submitted = batch.submit();
    control.wait_for_submitted(4);
    clock.advance(LIMIT);
    eventually("the late ones", || runtime.stats().timed_out == 4);
    control.release();
    let outcomes: Vec<_> = block_on(submitted.map(|outcome| outcome.is_ok()).collect());
    assert_eq!(outcomes, [false, true, false, true, false, true, false, true]);
}

#[test]
fn no_time_at_all_is_over_at_once_and_endless_time_never() {
    let (runtime, control, clock) = runtime(4, ManualEngine::builder());
    let region = region_of(&runtime, &pattern(6, 4096));
    clock.advance(LIMIT);
    assert!(is_timed_out(copy(&region, 4).timeout(Duration::ZERO)));
    assert_eq!(runtime.stats().in_flight, 0);
    let mut endless = copy(&region, 5).timeout(Duration::MAX).submit();
    control.wait_for_submitted(1);
    clock.advance(Duration::from_secs(86_400 * 3650));
    control.wait_for_polls(200);
    assert!(poll_once(&mut endless).is_pending());
    control.release();
    assert_eq!(block_on(endless).unwrap(), 64);
}

#[test]
fn a_shutdown_does_not_wait_for_what_timed_out_beyond_its_own_deadline() {
    let (runtime, control, clock) = runtime(4, ManualEngine::builder());
    let region = region_of(&runtime, &pattern(6, 4096));
    let late = copy(&region, 4).timeout(LIMIT).submit();
    control.wait_for_submitted(1);
    clock.advance(LIMIT);
    assert!(is_timed_out(late));
    let mut shutdown = Box::pin(runtime.shutdown(LIMIT));
    assert!(poll_once(&mut shutdown).is_pending());
    control.wait_for_polls(20);
    assert!(poll_once(&mut shutdown).is_pending(), "the engine is still at it");
    clock.advance(LIMIT);
    assert_eq!(kind(block_on(shutdown)), ErrorKind::TimedOut);
    assert!(control.halted());
    assert_eq!(control.violations(), []);
}

#[test]
fn dropped_and_forgotten_futures_time_out_like_others() {
    let (runtime, control, clock) = runtime(4, ManualEngine::builder());
    let region = region_of(&runtime, &pattern(6, 4096));
    drop(copy(&region, 4).timeout(LIMIT).submit());
    std::mem::forget(copy(&region, 5).timeout(LIMIT).submit());
    control.wait_for_submitted(2);
    clock.advance(LIMIT);
    eventually("both", || runtime.stats().timed_out == 2);
    control.release();
    for n in 0..32 {
        assert_eq!(block_on(copy(&region, 8 + n)).unwrap(), 64);
    }
    eventually("the release", || runtime.stats().in_flight == 0);
}

/// The outcome of a future that has one.
fn outcome<T>(poll: Poll<Result<T, dmaring::Error>>) -> Option<Result<T, dmaring::Error>> {
    match poll {
        Poll::Ready(outcome) => Some(outcome),
        Poll::Pending => None,
    }
}

/// The first is told while the second is to be told, too, and nobody polls again after that.
#[test]
fn late_ones_of_a_batch_are_let_go_of_when_they_end() {
    let (runtime, control, clock) = runtime(16, ManualEngine::builder());
    let region = region_of(&runtime, &pattern(1, 4096));
    let mut batch = runtime.batch();
    (4..6).for_each(|n| batch.push(copy(&region, n).timeout(LIMIT)));
    let mut submitted = batch.submit();
    control.wait_for_submitted(2);
    clock.advance(LIMIT);
    eventually("the late ones", || runtime.stats().timed_out == 2);
    control.wait_for_polls(200);
    for _ in 0..2 {
        let Poll::Ready(Some(outcome)) = poll_once(&mut submitted.next()) else {
            panic!("it is late")
        };
        assert_eq!(kind(outcome), ErrorKind::TimedOut);
    }
    drop((submitted, region));
    control.complete_all();
    eventually("the unmapping", || control.domain().live() == 0);
    assert_eq!(runtime.stats().in_flight, 0);
}
