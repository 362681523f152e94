//! From a planned operation to one that can be submitted, and to what it does to the model.

use std::sync::Arc;

use dmaring::{Batch, Copy, Fill, OnError, Operation as AnyOperation, Region};

use super::{
    Player,
    task::{Mark, May, Outcomes},
};
use crate::{
    plan::{self, Manner, Operation, Work},
    region::{Bytes, Change},
};

/// An operation that is not submitted.
pub(super) enum Built {
    Copy(Copy),
    Fill(Fill),
}

/// What an operation writes.
enum Source<'a> {
    /// What the region has from an offset on.
    Region(&'a Region, u64),
    Pattern(u64),
}

impl Built {
    pub(super) fn map(
        self,
        copy: impl FnOnce(Copy) -> Copy,
        fill: impl FnOnce(Fill) -> Fill,
    ) -> Self {
        match self {
            Self::Copy(one) => Self::Copy(copy(one)),
            Self::Fill(one) => Self::Fill(fill(one)),
        }
    }
}

impl From<Built> for AnyOperation {
    fn from(built: Built) -> Self {
        match built {
            Built::Copy(copy) => copy.into(),
            Built::Fill(fill) => fill.into(),
        }
    }
}

/// The future of one operation, submitted in this manner.
pub(super) fn one(built: Built, manner: Manner) -> Outcomes {
    let built = match manner {
        Manner::Late => built,
        Manner::AtOnce => built.map(Copy::submit, Fill::submit),
        Manner::Trying => built.map(
            |copy| copy.try_submit().unwrap_or_else(|rejected| rejected.operation),
            |fill| fill.try_submit().unwrap_or_else(|rejected| rejected.operation),
        ),
    };
    match built {
        Built::Copy(copy) => Box::pin(async move { vec![copy.await] }),
        Built::Fill(fill) => Box::pin(async move { vec![fill.await] }),
    }
}

impl Player<'_> {
    pub(super) fn built(&self, operation: &Operation) -> Built {
        let (target, to) = self.target(operation);
        let length = operation.length;
        let mut built = match self.source(operation.work) {
            Source::Pattern(pattern) => Built::Fill(target.fill(to, length, pattern)),
            Source::Region(from, at) => Built::Copy(from.copy_to(at, target, to, length)),
        };
        if operation.fenced {
            built = built.map(Copy::fence, Fill::fence);
        }
        if let Some(timeout) = operation.timeout {
            built = built.map(|copy| copy.timeout(timeout), |fill| fill.timeout(timeout));
        }
        if let Some(on_error) = operation.on_error {
            built = built.map(|copy| copy.on_error(on_error), |fill| fill.on_error(on_error));
        }
        built
    }

    /// Puts an operation to a batch: a copy without options as a batch makes it.
    pub(super) fn put(&self, operation: &Operation, batch: &mut Batch) {
        let plain =
            !operation.fenced && operation.timeout.is_none() && operation.on_error.is_none();
        match self.source(operation.work) {
            Source::Region(from, at) if plain => {
                let (target, to) = self.target(operation);
                batch.copy(from, at, target, to, operation.length);
            }
            _ => batch.push(self.built(operation)),
        }
    }

    fn target(&self, operation: &Operation) -> (&Region, u64) {
        let region = self.regions[operation.to.region].region();
        (region, self.start(operation.to) + operation.offset)
    }

    fn source(&self, work: Work) -> Source<'_> {
        match work {
            Work::Source(from) => Source::Region(&self.life.source, from),
            Work::Lot(place, offset) => {
                let region = self.regions[place.region].region();
                Source::Region(region, self.start(place) + offset)
            }
            Work::Fill(pattern) => Source::Pattern(pattern),
        }
    }

    /// What an operation does, for when its end is known. `first`: that before it in a chain.
    pub(super) fn mark(&self, task: u64, operation: &Operation, first: Option<&Mark>) -> Mark {
        let length = operation.length as usize;
        let bytes = match (operation.work, first) {
            (_, Some(first)) => first.change.bytes.prefix(length),
            (Work::Source(from), _) => {
                Bytes::Source(Arc::clone(&self.life.source_bytes), from as usize, length)
            }
            (Work::Fill(pattern), _) => Bytes::Fill(pattern, length),
            (Work::Lot(place, offset), _) => {
                let at = (self.start(place) + offset) as usize;
                Bytes::Own(self.regions[place.region].model(at, length).to_vec())
            }
        };
        let reads = match operation.work {
            Work::Lot(place, _) => Some((place, self.regions[place.region].generation)),
            Work::Source(_) | Work::Fill(_) => None,
        };
        let engines = &self.life.plan.engines;
        let unless_told = if engines.cpu { OnError::RetryOnCpu } else { OnError::Fail };
        let policy = operation.on_error.or(self.life.plan.on_error).unwrap_or(unless_told);
        Mark {
            task,
            place: operation.to,
            generation: self.regions[operation.to.region].generation,
            change: Change { at: (self.start(operation.to) + operation.offset) as usize, bytes },
            reads,
            may: May {
                time_out: operation.timeout.is_some_and(|timeout| timeout < plan::GENEROUS),
                fail: engines.faulty && (policy == OnError::Fail || !engines.cpu),
            },
        }
    }
}
