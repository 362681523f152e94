//! What a runtime that served files leaves behind: nothing. Alone in its process, whose descriptors it counts.
#![cfg(not(any(loom, miri)))]

mod staged;

use std::{
    fs,
    time::{Duration, Instant},
};

use dmaring::Runtime;
use dmaring_cpu::CpuEngine;
use dmaring_manual::ManualEngine;
use futures::executor::block_on;

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// The mappings of rings, buffers and io_urings.
fn mappings() -> usize {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines()
        .filter(|line| {
            line.contains("dmaring") && line.contains("memfd") || line.contains("io_uring")
        })
        .count()
}

fn threads() -> usize {
    fs::read_dir("/proc/self/task").unwrap().count()
}

/// Regions are given back by the housekeeper, which nobody waits for.
#[track_caller]
fn eventually(what: &str, expected: usize, now: impl Fn() -> usize) {
    let end = Instant::now() + Duration::from_secs(30);
    while now() != expected {
        assert!(Instant::now() < end, "{} {what}, not {expected}", now());
        std::thread::yield_now();
    }
}

#[test]
fn descriptors_mappings_and_threads_are_as_before() {
    let Some(directory) = staged::directory() else { return };
    let path = |name: &str| {
        let path = directory.path().join(name);
        fs::write(&path, vec![7; 300_000]).unwrap();
        path
    };
    let paths = (path("source"), path("destination"));
    let before = (descriptors(), mappings(), threads());
    for round in 0..12 {
        let (engine, control) = ManualEngine::new();
        let builder = Runtime::builder().file_blocks(4, 16 << 10);
        let by_hand = round % 4 == 1;
        let runtime =
            if by_hand { builder.engine(engine) } else { builder.engine(CpuEngine::new()) };
        let runtime = runtime.build().unwrap();
        let source = runtime.open_file(&paths.0).unwrap();
        let destination = runtime.open_file(&paths.1).unwrap();
        let open = descriptors();
        // A region's descriptors go with the region, not with the runtime.
        drop(runtime.open_file(&paths.0).unwrap());
        eventually("descriptors", open, descriptors);
        let copy = source.copy_to(1, &destination, 2, 299_000).submit();
        match round % 4 {
            0 => {
                assert!(
                    mappings() > before.1 && descriptors() > before.0 + 4,
                    "the control counts"
                );
                block_on(copy).unwrap();
            }
            1 => {
                control.wait_for_submitted(2);
                block_on(runtime.shutdown(Duration::ZERO)).unwrap_err();
                block_on(copy).unwrap_err();
            }
            2 => drop(copy),
            _ => {
                runtime.open_file("/nowhere").unwrap_err();
                block_on(copy).unwrap();
            }
        }
        drop(runtime);
        drop((source, destination));
        eventually("descriptors", before.0, descriptors);
        eventually("mappings", before.1, mappings);
        eventually("threads", before.2, threads);
    }
}
