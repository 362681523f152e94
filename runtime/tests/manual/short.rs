//! Short operations, which an engine carries out where they are taken: told when they are visible, and only what is nothing else.

use std::time::Duration;

use dmaring::{ErrorKind, Region, Runtime};
use dmaring_cpu::CpuEngine;
use dmaring_manual::{Control, ManualEngine};
use futures::{executor::block_on, future::join_all};

const LONGEST: u64 = 4096;

fn runtime() -> (Runtime, [Region; 2], Control) {
    let (engine, control) = ManualEngine::builder().at_once(LONGEST).build();
    let runtime = Runtime::builder().engine(engine).build().unwrap();
    let regions = [(); 2].map(|()| runtime.allocate(8192).unwrap());
    control.release();
    (runtime, regions, control)
}

#[test]
fn ends_are_told_when_the_engine_has_made_them_visible_and_all_are_counted() {
    let (runtime, [source, target], control) = runtime();
    let mut ended = 0;
    for round in 0..300 {
        let count = 1 + round % 40;
        let copies = (0..count).map(|n| source.copy_to(n * 64, &target, n * 64, 64).submit());
        let outcomes = block_on(join_all(copies.collect::<Vec<_>>()));
        assert!(outcomes.into_iter().all(|outcome| outcome.is_ok()));
        assert_eq!(control.unsettled(), 0, "round {round}");
        ended += count;
    }
    assert_eq!(control.run(), ended);
    let stats = runtime.stats();
    assert_eq!((stats.submitted, stats.completed, stats.failed), (ended, ended, 0));
    assert_eq!((stats.bytes, stats.engines[0].bytes), (64 * ended, 64 * ended));
    assert_eq!(stats.engines[0].transfers, ended);
    assert_eq!(control.violations(), []);
}

#[test]
fn their_times_are_measured_like_those_of_others_and_all_are_stood_for_once() {
    let (runtime, [source, target], control) = runtime();
    // The first 64 are measured each; none of them takes another way for it.
    let copy = |length| block_on(source.copy_to(0, &target, 0, length)).unwrap();
    for count in 1..=64 {
        copy(if count % 2 == 0 { 64 } else { 8192 });
        let stats = runtime.stats();
        assert_eq!((stats.latency.count(), stats.engines[0].latency.count()), (count, count));
    }
    assert_eq!(control.run(), 32);
    for _ in 0..1000 {
        copy(64);
        copy(8192);
    }
    let stats = runtime.stats();
    assert!(stats.completed.abs_diff(stats.latency.count()) < 128, "{:?}", stats.latency.count());
    assert!(stats.latency.count() <= stats.completed);
    assert_eq!(control.run(), 1032);
}

#[test]
fn what_asks_for_more_goes_the_way_of_all_others() {
    let (_runtime, [source, target], control) = runtime();
    let copy = |length| source.copy_to(0, &target, 0, length);
    for _ in 0..5 {
        block_on(copy(64).fence()).unwrap();
        block_on(copy(64).timeout(Duration::from_secs(600))).unwrap();
        block_on(copy(LONGEST + 1)).unwrap();
        block_on(copy(8192)).unwrap();
    }
    assert_eq!(control.run(), 0);
    // What is held by a fence does not hold those without one.
    control.hold();
    let long = copy(8192).submit();
    let fenced = copy(64).fence().submit();
    control.wait_for_submitted(1);
    assert_eq!(block_on(copy(64)).unwrap(), 64);
    assert_eq!((control.run(), control.submitted()), (1, 1));
    control.release();
    assert!(block_on(join_all([long, fenced])).into_iter().all(|outcome| outcome.is_ok()));
    assert_eq!(control.violations(), []);
}

#[test]
fn an_engine_that_does_not_fill_is_not_asked_to() {
    let (engine, control) = ManualEngine::builder().at_once(LONGEST).fill(false).build();
    let runtime = Runtime::builder().engine(engine).build().unwrap();
    let region = runtime.allocate(4096).unwrap();
    let refused = block_on(region.fill(0, 64, 1)).unwrap_err();
    assert_eq!((refused.kind(), control.run()), (ErrorKind::Unsupported, 0));
    assert_eq!(block_on(region.copy(0, 64, 64)).unwrap(), 64);
    assert_eq!(control.run(), 1);
}

#[test]
fn bytes_arrive_at_every_length_and_offset() {
    let runtime = Runtime::builder().engine(CpuEngine::new()).build().unwrap();
    let room = 1 << 20;
    let (source, target) = (runtime.allocate(room).unwrap(), runtime.allocate(room).unwrap());
    let content: Vec<u8> = (0..room as u32).map(|at| (at % 251) as u8).collect();
    source.write_at(0, &content).unwrap();
    let parts = [64 << 10, 256 << 10, 512 << 10].into_iter().flat_map(|part| part - 1..=part + 1);
    for length in (1..=LONGEST).step_by(7).chain(parts) {
        let (from, to) = (length % 67, length % 129);
        block_on(target.fill(0, room as u64, 0)).unwrap();
        block_on(source.copy_to(from, &target, to, length)).unwrap();
        let mut found = vec![0; room];
        target.read_at(0, &mut found).unwrap();
        let mut expected = vec![0; room];
        let (start, end) = (to as usize, (to + length) as usize);
        expected[start..end].copy_from_slice(&content[from as usize..(from + length) as usize]);
        assert!(found == expected, "{length} bytes from {from} to {to}");
    }
}
