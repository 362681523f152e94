//! A process that can start no thread: errors, nothing left behind, and all is well when it can again.
#![cfg(all(not(loom), not(miri)))]

mod common;

use std::fs;

use common::never_parking;
use dmaring::{BuildError, ErrorKind, Runtime};
use dmaring_manual::ManualEngine;
use futures::executor::block_on;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// What is left to the process besides what it has: less than a thread's stack takes.
const SPARE: u64 = 1 << 20;

/// The only test of this process: the limit is the whole process's.
#[test]
fn a_thread_that_cannot_be_started_is_an_error_and_leaves_nothing_behind() {
    let (engine, control) = ManualEngine::new();
    let builder = never_parking().engine(engine).ring_entries(16);
    let error = without_threads(|| builder.build()).map(drop).unwrap_err();
    assert!(matches!(error, BuildError::Thread(_)), "{error:?}");
    assert!(error.to_string().contains("cannot start the poller's thread"), "{error}");
    assert!(control.dropped());

    // The poller runs, and the thread that comes with the first region is the one that cannot start.
    let (engine, control) = ManualEngine::new();
    let runtime = never_parking().engine(engine).ring_entries(16).build().unwrap();
    // A thread that begins takes memory of its own, and the process ends where there is none.
    control.wait_for_polls(1);
    let error = without_threads(|| runtime.register(vec![0u8; 64])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    assert!(error.to_string().contains("cannot start the housekeeper"), "{error}");
    assert_eq!(control.domain().live(), 0);

    control.release();
    assert_eq!(copied(&runtime), 64);
}

fn copied(runtime: &Runtime) -> u64 {
    let region = runtime.allocate(4096).unwrap();
    block_on(region.copy(0, 512, 64)).unwrap()
}

/// Runs `work` while the address space has no room for another stack.
fn without_threads<T>(work: impl FnOnce() -> T) -> T {
    let (soft, hard) = getrlimit(Resource::RLIMIT_AS).unwrap();
    let pages = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = pages.split(' ').next().unwrap().parse().unwrap();
    setrlimit(Resource::RLIMIT_AS, pages * 4096 + SPARE, hard).unwrap();
    let outcome = work();
    setrlimit(Resource::RLIMIT_AS, soft, hard).unwrap();
    outcome
}
