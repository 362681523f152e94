//! Closing: what was submitted before is carried out, what comes later is refused, and the memory goes last.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use dmaring::{ErrorKind, Region, Runtime};
use dmaring_cpu::CpuEngine;
use dmaring_engine::MapError;
use futures::{FutureExt, executor::block_on};

use crate::common::{LONG, READ_ERROR, bytes, cpu, kind, manual, pattern, poll_once, region_of};

fn is_closed<T: std::fmt::Debug>(outcome: Result<T, dmaring::Error>) {
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert!(error.to_string().contains("open it again"), "{error}");
}

/// Every way to use a region that was closed.
fn check_refused(region: &Region, other: &Region) {
    is_closed(block_on(region.copy(0, 64, 64)));
    is_closed(block_on(region.fill(0, 64, 1)));
    is_closed(block_on(region.copy_to(0, other, 0, 64)));
    is_closed(block_on(other.copy_to(0, region, 0, 64)));
    is_closed(region.copy(0, 64, 64).try_submit().map_err(dmaring::Error::from));
    // Of no bytes, too.
    is_closed(block_on(region.copy(0, 0, 0)));
    is_closed(block_on(region.fill(0, 0, 1)));
    is_closed(block_on(region.copy_to(0, other, 0, 0)));
    is_closed(block_on(other.copy_to(0, region, 0, 0)));
    is_closed(region.read_at(0, &mut [0; 8]));
    is_closed(region.write_at(0, &[0; 8]));
    is_closed(block_on(region.close()));
    is_closed(block_on(region.replace_with_zeroes()));
    is_closed(block_on(region.close_into::<Vec<u8>>()));
    assert!(region.as_mut_ptr().is_none());
}

#[test]
fn it_waits_for_what_is_in_flight_and_refuses_what_comes_later() {
    let (runtime, control) = manual(16);
    let (source, other) = (region_of(&runtime, &pattern(1, 4096)), runtime.allocate(4096).unwrap());
    let clone = source.clone();
    let before = source.copy_to(0, &other, 0, 64).submit();
    let unsubmitted = source.copy_to(0, &other, 64, 64);
    control.wait_for_submitted(1);
    let mut close = source.close().boxed();
    assert!(poll_once(&mut close).is_pending());
    check_refused(&clone, &other);
    is_closed(block_on(unsubmitted));
    control.wait_for_polls(200);
    assert!(poll_once(&mut close).is_pending(), "an operation is in flight");
    assert_eq!(control.domain().live(), 2, "its memory is mapped");
    // Others go on.
    let beside = other.copy(0, 128, 64).submit();
    control.wait_for_submitted(2);
    control.complete_all();
    block_on(close).unwrap();
    assert_eq!(control.domain().live(), 1, "unmapped before it resolves");
    assert_eq!((block_on(before).unwrap(), block_on(beside).unwrap()), (64, 64));
    assert_eq!(bytes(&other, 0, 64), pattern(1, 4096)[..64]);
    check_refused(&clone, &other);
    control.release();
    assert_eq!(block_on(other.copy(0, 64, 64)).unwrap(), 64);
    assert_eq!(control.violations(), []);
    assert_eq!(runtime.stats().violations, 0);
}

/// Operations in the ring, and more that wait for a place in it: all were submitted before the end, and all are carried out.
#[test]
fn what_waits_for_a_place_was_submitted_too() {
    let (runtime, control) = manual(4);
    let (source, other) = (region_of(&runtime, &pattern(2, 4096)), runtime.allocate(4096).unwrap());
    let copies: Vec<_> =
        (0..30).map(|n| source.copy_to(n * 64, &other, n * 64, 64).submit()).collect();
    let mut batch = runtime.batch();
    let batched: Vec<_> =
        (30..40).map(|n| batch.push(source.copy_to(n * 64, &other, n * 64, 64))).collect();
    let submitted = batch.submit();
    let fenced = source.copy_to(40 * 64, &other, 40 * 64, 64).fence().submit();
    let mut close = source.close().boxed();
    assert!(poll_once(&mut close).is_pending());
    control.release();
    block_on(close).unwrap();
    for copy in copies {
        assert_eq!(block_on(copy).unwrap(), 64);
    }
    drop((batched, submitted));
    assert_eq!(block_on(fenced).unwrap(), 64);
    assert_eq!(bytes(&other, 0, 41 * 64), pattern(2, 4096)[..41 * 64]);
    assert_eq!((control.domain().live(), control.violations()), (1, vec![]));
}

#[test]
fn it_goes_on_when_its_future_is_dropped_and_does_nothing_before_it_is_polled() {
    let (runtime, control) = manual(16);
    let region = runtime.allocate(4096).unwrap();
    drop(region.close());
    let copy = region.copy(0, 64, 64).submit();
    control.wait_for_submitted(1);
    let mut close = region.close().boxed();
    assert!(poll_once(&mut close).is_pending());
    drop(close);
    assert_eq!(control.domain().live(), 1);
    control.complete_all();
    block_on(copy).unwrap();
    crate::common::eventually("the unmapping", || control.domain().live() == 0);
    check_refused(&region, &runtime.allocate(64).unwrap());
}

#[test]
fn a_refused_unmapping_is_its_error_and_the_memory_stays() {
    let (runtime, control) = manual(16);
    let [region, other] = [(); 2].map(|()| runtime.allocate(4096).unwrap());
    control.domain().refuse_unmap(0, MapError::Unsupported);
    let error = block_on(region.close()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unmapped);
    assert!(error.to_string().contains("until the process ends"), "{error}");
    assert_eq!(control.domain().live(), 2);
    check_refused(&region, &other);
    control.domain().refuse_unmap(0, MapError::Unsupported);
    assert_eq!(kind(block_on(other.replace_with_zeroes())), ErrorKind::Unmapped);
}

/// An engine is lost with a copy on the region and keeps it: the end is an error at once, and the memory stays where it is.
#[test]
fn an_engine_that_keeps_what_it_has_is_an_error() {
    for zeroes in [false, true] {
        let (runtime, control) = manual(16);
        let region = region_of(&runtime, &pattern(3, 4096));
        let copy = region.copy(0, 64, 64).submit();
        control.wait_for_submitted(1);
        control.set_stuck(Some(READ_ERROR));
        assert_eq!(kind(block_on(copy)), ErrorKind::EngineLost);
        let outcome =
            if zeroes { block_on(region.replace_with_zeroes()) } else { block_on(region.close()) };
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::EngineLost);
        assert!(error.to_string().contains("4096 bytes stay mapped"), "{error}");
        let other = runtime.allocate(64).unwrap();
        check_refused(&region, &other);
        // It may write at any time.
        control.set_stuck(None);
        control.complete_all();
        assert_eq!(control.domain().live(), 2);
        assert_eq!(control.violations(), []);
    }
}

#[test]
fn a_region_is_closed_after_its_runtime_and_while_that_ends() {
    let runtime = cpu(16);
    let regions = [(); 3].map(|()| region_of(&runtime, &pattern(4, 100)));
    block_on(runtime.shutdown(LONG)).unwrap();
    assert_eq!(bytes(&regions[0], 0, 100), pattern(4, 100));
    block_on(regions[0].close()).unwrap();
    drop(runtime);
    block_on(regions[1].replace_with_zeroes()).unwrap();
    assert_eq!(bytes(&regions[1], 0, 100), [0; 100]);
    block_on(regions[2].close()).unwrap();

    let (runtime, control) = manual(16);
    let region = runtime.allocate(4096).unwrap();
    let copy = region.copy(0, 64, 64).submit();
    control.wait_for_submitted(1);
    let mut close = region.close().boxed();
    assert!(poll_once(&mut close).is_pending());
    let shutdown = thread::spawn(move || block_on(runtime.shutdown(LONG)));
    control.wait_for_polls(200);
    control.complete_all();
    block_on(close).unwrap();
    block_on(copy).unwrap();
    shutdown.join().unwrap().unwrap();
}

#[test]
fn an_engine_that_does_not_halt_keeps_every_region_where_it_is() {
    let (runtime, control) = manual(16);
    let region = runtime.allocate(4096).unwrap();
    control.refuse_halt(READ_ERROR);
    assert_eq!(kind(block_on(runtime.shutdown(LONG))), ErrorKind::EngineLost);
    assert_eq!(kind(block_on(region.close())), ErrorKind::EngineLost);
    control.allow_halt();
}

/// Threads that read, write and submit through clones while the region is closed: each is served or refused.
#[test]
fn whoever_uses_a_clone_meanwhile_is_served_or_refused() {
    for round in 0..20 {
        let runtime = Runtime::builder().engine(CpuEngine::new()).ring_entries(8).build().unwrap();
        let region = region_of(&runtime, &[7; 1 << 16]);
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for user in 0..3 {
                let (region, stop) = (region.clone(), &stop);
                scope.spawn(move || {
                    let mut buffer = vec![0; 4096];
                    while !stop.load(Ordering::Relaxed) {
                        let outcome = match user {
                            0 => region.read_at(0, &mut buffer),
                            1 => region.write_at(0, &[7; 4096]),
                            _ => block_on(region.copy(0, 8192, 4096)).map(drop),
                        };
                        if let Err(error) = outcome {
                            let kind = error.kind();
                            let late = user == 2 && kind == ErrorKind::Unmapped;
                            assert!(kind == ErrorKind::Closed || late, "{error}");
                            return;
                        }
                        assert!(user != 0 || buffer.iter().all(|&byte| byte == 7));
                    }
                });
            }
            for _ in 0..round {
                block_on(region.copy(0, 16384, 4096)).unwrap();
            }
            block_on(region.close()).unwrap();
            stop.store(true, Ordering::Relaxed);
        });
    }
}

#[test]
fn its_future_may_be_sent() {
    fn check(_: impl Send) {}
    let runtime = cpu(4);
    let region = runtime.allocate(64).unwrap();
    check(region.close());
    check(region.close_into::<Vec<u8>>());
    check(region.replace_with_zeroes());
}
