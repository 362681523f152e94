//! Futures, regions and runtimes that go while bytes are being made durable.

use std::time::Duration;

use dmaring::{Durability, ErrorKind};
use futures::executor::block_on;

use crate::{
    common::{LONG, eventually, kind, poll_once},
    recorder::{automatic, persistent},
};

#[test]
fn a_dropped_future_and_region_stay_until_the_last_line() {
    let (control, recorder, runtime) = automatic();
    let region = persistent(&runtime, 4096);
    recorder.allow(0);
    let mut fill = region.fill(0, 200, 7).durable().submit();
    recorder.wait_for_held();
    assert!(poll_once(&mut fill).is_pending());
    drop(fill);
    drop(region);
    control.wait_for_polls(100);
    assert_eq!((control.domain().live(), runtime.stats().in_flight), (1, 1));
    recorder.release();
    eventually("the unmapping", || control.domain().live() == 0);
    assert_eq!(recorder.lines(), 4);
    assert!(recorder.is_fenced());
    assert_eq!(control.violations(), []);
}

#[test]
fn a_shutdown_waits_for_what_is_being_made_durable() {
    let (control, recorder, runtime) = automatic();
    let region = persistent(&runtime, 4096);
    recorder.allow(0);
    let fill = region.fill(0, 64, 7).durable().submit();
    recorder.wait_for_held();
    {
        let mut shutdown = Box::pin(runtime.shutdown(LONG));
        assert!(poll_once(&mut shutdown).is_pending());
        control.wait_for_polls(100);
        assert!(poll_once(&mut shutdown).is_pending());
        recorder.release();
        block_on(shutdown).unwrap();
    }
    assert_eq!(block_on(fill).unwrap(), 64);
    assert_eq!(recorder.take(&region), [0].into());
}

#[test]
fn what_a_shutdown_gives_up_is_resolved_and_not_touched_after_its_memory_is_gone() {
    let (control, recorder, runtime) = automatic();
    // Several pieces each.
    let region = persistent(&runtime, 8 << 20);
    recorder.allow(1);
    let persists: Vec<_> = (0..4).map(|_| region.persist(..).submit()).collect();
    recorder.wait_for_held();
    drop(region);
    let outcome = block_on(runtime.shutdown(Duration::ZERO));
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::TimedOut);
    for persist in persists {
        assert_eq!(kind(block_on(persist)), ErrorKind::Shutdown);
    }
    // The piece that is held is of memory that stays until it is through.
    assert_eq!(control.domain().live(), 1);
    recorder.release();
    eventually("the unmapping", || control.domain().live() == 0);
    drop(runtime);
    assert!(recorder.lines() < 3 * 4096, "nothing was begun after it was given up");
}

#[test]
fn a_write_back_that_panics_resolves_its_operation_and_no_other() {
    let (_control, recorder, runtime) = automatic();
    let region = persistent(&runtime, 4096);
    recorder.panic_next();
    let error = block_on(region.fill(0, 64, 7).durable()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::EngineLost);
    assert!(error.to_string().contains("outlive a loss of power is unknown"), "{error}");
    assert_eq!(block_on(region.fill(0, 64, 7).durable()).unwrap(), 64);
    assert_eq!(recorder.take(&region), [0].into());
}

/// How much is written back in one go is asked before each round; who panics then writes back all the same.
#[test]
fn one_that_panics_when_it_is_asked_holds_nothing_up() {
    let (control, recorder, runtime) = automatic();
    let region = persistent(&runtime, 1 << 20);
    recorder.panic_when_asked();
    for _ in 0..2 {
        assert_eq!(block_on(region.fill(0, 100_000, 7).durable()).unwrap(), 100_000);
        assert_eq!(recorder.take(&region).len(), 100_000_usize.div_ceil(64));
    }
    drop(region);
    eventually("the unmapping", || control.domain().live() == 0);
}

/// What is power-fail safe is fenced by the poller, which goes on.
#[test]
fn a_fence_that_panics_resolves_its_operation_and_no_other() {
    let (_control, recorder, runtime) = automatic();
    let region = runtime.allocate(4096).unwrap();
    region.assume_durability(Durability::PowerFailSafe).unwrap();
    recorder.panic_next();
    assert_eq!(kind(block_on(region.fill(0, 64, 7).durable())), ErrorKind::EngineLost);
    assert_eq!(block_on(region.fill(0, 64, 7).durable()).unwrap(), 64);
    assert_eq!(runtime.stats().in_flight, 0);
}
