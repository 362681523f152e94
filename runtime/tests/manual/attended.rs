//! Copies that are awaited one after the other, each looked for in its first poll: what others do to it meanwhile.
//!
//! The poll looks for a minute here, so that whatever happens to the operation happens while its future attends.

use std::{thread, time::Duration};

use dmaring::{Copy, ErrorKind, ManualClock, Region, Runtime};
use dmaring_manual::{Control, ManualEngine};
use futures::executor::block_on;

use crate::common::{LONG, READ_ERROR, bytes, eventually, kind, never_parking, pattern, region_of};

const LIMIT: Duration = Duration::from_millis(3);

/// A runtime on an engine that holds everything from now on, and one copy that was made: the next has its slot.
fn runtime() -> (Runtime, Control, [Region; 2], ManualClock) {
    let clock = ManualClock::new();
    let (engine, control) = ManualEngine::builder().build();
    let builder = never_parking().engine(engine).ring_entries(16).linger(LONG);
    let runtime = builder.clock(clock.clone()).build().unwrap();
    let regions = [1, 2].map(|seed| region_of(&runtime, &pattern(seed, 4096)));
    control.release();
    let [source, target] = &regions;
    for n in 0..3 {
        assert_eq!(block_on(source.copy_to(n * 64, target, n * 64, 64)).unwrap(), 64);
    }
    control.hold();
    (runtime, control, regions, clock)
}

fn copy([source, target]: &[Region; 2]) -> Copy {
    source.copy_to(1024, target, 2048, 64)
}

#[test]
fn its_end_is_found_whatever_ends_before_it() {
    let (runtime, control, regions, _) = runtime();
    let copy = copy(&regions);
    thread::scope(|scope| {
        let awaited = scope.spawn(|| block_on(copy));
        control.wait_for_submitted(1);
        let other = regions[0].copy_to(0, &regions[1], 3072, 64).submit();
        control.wait_for_submitted(2);
        control.complete_last();
        assert_eq!(block_on(other).unwrap(), 64);
        control.complete_all();
        assert_eq!(awaited.join().unwrap().unwrap(), 64);
    });
    assert_eq!(bytes(&regions[1], 2048, 64), pattern(1, 4096)[1024..1088]);
    assert_eq!((runtime.stats().completed, runtime.stats().in_flight), (5, 0));
    assert_eq!(control.violations(), []);
}

#[test]
fn where_it_failed_is_told() {
    let (runtime, control, regions, _) = runtime();
    let copy = copy(&regions);
    thread::scope(|scope| {
        let awaited = scope.spawn(|| block_on(copy));
        control.wait_for_submitted(1);
        control.fail_next(READ_ERROR);
        assert!(matches!(kind(awaited.join().unwrap()), ErrorKind::Device(_)));
    });
    control.release();
    assert_eq!(block_on(self::copy(&regions)).unwrap(), 64);
    assert_eq!((runtime.stats().failed, runtime.stats().in_flight), (1, 0));
}

#[test]
fn it_is_told_late_and_keeps_what_it_uses_until_its_end() {
    let (runtime, control, regions, clock) = runtime();
    let copy = copy(&regions).timeout(LIMIT);
    drop(regions);
    thread::scope(|scope| {
        let awaited = scope.spawn(|| block_on(copy));
        control.wait_for_submitted(1);
        clock.advance(LIMIT);
        assert_eq!(kind(awaited.join().unwrap()), ErrorKind::TimedOut);
    });
    control.wait_for_polls(200);
    assert_eq!(control.domain().live(), 2, "the engine is still at it");
    assert_eq!(runtime.stats().in_flight, 1);
    control.complete_next();
    eventually("the unmapping", || control.domain().live() == 0);
    assert_eq!(runtime.stats().in_flight, 0);
    assert_eq!(control.violations(), []);
}

/// The runtime ends, and all that kept it but the operation's regions: the future has them last.
#[test]
fn it_outlives_the_runtime() {
    let (runtime, control, regions, _) = runtime();
    let copy = copy(&regions);
    drop(regions);
    let awaited = thread::spawn(|| block_on(copy));
    control.wait_for_submitted(1);
    let shutdown = block_on(runtime.shutdown(Duration::ZERO));
    assert!(shutdown.is_err(), "it was given up");
    drop(runtime);
    assert_eq!(kind(awaited.join().unwrap()), ErrorKind::Shutdown);
    eventually("the unmapping", || control.domain().live() == 0);
    assert!(control.halted() && control.dropped());
    assert_eq!(control.violations(), []);
}
