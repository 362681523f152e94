//! An address space that remembers what is mapped.
//!
//! Addresses are the host's own. One lock covers the list of mappings and every access to the
//! memory behind it: an `unmap` on one thread therefore comes wholly before or wholly after a
//! transfer that completes on another, and a transfer that comes after finds its range gone and is
//! recorded instead of carried out.
#![allow(unsafe_code, reason = "implements the DmaMap contract for identity addresses")]

use std::{
    ptr::NonNull,
    sync::{Mutex, MutexGuard, PoisonError},
};

use dmaring_engine::{
    Ahead, DmaMap, Iova, MapError, Operation, Outcome, Rights, Status, StatusKind, Transfer,
};

use crate::{Violation, memory::Span};

const EINVAL: i32 = 22;

/// An address space that records its mappings and what breaks the rules. Any number of engines
/// share it.
#[derive(Debug)]
pub struct ManualDomain {
    granule: usize,
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    live: Vec<Mapping>,
    total: u64,
    outstanding: Vec<Transfer>,
    violations: Vec<Violation>,
    refuse_map: Option<(u64, MapError)>,
    refuse_unmap: Option<(u64, MapError)>,
}

#[derive(Debug)]
struct Mapping {
    iova: u64,
    rights: Rights,
    span: Span,
}

impl Default for ManualDomain {
    fn default() -> Self {
        Self::new()
    }
}

impl ManualDomain {
    /// An empty domain whose granule is one byte.
    #[must_use]
    pub fn new() -> Self {
        Self::with_granule(1)
    }

    /// An empty domain with this granule, in bytes. A `map` of anything else than whole granules is
    /// refused with the error of `EINVAL`, as a kernel would.
    ///
    /// # Panics
    ///
    /// When the granule is not a power of two.
    #[must_use]
    pub fn with_granule(granule: usize) -> Self {
        assert!(granule.is_power_of_two(), "a granule of {granule} bytes is no power of two");
        Self { granule, book: Mutex::default() }
    }

    /// How many mappings there are now.
    #[must_use]
    pub fn live(&self) -> usize {
        self.book().live.len()
    }

    /// How many mappings were ever made.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.book().total
    }

    /// Whether `length` bytes at `iova` lie within one live mapping that grants `rights`.
    #[must_use]
    pub fn is_mapped(&self, iova: Iova, length: u64, rights: Rights) -> bool {
        self.book().find(iova, length, rights).is_some()
    }

    /// Lets `after` more calls of `map` pass and refuses the one that follows, once, with `error`.
    pub fn refuse_map(&self, after: u64, error: MapError) {
        self.book().refuse_map = Some((after, error));
    }

    /// Lets `after` more calls of `unmap` pass and refuses the one that follows, once, with
    /// `error`; the mapping then stays.
    pub fn refuse_unmap(&self, after: u64, error: MapError) {
        self.book().refuse_unmap = Some((after, error));
    }

    /// What broke the rules so far, on every engine of this domain, oldest first.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        self.book().violations.clone()
    }

    /// Notes that a transfer may touch memory from now on.
    pub(crate) fn begin(&self, transfer: &Transfer) {
        self.book().outstanding.push(*transfer);
    }

    /// Notes that a transfer no longer touches memory.
    pub(crate) fn end(&self, transfer: &Transfer) {
        self.book().end(transfer);
    }

    /// Carries a transfer out and notes its end, or records why it cannot be and fails it.
    pub(crate) fn carry_out(&self, transfer: &Transfer) -> Outcome {
        let mut book = self.book();
        book.end(transfer);
        match book.carry_out(transfer) {
            Ok(()) => Outcome::Done,
            Err(violation) => {
                book.violations.push(violation);
                let kind = match violation {
                    Violation::UnmappedSource { .. } => StatusKind::SourceAddress,
                    Violation::UnmappedDestination { .. } => StatusKind::DestinationAddress,
                    _ => StatusKind::Descriptor,
                };
                Outcome::Failed(Status { kind, bits: 0 })
            }
        }
    }

    /// Records it if what an engine may read ahead, `most` bytes at most, is not mapped, or is none or more.
    pub(crate) fn look_ahead(&self, Ahead { source, length }: Ahead, most: u64) {
        let mut book = self.book();
        if !(1..=most).contains(&length) {
            book.violations.push(Violation::LengthAhead { length });
        }
        if book.find(source, length, Rights::Read).is_none() {
            book.violations.push(Violation::UnmappedAhead { source, length });
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    /// The mapping that holds the whole range, and where in it the range begins.
    fn find(&self, iova: Iova, length: u64, rights: Rights) -> Option<(&Span, usize)> {
        self.live.iter().find_map(|mapping| {
            let granted = rights == Rights::Read || mapping.rights == Rights::ReadWrite;
            let offset = iova.get().checked_sub(mapping.iova)?;
            let end = offset.checked_add(length)?;
            let inside = granted && end <= mapping.span.length() as u64;
            inside.then(|| usize::try_from(offset).ok().map(|offset| (&mapping.span, offset)))?
        })
    }

    fn covers(&self, transfer: &Transfer) -> bool {
        let destination = self.find(transfer.destination, transfer.length, Rights::ReadWrite);
        destination.is_some()
            && match transfer.operation {
                Operation::Copy { source } | Operation::DeviceCopy { source } => {
                    self.find(source, transfer.length, Rights::Read).is_some()
                }
                _ => true,
            }
    }

    fn end(&mut self, transfer: &Transfer) {
        if let Some(place) = self.outstanding.iter().position(|other| other == transfer) {
            self.outstanding.swap_remove(place);
        }
    }

    fn carry_out(&self, transfer: &Transfer) -> Result<(), Violation> {
        let transfer = *transfer;
        let length = transfer.length;
        let (destination, to) = self
            .find(transfer.destination, length, Rights::ReadWrite)
            .ok_or(Violation::UnmappedDestination { transfer })?;
        let count = usize::try_from(length).unwrap_or(usize::MAX);
        match transfer.operation {
            Operation::Copy { source } | Operation::DeviceCopy { source } => {
                let (source_span, from) = self
                    .find(source, length, Rights::Read)
                    .ok_or(Violation::UnmappedSource { transfer })?;
                if source.get().abs_diff(transfer.destination.get()) < length {
                    return Err(Violation::Overlap { transfer });
                }
                for index in 0..count {
                    destination.write(to + index, source_span.read(from + index));
                }
            }
            Operation::Fill { pattern } | Operation::DeviceFill { pattern } => {
                let bytes = pattern.to_le_bytes();
                for index in 0..count {
                    destination.write(to + index, bytes[index % 8]);
                }
            }
            // `enqueue` refuses operations that this crate does not know.
            _ => {}
        }
        Ok(())
    }
}

/// Counts a planned refusal down; the error when its turn has come.
fn refusal(plan: &mut Option<(u64, MapError)>) -> Option<MapError> {
    match plan {
        Some((0, _)) => plan.take().map(|(_, error)| error),
        Some((left, _)) => {
            *left -= 1;
            None
        }
        None => None,
    }
}

// SAFETY: (1) addresses are the host's own, so `map` gives exactly the memory asked for; (2)
// engines of this domain reach memory only through `carry_out`, which needs a live mapping with the
// right; (3) `unmap` removes the mapping under the lock that `carry_out` holds while it touches
// memory.
unsafe impl DmaMap for ManualDomain {
    fn granule(&self) -> usize {
        self.granule
    }

    unsafe fn map(
        &self,
        memory: NonNull<u8>,
        length: usize,
        rights: Rights,
    ) -> Result<Iova, MapError> {
        let mut book = self.book();
        if let Some(error) = refusal(&mut book.refuse_map) {
            return Err(error);
        }
        let address = memory.as_ptr().addr();
        if length == 0 || (address | length) & (self.granule - 1) != 0 {
            return Err(MapError::Os(EINVAL));
        }
        // SAFETY: (1) the range stays mapped until `unmap` has returned Ok (this call's caller),
        // which drops the span; (2) it is written only where `rights` say so; (3) others use atomic
        // accesses, as the contract of `enqueue` lets them touch the memory at the same time.
        let span = unsafe { Span::new(memory, length) };
        let iova = address as u64;
        book.live.push(Mapping { iova, rights, span });
        book.total += 1;
        Ok(Iova::new(iova))
    }

    unsafe fn unmap(&self, iova: Iova, length: usize) -> Result<(), MapError> {
        let mut book = self.book();
        if let Some(error) = refusal(&mut book.refuse_unmap) {
            return Err(error);
        }
        let same =
            |mapping: &Mapping| mapping.iova == iova.get() && mapping.span.length() == length;
        let Some(place) = book.live.iter().position(same) else {
            book.violations.push(Violation::UnmapUnknown { iova, length });
            return Err(MapError::Os(EINVAL));
        };
        let covered: Vec<Transfer> =
            book.outstanding.iter().copied().filter(|transfer| book.covers(transfer)).collect();
        book.live.swap_remove(place);
        for transfer in covered {
            if !book.covers(&transfer) {
                book.violations.push(Violation::UnmapInUse { transfer });
            }
        }
        Ok(())
    }
}
