//! What the suites share: runtimes on both engines, bytes to compare, futures polled by hand, and waiting
//! without sleeping.
#![allow(dead_code, reason = "each suite uses a part of it")]

use std::{
    fs,
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use dmaring::{Builder, Error, ErrorKind, Idle, Region, Runtime, Status, StatusKind};
use dmaring_cpu::CpuEngine;
use dmaring_manual::{Control, ManualBuilder, ManualEngine};

/// How long a wait lasts before it panics: far beyond any healthy test.
const PATIENCE: Duration = Duration::from_secs(60);

/// A deadline that no healthy test reaches.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// What a broken source looks like.
pub(crate) const READ_ERROR: Status = Status { kind: StatusKind::Read, bits: 0x100 };

/// What a destination looks like that the engine cannot write to; the CPU may.
pub(crate) const WRITE_ERROR: Status = Status { kind: StatusKind::Write, bits: 0x200 };

pub(crate) fn cpu(entries: u32) -> Runtime {
    Runtime::builder().engine(CpuEngine::new()).ring_entries(entries).build().unwrap()
}

/// A runtime on one manual engine that holds everything.
pub(crate) fn manual(entries: u32) -> (Runtime, Control) {
    manual_with(entries, ManualEngine::builder())
}

pub(crate) fn manual_with(entries: u32, engine: ManualBuilder) -> (Runtime, Control) {
    let (engine, control) = engine.build();
    let runtime = never_parking().engine(engine).ring_entries(entries).build().unwrap();
    (runtime, control)
}

/// A builder whose poller goes on turning, so that a test may wait for its turns, and which gives its core to
/// others between them.
pub(crate) fn never_parking() -> Builder {
    let idle = Idle::Adaptive { spin: Duration::ZERO, park_after: LONG };
    Runtime::builder().idle(idle)
}

pub(crate) fn bytes(region: &Region, offset: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    region.read_at(offset, &mut bytes).unwrap();
    bytes
}

/// Bytes that differ from their neighbours and from those of another `seed`.
pub(crate) fn pattern(seed: usize, length: usize) -> Vec<u8> {
    (0..length).map(|n| (n * 31 + n / 251 + seed * 97 + 1) as u8).collect()
}

/// A region of the runtime's own that begins with these bytes.
pub(crate) fn region_of(runtime: &Runtime, contents: &[u8]) -> Region {
    let region = runtime.allocate(contents.len()).unwrap();
    region.write_at(0, contents).unwrap();
    region
}

/// Polls a future once, with a waker that does nothing.
pub(crate) fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    poll_with(future, Waker::noop())
}

pub(crate) fn poll_with<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

/// What went wrong.
pub(crate) fn kind<T: std::fmt::Debug>(outcome: Result<T, Error>) -> ErrorKind {
    outcome.unwrap_err().kind()
}

/// Gives the processor to other threads until `condition` holds.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "{what}: not within {PATIENCE:?}");
        thread::yield_now();
    }
}

/// The states of the threads that opening a region started: what one allocates before it comes to rest, and
/// when it ends, is no operation's.
pub(crate) fn housekeepers() -> Vec<char> {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let stats = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("stat")).ok());
    stats.filter_map(|stat| stat.split_once("(dmaring-keeper) ")?.1.chars().next()).collect()
}
