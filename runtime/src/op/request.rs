//! What an operation asks for: checked once, turned into a ring entry, and kept for what its errors will name.

use std::{ops::Range, sync::Arc, time::Duration};

use dmaring_ring::{EntryFlags, Key, Opcode, SubmissionEntry};

use super::OnError;
use crate::{
    bundle::Part,
    error::{Error, ErrorKind},
    region::{Cargo, Region},
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
    /// Several short copies, of which the batch knows where they are: so many, from this one of its list on. Their ranges were
    /// checked when they were put to it.
    Bundle {
        first: usize,
        count: usize,
    },
}

impl Part {
    /// This copy by itself.
    pub(crate) fn request(&self) -> Request {
        let &Self { source_offset, destination_offset, length } = self;
        Request::new(Work::Copy { source_offset }, destination_offset, length)
    }
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
    #[inline]
    pub(crate) fn check(&self, cargo: &Cargo) -> Result<(), Error> {
        if self.is_plain(cargo) { Ok(()) } else { self.check_closely(cargo) }
    }

    /// Whether it is seen at a glance that nothing is wrong: without options, within open memory, from one object to another.
    #[inline]
    fn is_plain(&self, cargo: &Cargo) -> bool {
        let Cargo { source, destination, .. } = cargo;
        let is_read = match (&self.work, source) {
            (&Work::Copy { source_offset }, Some(source)) => {
                source.has_plain(source_offset, self.length) && source.is_apart_from(destination)
            }
            (Work::Fill { .. }, None) => true,
            // The length is that of all copies together.
            (Work::Bundle { .. }, Some(source)) => {
                return source.has_plain(0, 0) && destination.has_plain(0, 0);
            }
            _ => false,
        };
        is_read
            && destination.0.facts.writable
            && destination.has_plain(self.destination_offset, self.length)
            && !self.durable
            && self.on_error.is_none()
    }

    fn check_closely(&self, cargo: &Cargo) -> Result<(), Error> {
        let Cargo { source, destination, segments } = cargo;
        let (to, length) = (self.destination_offset, self.length);
        if let Work::Bundle { .. } = self.work {
            source.as_ref().map_or(Ok(()), Region::check_open)?;
            return destination.check_open();
        }
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
        if !Arc::ptr_eq(&source.0.shared, &destination.0.shared) {
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
            Work::Bundle { count, .. } => (Opcode::COPY_BUNDLE, count as u64),
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
            Work::Fill { .. } | Work::Persist | Work::Segments(_) | Work::Bundle { .. } => None,
        }
    }

    /// A bundle has so many copies, of so many bytes together.
    #[inline]
    pub(crate) fn be_bundle_of(&mut self, copies: usize, bytes: u64) {
        if let Work::Bundle { count, .. } = &mut self.work {
            (*count, self.length) = (copies, bytes);
        }
    }

    /// Which copies of its batch a bundle makes, and of how many bytes together.
    #[inline]
    pub(crate) fn bundle(&self) -> Option<(Range<usize>, u64)> {
        match self.work {
            Work::Bundle { first, count } => Some((first..first + count, self.length)),
            _ => None,
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

#[cfg(all(test, not(miri)))]
mod tests {
    use dmaring_manual::ManualEngine;
    use futures::executor::block_on;
    use proptest::{prelude::*, test_runner::TestRunner};

    use super::*;
    use crate::{Region, Runtime};

    const LENGTH: u64 = 4096;

    /// Regions of every kind that the checks tell apart, and what keeps them.
    fn regions() -> (Vec<Region>, impl Sized) {
        let [one, two] =
            [(); 2].map(|()| Runtime::builder().engine(ManualEngine::new().0).build().unwrap());
        let allocate = |runtime: &Runtime| runtime.allocate(LENGTH as usize).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(LENGTH).unwrap();
        let [plain, other, ended] = [(); 3].map(|()| allocate(&one));
        assert!(block_on(ended.close()).is_ok());
        let [device, read] = [false, true].map(|host_reads| {
            let mut region = allocate(&one);
            let inner = region.0.get_mut().unwrap();
            inner.facts = inner.facts.of_device(host_reads);
            region
        });
        let regions = vec![
            plain,
            other,
            ended,
            device,
            read,
            one.open_file(file.path()).unwrap(),
            one.open_file(file.path()).unwrap(),
            one.open_file_read_only(file.path()).unwrap(),
            allocate(&two),
        ];
        (regions, (one, two, file))
    }

    #[test]
    fn what_passes_at_a_glance_passes_a_close_look() {
        let (regions, _keeper) = regions();
        // Half of them are memory of which there is nothing to say.
        let region = || (0..16usize).prop_map(|n| n.checked_sub(7).unwrap_or(n % 2));
        let offset = || prop_oneof![4 => 0..LENGTH, 1 => Just(u64::MAX)];
        let length = prop_oneof![4 => 0..LENGTH / 2, 1 => Just(LENGTH), 1 => Just(u64::MAX)];
        let on_error = prop_oneof![
            4 => Just(None),
            1 => Just(Some(OnError::Fail)),
            1 => Just(Some(OnError::RetryOnCpu)),
        ];
        let options = (prop::bool::weighted(0.2), on_error);
        let asked = (0..3u8, (region(), region()), (offset(), offset()), length, options);
        type Asked = (u8, (usize, usize), (u64, u64), u64, (bool, Option<OnError>));
        let check = |asked: Asked| {
            let (kind, (from, to), (source_offset, offset), length, options) = asked;
            let work = match kind {
                0 => Work::Copy { source_offset },
                1 => Work::Fill { pattern: 7 },
                _ => Work::Persist,
            };
            let source = (kind == 0).then(|| regions[from].clone());
            let cargo = Cargo { source, destination: regions[to].clone(), segments: None };
            let mut request = Request::new(work, offset, length);
            let (durable, on_error) = options;
            request.durable |= durable;
            request.on_error = on_error;
            let (glance, closely) = (request.is_plain(&cargo), request.check_closely(&cargo));
            prop_assert!(!glance || closely.is_ok(), "{request:?} {closely:?}");
            let of_memory = to < 2 && (kind == 1 || kind == 0 && from < 2 && from != to);
            if of_memory && options == (false, None) {
                prop_assert_eq!(glance, closely.is_ok(), "{:?} {:?}", request, closely);
            }
            Ok(())
        };
        TestRunner::new(ProptestConfig::with_cases(4096)).run(&asked, check).unwrap();
    }
}
