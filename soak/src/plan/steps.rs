//! What a thread that submits does, step by step.

use std::time::Duration;

use dmaring::OnError;
use fastrand::Rng;

use super::{Destination, Engines, Submitter, kind};

/// One step.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    One {
        operation: Operation,
        manner: Manner,
        fate: Fate,
    },
    Batch {
        operations: Vec<Operation>,
        fate: Fate,
    },
    /// The second copies what the first wrote, and begins only if that succeeded.
    Chain {
        operations: [Operation; 2],
        fate: Fate,
    },
    /// The thread itself writes a part of a lot.
    Write {
        to: Place,
        offset: u64,
        length: u64,
        seed: u64,
    },
    /// All that is running is waited for.
    Claim,
    /// A region is closed and another of its kind opened: once all on it has ended, or while it runs.
    Reopen {
        region: usize,
        settled: bool,
    },
}

impl Step {
    /// The operations of the step.
    #[cfg(test)]
    pub(crate) fn operations(&self) -> &[Operation] {
        match self {
            Self::One { operation, .. } => std::slice::from_ref(operation),
            Self::Batch { operations, .. } => operations,
            Self::Chain { operations, .. } => operations,
            Self::Write { .. } | Self::Claim | Self::Reopen { .. } => &[],
        }
    }
}

/// One operation.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) work: Work,
    pub(crate) to: Place,
    /// In the lot, in bytes.
    pub(crate) offset: u64,
    /// In bytes.
    pub(crate) length: u64,
    pub(crate) fenced: bool,
    pub(crate) timeout: Option<Duration>,
    pub(crate) on_error: Option<OnError>,
}

/// A lot of one of the thread's regions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) region: usize,
    pub(crate) lot: usize,
}

/// Where the bytes come from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Work {
    /// From this offset of the source.
    Source(u64),
    /// From a lot, at this offset.
    Lot(Place, u64),
    Fill(u64),
}

/// How an operation is submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// When it is first polled.
    Late,
    AtOnce,
    /// At once if there is a place, else when first polled.
    Trying,
}

/// What becomes of a future.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is awaited, after some more steps.
    Claimed,
    /// It is awaited at once.
    Awaited,
    /// It is polled so often and dropped.
    Dropped(u8),
    /// It is dropped so many steps later.
    DroppedLater(u8),
    /// It is kept, and not looked at before the runtime has ended.
    Kept,
    /// It is forgotten.
    Forgotten,
}

/// From here on a time limit is one that no healthy operation meets.
pub(crate) const GENEROUS: Duration = Duration::from_secs(60);
/// Regions of a thread.
const REGIONS: std::ops::RangeInclusive<usize> = 2..=3;

/// Draws what a thread does.
pub(super) fn submitter(
    random: &mut Rng,
    steps: usize,
    longest: u64,
    engines: &Engines,
    forgets: bool,
) -> Submitter {
    let regions: Vec<_> =
        (0..random.usize(REGIONS)).map(|_| destination(random, longest)).collect();
    let mut drawing = Drawing { random, regions: &regions, engines, longest, forgets };
    let steps = (0..steps).map(|_| drawing.step()).collect();
    Submitter { regions, steps }
}

fn destination(random: &mut Rng, longest: u64) -> Destination {
    let mut lots = Vec::new();
    for (count, most) in [(20, 600), (12, 9000), (4, 200_000), (1, longest)] {
        lots.extend((0..count).map(|_| random.u64(1..=most.min(longest))));
    }
    random.shuffle(&mut lots);
    // The first is for the fences by which the thread learns that all is over.
    lots.insert(0, 8);
    Destination { kind: kind(random), lots, seed: random.u64(..) }
}

struct Drawing<'a> {
    random: &'a mut Rng,
    regions: &'a [Destination],
    engines: &'a Engines,
    longest: u64,
    forgets: bool,
}

impl Drawing<'_> {
    fn step(&mut self) -> Step {
        match self.random.u8(..100) {
            0..=69 => {
                let place = self.place();
                let manner = match self.random.u8(..4) {
                    0 => Manner::Late,
                    1 => Manner::Trying,
                    _ => Manner::AtOnce,
                };
                Step::One { operation: self.operation(place), manner, fate: self.fate() }
            }
            70..=81 => {
                let operations = if self.random.bool() {
                    self.row()
                } else {
                    let places = self.places(8);
                    places.into_iter().map(|place| self.plain(place)).collect()
                };
                Step::Batch { operations, fate: self.fate() }
            }
            82..=88 => self.chain(),
            89..=93 => {
                let to = self.place();
                let (offset, length) = self.range(to);
                Step::Write { to, offset, length, seed: self.random.u64(..) }
            }
            94..=97 => Step::Claim,
            _ => {
                let region = self.random.usize(..self.regions.len());
                Step::Reopen { region, settled: self.random.bool() }
            }
        }
    }

    fn chain(&mut self) -> Step {
        let places = self.places(2);
        let [first, second] = places[..] else { return Step::Claim };
        let first = self.plain(first);
        let mut second = self.plain(second);
        second.length = second.length.min(first.length);
        second.work = Work::Lot(first.to, first.offset);
        // One that is forgotten would keep the second one's regions, which nobody has submitted.
        let fate = Some(self.fate()).filter(|fate| *fate != Fate::Forgotten).unwrap_or(Fate::Kept);
        Step::Chain { operations: [first, second], fate }
    }

    /// An operation that may copy from another lot.
    fn operation(&mut self, to: Place) -> Operation {
        let mut operation = self.plain(to);
        let from = self.place();
        if from != to && self.random.u8(..5) == 0 {
            let (at, most) = self.range(from);
            operation.length = operation.length.min(most);
            operation.work = Work::Lot(from, at);
        }
        operation
    }

    /// An operation that uses one lot.
    fn plain(&mut self, to: Place) -> Operation {
        let (offset, length) = self.range(to);
        let work = match self.random.u8(..8) {
            0 | 1 if self.engines.can_fill() => Work::Fill(self.random.u64(..)),
            _ => Work::Source(self.random.u64(..=self.longest)),
        };
        let timeout = match self.random.u8(..12) {
            0 => Some(Duration::from_micros(self.random.u64(..3000))),
            1 => Some(GENEROUS + Duration::from_secs(self.random.u64(..60))),
            _ => None,
        };
        let on_error = match self.random.u8(..8) {
            0 => Some(OnError::Fail),
            1 if self.engines.cpu => Some(OnError::RetryOnCpu),
            _ => None,
        };
        let fenced = self.random.u8(..12) == 0;
        Operation { work, to, offset, length, fenced, timeout, on_error }
    }

    /// Short copies to one region, which go in bundles, and now and then something else between them.
    fn row(&mut self) -> Vec<Operation> {
        let region = self.random.usize(..self.regions.len());
        let mut operations = Vec::new();
        for lot in 1..self.regions[region].lots.len() {
            let mut operation = self.plain(Place { region, lot });
            if self.random.u8(..24) > 0 {
                operation.work = Work::Source(self.random.u64(..=self.longest));
                operation.length = operation.length.min(self.random.u64(1..=1100));
                (operation.timeout, operation.on_error, operation.fenced) = (None, None, false);
            }
            operations.push(operation);
        }
        operations
    }

    fn fate(&mut self) -> Fate {
        match self.random.u8(..100) {
            0..=59 => Fate::Claimed,
            60..=71 => Fate::Awaited,
            72..=83 => Fate::Dropped(self.random.u8(..3)),
            84..=95 => Fate::DroppedLater(self.random.u8(1..12)),
            96 | 97 if self.forgets => Fate::Forgotten,
            _ => Fate::Kept,
        }
    }

    fn place(&mut self) -> Place {
        let region = self.random.usize(..self.regions.len());
        Place { region, lot: self.random.usize(1..self.regions[region].lots.len()) }
    }

    /// Some places, no two the same.
    fn places(&mut self, most: usize) -> Vec<Place> {
        let mut places = Vec::new();
        for _ in 0..self.random.usize(2..=most) {
            let place = self.place();
            if !places.contains(&place) {
                places.push(place);
            }
        }
        places
    }

    /// A part of a lot, of at least one byte.
    fn range(&mut self, place: Place) -> (u64, u64) {
        let lot = self.regions[place.region].lots[place.lot];
        let offset = if self.random.bool() { 0 } else { self.random.u64(..lot) };
        let length =
            if self.random.bool() { lot - offset } else { self.random.u64(1..=lot - offset) };
        (offset, length)
    }
}
