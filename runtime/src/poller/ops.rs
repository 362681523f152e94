//! The operations the poller is working on, and the parts they are cut into.

use dmaring_engine::{Iova, Operation, Status, Token, Transfer};
use dmaring_ring::{CompletionCode, Key};
use slab::Slab;

use super::fence::Group;

/// Where an operation is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// Held back by a fence.
    Held,
    /// By the engine of this lane.
    Lane(usize),
    /// By the staging thread.
    Staging,
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
    pub(super) group: Group,
    pub(super) route: Route,
    /// Addresses in the lane's domain; valid once routed to a lane.
    pub(super) addresses: Addresses,
    /// The longest part, in bytes.
    part: u64,
    /// Where the first part begins that was not yet enqueued.
    next: u64,
    /// Parts that the engine reported as not run, to be enqueued again.
    again: Vec<u32>,
    /// Parts in the engine.
    outstanding: u32,
    failure: Option<Failure>,
    /// Tells this operation from an earlier one at the same place.
    tag: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Region(Key, u64),
    Pattern(u64),
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
    pub(super) bits: u32,
    /// In bytes from the operation's first.
    pub(super) offset: u64,
}

/// A part to be enqueued.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) number: u32,
    pub(super) length: u64,
    pub(super) transfer: Transfer,
}

impl Failure {
    pub(super) fn of(code: CompletionCode) -> Self {
        Self { code, kind: 0, bits: 0, offset: 0 }
    }

    pub(super) fn device(status: Status, offset: u64) -> Self {
        let kind = status.kind as u8;
        Self { code: CompletionCode::DEVICE, kind, bits: status.bits, offset }
    }
}

impl ActiveOp {
    /// Sends the operation to a lane, in parts of at most `part` bytes. `false`: more parts than can be told apart.
    pub(super) fn route_to(&mut self, lane: usize, part: u64, addresses: Addresses) -> bool {
        let part = part.max(1);
        if self.length.div_ceil(part) > u64::from(u32::MAX) {
            return false;
        }
        self.route = Route::Lane(lane);
        self.part = part;
        self.addresses = addresses;
        true
    }

    /// The next part to enqueue, if there is one.
    pub(super) fn next_part(&self) -> Option<Part> {
        if self.failure.is_some() {
            return None;
        }
        let number = match self.again.last() {
            Some(&number) => number,
            None if self.next < self.length => u32::try_from(self.next / self.part).ok()?,
            None => return None,
        };
        let offset = u64::from(number) * self.part;
        let length = self.part.min(self.length - offset);
        let operation = match self.source {
            Source::Region(..) => {
                Operation::Copy { source: self.addresses.source.checked_add(offset)? }
            }
            Source::Pattern(pattern) => {
                // The pattern's phase at this part's first byte.
                Operation::Fill { pattern: pattern.rotate_right((offset % 8) as u32 * 8) }
            }
        };
        let destination = self.addresses.destination.checked_add(offset)?;
        Some(Part { number, length, transfer: Transfer { operation, destination, length } })
    }

    /// The part that `next_part` gave is in the engine.
    pub(super) fn part_taken(&mut self, part: &Part) {
        self.outstanding += 1;
        if self.again.last() == Some(&part.number) {
            self.again.pop();
        } else {
            self.next += part.length;
        }
    }

    /// Whether parts wait to be enqueued.
    pub(super) fn has_parts(&self) -> bool {
        self.failure.is_none() && (self.next < self.length || !self.again.is_empty())
    }

    /// A part came back. Its length, or `None` if no such part is out.
    pub(super) fn part_back(&mut self, number: u32) -> Option<u64> {
        let offset = u64::from(number).checked_mul(self.part)?;
        if self.outstanding == 0 || offset >= self.next {
            return None;
        }
        self.outstanding -= 1;
        Some(self.part.min(self.length - offset))
    }

    /// A part was not run and is to be enqueued again.
    pub(super) fn run_again(&mut self, number: u32) {
        self.again.push(number);
    }

    /// The operation fails; of several failures the one at the lowest offset is told.
    pub(super) fn fail(&mut self, failure: Failure) {
        match &self.failure {
            Some(earlier) if earlier.offset <= failure.offset => {}
            _ => self.failure = Some(failure),
        }
    }

    pub(super) fn fail_part(&mut self, number: u32, status: Status) {
        self.fail(Failure::device(status, u64::from(number) * self.part));
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

    /// The outcome, once no part is out and none is to come.
    pub(super) fn ended(&self) -> Option<Result<(), Failure>> {
        let ended = self.outstanding == 0 && !self.has_parts();
        ended.then(|| self.failure.map_or(Ok(()), Err))
    }
}

/// The poller's table of operations. Allocates nothing while it holds no more than it was made for.
#[derive(Debug)]
pub(super) struct Ops {
    slots: Slab<ActiveOp>,
    next_tag: u16,
}

/// What an operation is made from.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) port: usize,
    pub(super) key: Key,
    pub(super) source: Source,
    pub(super) destination: (Key, u64),
    pub(super) length: u64,
}

impl Ops {
    pub(super) fn new(capacity: usize) -> Self {
        Self { slots: Slab::with_capacity(capacity), next_tag: 0 }
    }

    pub(super) fn insert(&mut self, plan: Plan) -> usize {
        self.next_tag = self.next_tag.wrapping_add(1) & TAG_MASK;
        let nowhere = Iova::new(0);
        let Plan { port, key, source, destination, length } = plan;
        self.slots.insert(ActiveOp {
            port,
            key,
            source,
            destination,
            length,
            group: Group::default(),
            route: Route::Held,
            addresses: Addresses { source: nowhere, destination: nowhere },
            part: 1,
            next: 0,
            again: Vec::new(),
            outstanding: 0,
            failure: None,
            tag: self.next_tag,
        })
    }

    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut ActiveOp> {
        self.slots.get_mut(index)
    }

    pub(super) fn remove(&mut self, index: usize) -> Option<ActiveOp> {
        self.slots.try_remove(index)
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// A token for a part: 20 bits of place, 12 bits of tag, 32 bits of part number.
    pub(super) fn token(&self, index: usize, part: u32) -> Option<Token> {
        let op = self.slots.get(index)?;
        let place = u64::try_from(index).ok().filter(|&place| place <= PLACE_MASK)?;
        Some(Token::new(place | u64::from(op.tag) << 20 | u64::from(part) << 32))
    }

    /// Gives an operation with nothing in the engine a new tag: its tokens of before name nothing any more.
    pub(super) fn renew(&mut self, index: usize) {
        self.next_tag = self.next_tag.wrapping_add(1) & TAG_MASK;
        if let Some(op) = self.slots.get_mut(index).filter(|op| op.outstanding == 0) {
            op.tag = self.next_tag;
        }
    }

    /// A name for an operation, by which the staging thread answers.
    pub(super) fn name(&self, index: usize) -> Option<Key> {
        let op = self.slots.get(index)?;
        Some(Key { index: u32::try_from(index).ok()?, generation: op.tag.into() })
    }

    /// The operation that a name names; `None` for one that names none any more.
    pub(super) fn find_named(&mut self, name: Key) -> Option<usize> {
        let index = name.index as usize;
        let op = self.slots.get(index)?;
        (u32::from(op.tag) == name.generation).then_some(index)
    }

    /// The operation and part that a token names; `None` for a token that names nothing.
    #[allow(
        clippy::cast_possible_truncation,
        reason = "each field is masked or shifted to its width"
    )]
    pub(super) fn find(&mut self, token: Token) -> Option<(usize, &mut ActiveOp, u32)> {
        let word = token.get();
        let (index, tag, part) =
            ((word & PLACE_MASK) as usize, (word >> 20) as u16 & TAG_MASK, (word >> 32) as u32);
        let op = self.slots.get_mut(index).filter(|op| op.tag == tag)?;
        Some((index, op, part))
    }
}

const PLACE_MASK: u64 = (1 << 20) - 1;
const TAG_MASK: u16 = (1 << 12) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn op(ops: &mut Ops, length: u64, part: u64) -> usize {
        let source = Source::Pattern(0x8877_6655_4433_2211);
        let index = ops.insert(Plan {
            port: 0,
            key: Key::default(),
            source,
            destination: (Key::default(), 0),
            length,
        });
        let addresses = Addresses { source: Iova::new(0), destination: Iova::new(0x1000) };
        assert!(ops.get_mut(index).unwrap().route_to(0, part, addresses));
        index
    }

    #[test]
    fn an_operation_is_cut_into_parts_and_ends_when_all_are_back() {
        let mut ops = Ops::new(4);
        let index = op(&mut ops, 25, 10);
        let op = ops.get_mut(index).unwrap();
        let mut seen = Vec::new();
        while let Some(part) = op.next_part() {
            seen.push((part.number, part.length, part.transfer.destination.get()));
            op.part_taken(&part);
        }
        assert_eq!(seen, [(0, 10, 0x1000), (1, 10, 0x100a), (2, 5, 0x1014)]);
        for (number, length) in [(2, 5), (0, 10), (1, 10)] {
            assert_eq!(op.ended(), None);
            assert_eq!(op.part_back(number), Some(length));
        }
        assert_eq!(op.ended(), Some(Ok(())));
        assert_eq!(op.part_back(1), None, "reported twice");
    }

    #[test]
    fn a_fill_keeps_its_phase_from_part_to_part() {
        let mut ops = Ops::new(4);
        let index = op(&mut ops, 25, 10);
        let op = ops.get_mut(index).unwrap();
        let mut bytes: Vec<u8> = Vec::new();
        while let Some(part) = op.next_part() {
            let Operation::Fill { pattern } = part.transfer.operation else { panic!() };
            bytes.extend(pattern.to_le_bytes().iter().cycle().take(part.length as usize));
            op.part_taken(&part);
        }
        let expected: Vec<u8> =
            0x8877_6655_4433_2211u64.to_le_bytes().into_iter().cycle().take(25).collect();
        assert_eq!(bytes, expected);
    }

    #[test]
    fn a_failure_stops_the_parts_to_come_and_the_lowest_offset_is_told() {
        let mut ops = Ops::new(4);
        let index = op(&mut ops, 40, 10);
        let op = ops.get_mut(index).unwrap();
        for _ in 0..3 {
            let part = op.next_part().unwrap();
            op.part_taken(&part);
        }
        let status = Status { kind: dmaring_engine::StatusKind::Read, bits: 0x100 };
        for number in [2, 1] {
            op.part_back(number).unwrap();
            op.fail_part(number, status);
        }
        assert!(op.next_part().is_none());
        assert_eq!(op.ended(), None, "one part is still out");
        op.part_back(0).unwrap();
        assert_eq!(op.ended(), Some(Err(Failure::device(status, 10))));
    }

    #[test]
    fn a_part_that_was_not_run_goes_again() {
        let mut ops = Ops::new(4);
        let index = op(&mut ops, 20, 10);
        let op = ops.get_mut(index).unwrap();
        for _ in 0..2 {
            let part = op.next_part().unwrap();
            op.part_taken(&part);
        }
        op.part_back(0).unwrap();
        op.run_again(0);
        let part = op.next_part().unwrap();
        assert_eq!((part.number, part.length), (0, 10));
        op.part_taken(&part);
        op.part_back(1).unwrap();
        op.part_back(0).unwrap();
        assert_eq!(op.ended(), Some(Ok(())));
    }

    #[test]
    fn a_token_of_an_earlier_operation_names_nothing() {
        let mut ops = Ops::new(4);
        let first = op(&mut ops, 10, 10);
        let token = ops.token(first, 0).unwrap();
        assert!(ops.find(token).is_some());
        ops.remove(first);
        assert!(ops.find(token).is_none());
        let second = op(&mut ops, 10, 10);
        assert_eq!(first, second);
        assert!(ops.find(token).is_none());
        assert!(ops.find(Token::new(u64::MAX)).is_none());
    }
}
