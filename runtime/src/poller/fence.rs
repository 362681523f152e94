//! Fences: which operations must have ended before which begins.
//!
//! Operations come in groups, in the order of the submission ring. A fenced operation opens a new group and
//! is held; those after it join its group and run. A held operation begins when every group before its own is
//! empty. So a fence waits for everything submitted before it, whatever engine it is on, and nothing waits
//! for an operation without a fence to begin.

use std::collections::VecDeque;

/// The number of a group, counted from the runtime's beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Group(Option<u64>);

impl Group {
    /// Its number: of two groups the earlier one has the lower. `None`: of what no fence waits for.
    pub(super) fn number(self) -> Option<u64> {
        self.0
    }
}

#[derive(Debug)]
pub(super) struct Fences {
    /// The number of the front group.
    first: u64,
    groups: VecDeque<Members>,
}

#[derive(Debug, Default)]
struct Members {
    /// Operations of the group that have not ended.
    open: usize,
    /// The fenced operation that opened the group, while it is held.
    held: Option<usize>,
}

impl Fences {
    /// Room for `capacity` operations, fenced every one.
    pub(super) fn new(capacity: usize) -> Self {
        let mut groups = VecDeque::with_capacity(capacity + 2);
        groups.push_back(Members::default());
        Self { first: 0, groups }
    }

    /// Enters an operation. `true`: it may begin; else `next_released` will name it.
    pub(super) fn enter(&mut self, op: usize, fenced: bool) -> (Group, bool) {
        let alone =
            self.groups.len() == 1 && self.groups.front().is_some_and(|only| only.open == 0);
        let held = fenced && !alone;
        if held {
            self.groups.push_back(Members { open: 0, held: Some(op) });
        }
        if let Some(last) = self.groups.back_mut() {
            last.open += 1;
        }
        let group = self.first.wrapping_add(self.groups.len() as u64 - 1);
        (Group(Some(group)), !held)
    }

    /// An operation ended.
    pub(super) fn leave(&mut self, group: Group) {
        let Some(group) = group.0 else { return };
        let position = usize::try_from(group.wrapping_sub(self.first)).unwrap_or(usize::MAX);
        if let Some(members) = self.groups.get_mut(position) {
            members.open = members.open.saturating_sub(1);
        }
    }

    /// A held operation ends without having begun; `leave` follows.
    pub(super) fn withdraw(&mut self, op: usize, group: Group) {
        let Some(group) = group.0 else { return };
        let position = usize::try_from(group.wrapping_sub(self.first)).unwrap_or(usize::MAX);
        if let Some(members) = self.groups.get_mut(position)
            && members.held == Some(op)
        {
            members.held = None;
        }
    }

    /// A held operation that may begin now.
    pub(super) fn next_released(&mut self) -> Option<usize> {
        while self.groups.len() > 1 && self.groups.front().is_some_and(|front| front.open == 0) {
            self.groups.pop_front();
            self.first = self.first.wrapping_add(1);
            if let Some(op) = self.groups.front_mut().and_then(|front| front.held.take()) {
                return Some(op);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fence_holds_until_all_before_it_ended_and_later_ones_pass() {
        let mut fences = Fences::new(8);
        let (first, begins) = fences.enter(1, false);
        assert!(begins);
        let (second, begins) = fences.enter(2, false);
        assert!(begins);
        let (_, begins) = fences.enter(3, true);
        assert!(!begins);
        let (later, begins) = fences.enter(4, false);
        assert!(begins, "no fence, so it passes");
        fences.leave(second);
        assert_eq!(fences.next_released(), None);
        fences.leave(later);
        assert_eq!(fences.next_released(), None, "one before the fence is still open");
        fences.leave(first);
        assert_eq!(fences.next_released(), Some(3));
        assert_eq!(fences.next_released(), None);
    }

    #[test]
    fn one_that_is_withdrawn_does_not_begin_and_holds_nobody() {
        let mut fences = Fences::new(8);
        let (first, _) = fences.enter(1, false);
        let (second, _) = fences.enter(2, true);
        let (third, _) = fences.enter(3, true);
        fences.withdraw(2, second);
        fences.leave(second);
        assert_eq!(fences.next_released(), None, "the first is still open");
        fences.leave(first);
        assert_eq!(fences.next_released(), Some(3));
        fences.leave(third);
        assert_eq!(fences.next_released(), None);
    }

    #[test]
    fn a_chain_of_fences_is_released_one_by_one() {
        let mut fences = Fences::new(8);
        let (mut group, begins) = fences.enter(0, true);
        assert!(begins, "nothing is before it");
        let chain: Vec<_> = (1..5).map(|op| (op, fences.enter(op, true))).collect();
        for (op, (next, begins)) in chain {
            assert!(!begins);
            assert_eq!(fences.next_released(), None);
            fences.leave(group);
            assert_eq!(fences.next_released(), Some(op));
            group = next;
        }
    }
}
