//! Admission: from a ring entry to an operation whose every range is checked.
//!
//! The application's own entries were checked before they were pushed. These checks are the ones that count:
//! whoever wrote the entry, nothing reaches an engine that they did not pass, or would have: `short.rs` asks for more.

use dmaring_ring::{CompletionCode, EntryFlags, Key, Opcode, SubmissionEntry};

use super::ops::{Durable, Failure, Plan, Reach, Source};
use crate::{
    op::{OnError, Policy, Refused},
    region::{
        Durability,
        table::{RegionFacts, RegionTable},
    },
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
const KNOWN: EntryFlags = EntryFlags::FENCE
    .union(EntryFlags::FAIL_ON_ERROR)
    .union(EntryFlags::RETRY_ON_CPU)
    .union(EntryFlags::DURABLE);
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
    let persists = entry.opcode == Opcode::PERSIST;
    if !destination.writable && !persists {
        return Err(refuse(Refused::Permission));
    }
    let durable = if persists || entry.flags.contains(EntryFlags::DURABLE) {
        durable(regions, entry.destination, destination)?
    } else {
        Durable::No
    };
    let (source, from) = match entry.opcode {
        Opcode::PERSIST => (Source::Nothing, None),
        Opcode::COPY => {
            let facts = range(regions, entry.source, entry.source_offset, entry.length)?;
            (Source::Region(entry.source, entry.source_offset), Some(facts))
        }
        Opcode::FILL => (Source::Pattern(entry.source_offset), None),
        _ => return Err(refuse(Refused::Unsupported)),
    };
    let reach = reach(policy, from, destination)?;
    Ok(Admitted {
        plan: Plan {
            port,
            key: entry.key,
            source,
            destination: (entry.destination, entry.destination_offset),
            length: entry.length,
            deadline: entry.deadline,
            retries,
            reach,
            durable,
        },
        fenced: entry.flags.contains(EntryFlags::FENCE),
        staged: from.is_some_and(|from| from.staged) || destination.staged,
    })
}

/// Who may carry it out, by where its bytes are.
pub(super) fn reach(
    policy: Policy,
    source: Option<RegionFacts>,
    destination: RegionFacts,
) -> Result<Reach, Failure> {
    match source {
        Some(from) if from.host_reads && !policy.has_cpu => Err(refuse(Refused::DeviceSource)),
        Some(from) if from.host_reads => Ok(Reach::Host),
        Some(from) if from.device => Ok(Reach::Device),
        _ if destination.device => Ok(Reach::Device),
        _ => Ok(Reach::Memory),
    }
}

/// What makes bytes of a region durable.
pub(super) fn durable(
    regions: &RegionTable,
    key: Key,
    facts: RegionFacts,
) -> Result<Durable, Failure> {
    let (_, known) = regions.durable(key).ok_or(refuse(Refused::Unmapped))?;
    match known.durability {
        Durability::Volatile => Err(refuse(Refused::Volatile)),
        _ if facts.staged => Ok(Durable::File),
        Durability::NeedsFlush => Ok(Durable::WriteBack),
        Durability::PowerFailSafe => Ok(Durable::Fence),
    }
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
    use crate::region;

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
            (SubmissionEntry { flags: EntryFlags::DURABLE, ..good }, Refused::Volatile),
            (SubmissionEntry { opcode: Opcode::PERSIST, ..good }, Refused::Volatile),
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
    fn memory_of_a_device_says_who_may_reach_it() {
        let (table, writable, readable) = table();
        let publish = |host_reads| {
            let facts = RegionFacts::new(100, Rights::ReadWrite, false).of_device(host_reads);
            table.publish(facts, &[Iova::new(0x1000)]).unwrap()
        };
        let (guarded, open) = (publish(true), publish(false));
        let reach = |source, destination, has_cpu| {
            admit(&table, policy(has_cpu), 0, &copy(source, destination))
                .map(|admitted| admitted.plan.reach)
                .map_err(|failure| failure.kind)
        };
        let copy = |source, destination| reach(source, destination, true).unwrap();
        assert_eq!(copy(readable, writable), Reach::Memory);
        assert_eq!(copy(readable, guarded), Reach::Device);
        assert_eq!(copy(open, writable), Reach::Device);
        assert_eq!(copy(guarded, writable), Reach::Host);
        assert_eq!(copy(guarded, open), Reach::Host);
        assert_eq!(reach(guarded, writable, false), Err(Refused::DeviceSource as u8));
        assert_eq!(reach(readable, guarded, false), Ok(Reach::Device));
    }

    #[test]
    fn what_makes_it_durable_follows_from_the_region() {
        let (table, writable, readable) = table();
        let persist = |key| {
            let opcode = Opcode::PERSIST;
            let entry = SubmissionEntry { opcode, ..copy(Key::default(), key) };
            admit(&table, policy(false), 0, &entry).map(|admitted| admitted.plan.durable)
        };
        let domain = region::durability::Durable::of_domain;
        table.set_durable(writable, 0x1000, domain(Some("memory_controller")));
        table.set_durable(readable, 0x1000, domain(Some("cpu_cache")));
        assert_eq!(persist(writable), Ok(Durable::WriteBack));
        assert_eq!(persist(readable), Ok(Durable::Fence), "nothing is written");
        let flags = EntryFlags::DURABLE;
        let entry = SubmissionEntry { flags, ..copy(readable, writable) };
        let admitted = admit(&table, policy(false), 0, &entry).unwrap();
        assert_eq!(admitted.plan.durable, Durable::WriteBack);
        let facts = RegionFacts::new(100, Rights::ReadWrite, true);
        let staged = table.publish(facts, &[]).unwrap();
        table.set_durable(staged, 0, region::durability::Durable::FILE);
        assert_eq!(persist(staged), Ok(Durable::File));
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
