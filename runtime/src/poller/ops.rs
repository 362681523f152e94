//! The operations the poller is working on, and the parts they are cut into.
//!
//! Parts have a power of two of bytes, so that an operation that moves to an engine with shorter transfers is cut
//! again without a byte of it being done twice. A part is in one place at a time: still to be enqueued (from `next`
//! on), in an engine (`outstanding`), done, to be enqueued *again* because it was not run, or *failed* and waiting for a
//! CPU to do it once more. Once a part has failed so, no further one goes to the engine, and the CPU does all that is left:
//! one bad operation is one failure of the engine's, however many parts it has. Only when an operation has nothing in an engine does it change engines.

use std::collections::VecDeque;

use dmaring_engine::{Iova, Operation, Status, Transfer};
use dmaring_ring::{CompletionCode, CompletionEntry, Key};

use super::fence::Group;
use crate::op::is_for_a_cpu;

/// How many parts of an operation can be told apart.
pub(super) const MAX_PARTS: u64 = 1 << 28;

/// Where an operation is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// Not yet, or no longer, by anybody.
    Nowhere,
    /// By the engine of this lane.
    Lane(usize),
    /// By the staging thread.
    Staging,
    /// Its bytes are written; they are being made durable.
    Persisting,
    /// In pieces, each of which is an operation of its own.
    Split(usize),
}

/// Whether memory of a device takes part in an operation, and who may then carry it out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Reach {
    /// Memory alone: every engine.
    #[default]
    Memory,
    /// Memory of a device that every engine may reach.
    Device,
    /// Memory of a device that the host's CPU alone may read.
    Host,
}

/// An operation on its way through the poller.
#[derive(Debug)]
pub(super) struct ActiveOp {
    /// Which ring pair it came from, and whom to answer.
    pub(super) port: usize,
    pub(super) key: Key,
    /// The regions by id, the offsets in bytes: what was asked for and checked.
    pub(super) source: Source,
    pub(super) destination: (Key, u64),
    pub(super) length: u64,
    /// By when it is to have ended, in microseconds since the runtime was built; 0: whenever.
    pub(super) deadline: u64,
    pub(super) group: Group,
    pub(super) reach: Reach,
    /// Whether its engine, the host's CPU, is to reach it as memory of a device.
    by_words: bool,
    pub(super) route: Route,
    /// Addresses in the lane's domain; valid once routed to a lane.
    pub(super) addresses: Addresses,
    /// The longest part, in bytes: a power of two.
    part: u64,
    /// Where the first part begins that was not yet enqueued.
    next: u64,
    /// Parts in the engine.
    outstanding: u32,
    failure: Option<Failure>,
    /// What only an operation has that met with a failure: its own or that of another before it.
    trouble: Option<Box<Trouble>>,
    /// Whether parts that fail are done again by a CPU.
    pub(super) retries: bool,
    /// What is to be done once the bytes are written.
    pub(super) durable: Durable,
    /// Whether parts went to more than one engine.
    moved: bool,
    /// Whether a fence holds it back.
    pub(super) is_held: bool,
    /// Whether its future was told ahead of its end.
    pub(super) told_early: bool,
    /// Whether an engine has parts of it that was lost and may never let go of them.
    pub(super) is_captive: bool,
    /// Whether it stands among those to be replayed.
    pub(super) replaying: bool,
    /// Tells this operation from an earlier one at the same place.
    pub(super) tag: u16,
    /// Whether its time is measured.
    pub(super) is_sampled: bool,
}

#[derive(Debug, Default)]
struct Trouble {
    /// Parts that the engine reported as not run, to be enqueued again in this order.
    again: VecDeque<u32>,
    /// Parts that failed, and how, to be done by a CPU once no part is in the engine.
    failed: Vec<(u32, Status)>,
    /// What is left is with a CPU.
    retrying: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Region(Key, u64),
    Pattern(u64),
    /// The bytes are there already.
    Nothing,
    /// The list of a vectored copy.
    Segments(Key),
    /// The region that the copies of a bundle read, and how many they are.
    Bundle(Key, u32),
}

/// What makes the bytes of an operation durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durable {
    /// Nobody asked for it.
    No,
    /// Being visible, and a fence.
    Fence,
    /// Writing caches back.
    WriteBack,
    /// The kernel: the staging thread asks it to, before it tells the end.
    File,
    /// Of a vectored copy: what makes the destination of each segment durable. Its pieces see to it.
    Each,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Addresses {
    pub(super) source: Iova,
    pub(super) destination: Iova,
}

/// Why an operation failed, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) code: CompletionCode,
    pub(super) kind: u8,
    /// The kind of failure of the second attempt.
    pub(super) retry: Option<u8>,
    pub(super) bits: u32,
    /// In bytes from the operation's first.
    pub(super) offset: u64,
}

/// What remains of an operation that has nothing in an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// Parts wait to be enqueued.
    Parts,
    /// Parts that failed, and what was not begun before they did: all to be done by a CPU.
    Retry,
    /// It has ended.
    Nothing,
}

/// A part to be enqueued.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) number: u32,
    pub(super) length: u64,
    pub(super) transfer: Transfer,
}

/// What an operation is made from.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) port: usize,
    pub(super) key: Key,
    pub(super) source: Source,
    pub(super) destination: (Key, u64),
    pub(super) length: u64,
    pub(super) deadline: u64,
    pub(super) retries: bool,
    pub(super) reach: Reach,
    pub(super) durable: Durable,
}

impl Failure {
    pub(super) const fn of(code: CompletionCode) -> Self {
        Self { code, kind: 0, retry: None, bits: 0, offset: 0 }
    }

    pub(super) fn device(status: Status, offset: u64) -> Self {
        let kind = status.kind as u8;
        Self { kind, bits: status.bits, offset, ..Self::of(CompletionCode::DEVICE) }
    }

    /// The end that tells it.
    pub(super) fn entry(&self, key: Key) -> CompletionEntry {
        let entry = CompletionEntry::new(key, self.code, self.kind, self.bits);
        self.retry.map_or(entry, |kind| entry.with_retry(kind))
    }
}

impl ActiveOp {
    pub(super) fn new(plan: Plan, tag: u16) -> Self {
        let Plan { port, key, source, destination, length, deadline, retries, reach, durable } =
            plan;
        let nowhere = Iova::new(0);
        Self {
            port,
            key,
            source,
            destination,
            length,
            deadline,
            group: Group::default(),
            reach,
            by_words: false,
            route: Route::Nowhere,
            addresses: Addresses { source: nowhere, destination: nowhere },
            part: u64::MAX / 2 + 1,
            next: if source == Source::Nothing { length } else { 0 },
            outstanding: 0,
            failure: None,
            trouble: None,
            retries,
            durable,
            moved: false,
            is_held: false,
            told_early: false,
            is_captive: false,
            replaying: false,
            tag,
            is_sampled: false,
        }
    }

    /// Sends an operation with nothing in an engine to a lane, in parts of at most `limit` bytes. `false`: more parts
    /// than can be told apart.
    pub(super) fn route_to(&mut self, lane: usize, limit: u64, addresses: Addresses) -> bool {
        let part = (1 << limit.max(1).ilog2()).min(self.part);
        if self.length.div_ceil(part) > MAX_PARTS {
            return false;
        }
        self.moved |= self.next > 0;
        self.cut_again(part);
        self.route = Route::Lane(lane);
        self.addresses = addresses;
        true
    }

    /// The engine that it is routed to is the host's CPU, or is not.
    pub(super) fn reach_as(&mut self, host: bool) {
        self.by_words = host && self.reach != Reach::Memory;
    }

    /// Cuts the parts that were enqueued before into shorter ones.
    fn cut_again(&mut self, part: u64) {
        let (old, length) = (self.part, self.length);
        self.part = part;
        let Some(trouble) = &mut self.trouble else { return };
        let pieces = |number: u32| {
            let first = u64::from(number) * (old / part);
            let end = (first + old / part).min(length.div_ceil(part));
            // As many parts as fit into 28 bits.
            (first..end).filter_map(|piece| u32::try_from(piece).ok())
        };
        if part < old {
            trouble.again = trouble.again.iter().flat_map(|&number| pieces(number)).collect();
            let failed = trouble.failed.iter();
            trouble.failed = failed
                .flat_map(|&(number, status)| pieces(number).map(move |piece| (piece, status)))
                .collect();
        }
    }

    /// The next part to enqueue, if there is one.
    pub(super) fn next_part(&self) -> Option<Part> {
        if self.failure.is_some() || self.awaits_retry() {
            return None;
        }
        let again = self.trouble.as_ref().and_then(|trouble| trouble.again.front());
        let number = match again {
            Some(&number) => number,
            None if self.next < self.length => u32::try_from(self.next / self.part).ok()?,
            None => return None,
        };
        let offset = u64::from(number) * self.part;
        let length = self.part.min(self.length - offset);
        let operation = match self.source {
            Source::Region(..) => {
                let source = self.addresses.source.checked_add(offset)?;
                if self.by_words {
                    Operation::DeviceCopy { source }
                } else {
                    Operation::Copy { source }
                }
            }
            Source::Nothing => return None,
            Source::Pattern(pattern) => {
                // The pattern's phase at this part's first byte.
                let pattern = pattern.rotate_right((offset % 8) as u32 * 8);
                if self.by_words {
                    Operation::DeviceFill { pattern }
                } else {
                    Operation::Fill { pattern }
                }
            }
            // It is in pieces, and never in an engine itself.
            Source::Segments(_) | Source::Bundle(..) => return None,
        };
        let destination = self.addresses.destination.checked_add(offset)?;
        Some(Part { number, length, transfer: Transfer { operation, destination, length } })
    }

    /// The part that `next_part` gave is in the engine. `true`: it had been there before.
    pub(super) fn part_taken(&mut self, part: &Part) -> bool {
        self.outstanding += 1;
        if let Some(trouble) = &mut self.trouble
            && trouble.again.front() == Some(&part.number)
        {
            trouble.again.pop_front();
            return true;
        }
        self.next += part.length;
        false
    }

    /// Whether parts wait to be enqueued.
    pub(super) fn has_parts(&self) -> bool {
        let left = self.next < self.length || self.has_again();
        left && self.failure.is_none() && !self.awaits_retry()
    }

    /// Whether parts wait to be enqueued that have been in an engine.
    pub(super) fn has_again(&self) -> bool {
        let again = self.trouble.as_ref().is_some_and(|trouble| !trouble.again.is_empty());
        again && self.failure.is_none() && !self.awaits_retry()
    }

    /// Whether a part has failed and a CPU is to do it, and what else is left, when no part is in the engine any more.
    fn awaits_retry(&self) -> bool {
        self.trouble.as_ref().is_some_and(|trouble| !trouble.retrying && !trouble.failed.is_empty())
    }

    /// A part came back, one that was out: [`super::transfers`] sees to that. Its length.
    pub(super) fn part_back(&mut self, number: u32) -> u64 {
        let offset = u64::from(number) * self.part;
        self.outstanding = self.outstanding.saturating_sub(1);
        self.part.min(self.length.saturating_sub(offset))
    }

    /// A part was not run and is to be enqueued again.
    pub(super) fn run_again(&mut self, number: u32) {
        self.trouble.get_or_insert_default().again.push_back(number);
    }

    /// The operation fails; of several failures the one at the lowest offset is told.
    pub(super) fn fail(&mut self, failure: Failure) {
        match &self.failure {
            Some(earlier) if earlier.offset <= failure.offset => {}
            _ => self.failure = Some(failure),
        }
    }

    /// A part failed, on the host's CPU or elsewhere.
    pub(super) fn fail_part(&mut self, number: u32, status: Status, on_host: bool) {
        let offset = u64::from(number) * self.part;
        if let Some(trouble) = self.trouble.as_ref().filter(|trouble| trouble.retrying) {
            let first = trouble.failed.iter().find(|(failed, _)| *failed == number);
            let failure = match first {
                Some(&(_, first)) => {
                    let retry = Some(status.kind as u8);
                    Failure { retry, ..Failure::device(first, offset) }
                }
                None => Failure::device(status, offset),
            };
            self.fail(failure);
        } else if self.retries && !on_host && is_for_a_cpu(status.kind) {
            // An operation that fails tells why no CPU could help, and not what one could have.
            if self.failure.is_none() {
                self.trouble.get_or_insert_default().failed.push((number, status));
            }
        } else {
            self.fail(Failure::device(status, offset));
        }
    }

    /// The failed parts, and what else is left, are about to be sent to a CPU.
    pub(super) fn begin_retry(&mut self) {
        if let Some(trouble) = &mut self.trouble {
            trouble.retrying = true;
            trouble.again.extend(trouble.failed.iter().map(|(number, _)| *number));
        }
    }

    /// There is no CPU to do the failed parts: the operation fails with the first of them.
    pub(super) fn give_up_retry(&mut self) {
        let Some(trouble) = self.trouble.take() else { return };
        for (number, status) in &trouble.failed {
            if trouble.again.contains(number) {
                self.fail(Failure::device(*status, u64::from(*number) * self.part));
            }
        }
    }

    /// Whether this part is with a CPU because another engine failed to do it.
    pub(super) fn is_retry(&self, number: u32) -> bool {
        let of = |trouble: &Trouble| trouble.failed.iter().any(|(failed, _)| *failed == number);
        self.trouble.as_ref().is_some_and(|trouble| trouble.retrying && of(trouble))
    }

    /// How many the application sees in it.
    #[inline]
    pub(super) fn copies(&self) -> u64 {
        if let Source::Bundle(_, copies) = self.source { copies.into() } else { 1 }
    }

    /// Whether its bytes are written and are still to be made durable.
    #[inline]
    pub(super) fn is_to_persist(&self) -> bool {
        self.durable != Durable::No && self.failure.is_none() && self.route != Route::Persisting
    }

    /// The length of its parts, where one engine has done each of them once, and not by words, which go through the caches.
    pub(super) fn plain_part(&self) -> Option<u64> {
        (!self.moved && !self.by_words && self.trouble.is_none()).then_some(self.part)
    }

    pub(super) fn is_retrying(&self) -> bool {
        self.trouble.as_ref().is_some_and(|trouble| trouble.retrying)
    }

    pub(super) fn failure(&self) -> Option<Failure> {
        self.failure
    }

    pub(super) fn outstanding(&self) -> u32 {
        self.outstanding
    }

    /// Whether the operation has more parts than `share`, so that it must not hold more of a lane.
    pub(super) fn is_larger_than(&self, share: u32) -> bool {
        self.length > self.part.saturating_mul(u64::from(share))
    }

    /// What remains, once no part is out.
    pub(super) fn rest(&self) -> Option<Rest> {
        if self.outstanding > 0 {
            return None;
        }
        Some(if self.has_parts() {
            Rest::Parts
        } else if self.failure.is_none() && self.awaits_retry() {
            Rest::Retry
        } else {
            Rest::Nothing
        })
    }

    /// The outcome, once nothing remains.
    pub(super) fn ended(&self) -> Option<Result<(), Failure>> {
        (self.rest() == Some(Rest::Nothing)).then(|| self.failure.map_or(Ok(()), Err))
    }

    /// What is told of one that is over. Where something remains of it, so that it should not be, its engine counts as lost:
    /// bytes that nobody reported written are not told to be.
    pub(super) fn outcome(&self) -> Result<(), Failure> {
        match self.route {
            // Who carries these out has told the end of the whole.
            Route::Staging | Route::Persisting | Route::Split(_) => {
                self.failure.map_or(Ok(()), Err)
            }
            _ => self.ended().unwrap_or(Err(Failure::of(CompletionCode::ENGINE_LOST))),
        }
    }
}

#[cfg(test)]
mod tests;
