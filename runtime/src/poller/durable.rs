//! Operations whose bytes are written and are to be durable before their end is told.
//!
//! They go to the housekeeper's thread, which writes caches back: see [`persist`](crate::persist). The poller has its own
//! word from the engine that the last part has ended, so what is written back is what the engine wrote. An engine that
//! streams tells which lines are in no cache; where more than one engine had parts of an operation, or one had a
//! part twice, all of its lines are written back: so it is with one that was striped, once its last stripe has ended, and
//! with one that the host's CPU did by words, from a BAR, since those are ordinary stores. The
//! segments of a vectored copy are written back by themselves, as pieces, each when it has ended; a line that two of
//! them share is written back for both.

use dmaring_ring::Key;

use super::{
    Poller,
    ops::{Durable, Route},
    route::lost,
};
use crate::{foreign, op::Lost, persist::Span};

impl Poller {
    /// Sees to the durability of an operation whose bytes are written. `true`: it ends later.
    #[cold]
    pub(super) fn persist(&mut self, index: usize) -> bool {
        let durable = self.ops.get(index).map_or(Durable::No, |op| op.durable);
        match durable {
            Durable::WriteBack => {
                let sent = self.hand_over(index);
                if sent.is_none()
                    && let Some(op) = self.ops.get_mut(index)
                {
                    op.fail(lost(Lost::WriteBack));
                }
                sent.is_some()
            }
            Durable::Fence => {
                // It may be an application's.
                if foreign::call(|| self.shared.persist.fence()).is_none()
                    && let Some(op) = self.ops.get_mut(index)
                {
                    op.fail(lost(Lost::WriteBack));
                }
                false
            }
            // The staging thread has seen to a file, and pieces to what they wrote.
            Durable::File | Durable::Each | Durable::No => false,
        }
    }

    /// Takes the operations whose lines were written back.
    pub(super) fn take_persisted(&mut self) {
        while let Some((name, failed)) = self.shared.persist.next_ended() {
            self.persisting = self.persisting.saturating_sub(1);
            let Some(index) = self.ops.find_named(Key::from_word(name)) else { continue };
            let Some(op) = self.ops.get_mut(index) else { continue };
            if failed {
                op.fail(lost(Lost::WriteBack));
            }
            self.ended.push(index);
        }
    }

    fn hand_over(&mut self, index: usize) -> Option<()> {
        let name = self.ops.name(index)?.to_word();
        let op = self.ops.get_mut(index)?;
        let (region, offset) = op.destination;
        let (host, _) = self.shared.regions.durable(region)?;
        let address = host.checked_add(offset)?;
        let mut streams_from = None;
        if let Route::Lane(lane) = op.route
            && let Some(lane) = self.lanes.get_mut(lane)
        {
            // The engine is through with it.
            lane.line.load = lane.line.load.saturating_sub(op.length);
            streams_from = lane.line.capabilities.streams_from;
        }
        let plain = op.plain_part().zip(streams_from);
        let (part, streams_from) = plain.unwrap_or((op.length, u64::MAX));
        let span = Span { name, address, length: op.length, part, streams_from };
        op.route = Route::Persisting;
        let sent = self.shared.persist.send(span);
        self.persisting += usize::from(sent);
        sent.then_some(())
    }
}
