//! `dmaring copy`: checks everything, then copies, then says how it went.
//!
//! Up to the moment the first block is submitted everything can be taken back, and every failure is a refusal: a DST
//! that was created is removed, one that was extended shrinks back. From then on DST is what the copy made
//! of it.

mod destination;
mod inspect;
mod memcpy;
mod memory;
mod pattern;
mod plan;
mod progress;
mod report;
mod transfer;
mod verify;

use std::{
    io::{self, Write},
    path::Path,
    time::Duration,
};

use dmaring::{BuildError, Error, Region, Runtime};
use futures::executor::block_on;

use self::{
    destination::Prepared,
    inspect::{End, Kind},
    memcpy::Buffers,
    plan::Plan,
    progress::Progress,
    report::{Access, Place, Report, Timing},
};
use crate::{
    args::CopyArguments, emulated::Emulated, engine_spec::Selection, failure::Failure,
    location::Location,
};

/// How long the end of the runtime may take. Nothing is in flight by then.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// Carries out the command and prints its report.
pub(crate) fn run(arguments: &CopyArguments) -> Result<(), Failure> {
    let (source, destination) = locations(arguments)?;
    let selection =
        Selection::of(&arguments.engines, &arguments.emulated).map_err(Failure::Refused)?;
    let engine = selection.describe();
    let ring_entries = arguments.depth.next_power_of_two().max(2);
    // The device goes after the runtime, which still halts its channels.
    let (_device, runtime) = build(arguments, selection, ring_entries)?;

    let source = End::inspect(&runtime, "SRC", &source)?;
    let destination = End::inspect(&runtime, "DST", &destination)?;
    let plan = Plan::new(arguments, &source, &destination)?;
    memory::check(&plan, source.kind, destination.kind)?;
    let mut ends = Ends::open(&runtime, &source, &destination, &plan)?;
    let mut buffers = Buffers::new(plan.size)?;
    ends.warm(&plan).map_err(|error| Failure::Refused(error.to_string()))?;

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
        poller_core: arguments.core,
        engine,
        copied: copied.bytes,
        engine_time: Timing::new(copied.bytes, copied.time),
        memcpy_time: None,
        ratio: None,
        includes_storage: (source.kind, destination.kind) != (Kind::Memory, Kind::Memory),
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
    print(&report, arguments.json)?;
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

fn build(
    arguments: &CopyArguments,
    selection: Selection,
    ring_entries: u32,
) -> Result<(Option<Emulated>, Runtime), Failure> {
    let (builder, device) = selection.add_to(Runtime::builder());
    let mut builder = builder.ring_entries(ring_entries);
    if let Some(core) = arguments.core {
        builder = builder.poller_core(core);
    }
    let runtime = builder.build().map_err(|error| match error {
        BuildError::Core { core, allowed } => Failure::Refused(format!(
            "--core {core}: there is no such core, or this process may not use it: use one of {allowed}"
        )),
        error => Failure::Refused(error.to_string()),
    })?;
    Ok((device, runtime))
}

/// Both ends, open.
struct Ends {
    source: Region,
    destination: Region,
    /// Takes back what was done to a DST file, until the copy begins.
    prepared: Option<Prepared>,
    /// Which of them are memory of our own, to be filled.
    memory: (bool, bool),
}

impl Ends {
    fn open(
        runtime: &Runtime,
        source: &End,
        destination: &End,
        plan: &Plan,
    ) -> Result<Self, Failure> {
        let memory = (source.kind == Kind::Memory, destination.kind == Kind::Memory);
        let open_source = |path: &Path| runtime.open_file_read_only(path);
        let source = open(runtime, source, plan.source_end(), open_source)?;
        let prepared = match (destination.kind, destination.location.path()) {
            (Kind::File { .. } | Kind::Missing, Some(path)) => {
                Some(Prepared::new(path, &destination.name, plan)?)
            }
            _ => None,
        };
        let open_destination = |path: &Path| runtime.open_file(path);
        let destination = open(runtime, destination, plan.destination_end(), open_destination)?;
        Ok(Self { source, destination, prepared, memory })
    }

    /// Writes to memory of our own, so that copying meets no page faults, and the pattern has a place to go.
    fn warm(&self, plan: &Plan) -> Result<(), Error> {
        let (source, destination) = self.memory;
        if destination {
            pattern::overwrite(&self.destination, plan.destination_offset, plan.size)?;
        }
        if source {
            pattern::write(&self.source, plan.source_offset, plan.size)?;
        }
        Ok(())
    }

    /// From here on DST is what the copy makes of it.
    fn keep(&mut self) {
        if let Some(prepared) = self.prepared.take() {
            prepared.keep();
        }
    }

    fn place(&self, end: &End, region: &Region, offset: u64) -> Place {
        let access = match end.kind {
            Kind::Memory => Access::Memory,
            _ if region.as_mut_ptr().is_some() => Access::Mapped,
            _ => Access::Staged,
        };
        Place { location: end.location.to_string(), offset, access }
    }
}

/// Opens one end, which must have `length` bytes at least, still.
fn open(
    runtime: &Runtime,
    end: &End,
    length: u64,
    open_file: impl FnOnce(&Path) -> Result<Region, Error>,
) -> Result<Region, Failure> {
    let region = match (&end.region, end.location.path()) {
        (Some(region), _) => region.clone(),
        (None, Some(path)) => open_file(path).map_err(|error| end.refused(error))?,
        (None, None) => {
            let bytes = usize::try_from(length).unwrap_or(usize::MAX);
            runtime.allocate(bytes).map_err(|error| end.refused(error))?
        }
    };
    if region.len() < length {
        let why = format!("it has shrunk to {} bytes, {length} are needed", region.len());
        return Err(end.refused(why));
    }
    Ok(region)
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

fn print(report: &Report, json: bool) -> Result<(), Failure> {
    let mut output = io::stdout().lock();
    let written = if json {
        serde_json::to_writer(&mut output, report)
            .map_err(io::Error::from)
            .and_then(|()| writeln!(output))
    } else {
        write!(output, "{report}")
    };
    match written.and_then(|()| output.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Failed(format!("the report cannot be written: {error}")))
        }
        _ => Ok(()),
    }
}
