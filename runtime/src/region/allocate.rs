//! Allocating memory for copies: huge pages when there are any.

use std::sync::Arc;

use dmaring_engine::Rights;
use memmap2::MmapRaw;
use nix::sys::memfd::MFdFlags;

use super::{Backing, Draft, Identity, Region};
use crate::{
    error::{Error, ErrorKind},
    memory,
    shared::Shared,
};

/// The size of the huge pages asked for, in bytes.
const HUGE_PAGE: usize = 2 << 20;
const PAGE: usize = 4096;

pub(crate) fn allocate(shared: &Arc<Shared>, length: usize) -> Result<Region, Error> {
    if length == 0 {
        return Err(Error::new(ErrorKind::OutOfBounds, "0 bytes asked for: allocate at least 1"));
    }
    if isize::try_from(length).is_err() {
        let message =
            format!("{length} bytes asked for: no allocation is longer than {} bytes", isize::MAX);
        return Err(Error::new(ErrorKind::LimitExceeded, message));
    }
    let mapping = map(length)
        .map_err(|error| Error::system(format_args!("cannot allocate {length} bytes"), error))?;
    Region::establish(
        shared,
        Draft {
            backing: Backing::Mapped(mapping),
            length: length as u64,
            rights: Rights::ReadWrite,
            identity: Identity::private(),
            numa_node: None,
        },
    )
}

fn map(length: usize) -> std::io::Result<MmapRaw> {
    let too_long = || std::io::Error::from(std::io::ErrorKind::OutOfMemory);
    if length >= HUGE_PAGE {
        let flags = MFdFlags::MFD_HUGETLB | MFdFlags::MFD_HUGE_2MB;
        let whole = length.checked_next_multiple_of(HUGE_PAGE).ok_or_else(too_long)?;
        // Reserved when mapped, so that a touch cannot fail later; none free is no error, there are others.
        if let Ok((mapping, _)) = memory::map_memfd("dmaring-region", whole, flags) {
            return Ok(mapping);
        }
    }
    let whole = length.checked_next_multiple_of(PAGE).ok_or_else(too_long)?;
    let (mapping, _) = memory::map_memfd("dmaring-region", whole, MFdFlags::empty())?;
    // A wish: where the kernel has no transparent huge pages for shared memory, small ones do.
    #[cfg(not(miri))]
    let _ = mapping.advise(memmap2::Advice::HugePage);
    Ok(mapping)
}
