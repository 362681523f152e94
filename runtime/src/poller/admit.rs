//! Admission: from a ring entry to an operation whose every range is checked.
//!
//! The application's own entries were checked before they were pushed. These checks are the ones that count:
//! whoever wrote the entry, nothing reaches an engine that they did not pass.

use dmaring_ring::{CompletionCode, EntryFlags, Key, Opcode, SubmissionEntry};

use super::ops::{Failure, Plan, Source};
use crate::{
    op::{OnError, Policy, Refused},
    region::table::{RegionFacts, RegionTable},
};

/// An entry that passed.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) plan: Plan,
    pub(super) fenced: bool,
    /// A file served through staging buffers takes part.
    pub(super) staged: bool,
}

/// What an entry may ask of this poller, besides an operation.
const KNOWN: EntryFlags =
    EntryFlags::FENCE.union(EntryFlags::FAIL_ON_ERROR).union(EntryFlags::RETRY_ON_CPU);
const POLICIES: EntryFlags = EntryFlags::FAIL_ON_ERROR.union(EntryFlags::RETRY_ON_CPU);

/// Checks an entry from `port`.
pub(super) fn admit(
    regions: &RegionTable,
    policy: Policy,
    port: usize,
    entry: &SubmissionEntry,
) -> Result<Admitted, Failure> {
    let retries = retries(policy, entry)?;
    let destination = range(regions, entry.destination, entry.destination_offset, entry.length)?;
    if !destination.writable {
        return Err(refuse(Refused::Permission));
    }
    let (source, source_staged) = match entry.opcode {
        Opcode::COPY => {
            let facts = range(regions, entry.source, entry.source_offset, entry.length)?;
            (Source::Region(entry.source, entry.source_offset), facts.staged)
        }
        Opcode::FILL => (Source::Pattern(entry.source_offset), false),
        _ => return Err(refuse(Refused::Unsupported)),
    };
    Ok(Admitted {
        plan: Plan {
            port,
            key: entry.key,
            source,
            destination: (entry.destination, entry.destination_offset),
            length: entry.length,
            deadline: entry.deadline,
            retries,
        },
        fenced: entry.flags.contains(EntryFlags::FENCE),
        staged: source_staged || destination.staged,
    })
}

/// Checks what entries of all kinds have. Gives whether what fails is done again by the CPU.
pub(super) fn retries(policy: Policy, entry: &SubmissionEntry) -> Result<bool, Failure> {
    if !KNOWN.contains(entry.flags) || entry.flags.contains(POLICIES) || entry.length == 0 {
        return Err(refuse(Refused::Malformed));
    }
    if entry.flags.contains(EntryFlags::FAIL_ON_ERROR) {
        Ok(false)
    } else if !entry.flags.contains(EntryFlags::RETRY_ON_CPU) {
        Ok(policy.on_error == OnError::RetryOnCpu)
    } else if policy.has_cpu {
        Ok(true)
    } else {
        Err(refuse(Refused::NoCpu))
    }
}

/// The region that `key` names, if the range lies within it.
pub(super) fn range(
    regions: &RegionTable,
    key: Key,
    offset: u64,
    length: u64,
) -> Result<RegionFacts, Failure> {
    let facts = regions.facts(key).ok_or(refuse(Refused::Unmapped))?;
    match offset.checked_add(length) {
        Some(end) if end <= facts.length => Ok(facts),
        _ => Err(refuse(Refused::OutOfBounds)),
    }
}

pub(super) fn refuse(reason: Refused) -> Failure {
    Failure { kind: reason as u8, ..Failure::of(CompletionCode::REFUSED) }
}

#[cfg(test)]
mod tests {
    use dmaring_engine::{Iova, Rights};

    use super::*;

    fn table() -> (RegionTable, Key, Key) {
        let table = RegionTable::new(1);
        let publish = |rights| {
            let facts = RegionFacts::new(100, rights, false);
            table.publish(facts, &[Iova::new(0x1000)]).unwrap()
        };
        let (writable, readable) = (publish(Rights::ReadWrite), publish(Rights::Read));
        (table, writable, readable)
    }

    fn copy(source: Key, destination: Key) -> SubmissionEntry {
        SubmissionEntry {
            opcode: Opcode::COPY,
            source,
            destination,
            source_offset: 50,
            length: 50,
            ..SubmissionEntry::default()
        }
    }

    fn policy(has_cpu: bool) -> Policy {
        Policy { on_error: OnError::Fail, has_cpu }
    }

    fn reason(regions: &RegionTable, entry: &SubmissionEntry) -> Option<u8> {
        admit(regions, policy(false), 0, entry).err().map(|failure| failure.kind)
    }

    #[test]
    fn what_lies_within_its_regions_passes() {
        let (table, writable, readable) = table();
        let admitted = admit(&table, policy(false), 0, &copy(readable, writable)).unwrap();
        assert_eq!(admitted.plan.source, Source::Region(readable, 50));
        assert!(!admitted.fenced && !admitted.staged);
    }

    #[test]
    fn everything_else_is_refused_with_its_reason() {
        let (table, writable, readable) = table();
        let good = copy(readable, writable);
        let nowhere = Key { index: 77, generation: 1 };
        let stale = Key { generation: readable.generation + 1, ..readable };
        let cases = [
            (SubmissionEntry { length: 51, ..good }, Refused::OutOfBounds),
            (SubmissionEntry { source_offset: u64::MAX, ..good }, Refused::OutOfBounds),
            (SubmissionEntry { destination_offset: 51, ..good }, Refused::OutOfBounds),
            (SubmissionEntry { length: u64::MAX, ..good }, Refused::OutOfBounds),
            (SubmissionEntry { source: nowhere, ..good }, Refused::Unmapped),
            (SubmissionEntry { source: stale, ..good }, Refused::Unmapped),
            (SubmissionEntry { destination: Key::default(), ..good }, Refused::Unmapped),
            (SubmissionEntry { destination: readable, ..good }, Refused::Permission),
            (SubmissionEntry { opcode: Opcode(200), ..good }, Refused::Unsupported),
            (SubmissionEntry { length: 0, ..good }, Refused::Malformed),
            (SubmissionEntry { flags: EntryFlags::LINK, ..good }, Refused::Malformed),
            (SubmissionEntry { flags: POLICIES, ..good }, Refused::Malformed),
            (SubmissionEntry { flags: EntryFlags::RETRY_ON_CPU, ..good }, Refused::NoCpu),
            (
                SubmissionEntry { flags: EntryFlags::from_bits_retain(0x80), ..good },
                Refused::Malformed,
            ),
        ];
        for (entry, expected) in cases {
            assert_eq!(reason(&table, &entry), Some(expected as u8), "{entry:?}");
        }
    }

    #[test]
    fn an_entry_has_its_own_policy_or_the_runtimes() {
        let (table, writable, readable) = table();
        let retries = |on_error, flags| {
            let entry = SubmissionEntry { flags, deadline: 7, ..copy(readable, writable) };
            let admitted = admit(&table, Policy { on_error, has_cpu: true }, 0, &entry).unwrap();
            assert_eq!(admitted.plan.deadline, 7);
            admitted.plan.retries
        };
        for on_error in [OnError::Fail, OnError::RetryOnCpu] {
            assert!(!retries(on_error, EntryFlags::FAIL_ON_ERROR));
            assert!(retries(on_error, EntryFlags::RETRY_ON_CPU));
            let own = on_error == OnError::RetryOnCpu;
            assert_eq!(retries(on_error, EntryFlags::FENCE), own);
        }
    }
}
