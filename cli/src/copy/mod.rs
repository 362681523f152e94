//! `dmaring copy`: checks everything, then copies, then says how it went.
//!
//! Up to the moment the first block is submitted everything can be taken back, and every failure is a refusal: a DST
//! that was created is removed, one that was extended shrinks back. From then on DST is what the copy made
//! of it.

mod bar;
mod destination;
mod ends;
pub(crate) mod inspect;
mod memcpy;
mod memory;
mod pattern;
mod plan;
mod progress;
mod report;
pub(crate) mod setup;
mod transfer;
mod verify;

use std::time::Duration;

use futures::executor::block_on;

use self::{
    ends::Ends,
    inspect::Kind,
    plan::Plan,
    progress::Progress,
    report::{Report, Timing},
    setup::Setup,
};
use crate::{args::CopyArguments, failure::Failure, location::Location, output};

/// How long the end of the runtime may take. Nothing is in flight by then.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// Carries out the command and prints its report.
pub(crate) fn run(arguments: &CopyArguments) -> Result<(), Failure> {
    let (source, destination) = locations(arguments)?;
    let setup = Setup::new(arguments, &source, &destination)?;
    // What comes first here is dropped last: the device outlives the runtime, and that the regions.
    let Setup { device: _device, runtime, source, destination, .. } = setup;
    let Setup { plan, mut ends, mut buffers, ring_entries, engine, .. } = setup;
    ends.keep();
    let mut progress = Progress::new("copying", plan.size);
    let copied = block_on(transfer::copy(&ends.source, &ends.destination, &plan, &mut progress));
    drop(progress);

    let mut report = Report {
        version: env!("CARGO_PKG_VERSION"),
        source: ends.place(&source, &ends.source, plan.source_offset),
        destination: ends.place(&destination, &ends.destination, plan.destination_offset),
        size: plan.size,
        block: plan.block,
        depth: plan.depth,
        ring_entries,
        poller_core: arguments.pollers.core,
        engine,
        copied: copied.bytes,
        engine_time: Timing::new(copied.bytes, copied.time),
        memcpy_time: None,
        ratio: None,
        includes_storage: (source.kind, destination.kind) != (Kind::Memory, Kind::Memory),
        durable: plan.durable.then(|| ends.durability()),
        verified: false,
        first_difference: None,
        error: None,
        stats: runtime.stats().into(),
    };
    if let Some(failure) = copied.failure {
        report.error = Some(format!(
            "{} to {}: failed after {} of {} bytes, in the block at SRC offset {}: {}",
            source.name,
            destination.name,
            copied.bytes,
            plan.size,
            plan.source_offset + failure.offset,
            failure.error
        ));
    } else {
        let memcpy = Timing::new(plan.size, buffers.copy(&plan));
        report.memcpy_time = Some(memcpy);
        report.ratio = Some(memcpy.seconds / report.engine_time.seconds);
        if !arguments.no_verify {
            verify(&ends, &plan, &mut report);
        }
    }
    drop(ends);
    if let Err(error) = block_on(runtime.shutdown(SHUTDOWN)) {
        report.error.get_or_insert_with(|| error.to_string());
    }
    output::print(&report, arguments.json)?;
    report.error.map_or(Ok(()), |error| Err(Failure::Failed(error)))
}

/// SRC and DST; memory where there is neither.
fn locations(arguments: &CopyArguments) -> Result<(Location, Location), Failure> {
    match (&arguments.source, &arguments.destination) {
        (None, _) => Ok((Location::Memory, Location::Memory)),
        (Some(source), Some(destination)) => Ok((source.clone(), destination.clone())),
        (Some(source), None) => Err(Failure::Refused(format!(
            "SRC {source} is given without DST: name where to copy to, or mem"
        ))),
    }
}

fn verify(ends: &Ends, plan: &Plan, report: &mut Report) {
    let mut progress = Progress::new("verifying", plan.size);
    match verify::compare(&ends.source, &ends.destination, plan, &mut progress) {
        Ok(None) => report.verified = true,
        Ok(Some(difference)) => {
            report.first_difference = Some(difference);
            report.error = Some(format!(
                "the copy is not equal: SRC holds {:#04x} at offset {}, DST {:#04x} at offset {}",
                difference.source,
                difference.source_offset,
                difference.destination,
                difference.destination_offset
            ));
        }
        Err(error) => {
            report.error = Some(format!(
                "{} bytes were copied but could not be read back: {error}",
                plan.size
            ));
        }
    }
}
