//! Operations in steady state: always as many in flight, in places that are used again, and an executor that does
//! nothing but poll.

use std::{
    array, mem,
    task::Poll,
    thread::{self, available_parallelism},
};

use dmaring::{Copy, Region, Runtime, Segment, Submitted};
use futures::StreamExt;

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

    /// Awaits vectored copies and fenced fills, one after the other, spinning. Calls `warm` after the first ten of each.
    pub(crate) fn others(&self, runtime: &Runtime, mut warm: impl FnMut()) {
        let segments: [_; 40] = array::from_fn(|n| Segment {
            source: &self.source,
            source_offset: 0,
            destination: &self.destination,
            destination_offset: 4096 + n as u64 * 512,
            length: 512,
        });
        let fill = |n| self.destination.fill(0, 64, n);
        for round in 0..1000 {
            if round == 10 {
                warm();
            }
            assert_eq!(self.spin(&mut runtime.copy_vectored(&segments)).unwrap(), 40 * 512);
            assert_eq!(self.spin(&mut fill(round).fence()).unwrap(), 64);
        }
    }

    /// Awaits so many chains of two, spinning.
    pub(crate) fn chains(&self, count: u64) {
        let fill = |n| self.destination.fill(0, 64, n);
        for n in 0..count {
            let copy = self.source.copy_to(0, &self.destination, 64, 64);
            assert_eq!(self.spin(&mut fill(n).then(copy)).unwrap(), 64);
        }
    }

    fn spin<F: Future + Unpin>(&self, future: &mut F) -> F::Output {
        loop {
            match poll_once(future) {
                Poll::Ready(outcome) => return outcome,
                Poll::Pending if self.alone => thread::yield_now(),
                Poll::Pending => {}
            }
        }
    }

    /// Begins and ends batches of `size` fills and copies, alone and in rows, two of them under way at any time; every eighth is dropped instead. Calls
    /// `warm` after the first ten.
    pub(crate) fn batches(&self, runtime: &Runtime, size: u64, warm: impl FnOnce()) {
        let begin = || {
            let mut batch = runtime.batch();
            for n in 0..size {
                let at = n * 64;
                if n % 2 == 0 && n % 32 < 8 {
                    batch.push(self.destination.fill(at, 64, n));
                } else {
                    batch.copy(&self.source, at, &self.destination, at, 64);
                }
            }
            batch.submit()
        };
        let end = |mut batch: Submitted| {
            for _ in 0..size {
                assert_eq!(self.spin(&mut batch.next()).unwrap().unwrap(), 64);
            }
        };
        let (mut last, mut warm) = (begin(), Some(warm));
        for round in 0..1000 {
            if round == 10
                && let Some(warm) = warm.take()
            {
                warm();
            }
            let batch = mem::replace(&mut last, begin());
            if round % 8 == 7 {
                drop(batch);
            } else {
                end(batch);
            }
        }
        end(last);
    }
}

/// Whether the poller needs this thread's processor, so that both give it away in turn.
pub(crate) fn is_alone() -> bool {
    available_parallelism().is_ok_and(|count| count.get() == 1)
}
