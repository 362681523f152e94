//! Staged files take as much memory for many bytes as for few.
#![cfg(not(any(loom, miri)))]
#![allow(clippy::print_stderr, reason = "a test that cannot run says so")]

mod staged;

use std::fs::{self, File};

use dmaring::Runtime;
use dmaring_cpu::CpuEngine;
use futures::executor::block_on;

use staged::directory;

const MIB: u64 = 1 << 20;
/// Of each copy.
const STEP: u64 = 64 * MIB;
/// The staging buffers.
const BLOCKS: (u32, u32) = (8, 512 << 10);

/// A line of the process's status, in bytes.
fn status(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    let kibibytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kibibytes * 1024
}

/// A sparse file of 1 TiB is a source, block by block, from its first bytes to its last: buffers are pinned once, and the
/// process's peak does not grow with what it copies.
#[test]
fn memory_is_bounded_by_the_staging_buffers_whatever_the_files_length() {
    let Some(directory) = directory() else { return };
    let path = directory.path().join("sparse");
    let length = 1 << 40;
    if let Err(error) = File::create(&path).unwrap().set_len(length) {
        eprintln!("SKIPPED: no sparse file of 1 TiB: {error}");
        return;
    }
    let pinned_before = status("VmPin:");
    let runtime = Runtime::builder()
        .engine(CpuEngine::new())
        .file_blocks(BLOCKS.0, BLOCKS.1)
        .build()
        .unwrap();
    let source = runtime.open_file_read_only(&path).unwrap();
    let destination = runtime.allocate(STEP as usize).unwrap();
    let copy = |offset: u64| {
        block_on(destination.fill(0, STEP, u64::MAX)).unwrap();
        assert_eq!(block_on(source.copy_to(offset, &destination, 0, STEP)).unwrap(), STEP);
        let mut last = [1; 8];
        destination.read_at(STEP - 8, &mut last).unwrap();
        assert_eq!(last, [0; 8]);
    };
    copy(0);
    let (pinned, peak) = (status("VmPin:"), status("VmHWM:"));
    assert_eq!(pinned - pinned_before, u64::from(BLOCKS.0) * u64::from(BLOCKS.1));
    let copies = 32;
    for n in 1..=copies {
        copy(length / copies * n - STEP);
    }
    assert_eq!(status("VmPin:"), pinned, "after 33 times as many bytes");
    let grown = status("VmHWM:") - peak;
    assert!(grown < 4 * MIB, "the peak grew by {grown} bytes");
    block_on(source.close()).unwrap();
    let error = block_on(source.copy_to(0, &destination, 0, STEP)).unwrap_err();
    assert_eq!(error.kind(), dmaring::ErrorKind::Closed);
}
