//! Making a vectored copy: every segment is checked, and all against each other, before anything begins.

use std::sync::Arc;

use super::{
    future::{CopyVectored, Op},
    request::{DEVICE_SOURCE, Request, Work},
};
use crate::{
    error::{Error, ErrorKind},
    region::{Cargo, Object, Region},
    segments::{MAX_LISTS, MAX_SEGMENTS, enlist},
    shared::Shared,
};

/// One piece of a vectored copy: a range of one region, and where it goes in another or the same.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// The region copied from.
    pub source: &'a Region,
    /// Where in it the first byte is read, in bytes.
    pub source_offset: u64,
    /// The region written to.
    pub destination: &'a Region,
    /// Where in it the first byte is written, in bytes.
    pub destination_offset: u64,
    /// How many bytes are copied; 0 are none, and no error.
    pub length: u64,
}

impl Segment<'_> {
    /// The most segments of one copy.
    pub const MAX: usize = MAX_SEGMENTS;
}

/// The copy of these segments, or one that resolves to why it is refused.
pub(crate) fn copy(shared: &Arc<Shared>, segments: &[Segment<'_>]) -> CopyVectored {
    match request(shared, segments) {
        Ok((request, cargo)) => CopyVectored::new(request, cargo),
        Err(outcome) => CopyVectored(Op::known(outcome)),
    }
}

fn request(
    shared: &Arc<Shared>,
    segments: &[Segment<'_>],
) -> Result<(Request, Cargo), Result<u64, Error>> {
    let length = check(shared, segments).map_err(Err)?;
    let Some(first) = segments.iter().find(|segment| segment.length > 0) else { return Err(Ok(0)) };
    let numbers = segments.iter().map(|segment| {
        let Segment { source, source_offset, destination, destination_offset, length } = *segment;
        (source, source_offset, destination, destination_offset, length)
    });
    let segments = enlist(shared, numbers).ok_or_else(|| {
        let message = format!(
            "{MAX_LISTS} vectored copies are unfinished or unclaimed, and there can be no more: await or drop some"
        );
        Err(Error::new(ErrorKind::LimitExceeded, message))
    })?;
    let request = Request::new(Work::Segments(segments.numbers()), 0, length);
    let cargo =
        Cargo { source: None, destination: first.destination.clone(), segments: Some(segments) };
    Ok((request, cargo))
}

/// Refuses what could never succeed, or whose outcome would depend on the order of the segments. Gives the bytes of all.
fn check(shared: &Arc<Shared>, segments: &[Segment<'_>]) -> Result<u64, Error> {
    shared.check_process()?;
    let count = segments.len();
    if count > MAX_SEGMENTS {
        let message =
            format!("{count} segments are more than the {MAX_SEGMENTS} of one copy: use several");
        return Err(Error::new(ErrorKind::LimitExceeded, message));
    }
    let mut total = 0u64;
    for (number, segment) in (0..).zip(segments) {
        segment.check(shared).map_err(|error| error.in_segment(number))?;
        total = total.checked_add(segment.length).ok_or_else(|| {
            Error::new(ErrorKind::LimitExceeded, "the segments have more than 2^64 - 1 bytes")
        })?;
    }
    check_apart(segments)?;
    Ok(total)
}

impl Segment<'_> {
    fn check(&self, shared: &Arc<Shared>) -> Result<(), Error> {
        let Self { source, source_offset, destination, destination_offset, length } = *self;
        let elsewhere = |region: &Region| !Arc::ptr_eq(&region.0.shared, shared);
        if elsewhere(source) || elsewhere(destination) {
            return Err(Error::new(
                ErrorKind::Unmapped,
                "a region belongs to a different runtime: open it in this one",
            ));
        }
        destination.check_range("destination", destination_offset, length)?;
        destination.check_writable()?;
        source.check_range("source", source_offset, length)?;
        if source.0.facts.host_reads && !shared.policy.has_cpu {
            return Err(Error::new(ErrorKind::Unsupported, DEVICE_SOURCE));
        }
        Ok(())
    }
}

/// A range of memory that a segment reads or writes.
#[derive(Clone, Copy, Debug)]
struct Extent {
    /// The memory, and where in it the first byte is.
    start: (Object, u64),
    end: u64,
    number: usize,
    written: bool,
}

/// Refuses segments of which one writes what another reads or writes.
///
/// Sorted by where they begin, ranges overlap if one begins before another has ended that came before it. Of those before
/// it is enough to know the two that reach furthest: of the written, and of all.
fn check_apart(segments: &[Segment<'_>]) -> Result<(), Error> {
    let nothing = Extent { start: (Object::NONE, 0), end: 0, number: 0, written: false };
    let mut extents = [nothing; 2 * MAX_SEGMENTS];
    let mut count = 0;
    for (number, segment) in segments.iter().enumerate().filter(|(_, one)| one.length > 0) {
        let read = segment.source.position(segment.source_offset);
        let write = segment.destination.position(segment.destination_offset);
        for (start, written) in [(read, false), (write, true)] {
            let end = start.1.saturating_add(segment.length);
            if let Some(extent) = extents.get_mut(count) {
                *extent = Extent { start, end, number, written };
                count += 1;
            }
        }
    }
    let extents = extents.get_mut(..count).unwrap_or_default();
    extents.sort_unstable_by_key(|extent| extent.start);
    let (mut furthest, mut furthest_written) = (nothing, nothing);
    for extent in extents.iter() {
        let before = if extent.written { &furthest } else { &furthest_written };
        if before.start.0 == extent.start.0 && extent.start.1 < before.end {
            return Err(overlap(before, extent));
        }
        let further = |known: &Extent| known.start.0 != extent.start.0 || known.end < extent.end;
        if further(&furthest) {
            furthest = *extent;
        }
        if extent.written && further(&furthest_written) {
            furthest_written = *extent;
        }
    }
    Ok(())
}

fn overlap(one: &Extent, other: &Extent) -> Error {
    let what = |extent: &Extent| if extent.written { "destination" } else { "source" };
    let message = format!(
        "the {} of segment {} and the {} of segment {} overlap: segments are copied in any order",
        what(one),
        one.number,
        what(other),
        other.number
    );
    Error::new(ErrorKind::Overlap, message)
}
