//! Where an operation goes: to an engine, to the staging thread, and on to another engine.

use dmaring_ring::{CompletionCode, Key, SubmissionEntry};

use super::{
    Poller,
    admit::refuse,
    line::Line,
    ops::{Addresses, Durable, Failure, Reach, Rest, Route, Source},
    port::Port,
};
use crate::{
    op::{Early, Lost, Refused},
    placement::{Kind, Placement, Stripes},
    staging::{self, StagedRequest},
};

/// What is wanted of an engine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Want {
    is_fill: bool,
    /// It must be the host's CPU.
    pub(super) host: bool,
    /// Memory of a device takes part.
    of_device: bool,
    /// Which kind it is rather.
    kind: Kind,
    /// The node that it is rather on.
    near: Option<u32>,
}

impl Want {
    /// Whether the engine is one that should have it: of those that can, where memory of a device takes part, of the kind
    /// that is wanted alone.
    pub(super) fn suits(&self, line: &Line) -> bool {
        self.can(line) && (!self.of_device || self.host || self.is_kind(line))
    }

    fn can(&self, line: &Line) -> bool {
        (!self.is_fill || line.capabilities.fill) && (!self.host || line.capabilities.host_memory)
    }

    fn is_kind(&self, line: &Line) -> bool {
        match self.kind {
            Kind::Any => true,
            Kind::Host => line.capabilities.host_memory,
            Kind::Device => !line.capabilities.host_memory,
        }
    }

    fn is_far(&self, line: &Line) -> bool {
        matches!((self.near, line.node), (Some(near), Some(node)) if near != node)
    }
}

impl Poller {
    /// Routes to the engine that is best for it; to one that is the host's CPU if `host`.
    pub(super) fn send_to_lane(&mut self, index: usize, host: bool) -> Result<(), Failure> {
        let Some(op) = self.ops.get(index) else { return Ok(()) };
        let mut want = self.want((op.source, op.destination.0), op.reach, op.length);
        want.host |= host;
        let lane = self.best(&want)?;
        self.assign(index, lane)
    }

    /// What is wanted of an engine for an operation of this length, from and to these regions.
    ///
    /// Memory of a device is the CPU's only where it must be, whatever a calibration says of memory: each of the CPU's accesses
    /// waits for the device.
    pub(super) fn want(&self, ends: (Source, Key), reach: Reach, length: u64) -> Want {
        let (source, destination) = ends;
        let node = |region| self.shared.regions.facts(region)?.node;
        let steering = &self.shared.steering;
        let near = if self.is_spread {
            match (steering.placement(), source) {
                (Placement::Any, _) => None,
                (Placement::LocalToSource, Source::Region(region, _)) => node(region),
                _ => node(destination),
            }
        } else {
            None
        };
        let is_fill = matches!(source, Source::Pattern(_));
        let (host, of_device) = (reach == Reach::Host, reach != Reach::Memory);
        let kind = if of_device { Kind::Device } else { steering.kind(length) };
        Want { is_fill, host, of_device, kind, near }
    }

    /// The engine with the least to do that can do it: those that work before those being reset, those of the kind that is
    /// wanted before others, those that are near before those that are not.
    pub(super) fn best(&mut self, want: &Want) -> Result<usize, Failure> {
        let number = self.choose(want)?;
        self.next_lane = (number + 1) % self.lanes.len();
        Ok(number)
    }

    /// The same, and the next in turn stays the next.
    pub(super) fn choose(&self, want: &Want) -> Result<usize, Failure> {
        let count = self.lanes.len();
        let mut capable = false;
        // Of lanes with equal loads the next in turn.
        let best = (0..count)
            .map(|step| (self.next_lane + step) % count)
            .filter_map(|number| self.lanes.get(number).map(|lane| (number, &lane.line)))
            .filter(|(_, line)| {
                let has = want.can(line);
                capable |= has;
                has && line.recovery.takes_work()
            })
            .min_by_key(|(_, line)| {
                (!line.recovery.is_fed(), !want.is_kind(line), want.is_far(line), line.load)
            })
            .map(|(number, _)| number);
        let Some(number) = best else {
            return Err(if capable { lost(Lost::Engines) } else { refuse(Refused::Unsupported) });
        };
        Ok(number)
    }

    /// The lanes that an operation is striped over: those that are nearest and work, of devices the ones with the least to
    /// do, and the host's CPU if it joins.
    pub(super) fn stripe_lanes(&self, want: &Want, stripes: Stripes, lanes: &mut Vec<usize>) {
        let line = |number: &usize| self.lanes.get(*number).map(|lane| &lane.line);
        let works = |line: &&Line| want.can(line) && line.recovery.is_fed();
        let is_device = |line: &Line| !line.capabilities.host_memory;
        lanes.extend(
            (0..self.lanes.len()).filter(|number| line(number).is_some_and(|it| works(&it))),
        );
        let devices = lanes.iter().filter_map(line).filter(|line| is_device(line));
        let farthest = devices.map(|line| want.is_far(line)).min();
        // Without devices the CPU is all there is. With them, it does not wait for memory of a device.
        let cpu_joins = stripes.cpu_joins && !want.of_device || farthest.is_none();
        let farthest = farthest.unwrap_or(true);
        lanes.retain(|number| {
            line(number)
                .is_some_and(|line| want.is_far(line) <= farthest && (cpu_joins || is_device(line)))
        });
        // Devices first, the least busy first.
        lanes.sort_unstable_by_key(|number| {
            line(number).map(|line| (!is_device(line), line.load, *number))
        });
        let devices = lanes.iter().filter_map(line).filter(|line| is_device(line)).count();
        let most = usize::try_from(stripes.engines).unwrap_or(usize::MAX).max(1);
        if devices > most {
            lanes.drain(most..devices);
        }
    }

    /// Puts an operation in the line of an engine.
    pub(super) fn assign(&mut self, index: usize, number: usize) -> Result<(), Failure> {
        let (Some(op), Some(lane)) = (self.ops.get_mut(index), self.lanes.get_mut(number)) else {
            return Ok(());
        };
        let line = &mut lane.line;
        let regions = &self.shared.regions;
        let address = |region, offset| {
            regions.base(region, line.domain).and_then(|base| base.checked_add(offset))
        };
        let destination = address(op.destination.0, op.destination.1);
        let source = match op.source {
            Source::Region(region, offset) => address(region, offset),
            Source::Pattern(_) | Source::Nothing => destination,
            Source::Segments(_) | Source::Bundle(..) => return Err(refuse(Refused::Malformed)),
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
            self.leave_to_cpu(index);
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
                Source::Segments(_) | Source::Bundle(..) => {
                    return Err(refuse(Refused::Malformed));
                }
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
