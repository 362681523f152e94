//! Making operations from regions.

use super::{Cargo, Region};
use crate::op::{Copy, Fill, Request, Work};

impl Region {
    /// Copies `length` bytes from `source_offset` of this region to `destination_offset` of `destination`.
    ///
    /// The future is submitted when first polled, or by [`Copy::submit`]. It resolves to the number of bytes
    /// copied, `length`. A copy of 0 bytes resolves at once.
    ///
    /// # Errors
    ///
    /// The future resolves to [`OutOfBounds`](crate::ErrorKind::OutOfBounds),
    /// [`Overlap`](crate::ErrorKind::Overlap) or [`Permission`](crate::ErrorKind::Permission) without anything being
    /// written, and to any other [`ErrorKind`](crate::ErrorKind) as its variants say.
    ///
    /// # Cancellation
    ///
    /// Dropping the future never stops a copy that was submitted: the engine finishes it, and until then the
    /// destination is unspecified. Both regions stay mapped as long as that takes.
    pub fn copy_to(
        &self,
        source_offset: u64,
        destination: &Self,
        destination_offset: u64,
        length: u64,
    ) -> Copy {
        self.clone().into_copy(source_offset, destination.clone(), destination_offset, length)
    }

    /// As [`copy_to`](Region::copy_to), with the handles that the copy is to have.
    #[inline]
    pub(crate) fn into_copy(
        self,
        source_offset: u64,
        destination: Self,
        destination_offset: u64,
        length: u64,
    ) -> Copy {
        let cargo = Cargo { source: Some(self), destination, segments: None };
        let work = Work::Copy { source_offset };
        Copy::new(Request::new(work, destination_offset, length), cargo)
    }

    /// Copies within this region; otherwise as [`copy_to`](Region::copy_to).
    pub fn copy(&self, source_offset: u64, destination_offset: u64, length: u64) -> Copy {
        self.copy_to(source_offset, self, destination_offset, length)
    }

    /// Fills `length` bytes at `offset` with the eight bytes of `pattern`, little endian, again and again from
    /// `offset` on; the last repetition is cut where `length` is no multiple of eight.
    ///
    /// Resolves to the number of bytes written. Errors and cancellation as with [`copy_to`](Region::copy_to).
    pub fn fill(&self, offset: u64, length: u64, pattern: u64) -> Fill {
        let cargo = Cargo { source: None, destination: self.clone(), segments: None };
        Fill::new(Request::new(Work::Fill { pattern }, offset, length), cargo)
    }
}
