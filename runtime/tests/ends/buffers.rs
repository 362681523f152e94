//! Buffers of the application's: mapped once, and given back.
#![allow(unsafe_code, reason = "stands for applications with buffers of their own")]

use std::{fs::File, sync::Arc};

use dmaring::{ErrorKind, PinnedBuffer};
use futures::executor::block_on;
use memmap2::{MmapMut, MmapOptions};
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::common::{bytes, kind, manual, pattern};

/// Registers a buffer, copies within it, and takes it back.
fn round_trip<B: PinnedBuffer>(buffer: B, address: usize, length: usize) -> B {
    let (runtime, control) = manual(8);
    control.release();
    let region = runtime.register(buffer).unwrap();
    assert_eq!(region.len(), length as u64);
    assert_eq!(region.as_mut_ptr().unwrap().addr().get(), address, "pinned where it is");
    assert_eq!(control.domain().total(), 1, "mapped once");
    let half = length as u64 / 2;
    block_on(region.copy(0, half, half)).unwrap();
    block_on(region.copy(1, half, half - 1)).unwrap();
    assert_eq!(control.domain().total(), 1);
    let expected = bytes(&region, half, half as usize - 1);
    let clone = region.clone();
    let mut buffer = block_on(region.close_into::<B>()).unwrap();
    assert_eq!(control.domain().live(), 0);
    assert_eq!(buffer.as_mut_ptr().addr(), address);
    assert_eq!(kind(clone.read_at(0, &mut [0])), ErrorKind::Closed);
    assert_eq!(expected.len() as u64, half - 1);
    buffer
}

#[test]
fn every_kind_of_buffer_comes_back_with_what_was_written() {
    for length in [2, 100, 4096, 5001, 100_000] {
        let buffer = pattern(1, length);
        let address = buffer.as_ptr().addr();
        let buffer = round_trip(buffer, address, length);
        assert_eq!(buffer[length / 2], buffer[1], "the engine wrote to it");
        let buffer: Box<[u8]> = pattern(2, length).into();
        let address = buffer.as_ptr().addr();
        round_trip(buffer, address, length);
    }
    let buffer = MmapMut::map_anon(1 << 20).unwrap();
    let address = buffer.as_ptr().addr();
    round_trip(buffer, address, 1 << 20);
}

#[test]
fn memfds_and_huge_pages_do_too() {
    for flags in [MFdFlags::empty(), MFdFlags::MFD_HUGETLB | MFdFlags::MFD_HUGE_2MB] {
        let file = File::from(memfd_create("buffer", flags | MFdFlags::MFD_CLOEXEC).unwrap());
        file.set_len(4 << 20).unwrap();
        // SAFETY: nobody else has the file.
        let Ok(mut buffer) = (unsafe { MmapOptions::new().map_mut(&file) }) else {
            eprintln!("SKIPPED: no huge pages are free");
            continue;
        };
        buffer[1] = 77;
        let address = buffer.as_ptr().addr();
        let buffer = round_trip(buffer, address, 4 << 20);
        assert_eq!(buffer[2 << 20], 77);
    }
}

#[test]
fn asking_for_another_type_changes_nothing() {
    let (runtime, control) = manual(8);
    control.release();
    let region = runtime.register(vec![3; 4096]).unwrap();
    let error = block_on(region.close_into::<Box<[u8]>>()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("Box<[u8]>"), "{error}");
    block_on(region.copy(0, 64, 64)).unwrap();
    assert_eq!(block_on(region.close_into::<Vec<u8>>()).unwrap(), vec![3; 4096]);
    let region = runtime.allocate(64).unwrap();
    assert_eq!(kind(block_on(region.close_into::<Vec<u8>>())), ErrorKind::Unsupported);
}

/// A buffer that others may have, too, and that says so to nobody.
struct Shared(Arc<[std::sync::atomic::AtomicU8]>, std::ops::Range<usize>);

// SAFETY: the bytes do not move and are valid as long as the buffer; they are atomics, which nobody accesses.
unsafe impl PinnedBuffer for Shared {
    fn as_mut_ptr(&mut self) -> *mut u8 {
        self.0[self.1.start].as_ptr()
    }

    fn len(&self) -> usize {
        self.1.len()
    }
}

#[test]
fn bytes_that_are_registered_already_are_refused() {
    let (runtime, control) = manual(8);
    let memory: Arc<[_]> = (0..1000).map(|_| Default::default()).collect();
    let part = |range| Shared(memory.clone(), range);
    let middle = runtime.register(part(400..600)).unwrap();
    for range in [400..600, 0..1000, 599..700, 300..401, 450..460] {
        let error = runtime.register(part(range)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Busy);
        assert!(error.to_string().contains("registered already"), "{error}");
    }
    assert_eq!(control.domain().total(), 1);
    let beside =
        [runtime.register(part(0..400)).unwrap(), runtime.register(part(600..601)).unwrap()];
    assert_eq!(control.domain().live(), 3);
    drop(block_on(middle.close_into::<Shared>()).unwrap());
    let again = runtime.register(part(400..600)).unwrap();
    block_on(again.close()).unwrap();
    runtime.register(part(401..599)).unwrap();
    drop(beside);
}

/// A buffer whose destructor panics: the end comes all the same.
struct Bomb(Vec<u8>);

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("dropped");
    }
}

// SAFETY: as for the vector.
unsafe impl PinnedBuffer for Bomb {
    fn as_mut_ptr(&mut self) -> *mut u8 {
        self.0.as_mut_ptr()
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

#[test]
fn a_destructor_that_panics_does_not_keep_the_end() {
    let (runtime, _control) = manual(8);
    let region = runtime.register(Bomb(vec![0; 64])).unwrap();
    block_on(region.close()).unwrap();
}
