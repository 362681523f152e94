//! Short operations that end where they are taken.
//!
//! The way through the poller's tables takes longer than a copy of a few cache lines, and is a tenth of the time of one of 64 KiB, and
//! what is in the tables is done in turns, of which each begins anew.
//! Where the engine that is to have it carries out such transfers at once, and the entry asks for nothing else, it is checked, carried out and
//! answered, and is in no table at all. So are the copies of a bundle (`short/bundle.rs`). An entry of which any of this cannot be said goes the way of all others, and what is wrong
//! with it is found there: an operation is short only if it would be admitted.
#![allow(unsafe_code, reason = "island: hands memory to an engine")]

mod bundle;

use std::mem;

use dmaring_engine::{Ahead, Iova, Operation, Rights, Transfer};
use dmaring_ring::{Key, Opcode, SubmissionEntry};

use super::{
    APPLICATION, Poller,
    lane::Lane,
    notice,
    ops::{Reach, Source},
};
use crate::{bundle::MOST, placement::Kind, region::table::RegionTable};

/// After how many short operations their ends are told, so that who waits for the first does not wait for all of a turn's.
const TOLD_TOGETHER: u32 = 16;
/// And two or more of them after how many bytes: some 2 to 5 µs on cold memory. Fewer take more fences of streaming stores, one each time: 4 KiB
/// copies of cold memory ran a tenth slower when they were told by 8 KiB. More let who submits run out of copies in flight: those of 4 KiB
/// ran a fortieth slower by 64 KiB. Fewer than so many do not wait for an operation that is as long, nor longer.
const BYTES_TOGETHER: u64 = 32 << 10;
/// After how many bytes any are told, or fewer where the next would make it more, give or take a bundle, or one that is longer by itself: 5 to 15 µs on
/// cold memory. So two of 64 KiB are told together: one by one they were a sixtieth slower.
const BYTES_UNTOLD: u64 = 128 << 10;
/// After how many bytes, give or take an operation, the rest waits for the next turn: 10 to 30 µs on cold memory, twice that where a long one
/// is the last. Then the engines and the clock are looked after.
const BYTES_IN_A_TURN: u64 = 256 << 10;
/// From how many bytes on a copy is worth a look at the one behind it, and that one is read ahead.
const READ_AHEAD_FROM: u64 = 2 << 10;

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
    /// Room for those of a bundle, while they are checked and carried out.
    transfers: [Transfer; MOST],
}

impl Short {
    pub(super) fn new(lanes: &[Lane]) -> Self {
        let longest = lanes.iter().map(|lane| lane.line.capabilities.at_once).max().unwrap_or(0);
        let nothing = Operation::Fill { pattern: 0 };
        let nothing = Transfer { operation: nothing, destination: Iova::new(0), length: 0 };
        Self { longest, untold: 0, bytes: 0, carried: 0, moved: 0, transfers: [nothing; MOST] }
    }

    /// Some were carried out, of so many bytes together.
    #[inline]
    fn count(&mut self, operations: u32, bytes: u64) {
        self.untold += operations;
        self.bytes += bytes;
        self.carried += operations;
        self.moved += bytes;
    }

    /// Whether it is time to tell those who wait.
    #[inline]
    fn is_to_be_told(&self) -> bool {
        self.untold >= TOLD_TOGETHER
            || self.untold >= 2 && self.bytes >= BYTES_TOGETHER
            || self.bytes >= BYTES_UNTOLD
    }

    /// Whether it is time to tell those who wait, lest they wait for another operation, which is that long.
    #[inline]
    fn is_to_be_told_before(&self, length: u64) -> bool {
        length >= BYTES_TOGETHER && self.bytes < BYTES_TOGETHER
            || self.bytes.saturating_add(length) > BYTES_UNTOLD
    }

    /// Whether this turn has carried out as much as a turn may.
    #[inline]
    pub(super) fn has_had_its_turn(&self) -> bool {
        self.moved >= BYTES_IN_A_TURN
    }

    /// How many were carried out in this turn, and how many bytes those were. Then another begins.
    #[inline]
    fn end_turn(&mut self) -> (u32, u64) {
        (mem::take(&mut self.carried), mem::take(&mut self.moved))
    }
}

impl Poller {
    /// Carries out what an entry of the application's asks for, if it is short. `false`: nothing was done, or of a bundle some that is to be done again.
    #[inline]
    pub(super) fn carry_out(&mut self, entry: &SubmissionEntry) -> bool {
        let length = entry.length;
        if !entry.flags.is_empty() || entry.deadline != 0 || !self.keys.is_free(entry.key.index) {
            return false;
        }
        if entry.opcode == Opcode::COPY_BUNDLE {
            return self.carry_out_bundle(entry);
        }
        // 0 is too short.
        if length.wrapping_sub(1) >= self.short.longest {
            return false;
        }
        if self.short.is_to_be_told_before(length) {
            self.tell_short();
        }
        let source = match entry.opcode {
            Opcode::COPY => Source::Region(entry.source, entry.source_offset),
            Opcode::FILL => Source::Pattern(entry.source_offset),
            _ => return false,
        };
        let Some(number) = self.lane_at_once(source, entry.destination, length) else {
            return false;
        };
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
        let reads = line.capabilities.reads_ahead;
        // An engine with others before it runs nothing.
        let looks = reads > 0 && length >= READ_AHEAD_FROM && line.outstanding() == 0;
        let next =
            if looks && matches!(operation, Operation::Copy { .. }) { port.peek() } else { None };
        let ahead = next.and_then(|next| ahead(regions, &next, reads, line.domain));
        // SAFETY: (1) both ranges, and what is ahead, lie within regions that there are, with the rights for it; (2) the addresses are
        // those of the regions' mappings in this engine's domain; (3) this thread says that regions are quiet only between turns, and `tell_short`
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
        self.short.count(1, length);
        if self.short.is_to_be_told() {
            self.tell_short();
        }
        true
    }

    /// The lane that is to have it, if that is settled without a look at what the others have to do.
    #[inline]
    fn lane_at_once(&self, source: Source, destination: Key, length: u64) -> Option<usize> {
        if self.shared.steering.stripes(length).is_some() {
            return None;
        }
        if self.lanes.len() == 1 {
            return Some(0);
        }
        if self.shared.steering.kind(length) != Kind::Host {
            return None;
        }
        let want = self.want((source, destination), Reach::Memory, length);
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

/// What an entry that waits reads first, `most` bytes and no more, if it is of a copy from memory that is worth it. Whether it will be
/// admitted is not asked.
#[inline]
fn ahead(regions: &RegionTable, next: &SubmissionEntry, most: u64, domain: usize) -> Option<Ahead> {
    if next.opcode != Opcode::COPY || next.length < READ_AHEAD_FROM {
        return None;
    }
    let length = next.length.min(most);
    let range = (next.source, next.source_offset);
    let source = regions.plain(range, length, domain, Rights::Read)?;
    Some(Ahead { source, length })
}

#[cfg(all(test, not(miri)))]
mod tests;
