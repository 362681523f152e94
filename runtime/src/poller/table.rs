//! The poller's table of operations, and the names by which the staging thread answers.

use dmaring_ring::Key;
use slab::Slab;

use super::ops::{ActiveOp, Plan};

/// The number of an engine's epoch: counted from 0, and up after each reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Epoch(pub(super) u64);

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
        self.next_tag = self.next_tag.wrapping_add(1);
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

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut ActiveOp> {
        self.slots.iter_mut().map(|(_, op)| op)
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
