//! Copies that turned late: their futures have their outcome, the engine has their memory.

use std::time::Duration;

use dmaring::{Copy, ErrorKind, ManualClock, Region, Runtime};
use dmaring_manual::{Control, ManualEngine, Recovery};
use futures::executor::block_on;

use crate::{
    Forgotten, assert_clean,
    common::{READ_ERROR, eventually, kind, never_parking, pattern, poll_once, region_of},
};

const LIMIT: Duration = Duration::from_millis(3);

fn runtime(entries: u32) -> (Runtime, Control, ManualClock) {
    let clock = ManualClock::new();
    let (engine, control) = ManualEngine::new();
    let builder = never_parking().engine(engine).ring_entries(entries).clock(clock.clone());
    (builder.build().unwrap(), control, clock)
}

fn late(region: &Region, n: u64) -> Copy {
    region.copy(0, n * 64, 64).timeout(LIMIT)
}

#[test]
fn a_late_copys_memory_outlives_its_future_and_its_handles() {
    let (runtime, control, clock) = runtime(4);
    let mut forgotten = Forgotten::default();
    for round in 0..3 {
        eventually("the unmapping of the round before", || control.domain().live() == 0);
        let region = runtime.register(pattern(1, 1024)).unwrap();
        let claimed = late(&region, 4).submit();
        let mut polled = late(&region, 5).submit();
        let dropped = late(&region, 6).submit();
        assert!(poll_once(&mut polled).is_pending());
        forgotten.forget(late(&region, 7).submit());
        control.wait_for_submitted(4);
        drop(dropped);
        clock.advance(LIMIT);
        assert_eq!(kind(block_on(claimed)), ErrorKind::TimedOut);
        eventually("all of them", || runtime.stats().timed_out == 4 * (round + 1));
        drop((polled, region));
        control.wait_for_polls(3);
        assert_eq!(control.domain().live(), 1, "the engine still writes");
        // Two of the places are reused while others are still in the engine.
        control.complete_next();
        control.complete_last();
        let other = runtime.register(pattern(2, 1024)).unwrap();
        let next = [4, 5].map(|n| other.copy(0, n * 64, 64).submit());
        control.wait_for_submitted(4);
        control.complete_all();
        for copy in next {
            assert_eq!(block_on(copy).unwrap(), 64);
        }
    }
    drop((runtime, forgotten));
    assert_clean(&control);
}

#[test]
fn a_late_copy_that_was_not_run_gives_its_memory_back_and_is_not_run() {
    let (runtime, control, clock) = runtime(4);
    let region = region_of(&runtime, &pattern(1, 1024));
    let culprit = region.copy(0, 256, 64).submit();
    let copy = late(&region, 5).submit();
    control.wait_for_submitted(2);
    control.set_recovery(Recovery::Succeeds { steps: usize::MAX });
    control.fail_channel(0, READ_ERROR);
    block_on(culprit).unwrap_err();
    clock.advance(LIMIT);
    assert_eq!(kind(block_on(copy)), ErrorKind::TimedOut);
    drop(region);
    eventually("the unmapping", || control.domain().live() == 0);
    control.set_recovery(Recovery::Succeeds { steps: 0 });
    control.wait_for_polls(3);
    assert_eq!(control.submitted(), 0);
    drop(runtime);
    assert_clean(&control);
}

#[test]
fn waiters_that_turned_late_leave_nothing_behind() {
    let (runtime, control, clock) = runtime(2);
    let region = region_of(&runtime, &pattern(1, 1024));
    let running = [4, 5].map(|n| region.copy(0, n * 64, 64).submit());
    let waiters: Vec<_> = (0..40).map(|_| late(&region, 6).submit()).collect();
    let dropped = late(&region, 7).submit();
    control.wait_for_submitted(2);
    drop(dropped);
    clock.advance(LIMIT);
    eventually("all of them", || runtime.stats().timed_out == 40);
    drop(waiters);
    drop(region);
    control.release();
    for copy in running {
        assert_eq!(block_on(copy).unwrap(), 64);
    }
    eventually("the unmapping", || control.domain().live() == 0);
    drop(runtime);
    assert_clean(&control);
}
