//! Admission of vectored copies: every segment is checked before the first begins.

use dmaring_ring::{EntryFlags, SubmissionEntry};

use super::{
    APPLICATION,
    admit::{Admitted, durable, range, reach, refuse, retries},
    ops::{Durable, Failure, Plan, Reach, Source},
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
    let is_durable = entry.flags.contains(EntryFlags::DURABLE);
    let mut total = 0u64;
    for number in 0..MAX_SEGMENTS {
        let Some(segment) = shared.segments.get(entry.source, number) else { break };
        let named = |failure| Failure { offset: segment_offset(number, 0), ..failure };
        let check =
            |region, offset| range(&shared.regions, region, offset, segment.length).map_err(named);
        let destination = check(segment.destination, segment.destination_offset)?;
        if !destination.writable {
            return Err(named(refuse(Refused::Permission)));
        }
        let source = check(segment.source, segment.source_offset)?;
        reach(shared.policy, Some(source), destination).map_err(named)?;
        if is_durable && segment.length > 0 {
            durable(&shared.regions, segment.destination, destination).map_err(named)?;
        }
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
            // Each segment has its own.
            reach: Reach::Memory,
            durable: if is_durable { Durable::Each } else { Durable::No },
        },
        fenced: entry.flags.contains(EntryFlags::FENCE),
        staged: false,
    })
}
