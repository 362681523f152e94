//! The end of regions that operations in pieces name: segments that have not begun, stripes, and engines with threads.

use std::task::Poll;

use dmaring::{EngineState, ErrorKind, Pollers, Region, Runtime, Segment, Striping};
use dmaring_manual::{Control, ManualEngine};
use futures::{FutureExt, executor::block_on};

use crate::common::{
    READ_ERROR, bytes, eventually, kind, manual, never_parking, pattern, poll_once, region_of,
};

const LENGTH: usize = 4096;

/// Two regions to copy between, and two more.
fn regions(runtime: &Runtime) -> [Region; 4] {
    let source = |seed| region_of(runtime, &pattern(seed, LENGTH));
    let destination = || runtime.allocate(LENGTH).unwrap();
    [source(1), destination(), source(2), destination()]
}

fn segment<'a>(source: &'a Region, destination: &'a Region, at: u64) -> Segment<'a> {
    Segment { source, source_offset: at, destination, destination_offset: at, length: 64 }
}

/// A runtime on one engine that takes so few transfers that segments wait for their turn.
fn shallow(entries: u32) -> (Runtime, Control) {
    let (engine, control) = ManualEngine::builder().depth(2).build();
    let builder = never_parking().striping(Striping::OFF).ring_entries(entries);
    (builder.engine(engine).build().unwrap(), control)
}

/// The region stands in a segment that has not begun, and in no transfer: as the source, then as the destination.
#[test]
fn a_segment_that_has_not_begun_is_waited_for() {
    for end in [2, 3] {
        let (runtime, control) = shallow(16);
        let regions = regions(&runtime);
        let [source, destination, last_source, last] = &regions;
        let segments = [
            segment(source, destination, 0),
            segment(source, destination, 64),
            segment(source, destination, 128),
            segment(last_source, last, 0),
        ];
        let copy = runtime.copy_vectored(&segments).submit();
        control.wait_for_submitted(1);
        let mut close = regions[end].close().boxed();
        assert!(poll_once(&mut close).is_pending());
        control.wait_for_polls(200);
        assert!(poll_once(&mut close).is_pending(), "a segment is to come");
        assert_eq!(control.domain().live(), 4);
        // Later ones are refused, by the segment that names it.
        is_refused(runtime.copy_vectored(&segments), "segment 3: ");
        control.release();
        assert_eq!(block_on(copy).unwrap(), 4 * 64);
        block_on(close).unwrap();
        assert_eq!(control.domain().live(), 3);
        if end == 2 {
            assert_eq!(bytes(last, 0, 64), pattern(2, LENGTH)[..64]);
        }
        assert_eq!((control.violations(), runtime.stats().violations), (vec![], 0));
    }
}

/// At once: one that was taken is not waited for.
fn is_refused(
    mut operation: impl Future<Output = Result<u64, dmaring::Error>> + Unpin,
    segment: &str,
) {
    let Poll::Ready(outcome) = poll_once(&mut operation) else { panic!("it was taken") };
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    assert!(error.to_string().starts_with(segment), "{error}");
}

/// What counts is when it is submitted, while the end is waited for and after it.
#[test]
fn a_vectored_copy_that_was_made_before_and_is_submitted_later_is_refused() {
    for end in [2, 3] {
        let (runtime, control) = shallow(16);
        let regions = regions(&runtime);
        let [source, destination, last_source, last] = &regions;
        // Segments of no bytes name their regions as well.
        let none = Segment { length: 0, ..segment(last_source, last, 0) };
        let first = segment(source, destination, 0);
        let segments = [first, segment(last_source, last, 64), segment(source, destination, 128)];
        let make = |segments| runtime.copy_vectored(segments);
        let [during, tried, batched, chained, after] = [(); 5].map(|()| make(&segments));
        let without = make(&[first, none]);
        let holder = last_source.copy_to(0, last, 0, 64).submit();
        control.wait_for_submitted(1);
        let mut close = regions[end].close().boxed();
        assert!(poll_once(&mut close).is_pending());
        control.wait_for_polls(200);
        is_refused(during, "segment 1: ");
        is_refused(without, "segment 1: ");
        is_refused(tried.try_submit().unwrap_err().operation, "segment 1: ");
        let mut batch = runtime.batch();
        batch.push(batched);
        is_refused(batch.submit().all().boxed(), "segment 1: ");
        let chain = source.copy_to(0, destination, 0, 0).then(chained);
        is_refused(chain, "segment 1: ");
        assert_eq!(runtime.stats().submitted, 1, "none of them was taken");
        control.complete_all();
        block_on(close).unwrap();
        block_on(holder).unwrap();
        is_refused(after, "segment 1: ");
        assert_eq!((control.violations(), runtime.stats().violations), (vec![], 0));
    }
}

/// The whole of it waits for a place in the ring.
#[test]
fn a_vectored_copy_in_the_line_is_waited_for() {
    let (runtime, control) = shallow(2);
    let regions = regions(&runtime);
    let [source, destination, last_source, last] = &regions;
    let before: Vec<_> =
        (0..2).map(|n| source.copy_to(n, destination, n * 64, 64).submit()).collect();
    let segments = [segment(source, destination, 256), segment(last_source, last, 0)];
    let copy = runtime.copy_vectored(&segments).submit();
    let mut close = last_source.close().boxed();
    assert!(poll_once(&mut close).is_pending());
    control.wait_for_polls(200);
    assert!(poll_once(&mut close).is_pending(), "it was submitted before");
    control.release();
    assert_eq!(block_on(copy).unwrap(), 2 * 64);
    block_on(close).unwrap();
    for copy in before {
        block_on(copy).unwrap();
    }
    assert_eq!(bytes(last, 0, 64), pattern(2, LENGTH)[..64]);
    assert_eq!((control.domain().live(), control.violations()), (3, vec![]));
}

/// Stripes on several engines, with one thread for all and with one for each.
#[test]
fn stripes_that_have_not_begun_are_waited_for() {
    for pollers in [Pollers::One, Pollers::PerEngine] {
        let striping = Striping { from: 8192, stripe: 4096 };
        let builder = never_parking().striping(striping).pollers(pollers);
        let [(left, left_control), (right, right_control)] =
            ["left", "right"].map(|name| ManualEngine::builder().name(name).build());
        let runtime = builder.engine(left).engine(right).build().unwrap();
        let source = region_of(&runtime, &pattern(3, 1 << 20));
        let destination = runtime.allocate(1 << 20).unwrap();
        let copy = source.copy_to(0, &destination, 0, 1 << 20).submit();
        let controls = [left_control, right_control];
        controls.iter().for_each(|control| drop(control.wait_for_submitted(2)));
        let mut close = source.close().boxed();
        assert!(poll_once(&mut close).is_pending());
        for control in &controls {
            control.complete_all();
        }
        controls.iter().for_each(|control| drop(control.wait_for_submitted(2)));
        assert!(poll_once(&mut close).is_pending(), "most of it is to come");
        controls.iter().for_each(Control::release);
        block_on(close).unwrap();
        assert_eq!(block_on(copy).unwrap(), 1 << 20);
        assert!(bytes(&destination, 0, 1 << 20) == pattern(3, 1 << 20));
        for control in controls {
            assert_eq!((control.domain().live(), control.violations()), (1, vec![]));
        }
    }
}

/// A segment is with an engine that is lost. Its copy holds every region that it names, and none can end well before the engine
/// lets go; what no operation names can.
#[test]
fn every_region_of_a_captive_is_kept() {
    for pollers in [Pollers::One, Pollers::PerEngine] {
        let (engine, control) = ManualEngine::builder().build();
        let builder = never_parking().striping(Striping::OFF).pollers(pollers);
        let runtime = builder.engine(engine).build().unwrap();
        let [source, destination, last_source, last] = regions(&runtime);
        let segments = [segment(&source, &destination, 0), segment(&last_source, &last, 0)];
        let copy = runtime.copy_vectored(&segments).submit();
        control.wait_for_submitted(2);
        let other = runtime.allocate(64).unwrap();
        // Ends that have begun before learn it, too.
        let mut close = source.close().boxed();
        assert!(poll_once(&mut close).is_pending());
        control.set_stuck(Some(READ_ERROR));
        eventually("the loss", || runtime.stats().engines[0].state == EngineState::Lost);
        assert_eq!(kind(block_on(copy)), ErrorKind::EngineLost);
        assert_eq!(kind(block_on(close)), ErrorKind::EngineLost);
        assert_eq!(kind(block_on(last.close())), ErrorKind::EngineLost);
        assert_eq!(kind(block_on(last_source.replace_with_zeroes())), ErrorKind::EngineLost);
        block_on(other.close()).unwrap();
        assert_eq!(control.domain().live(), 4, "what it has is where it was");
        control.set_stuck(None);
        control.complete_all();
        block_on(runtime.restore_engine("manual")).unwrap();
        block_on(destination.close()).unwrap();
        assert_eq!((control.domain().live(), control.violations()), (3, vec![]));
    }
}

/// One engine is lost with a copy on the region. What another does there was submitted before, and is finished.
#[test]
fn what_is_not_with_the_lost_engine_is_waited_for() {
    let controls_and_engines =
        ["left", "right"].map(|name| ManualEngine::builder().name(name).depth(2).build());
    let mut builder = never_parking().striping(Striping::OFF);
    let controls = controls_and_engines.map(|(engine, control)| {
        builder = std::mem::take(&mut builder).engine(engine);
        control
    });
    let runtime = builder.build().unwrap();
    let [source, destination, _, _] = &regions(&runtime);
    let kept = source.copy_to(0, destination, 0, 64).submit();
    eventually("the first", || controls.iter().any(|control| control.submitted() == 1));
    let [lost, busy] = if controls[0].submitted() == 1 { [0, 1] } else { [1, 0] };
    let segments = [64, 128, 192].map(|at| segment(source, destination, at));
    let copy = runtime.copy_vectored(&segments).submit();
    controls[busy].wait_for_submitted(1);
    controls[lost].set_stuck(Some(READ_ERROR));
    assert_eq!(kind(block_on(kept)), ErrorKind::EngineLost);
    let mut close = destination.close().boxed();
    assert!(poll_once(&mut close).is_pending());
    controls[busy].wait_for_polls(200);
    assert!(poll_once(&mut close).is_pending(), "segments are to come");
    controls[busy].release();
    assert_eq!(block_on(copy).unwrap(), 3 * 64);
    assert_eq!(kind(block_on(close)), ErrorKind::EngineLost);
    is_refused(runtime.copy_vectored(&segments), "segment 0: ");
    assert_eq!(controls[lost].domain().live(), 4, "it may still write");
    controls[lost].set_stuck(None);
    controls[lost].complete_all();
    assert!(controls.iter().all(|control| control.violations().is_empty()));
}

/// An operation that a fence holds back is the poller's and has no transfer.
#[test]
fn what_a_fence_holds_back_is_waited_for() {
    let (runtime, control) = manual(16);
    let [source, destination, last_source, last] = regions(&runtime);
    let ahead = source.copy_to(0, &destination, 0, 64).submit();
    let segments = [segment(&last_source, &last, 0)];
    let fenced = runtime.copy_vectored(&segments).fence().submit();
    control.wait_for_submitted(1);
    let mut close = last.close().boxed();
    assert!(poll_once(&mut close).is_pending());
    control.wait_for_polls(200);
    assert!(poll_once(&mut close).is_pending());
    control.release();
    block_on(ahead).unwrap();
    assert_eq!(block_on(fenced).unwrap(), 64);
    block_on(close).unwrap();
    assert_eq!(control.violations(), []);
}
