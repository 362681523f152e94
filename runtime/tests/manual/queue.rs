//! The queue for permits, the doorbell, and completions out of order.

use dmaring::ErrorKind;
use dmaring_manual::{ManualEngine, Recovery};
use futures::{executor::block_on, future::join_all};

use crate::common::{
    READ_ERROR, bytes, eventually, kind, manual, manual_with, pattern, poll_once, region_of,
};

#[test]
fn completions_in_reverse_resolve_the_right_futures() {
    let (runtime, control) = manual(16);
    let src = region_of(&runtime, &pattern(1, 10 * 64));
    let dst = runtime.allocate(10 * 64).unwrap();
    let mut copies: Vec<_> =
        (0..10).map(|n| src.copy_to(n * 64, &dst, n * 64, n + 1).submit()).collect();
    control.wait_for_submitted(10);
    for last in (0..10).rev() {
        assert!(poll_once(&mut copies[last]).is_pending());
        control.complete(last as u64);
        let copy = copies.pop().unwrap();
        assert_eq!(block_on(copy).unwrap(), last as u64 + 1);
        assert_eq!(
            bytes(&dst, last as u64 * 64, last + 1),
            bytes(&src, last as u64 * 64, last + 1)
        );
        assert!(copies.iter_mut().all(|copy| poll_once(copy).is_pending()));
    }
}

#[test]
fn a_full_ring_gives_the_operation_back() {
    let (runtime, control) = manual(2);
    let region = region_of(&runtime, &pattern(2, 512));
    let copy = |n: u64| region.copy(0, n * 64, 64);
    let running: Vec<_> = (1..3).map(|n| copy(n).try_submit().unwrap()).collect();
    control.wait_for_submitted(2);
    let rejected = copy(3).try_submit().unwrap_err();
    assert_eq!(rejected.error.kind(), ErrorKind::QueueFull);
    assert!(rejected.to_string().contains("ring_entries"), "{rejected}");
    let rejected = rejected.operation.try_submit().unwrap_err();
    control.complete_all();
    for copy in running {
        block_on(copy).unwrap();
    }
    let copy = rejected.operation.try_submit().unwrap();
    control.release();
    assert_eq!(block_on(copy).unwrap(), 64);
    assert_eq!(bytes(&region, 3 * 64, 64), pattern(2, 64));
    // What could never succeed is no matter of the ring.
    let rejected = region.copy(0, 1 << 20, 64).try_submit().unwrap_err();
    assert_eq!(rejected.error.kind(), ErrorKind::OutOfBounds);
}

#[test]
fn nobody_passes_the_queue() {
    let (runtime, control) = manual(2);
    let region = runtime.allocate(64 * 8).unwrap();
    let fill = |n: u64| region.fill(n * 64, 64, n);
    let mut fills: Vec<_> = (0..6).map(|n| fill(n).submit()).collect();
    control.wait_for_submitted(2);
    control.complete_next();
    block_on(fills.remove(0)).unwrap();
    // A place came home and went to the front of the queue: not to who comes now.
    assert_eq!(fill(6).try_submit().unwrap_err().error.kind(), ErrorKind::QueueFull);
    fills.push(fill(7).submit());
    for _ in 0..6 {
        control.wait_for_submitted(1);
        control.complete_next();
        block_on(fills.remove(0)).unwrap();
    }
    assert!(fills.is_empty());
    let expected: Vec<u64> = vec![0, 1, 2, 3, 4, 5, 0, 7];
    let found: Vec<_> = (0..8).map(|n| bytes(&region, n * 64, 8)).collect();
    assert_eq!(found, expected.iter().map(|n| n.to_le_bytes().to_vec()).collect::<Vec<_>>());
}

#[test]
fn the_queue_is_first_come_first_served() {
    let (runtime, control) = manual(2);
    let region = runtime.allocate(64 * 16).unwrap();
    let base = region.as_mut_ptr().unwrap().addr().get() as u64;
    // The last to be polled was the first to be submitted: polling has no say.
    let mut fills: Vec<_> = (0..12).map(|n| region.fill(n * 64, 64, n).submit()).collect();
    for fill in fills.iter_mut().rev() {
        assert!(poll_once(fill).is_pending());
    }
    let mut order = Vec::new();
    while order.len() < 12 {
        control.wait_for_submitted(1);
        let ticket = control.complete_next().unwrap();
        order.push((ticket.transfer.destination.get() - base) / 64);
    }
    assert_eq!(order, (0..12).collect::<Vec<_>>());
    for fill in fills {
        block_on(fill).unwrap();
    }
}

#[test]
fn what_waits_begins_though_nobody_polls() {
    let (runtime, control) = manual(2);
    let region = runtime.allocate(64 * 16).unwrap();
    let fills: Vec<_> = (0..10).map(|n| region.fill(n * 64, 64, n).submit()).collect();
    for served in 1..=10 {
        control.wait_for_submitted(1);
        control.complete_next();
        eventually("an end", || runtime.stats().completed == served);
    }
    assert!(block_on(join_all(fills)).into_iter().all(|outcome| outcome.unwrap() == 64));
}

#[test]
fn a_doorbell_rings_for_new_transfers_only_and_once_for_a_batch() {
    let (runtime, control) = manual_with(64, ManualEngine::builder().depth(64));
    let region = runtime.allocate(64 * 64).unwrap();
    control.wait_for_polls(10);
    assert_eq!(control.doorbells(), 0);
    let mut first = region.fill(0, 64, 1).submit();
    control.wait_for_submitted(1);
    assert_eq!(control.doorbells(), 1);
    control.wait_for_polls(10);
    assert_eq!(control.doorbells(), 1, "nothing was new");

    // The engine takes nothing until it has recovered, so that the whole batch stands ready by then.
    control.set_recovery(Recovery::Succeeds { steps: usize::MAX });
    control.fail_channel(0, READ_ERROR);
    let failure = kind(block_on(&mut first));
    assert!(matches!(failure, ErrorKind::Device(_)));
    let mut batch = runtime.batch();
    for n in 0..20 {
        batch.push(region.fill(n * 64, 64, n));
    }
    let batch = batch.submit();
    eventually("the batch", || runtime.stats().submitted == 21);
    control.set_recovery(Recovery::Succeeds { steps: 0 });
    control.wait_for_submitted(20);
    assert_eq!(control.doorbells(), 2);
    control.complete_all();
    assert_eq!(block_on(batch.all()).unwrap(), 20 * 64);
    assert_eq!(control.doorbells(), 2);
}
