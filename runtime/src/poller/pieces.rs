//! From operations to pieces and back: what is issued where, and when the whole has ended.

use dmaring_ring::{CompletionCode, Key};

use super::{
    Poller,
    admit::{durable, range, reach, refuse},
    line::Line,
    ops::{ActiveOp, Durable, Failure, Plan, Reach, Rest, Route, Source},
    split::{Held, Next, PIECES, PORT, Piece, Split, Verdict, advanced, weight},
};
use crate::{op::Refused, placement::Stripes};

impl Poller {
    /// Stripes an operation over several engines. `false`: there are no two for it.
    pub(super) fn send_stripes(&mut self, index: usize, stripes: Stripes) -> bool {
        let Some(op) = self.ops.get(index) else { return true };
        let want = self.want((op.source, op.destination.0), op.reach, op.length);
        let mut split = self.splits.blank();
        self.stripe_lanes(&want, stripes, &mut split.lanes);
        if split.lanes.len() < 2 {
            self.splits.recycle(split);
            return false;
        }
        split.stripe = stripes.stripe;
        self.begin_split(index, split);
        true
    }

    /// Begins with the segments of a vectored operation: all with one engine, unless they are enough to be striped.
    pub(super) fn send_segments(&mut self, index: usize, list: Key) {
        let Some(op) = self.ops.get(index) else { return };
        let length = op.length;
        let mut split = self.splits.blank();
        (split.list, split.stripe) = (Some(list), u64::MAX);
        let first = self.shared.segments.get(list, 0);
        if let (Some(stripes), Some(first)) = (self.shared.steering.stripes(length), first) {
            let ends = (Source::Region(first.source, 0), first.destination);
            let want = self.want(ends, Reach::Memory, length);
            self.stripe_lanes(&want, stripes, &mut split.lanes);
            split.stripe = stripes.stripe;
        }
        self.begin_split(index, split);
    }

    pub(super) fn begin_split(&mut self, parent: usize, mut split: Split) {
        split.parent = parent;
        split.held.resize(self.lanes.len(), Held::default());
        let index = self.splits.enter(split);
        if let Some(op) = self.ops.get_mut(parent) {
            op.route = Route::Split(index);
        }
        self.issue(index);
    }

    /// Issues pieces while there is room for them, and ends the split if there is nothing left of it.
    fn issue(&mut self, index: usize) {
        let Some(live) = self.splits.live.get_mut(index) else { return };
        let mut split = std::mem::take(live);
        while let Some(next) = self.next_piece(&mut split) {
            let found = self.judge(&split, &next).and_then(|verdict| {
                self.lane_for(&mut split, &next, verdict).map(|lane| (verdict, lane))
            });
            let (verdict, lane) = match found {
                Ok((verdict, Some(lane))) => (verdict, Some(lane)),
                // The staging thread has one at a time.
                Ok((verdict, None))
                    if verdict.staged && split.pieces.iter().all(|piece| piece.lane.is_some()) =>
                {
                    (verdict, None)
                }
                Ok((_, None)) => break,
                Err(failure) if split.is_bundle() => {
                    split.part_refused(next.length, failure);
                    continue;
                }
                Err(failure) => {
                    let failure = split.failure_at(split.segment, split.offset, failure);
                    split.fail(failure);
                    break;
                }
            };
            if self.splits.pieces >= PIECES {
                if !split.is_hungry {
                    split.is_hungry = true;
                    self.splits.hungry.push_back(index);
                }
                break;
            }
            self.issue_piece((index, &mut split), &next, verdict, lane);
        }
        let over = split.pieces.is_empty() && !split.is_hungry;
        if let Some(live) = self.splits.live.get_mut(index) {
            *live = split;
        }
        if over {
            self.end_split(index);
        }
    }

    /// The next piece; segments of no bytes are passed over.
    fn next_piece(&self, split: &mut Split) -> Option<Next> {
        if split.stopped {
            return None;
        }
        let parent = self.ops.get(split.parent)?;
        if split.is_bundle() {
            let from =
                if let Source::Bundle(from, _) = parent.source { from } else { return None };
            return split.next_part(from, parent.destination.0);
        }
        let Some(list) = split.list else {
            let left = parent.length.checked_sub(split.offset).filter(|&left| left > 0)?;
            let (region, to) = parent.destination;
            return Some(Next {
                source: advanced(parent.source, split.offset),
                destination: (region, to.saturating_add(split.offset)),
                length: left.min(split.stripe),
            });
        };
        loop {
            let segment = self.shared.segments.get(list, split.segment)?;
            let left = segment.length.saturating_sub(split.offset);
            if left == 0 {
                (split.segment, split.offset) = (split.segment + 1, 0);
                continue;
            }
            let to = segment.destination_offset.saturating_add(split.offset);
            return Some(Next {
                source: advanced(
                    Source::Region(segment.source, segment.source_offset),
                    split.offset,
                ),
                destination: (segment.destination, to),
                length: left.min(split.stripe),
            });
        }
    }

    /// Judges a piece by the regions as they are now, whatever was found when the operation was admitted.
    fn judge(&self, split: &Split, next: &Next) -> Result<Verdict, Failure> {
        let shared = &self.shared;
        let regions = &shared.regions;
        let within = |(region, offset): (Key, u64)| range(regions, region, offset, next.length);
        let destination = within(next.destination)?;
        if !destination.writable {
            return Err(refuse(Refused::Permission));
        }
        let source = match next.source {
            Source::Region(region, offset) => Some(within((region, offset))?),
            _ => None,
        };
        let each = self.ops.get(split.parent).is_some_and(|op| op.durable == Durable::Each);
        Ok(Verdict {
            reach: reach(shared.policy, source, destination)?,
            durable: if each {
                durable(regions, next.destination.0, destination)?
            } else {
                Durable::No
            },
            staged: destination.staged || source.is_some_and(|source| source.staged),
        })
    }

    /// Where the next piece goes. `None`: nowhere now, since every lane that suits it has its share of the operation, or to
    /// the staging thread. With nothing under way it goes to whoever can do it.
    fn lane_for(
        &mut self,
        split: &mut Split,
        next: &Next,
        verdict: Verdict,
    ) -> Result<Option<usize>, Failure> {
        if verdict.staged {
            return Ok(None);
        }
        let parent = self.ops.get(split.parent).filter(|_| !split.is_bundle());
        let length = parent.map_or(next.length, |parent| parent.length);
        let mut want = self.want((next.source, next.destination.0), verdict.reach, length);
        want.host |= split.left_to_cpu;
        let lanes =
            split.lanes.iter().filter_map(|&number| Some((number, self.lanes.get(number)?)));
        let mut suited = lanes.filter(|(_, lane)| want.suits(&lane.line)).peekable();
        let is_foreign = suited.peek().is_none();
        let open = suited.filter(|(number, lane)| {
            lane.line.recovery.is_fed() && split.has_share(*number, lane, next.length)
        });
        let least = open.min_by_key(|(number, lane)| {
            (split.held.get(*number).map(|held| held.bytes), lane.line.load)
        });
        if let Some((number, _)) = least {
            return Ok(Some(number));
        }
        let is_under_way = split.pieces.iter().any(|piece| piece.lane.is_some());
        if is_under_way && !is_foreign {
            return Ok(None);
        }
        let best = self.best(&want)?;
        let has_share = self.lanes.get(best).is_some_and(|lane| {
            lane.line.recovery.is_fed() && split.has_share(best, lane, next.length)
        });
        if is_under_way && !has_share {
            return Ok(None);
        }
        // A lane that was taken because no other may do this piece is not for those that follow.
        if verdict.reach == Reach::Memory && !split.lanes.contains(&best) {
            split.lanes.push(best);
        }
        Ok(Some(best))
    }

    fn issue_piece(
        &mut self,
        (index, split): (usize, &mut Split),
        next: &Next,
        verdict: Verdict,
        lane: Option<usize>,
    ) {
        let Some(parent) = self.ops.get(split.parent) else { return };
        let number = u32::try_from(index).unwrap_or(u32::MAX);
        let &Next { source, destination, length, .. } = next;
        let plan = Plan {
            port: PORT,
            key: Key { index: number, generation: 0 },
            source,
            destination,
            length,
            deadline: parent.deadline,
            retries: parent.retries,
            reach: verdict.reach,
            durable: verdict.durable,
        };
        let op = self.ops.insert(plan);
        self.splits.pieces += 1;
        let held = lane.and_then(|lane| self.lanes.get(lane)).map(|lane| weight(lane, length));
        let held = held.unwrap_or_default();
        split.hold(lane, held);
        split.pieces.push(Piece { op, segment: split.segment, offset: split.offset, lane, held });
        split.offset = split.offset.saturating_add(length);
        split.issued = split.issued.saturating_add(length);
        let sent = match lane {
            Some(lane) => self.assign(op, lane),
            None => {
                if let Some(op) = self.ops.get_mut(op) {
                    op.route = Route::Staging;
                }
                self.send_to_staging(op)
            }
        };
        if let Err(failure) = sent {
            if let Some(op) = self.ops.get_mut(op) {
                op.route = Route::Nowhere;
                op.fail(failure);
            }
            self.ended.push(op);
        }
    }

    /// A piece has ended.
    pub(super) fn finish_piece(
        &mut self,
        op: usize,
        ended: &ActiveOp,
        outcome: Result<(), Failure>,
    ) {
        let index = ended.key.index as usize;
        if !ended.is_captive {
            self.splits.pieces = self.splits.pieces.saturating_sub(1);
        }
        let mut fails = false;
        if let Some(split) = self.splits.live.get_mut(index)
            && let Some(at) = split.pieces.iter().position(|piece| piece.op == op)
        {
            let piece = split.pieces.swap_remove(at);
            split.release(&piece);
            if split.is_bundle() {
                split.part_ended(piece.segment, outcome);
                split.redone += u64::from(ended.is_retrying() && outcome.is_ok());
            } else {
                split.retried |= ended.is_retrying();
            }
            // One that was stopped is so because the operation has failed already.
            if !split.is_bundle()
                && let Err(failure) = outcome
                && failure.code != CompletionCode::ABORTED
            {
                fails = true;
                let failure = split.failure_at(piece.segment, piece.offset, failure);
                split.fail(failure);
            }
        }
        self.feed_hungry();
        if fails {
            self.stop_split(index);
        } else {
            self.issue(index);
        }
    }

    /// Those that stood in line come first, and each is content with what it gets.
    fn feed_hungry(&mut self) {
        while self.splits.pieces < PIECES
            && let Some(hungry) = self.splits.hungry.pop_front()
        {
            if let Some(split) = self.splits.live.get_mut(hungry) {
                split.is_hungry = false;
            }
            self.issue(hungry);
        }
    }

    /// Every piece has ended, and so has the operation.
    fn end_split(&mut self, index: usize) {
        let Some(split) = self.splits.leave(index) else { return };
        if split.is_bundle() {
            self.end_bundle(&split);
        } else if let Some(op) = self.ops.get_mut(split.parent) {
            match split.failure.or_else(|| split.shortfall(op.length)) {
                Some(failure) => op.fail(failure),
                None if split.retried && !op.told_early => {
                    self.shared.counters.runtime.retried.add(1);
                }
                None => {}
            }
            self.ended.push(split.parent);
        }
        self.splits.recycle(split);
    }

    /// The operation whose future is to be told what happened to this one.
    pub(super) fn whole(&self, index: usize) -> usize {
        let split = self.split_of(index).and_then(|split| self.splits.live.get(split));
        split.map_or(index, |split| split.parent)
    }

    /// The operation is not to go on. Pieces that have nothing in an engine end here, the others when they are back.
    #[cold]
    pub(super) fn stop_split(&mut self, index: usize) {
        let Some(live) = self.splits.live.get_mut(index) else { return };
        live.stopped = true;
        if live.is_hungry {
            live.is_hungry = false;
            self.splits.hungry.retain(|&hungry| hungry != index);
        }
        let pieces: Vec<_> = live.pieces.iter().map(|piece| piece.op).collect();
        if pieces.is_empty() {
            return self.end_split(index);
        }
        for piece in pieces {
            self.stop_piece(piece);
        }
    }

    fn stop_piece(&mut self, piece: usize) {
        let Some(op) = self.ops.get_mut(piece) else { return };
        let Route::Lane(lane) = op.route else { return };
        if op.ended().is_some() {
            // It is among those that have ended, and about to tell how.
            return;
        }
        // Of what is in the engine a part may fail yet, and that is told.
        op.fail(Failure { offset: u64::MAX, ..Failure::of(CompletionCode::ABORTED) });
        let is_out = op.outstanding() > 0;
        if let Some(lane) = self.lanes.get_mut(lane) {
            lane.line.forget(piece, &mut self.ops);
        }
        self.moved.retain(|&moved| moved != piece);
        if !is_out && !self.ended.contains(&piece) {
            self.ended.push(piece);
        }
    }

    /// An engine failed to do a piece, and the CPU does it again: it does all that is left of the operation and is in no
    /// engine.
    #[cold]
    pub(super) fn leave_to_cpu(&mut self, piece: usize) {
        let Some(split) = self.split_of(piece).and_then(|split| self.splits.live.get_mut(split))
        else {
            return;
        };
        let is_cpu = |line: &Line| line.capabilities.host_memory && line.recovery.takes_work();
        if !self.lanes.iter().any(|lane| is_cpu(&lane.line)) {
            return;
        }
        split.left_to_cpu = true;
        let others: Vec<_> =
            split.pieces.iter().map(|piece| piece.op).filter(|&other| other != piece).collect();
        for other in others {
            self.move_to_cpu(other);
        }
    }

    fn move_to_cpu(&mut self, piece: usize) {
        let Some(op) = self.ops.get_mut(piece) else { return };
        let Route::Lane(number) = op.route else { return };
        let Some(lane) = self.lanes.get_mut(number) else { return };
        let is_waiting = op.rest() == Some(Rest::Parts) && !self.moved.contains(&piece);
        if !is_waiting || lane.line.capabilities.host_memory {
            return;
        }
        lane.line.load = lane.line.load.saturating_sub(op.length);
        op.route = Route::Nowhere;
        lane.line.forget(piece, &mut self.ops);
        let sent = self.send_to_lane(piece, true);
        let (Err(failure), Some(op)) = (sent, self.ops.get_mut(piece)) else { return };
        op.fail(failure);
        self.ended.push(piece);
    }

    /// A lost engine has a piece and may keep it: others have its place.
    #[cold]
    pub(super) fn take_captive_piece(&mut self, piece: usize) {
        let Some(op) = self.ops.get_mut(piece).filter(|op| op.port == PORT && !op.is_captive)
        else {
            return;
        };
        op.is_captive = true;
        self.splits.pieces = self.splits.pieces.saturating_sub(1);
        self.feed_hungry();
    }

    fn split_of(&self, piece: usize) -> Option<usize> {
        self.ops.get(piece).filter(|op| op.port == PORT).map(|op| op.key.index as usize)
    }
}
