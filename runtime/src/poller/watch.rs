//! What the poller looks at now and then: deadlines, engines that do not stop (see [`super::captive`]), and those to be
//! brought back.
//!
//! A deadline that passes resolves the operation's future, by an [early](CompletionCode::EARLY) word in the completion
//! ring. What is not begun is then not begun, and what is waits for the engine: the operation's end, which gives back
//! its permit, slot and regions, is posted when no part of it is in an engine any more.
//!
//! Operations that wait for a permit are not the poller's yet. It takes those whose deadline has passed off their queue,
//! under the queue's lock, which is taken only then.

use dmaring_ring::{CompletionCode, Key};

use super::{
    APPLICATION, Poller,
    ops::{Failure, Route},
    recovery::State,
};
use crate::{op::Early, restore::Restored};

/// How many turns pass between two looks.
const TURNS_PER_LOOK: u32 = 64;

impl Poller {
    /// Looks, once in so many turns.
    #[inline]
    pub(super) fn watch(&mut self) {
        self.turns = self.turns.wrapping_add(1);
        if self.turns.is_multiple_of(TURNS_PER_LOOK) {
            self.look();
        }
    }

    /// Looks in the next turn.
    pub(super) fn look_soon(&mut self) {
        self.turns |= TURNS_PER_LOOK - 1;
    }

    /// Whether there is something to look at besides the operations in flight, so that the poller must not sleep.
    pub(super) fn is_watching(&self) -> bool {
        let shared = &self.shared;
        !self.restoring.is_empty()
            || shared.restores.has_orders()
            || !self.quiescing.is_empty()
            || shared.quiesce.has_orders()
            || shared.client.next_deadline().is_some()
    }

    fn look(&mut self) {
        // Before engines are restored: what one said earlier must not count against its next attempt, which begins within a turn.
        if self.lanes.iter().any(|lane| lane.stuck().is_some()) {
            self.give_up_stuck();
        }
        if self.shared.restores.has_orders() || !self.restoring.is_empty() {
            self.restore_engines();
        }
        if self.shared.quiesce.has_orders() || !self.quiescing.is_empty() {
            self.quiesce_regions();
        }
        if self.captives > 0 {
            self.refuse_hopeless();
        }
        let waiters = self.shared.client.next_deadline();
        if waiters.is_none() && self.deadlines.is_empty() {
            return;
        }
        let now = self.shared.micros();
        while let Some(op) = self.deadlines.next_expired(now) {
            self.tell_early(op, Early::Deadline);
        }
        if waiters.is_some_and(|deadline| deadline <= now) {
            let counters = &self.shared.counters.runtime;
            self.shared.client.expire_waiters(now, |expired| counters.timed_out.add(expired));
            self.shared.ring_event();
        }
    }

    /// Answers an operation whose deadline passed before it was taken.
    pub(super) fn refuse_late(&mut self, port: usize, key: Key) {
        self.count_early(port, Early::Deadline, 1);
        if port == APPLICATION {
            self.keys.leave(key.index);
        }
        if let Some(port) = self.ports.get_mut(port) {
            port.post_early(key, Early::Deadline);
            port.post_release(key);
        }
    }

    /// Resolves the future of an operation that has not ended. It is not begun any more, or not further.
    pub(super) fn tell_early(&mut self, index: usize, why: Early) {
        let index = self.whole(index);
        let Some(op) = self.ops.get_mut(index) else { return };
        if op.told_early {
            return;
        }
        op.told_early = true;
        op.fail(Failure::of(CompletionCode::ABORTED));
        let (port, key, route, group) = (op.port, op.key, op.route, op.group);
        let copies = op.copies();
        let is_held = std::mem::replace(&mut op.is_held, false);
        let is_out = op.outstanding() > 0;
        self.count_early(port, why, copies);
        if let Some(port) = self.ports.get_mut(port) {
            port.post_early(key, why);
            port.owed = port.owed.saturating_sub(1);
        }
        if is_held {
            self.fences.withdraw(index, group);
        } else if let Route::Lane(lane) = route {
            if let Some(lane) = self.lanes.get_mut(lane) {
                lane.line.forget(index, &mut self.ops);
            }
            if is_out {
                return;
            }
        } else if let Route::Split(split) = route {
            return self.stop_split(split);
        } else {
            // The staging thread knows the deadline, too, and tells the end; so does whoever makes it durable.
            return;
        }
        self.ended.push(index);
    }

    fn count_early(&self, port: usize, why: Early, copies: u64) {
        let counters = &self.shared.counters.runtime;
        if port == APPLICATION {
            counters.failed.add(copies);
            if why == Early::Deadline {
                counters.timed_out.add(copies);
            }
        }
    }

    /// Begins what was asked for, and answers where it has led to something.
    #[cold]
    fn restore_engines(&mut self) {
        self.restoring.append(&mut self.shared.restores.take());
        let orders = std::mem::take(&mut self.restoring);
        for mut order in orders {
            let Some(lane) = self.lanes.get_mut(order.lane) else { continue };
            let line = &mut lane.line;
            if !order.begun {
                order.begun = true;
                line.recovery.restore();
            }
            match line.recovery.state() {
                State::Running | State::Replaying => {
                    self.release_captives();
                    order.answer(Restored::Works);
                }
                State::Retired => order.answer(Restored::Failed(None)),
                State::Dead => order.answer(Restored::Failed(line.lost)),
                State::Resetting => self.restoring.push(order),
            }
        }
    }
}
