//! A future with what is known of its operations.

use std::{future::Future, pin::Pin};

use dmaring::Error;

use crate::{
    plan::{Fate, Place},
    region::Change,
};

/// What operations said, in the order in which they were given.
pub(super) type Outcomes = Pin<Box<dyn Future<Output = Vec<Result<u64, Error>>> + Send>>;

/// A future.
pub(super) struct Task {
    pub(super) future: Outcomes,
    pub(super) marks: Vec<Mark>,
    /// It tells one outcome, of a chain.
    pub(super) chained: bool,
    pub(super) fate: Fate,
    /// The step at which it is dropped.
    pub(super) due: usize,
}

/// What an operation does where.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    /// The task that it is of.
    pub(super) task: u64,
    pub(super) place: Place,
    /// Of the region.
    pub(super) generation: u64,
    pub(super) change: Change,
    /// The lot that it reads, and the generation of its region.
    pub(super) reads: Option<(Place, u64)>,
    pub(super) may: May,
}

/// What may become of it besides success.
#[derive(Clone, Copy, Debug)]
pub(super) struct May {
    pub(super) time_out: bool,
    pub(super) fail: bool,
}

impl Task {
    /// For whoever looks for what does not end.
    pub(super) fn describe(&self) -> String {
        let operations = self.marks.iter().map(|mark| {
            let Mark { place, change, .. } = mark;
            format!("{} bytes to region {} at {}", change.bytes.len(), place.region, change.at)
        });
        let kind = if self.chained { "a chain: " } else { "" };
        format!("{kind}{}", operations.collect::<Vec<_>>().join(", "))
    }
}
