//! The end of a runtime with operations in flight: drained, or given up. What cannot be given back is in `leak`.

use std::{thread, time::Duration};

use dmaring::{ErrorKind, Fill, ManualClock, Region, Runtime};
use dmaring_manual::{Control, ManualEngine};
use futures::executor::block_on;

use crate::{
    assert_clean,
    common::{LONG, bytes, eventually, kind, manual, never_parking, poll_once},
};

#[test]
fn a_dropped_runtime_drains() {
    let (runtime, control) = manual(4);
    let regions: Vec<_> = (0..10).map(|_| runtime.allocate(64).unwrap()).collect();
    let fills: Vec<_> = regions.iter().map(|region| region.fill(0, 64, 7).submit()).collect();
    control.wait_for_submitted(4);
    let closing = thread::spawn(move || drop(runtime));
    let mut fills = fills.into_iter();
    let taken: Vec<_> = fills.by_ref().take(4).collect();
    for waiting in fills {
        assert_eq!(kind(block_on(waiting)), ErrorKind::Shutdown);
    }
    assert!(!control.halted(), "four are still in flight");
    control.complete_all();
    for fill in taken {
        assert_eq!(block_on(fill).unwrap(), 64);
    }
    closing.join().unwrap();
    assert!(control.halted() && control.dropped());
    assert_eq!(kind(block_on(regions[0].fill(0, 64, 1))), ErrorKind::Closed);
    assert_eq!(bytes(&regions[3], 0, 8), 7u64.to_le_bytes());
    drop(regions);
    assert_clean(&control);
}

/// Whoever opens a device again right after must not find it held by the runtime before.
#[test]
fn nothing_is_mapped_once_a_dropped_runtime_is_gone() {
    for _ in 0..if cfg!(miri) { 2 } else { 50 } {
        let (runtime, control) = manual(8);
        let regions: Vec<_> = (0..4).map(|_| runtime.allocate(1 << 20).unwrap()).collect();
        // The operations' holds are the last: they end on the poller.
        regions.iter().for_each(|region| drop(region.fill(0, 64, 7).submit()));
        drop(regions);
        control.wait_for_submitted(4);
        control.complete_all();
        drop(runtime);
        assert_eq!(control.domain().live(), 0);
    }
}

/// A runtime whose time is told by hand, with four operations that its engine holds, and three that wait.
fn stuck() -> (Runtime, ManualClock, Control, Vec<Region>, Vec<Fill>) {
    let clock = ManualClock::new();
    let (engine, control) = ManualEngine::new();
    let builder = never_parking().engine(engine).ring_entries(4).clock(clock.clone());
    let runtime = builder.build().unwrap();
    let regions: Vec<_> = (0..7).map(|_| runtime.allocate(64).unwrap()).collect();
    let fills = regions.iter().map(|region| region.fill(0, 64, 7).submit()).collect();
    control.wait_for_submitted(4);
    (runtime, clock, control, regions, fills)
}

#[test]
fn an_engine_that_never_completes_is_halted_at_the_deadline() {
    let (runtime, clock, control, regions, fills) = stuck();
    let mut end = Box::pin(runtime.shutdown(Duration::from_secs(3)));
    assert!(poll_once(&mut end).is_pending());
    clock.advance(Duration::from_millis(2999));
    control.wait_for_polls(3);
    assert!(poll_once(&mut end).is_pending());
    assert!(!control.halted());
    clock.advance(Duration::from_millis(1));
    let error = block_on(end).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(error.to_string().starts_with("4 operations were still in flight after 3s"), "{error}");
    assert!(control.halted());
    for fill in fills {
        assert_eq!(kind(block_on(fill)), ErrorKind::Shutdown);
    }
    drop((regions, runtime));
    assert_clean(&control);
}

#[test]
fn dropping_a_runtime_whose_engine_never_completes_ends_at_the_deadline() {
    let (runtime, clock, control, regions, fills) = stuck();
    drop(regions);
    let closing = thread::spawn(move || drop(runtime));
    eventually("the deadline", || {
        clock.advance(Duration::from_secs(1));
        closing.is_finished()
    });
    closing.join().unwrap();
    for fill in fills {
        assert_eq!(kind(block_on(fill)), ErrorKind::Shutdown);
    }
    assert_clean(&control);
}

#[test]
fn a_shutdown_goes_on_when_its_future_is_dropped() {
    let (runtime, control) = manual(4);
    let region = runtime.allocate(64).unwrap();
    let fill = region.fill(0, 64, 1).submit();
    control.wait_for_submitted(1);
    let mut end = Box::pin(runtime.shutdown(LONG));
    assert!(poll_once(&mut end).is_pending());
    drop(end);
    assert_eq!(kind(block_on(region.fill(0, 64, 2))), ErrorKind::Closed);
    control.complete_all();
    control.wait_for_stop();
    assert_eq!(block_on(fill).unwrap(), 64);
    drop((region, runtime));
    assert_clean(&control);
}
