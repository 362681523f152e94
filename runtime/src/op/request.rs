//! An operation before it is submitted: checked once, turned into a ring entry.

use dmaring_ring::{EntryFlags, Key, Opcode, SubmissionEntry};

use crate::{
    error::{Error, ErrorKind},
    region::Cargo,
};

#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) cargo: Cargo,
    pub(crate) work: Work,
    pub(crate) destination_offset: u64,
    pub(crate) length: u64,
    pub(crate) fenced: bool,
}

/// What is written to the destination.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Work {
    Copy { source_offset: u64 },
    Fill { pattern: u64 },
}

impl Request {
    /// Refuses what could never succeed.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let Cargo { source, destination } = &self.cargo;
        let (to, length) = (self.destination_offset, self.length);
        destination.check_range("destination", to, length)?;
        destination.check_writable()?;
        let (Some(source), Work::Copy { source_offset: from }) = (source, self.work) else {
            return Ok(());
        };
        source.check_range("source", from, length)?;
        if !std::sync::Arc::ptr_eq(&source.0.shared, &destination.0.shared) {
            return Err(Error::new(
                ErrorKind::Unmapped,
                "source and destination belong to different runtimes: open both in one",
            ));
        }
        if source.overlaps(from, destination, to, length) {
            let message = format!(
                "source and destination overlap: {length} bytes from offset {from} to offset {to} of the same memory"
            );
            return Err(Error::new(ErrorKind::Overlap, message));
        }
        Ok(())
    }

    /// The ring entry, but for its key.
    pub(crate) fn entry(&self) -> SubmissionEntry {
        let (opcode, source_offset) = match self.work {
            Work::Copy { source_offset } => (Opcode::COPY, source_offset),
            Work::Fill { pattern } => (Opcode::FILL, pattern),
        };
        let source = self.cargo.source.as_ref().map_or(Key::default(), |source| source.0.key);
        SubmissionEntry {
            opcode,
            flags: if self.fenced { EntryFlags::FENCE } else { EntryFlags::empty() },
            source,
            destination: self.cargo.destination.0.key,
            source_offset,
            destination_offset: self.destination_offset,
            length: self.length,
            ..SubmissionEntry::default()
        }
    }

    /// The source offset, for error messages; `None` for a fill.
    pub(crate) fn source_offset(&self) -> Option<u64> {
        match self.work {
            Work::Copy { source_offset } => Some(source_offset),
            Work::Fill { .. } => None,
        }
    }
}
