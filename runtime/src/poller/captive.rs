//! Operations in the hands of an engine that was lost and does not let go of them: *captives*.
//!
//! A captive's memory may be written at any time, perhaps for ever, so its slot, permit and regions stay out; its future is
//! told at once. Others must not wait for what may never come. So, as long as there is a captive:
//!
//! | who would wait for it | what becomes of them |
//! | --- | --- |
//! | an operation fenced against it | it fails before it begins, since it must not begin: held ones when the captive is taken, later ones when they come. What was submitted after it goes on |
//! | an operation in the line of the lost engine | it goes to another engine, or fails where there is none (`Line::evacuate`) |
//! | those who wait for a permit, once captives hold every one | they fail, and so do those who queue up later |
//! | a staged operation that waits for blocks, where captives hold too many | it fails (`staging::pipeline`) |
//! | an operation that waits for a place for a piece | it has the captive's place: pieces that are captives do not count among those there may be |
//! | the end of a region that it names | it is told, when nothing else is at the region, and the memory stays (`poller/quiet.rs`) |
//! | a shutdown that waits for nothing else | it halts the engines without waiting for its deadline |
//!
//! Of an operation in pieces, one piece in such an engine makes a captive of the whole: it holds the slot.
//!
//! An engine that stops after all reports what it had, and the captives end as usual. All but the last two of these are undone
//! by that, for those who come later; at the latest by the time that `restore_engine` says that the engine works.

use dmaring_ring::{CompletionCode, SubmissionEntry};

use super::{
    APPLICATION, Poller,
    ops::{Failure, Route},
    port::Port,
    recovery::State,
    route::lost,
    split,
};
use crate::op::{Early, Lost};

/// Why an operation that is fenced against a captive is not begun.
pub(super) fn behind_captive() -> Failure {
    lost(Lost::Ahead)
}

impl Poller {
    /// Engines that do not stop are lost.
    #[cold]
    pub(super) fn give_up_stuck(&mut self) {
        for lane in &mut self.lanes {
            if let Some(status) = lane.stuck() {
                lane.line.give_up(status);
            }
        }
        self.take_captives();
    }

    /// An engine was lost with transfers in it, of which it may never tell: their futures learn that now.
    #[cold]
    pub(super) fn take_captives(&mut self) {
        let dead = |lane: usize| {
            self.lanes.get(lane).is_some_and(|lane| lane.line.recovery.state() == State::Dead)
        };
        let taken = self.ops.iter().filter(|(_, op)| {
            matches!(op.route, Route::Lane(lane) if dead(lane)) && op.outstanding() > 0
        });
        let taken: Vec<_> = taken.map(|(index, _)| index).collect();
        for index in taken {
            self.take_captive(index);
        }
        self.fail_those_behind();
    }

    /// The staging thread says that an engine was lost with a piece of an operation in it.
    #[cold]
    pub(super) fn hold_staged(&mut self, entry: &SubmissionEntry) {
        if !self.keeps_any() {
            // The engine has let go since: the operation's end is on its way.
            return;
        }
        let named = self.ops.find_named(entry.key);
        let staged = |index: &usize| {
            self.ops.get(*index).is_some_and(|op| op.route == Route::Staging && !op.is_held)
        };
        match named.filter(staged) {
            Some(index) => {
                self.take_captive(index);
                self.fail_those_behind();
            }
            None => self.shared.counters.runtime.violations.add(1),
        }
    }

    /// Fails some of those who wait for a permit, if captives hold every one; others have their turn at the next look.
    #[cold]
    pub(super) fn refuse_hopeless(&mut self) {
        let permits = &self.shared.client.permits;
        let most = permits.total() as usize;
        if self.captives < most || !permits.has_waiters() || !self.has_only_captives() {
            return;
        }
        self.shared.client.refuse_some(CompletionCode::ENGINE_LOST, Lost::Places as u8);
        self.shared.ring_event();
    }

    /// Whether nothing is left to be waited for but captives. Those of a peer, which hold no permit, are among them: so the table is
    /// asked as well, and the ring.
    pub(super) fn has_only_captives(&self) -> bool {
        self.captives > 0
            && self.shared.client.permits.out() <= self.captives as u64
            && self.ops.iter().all(|(_, op)| op.port != APPLICATION || op.is_captive)
            && self.ports.get(APPLICATION).is_none_or(Port::is_drained)
    }

    /// An engine works again. Where none keeps anything any more, what were captives are about to end: one that is staged once
    /// the staging thread has heard of it. Others wait for them as for any.
    pub(super) fn release_captives(&mut self) {
        if self.captives == 0 || self.keeps_any() {
            return;
        }
        self.captives = 0;
        for op in self.ops.iter_mut() {
            let was_captive = std::mem::replace(&mut op.is_captive, false);
            // One that has not ended yet has its place among the pieces again, beyond the limit if others have theirs.
            self.splits.pieces += usize::from(was_captive && op.port == split::PORT);
        }
    }

    /// Whether an engine that was lost keeps transfers.
    fn keeps_any(&self) -> bool {
        let mut lines = self.lanes.iter().map(|lane| &lane.line);
        lines.any(|line| line.recovery.state() == State::Dead && line.outstanding() > 0)
    }

    fn take_captive(&mut self, index: usize) {
        self.take_captive_piece(index);
        let index = self.whole(index);
        let Some(op) = self.ops.get_mut(index) else { return };
        if !op.is_captive {
            op.is_captive = true;
            // The staging thread's own copies hold no permit and stand before no fence: their operations do.
            self.captives += usize::from(op.port == APPLICATION);
        }
        self.tell_early(index, Early::Engine);
    }

    /// Fails what is fenced against a captive. All of them leave the fences before any is answered, so that none begins.
    fn fail_those_behind(&mut self) {
        let captives = self.ops.iter().filter(|(_, op)| op.is_captive);
        let Some(first) = captives.filter_map(|(_, op)| op.group.number()).min() else { return };
        let behind = self
            .ops
            .iter()
            .filter(|(_, op)| op.is_held && op.group.number().is_some_and(|group| group > first));
        let behind: Vec<_> = behind.map(|(index, _)| index).collect();
        for index in behind {
            let Some(op) = self.ops.get_mut(index) else { continue };
            op.is_held = false;
            op.fail(behind_captive());
            self.fences.withdraw(index, op.group);
            self.ended.push(index);
        }
    }
}
