//! Admission of vectored copies: every segment is checked before the first begins.

use dmaring_ring::SubmissionEntry;

use super::{
    APPLICATION,
    admit::{Admitted, range, refuse, retries},
    ops::{Failure, Plan, Source},
};
use crate::{
    op::{Refused, segment_offset},
    segments::MAX_SEGMENTS,
    shared::Shared,
};

/// Checks an entry that names a list of segments.
pub(super) fn admit_vectored(
    shared: &Shared,
    port: usize,
    entry: &SubmissionEntry,
) -> Result<Admitted, Failure> {
    let retries = retries(shared.policy, entry)?;
    if port != APPLICATION {
        return Err(refuse(Refused::Unsupported));
    }
    let mut total = 0u64;
    for number in 0..MAX_SEGMENTS {
        let Some(segment) = shared.segments.get(entry.source, number) else { break };
        let named = |failure| Failure { offset: segment_offset(number, 0), ..failure };
        let check =
            |region, offset| range(&shared.regions, region, offset, segment.length).map_err(named);
        if !check(segment.destination, segment.destination_offset)?.writable {
            return Err(named(refuse(Refused::Permission)));
        }
        check(segment.source, segment.source_offset)?;
        total = total.checked_add(segment.length).ok_or(refuse(Refused::Malformed))?;
    }
    // A list that is not there has no bytes.
    if total != entry.length {
        return Err(refuse(Refused::Malformed));
    }
    Ok(Admitted {
        plan: Plan {
            port,
            key: entry.key,
            source: Source::Segments(entry.source),
            destination: (entry.destination, 0),
            length: total,
            deadline: entry.deadline,
            retries,
        },
        fenced: entry.flags.contains(dmaring_ring::EntryFlags::FENCE),
        staged: false,
    })
}
