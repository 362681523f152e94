//! Durable operations with everything else that operations can be: fenced, chained, in batches, late, replayed.

use std::time::Duration;

use dmaring::{ErrorKind, ManualClock};
use dmaring_cpu::CpuEngine;
use dmaring_manual::ManualEngine;
use futures::executor::block_on;

use crate::{
    common::{LONG, READ_ERROR, bytes, eventually, kind, pattern, poll_once, region_of},
    recorder::{persistent, recording},
};

const LIMIT: Duration = Duration::from_millis(3);

#[test]
fn a_fence_waits_until_it_is_durable() {
    let (builder, recorder) = recording();
    let (engine, control) = ManualEngine::builder().build();
    let runtime = builder.engine(engine).build().unwrap();
    let region = persistent(&runtime, 4096);
    recorder.allow(0);
    let first = region.fill(0, 64, 1).durable().submit();
    let fenced = region.fill(64, 64, 2).fence().submit();
    let passes = region.fill(128, 64, 3).submit();
    control.wait_for_submitted(2);
    control.complete_all();
    recorder.wait_for_held();
    assert_eq!(block_on(passes).unwrap(), 64);
    control.wait_for_polls(100);
    assert_eq!(control.submitted(), 0, "the first is written, and not durable");
    recorder.release();
    control.wait_for_submitted(1);
    control.complete_all();
    assert_eq!((block_on(first).unwrap(), block_on(fenced).unwrap()), (64, 64));
}

#[test]
fn a_chain_goes_on_when_it_is_durable_and_a_persist_can_be_in_it() {
    let (builder, recorder) = recording();
    let runtime = builder.engine(CpuEngine::new()).build().unwrap();
    let region = persistent(&runtime, 4096);
    let chain = region.fill(0, 128, 1).durable().then(region.fill(128, 8, 2));
    assert_eq!(block_on(chain.then(region.persist(128..136))).unwrap(), 8);
    assert_eq!(recorder.take(&region), [0, 1, 2].into());
    assert_eq!(recorder.fences(), 2);
    let chain = region.persist(0..64).then(region.persist(0..5000)).then(region.fill(0, 8, 9));
    assert_eq!(kind(block_on(chain)), ErrorKind::Aborted);
    assert_eq!(bytes(&region, 0, 8), 1u64.to_le_bytes());
}

#[test]
fn a_batch_is_durable_as_a_whole() {
    let (builder, recorder) = recording();
    let runtime = builder.engine(CpuEngine::new()).ring_entries(8).build().unwrap();
    let region = persistent(&runtime, 1 << 20);
    let mut batch = runtime.batch();
    // More than the ring has places.
    (0..100).for_each(|n| batch.push(region.fill(n * 64, 64, n).durable()));
    batch.push(region.fill(100 * 64, 64, 100));
    batch.push(region.persist(200 * 64..201 * 64));
    assert_eq!(block_on(batch.submit().all()).unwrap(), 102 * 64);
    assert_eq!(recorder.take(&region), (0..100).chain([200]).collect());
}

#[test]
fn a_deadline_that_passes_while_it_is_written_back_is_told_and_the_rest_ends() {
    let clock = ManualClock::new();
    let (builder, recorder) = recording();
    let runtime = builder.engine(CpuEngine::new()).clock(clock.clone()).build().unwrap();
    let region = persistent(&runtime, 4096);
    recorder.allow(0);
    let mut late = region.fill(0, 64, 1).durable().timeout(LIMIT).submit();
    recorder.wait_for_held();
    assert!(poll_once(&mut late).is_pending());
    clock.advance(LIMIT);
    assert_eq!(kind(block_on(late)), ErrorKind::TimedOut);
    let stats = runtime.stats();
    assert_eq!((stats.timed_out, stats.failed, stats.in_flight), (1, 1, 1), "its place is taken");
    recorder.release();
    eventually("the end", || runtime.stats().in_flight == 0);
    let stats = runtime.stats();
    assert_eq!((stats.failed, stats.completed, stats.violations), (1, 0, 0));
    assert_eq!(recorder.take(&region), [0].into());
    let again = region.fill(0, 64, 1).durable().timeout(LONG);
    assert_eq!(block_on(again).unwrap(), 64);
}

#[test]
fn one_that_is_late_before_it_is_written_is_not_written_back() {
    let clock = ManualClock::new();
    let (engine, control) = ManualEngine::builder().build();
    let (builder, recorder) = recording();
    let runtime = builder.engine(engine).clock(clock.clone()).build().unwrap();
    let region = persistent(&runtime, 4096);
    let late = region.fill(0, 64, 1).durable().timeout(LIMIT).submit();
    control.wait_for_submitted(1);
    clock.advance(LIMIT);
    assert_eq!(kind(block_on(late)), ErrorKind::TimedOut);
    control.complete_all();
    eventually("the end", || runtime.stats().in_flight == 0);
    assert_eq!((recorder.lines(), recorder.fences()), (0, 0));
}

#[test]
fn one_that_failed_is_not_written_back_and_one_that_was_replayed_is_once() {
    let (engine, control) = ManualEngine::builder().streams_from(Some(64)).build();
    let (builder, recorder) = recording();
    let runtime = builder.engine(engine).build().unwrap();
    let source = region_of(&runtime, &pattern(1, 4096));
    let region = persistent(&runtime, 4096);
    let failed = source.copy_to(0, &region, 0, 128).durable().submit();
    let replayed = source.copy_to(0, &region, 1024, 128).durable().submit();
    let plain = source.copy_to(0, &region, 2048 + 8, 128).durable();
    let tickets = control.wait_for_submitted(2);
    control.fail_channel(tickets[0].serial, READ_ERROR);
    assert!(matches!(kind(block_on(failed)), ErrorKind::Device(_)));
    control.wait_for_submitted(1);
    control.complete_all();
    assert_eq!(block_on(replayed).unwrap(), 128);
    // What the engine had twice is written back whole, whatever the engine says of its stores.
    assert_eq!(recorder.take(&region), [16, 17].into());
    control.set_auto(true);
    assert_eq!(block_on(plain).unwrap(), 128);
    assert_eq!(recorder.take(&region), [32, 34].into(), "the line in the middle was streamed");
}
