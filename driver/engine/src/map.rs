//! How memory becomes reachable for engines.
#![allow(
    unsafe_code,
    reason = "declares the contract that address spaces swear to; holds no unsafe block"
)]

use core::{fmt, ptr::NonNull};

use crate::{Iova, MapLimits};

/// An address space that one or more engines work in: an IOMMU domain, or the host's own addresses.
///
/// Mapping is control path: calls may block, and may come from any thread.
///
/// # Safety
///
/// An implementor swears that [`map`](DmaMap::map) returns an address at which the engines of this
/// domain reach exactly the given memory, with no right beyond those asked for where the hardware can tell them apart,
/// and that after [`unmap`](DmaMap::unmap) has returned `Ok` none of them reaches it any more.
pub unsafe trait DmaMap: Send + Sync + fmt::Debug {
    /// The granule of mappings, in bytes, a power of two and no larger than the host's page: address and
    /// length given to [`map`](DmaMap::map) are multiples of it.
    fn granule(&self) -> usize;

    /// Makes `length` bytes at `memory` reachable and returns the address of the first.
    ///
    /// # Errors
    ///
    /// See [`MapError`]. Nothing is mapped then.
    ///
    /// # Safety
    ///
    /// The caller swears that the range is mapped memory of this process and stays so, at the same
    /// pages, until [`unmap`](DmaMap::unmap) has returned `Ok` for it.
    unsafe fn map(
        &self,
        memory: NonNull<u8>,
        length: usize,
        rights: Rights,
    ) -> Result<Iova, MapError>;

    /// Takes back what [`map`](DmaMap::map) gave.
    ///
    /// # Errors
    ///
    /// See [`MapError`]. The memory may still be reachable then and must be left in place.
    ///
    /// # Safety
    ///
    /// The caller swears that `iova` and `length` are those of one earlier `map` and that no engine has
    /// a transfer outstanding on it.
    unsafe fn unmap(&self, iova: Iova, length: usize) -> Result<(), MapError>;

    /// What there is room for, asked before a region is mapped.
    fn limits(&self) -> MapLimits {
        MapLimits::default()
    }
}

/// What engines may do with a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rights {
    /// The mapping may be a source.
    Read,
    /// The mapping may be a source and a destination.
    ReadWrite,
}

/// Why a mapping was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MapError {
    /// The memory cannot be pinned within the process's limit of locked memory (RLIMIT_MEMLOCK).
    LockedMemory {
        /// How many bytes this mapping needs.
        needed: u64,
        /// The limit now, in bytes.
        limit: u64,
    },
    /// No free addresses of this length that the device can reach.
    Addresses {
        /// How many bytes this mapping needs.
        needed: u64,
    },
    /// The domain takes no more mappings.
    Mappings {
        /// How many it takes.
        limit: u64,
    },
    /// Memory of this kind cannot be mapped for a device.
    Unsupported,
    /// The domain belongs to the process that forked this one.
    OtherProcess,
    /// The kernel's error number.
    Os(i32),
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LockedMemory { needed, limit } => write!(
                f,
                "{needed} bytes of locked memory needed, limit {limit} bytes: raise RLIMIT_MEMLOCK (ulimit -l, or LimitMEMLOCK= of a service)"
            ),
            Self::Addresses { needed } => {
                write!(f, "no free device addresses for {needed} bytes: close regions")
            }
            Self::Mappings { limit } => {
                write!(f, "the limit of {limit} mappings is reached: close regions")
            }
            Self::Unsupported => f.write_str(
                "memory of this kind cannot be mapped for a device: anonymous memory, memfd, tmpfs, hugetlbfs and devdax that this process may write can be",
            ),
            Self::OtherProcess => f.write_str(
                "the mappings belong to the process that forked this one: open the engine in this process",
            ),
            Self::Os(errno) => match describe(*errno) {
                Some((name, meaning)) => {
                    write!(f, "the kernel refused with {name} ({errno}): {meaning}")
                }
                None => write!(f, "the kernel refused with error {errno}: `errno {errno}` names it"),
            },
        }
    }
}

impl core::error::Error for MapError {}

/// The name of one of Linux's error numbers that mapping may give, and what it means there. Source: `errno.h`, and
/// `vfio_iommu_type1.c`.
const fn describe(errno: i32) -> Option<(&'static str, &'static str)> {
    Some(match errno {
        1 => ("EPERM", "this process may not map memory for the device"),
        5 => ("EIO", "the mapping is not as it was made"),
        11 => ("EAGAIN", "try again"),
        12 => ("ENOMEM", "the kernel has no memory left: free some"),
        13 => ("EACCES", "this process may not map memory for the device"),
        14 => ("EFAULT", "not all of the range is mapped in this process"),
        16 => ("EBUSY", "the address space is in use: try again"),
        17 => ("EEXIST", "something is mapped at the device's addresses already"),
        19 => ("ENODEV", "no function is open in the container: open one first"),
        22 => (
            "EINVAL",
            "address and length must be multiples of the granule, and unmapped as they were mapped",
        ),
        28 => ("ENOSPC", "the container takes no more mappings: close regions"),
        95 => ("EOPNOTSUPP", "memory or rights of this kind cannot be mapped"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::string::ToString;

    use super::MapError;

    #[test]
    fn error_numbers_are_named() {
        let of = |errno| MapError::Os(errno).to_string();
        assert_eq!(
            of(12),
            "the kernel refused with ENOMEM (12): the kernel has no memory left: free some"
        );
        assert!(of(19).contains("ENODEV (19)") && of(19).contains("open one first"));
        assert!(of(71).contains("`errno 71`"));
    }
}
