//! Where an operation goes: to an engine, to the staging thread, and on to another engine.

use dmaring_ring::{CompletionCode, SubmissionEntry};

use super::{
    Poller,
    admit::refuse,
    ops::{Addresses, Durable, Failure, Reach, Rest, Route, Source},
    port::Port,
};
use crate::{
    op::{Early, Lost, Refused},
    staging::{self, StagedRequest},
};

impl Poller {
    /// Routes to the engine with the least to do that has the operation, those that work before those being reset; to
    /// one that is the host's CPU if `host`. Memory of a device is the CPU's only where it must be: each of its accesses
    /// waits for the device.
    pub(super) fn send_to_lane(&mut self, index: usize, host: bool) -> Result<(), Failure> {
        let Some(op) = self.ops.get_mut(index) else { return Ok(()) };
        let is_fill = matches!(op.source, Source::Pattern(_));
        let host = host || op.reach == Reach::Host;
        let of_device = op.reach != Reach::Memory;
        let count = self.lanes.len();
        let mut capable = false;
        // Of lanes with equal loads the next in turn.
        let best = (0..count)
            .map(|step| (self.next_lane + step) % count)
            .filter_map(|number| self.lanes.get(number).map(|lane| (number, &lane.line)))
            .filter(|(_, line)| {
                let has = (!is_fill || line.capabilities.fill)
                    && (!host || line.capabilities.host_memory);
                capable |= has;
                has && line.recovery.takes_work()
            })
            .min_by_key(|(_, line)| {
                let slow = of_device && line.capabilities.host_memory;
                (!line.recovery.is_fed(), slow, line.load)
            })
            .map(|(number, _)| number);
        let Some((number, lane)) = best.and_then(|best| Some((best, self.lanes.get_mut(best)?)))
        else {
            return Err(if capable { lost(Lost::Engines) } else { refuse(Refused::Unsupported) });
        };
        self.next_lane = (number + 1) % count;
        let line = &mut lane.line;
        let regions = &self.shared.regions;
        let address = |region, offset| {
            regions.base(region, line.domain).and_then(|base| base.checked_add(offset))
        };
        let destination = address(op.destination.0, op.destination.1);
        let source = match op.source {
            Source::Region(region, offset) => address(region, offset),
            Source::Pattern(_) | Source::Nothing => destination,
        };
        let (Some(source), Some(destination)) = (source, destination) else {
            return Err(refuse(Refused::Unmapped));
        };
        let limit = line.capabilities.max_transfer;
        if !op.route_to(number, limit, Addresses { source, destination }) {
            return Err(refuse(Refused::TooLong));
        }
        op.reach_as(line.capabilities.host_memory);
        line.push(index, op.length);
        Ok(())
    }

    /// Sends an operation with nothing in its engine on: what failed to a CPU, the rest of a retired or lost engine's to
    /// others.
    #[cold]
    pub(super) fn go_elsewhere(&mut self, index: usize) {
        let Some(op) = self.ops.get_mut(index) else { return };
        if let Route::Lane(lane) = op.route
            && let Some(lane) = self.lanes.get_mut(lane)
        {
            lane.line.load = lane.line.load.saturating_sub(op.length);
        }
        op.route = Route::Nowhere;
        let retry = op.rest() == Some(Rest::Retry);
        let host = retry || op.is_retrying();
        if retry {
            op.begin_retry();
        }
        let sent = self.send_to_lane(index, host);
        let (Err(failure), Some(op)) = (sent, self.ops.get_mut(index)) else { return };
        if host {
            op.give_up_retry();
        }
        if op.failure().is_none() {
            op.fail(failure);
        }
        self.ended.push(index);
    }

    pub(super) fn send_to_staging(&mut self, index: usize) -> Result<(), Failure> {
        let lost = lost(Lost::Poller);
        if self.staging.is_none() {
            let port =
                self.shared.staging.get().map(|staging| staging.port().clone()).ok_or(lost)?;
            self.ports.push(Port::staging(port.clone()));
            self.staging = Some(port);
        }
        let name = self.ops.name(index).ok_or(lost)?;
        let Some(op) = self.ops.get_mut(index) else { return Ok(()) };
        let request = StagedRequest {
            name,
            source: match op.source {
                Source::Region(region, offset) => staging::Source::Region(region, offset),
                Source::Pattern(pattern) => staging::Source::Pattern(pattern),
                Source::Nothing => staging::Source::Nothing,
            },
            destination: op.destination,
            length: op.length,
            deadline: op.deadline,
            retries: op.retries,
            durable: op.durable == Durable::File,
        };
        let sent = self.staging.as_ref().is_some_and(|staging| staging.send(request));
        if sent { Ok(()) } else { Err(lost) }
    }

    /// The staging thread says that an operation has ended.
    pub(super) fn finish_staged(&mut self, entry: &SubmissionEntry) {
        let Some(index) = self.ops.find_named(entry.key) else {
            self.shared.counters.runtime.violations.add(1);
            return;
        };
        let outcome = staging::outcome(entry);
        let Some(op) = self.ops.get_mut(index).filter(|op| op.route == Route::Staging) else {
            self.shared.counters.runtime.violations.add(1);
            return;
        };
        if let Err((code, kind, bits, offset)) = outcome {
            op.fail(Failure { code, kind, retry: None, bits, offset });
            if code == CompletionCode::ABORTED {
                // Its deadline passed, and the staging thread was the first to see it.
                self.tell_early(index, Early::Deadline);
            }
        }
        self.ended.push(index);
    }
}

pub(super) fn lost(why: Lost) -> Failure {
    Failure { kind: why as u8, ..Failure::of(CompletionCode::ENGINE_LOST) }
}
