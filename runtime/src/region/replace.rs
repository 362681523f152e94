//! Replacing a region's memory with zeroes, under every view of it.
//!
//! A view is whatever finds the memory by its address: handles of the region, and pointers that
//! [`Region::as_mut_ptr`](super::Region::as_mut_ptr) gave. Unmapping pulls it from under them: the next access faults, or,
//! worse, finds what was mapped there since. Zeroes are mapped elsewhere first, and then moved there by `mremap` with
//! `MREMAP_FIXED`, which changes what stands at the addresses in one step: the kernel takes the address space's lock for writing,
//! and a fault that comes meanwhile waits for it. An access finds the old memory or zeroes, and never nothing. Source: Linux,
//! `mm/mremap.c`; `mremap(2)`.
//!
//! Mapping with `MAP_FIXED` would do it in one call, but that one may fail with the old memory gone already: the kernel removes
//! it, then charges the new mapping against the commit limit where `vm.overcommit_memory` is 2, whatever `MAP_NORESERVE` says
//! (Linux, `mm/mmap.c`, before 6.12). Here whatever may be refused is refused while the old memory stands: limits and charges by
//! `mmap`, the number of mappings by either, and `mremap` looks at it before it removes anything.
//!
//! The addresses stay taken for the process's life: nobody knows when the last pointer is gone. That costs address space, of
//! which a process has 128 TiB, and no memory until somebody writes there.
#![allow(unsafe_code, reason = "island: moves zeroes over memory of our own")]

use std::ptr::NonNull;

use memmap2::{MmapOptions, MmapRaw};
use nix::{
    errno::Errno,
    sys::mman::{MRemapFlags, mremap},
};

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
    /// [`LimitExceeded`](ErrorKind::LimitExceeded) if the kernel has no room for another mapping of that length
    /// (`vm.max_map_count`, `RLIMIT_AS`, `RLIMIT_DATA`, the commit limit with `vm.overcommit_memory` 2): the memory is then left
    /// as it is, and the region is closed. The one failure that leaves it unknown what stands at the addresses is the kernel's own
    /// want of memory in its last step; the message says so.
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

/// Moves zeroes over what `backing` mapped. Either way nothing is unmapped any more.
pub(super) fn with_zeroes(backing: Backing) -> Result<(), Error> {
    match backing {
        Backing::Mapped(mapping) => {
            let outcome = replace(&mapping);
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

fn replace(mapping: &MmapRaw) -> Result<(), Error> {
    let bytes = mapping.len().next_multiple_of(PAGE);
    let zeroes = map_zeroes(bytes).map_err(|error| {
        let what = format_args!(
            "cannot map {bytes} bytes of zeroes to take the region's place: its memory is left as it is"
        );
        Error::system(what, error)
    })?;
    move_over(mapping, &zeroes).map_err(|error| {
        let what = format_args!(
            "cannot move {bytes} bytes of zeroes to the region's place: its memory is left as it is, or gone if the kernel ran out of memory itself"
        );
        Error::system(what, error)
    })?;
    // They are no longer where they were.
    std::mem::forget(zeroes);
    Ok(())
}

/// Zeroes at any address.
fn map_zeroes(bytes: usize) -> std::io::Result<MmapRaw> {
    // Writable, so that a stale writer does not fault; without a reservation, since hardly anybody writes.
    MmapOptions::new().len(bytes).no_reserve_swap().map_anon().map(MmapRaw::from)
}

/// Moves `zeroes` to where `mapping` is. On an error they are where they were.
fn move_over(mapping: &MmapRaw, zeroes: &MmapRaw) -> Result<(), Errno> {
    let pointer =
        |mapping: &MmapRaw| NonNull::new(mapping.as_mut_ptr().cast()).ok_or(Errno::EINVAL);
    let (from, to, length) = (pointer(zeroes)?, pointer(mapping)?, zeroes.len());
    let flags = MRemapFlags::MREMAP_MAYMOVE | MRemapFlags::MREMAP_FIXED;
    // SAFETY: (1) the range moved is all of `zeroes`, which is forgotten once it has moved, and nobody has its address; (2) the range
    // replaced is exactly what `mapping` mapped, rounded up to pages as the kernel did, and stays ours: `mapping`
    // is forgotten, so it is never unmapped; (3) no engine reaches it: it was unmapped for them, with nothing in
    // flight (`Region::finish`); (4) no reference to it exists: the library makes none, and `as_mut_ptr` forbids them; (5) its
    // bytes are accessed by atomics or volatile accesses, for which any value is one.
    unsafe { mremap(from, length, length, flags, Some(to)) }.map(drop)
}
