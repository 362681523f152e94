//! The guest's memory: files mapped at guest-physical addresses.
//!
//! QEMU says which parts of which files lie where, and says it anew, as a whole, at every change. What
//! it says is checked before anything is mapped: a region that the file does not cover would be a
//! signal at the first access. That the files shrink later is not guarded against: they are QEMU's own.
#![allow(unsafe_code, reason = "turns mappings of the guest's memory into spans")]

use std::{fs::File, io, os::fd::OwnedFd, ptr::NonNull};

use memmap2::{MmapOptions, MmapRaw};

use crate::memory::Span;

/// How many regions there are at most: what QEMU's message has room for.
pub const MAX_REGIONS: usize = 8;

const PAGE: u64 = 4096;

/// Part of a file that is memory of the guest.
#[derive(Debug)]
pub struct MemoryRegion {
    /// The guest-physical address of its first byte.
    pub address: u64,
    /// Its length in bytes.
    pub size: u64,
    /// Where it begins in the file, in bytes.
    pub offset: u64,
    /// The file.
    pub file: OwnedFd,
}

/// Why memory of the guest was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// More regions than QEMU sends.
    #[error("{count} regions of guest memory: at most {MAX_REGIONS} are taken")]
    Count {
        /// How many.
        count: usize,
    },
    /// A region that is no whole number of pages, or of none.
    #[error(
        "guest memory at {address:#x} of {size:#x} bytes from byte {offset:#x}: whole pages of 4096 \
         bytes are taken, one at least"
    )]
    Pages {
        /// Its address.
        address: u64,
        /// Its length in bytes.
        size: u64,
        /// Where it begins in the file.
        offset: u64,
    },
    /// A region past the last address, of the guest or of the file.
    #[error("guest memory at {address:#x} of {size:#x} bytes ends past the last address")]
    End {
        /// Its address.
        address: u64,
        /// Its length in bytes.
        size: u64,
    },
    /// Two regions that share addresses.
    #[error("guest memory at {first:#x} and at {second:#x} overlaps")]
    Overlap {
        /// The address of the one.
        first: u64,
        /// The address of the other.
        second: u64,
    },
    /// A file that ends before the region does.
    #[error(
        "the file behind guest memory at {address:#x} has {size} bytes where {needed} are needed: \
         give QEMU a regular file of that size, with share=on"
    )]
    Short {
        /// The region's address.
        address: u64,
        /// Bytes of the file; 0 where it is no regular file.
        size: u64,
        /// Bytes needed.
        needed: u64,
    },
    /// The kernel refused.
    #[error("guest memory at {address:#x} cannot be mapped")]
    Map {
        /// The region's address.
        address: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The guest's memory as it is now.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// By address, without overlap.
    regions: Vec<Mapped>,
}

#[derive(Debug)]
struct Mapped {
    address: u64,
    size: u64,
    /// Of `_mapping`, and dropped with it.
    span: Span,
    _mapping: MmapRaw,
}

impl Memory {
    /// Maps these regions, all or none.
    pub(crate) fn new(mut regions: Vec<MemoryRegion>) -> Result<Self, MemoryError> {
        if regions.len() > MAX_REGIONS {
            return Err(MemoryError::Count { count: regions.len() });
        }
        regions.sort_by_key(|region| region.address);
        for region in &regions {
            check(region)?;
        }
        for pair in regions.windows(2) {
            if let [first, second] = pair
                && second.address - first.address < first.size
            {
                let (first, second) = (first.address, second.address);
                return Err(MemoryError::Overlap { first, second });
            }
        }
        let regions = regions.into_iter().map(map).collect::<Result<_, _>>()?;
        Ok(Self { regions })
    }

    /// The memory behind bytes that lie within one region.
    pub(crate) fn find(&self, address: u64, length: u64) -> Option<(&Span, usize)> {
        let after = self.regions.partition_point(|region| region.address <= address);
        let region = self.regions.get(after.checked_sub(1)?)?;
        let offset = address - region.address;
        let inside = offset.checked_add(length).is_some_and(|end| end <= region.size);
        inside.then_some((&region.span, usize::try_from(offset).ok()?))
    }

    /// The word at an address that is a multiple of 8; `None` where there is no memory.
    pub(crate) fn word(&self, address: u64) -> Option<u64> {
        let aligned = address.is_multiple_of(8).then_some(address)?;
        self.find(aligned, 8).map(|(span, offset)| span.read_word(offset))
    }
}

fn check(region: &MemoryRegion) -> Result<(), MemoryError> {
    let &MemoryRegion { address, size, offset, .. } = region;
    if size == 0 || !(address | size | offset).is_multiple_of(PAGE) {
        return Err(MemoryError::Pages { address, size, offset });
    }
    let end = offset.checked_add(size).filter(|end| i64::try_from(*end).is_ok());
    let (Some(needed), Some(_), Ok(_)) = (end, address.checked_add(size), usize::try_from(size))
    else {
        return Err(MemoryError::End { address, size });
    };
    let stat = rustix::fs::fstat(&region.file)
        .map_err(|error| MemoryError::Map { address, source: error.into() })?;
    let regular = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file();
    let present = if regular { u64::try_from(stat.st_size).unwrap_or(0) } else { 0 };
    if present < needed {
        return Err(MemoryError::Short { address, size: present, needed });
    }
    Ok(())
}

fn map(region: MemoryRegion) -> Result<Mapped, MemoryError> {
    let MemoryRegion { address, size, offset, file } = region;
    let refused = |source| MemoryError::Map { address, source };
    let too_long = |_| refused(io::Error::from(io::ErrorKind::InvalidInput));
    let length = usize::try_from(size).map_err(too_long)?;
    let mapping = MmapOptions::new()
        .offset(offset)
        .len(length)
        .map_raw(&File::from(file))
        .map_err(refused)?;
    let start = NonNull::new(mapping.as_mut_ptr())
        .ok_or_else(|| refused(io::Error::from(io::ErrorKind::InvalidData)))?;
    // SAFETY: (1) the mapping is of `length` bytes, may be read and written, and stands beside the span
    // until both are dropped (`map_raw`, `Mapped`); (2) it begins at a page; (3) whoever else touches the
    // memory is another process, on which the memory model has no word; (4) `check` found the file long enough.
    let span = unsafe { Span::new(start, length) };
    Ok(Mapped { address, size, span, _mapping: mapping })
}
