//! The main job on both engines: copy, copy within, fill, fence, batch, and the errors of bad input.
#![cfg(not(loom))]

use dmaring::{Durability, ErrorKind, Runtime};
use dmaring_cpu::CpuEngine;
use futures::{StreamExt, executor::block_on};

const ENTRIES: u32 = if cfg!(miri) { 8 } else { 64 };

fn runtime() -> Runtime {
    Runtime::builder().engine(CpuEngine::new()).ring_entries(ENTRIES).build().unwrap()
}

fn bytes(region: &dmaring::Region, offset: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    region.read_at(offset, &mut bytes).unwrap();
    bytes
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n * 31 + n / 251) as u8).collect()
}

#[test]
fn a_copy_between_regions_arrives() {
    let runtime = runtime();
    let length = if cfg!(miri) { 300 } else { 3_000_001 };
    let src = runtime.allocate(length).unwrap();
    let dst = runtime.allocate(length + 10).unwrap();
    src.write_at(0, &pattern(length)).unwrap();
    let copied = block_on(src.copy_to(0, &dst, 7, length as u64)).unwrap();
    assert_eq!(copied, length as u64);
    assert_eq!(bytes(&dst, 7, length), pattern(length));
    assert_eq!(bytes(&dst, 0, 7), [0; 7]);
    assert_eq!(bytes(&dst, 7 + length as u64, 3), [0; 3]);
}

#[test]
fn copies_within_a_region_and_fills_arrive() {
    let runtime = runtime();
    let region = runtime.allocate(8192).unwrap();
    let length = if cfg!(miri) { 100 } else { 4000 };
    region.write_at(0, &pattern(length + 96)).unwrap();
    block_on(async {
        assert_eq!(region.copy(1, 4097, length as u64).await.unwrap(), length as u64);
        assert_eq!(region.fill(3, 11, 0x8877_6655_4433_2211).await.unwrap(), 11);
    });
    assert_eq!(bytes(&region, 4097, length), pattern(length + 96)[1..=length]);
    assert_eq!(
        bytes(&region, 3, 11),
        [0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x11, 0x22, 0x33]
    );
    assert_eq!(bytes(&region, 0, 3), pattern(3));
}

#[test]
fn a_fenced_chain_passes_a_value_from_place_to_place() {
    let runtime = runtime();
    let region = runtime.allocate(64 * 64).unwrap();
    region.write_at(0, &pattern(64)).unwrap();
    let mut batch = runtime.batch();
    let steps = if cfg!(miri) { 5 } else { 63 };
    for step in 0..steps {
        batch.push(region.copy(step * 64, (step + 1) * 64, 64).fence());
    }
    assert_eq!(block_on(batch.submit().all()).unwrap(), steps * 64);
    assert_eq!(bytes(&region, steps * 64, 64), pattern(64));
}

#[test]
fn a_batch_larger_than_the_ring_is_carried_out() {
    let runtime = runtime();
    let region = runtime.allocate(1 << 16).unwrap();
    let mut batch = runtime.batch();
    let count = u64::from(ENTRIES) * if cfg!(miri) { 2 } else { 8 };
    for n in 0..count {
        batch.push(region.fill(n * 16, 16, n));
    }
    assert_eq!(block_on(batch.submit().all()).unwrap(), count * 16);
    for n in 0..count {
        assert_eq!(bytes(&region, n * 16, 8), n.to_le_bytes());
    }
    let stats = runtime.stats();
    assert_eq!((stats.completed, stats.failed, stats.bytes), (count, 0, count * 16));
}

#[test]
fn a_batch_copies_as_its_regions_do() {
    let (runtime, stranger) = (runtime(), runtime());
    let [source, destination] = [(); 2].map(|()| runtime.allocate(64 * 64).unwrap());
    let foreign = stranger.allocate(64).unwrap();
    source.write_at(0, &pattern(64 * 64)).unwrap();
    let mut batch = runtime.batch();
    let count = if cfg!(miri) { 20 } else { 64 };
    for n in 0..count {
        batch.copy(&source, n * 64, &destination, (count - 1 - n) * 64, 64);
    }
    batch.copy(&source, 0, &destination, 64 * 64, 1);
    batch.copy(&source, 0, &source, 1, 2);
    batch.copy(&source, 0, &foreign, 0, 1);
    batch.copy(&foreign, 0, &foreign, 32, 1);
    batch.push(destination.copy_to(0, &source, 0, 0));
    let outcomes: Vec<_> = block_on(batch.submit().collect());
    let outcomes: Vec<_> =
        outcomes.into_iter().map(|outcome| outcome.map_err(|error| error.kind())).collect();
    let (copied, refused) = outcomes.split_at(count as usize);
    assert!(copied.iter().all(|outcome| *outcome == Ok(64)));
    let why =
        [ErrorKind::OutOfBounds, ErrorKind::Overlap, ErrorKind::Unmapped, ErrorKind::Unmapped];
    assert_eq!(refused, [why.map(Err).as_slice(), &[Ok(0)]].concat());
    for n in 0..count {
        assert_eq!(bytes(&destination, (count - 1 - n) * 64, 64), bytes(&source, n * 64, 64));
    }
}

#[test]
fn registered_memory_of_each_kind_is_a_region() {
    let runtime = runtime();
    let boxed: Box<[u8]> = pattern(100).into();
    let vector = runtime.register(vec![0u8; 100]).unwrap();
    let boxed = runtime.register(boxed).unwrap();
    assert_eq!(block_on(boxed.copy_to(0, &vector, 0, 100)).unwrap(), 100);
    assert_eq!(bytes(&vector, 0, 100), pattern(100));
}

#[test]
fn a_copy_of_nothing_is_done_at_once() {
    let runtime = runtime();
    let region = runtime.allocate(100).unwrap();
    assert_eq!(block_on(region.copy(0, 0, 0)).unwrap(), 0);
    assert_eq!(block_on(region.copy(100, 100, 0)).unwrap(), 0);
    assert_eq!(runtime.stats().submitted, 0);
}

#[test]
fn bad_ranges_are_refused_with_the_value_and_the_limit() {
    let runtime = runtime();
    let a = runtime.allocate(100).unwrap();
    let b = runtime.allocate(50).unwrap();
    let error = |copy: dmaring::Copy| block_on(copy).unwrap_err();
    let cases = [
        (
            error(a.copy_to(51, &b, 0, 50)),
            ErrorKind::OutOfBounds,
            "source range of 50 bytes at offset 51 reaches beyond the region's 100 bytes",
        ),
        (
            error(a.copy_to(0, &b, 1, 50)),
            ErrorKind::OutOfBounds,
            "destination range of 50 bytes at offset 1 reaches beyond the region's 50 bytes",
        ),
        (error(a.copy_to(u64::MAX, &b, 0, 2)), ErrorKind::OutOfBounds, "source range"),
        (error(a.copy(0, 49, 50)), ErrorKind::Overlap, "50 bytes from offset 0 to offset 49"),
        (error(a.copy(49, 0, 50)), ErrorKind::Overlap, "overlap"),
        (error(a.copy(7, 7, 1)), ErrorKind::Overlap, "overlap"),
    ];
    for (error, kind, text) in cases {
        assert_eq!(error.kind(), kind);
        assert!(error.to_string().contains(text), "{error}");
    }
    assert_eq!(block_on(a.copy(0, 50, 50)).unwrap(), 50, "neighbours do not overlap");
    let other = self::runtime();
    let foreign = other.allocate(100).unwrap();
    assert_eq!(error(a.copy_to(0, &foreign, 0, 10)).kind(), ErrorKind::Unmapped);
}

#[test]
fn after_the_end_operations_are_refused_and_memory_stays_readable() {
    let runtime = runtime();
    let region = runtime.allocate(100).unwrap();
    region.write_at(0, &pattern(100)).unwrap();
    drop(runtime);
    assert_eq!(block_on(region.copy(0, 50, 10)).unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(bytes(&region, 0, 100), pattern(100));
}

#[test]
fn futures_are_send_and_unpin() {
    fn check<T: Send + Unpin + 'static>(_: &T) {}
    let runtime = runtime();
    let region = runtime.allocate(100).unwrap();
    check(&region.copy(0, 50, 10));
    check(&region.fill(0, 50, 10));
    check(&runtime.batch().submit());
    fn handle<T: Send + Sync>(_: &T) {}
    handle(&runtime);
    handle(&region);
}

#[test]
fn a_chain_goes_on_only_after_success() {
    let runtime = runtime();
    let region = runtime.allocate(300).unwrap();
    region.write_at(0, &pattern(100)).unwrap();
    let chain =
        region.copy(0, 100, 100).then(region.copy(100, 200, 100)).then(region.fill(0, 1, 7));
    assert_eq!(block_on(chain).unwrap(), 1);
    assert_eq!(bytes(&region, 200, 100), pattern(100));
    let chain = region.copy(0, 250, 100).then(region.fill(0, 300, 0)).then(region.fill(0, 300, 0));
    let error = block_on(chain).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Aborted);
    assert!(error.to_string().starts_with("2 operations not begun"), "{error}");
    assert!(error.to_string().contains("beyond the region's 300 bytes"), "{error}");
    assert_eq!(bytes(&region, 200, 100), pattern(100), "nothing was written");
}

#[cfg(not(miri))]
#[test]
fn the_event_descriptor_becomes_readable_when_an_operation_has_ended() {
    use std::os::fd::AsFd;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    let runtime = runtime();
    let region = runtime.allocate(100).unwrap();
    let event = runtime.event_fd().unwrap();
    let readable = |timeout: PollTimeout| {
        poll(&mut [PollFd::new(event.as_fd(), PollFlags::POLLIN)], timeout).unwrap() == 1
    };
    assert!(!readable(PollTimeout::ZERO), "nothing has been submitted");
    let copy = region.copy(0, 50, 50).submit();
    assert!(readable(PollTimeout::from(30_000u16)));
    let mut count = [0; 8];
    assert_eq!(nix::unistd::read(event, &mut count).unwrap(), 8);
    assert!(!readable(PollTimeout::ZERO), "reading resets it");
    assert_eq!(futures::FutureExt::now_or_never(copy).unwrap().unwrap(), 50);
}

#[cfg(not(miri))]
#[test]
fn the_event_descriptor_becomes_readable_when_the_end_resolves_operations() {
    use std::{os::fd::AsFd, time::Duration};

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    let (engine, control) = dmaring_manual::ManualEngine::new();
    let runtime = Runtime::builder().engine(engine).ring_entries(2).build().unwrap();
    let region = runtime.allocate(100).unwrap();
    let event = runtime.event_fd().unwrap();
    let copy = region.copy(0, 50, 50).submit();
    control.wait_for_submitted(1);
    block_on(runtime.shutdown(Duration::ZERO)).unwrap_err();
    let readable = &mut [PollFd::new(event.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(readable, PollTimeout::from(30_000u16)).unwrap(), 1);
    assert_eq!(block_on(copy).unwrap_err().kind(), ErrorKind::Shutdown);
}

#[test]
fn an_operation_that_was_not_taken_can_be_tried_again() {
    let runtime = runtime();
    let region = runtime.allocate(100).unwrap();
    let mut copy = region.copy(0, 90, 50);
    for _ in 0..3 {
        let rejected = copy.try_submit().unwrap_err();
        assert_eq!(rejected.error.kind(), ErrorKind::OutOfBounds);
        copy = rejected.operation;
    }
    assert_eq!(block_on(copy).unwrap_err().kind(), ErrorKind::OutOfBounds);
}

#[test]
fn what_is_durable_arrives_like_anything_else() {
    let runtime = runtime();
    let region = runtime.allocate(8192).unwrap();
    assert_eq!(block_on(region.persist(..)).unwrap_err().kind(), ErrorKind::Volatile);
    region.assume_durability(Durability::NeedsFlush).unwrap();
    region.write_at(0, &pattern(100)).unwrap();
    let copy = region.copy(0, 4001, 100).durable();
    assert_eq!(block_on(copy.then(region.fill(3, 9, 7).fence().durable())).unwrap(), 9);
    assert_eq!(block_on(region.persist(3..=11)).unwrap(), 9);
    assert_eq!(bytes(&region, 4001, 100), pattern(100));
    let mut dropped = region.fill(0, 8192, 1).durable().submit();
    assert!(futures::FutureExt::now_or_never(&mut dropped).is_none_or(|done| done.is_ok()));
    drop((dropped, region));
    block_on(runtime.shutdown(std::time::Duration::from_secs(60))).unwrap();
}
