//! One submitting thread: `depth` copies in flight, awaited in the order of their submission.
//!
//! The thread polls the oldest future until it is ready and never sleeps, so that a latency is that of the ring, the
//! poller and the engine, and has no wake-up by the kernel in it. After a while without news it lets other threads
//! have its CPU between two polls, for the machine may have fewer CPUs than there are threads.

use std::{
    collections::VecDeque,
    hint,
    pin::Pin,
    task::{Context, Poll, Waker},
    thread,
    time::Instant,
};

use dmaring::{Error, Region};

use super::{
    areas::Blocks,
    point::Done,
    shuffle::Shuffle,
    stopwatch::{Limits, Stopwatch},
};

/// Of how many small copies one is timed.
const STRIDE: u64 = 31;

/// After how many polls the thread gives up its CPU between polls.
const SPINS: u32 = 64;

/// What one thread copies.
#[derive(Debug)]
pub(super) struct Part<'a> {
    pub(super) source: &'a Region,
    pub(super) destination: &'a Region,
    /// Where its blocks begin, in both, in bytes.
    pub(super) begin: u64,
    pub(super) blocks: &'a Blocks,
    /// How many copies are in flight.
    pub(super) depth: usize,
}

/// Copies until the time is over. Nothing is in flight once this has returned.
///
/// # Errors
///
/// What the first copy that failed says.
pub(super) fn copy(part: &Part<'_>, limits: Limits) -> Result<Done, String> {
    let Part { source, destination, begin, blocks, depth } = *part;
    let size = blocks.size;
    let shuffle = Shuffle::new(blocks.count);
    let mut window = VecDeque::with_capacity(depth);
    let (mut copies, mut goes_on, mut failure) = (0, true, None);
    let mut stopwatch = Stopwatch::start(limits, size, STRIDE, Instant::now());
    loop {
        while goes_on && window.len() < depth {
            let at = begin + shuffle.block(copies) * size;
            let begun = stopwatch.begins().then(Instant::now);
            window.push_back((source.copy_to(at, destination, at, size).submit(), begun));
            copies += 1;
        }
        let Some((mut oldest, begun)) = window.pop_front() else { break };
        match (spin(&mut oldest), begun) {
            (Ok(_), Some(begun)) => goes_on &= stopwatch.ends_at(begun, Instant::now()),
            (Ok(_), None) => stopwatch.ends(),
            (Err(error), _) => {
                goes_on = false;
                failure.get_or_insert(error);
            }
        }
    }
    match failure {
        Some(error) => Err(error.to_string()),
        None => Ok(Done { measured: stopwatch.finish(), copies }),
    }
}

/// Polls until it is ready.
fn spin(future: &mut (impl Future<Output = Result<u64, Error>> + Unpin)) -> Result<u64, Error> {
    let mut context = Context::from_waker(Waker::noop());
    let mut polls = 0;
    loop {
        if let Poll::Ready(outcome) = Pin::new(&mut *future).poll(&mut context) {
            return outcome;
        }
        if polls < SPINS {
            polls += 1;
            hint::spin_loop();
        } else {
            thread::yield_now();
        }
    }
}
