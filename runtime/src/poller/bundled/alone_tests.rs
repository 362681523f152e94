//! A batch of which one entry is all: as its own future ends it, and as others do.

use std::{
    task::{Context, Poll, Waker},
    time::Duration,
};

use dmaring_engine::{Status, StatusKind};
use dmaring_manual::{ManualEngine, Ticket};
use futures::{StreamExt, executor::block_on};

use super::tests::{outcomes, rig};
use crate::{Batch, Error, ErrorKind, Region, Runtime, bundle::MOST, inflight, region::eventually};

const COPIES: u64 = MOST as u64;

/// A batch of so many copies, of 64 bytes and as many more as there are before it.
fn batch(runtime: &Runtime, [source, destination]: &[Region; 2], copies: u64) -> Batch {
    let mut batch = runtime.batch();
    (0..copies).for_each(|n| batch.copy(source, n * 256, destination, n * 128, 64 + n));
    batch
}

fn lengths() -> Vec<Option<u64>> {
    (0..COPIES).map(|n| Some(64 + n)).collect()
}

fn made(outcomes: Vec<Result<u64, Error>>) -> Vec<Option<u64>> {
    outcomes.into_iter().map(Result::ok).collect()
}

/// Its end stands in the ring. Nobody has asked the poller to reap, of a runtime that nothing was awaited of.
fn has_ended(runtime: &Runtime) {
    eventually("the end", || runtime.shared().client.has_completions());
}

/// Whoever looks first finds it, and the slot and its permit are kept for the next.
#[test]
fn one_that_has_ended_is_over_with_the_first_poll() {
    let mut context = Context::from_waker(Waker::noop());
    for copies in [COPIES, 2, 1] {
        let (runtime, control, regions) = rig();
        let counts = || regions.each_ref().map(|region| region.0.count());
        let client = &runtime.shared().client;
        let free = || inflight::free(&client.inflight);
        let all = free();
        let mut submitted = batch(&runtime, &regions, copies).submit();
        assert_eq!((client.permits.out(), counts()), (1, [2; 2]));
        has_ended(&runtime);
        let another = runtime.allocate(64).unwrap();
        let another = another.fill(0, 64, 1).submit();
        assert_eq!(client.permits.out(), 2);
        for n in 0..copies {
            let Poll::Ready(Some(outcome)) = submitted.poll_next_unpin(&mut context) else {
                panic!("copy {n} of {copies} has ended");
            };
            assert_eq!(outcome.unwrap(), 64 + n);
            // With the first, while the others are still to be told of.
            assert_eq!((client.permits.has_kept(), counts()), (true, [1; 2]));
        }
        assert!(block_on(submitted.next()).is_none());
        drop(submitted);
        assert_eq!(block_on(another).unwrap(), 64);
        assert_eq!((free(), client.permits.out()), (all - 1, 0), "it is kept");
        let next = batch(&runtime, &regions, copies).submit();
        assert_eq!((free(), client.permits.has_kept()), (all - 1, false), "it was taken");
        assert_eq!(block_on(next.all()).unwrap(), (0..copies).map(|n| 64 + n).sum::<u64>());
        assert_eq!((control.run(), control.violations()), (2 * copies + 1, vec![]));
    }
}

/// How each copy ended stands where the slot is, which is no other's before it was read.
#[test]
fn one_that_fails_fails_alone_though_the_end_is_found_at_once() {
    let mut context = Context::from_waker(Waker::noop());
    for bad in [0, 5, COPIES - 1] {
        let (runtime, control, regions) = rig();
        control.set_runs_left(Some(0));
        let mut submitted = batch(&runtime, &regions, COPIES).submit();
        control.wait_for_submitted(MOST);
        let status = Status { kind: StatusKind::Read, bits: 4 };
        let is_bad = |ticket: &Ticket| ticket.transfer.length == 64 + bad;
        let failing = control.outstanding().into_iter().find(is_bad).unwrap();
        control.fail(failing.serial, status);
        control.wait_for_polls(200);
        control.release();
        has_ended(&runtime);
        let another = batch(&runtime, &regions, COPIES).submit();
        let first = submitted.poll_next_unpin(&mut context);
        // Others use what has become free.
        control.set_runs_left(None);
        for another in [another, batch(&runtime, &regions, COPIES).submit()] {
            assert_eq!(made(outcomes(another)), lengths());
        }
        let Poll::Ready(Some(first)) = first else { panic!("it has ended") };
        let told: Vec<_> = [first].into_iter().chain(outcomes(submitted)).collect();
        assert_eq!(told.len() as u64, COPIES);
        for (n, outcome) in (0..).zip(told) {
            match outcome {
                Ok(bytes) => assert!(n != bad && bytes == 64 + n, "copy {n} but {bad} failed"),
                Err(error) => {
                    let ErrorKind::Device(device) = error.kind() else { panic!("{error}") };
                    assert_eq!((n, device.source_offset), (bad, Some(n * 256)));
                }
            }
        }
    }
}

#[test]
fn one_that_waits_for_a_place_or_is_dropped_gives_all_back() {
    let (engine, control) = ManualEngine::builder().at_once(8192).depth(64).build();
    let runtime = Runtime::builder().engine(engine).ring_entries(2).build().unwrap();
    let regions = [(); 2].map(|()| runtime.allocate(1 << 16).unwrap());
    let client = &runtime.shared().client;
    let counts = || regions.each_ref().map(|region| region.0.count());
    control.set_runs_left(Some(0));
    let waiting = [(); 4].map(|()| batch(&runtime, &regions, COPIES).submit());
    assert_eq!((client.permits.out(), counts()), (2, [5; 2]));
    let [under_way, one, dropped, last] = waiting;
    drop(dropped);
    assert_eq!(counts(), [4; 2], "it was not begun");
    drop(under_way);
    assert_eq!(counts(), [4; 2], "it is in flight");
    control.set_runs_left(None);
    control.release();
    for submitted in [last, one] {
        assert_eq!(made(outcomes(submitted)), lengths());
    }
    eventually("the handles", || {
        client.reap();
        counts() == [1; 2]
    });
    assert_eq!((client.permits.out(), runtime.stats().submitted), (0, 3 * COPIES));
}

#[test]
fn what_is_refused_is_refused_copy_by_copy() {
    let (runtime, _control, regions) = rig();
    let kinds = |outcomes: Vec<Result<u64, Error>>| {
        let kinds = outcomes.into_iter().map(|outcome| outcome.unwrap_err().kind());
        kinds.collect::<Vec<_>>()
    };
    let counts = || regions.each_ref().map(|region| region.0.count());
    // Its regions have the same keys.
    let (other, _control, _regions) = rig();
    let foreign = |copies| kinds(outcomes(batch(&other, &regions, copies).submit()));
    assert_eq!(foreign(1), [ErrorKind::Unmapped]);
    assert_eq!(foreign(COPIES), vec![ErrorKind::Unmapped; MOST]);
    let late = [COPIES, 1, COPIES + 2].map(|copies| batch(&runtime, &regions, copies));
    let _ = block_on(runtime.shutdown(Duration::from_secs(60)));
    for late in late {
        let copies = late.len();
        // Whether or not it is alone.
        assert_eq!(kinds(outcomes(late.submit())), vec![ErrorKind::Shutdown; copies]);
    }
    assert_eq!(counts(), [1; 2]);
}
