//! The poller's table of operations, and the tokens that name their parts.
//!
//! A token says which operation, which part, and in which *epoch* of the engine the part was enqueued. An engine's
//! epoch ends when it has been reset with nothing outstanding: every token of the epoch was reported by then, so one
//! that comes later is late or made up, and names nothing. A part that is replayed has a token of the new epoch.

use dmaring_engine::Token;
use dmaring_ring::Key;
use slab::Slab;

use super::ops::{ActiveOp, Plan, Route};

/// A token's fields, from the lowest bit: place, tag, epoch, part.
const PLACE_BITS: u32 = 16;
const TAG_BITS: u32 = 12;
const EPOCH_BITS: u32 = 8;

const PLACE_MASK: u64 = (1 << PLACE_BITS) - 1;
const TAG_MASK: u16 = (1 << TAG_BITS) - 1;
const EPOCH_SHIFT: u32 = PLACE_BITS + TAG_BITS;
const PART_SHIFT: u32 = EPOCH_SHIFT + EPOCH_BITS;

/// The number of an engine's epoch: counted from 0, and up after each reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Epoch(pub(super) u64);

impl Epoch {
    /// What of it stands in a token: 256 resets on, an operation would have to be at the same place with the same
    /// tag for a token to be taken for another.
    const fn bits(self) -> u8 {
        (self.0 & 0xff) as u8
    }
}

/// Allocates nothing while it holds no more than it was made for.
#[derive(Debug)]
pub(super) struct Ops {
    slots: Slab<ActiveOp>,
    next_tag: u16,
}

impl Ops {
    pub(super) fn new(capacity: usize) -> Self {
        Self { slots: Slab::with_capacity(capacity), next_tag: 0 }
    }

    pub(super) fn insert(&mut self, plan: Plan) -> usize {
        self.next_tag = self.next_tag.wrapping_add(1) & TAG_MASK;
        self.slots.insert(ActiveOp::new(plan, self.next_tag))
    }

    pub(super) fn get(&self, index: usize) -> Option<&ActiveOp> {
        self.slots.get(index)
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

    /// The operations and their places.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &ActiveOp)> {
        self.slots.iter()
    }

    /// A token for a part that is enqueued in this epoch of its engine.
    pub(super) fn token(&self, index: usize, part: u32, epoch: Epoch) -> Option<Token> {
        let op = self.slots.get(index)?;
        let place = u64::try_from(index).ok().filter(|&place| place <= PLACE_MASK)?;
        let word = place
            | u64::from(op.tag) << PLACE_BITS
            | u64::from(epoch.bits()) << EPOCH_SHIFT
            | u64::from(part) << PART_SHIFT;
        Some(Token::new(word))
    }

    /// The operation and part that a token of this lane in this epoch names; `None` for one that names nothing.
    #[allow(
        clippy::cast_possible_truncation,
        reason = "each field is masked or shifted to its width"
    )]
    pub(super) fn find(
        &mut self,
        token: Token,
        lane: usize,
        epoch: Epoch,
    ) -> Option<(usize, &mut ActiveOp, u32)> {
        let word = token.get();
        let (index, tag) = ((word & PLACE_MASK) as usize, (word >> PLACE_BITS) as u16 & TAG_MASK);
        if (word >> EPOCH_SHIFT) as u8 != epoch.bits() {
            return None;
        }
        let op = self.slots.get_mut(index)?;
        let named = op.tag == tag && op.route == Route::Lane(lane);
        named.then_some((index, op, (word >> PART_SHIFT) as u32))
    }

    /// A name for an operation, by which the staging thread answers.
    pub(super) fn name(&self, index: usize) -> Option<Key> {
        let op = self.slots.get(index)?;
        Some(Key { index: u32::try_from(index).ok()?, generation: op.tag.into() })
    }

    /// The operation that a name names; `None` for one that names none any more.
    pub(super) fn find_named(&self, name: Key) -> Option<usize> {
        let index = name.index as usize;
        let op = self.slots.get(index)?;
        (u32::from(op.tag) == name.generation).then_some(index)
    }
}

#[cfg(test)]
mod tests {
    use dmaring_engine::Iova;

    use super::*;
    use crate::poller::ops::{Addresses, Durable, Source};

    const NOW: Epoch = Epoch(7);

    fn op(ops: &mut Ops) -> usize {
        let index = ops.insert(Plan {
            port: 0,
            key: Key::default(),
            source: Source::Pattern(0),
            destination: (Key::default(), 0),
            length: 100,
            deadline: 0,
            retries: false,
            durable: Durable::No,
        });
        let nowhere = Addresses { source: Iova::new(0), destination: Iova::new(0) };
        assert!(ops.get_mut(index).unwrap().route_to(3, 8, nowhere));
        index
    }

    #[test]
    fn a_token_names_its_part() {
        let mut ops = Ops::new(4);
        let index = op(&mut ops);
        let last = (1 << 28) - 1;
        for part in [0, 1, last] {
            let token = ops.token(index, part, NOW).unwrap();
            let (found, _, number) = ops.find(token, 3, NOW).unwrap();
            assert_eq!((found, number), (index, part));
        }
    }

    #[test]
    fn a_token_of_an_earlier_operation_names_nothing() {
        let mut ops = Ops::new(4);
        let first = op(&mut ops);
        let token = ops.token(first, 0, NOW).unwrap();
        ops.remove(first);
        assert!(ops.find(token, 3, NOW).is_none());
        assert_eq!(op(&mut ops), first);
        assert!(ops.find(token, 3, NOW).is_none());
        assert!(ops.find(Token::new(u64::MAX), 3, NOW).is_none());
    }

    #[test]
    fn a_token_of_an_earlier_epoch_or_another_engine_names_nothing() {
        let mut ops = Ops::new(4);
        let index = op(&mut ops);
        let token = ops.token(index, 0, NOW).unwrap();
        assert!(ops.find(token, 3, Epoch(8)).is_none());
        assert!(ops.find(token, 2, NOW).is_none());
        assert!(ops.find(token, 3, NOW).is_some());
    }
}
