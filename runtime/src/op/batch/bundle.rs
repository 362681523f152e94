//! The copies of a batch that go together, as the batch sees them: see [`crate::bundle`].

use std::{ops::Range, sync::Arc};

use dmaring_ring::CompletionCode;

use super::{
    super::{
        future::Op,
        lists::Lists,
        outcome::decode,
        request::{Request, Work},
    },
    Batch, Submitted,
};
use crate::{
    bundle::{MOST, Part},
    error::Error,
    handle::Handles,
    inflight::Ticket,
    region::{Cargo, Region},
};

/// A bundle that others can join. Its operation has handles of both regions, so that no other region is where they are.
#[derive(Debug)]
pub(super) struct Open {
    /// Which regions these are, and how many bytes they have: what is read from, and what is written to.
    ends: [(usize, u64); 2],
    /// The longest copy that may join, in bytes.
    longest: u64,
    /// Its first copy, by its place in the list.
    first: usize,
}

impl Open {
    /// Whether a copy that would stand at this place of the list joins.
    #[inline]
    pub(super) fn takes(
        &self,
        place: usize,
        (source, destination): (&Region, &Region),
        part: &Part,
    ) -> bool {
        let [(from, readable), (to, writable)] = self.ends;
        let within = |offset: u64, most: u64| {
            most.checked_sub(part.length).is_some_and(|last| offset <= last)
        };
        place - self.first < MOST
            && source.0.address() == from
            && destination.0.address() == to
            && part.length.wrapping_sub(1) < self.longest
            && within(part.source_offset, readable)
            && within(part.destination_offset, writable)
    }

    /// The copies that are in it.
    fn parts<'a>(&self, parts: &'a [Part]) -> &'a [Part] {
        parts.get(self.first..).unwrap_or_default()
    }

    /// How many copies are in it besides the first.
    pub(super) fn others(&self, parts: &[Part]) -> usize {
        self.parts(parts).len().saturating_sub(1)
    }
}

impl Batch {
    /// Adds a copy that joins no other: others may join it.
    #[inline(never)]
    pub(super) fn copy_first(&mut self, source: &Region, destination: &Region, part: Part) {
        if !self.begin_bundle(source, destination, part) {
            let source = Region(Handles::take(&mut self.sources, &source.0));
            let destination = Region(Handles::take(&mut self.destinations, &destination.0));
            let Part { source_offset, destination_offset, length } = part;
            self.push(source.into_copy(source_offset, destination, destination_offset, length));
        }
    }

    /// Begins a bundle with a copy. `false`: it cannot be part of one.
    fn begin_bundle(&mut self, source: &Region, destination: &Region, part: Part) -> bool {
        let can_be = part.length.wrapping_sub(1) < self.bundled
            && source.0.facts.length < Part::END
            && source.has_plain(part.source_offset, part.length)
            && destination.has_plain(part.destination_offset, part.length)
            && destination.0.facts.writable
            && ![source, destination].iter().any(|region| region.0.facts.staged)
            && source.is_apart_from(destination)
            && Arc::ptr_eq(&self.submitted.shared, &source.0.shared);
        if !can_be {
            return false;
        }
        self.close_bundle();
        let first = self.submitted.lists.parts.len();
        let ends = [source, destination].map(|region| (region.0.address(), region.0.facts.length));
        self.open = Some(Open { ends, longest: self.bundled, first });
        // Of handles at hand there would be all but one left over, and these wait for nothing.
        let (source, destination) = (Some(source.clone()), destination.clone());
        let cargo = Cargo { source, destination, segments: None };
        let work = Work::Bundle { first, count: 1 };
        let request = Request::new(work, part.destination_offset, part.length);
        let Lists { operations, parts, .. } = &mut self.submitted.lists;
        operations.push(Op::new(request, cargo));
        parts.push(part);
        self.submitted.left += 1;
        true
    }

    /// No other copy joins the operation that was put last.
    #[inline]
    pub(super) fn close_bundle(&mut self) {
        let Some(open) = self.open.take() else { return };
        let Submitted { lists: Lists { operations, parts, .. }, left, .. } = &mut self.submitted;
        *left += open.others(parts);
        let parts = open.parts(parts);
        let (count, length) = (parts.len(), parts.iter().map(|part| part.length).sum());
        if let Some(op) = operations.last_mut() {
            op.set(|request| request.be_bundle_of(count, length));
        }
    }
}

impl Submitted {
    /// Notes how each copy of the first operation, a bundle, ended. It has its slot.
    #[cold]
    pub(super) fn tell_mixed(&mut self, places: Range<usize>, outcome: Result<Ticket, Error>) {
        let Self { shared, lists: Lists { operations, parts, .. }, next, mixed, .. } = self;
        let Some(parts) = parts.get(places) else { return };
        let ticket = match outcome {
            Ok(ticket) => ticket,
            Err(error) => return mixed.extend(parts.iter().map(|_| Err(error.again()))),
        };
        let key = operations.get(*next).and_then(Op::key);
        let block = key.and_then(|key| shared.bundles.get(key.index));
        let block = block.filter(|_| ticket.entry().code() == CompletionCode::MIXED);
        mixed.extend(parts.iter().enumerate().map(|(place, part)| {
            let ticket = block.and_then(|block| block.told(place)).unwrap_or(ticket);
            decode(&part.request(), ticket)
        }));
    }
}
