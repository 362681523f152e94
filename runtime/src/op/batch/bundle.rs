//! The copies of a batch that go together, as the batch sees them: see [`crate::bundle`].

use std::{mem, ops::Range, sync::Arc};

use dmaring_ring::CompletionCode;

use super::{
    super::{
        future::Op,
        lists::{Held, Lists},
        outcome::decode,
        request::{Request, Work},
    },
    Batch, Submitted,
};
use crate::{
    bundle::Part,
    error::Error,
    handle::Handles,
    inflight::Ticket,
    region::{Cargo, Region},
};

/// A bundle that others can join, or none. Its operation has handles of both regions, so that no other region is where they are.
#[derive(Debug, Default)]
pub(super) struct Open {
    /// Which regions these are, and how many bytes they have: what is read from, and what is written to.
    ends: [(usize, u64); 2],
    /// The longest copy that may join, in bytes: no longer than either region. 0: there is no bundle.
    longest: u64,
    /// How many bytes its copies have together.
    bytes: u64,
}

impl Open {
    /// A copy that would be the next joins these, if it may.
    #[inline]
    pub(super) fn join(
        &mut self,
        lists: &mut Held,
        (source, destination): (&Region, &Region),
        (source_offset, destination_offset): (u64, u64),
        length: u64,
    ) -> bool {
        let [(from, readable), (to, writable)] = self.ends;
        let part = Part { source_offset, destination_offset, length };
        let joins = length.wrapping_sub(1) < self.longest
            && source_offset <= readable.wrapping_sub(length)
            && destination_offset <= writable.wrapping_sub(length)
            && source.0.address() == from
            && destination.0.address() == to
            && lists.peek_mut().is_some_and(|lists| lists.joined.try_push(part.words()).is_ok());
        if joins {
            self.bytes += length;
        }
        joins
    }
}

impl Batch {
    /// Adds a copy that joins no other: others may join it.
    #[inline(never)]
    pub(super) fn copy_first(
        &mut self,
        source: &Region,
        source_offset: u64,
        destination: &Region,
        destination_offset: u64,
        length: u64,
    ) {
        let part = Part { source_offset, destination_offset, length };
        if !self.begin_bundle(source, destination, part) {
            let source = Region(Handles::take(&mut self.sources, &source.0));
            let destination = Region(Handles::take(&mut self.destinations, &destination.0));
            self.push(source.into_copy(source_offset, destination, destination_offset, length));
        }
    }

    /// Begins a bundle with a copy. `false`: it cannot be part of one.
    fn begin_bundle(&mut self, source: &Region, destination: &Region, part: Part) -> bool {
        let (readable, writable) = (source.0.facts.length, destination.0.facts.length);
        let can_be = part.length.wrapping_sub(1) < self.bundled
            && readable < Part::END
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
        let Lists { operations, parts, joined, told, .. } = self.submitted.lists.get();
        self.open = Open {
            ends: [(source.0.address(), readable), (destination.0.address(), writable)],
            longest: self.bundled.min(readable).min(writable),
            bytes: part.length,
        };
        joined.push(part.words());
        let work = Work::Bundle { first: parts.len(), count: 1 };
        // Of handles at hand there would be all but one left over, and these wait for nothing.
        let (source, destination) = (Some(source.clone()), destination.clone());
        let cargo = Cargo { source, destination, segments: None };
        operations.push(Op::new(Request::new(work, part.destination_offset, part.length), cargo));
        told.left += 1;
        true
    }

    /// No other copy joins the operation that was put last.
    #[inline]
    pub(super) fn close_bundle(&mut self) {
        let Open { longest, bytes, .. } = &mut self.open;
        if mem::take(longest) == 0 {
            return;
        }
        let lists = self.submitted.lists.get();
        lists.told.left += lists.others();
        let Lists { operations, parts, joined, .. } = lists;
        if let Some(op) = operations.last_mut() {
            op.set(|request| request.be_bundle_of(joined.len(), *bytes));
        }
        parts.extend_from_slice(joined);
        joined.clear();
    }
}

impl Submitted {
    /// Notes how each copy of the first operation, a bundle, ended. It has its slot.
    #[cold]
    pub(super) fn tell_mixed(&mut self, places: Range<usize>, outcome: Result<Ticket, Error>) {
        let Lists { operations, parts, told, .. } = self.lists.get();
        let Some(parts) = parts.get(places) else { return };
        let ticket = match outcome {
            Ok(ticket) => ticket,
            Err(error) => return told.mixed.extend(parts.iter().map(|_| Err(error.again()))),
        };
        let key = operations.get(told.next).and_then(Op::key);
        let block = key.and_then(|key| self.shared.bundles.get(key.index));
        let block = block.filter(|_| ticket.entry().code() == CompletionCode::MIXED);
        told.mixed.extend(parts.iter().enumerate().map(|(place, part)| {
            let ticket = block.and_then(|block| block.told(place)).unwrap_or(ticket);
            decode(&Part::of_words(*part).request(), ticket)
        }));
    }
}
