//! Engines that keep what they have, among others: what is in pieces, and engines with threads of their own.

use dmaring::{Builder, EngineState, ErrorKind, Pollers, Region, Runtime, Segment, Striping};
use dmaring_engine::{Completion, Outcome};
use dmaring_manual::{Control, ManualEngine};
use futures::executor::block_on;

use crate::common::{
    READ_ERROR, bytes, eventually, kind, never_parking, pattern, poll_once, region_of,
};

const STRIPING: Striping = Striping { from: 8192, stripe: 4096 };

/// Two engines, of which the left one is taken first.
fn two(builder: Builder, depth: usize) -> (Runtime, Control, Control) {
    let (left, left_control) = ManualEngine::builder().name("left").depth(depth).build();
    let (right, right_control) = ManualEngine::builder().name("right").depth(depth).build();
    (builder.engine(left).engine(right).build().unwrap(), left_control, right_control)
}

fn lose(runtime: &Runtime, control: &Control, engine: usize) {
    control.set_stuck(Some(READ_ERROR));
    eventually("the loss", || runtime.stats().engines[engine].state == EngineState::Lost);
}

fn segments<'a>(source: &'a Region, destination: &'a Region, count: u64) -> Vec<Segment<'a>> {
    let segment = |n| Segment {
        source,
        source_offset: n * 64,
        destination,
        destination_offset: n * 64,
        length: 64,
    };
    (0..count).map(segment).collect()
}

#[test]
fn a_piece_in_a_lost_engine_makes_a_captive_of_the_whole() {
    for pollers in [Pollers::One, Pollers::PerEngine] {
        let builder = never_parking().ring_entries(16).striping(STRIPING).pollers(pollers);
        let (runtime, left, right) = two(builder, 16);
        let source = region_of(&runtime, &pattern(1, 1 << 20));
        let destination = runtime.allocate(1 << 20).unwrap();
        let striped = source.copy_to(0, &destination, 0, 1 << 20).submit();
        left.wait_for_submitted(2);
        right.wait_for_submitted(2);
        let fenced = source.copy_to(0, &destination, 0, 64).fence().submit();
        eventually("both", || runtime.stats().submitted == 2);
        lose(&runtime, &left, 0);
        let error = block_on(striped).unwrap_err();
        assert!(error.to_string().contains("may still write"), "{error}");
        assert_eq!(kind(block_on(fenced)), ErrorKind::EngineLost);
        // What the other engine has ends, and nothing more of the operation is begun.
        right.complete_all();
        right.wait_for_polls(50);
        assert_eq!((right.submitted(), runtime.stats().in_flight), (0, 1));
        right.release();
        assert_eq!(block_on(source.copy_to(0, &destination, 0, 64)).unwrap(), 64);
        assert!(left.domain().live() > 0);
        let held = (source, destination);
        left.set_stuck(None);
        left.complete_all();
        eventually("the release", || runtime.stats().in_flight == 0);
        block_on(runtime.restore_engine("left")).unwrap();
        left.release();
        let (source, destination) = held;
        assert_eq!(block_on(source.copy_to(0, &destination, 0, 1 << 20).fence()).unwrap(), 1 << 20);
        assert_eq!(bytes(&destination, 0, 1 << 20), pattern(1, 1 << 20));
        assert_eq!((left.violations(), right.violations()), (vec![], vec![]));
    }
}

/// More pieces than there may be at a time are with an engine that is lost. Others have their places.
#[test]
fn those_that_wait_for_a_place_for_a_piece_do_not_wait_for_a_lost_engine() {
    let builder = never_parking().ring_entries(64).striping(Striping::OFF);
    let (runtime, left, right) = two(builder, 2048);
    let source = region_of(&runtime, &pattern(2, 1 << 14));
    let destination = runtime.allocate(1 << 14).unwrap();
    let list = segments(&source, &destination, 256);
    // Every other one goes to the left engine; with it are as many pieces as there may be.
    let copies: Vec<_> = (0..16).map(|_| runtime.copy_vectored(&list).submit()).collect();
    eventually("all", || left.submitted() + right.submitted() == 1024);
    let in_left = left.submitted();
    assert!(in_left > 0);
    lose(&runtime, &left, 0);
    right.release();
    let (mut done, mut lost) = (0, 0);
    for copy in copies {
        match block_on(copy) {
            Ok(bytes) => done += usize::from(bytes == 256 * 64),
            Err(error) => lost += usize::from(error.kind() == ErrorKind::EngineLost),
        }
    }
    assert_eq!(done + lost, 16);
    assert_eq!(lost, in_left.div_ceil(256));
    assert_eq!(block_on(runtime.copy_vectored(&list)).unwrap(), 256 * 64);
    assert_eq!(runtime.stats().in_flight, lost as u64);
    left.complete_all();
    eventually("the release", || runtime.stats().in_flight == 0);
}

#[test]
fn an_engine_with_a_thread_that_was_stuck_is_brought_back() {
    let builder = never_parking().ring_entries(16).pollers(Pollers::PerEngine);
    let (runtime, left, right) = two(builder, 16);
    let region = region_of(&runtime, &pattern(3, 4096));
    let held = region.copy(0, 64, 64).submit();
    left.wait_for_submitted(1);
    lose(&runtime, &left, 0);
    assert_eq!(kind(block_on(held)), ErrorKind::EngineLost);
    assert_eq!(kind(block_on(runtime.restore_engine("left"))), ErrorKind::EngineLost);
    for _ in 0..20 {
        // Its thread may have said that it is stuck just before.
        left.set_stuck(Some(READ_ERROR));
        left.wait_for_polls(200);
        left.set_stuck(None);
        left.complete_all();
        block_on(runtime.restore_engine("left")).unwrap();
        assert_eq!(runtime.stats().engines[0].state, EngineState::Running);
        lose(&runtime, &left, 0);
    }
    right.release();
    assert_eq!(block_on(region.copy(0, 128, 64)).unwrap(), 64);
}

#[test]
fn an_engine_with_a_thread_that_tells_ends_twice_stops_nobody() {
    let builder = never_parking().ring_entries(64).pollers(Pollers::PerEngine);
    let (engine, control) = ManualEngine::builder().depth(4).build();
    let runtime = builder.engine(engine).build().unwrap();
    let region = region_of(&runtime, &pattern(4, 1 << 14));
    let mut held = region.copy(0, 64, 64).submit();
    let other = region.copy(0, 192, 64).submit();
    let ticket = control.wait_for_submitted(2)[1];
    control.complete(1);
    assert_eq!(block_on(other).unwrap(), 64);
    // More than the queue between the threads holds, and not all good.
    for outcome in [Outcome::Done, Outcome::NotRun, Outcome::Failed(READ_ERROR)].repeat(5) {
        control.forge(Completion { token: ticket.token, outcome });
    }
    eventually("the violations", || runtime.stats().violations == 15);
    assert!(poll_once(&mut held).is_pending(), "it is with the engine");
    control.complete(0);
    assert_eq!(block_on(held).unwrap(), 64);
    control.release();
    for n in 4..60 {
        assert_eq!(block_on(region.copy(0, n * 64, 64)).unwrap(), 64);
    }
    assert_eq!(runtime.stats().failed, 0);
}
