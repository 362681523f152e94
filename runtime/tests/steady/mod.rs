//! Operations in steady state: always as many in flight, in places that are used again, and an executor that does
//! nothing but poll.

use std::{
    task::Poll,
    thread::{self, available_parallelism},
};

use dmaring::{Copy, Region};

use crate::common::{LONG, poll_once};

/// How many operations are in flight.
pub(crate) const IN_FLIGHT: usize = 32;

/// The places of the operations in flight.
pub(crate) struct Steady {
    source: Region,
    destination: Region,
    places: Vec<Option<Copy>>,
    started: u64,
    alone: bool,
}

impl Steady {
    /// Between regions of at least 64 KiB.
    pub(crate) fn new(source: Region, destination: Region) -> Self {
        let places = (0..IN_FLIGHT).map(|_| None).collect();
        Self { source, destination, places, started: 0, alone: is_alone() }
    }

    /// Ends `count` operations and more, of 64 bytes to 4 KiB, and calls `each` after every one.
    pub(crate) fn run(&mut self, count: u64, mut each: impl FnMut()) {
        let mut ended = 0;
        while ended < count {
            for place in &mut self.places {
                let copy = place.get_or_insert_with(|| {
                    self.started += 1;
                    let (at, length) = (self.started % 8 * 4096, 64 << (self.started % 7));
                    let copy = self.source.copy_to(at, &self.destination, at + 1, length);
                    // Every second has a time limit, which it keeps.
                    if self.started.is_multiple_of(2) { copy.timeout(LONG) } else { copy }
                });
                if let Poll::Ready(outcome) = poll_once(copy) {
                    assert!(outcome.is_ok());
                    *place = None;
                    ended += 1;
                    each();
                }
            }
            if self.alone {
                thread::yield_now();
            }
        }
    }
}

/// Whether the poller needs this thread's processor, so that both give it away in turn.
pub(crate) fn is_alone() -> bool {
    available_parallelism().is_ok_and(|count| count.get() == 1)
}
