//! Replacing a region's memory with zeroes, under every view of it.
//!
//! A view is whatever finds the memory by its address: handles of the region, and pointers that
//! [`Region::as_mut_ptr`](super::Region::as_mut_ptr) gave. Unmapping pulls it from under them: the next access faults, or,
//! worse, finds what was mapped there since. `mmap` with `MAP_FIXED` changes what stands at the same addresses in one step:
//! the kernel takes the address space's lock for writing, and a fault that comes meanwhile waits for it. An access finds the old
//! memory or zeroes, and never nothing. Source: Linux, `mm/mmap.c` and `mm/vma.c`; `mmap(2)`, `MAP_FIXED`.
//!
//! The addresses stay taken for the process's life: nobody knows when the last pointer is gone. That costs address space, of
//! which a process has 128 TiB, and no memory until somebody writes there.
#![allow(unsafe_code, reason = "island: maps zeroes over memory of our own")]

use std::num::NonZeroUsize;

use memmap2::MmapRaw;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};

use super::{Backing, Region, life::End};
use crate::error::{Error, ErrorKind};

/// Of the pages that a mapping is made of at least, in bytes. Mappings of huge pages or of a device are whole multiples of theirs.
const PAGE: usize = 4096;

impl Region {
    /// Ends the region and lets zeroes take the place of its memory, under every outstanding view of it.
    ///
    /// As [`close`](Region::close) it refuses new operations, waits for those in flight and unmaps the memory for the
    /// engines. Then zeroes of this process's own stand at the same addresses, at once: who reads through a clone
    /// ([`read_at`](Region::read_at)) or through a pointer that [`as_mut_ptr`](Region::as_mut_ptr) gave finds the old bytes before
    /// and zeroes after, never anything else and never a fault, for the rest of the process's life. The device, file or
    /// memory itself is let go and unchanged. Operations and [`write_at`](Region::write_at) fail with
    /// [`Closed`](ErrorKind::Closed); bytes that a stale pointer writes later reach nobody but who reads there.
    ///
    /// The addresses stay in use until the process ends, so prefer [`close`](Region::close) where no pointers are left.
    ///
    /// # Errors
    ///
    /// As [`close`](Region::close); [`Unsupported`](ErrorKind::Unsupported), and the region is as it was, for a file that is
    /// staged, for a BAR, which is a device's, and for a registered buffer, whose memory is the application's:
    /// [`close_into`](Region::close_into) gives it back;
    /// [`LimitExceeded`](ErrorKind::LimitExceeded) if the kernel has no room for another mapping (`vm.max_map_count`): the
    /// memory is then left as it is, and the region is closed.
    ///
    /// # Cancellation
    ///
    /// As with [`close`](Region::close).
    pub async fn replace_with_zeroes(&self) -> Result<(), Error> {
        let ours = |backing: &Backing| matches!(backing, Backing::Mapped(_));
        if !self.0.life.is_ending() && !self.0.with_backing(ours) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "only device-dax nodes, mapped files and allocations can be replaced with zeroes: use close, or close_into for a registered buffer",
            ));
        }
        self.begin_end(End::Zeroes, false)?.await.map(drop)
    }
}

/// Maps zeroes over what `backing` mapped. Either way nothing is unmapped any more.
pub(super) fn with_zeroes(backing: Backing) -> Result<(), Error> {
    match backing {
        Backing::Mapped(mapping) => {
            let outcome = map_over(&mapping);
            // From here on the addresses belong to whoever has a pointer.
            std::mem::forget(mapping);
            outcome
        }
        // Refused before.
        other => {
            std::mem::forget(other);
            Ok(())
        }
    }
}

fn map_over(mapping: &MmapRaw) -> Result<(), Error> {
    let bytes = mapping.len().next_multiple_of(PAGE);
    let failed = |error: nix::Error| {
        Error::system(format_args!("cannot map {bytes} bytes of zeroes over the region"), error)
    };
    let address =
        NonZeroUsize::new(mapping.as_mut_ptr().addr()).ok_or_else(|| failed(nix::Error::EINVAL))?;
    let length = NonZeroUsize::new(bytes).ok_or_else(|| failed(nix::Error::EINVAL))?;
    // Writable, so that a stale writer does not fault; without a reservation, since hardly anybody writes.
    let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_FIXED | MapFlags::MAP_NORESERVE;
    // SAFETY: (1) the range is exactly what `mapping` mapped, rounded up to pages as the kernel did, and stays ours: `mapping`
    // is forgotten, so it is never unmapped; (2) no engine reaches it: it was unmapped for them, with nothing in
    // flight (`Region::finish`); (3) no reference to it exists: the library makes none, and `as_mut_ptr` forbids them; (4) its
    // bytes are accessed by atomics or volatile accesses, for which any value is one.
    unsafe { mmap_anonymous(Some(address), length, protection, flags) }.map_err(failed).map(drop)
}
