//! `dmaring calibrate`: which engine copies what best between two places.

use std::{fmt, path::Path, time::Duration};

use dmaring::{BuildError, Calibration, Region, Runtime};
use futures::executor::block_on;
use serde::Serialize;

use crate::{
    args::CalibrateArguments,
    copy::{inspect::on_huge_pages, setup::node_of},
    failure::Failure,
    location::Location,
    output,
    selection::{Selection, Wanted},
    size,
};

/// How much memory is allocated unless told.
const MEMORY: u64 = 64 << 20;
/// The most that is used of what is larger, unless told.
const MOST: u64 = 256 << 20;
/// How long the end of the runtime may take. Nothing is in flight by then.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// Why a BAR is not measured.
const BAR: &str = "the CPU reads and writes a BAR word by word, so there is nothing to compare: use /dev/daxX.Y, a file on tmpfs or hugetlbfs, or mem";

/// What was found.
#[derive(Debug, Serialize)]
struct Report {
    version: &'static str,
    engine: String,
    source: String,
    destination: String,
    /// Bytes of each that were used.
    size: u64,
    /// From how many bytes on an engine is faster than the CPU.
    crossover: Option<u64>,
    /// From how many bytes on copies are striped.
    striped_from: Option<u64>,
    /// From how many bytes on a buffer that is used once is mapped and not bounced.
    map_from: Option<u64>,
    calibration: Calibration,
    saved: Option<String>,
}

/// Measures, prints, and saves if that is wanted.
pub(crate) fn run(arguments: &CalibrateArguments) -> Result<(), Failure> {
    let memory = || Location::Memory;
    let source = arguments.source.clone().unwrap_or_else(memory);
    let destination = arguments.destination.clone().unwrap_or_else(memory);
    for (role, location) in [("SRC", &source), ("DST", &destination)] {
        check(role, location)?;
    }
    let wanted = Wanted { near: node_of(&destination), cpu: None };
    let selection = Selection::of(&arguments.engines, &arguments.emulated, wanted)
        .map_err(Failure::Refused)?
        .with_cpu();
    let engine = selection.describe();
    let (builder, device) = selection.add_to(Runtime::builder());
    let runtime = arguments.pollers.add_to(builder).build().map_err(|error| match error {
        BuildError::Core { .. } => Failure::refused("--core", error),
        error => Failure::Refused(error.to_string()),
    })?;
    let from = open(&runtime, "SRC", &source, arguments.size)?;
    let to = open(&runtime, "DST", &destination, arguments.size)?;
    // Memory of our own is touched, so that no copy meets a page fault.
    warm(&source, &from)?;
    warm(&destination, &to)?;
    let size = from.len().min(to.len());
    let time = Duration::from_secs(arguments.seconds);
    let calibration = block_on(Calibration::measure_within(&runtime, &from, &to, time))
        .map_err(|error| Failure::Failed(error.to_string()))?;
    if let Some(path) = &arguments.save {
        save(&calibration, path)?;
    }
    drop((from, to));
    block_on(runtime.shutdown(SHUTDOWN)).map_err(|error| Failure::Failed(error.to_string()))?;
    drop((runtime, device));
    let report = Report {
        version: env!("CARGO_PKG_VERSION"),
        engine,
        source: source.to_string(),
        destination: destination.to_string(),
        size,
        crossover: calibration.crossover(),
        striped_from: calibration.split().map(|(striping, _)| striping.from),
        map_from: calibration.map_from(),
        calibration,
        saved: arguments.save.as_ref().map(|path| path.display().to_string()),
    };
    output::print(&report, arguments.json)
}

/// Refuses what cannot be measured before anything is opened.
fn check(role: &str, location: &Location) -> Result<(), Failure> {
    let name = format!("{role} {location}");
    match location {
        Location::Bar(_) => Err(Failure::refused(name, BAR)),
        Location::Huge(path) => {
            on_huge_pages(path).map(drop).map_err(|why| Failure::refused(name, why))
        }
        Location::Memory | Location::Device(_) | Location::Path(_) => Ok(()),
    }
}

/// Opens one place; of what is longer only so much is used.
fn open(
    runtime: &Runtime,
    role: &str,
    location: &Location,
    size: Option<u64>,
) -> Result<Region, Failure> {
    let refused = |why: &dyn fmt::Display| Failure::refused(format!("{role} {location}"), why);
    let region = match location {
        Location::Memory => {
            let bytes = usize::try_from(size.unwrap_or(MEMORY)).unwrap_or(usize::MAX);
            runtime.allocate(bytes)
        }
        Location::Device(path) => {
            let whole = runtime.open_dax(path).map_err(|error| refused(&error))?;
            let most = size.unwrap_or(MOST).min(whole.len());
            if most == whole.len() {
                Ok(whole)
            } else {
                drop(whole);
                // Lengths of devdax mappings are multiples of 1 GiB at the most.
                runtime.open_dax_range(path, 0, most).or_else(|_| runtime.open_dax(path))
            }
        }
        Location::Path(path) | Location::Huge(path) => runtime.open_file(path),
        Location::Bar(_) => return Err(refused(&BAR)),
    };
    let region = region.map_err(|error| refused(&error))?;
    if let Some(size) = size.filter(|&size| size > region.len()) {
        let why = format!("it has {} bytes, less than --size {size}", region.len());
        return Err(refused(&why));
    }
    if region.as_mut_ptr().is_none() {
        return Err(refused(
            &"a file that is read and written through buffers: its disk decides, not the engine; use one on tmpfs or hugetlbfs, /dev/daxX.Y or mem",
        ));
    }
    Ok(region)
}

fn warm(location: &Location, region: &Region) -> Result<(), Failure> {
    if *location != Location::Memory {
        return Ok(());
    }
    let chunk = vec![0x5a; 1 << 20];
    for offset in (0..region.len()).step_by(chunk.len()) {
        let length = usize::try_from(region.len() - offset).unwrap_or(usize::MAX).min(chunk.len());
        region
            .write_at(offset, chunk.get(..length).unwrap_or_default())
            .map_err(|error| Failure::Refused(error.to_string()))?;
    }
    Ok(())
}

fn save(calibration: &Calibration, path: &Path) -> Result<(), Failure> {
    calibration.save(path).map_err(|error| Failure::Failed(format!("--save {error}")))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, destination, size, calibration, .. } = self;
        writeln!(f, "engine: {}", self.engine)?;
        writeln!(f, "measured: {source} to {destination}, {}", size::format(*size))?;
        writeln!(f, "{calibration}")?;
        if let Some(path) = &self.saved {
            writeln!(f, "saved: {path}: `dmaring copy --calibration {path}` goes by it")?;
        }
        Ok(())
    }
}
