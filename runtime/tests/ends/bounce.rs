//! Bounce buffers: used by one at a time, in the order of those who wait, and back once the engine is done with them.

use std::{
    sync::{
        Arc, Barrier, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    task::{Poll, Wake},
};

use dmaring::{
    ErrorKind, Region, Runtime,
    bounce::{BouncePool, measure},
};
use dmaring_manual::Control;
use futures::{FutureExt, executor::block_on, future::join_all};

use crate::common::{
    READ_ERROR, bytes, cpu, eventually, kind, manual, pattern, poll_once, poll_with, region_of,
};

fn pool(buffers: usize) -> (Runtime, Control, Region, BouncePool) {
    let (runtime, control) = manual(16);
    let region = region_of(&runtime, &pattern(1, 4096));
    let pool = BouncePool::new(&runtime, buffers, 64).unwrap();
    (runtime, control, region, pool)
}

#[test]
fn bytes_go_there_and_back_in_pieces_of_any_length() {
    let runtime = cpu(64);
    let region = runtime.allocate(10_000).unwrap();
    let pool = BouncePool::new(&runtime, 3, 1000).unwrap();
    assert_eq!((pool.buffers(), pool.size(), pool.available()), (3, 1000, 3));
    let mapped = pool.clone();
    for length in [0, 1, 999, 1000, 1001, 4321, 9993] {
        let given = pattern(length, length);
        block_on(region.fill(0, 10_000, u64::MAX)).unwrap();
        let written = block_on(pool.copy_from_slice(&given, &region, 7)).unwrap();
        assert_eq!(written, length as u64);
        assert!(bytes(&region, 7, length) == given, "{length}");
        assert!(block_on(mapped.copy_to_vec(&region, 7, length)).unwrap() == given, "{length}");
        let rest = bytes(&region, 7 + length as u64, 10_000 - 7 - length);
        assert!(rest.iter().all(|&byte| byte == 0xff));
    }
    assert_eq!(pool.available(), 3);
    let beyond = block_on(pool.copy_to_vec(&region, 1, usize::MAX / 2));
    assert_eq!(kind(beyond), ErrorKind::OutOfBounds);
    assert_eq!(
        kind(block_on(pool.copy_from_slice(&[0; 2], &region, 9999))),
        ErrorKind::OutOfBounds
    );
    for (buffers, size) in [(0, 64), (BouncePool::MOST + 1, 64), (usize::MAX, 64)] {
        let refused = BouncePool::new(&runtime, buffers, size);
        assert_eq!(kind(refused), ErrorKind::LimitExceeded);
    }
    assert_eq!(kind(BouncePool::new(&runtime, 1, 0)), ErrorKind::OutOfBounds);
}

#[test]
fn who_finds_none_waits_first_come_first_served() {
    let (_runtime, control, region, pool) = pool(2);
    let mut copies: Vec<_> = (0..6u8)
        .map(|n| {
            let (region, pool) = (region.clone(), pool.clone());
            async move { pool.copy_from_slice(&[n; 64], &region, u64::from(n) * 64).await }.boxed()
        })
        .collect();
    for copy in &mut copies {
        assert!(poll_once(copy).is_pending());
    }
    assert_eq!((pool.available(), control.wait_for_submitted(2).len()), (0, 2));
    // The third in line goes away; the first has its buffer granted and goes away before it is polled.
    drop(copies.remove(4));
    for copy in copies.iter_mut().take(2) {
        control.wait_for_submitted(1);
        control.complete_next().unwrap();
        eventually("the copy", || poll_once(copy).is_ready());
    }
    drop(copies.remove(2));
    assert_eq!(pool.available(), 0, "a late comer does not overtake those in line");
    let left = [copies.remove(3), copies.remove(2)];
    drop(copies);
    control.release();
    for copy in left {
        assert_eq!(block_on(copy).unwrap(), 64);
    }
    eventually("all buffers", || pool.available() == 2);
    for (n, written) in [(0, true), (1, true), (2, false), (3, true), (4, false), (5, true)] {
        let now = bytes(&region, n * 64, 64);
        assert_eq!(now == [n as u8; 64], written, "{n}");
    }
    assert_eq!(control.violations(), []);
}

#[test]
fn the_buffer_of_a_dropped_copy_comes_back_when_the_engine_is_done() {
    let (_runtime, control, region, pool) = pool(1);
    let bytes_given = [9; 64];
    let mut copy = pool.copy_from_slice(&bytes_given, &region, 0).boxed();
    assert!(poll_once(&mut copy).is_pending());
    control.wait_for_submitted(1);
    drop(copy);
    let mut next = pool.copy_to_vec(&region, 0, 64).boxed();
    assert!(poll_once(&mut next).is_pending());
    control.wait_for_polls(200);
    assert!(poll_once(&mut next).is_pending());
    assert_eq!(control.submitted(), 1, "the engine reads the buffer");
    // Nobody polls: the end of the orphan alone hands the buffer on.
    control.release();
    assert_eq!(block_on(next).unwrap(), [9; 64]);
    assert_eq!((pool.available(), control.violations()), (1, vec![]));
}

#[test]
fn many_share_a_few() {
    let runtime = cpu(8);
    let region = runtime.allocate(200 * 100).unwrap();
    let pool = BouncePool::new(&runtime, 3, 64).unwrap();
    let write = |n: u64| {
        let (region, pool) = (region.clone(), pool.clone());
        async move { pool.copy_from_slice(&pattern(n as usize, 100), &region, n * 100).await }
    };
    let outcomes = block_on(join_all((0..200).map(write)));
    assert!(outcomes.into_iter().all(|outcome| outcome.unwrap() == 100));
    for n in 0..200u64 {
        assert!(bytes(&region, n * 100, 100) == pattern(n as usize, 100), "{n}");
    }
    assert_eq!(pool.available(), 3);
}

#[test]
fn a_buffer_that_a_lost_engine_keeps_is_not_used_until_it_lets_go() {
    let (runtime, control, region, pool) = pool(2);
    let copies = [[1; 64], [2; 64]];
    let mut kept = copies.each_ref().map(|bytes| pool.copy_from_slice(bytes, &region, 0).boxed());
    for copy in &mut kept {
        assert!(poll_once(copy).is_pending());
    }
    let mut waiting = pool.copy_from_slice(&[3; 64], &region, 0).boxed();
    assert!(poll_once(&mut waiting).is_pending());
    control.wait_for_submitted(2);
    control.set_stuck(Some(READ_ERROR));
    for copy in kept {
        assert_eq!(kind(block_on(copy)), ErrorKind::EngineLost);
    }
    let error = block_on(waiting).unwrap_err();
    assert!(error.to_string().contains("every bounce buffer"), "{error}");
    assert_eq!(kind(block_on(pool.copy_to_vec(&region, 0, 1))), ErrorKind::EngineLost);
    assert_eq!(pool.available(), 0);
    control.set_stuck(None);
    control.complete_all();
    eventually("the release", || runtime.stats().in_flight == 0 && pool.available() == 2);
    let name = runtime.stats().engines[0].name.clone();
    block_on(runtime.restore_engine(&name)).unwrap();
    control.release();
    assert_eq!(block_on(pool.copy_from_slice(&[4; 64], &region, 0)).unwrap(), 64);
    assert_eq!(control.violations(), []);
}

/// What an engine lets go of goes to those in line when anybody looks, and not only when a buffer is put back.
#[test]
fn a_buffer_that_was_let_go_of_wakes_who_waits_for_it() {
    for newcomer in [false, true] {
        let (runtime, control, region, pool) = pool(2);
        let copies = [[1; 64], [2; 64]];
        let [mut kept, mut lent] =
            copies.each_ref().map(|bytes| pool.copy_from_slice(bytes, &region, 0).boxed());
        assert!(poll_once(&mut kept).is_pending() && poll_once(&mut lent).is_pending());
        let woken = Arc::new(Count::default());
        let mut waiting = pool.copy_from_slice(&[3; 64], &region, 0).boxed();
        assert!(poll_with(&mut waiting, &woken.clone().into()).is_pending());
        control.wait_for_submitted(2);
        control.set_stuck(Some(READ_ERROR));
        // The other one's future has not looked: its buffer is not given back.
        assert_eq!(kind(block_on(kept)), ErrorKind::EngineLost);
        control.set_stuck(None);
        control.complete_all();
        let mut late = pool.copy_from_slice(&[4; 64], &region, 0).boxed();
        eventually("the look", || {
            if newcomer {
                assert!(poll_once(&mut late).is_pending());
            } else {
                assert_eq!(pool.available(), 0, "it is another's");
            }
            woken.0.load(Ordering::SeqCst) > 0
        });
        block_on(runtime.restore_engine("manual")).unwrap();
        control.release();
        assert_eq!(block_on(waiting).unwrap(), 64);
        assert_eq!(kind(block_on(lent)), ErrorKind::EngineLost);
        assert_eq!(block_on(late).unwrap(), 64);
        eventually("all buffers", || pool.available() == 2);
        assert_eq!(control.violations(), []);
    }
}

/// A copy's future may have its outcome before its slot lets go of the buffer: here a waker polls it that is called after both
/// were reaped, and before the copy's own is. The engine has let go of it long before, so whoever waits has it.
#[test]
fn a_copy_that_failed_leaves_its_buffer_to_the_next() {
    let (_runtime, control, region, pool) = pool(1);
    let given = ([1; 64], [2; 64]);
    let blocks = Arc::new(Barrier::new(2));
    let both = blocks.clone();
    // While it is called the poller does nothing else.
    let blocker = FnWaker(move || {
        both.wait();
        both.wait();
    });
    let mut first = region.copy(0, 64, 64);
    assert!(poll_with(&mut first, &Arc::new(blocker).into()).is_pending());
    let other = region.copy(0, 128, 64).submit();
    let pool_given = (pool.clone(), region.clone());
    let failing = async move { pool_given.0.copy_from_slice(&given.0, &pool_given.1, 0).await };
    let failing = Arc::new(Mutex::new((failing.boxed(), None)));
    assert!(poll_once(&mut failing.lock().unwrap().0).is_pending());
    let mut next = pool.copy_from_slice(&given.1, &region, 192).boxed();
    assert!(poll_once(&mut next).is_pending());
    let tickets = control.wait_for_submitted(3);
    let polled = failing.clone();
    let poller = FnWaker(move || {
        let (copy, outcome) = &mut *polled.lock().unwrap();
        if let Poll::Ready(known) = poll_once(copy) {
            *outcome = Some(known);
        }
    });
    let mut other = other;
    assert!(poll_with(&mut other, &Arc::new(poller).into()).is_pending());
    control.complete(tickets[0].serial);
    blocks.wait();
    // The one that is reported last is answered first.
    control.fail(tickets[2].serial, READ_ERROR);
    control.complete(tickets[1].serial);
    blocks.wait();
    eventually("the outcome", || failing.lock().unwrap().1.is_some());
    let outcome = failing.lock().unwrap().1.take().unwrap();
    assert!(matches!(kind(outcome), ErrorKind::Device(_)));
    control.release();
    assert_eq!(block_on(next).unwrap(), 64);
    assert_eq!(bytes(&region, 192, 64), given.1);
    assert_eq!((pool.available(), control.violations()), (1, vec![]));
}

#[derive(Default)]
struct Count(AtomicU32);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

struct FnWaker<F>(F);

impl<F: Fn() + Send + Sync + 'static> Wake for FnWaker<F> {
    fn wake(self: Arc<Self>) {
        (self.0)();
    }
}

#[test]
fn the_crossover_is_measured() {
    let runtime = cpu(16);
    let crossover = block_on(measure(&runtime)).unwrap();
    let lengths: Vec<_> = crossover.points.iter().map(|point| point.bytes).collect();
    assert_eq!(lengths, (10..=22).map(|log2| 1 << log2).collect::<Vec<_>>());
    assert!(crossover.points.iter().all(|point| !point.mapped.is_zero()));
    assert!(crossover.bytes.is_none_or(|bytes| lengths.contains(&bytes)));
}
