//! What an operation asks for: checked once, turned into a ring entry, and kept for what its errors will name.

use std::time::Duration;

use dmaring_ring::{EntryFlags, Key, Opcode, SubmissionEntry};

use super::OnError;
use crate::{
    error::{Error, ErrorKind},
    region::Cargo,
    segments::{SegmentCargo, SegmentNumbers},
};

/// Why a retry on the CPU is refused.
pub(crate) const NO_CPU: &str = "no engine of the runtime is the host's CPU, so nothing can be retried there: add one to the builder, for example dmaring_cpu::CpuEngine";

/// Why reading memory of a device is refused.
pub(crate) const DEVICE_SOURCE: &str = "the source is memory of a device, which the CPU alone reads, and no engine of the runtime is that: add one to the builder, for example dmaring_cpu::CpuEngine, or open the source with BarOptions::engine_reads_mmio";

#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) work: Work,
    pub(crate) destination_offset: u64,
    pub(crate) length: u64,
    pub(crate) fenced: bool,
    /// `None`: the runtime's.
    pub(crate) on_error: Option<OnError>,
    /// From submission.
    pub(crate) timeout: Option<Duration>,
    /// Whether the bytes are durable at the end.
    pub(crate) durable: bool,
}

/// What is written to the destination.
#[derive(Debug)]
pub(crate) enum Work {
    Copy {
        source_offset: u64,
    },
    Fill {
        pattern: u64,
    },
    /// Nothing: what is there is made durable.
    Persist,
    /// What the list in the cargo says, of which these are the numbers. Its ranges were checked when it was made; whether its
    /// regions are still open is checked when it is submitted.
    Segments(SegmentNumbers),
}

impl Request {
    /// An operation without options.
    pub(crate) fn new(work: Work, destination_offset: u64, length: u64) -> Self {
        let durable = matches!(work, Work::Persist);
        Self {
            work,
            destination_offset,
            length,
            fenced: false,
            on_error: None,
            timeout: None,
            durable,
        }
    }

    /// Refuses what could never succeed.
    pub(crate) fn check(&self, cargo: &Cargo) -> Result<(), Error> {
        let Cargo { source, destination, segments } = cargo;
        let (to, length) = (self.destination_offset, self.length);
        if self.on_error == Some(OnError::RetryOnCpu) && !destination.0.shared.policy.has_cpu {
            return Err(Error::new(ErrorKind::Unsupported, NO_CPU));
        }
        if let Work::Segments(_) = self.work {
            let Some(segments) = segments else { return Ok(()) };
            // In a child of fork no lock is taken.
            destination.0.shared.check_process()?;
            segments.check_open()?;
            return if self.durable { segments.check_durable() } else { Ok(()) };
        }
        destination.check_range("destination", to, length)?;
        if self.durable {
            destination.check_durable()?;
        }
        if !matches!(self.work, Work::Persist) {
            destination.check_writable()?;
        }
        let (Some(source), &Work::Copy { source_offset: from }) = (source, &self.work) else {
            return Ok(());
        };
        source.check_range("source", from, length)?;
        if source.0.facts.host_reads && !source.0.shared.policy.has_cpu {
            return Err(Error::new(ErrorKind::Unsupported, DEVICE_SOURCE));
        }
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

    /// The ring entry, but for its key. A time limit begins now.
    #[inline]
    pub(crate) fn entry(&self, cargo: &Cargo) -> SubmissionEntry {
        let (opcode, source_offset) = match self.work {
            Work::Copy { source_offset } => (Opcode::COPY, source_offset),
            Work::Fill { pattern } => (Opcode::FILL, pattern),
            Work::Persist => (Opcode::PERSIST, 0),
            Work::Segments(_) => (Opcode::COPY_VECTORED, 0),
        };
        let mut flags = EntryFlags::empty();
        flags.set(EntryFlags::FENCE, self.fenced);
        flags.set(EntryFlags::DURABLE, self.durable);
        flags.set(EntryFlags::FAIL_ON_ERROR, self.on_error == Some(OnError::Fail));
        flags.set(EntryFlags::RETRY_ON_CPU, self.on_error == Some(OnError::RetryOnCpu));
        let shared = &cargo.destination.0.shared;
        let source = match &cargo.source {
            Some(source) => source.0.key,
            None => cargo.segments.as_ref().map_or(Key::default(), SegmentCargo::key),
        };
        SubmissionEntry {
            opcode,
            flags,
            deadline: self.timeout.map_or(0, |timeout| shared.deadline(timeout)),
            source,
            destination: cargo.destination.0.key,
            source_offset,
            destination_offset: self.destination_offset,
            length: self.length,
            key: Key::default(),
        }
    }

    /// The source offset, for error messages; `None` for a fill.
    pub(crate) fn source_offset(&self) -> Option<u64> {
        match self.work {
            Work::Copy { source_offset } => Some(source_offset),
            Work::Fill { .. } | Work::Persist | Work::Segments(_) => None,
        }
    }

    /// The numbers of a vectored copy's list.
    pub(crate) fn segments(&self) -> Option<&SegmentNumbers> {
        match &self.work {
            Work::Segments(numbers) => Some(numbers),
            _ => None,
        }
    }
}
