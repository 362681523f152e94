//! A whole runtime on the CPU engine, of whose rings somebody overwrites what a client of another process could:
//! the submission ring, its own end of the completion ring, and both flags.
//!
//! Nothing panics, the runtime ends in time, every future then has an outcome, and no thread is left. What a client
//! writes to the submission ring is an operation like any other, as far as its regions allow it; what the poller
//! writes, its clients believe.

mod mapping;

use std::{
    fs,
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use arbitrary::Unstructured;
use dmaring::{Copy, Region, Runtime};
use dmaring_cpu::CpuEngine;

use crate::numbers::{byte, number, word};
use mapping::RingWords;

/// How many calls an input makes at most.
const MOST_CALLS: usize = 256;

/// How long a runtime whose rings are overwritten may take to end.
const DEADLINE: Duration = Duration::from_millis(10);

/// Longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Bytes of a region.
const LENGTH: usize = 8192;

/// The words that a client writes: where in the header, in units of 8 bytes.
const CLIENTS: [usize; 4] = [128 / 8, 256 / 8, 512 / 8, 640 / 8];

/// The header's words; the submission slots begin behind them.
const HEADER: usize = 1024 / 8;

/// Does what the bytes say.
pub fn run(input: &[u8]) {
    let before = threads();
    let mut input = Unstructured::new(input);
    let entries = 2 << (byte(&mut input) % 3);
    let builder = Runtime::builder().engine(CpuEngine::new()).ring_entries(entries);
    let runtime = builder.build().expect("a runtime on the CPU");
    let words = RingWords::find();
    let regions = [(); 2].map(|()| runtime.allocate(LENGTH).expect("a few pages"));
    let mut bench =
        Bench { runtime, words, entries: entries as usize, regions, futures: Vec::new() };
    for _ in 0..MOST_CALLS {
        if input.is_empty() {
            break;
        }
        bench.call(&mut input);
    }
    bench.end();
    wait_for_threads(before);
}

struct Bench {
    runtime: Runtime,
    words: RingWords,
    entries: usize,
    regions: [Region; 2],
    futures: Vec<Copy>,
}

impl Bench {
    fn call(&mut self, input: &mut Unstructured<'_>) {
        match byte(input) % 8 {
            0 | 1 => self.copy(number(input), number(input), number(input)),
            2 => {
                let at = CLIENTS[usize::from(byte(input)) % CLIENTS.len()];
                self.overwrite(at, input);
            }
            3 | 4 => {
                let slot_words = self.entries * 8;
                let at = HEADER + usize::from(byte(input)) % slot_words;
                self.overwrite(at, input);
            }
            5 => self.entry(input),
            6 => self.futures.retain_mut(|future| poll(future).is_pending()),
            _ => {
                let count = usize::from(byte(input) % 4);
                self.futures.truncate(count);
            }
        }
    }

    fn copy(&mut self, from: u16, to: u16, length: u16) {
        let [source, destination] = &self.regions;
        let copy = source.copy_to(from.into(), destination, to.into(), length.into());
        if let Ok(copy) = copy.try_submit() {
            self.futures.push(copy);
        }
    }

    fn overwrite(&self, at: usize, input: &mut Unstructured<'_>) {
        let before = self.words.load(at);
        self.words.store(at, word(input, before));
    }

    /// Publishes an entry as a producer does, made of any words or of those of an earlier one.
    fn entry(&self, input: &mut Unstructured<'_>) {
        let tail = self.words.load(CLIENTS[0]);
        let slot = HEADER + (tail as usize & (self.entries - 1)) * 8;
        if self.words.load(slot + 7) != tail {
            return;
        }
        for at in slot..slot + 7 {
            if byte(input) & 1 != 0 {
                self.overwrite(at, input);
            }
        }
        self.words.store(CLIENTS[0], tail.wrapping_add(1));
        self.words.store(slot + 7, tail.wrapping_add(1));
    }

    fn end(mut self) {
        // Its outcome is the rings' affair: entries that nobody published may keep it from being clean.
        let _ = wait("shutdown", self.runtime.shutdown(DEADLINE));
        for future in self.futures.drain(..) {
            let _ = wait("a future", future);
        }
        drop(self.runtime);
    }
}

/// Waits until there are no more threads than `before`: the runtime's housekeeper ends after its last handle, and
/// nobody joins it.
///
/// LeakSanitizer tells threads by their numbers. Where one has the number of an earlier thread, since the system has
/// given out all it has, it finds the earlier one, which has ended, and takes for lost what the later one has.
fn wait_for_threads(before: usize) {
    let end = Instant::now() + PATIENCE;
    while threads() > before {
        assert!(Instant::now() < end, "a thread of the runtime: still there after {PATIENCE:?}");
        thread::yield_now();
    }
}

/// How many threads the process has. Its list of them may lack some while others end.
fn threads() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("a process has a status");
    let count = status.lines().find_map(|line| line.strip_prefix("Threads:"));
    count.and_then(|count| count.trim().parse().ok()).expect("a number of threads")
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// The outcome of a future that has one soon.
fn wait<F: Future>(what: &str, future: F) -> F::Output {
    let mut future = pin!(future);
    let end = Instant::now() + PATIENCE;
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return output;
        }
        assert!(Instant::now() < end, "{what}: pending after {PATIENCE:?}");
        thread::yield_now();
    }
}
