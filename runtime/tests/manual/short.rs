//! Short operations, which an engine carries out where they are taken: told when they are visible, and only what is nothing else.

use std::time::Duration;

use dmaring::{Pollers, Region, Runtime};
use dmaring_cpu::CpuEngine;
use dmaring_manual::{Control, ManualEngine};
use futures::{executor::block_on, future::join_all};

use crate::common::eventually;

const LONGEST: u64 = 4096;
/// The first operations are all measured, and so are some of the later ones: those go the way of long ones.
const MEASURED: u64 = 200;

fn warm_up(region: &Region) {
    for _ in 0..MEASURED {
        block_on(region.fill(0, 8, 1)).unwrap();
    }
}

fn runtime() -> (Runtime, [Region; 2], Control) {
    let (engine, control) = ManualEngine::builder().at_once(LONGEST).build();
    let runtime = Runtime::builder().engine(engine).build().unwrap();
    let regions = [(); 2].map(|()| runtime.allocate(8192).unwrap());
    control.release();
    warm_up(&regions[0]);
    (runtime, regions, control)
}

#[test]
fn ends_are_told_when_the_engine_has_made_them_visible_and_all_are_counted() {
    let (runtime, [source, target], control) = runtime();
    let mut ended = MEASURED;
    for round in 0..300 {
        let count = 1 + round % 40;
        let copies = (0..count).map(|n| source.copy_to(n * 64, &target, n * 64, 64).submit());
        let outcomes = block_on(join_all(copies.collect::<Vec<_>>()));
        assert!(outcomes.into_iter().all(|outcome| outcome.is_ok()));
        assert_eq!(control.unsettled(), 0, "round {round}");
        ended += count;
    }
    assert!(control.run() > ended / 2, "most are carried out at once");
    let stats = runtime.stats();
    assert_eq!((stats.submitted, stats.completed, stats.failed), (ended, ended, 0));
    assert_eq!(stats.bytes, 8 * MEASURED + 64 * (ended - MEASURED));
    assert_eq!((stats.engines[0].transfers, stats.engines[0].bytes), (ended, stats.bytes));
    assert_eq!(control.violations(), []);
}

#[test]
fn what_asks_for_more_goes_the_way_of_all_others() {
    let (_runtime, [source, target], control) = runtime();
    let copy = |length| source.copy_to(0, &target, 0, length);
    let before = control.run();
    for _ in 0..5 {
        block_on(copy(64).fence()).unwrap();
        block_on(copy(64).timeout(Duration::from_secs(600))).unwrap();
        block_on(copy(LONGEST + 1)).unwrap();
        block_on(copy(8192)).unwrap();
    }
    assert_eq!(control.run(), before);
    // What is held by a fence does not hold those without one.
    control.hold();
    let long = copy(8192).submit();
    let fenced = copy(64).fence().submit();
    control.wait_for_submitted(1);
    let mut shorts = Vec::new();
    while control.run() == before {
        let held = control.submitted();
        shorts.push(copy(64).submit());
        eventually("its turn", || control.run() > before || control.submitted() > held);
    }
    assert_eq!(block_on(shorts.pop().unwrap()).unwrap(), 64);
    control.release();
    assert!(block_on(join_all([long, fenced])).into_iter().all(|outcome| outcome.is_ok()));
    assert!(block_on(join_all(shorts)).into_iter().all(|outcome| outcome.is_ok()));
    assert_eq!(control.violations(), []);
}

#[test]
fn an_engine_that_a_thread_of_its_own_drives_has_nothing_carried_out_at_once() {
    let (engine, control) = ManualEngine::builder().at_once(LONGEST).build();
    let builder = Runtime::builder().engine(engine).engine(CpuEngine::new());
    let runtime = builder.pollers(Pollers::PerEngine).build().unwrap();
    control.release();
    warm_up(&runtime.allocate(4096).unwrap());
    assert_eq!(control.run(), 0);
}

#[test]
fn bytes_arrive_at_every_length_and_offset() {
    let runtime = Runtime::builder().engine(CpuEngine::new()).build().unwrap();
    let (source, target) = (runtime.allocate(8192).unwrap(), runtime.allocate(8192).unwrap());
    warm_up(&source);
    let content: Vec<u8> = (0..8192u32).map(|at| (at % 251) as u8).collect();
    source.write_at(0, &content).unwrap();
    for length in (1..=LONGEST).step_by(61) {
        let (from, to) = (length % 67, length % 129);
        block_on(target.fill(0, 8192, 0)).unwrap();
        block_on(source.copy_to(from, &target, to, length)).unwrap();
        let mut found = vec![0; 8192];
        target.read_at(0, &mut found).unwrap();
        let mut expected = vec![0; 8192];
        let (start, end) = (to as usize, (to + length) as usize);
        expected[start..end].copy_from_slice(&content[from as usize..(from + length) as usize]);
        assert!(found == expected, "{length} bytes from {from} to {to}");
    }
}
