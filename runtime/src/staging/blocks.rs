//! The staging buffers: blocks of one region that engines and the staging thread's io_uring both reach.

use std::ptr::NonNull;

use dmaring_engine::Rights;
use dmaring_ring::Key;
use nix::sys::{
    memfd::MFdFlags,
    resource::{Resource, getrlimit},
};

use super::{
    kernel::{Refusal, Uring},
    port::ENTRIES,
};
use crate::{
    error::{Error, ErrorKind},
    memory,
    region::{mapping::Mappings, table::RegionFacts},
    shared::Shared,
};

/// Where less memory may be locked, blocks get smaller, but not below this, in bytes.
const SMALLEST: u64 = 64 << 10;
/// By which factor, each time.
const STEP: u64 = 4;
/// What an io_uring's own rings take of the locked memory, at most, in bytes.
const RINGS: u64 = 64 << 10;

/// How many staging buffers there are, and how long each is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockSettings {
    /// At least 4, since a copy between two files takes two at a time; at most 32.
    pub(crate) count: u32,
    /// In bytes: a power of two from 16 KiB to 16 MiB.
    pub(crate) bytes: u32,
}

impl BlockSettings {
    /// The limits of `count`.
    pub(crate) const COUNT: (u32, u32) = (4, ENTRIES / 2);
    /// The limits of `bytes`.
    pub(crate) const BYTES: (u32, u32) = (16 << 10, 16 << 20);
}

impl Default for BlockSettings {
    fn default() -> Self {
        Self { count: 16, bytes: 1 << 20 }
    }
}

/// The blocks as a region of the runtime's, and which of them are free.
#[derive(Debug)]
pub(super) struct Blocks {
    key: Key,
    mappings: Mappings,
    /// Of one block, in bytes.
    size: u64,
    count: usize,
    free: Vec<u32>,
}

impl Blocks {
    /// Allocates blocks, registers them with a new io_uring, maps them for every engine and publishes them.
    ///
    /// Where the limit of locked memory does not allow the blocks asked for, it tries smaller ones.
    pub(super) fn create(shared: &Shared, settings: BlockSettings) -> Result<(Self, Uring), Error> {
        let mut size = u64::from(settings.bytes);
        loop {
            match Self::create_sized(shared, settings.count, size) {
                Err(error)
                    if error.kind() == ErrorKind::LimitExceeded && size >= SMALLEST * STEP =>
                {
                    size /= STEP;
                    tracing::debug!(bytes = size, "trying smaller staging blocks: {error}");
                }
                outcome => return outcome,
            }
        }
    }

    fn create_sized(shared: &Shared, count: u32, size: u64) -> Result<(Self, Uring), Error> {
        let length = u64::from(count) * size;
        let failed = |error| Error::system("cannot allocate the staging buffers", error);
        let bytes = usize::try_from(length)
            .map_err(|_| failed(std::io::Error::from(std::io::ErrorKind::OutOfMemory)))?;
        let (memory, _) =
            memory::map_memfd("dmaring-staging", bytes, MFdFlags::empty()).map_err(failed)?;
        let uring = Uring::new(ENTRIES, memory).map_err(|refusal| explain(&refusal, length))?;
        let base = NonNull::new(uring.memory().as_mut_ptr())
            .ok_or_else(|| failed(std::io::Error::other("mapped at address zero")))?;
        let mappings = match Mappings::establish(shared, base, bytes, Rights::ReadWrite) {
            Ok(mappings) => mappings,
            Err(refused) => return Err(refused.give_back(uring)),
        };
        let facts = RegionFacts::new(length, Rights::ReadWrite, false);
        let Some(key) = shared.regions.publish(facts, &mappings.bases()) else {
            if !mappings.undo() {
                std::mem::forget(uring);
            }
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                "the region table is full: drop regions that are no longer used",
            ));
        };
        // The first block is taken first.
        let free = (0..count).rev().collect();
        Ok((Self { key, mappings, size, count: count as usize, free }, uring))
    }

    /// Takes everything back. No engine and no transfer uses a block any more, unless memory must be leaked.
    pub(super) fn give_back(self, uring: Uring, shared: &Shared) {
        let Self { key, mappings, .. } = self;
        let memory = uring.close();
        if shared.lifecycle.must_leak() {
            tracing::error!(
                bytes = memory.len(),
                "an engine did not stop: the staging buffers are left mapped for good"
            );
            std::mem::forget((mappings, memory));
            return;
        }
        shared.regions.retire(key);
        if !mappings.undo() {
            std::mem::forget(memory);
        }
    }

    /// The region that the blocks are.
    pub(super) fn key(&self) -> Key {
        self.key
    }

    /// The length of one block, in bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Where a block begins in the region, in bytes.
    pub(super) fn offset(&self, block: u32) -> u64 {
        u64::from(block) * self.size
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn available(&self) -> usize {
        self.free.len()
    }

    pub(super) fn take(&mut self) -> Option<u32> {
        self.free.pop()
    }

    pub(super) fn put(&mut self, block: u32) {
        self.free.push(block);
    }
}

/// Why there can be no staging, and what to do about it.
fn explain(refusal: &Refusal, length: u64) -> Error {
    let (doing, error) = match refusal {
        Refusal::Create(error) => ("create an io_uring", error),
        Refusal::Register(error) => ("register buffers with io_uring", error),
    };
    let number = error.raw_os_error().unwrap_or(0);
    let source = std::io::Error::from_raw_os_error(number);
    let (kind, message) = match number {
        libc::ENOSYS => (
            ErrorKind::Unsupported,
            format!(
                "cannot {doing}: this kernel has none, or a sandbox hides it: files that are not on tmpfs or hugetlbfs need it (Linux 5.1, allowed by the sandbox)"
            ),
        ),
        libc::EPERM | libc::EACCES => (
            ErrorKind::Unsupported,
            format!(
                "cannot {doing}: not permitted: allow it with `sysctl kernel.io_uring_disabled=0`, or in the sandbox's seccomp profile"
            ),
        ),
        libc::ENOMEM => {
            let needed = length + RINGS;
            let limit = getrlimit(Resource::RLIMIT_MEMLOCK).map_or(0, |(limit, _)| limit);
            (
                ErrorKind::LimitExceeded,
                format!(
                    "cannot {doing}: {needed} bytes of locked memory needed, limit {limit} bytes, shared by all processes of this user: raise RLIMIT_MEMLOCK (ulimit -l, or LimitMEMLOCK= of a service)"
                ),
            )
        }
        _ => return Error::system(format_args!("cannot {doing}"), source),
    };
    Error::with_source(kind, message, source)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Miri has no getrlimit.
    #[cfg(not(miri))]
    #[test]
    fn a_refusal_names_its_remedy() {
        let refused = |number| std::io::Error::from_raw_os_error(number);
        let cases = [
            (Refusal::Create(refused(libc::ENOSYS)), ErrorKind::Unsupported, "Linux 5.1"),
            (Refusal::Create(refused(libc::EPERM)), ErrorKind::Unsupported, "io_uring_disabled"),
            (
                Refusal::Register(refused(libc::ENOMEM)),
                ErrorKind::LimitExceeded,
                "69632 bytes of locked",
            ),
        ];
        for (refusal, kind, remedy) in cases {
            let error = explain(&refusal, 4096);
            assert_eq!(error.kind(), kind);
            assert!(error.to_string().contains(remedy), "{error}");
        }
    }
}
