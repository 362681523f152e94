//! How long operations took, by a clock that is turned by hand.

use std::time::Duration;

use dmaring::{Builder, Copy, Latency, ManualClock, Region, Runtime};
use dmaring_manual::{Control, ManualEngine};
use futures::executor::block_on;

use crate::common::{READ_ERROR, eventually, never_parking, pattern, region_of};

const SHORT: Duration = Duration::from_micros(20);
const LONG: Duration = Duration::from_millis(3);

fn builder() -> (Builder, ManualClock) {
    let clock = ManualClock::new();
    (never_parking().clock(clock.clone()), clock)
}

fn one_engine() -> (Runtime, Control, ManualClock) {
    let (builder, clock) = builder();
    let (engine, control) = ManualEngine::builder().build();
    (builder.engine(engine).build().unwrap(), control, clock)
}

fn copy(region: &Region, n: u64) -> Copy {
    region.copy(0, n * 64, 64)
}

/// Whether a time is told within its bound.
fn is(told: Option<Duration>, time: Duration) -> bool {
    told.is_some_and(|told| told.abs_diff(time) <= time / 32)
}

fn counts(latency: &Latency, operations: u64, max: Duration) -> bool {
    latency.count() == operations
        && latency.max() == Some(max)
        && is(latency.percentile(100.0), max)
}

#[test]
fn an_operation_takes_from_being_taken_to_its_end() {
    let (runtime, control, clock) = one_engine();
    let region = region_of(&runtime, &pattern(1, 4096));
    assert_eq!(runtime.stats().latency, Latency::default());
    for (n, time) in [SHORT, SHORT, SHORT, LONG].into_iter().enumerate() {
        let copy = copy(&region, n as u64 + 1).submit();
        control.wait_for_submitted(1);
        clock.advance(time);
        control.complete_next();
        block_on(copy).unwrap();
    }
    let stats = runtime.stats();
    for latency in [&stats.latency, &stats.engines[0].latency] {
        assert!(counts(latency, 4, LONG), "{latency:?}");
        assert!(is(latency.percentile(50.0), SHORT) && is(latency.percentile(75.0), SHORT));
        assert!(is(latency.percentile(75.1), LONG));
    }
}

#[test]
fn the_wait_behind_a_fence_counts_and_a_failure_does_not() {
    let (runtime, control, clock) = one_engine();
    let region = region_of(&runtime, &pattern(1, 4096));
    let first = copy(&region, 1).submit();
    let fenced = copy(&region, 2).fence().submit();
    control.wait_for_submitted(1);
    eventually("both", || runtime.stats().submitted == 2);
    clock.advance(LONG);
    control.fail_next(READ_ERROR);
    assert!(block_on(first).is_err());
    assert_eq!(runtime.stats().latency.count(), 0);
    control.wait_for_submitted(1);
    clock.advance(SHORT);
    control.complete_next();
    block_on(fenced).unwrap();
    assert!(counts(&runtime.stats().latency, 1, LONG + SHORT));
}

#[test]
fn an_operation_that_ran_out_of_time_is_no_part_of_it() {
    let (runtime, control, clock) = one_engine();
    let region = region_of(&runtime, &pattern(1, 4096));
    let late = copy(&region, 1).timeout(SHORT).submit();
    control.wait_for_submitted(1);
    clock.advance(LONG);
    assert!(block_on(late).is_err());
    control.complete_next();
    eventually("the release", || runtime.stats().in_flight == 0);
    let stats = runtime.stats();
    assert_eq!((stats.latency.count(), stats.engines[0].latency.count()), (0, 0));
}

#[test]
fn each_engine_has_its_own_times() {
    let (builder, clock) = builder();
    let ((fast, fast_control), (slow, slow_control)) =
        (ManualEngine::builder().build(), ManualEngine::builder().build());
    let runtime = builder.engine(fast).engine(slow).build().unwrap();
    let region = region_of(&runtime, &pattern(1, 4096));
    let copies = [1, 2].map(|n| copy(&region, n).submit());
    fast_control.wait_for_submitted(1);
    slow_control.wait_for_submitted(1);
    clock.advance(SHORT);
    fast_control.complete_next();
    eventually("the fast one", || runtime.stats().completed == 1);
    clock.advance(LONG);
    slow_control.complete_next();
    for copy in copies {
        block_on(copy).unwrap();
    }
    let stats = runtime.stats();
    assert!(counts(&stats.engines[0].latency, 1, SHORT));
    assert!(counts(&stats.engines[1].latency, 1, SHORT + LONG));
    assert!(counts(&stats.latency, 2, SHORT + LONG) && is(stats.latency.percentile(50.0), SHORT));
}
