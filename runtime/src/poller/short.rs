//! Short operations that end where they are taken.
//!
//! A copy of a few cache lines takes the CPU less time than its way through the poller's tables. Where the engine that is to
//! have it carries out such transfers at once, and the entry asks for nothing else, it is checked, carried out and
//! answered, and is in no table at all. An entry of which any of this cannot be said goes the way of all others, and what is wrong
//! with it is found there: an operation is short only if it would be admitted.
#![allow(unsafe_code, reason = "island: hands memory to an engine")]

use std::mem;

use dmaring_engine::{Iova, Operation, Rights, Transfer};
use dmaring_ring::{Opcode, SubmissionEntry};

use super::{
    APPLICATION, Poller,
    lane::Lane,
    line::Line,
    notice,
    ops::{Reach, Source},
    port::Port,
};
use crate::{placement::Kind, region::table::RegionTable};

/// After how many short operations their ends are told, so that who waits for the first does not wait for all of a turn's.
const TOLD_TOGETHER: u32 = 16;
/// And after how many bytes: some 5 µs on cold memory. Fewer take more fences of streaming stores, one each time: 4 KiB copies of cold
/// memory ran a tenth slower when they were told by 8 KiB.
const BYTES_TOGETHER: u64 = 32 << 10;

/// What the poller knows of short operations.
#[derive(Debug)]
pub(super) struct Short {
    /// The longest, in bytes, that any engine carries out at once.
    longest: u64,
    /// How many were carried out and not told.
    untold: u32,
    /// How many bytes those were.
    bytes: u64,
    /// How many were carried out in this turn.
    carried: u32,
    /// And how many bytes those were.
    moved: u64,
}

impl Short {
    pub(super) fn new(lanes: &[Lane]) -> Self {
        let longest = lanes.iter().map(|lane| lane.line.capabilities.at_once).max().unwrap_or(0);
        Self { longest, untold: 0, bytes: 0, carried: 0, moved: 0 }
    }

    /// One was carried out.
    #[inline]
    fn count(&mut self, bytes: u64) {
        self.untold += 1;
        self.bytes += bytes;
        self.carried += 1;
        self.moved += bytes;
    }

    /// Whether it is time to tell those who wait.
    #[inline]
    fn is_to_be_told(&self) -> bool {
        self.untold >= TOLD_TOGETHER || self.bytes >= BYTES_TOGETHER
    }

    /// How many were carried out in this turn, and how many bytes those were. Then another begins.
    #[inline]
    fn end_turn(&mut self) -> (u32, u64) {
        (mem::take(&mut self.carried), mem::take(&mut self.moved))
    }
}

impl Poller {
    /// Carries out what an entry of the application's asks for, if it is short. `false`: nothing was done.
    #[inline]
    pub(super) fn carry_out(&mut self, entry: &SubmissionEntry) -> bool {
        let length = entry.length;
        // 0 is too short.
        if length.wrapping_sub(1) >= self.short.longest
            || !entry.flags.is_empty()
            || entry.deadline != 0
            || !self.keys.is_free(entry.key.index)
        {
            return false;
        }
        let source = match entry.opcode {
            Opcode::COPY => Source::Region(entry.source, entry.source_offset),
            Opcode::FILL => Source::Pattern(entry.source_offset),
            _ => return false,
        };
        let Some(number) = self.lane_at_once(source, entry) else { return false };
        let Some(lane) = self.lanes.get_mut(number) else { return false };
        let line = &lane.line;
        if length > line.capabilities.at_once || !line.recovery.is_fed() || !line.is_idle() {
            return false;
        }
        let regions = &self.shared.regions;
        let at = |range, rights| regions.plain(range, length, line.domain, rights);
        let destination = (entry.destination, entry.destination_offset);
        let Some(destination) = at(destination, Rights::ReadWrite) else { return false };
        let operation = match source {
            Source::Region(region, offset) => match at((region, offset), Rights::Read) {
                Some(source) => Operation::Copy { source },
                None => return false,
            },
            Source::Pattern(pattern) if line.capabilities.fill => Operation::Fill { pattern },
            _ => return false,
        };
        let Some(port) = self.ports.get_mut(APPLICATION) else { return false };
        let since = if port.sampler.is_next(length) { Some(self.shared.nanos()) } else { None };
        let transfer = Transfer { operation, destination, length };
        let ahead = if line.capabilities.reads_ahead.wrapping_sub(1) < length {
            ahead(port, regions, line)
        } else {
            None
        };
        // SAFETY: (1) both ranges, and what is ahead, lie within regions that there are, with the rights for it; (2) the addresses are those of the
        // regions' mappings in this engine's domain; (3) this thread says that regions are quiet only between turns, and `tell_short`
        // settles the lane before it shows an end, in this turn.
        if !unsafe { lane.run(&transfer, ahead) } {
            return false;
        }
        port.moved(length.max(notice::BYTES_PER_TURN));
        port.post(entry.key, Ok(()));
        let weight = port.sampler.weigh(length);
        let counters = &self.shared.counters;
        if let Some(engine) = counters.engines.get(number) {
            engine.transfers.add(1);
            engine.bytes.add(length);
        }
        counters.runtime.submitted.add(1);
        counters.runtime.completed.add(1);
        counters.runtime.bytes.add(length);
        if let (Some(since), Some(weight)) = (since, weight) {
            self.measure_short(since, weight, number);
        }
        self.short.count(length);
        if self.short.is_to_be_told() {
            self.tell_short();
        }
        true
    }

    /// The lane that is to have it, if that is settled without a look at what the others have to do.
    #[inline]
    fn lane_at_once(&self, source: Source, entry: &SubmissionEntry) -> Option<usize> {
        if self.shared.steering.stripes(entry.length).is_some() {
            return None;
        }
        if self.lanes.len() == 1 {
            return Some(0);
        }
        if self.shared.steering.kind(entry.length) != Kind::Host {
            return None;
        }
        let want = self.want((source, entry.destination), Reach::Memory, entry.length);
        self.choose(&want).ok()
    }

    /// Ends a turn: whether entries are let gather, since it took a few short operations and nothing is under way.
    #[inline]
    pub(super) fn lets_gather(&mut self) -> bool {
        let (carried, moved) = self.short.end_turn();
        let Some(port) = self.ports.get(APPLICATION) else { return false };
        self.ops.len() == 0 && self.pace.holds(carried, moved, || port.unread())
    }

    /// Shows the ends of short operations.
    #[inline]
    pub(super) fn tell_short(&mut self) {
        if self.short.untold == 0 {
            return;
        }
        (self.short.untold, self.short.bytes) = (0, 0);
        self.lanes.iter_mut().for_each(Lane::settle);
        if let Some(port) = self.ports.get_mut(APPLICATION) {
            port.show();
        }
    }
}

/// Where a copy that waits behind the one at hand reads as many bytes as the engine reads ahead.
fn ahead(port: &Port, regions: &RegionTable, line: &Line) -> Option<Iova> {
    let next = port.peek().filter(|next| next.opcode == Opcode::COPY)?;
    let bytes = line.capabilities.reads_ahead;
    let source = (next.source, next.source_offset);
    if next.length < bytes { None } else { regions.plain(source, bytes, line.domain, Rights::Read) }
}

#[cfg(all(test, not(miri)))]
mod tests {
    use dmaring_engine::{Iova, Rights};
    use dmaring_manual::ManualEngine;
    use dmaring_ring::{Key, Opcode, SubmissionEntry};
    use futures::executor::block_on;
    use proptest::prelude::*;

    use super::{
        super::{admit::admit, ops::Reach},
        BYTES_TOGETHER, Short, TOLD_TOGETHER,
    };
    use crate::{
        OnError, Runtime,
        op::Policy,
        placement::{Course, Striping},
        region::table::{RegionFacts, RegionTable},
    };

    /// Bytes of each region below.
    const LENGTH: u64 = 100;

    /// A region of every kind, with where it is; the last has ended.
    fn regions() -> (RegionTable, Vec<(Key, u64)>) {
        let table = RegionTable::new(1);
        let memory = |rights, staged| RegionFacts::new(LENGTH, rights, staged);
        let open = memory(Rights::ReadWrite, false);
        let facts = [
            open,
            memory(Rights::Read, false),
            memory(Rights::ReadWrite, true),
            open.of_device(false),
            open.of_device(true),
            open,
        ];
        let publish = |(base, facts)| (table.publish(facts, &[Iova::new(base)]).unwrap(), base);
        let keys: Vec<_> = (1u64..).map(|page| page << 12).zip(facts).map(publish).collect();
        table.retire(keys[5].0);
        (table, keys)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1024))]

        /// What passes the short way's checks passes those of all others, and the other way round, where nothing is asked of it
        /// that the short way has not.
        #[test]
        fn what_is_plain_is_what_is_admitted_as_memory(
            // Half of the regions are memory that may be written.
            (source, destination) in (0..10usize, 0..10usize),
            length in prop_oneof![1..=LENGTH + 1, Just(u64::MAX)],
            // Offsets by how far behind the last byte's end the range ends.
            (from, to) in (-2..3i64, prop_oneof![-2..3i64, Just(i64::MAX)]),
            (fills, has_cpu) in any::<(bool, bool)>(),
        ) {
            let [source, destination] = [source, destination].map(|which| which.saturating_sub(4));
            let [from, to] = [from, to].map(|end| LENGTH.wrapping_add_signed(end).wrapping_sub(length));
            let (table, keys) = regions();
            let ((source, source_base), (destination, base)) = (keys[source], keys[destination]);
            let opcode = if fills { Opcode::FILL } else { Opcode::COPY };
            let (source_offset, destination_offset) = (from, to);
            let entry = SubmissionEntry {
                opcode, source, destination, source_offset, destination_offset, length,
                ..SubmissionEntry::default()
            };
            let policy = Policy { on_error: OnError::Fail, has_cpu };
            let admitted = admit(&table, policy, 0, &entry);
            let as_memory = admitted.is_ok_and(|admitted| {
                !admitted.staged && admitted.plan.reach == Reach::Memory
            });
            let written = table.plain((destination, to), length, 0, Rights::ReadWrite);
            let read = table.plain((source, from), length, 0, Rights::Read);
            prop_assert_eq!(written.is_some() && (fills || read.is_some()), as_memory);
            if as_memory {
                prop_assert_eq!(written, Iova::new(base).checked_add(to));
                prop_assert!(fills || read == Iova::new(source_base).checked_add(from));
            }
        }
    }

    #[test]
    fn a_turn_counts_what_was_carried_out_in_it() {
        let mut short = Short::new(&[]);
        assert_eq!(short.end_turn(), (0, 0));
        (0..TOLD_TOGETHER - 1).for_each(|_| short.count(64));
        assert!(!short.is_to_be_told());
        short.count(1);
        assert!(short.is_to_be_told());
        assert_eq!(short.end_turn(), (TOLD_TOGETHER, u64::from(TOLD_TOGETHER - 1) * 64 + 1));
        assert_eq!(short.end_turn(), (0, 0));
        assert!(short.is_to_be_told(), "until it is told, whatever turn it is");
        let mut short = Short::new(&[]);
        short.count(BYTES_TOGETHER);
        assert!(short.is_to_be_told());
    }

    #[test]
    fn what_is_ahead_is_the_source_of_the_copy_behind() {
        const PAGE: u64 = 4096;
        let (engine, control) = ManualEngine::builder().at_once(PAGE).reads_ahead(2048).build();
        let runtime = Runtime::builder().engine(engine).build().unwrap();
        control.release();
        let [source, destination] = [(); 2].map(|()| runtime.allocate(4 * PAGE as usize).unwrap());
        let base = runtime.shared().regions.base(source.0.key, 0).unwrap();
        // Whether something was ahead of a copy of `first` bytes, with one of `second` bytes behind it, in so many batches.
        let is_told = |batches, first, second| {
            let before = control.told_ahead().len();
            for _ in 0..batches {
                let mut batch = runtime.batch();
                batch.copy(&source, 0, &destination, 0, first);
                batch.copy(&source, 2 * PAGE, &destination, 2 * PAGE, second);
                block_on(batch.submit().all()).unwrap();
                if control.told_ahead().len() > before {
                    return true;
                }
            }
            false
        };
        // The poller may be quicker than who submits, but not always.
        assert!(is_told(100_000, PAGE, PAGE));
        assert!(is_told(100_000, 2048, 2048));
        for (first, second) in [(2047, PAGE), (PAGE, 2047)] {
            assert!(!is_told(1000, first, second), "{first} and {second}");
        }
        let mut told = control.told_ahead();
        told.dedup();
        assert_eq!(told, [base.checked_add(2 * PAGE).unwrap()]);
        assert_eq!(control.violations(), []);
    }

    #[test]
    fn among_engines_it_is_the_cpus_by_the_calibrations_word_alone() {
        let [(left, one), (right, other)] = [false, true]
            .map(|host| ManualEngine::builder().host_memory(host).at_once(8192).build());
        let runtime = Runtime::builder().engine(left).engine(right).build().unwrap();
        let region = runtime.allocate(1 << 16).unwrap();
        one.release();
        other.release();
        let fill = |length| {
            for _ in 0..10 {
                block_on(region.fill(0, length, 1)).unwrap();
            }
            (one.run(), other.run())
        };
        assert_eq!(fill(64), (0, 0), "loads are balanced");
        let course =
            Course { cpu_below: 1024, engines: 2, cpu_joins: true, striping: Striping::OFF };
        runtime.shared().steering.set(course);
        assert_eq!(fill(1024), (0, 0));
        assert_eq!(fill(64), (0, 10));
        // What is striped is for several engines.
        let striping = Striping { from: 0, stripe: 4096 };
        runtime.shared().steering.set(Course { cpu_below: 1 << 20, striping, ..course });
        assert_eq!(fill(8192), (0, 10));
        assert_eq!((one.violations(), other.violations()), (vec![], vec![]));
    }
}
