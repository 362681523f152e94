//! Both ends of a copy, open.

use std::path::Path;

use dmaring::{Durability, Error, Region, Runtime};

use super::{
    destination::Prepared,
    inspect::{End, Kind},
    pattern,
    plan::Plan,
    report::{Access, Place},
};
use crate::failure::Failure;

/// Both ends, open.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) source: Region,
    pub(crate) destination: Region,
    /// Takes back what was done to a DST file, until the copy begins.
    prepared: Option<Prepared>,
    /// Which of them are memory of our own, to be filled.
    memory: (bool, bool),
}

impl Ends {
    pub(crate) fn open(
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
        let end = destination;
        let destination = open(runtime, end, plan.destination_end(), open_destination)?;
        if plan.durable && destination.durability() == Durability::Volatile {
            let source = destination.durability_source();
            let why = format!(
                "--durable: it is volatile ({source}): use persistent memory or a file on a disk"
            );
            return Err(end.refused(why));
        }
        Ok(Self { source, destination, prepared, memory })
    }

    /// Writes to memory of our own, so that copying meets no page faults, and the pattern has a place to go.
    pub(crate) fn warm(&self, plan: &Plan) -> Result<(), Error> {
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
    pub(crate) fn keep(&mut self) {
        if let Some(prepared) = self.prepared.take() {
            prepared.keep();
        }
    }

    /// What is known of DST.
    pub(crate) fn durability(&self) -> String {
        let region = &self.destination;
        format!("{}, {}", region.durability(), region.durability_source())
    }

    pub(crate) fn place(&self, end: &End, region: &Region, offset: u64) -> Place {
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
