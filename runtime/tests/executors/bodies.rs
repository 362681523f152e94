//! The main job, as one application after another would ask for it.

use std::time::Duration;

use dmaring::ErrorKind;
use futures::{
    StreamExt,
    future::{Either, join, join_all, ready, select},
    stream::FuturesUnordered,
};

use super::Spawner;
use crate::common::{LONG, READ_ERROR, bytes, cpu, kind, manual, pattern, region_of};

pub(super) async fn main_job() {
    let runtime = cpu(16);
    let src = region_of(&runtime, &pattern(1, 100_000));
    let dst = runtime.allocate(200_000).unwrap();
    assert_eq!(src.copy_to(11, &dst, 5, 99_000).await.unwrap(), 99_000);
    assert_eq!(bytes(&dst, 5, 99_000), pattern(1, 100_000)[11..99_011]);
    assert_eq!(dst.fill(100_000, 1000, 0x0101_0101_0101_0101).await.unwrap(), 1000);
    assert_eq!(bytes(&dst, 100_000, 1000), [1; 1000]);

    let first = dst.fill(150_000, 64, u64::MAX).submit();
    let second = dst.copy(150_000, 160_000, 64).fence().submit();
    let third = dst.copy(160_000, 170_000, 64).fence();
    assert_eq!(third.await.unwrap(), 64);
    assert_eq!(bytes(&dst, 170_000, 64), [0xff; 64]);
    assert_eq!(join(first, second).await.0.unwrap(), 64);

    let mut batch = runtime.batch();
    for n in 0..100 {
        batch.push(src.copy_to(n * 10, &dst, n * 20, 10));
    }
    let outcomes: Vec<_> = batch.submit().collect().await;
    assert_eq!(outcomes.len(), 100);
    assert!(outcomes.into_iter().all(|outcome| outcome.unwrap() == 10));
    for n in 0..100 {
        assert_eq!(bytes(&dst, n * 20, 10), bytes(&src, n * 10, 10));
    }
}

pub(super) async fn many_at_a_time() {
    let runtime = cpu(8);
    let src = region_of(&runtime, &pattern(2, 64 * 500));
    let dst = runtime.allocate(64 * 500).unwrap();
    let mut copies: FuturesUnordered<_> =
        (0..500).map(|n| src.copy_to(n * 64, &dst, (499 - n) * 64, 64)).collect();
    let mut total = 0;
    while let Some(outcome) = copies.next().await {
        total += outcome.unwrap();
    }
    assert_eq!(total, 64 * 500);
    for n in 0..500 {
        assert_eq!(bytes(&dst, (499 - n) * 64, 64), bytes(&src, n * 64, 64));
    }
}

pub(super) async fn loser_of_a_select() {
    let (runtime, control) = manual(16);
    let src = region_of(&runtime, &pattern(3, 256));
    let dst = runtime.allocate(256).unwrap();
    let slow = src.copy_to(0, &dst, 0, 64).submit();
    let fast = src.copy_to(64, &dst, 64, 64).submit();
    control.wait_for_submitted(2);
    let (Either::Left((outcome, loser)) | Either::Right((outcome, loser))) =
        join(select(slow, fast), async { control.complete(1) }).await.0;
    assert_eq!(outcome.unwrap(), 64);
    assert_eq!(bytes(&dst, 0, 128), [vec![0; 64], pattern(3, 256)[64..128].to_vec()].concat());
    drop(loser);
    // What the future gave up, the engine still finishes: a fence tells when.
    let fenced = dst.fill(128, 8, 7).fence();
    let (fenced, ()) = join(fenced, async { control.release() }).await;
    assert_eq!(fenced.unwrap(), 8);
    assert_eq!(bytes(&dst, 0, 64), pattern(3, 64));

    // A timeout that has run out.
    control.hold();
    let copy = src.copy_to(0, &dst, 192, 64);
    let Either::Right(((), copy)) = select(copy, ready(())).await else { panic!("it is held") };
    control.wait_for_submitted(1);
    drop(copy);
    control.complete_all();
    assert_eq!(control.violations(), []);
}

pub(super) async fn errors_are_outcomes() {
    let (runtime, control) = manual(16);
    let region = region_of(&runtime, &pattern(4, 256));
    assert_eq!(kind(region.copy(200, 0, 100).await), ErrorKind::OutOfBounds);
    assert_eq!(kind(region.copy(0, 10, 100).await), ErrorKind::Overlap);
    let (failed, fine) = (region.copy(0, 64, 64), region.copy(128, 192, 64));
    let ((failed, fine), ()) = join(join(failed, fine), async {
        control.wait_for_submitted(2);
        control.fail(0, READ_ERROR);
        control.complete_all();
    })
    .await;
    let ErrorKind::Device(device) = kind(failed) else { panic!("not a device error") };
    assert_eq!((device.status, device.source_offset), (READ_ERROR, Some(0)));
    assert_eq!(fine.unwrap(), 64);
    runtime.shutdown(LONG).await.unwrap();
    assert_eq!(kind(region.copy(0, 64, 64).await), ErrorKind::Closed);
}

pub(super) async fn shutdown_drains() {
    let (runtime, control) = manual(16);
    let src = region_of(&runtime, &pattern(5, 640));
    let dst = runtime.allocate(640).unwrap();
    let copies: Vec<_> = (0..10).map(|n| src.copy_to(n * 64, &dst, n * 64, 64).submit()).collect();
    control.wait_for_submitted(10);
    let (ended, ()) = join(runtime.shutdown(LONG), async {
        assert_eq!(kind(src.copy(0, 64, 64).await), ErrorKind::Closed);
        control.release();
    })
    .await;
    ended.unwrap();
    for outcome in join_all(copies).await {
        assert_eq!(outcome.unwrap(), 64);
    }
    assert_eq!(bytes(&dst, 0, 640), pattern(5, 640));
    assert!(control.halted());
    runtime.shutdown(LONG).await.unwrap();
}

pub(super) async fn shutdown_gives_up() {
    let (runtime, control) = manual(16);
    let src = runtime.allocate(640).unwrap();
    let copies: Vec<_> = (0..5).map(|n| src.fill(n * 64, 64, n).submit()).collect();
    control.wait_for_submitted(5);
    let (ended, outcomes) = join(runtime.shutdown(Duration::ZERO), join_all(copies)).await;
    assert_eq!(kind(ended), ErrorKind::TimedOut);
    assert!(outcomes.into_iter().all(|outcome| kind(outcome) == ErrorKind::Shutdown));
    assert!(control.halted());
}

pub(super) async fn tasks_share_a_runtime<E: Spawner>() {
    let runtime = cpu(4);
    let dst = runtime.allocate(8 * 50 * 16).unwrap();
    let tasks = (0..8u64).map(|task| {
        let dst = dst.clone();
        E::spawn(async move {
            let mut written = 0;
            for n in 0..50 {
                let place = (task * 50 + n) * 16;
                written += dst.fill(place, 16, place).await.unwrap();
            }
            written
        })
    });
    let written: u64 = join_all(tasks).await.into_iter().sum();
    assert_eq!(written, 8 * 50 * 16);
    for place in (0..8 * 50 * 16).step_by(16) {
        assert_eq!(bytes(&dst, place, 8), place.to_le_bytes());
    }
}
