//! From operations to pieces and back: what is issued where, and when the whole has ended.

use dmaring_ring::{CompletionCode, Key};

use super::{
    Poller,
    admit::refuse,
    ops::{ActiveOp, Failure, Plan, Route, Source},
    split::{Held, Next, PIECES, PORT, Piece, Split, advanced, weight},
};
use crate::{op::Refused, placement::Stripes};

impl Poller {
    /// Stripes an operation over several engines. `false`: there are no two for it.
    pub(super) fn send_stripes(&mut self, index: usize, stripes: Stripes) -> bool {
        let Some(op) = self.ops.get(index) else { return true };
        let want = self.want(op.source, op.destination.0, op.length);
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
            let source = Source::Region(first.source, 0);
            let want = self.want(source, first.destination, length);
            self.stripe_lanes(&want, stripes, &mut split.lanes);
            split.stripe = stripes.stripe;
        }
        self.begin_split(index, split);
    }

    fn begin_split(&mut self, parent: usize, mut split: Split) {
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
            let lane = match self.lane_for(&mut split, &next) {
                Ok(Some(lane)) => Some(lane),
                Ok(None)
                    if next.staged && split.pieces.iter().all(|piece| piece.lane.is_some()) =>
                {
                    None
                }
                Ok(None) => break,
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
            self.issue_piece(index, &mut split, &next, lane);
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
        let Some(list) = split.list else {
            let left = parent.length.checked_sub(split.offset).filter(|&left| left > 0)?;
            let (region, to) = parent.destination;
            return Some(Next {
                source: advanced(parent.source, split.offset),
                destination: (region, to.saturating_add(split.offset)),
                length: left.min(split.stripe),
                staged: false,
            });
        };
        loop {
            let segment = self.shared.segments.get(list, split.segment)?;
            let left = segment.length.saturating_sub(split.offset);
            if left == 0 {
                (split.segment, split.offset) = (split.segment + 1, 0);
                continue;
            }
            let staged =
                |region| self.shared.regions.facts(region).is_none_or(|facts| facts.staged);
            let to = segment.destination_offset.saturating_add(split.offset);
            return Some(Next {
                source: advanced(
                    Source::Region(segment.source, segment.source_offset),
                    split.offset,
                ),
                destination: (segment.destination, to),
                length: left.min(split.stripe),
                staged: staged(segment.source) || staged(segment.destination),
            });
        }
    }

    /// Where the next piece goes. `None`: nowhere now, since every lane has its share of the operation, or to the staging
    /// thread. With nothing under way it goes to whoever can do it.
    fn lane_for(&mut self, split: &mut Split, next: &Next) -> Result<Option<usize>, Failure> {
        if next.staged {
            return Ok(None);
        }
        let open = split.lanes.iter().filter_map(|&number| Some((number, self.lanes.get(number)?)));
        let open = open.filter(|(number, lane)| {
            lane.line.recovery.is_fed() && split.has_share(*number, lane, next.length)
        });
        let least = open.min_by_key(|(number, lane)| {
            (split.held.get(*number).map(|held| held.bytes), lane.line.load)
        });
        if let Some((number, _)) = least {
            return Ok(Some(number));
        }
        if split.pieces.iter().any(|piece| piece.lane.is_some()) {
            return Ok(None);
        }
        let length = self.ops.get(split.parent).map_or(next.length, |parent| parent.length);
        let best = self.best(&self.want(next.source, next.destination.0, length))?;
        if !split.lanes.contains(&best) {
            split.lanes.push(best);
        }
        Ok(Some(best))
    }

    fn issue_piece(&mut self, index: usize, split: &mut Split, next: &Next, lane: Option<usize>) {
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
        };
        let op = self.ops.insert(plan);
        self.splits.pieces += 1;
        let held = lane.and_then(|lane| self.lanes.get(lane)).map(|lane| weight(lane, length));
        let held = held.unwrap_or_default();
        split.hold(lane, held);
        split.pieces.push(Piece { op, segment: split.segment, offset: split.offset, lane, held });
        split.offset = split.offset.saturating_add(length);
        let sent = match lane {
            Some(lane) => {
                self.checked(source, destination, length).and_then(|()| self.assign(op, lane))
            }
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

    /// Judges a piece by the regions as they are now, whatever was found when the operation was admitted.
    fn checked(&self, source: Source, destination: (Key, u64), length: u64) -> Result<(), Failure> {
        let within = |(region, offset): (Key, u64)| {
            let facts = self.shared.regions.facts(region).ok_or(refuse(Refused::Unmapped))?;
            match u64::checked_add(offset, length) {
                Some(end) if end <= facts.length => Ok(facts),
                _ => Err(refuse(Refused::OutOfBounds)),
            }
        };
        if !within(destination)?.writable {
            return Err(refuse(Refused::Permission));
        }
        match source {
            Source::Region(region, offset) => within((region, offset)).map(drop),
            _ => Ok(()),
        }
    }

    /// A piece has ended.
    pub(super) fn finish_piece(&mut self, op: usize, ended: &ActiveOp) {
        let index = ended.key.index as usize;
        self.splits.pieces = self.splits.pieces.saturating_sub(1);
        if let Some(split) = self.splits.live.get_mut(index)
            && let Some(at) = split.pieces.iter().position(|piece| piece.op == op)
        {
            let piece = split.pieces.swap_remove(at);
            split.release(&piece);
            split.retried |= ended.is_retrying();
            if let Some(failure) = ended.failure() {
                let failure = split.failure_at(piece.segment, piece.offset, failure);
                split.fail(failure);
            }
        }
        // Those that stood in line come first, and each is content with what it gets.
        while self.splits.pieces < PIECES
            && let Some(hungry) = self.splits.hungry.pop_front()
        {
            if let Some(split) = self.splits.live.get_mut(hungry) {
                split.is_hungry = false;
            }
            self.issue(hungry);
        }
        self.issue(index);
    }

    /// Every piece has ended, and so has the operation.
    fn end_split(&mut self, index: usize) {
        let Some(split) = self.splits.leave(index) else { return };
        if let Some(op) = self.ops.get_mut(split.parent) {
            match split.failure {
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
        let piece = self.ops.get(index).filter(|op| op.port == PORT);
        let split = piece.and_then(|op| self.splits.live.get(op.key.index as usize));
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
        op.fail(Failure::of(CompletionCode::ABORTED));
        let is_out = op.outstanding() > 0;
        if let Some(lane) = self.lanes.get_mut(lane) {
            lane.line.forget(piece, &mut self.ops);
        }
        self.moved.retain(|&moved| moved != piece);
        if !is_out && !self.ended.contains(&piece) {
            self.ended.push(piece);
        }
    }
}
