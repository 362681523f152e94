//! The address space of a container.
//!
//! Addresses are taken before the kernel is asked to map there, and given back after it has undone the mapping: at no
//! time are two mappings at one place. A mapping that the kernel did not undo keeps its addresses for good. In a container
//! that is dissolved addresses are taken without asking the kernel, and given back once it has no mapping there.
//!
//! A long mapping is made in [parts](super::parts), each one of the kernel's, of which a container takes 65,535 by default. It
//! is undone as a whole.
#![allow(unsafe_code, reason = "implements the DmaMap contract on VFIO")]

use std::{fs, ptr::NonNull};

use dmaring_engine::{DmaMap, Iova, MapError, MapLimits, Quota, Rights};
use nix::{
    errno::Errno,
    sys::resource::{RLIM_INFINITY, Resource, getrlimit},
};

use super::{
    calls,
    container::Inner,
    parts::{Broken, Parts},
    space::GRANULE,
};

/// The capability that locked memory is not limited for. Source: `include/uapi/linux/capability.h`.
const CAP_IPC_LOCK: u32 = 14;

// SAFETY: (1) `Space` gives each mapping addresses that no other has, and the kernel maps exactly the pages of the range
// there, or fails, or there is no device that uses an address, now or later (a dissolved container); where a part fails, those
// before it are undone, or, should that fail too, their addresses are given to nobody and the kernel keeps the pages from other
// use; those pages stay the range's own when the process writes it (`make_private`); (2) it maps for writing only where
// `VFIO_DMA_MAP_FLAG_WRITE` asks for it; (3) `unmap` says `Ok` when the kernel has said that it undid the whole mapping, and it
// flushes what the IOMMU remembers before it says so, or, of a dissolved container, that it has no mapping there.
unsafe impl DmaMap for Inner {
    fn granule(&self) -> usize {
        GRANULE as usize
    }

    unsafe fn map(
        &self,
        memory: NonNull<u8>,
        length: usize,
        rights: Rights,
    ) -> Result<Iova, MapError> {
        if self.origin.is_elsewhere() {
            return Err(MapError::OtherProcess);
        }
        let (address, needed) = (memory.as_ptr().addr() as u64, length as u64);
        if needed == 0 || (address | needed) & (GRANULE - 1) != 0 {
            return Err(MapError::Os(Errno::EINVAL as i32));
        }
        let iova = {
            let mut book = self.book();
            if !book.has_domain() && !book.dissolved {
                return Err(MapError::Os(Errno::ENODEV as i32));
            }
            let iova = book.space.take(address, needed).ok_or(MapError::Addresses { needed })?;
            if book.dissolved {
                return Ok(Iova::new(iova));
            }
            iova
        };
        let vfio = self.vfio();
        let parts = Parts::of(iova, needed, self.room());
        let mapped = parts.each(&self.progress, |offset, length| {
            let (Ok(before), Ok(bytes)) = (usize::try_from(offset), usize::try_from(length)) else {
                return Err(Errno::EOVERFLOW);
            };
            // SAFETY: the part lies within the range, which is one mapping's (this call's caller).
            let memory = unsafe { memory.add(before) };
            if rights == Rights::Read {
                // SAFETY: the part is mapped memory (this call's caller).
                unsafe { calls::make_private(memory, bytes) };
            }
            // SAFETY: the part is mapped memory and stays so until the mapping is undone (this call's caller).
            unsafe { calls::map(&*vfio, iova + offset, memory, length, rights) }
        });
        match mapped {
            Ok(count) => {
                self.book().mapped(iova, count);
                Ok(Iova::new(iova))
            }
            Err(Broken { errno, done, count }) => {
                let undone = done == 0 || calls::unmap(&*vfio, iova, done) == Ok(done);
                let mut book = self.book();
                if book.dissolved {
                    return Ok(Iova::new(iova));
                }
                if undone {
                    book.space.give_back(iova);
                } else {
                    book.mapped(iova, count);
                    tracing::error!(iova, done, "a part of a mapping was not undone");
                }
                let limit = book.limit;
                self.settle(&mut book);
                Err(refusal(errno, needed, limit, locked_memory_limit()))
            }
        }
    }

    unsafe fn unmap(&self, iova: Iova, length: usize) -> Result<(), MapError> {
        if self.origin.is_elsewhere() {
            return Err(MapError::OtherProcess);
        }
        let (iova, length) = (iova.get(), length as u64);
        if !self.book().space.holds(iova, length) {
            return Err(MapError::Os(Errno::EINVAL as i32));
        }
        let undone = calls::unmap(&*self.vfio(), iova, length);
        let mut book = self.book();
        match undone {
            Ok(undone) if undone == length => {}
            nothing if book.dissolved && is_nothing(nothing) => {}
            Ok(undone) => {
                tracing::error!(
                    iova,
                    length,
                    undone,
                    "the kernel undid another length than was mapped"
                );
                return Err(MapError::Os(Errno::EIO as i32));
            }
            Err(errno) => return Err(MapError::Os(errno as i32)),
        }
        book.unmapped(iova);
        self.settle(&mut book);
        Ok(())
    }

    fn limits(&self) -> MapLimits {
        let mut limits = MapLimits::default();
        let book = self.book();
        if book.has_domain() {
            let (used, most) = book.space.usage();
            limits.addresses = Some(Quota { used, most });
            limits.mappings = Some(Quota { used: book.mappings, most: book.limit });
        }
        limits.locked = locked_memory();
        limits
    }
}

impl Inner {
    /// How many mappings the container still takes.
    fn room(&self) -> u64 {
        let book = self.book();
        book.limit.saturating_sub(book.mappings)
    }
}

/// How much memory this process has locked, and may lock, in bytes; `None` where no limit holds.
#[must_use]
pub fn locked_memory() -> Option<Quota> {
    let most = locked_memory_limit()?;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    Some(Quota { used: locked_by(&status).unwrap_or(0), most })
}

/// What a process has locked, by its `/proc/PID/status`, in bytes: what VFIO pins is counted there.
fn locked_by(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmLck:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// Whether the kernel says that there was no mapping: it undid none, or the container has no IOMMU (`EINVAL`), or, of iommufd's, no
/// address space (`ENODEV`) or nothing at the address (`ENOENT`).
fn is_nothing(undone: Result<u64, Errno>) -> bool {
    matches!(undone, Ok(0) | Err(Errno::EINVAL | Errno::ENODEV | Errno::ENOENT))
}

/// What an error number of `VFIO_IOMMU_MAP_DMA` means. `locked` is the limit of locked memory, where there is one: the
/// kernel says `ENOMEM` both for that and for memory that it does not have.
fn refusal(errno: Errno, needed: u64, mappings: u64, locked: Option<u64>) -> MapError {
    match (errno, locked) {
        (Errno::ENOMEM, Some(limit)) => MapError::LockedMemory { needed, limit },
        (Errno::ENOSPC, _) => MapError::Mappings { limit: mappings },
        // Memory that cannot be pinned for long, or that this process may not write itself.
        (Errno::EFAULT | Errno::EOPNOTSUPP, _) => MapError::Unsupported,
        (errno, _) => MapError::Os(errno as i32),
    }
}

/// The limit of locked memory, in bytes, where one holds for this process.
fn locked_memory_limit() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    if may_lock_memory(&status) {
        return None;
    }
    let (soft, _) = getrlimit(Resource::RLIMIT_MEMLOCK).ok()?;
    (soft != RLIM_INFINITY).then_some(soft)
}

/// Whether a process may lock memory beyond its limit, by its `/proc/PID/status`: it has CAP_IPC_LOCK.
#[must_use]
pub fn may_lock_memory(status: &str) -> bool {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok())
        .is_some_and(|bits| bits >> CAP_IPC_LOCK & 1 == 1)
}

#[cfg(test)]
mod tests {
    use dmaring_engine::MapError;
    use nix::errno::Errno;

    use super::{is_nothing, locked_by, may_lock_memory, refusal};

    #[test]
    fn error_numbers_say_what_is_missing() {
        let (needed, limit) = (1 << 20, 65_536);
        let of = |errno| refusal(errno, needed, 7, Some(limit));
        assert_eq!(of(Errno::ENOMEM), MapError::LockedMemory { needed, limit });
        assert_eq!(of(Errno::ENOSPC), MapError::Mappings { limit: 7 });
        assert_eq!(of(Errno::EFAULT), MapError::Unsupported);
        assert_eq!(of(Errno::EOPNOTSUPP), MapError::Unsupported);
        assert_eq!(of(Errno::EEXIST), MapError::Os(17));
        assert_eq!(refusal(Errno::ENOMEM, needed, 7, None), MapError::Os(12));
    }

    #[test]
    fn what_is_locked_is_read_from_the_status() {
        assert_eq!(locked_by("VmPin:\t 9 kB\nVmLck:\t    2048 kB\n"), Some(2 << 20));
        assert_eq!([locked_by("VmLck: many"), locked_by("")], [None, None]);
    }

    #[test]
    fn that_there_was_no_mapping_is_told_from_one_that_stays() {
        for nothing in [Ok(0), Err(Errno::EINVAL), Err(Errno::ENODEV), Err(Errno::ENOENT)] {
            assert!(is_nothing(nothing), "{nothing:?}");
        }
        for stays in [Ok(4096), Err(Errno::EBUSY), Err(Errno::EIO), Err(Errno::ENOTTY)] {
            assert!(!is_nothing(stays), "{stays:?}");
        }
    }

    #[test]
    fn privileges_are_read_from_the_status() {
        assert!(may_lock_memory("CapPrm:\t0000000000000000\nCapEff:\t0000000000004000\n"));
        assert!(may_lock_memory("CapEff:\t000001ffffffffff\n"));
        for status in [
            "CapEff:\t0000000000000000\nCapBnd:\t000001ffffffffff\n",
            "CapEff:\t3fff",
            "CapEff: x",
            "",
        ] {
            assert!(!may_lock_memory(status), "{status}");
        }
    }
}
