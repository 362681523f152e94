//! A child after fork has the parent's handles and no business with them: they refuse to work there, give nothing
//! back, and leave the parent's alone.
#![cfg(all(not(loom), not(miri)))]

mod common;
#[path = "../../driver/tests/forking/mod.rs"]
mod forking;

use common::{LONG, bytes, cpu, eventually, kind, manual, pattern, region_of};
use dmaring::{ErrorKind, Runtime, Segment};
use dmaring_cpu::CpuEngine;
use forking::in_child;
use futures::{StreamExt, executor::block_on};

#[test]
fn handles_refuse_to_work_in_a_child() {
    let runtime = cpu(4);
    let region = region_of(&runtime, &pattern(1, 256));
    let other = runtime.allocate(256).unwrap();
    in_child(|| {
        let closed = |outcome| assert_eq!(kind(outcome), ErrorKind::Closed);
        closed(block_on(region.copy(0, 64, 64)));
        closed(block_on(region.fill(0, 64, 1).submit()));
        closed(region.copy(0, 64, 64).try_submit().map(|_| 0).map_err(|rejected| rejected.error));
        closed(region.read_at(0, &mut [0; 8]).map(|()| 0));
        closed(region.write_at(0, &[0; 8]).map(|()| 0));
        closed(runtime.allocate(64).map(|_| 0));
        closed(runtime.register(vec![0; 64]).map(|_| 0));
        closed(block_on(runtime.shutdown(LONG)).map(|()| 0));
        let mut batch = runtime.batch();
        batch.push(region.copy(0, 64, 64));
        closed(block_on(batch.submit().all()));
        // Two that go together.
        let mut batch = runtime.batch();
        (0..2).for_each(|n| batch.copy(&region, n * 8, &other, n * 8, 8));
        for outcome in block_on(batch.submit().collect::<Vec<_>>()) {
            closed(outcome);
        }
        let error = block_on(region.copy(0, 64, 64)).unwrap_err();
        assert!(error.to_string().contains("the process that forked this one"), "{error}");
    });
    assert_eq!(block_on(region.copy(0, 64, 64)).unwrap(), 64);
    assert_eq!(bytes(&region, 64, 64), pattern(1, 64));
    assert_eq!(runtime.stats().submitted, 1, "the child submitted nothing");
}

#[test]
fn what_a_child_drops_stays_the_parents() {
    let (runtime, control) = manual(2);
    let src = region_of(&runtime, &pattern(2, 256));
    let dst = runtime.allocate(256).unwrap();
    let running = src.copy_to(0, &dst, 0, 64).submit();
    let dropped = src.copy_to(64, &dst, 64, 64).submit();
    let waiting = src.copy_to(128, &dst, 128, 64).submit();
    let unsubmitted = src.copy_to(0, &dst, 192, 64);
    let vectored = || {
        let (source, destination, length) = (&src, &dst, 16);
        let (source_offset, destination_offset) = (16, 208);
        let segment = Segment { source, source_offset, destination, destination_offset, length };
        runtime.copy_vectored(&[segment])
    };
    // One list for each: what the child gives back would be seen.
    let lists = (vectored().submit(), vectored(), vectored());
    let mut batch = runtime.batch();
    batch.push(src.copy_to(0, &dst, 0, 64));
    control.wait_for_submitted(2);
    let mut all = Some((running, dropped, waiting, unsubmitted, lists, batch, src, dst, runtime));
    in_child(|| {
        let all = all.take().unwrap();
        let (running, dropped, waiting, unsubmitted, lists, batch, src, dst, runtime) = all;
        drop((dropped, unsubmitted, waiting));
        let (queued, idle, submitted) = lists;
        assert_eq!(kind(block_on(submitted)), ErrorKind::Closed);
        drop((queued, idle));
        assert_eq!(kind(block_on(batch.submit().all())), ErrorKind::Closed);
        drop(runtime.batch());
        drop((src, dst));
        drop(runtime);
        drop(running);
    });
    let (running, dropped, waiting, unsubmitted, lists, batch, src, dst, runtime) = all.unwrap();
    assert_eq!((control.submitted(), control.domain().live()), (2, 2));
    control.release();
    for copy in [running, dropped, waiting, unsubmitted] {
        assert_eq!(block_on(copy).unwrap(), 64);
    }
    for copy in [lists.0, lists.1, lists.2] {
        assert_eq!(block_on(copy).unwrap(), 16);
    }
    assert_eq!(block_on(batch.submit().all()).unwrap(), 64);
    assert_eq!(bytes(&dst, 0, 192), pattern(2, 192));
    assert_eq!(bytes(&dst, 192, 64), pattern(2, 64));
    drop((src, dst, runtime));
    eventually("the unmapping", || control.domain().live() == 0);
    assert_eq!(control.violations(), []);
}

#[test]
fn a_child_polls_nothing_of_the_parents() {
    let (runtime, control) = manual(2);
    let region = region_of(&runtime, &pattern(4, 256));
    let mut running = [region.copy(0, 64, 64).submit(), region.copy(0, 128, 64).submit()];
    let mut waiting = region.copy(0, 192, 64).submit();
    control.wait_for_submitted(2);
    in_child(|| {
        for copy in running.iter_mut().chain([&mut waiting]) {
            assert_eq!(kind(block_on(copy)), ErrorKind::Closed);
        }
    });
    control.release();
    for copy in running.into_iter().chain([waiting]) {
        assert_eq!(block_on(copy).unwrap(), 64);
    }
    assert_eq!(control.violations(), []);
    assert_eq!(runtime.stats().submitted, 3, "nothing was submitted twice");
}

#[test]
fn a_child_may_build_a_runtime_of_its_own() {
    let runtime = cpu(4);
    let region = runtime.allocate(128).unwrap();
    in_child(|| {
        let own = Runtime::builder().engine(CpuEngine::new()).build().unwrap();
        let mine = region_of(&own, &pattern(3, 128));
        assert_eq!(block_on(mine.copy(0, 64, 64)).unwrap(), 64);
        assert_eq!(bytes(&mine, 64, 64), pattern(3, 64));
        assert_eq!(kind(block_on(region.copy_to(0, &mine, 0, 8))), ErrorKind::Unmapped);
        block_on(own.shutdown(LONG)).unwrap();
    });
    assert_eq!(block_on(region.fill(0, 64, 1)).unwrap(), 64);
}
