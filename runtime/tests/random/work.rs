//! One operation: what it reads and writes, and what stands for it while it is under way.

use std::{mem, ops::Range};

use dmaring::{Error, Submitted};
use futures::executor::block_on;

use crate::common::poll_once;

/// A range of one of the two regions, in bytes of the arena.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) region: usize,
    pub(crate) range: Range<u64>,
}

impl Place {
    pub(crate) fn meets(&self, other: &Self) -> bool {
        self.region == other.region
            && self.range.start < other.range.end
            && other.range.start < self.range.end
    }
}

/// What is written.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    Place(Place),
    Pattern(u64),
}

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    pub(crate) source: Source,
    pub(crate) destination: Place,
    pub(crate) fenced: bool,
}

impl Work {
    pub(crate) fn conflicts(&self, other: &Self) -> bool {
        self.destination.meets(&other.destination)
            || other.reads(&self.destination)
            || self.reads(&other.destination)
    }

    fn reads(&self, place: &Place) -> bool {
        matches!(&self.source, Source::Place(source) if source.meets(place))
    }
}

/// An operation of either kind.
pub(crate) enum Future {
    Copy(dmaring::Copy),
    Fill(dmaring::Fill),
}

impl Future {
    pub(crate) fn submit(self) -> Self {
        match self {
            Self::Copy(copy) => Self::Copy(copy.submit()),
            Self::Fill(fill) => Self::Fill(fill.submit()),
        }
    }

    pub(crate) fn try_submit(self) -> Result<Self, Self> {
        match self {
            Self::Copy(copy) => {
                copy.try_submit().map(Self::Copy).map_err(|rejected| Self::Copy(rejected.operation))
            }
            Self::Fill(fill) => {
                fill.try_submit().map(Self::Fill).map_err(|rejected| Self::Fill(rejected.operation))
            }
        }
    }

    pub(crate) fn forget(self) {
        mem::forget(self);
    }

    /// Whether it was done at once.
    pub(crate) fn poll(&mut self) -> bool {
        match self {
            Self::Copy(copy) => poll_once(copy).map(Result::unwrap).is_ready(),
            Self::Fill(fill) => poll_once(fill).map(Result::unwrap).is_ready(),
        }
    }
}

impl From<Future> for Held {
    fn from(future: Future) -> Self {
        match future {
            Future::Copy(copy) => Self::Copy(copy),
            Future::Fill(fill) => Self::Fill(fill),
        }
    }
}

/// What was submitted and not awaited.
pub(crate) enum Held {
    Copy(dmaring::Copy),
    Fill(dmaring::Fill),
    Batch(Submitted),
}

impl Held {
    pub(crate) fn wait(self) -> Result<u64, Error> {
        match self {
            Self::Copy(copy) => block_on(copy),
            Self::Fill(fill) => block_on(fill),
            Self::Batch(batch) => block_on(batch.all()),
        }
    }
}
