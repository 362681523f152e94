//! The shared memory a ring pair lives in: a sealed memfd, mapped once.
#![allow(unsafe_code, reason = "island: hands mapped memory to the rings and keeps it mapped")]

#[cfg(not(miri))]
use std::fs::File;
use std::{
    io,
    os::fd::OwnedFd,
    ptr::NonNull,
    sync::atomic::{AtomicBool, Ordering},
};

use dmaring_ring::{CompletionSlot, Header, Layout, LayoutError, SubmissionSlot, memory::Rings};
use memmap2::{MmapOptions, MmapRaw};
use nix::sys::memfd::MFdFlags;
#[cfg(not(miri))]
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, SealFlag, fcntl},
    sys::memfd::memfd_create,
};

use crate::{client::RingPair, park};

/// A ring pair in a memfd of its own.
#[derive(Debug)]
pub(crate) struct RingMemory {
    rings: Rings,
    /// Keeps the rings mapped. Declared after them, though nothing of theirs runs at drop.
    _mapping: MmapRaw,
    /// What another process would map: sealed, so that it can neither shrink nor grow under the rings.
    _memfd: Option<OwnedFd>,
    /// Set when the pair's poller has gone: nobody parks there any more.
    orphaned: AtomicBool,
    /// Set when the shared words cannot be what this process wrote.
    corrupt: AtomicBool,
}

impl RingMemory {
    /// Creates the memory for rings of this layout.
    pub(crate) fn create(layout: Layout) -> io::Result<Self> {
        let (mapping, memfd) = map_memfd("dmaring-rings", layout.size(), MFdFlags::empty())?;
        let base = NonNull::new(mapping.as_mut_ptr())
            .ok_or_else(|| io::Error::other("mapped at address zero"))?;
        // SAFETY: (1) `base` begins a mapping of `layout.size()` bytes, page-aligned, zeroed by the kernel; (2)
        // it stays mapped as long as `Self`, which owns the rings and lends them no longer than itself; (3)
        // the memfd is sealed, so no page of it can vanish; (4) nobody else has it yet.
        let rings = unsafe { Rings::create(base, layout.size(), layout) }
            .map_err(|error: LayoutError| io::Error::other(error.to_string()))?;
        Ok(Self {
            rings,
            _mapping: mapping,
            _memfd: memfd,
            orphaned: AtomicBool::new(false),
            corrupt: AtomicBool::new(false),
        })
    }

    /// How many operations can be in the rings at a time.
    pub(crate) fn entries(&self) -> u32 {
        self.rings.layout().entries()
    }

    /// Whether somebody found the shared words overwritten.
    pub(crate) fn is_corrupt(&self) -> bool {
        self.corrupt.load(Ordering::Acquire)
    }

    /// Wakes the poller of this pair, whatever a peer has written to the word that it sleeps on.
    pub(crate) fn summon_poller(&self) {
        if !self.orphaned.load(Ordering::Acquire) {
            park::summon(self.header().need_wakeup_word());
        }
    }

    /// Says that no poller will ever park on this pair again.
    pub(crate) fn orphan(&self) {
        self.orphaned.store(true, Ordering::Release);
    }
}

impl RingPair for RingMemory {
    fn header(&self) -> &Header {
        self.rings.header()
    }

    fn submission_slots(&self) -> &[SubmissionSlot] {
        self.rings.submission_slots()
    }

    fn completion_slots(&self) -> &[CompletionSlot] {
        self.rings.completion_slots()
    }

    fn wake_poller(&self) {
        if !self.orphaned.load(Ordering::Acquire) {
            park::wake(self.header().need_wakeup_word());
        }
    }

    fn report_corrupt(&self) {
        self.corrupt.store(true, Ordering::Release);
        self.summon_poller();
    }
}

/// Maps a fresh memfd of `length` bytes that can never change its length.
#[cfg(not(miri))]
pub(crate) fn map_memfd(
    name: &str,
    length: usize,
    flags: MFdFlags,
) -> io::Result<(MmapRaw, Option<OwnedFd>)> {
    let file = create_memfd(name, length, flags)?;
    fcntl(&file, FcntlArg::F_ADD_SEALS(FIXED_LENGTH))?;
    let mapping = MmapOptions::new().len(length).map_raw(&file)?;
    Ok((mapping, Some(file.into())))
}

/// Maps a fresh memfd of `length` bytes that can never change its length, and that nobody can map for writing or write to
/// from now on, where the kernel has seals for that (Linux 5.1).
#[cfg(not(miri))]
pub(crate) fn map_readable_memfd(
    name: &str,
    length: usize,
) -> io::Result<(MmapRaw, Option<OwnedFd>)> {
    let file = create_memfd(name, length, MFdFlags::empty())?;
    let mapping = MmapOptions::new().len(length).map_raw(&file)?;
    let seals = FIXED_LENGTH | SealFlag::F_SEAL_FUTURE_WRITE;
    match fcntl(&file, FcntlArg::F_ADD_SEALS(seals)) {
        // A kernel that does not know the seal sets none.
        Err(Errno::EINVAL) => fcntl(&file, FcntlArg::F_ADD_SEALS(FIXED_LENGTH))?,
        set => set?,
    };
    Ok((mapping, Some(file.into())))
}

#[cfg(not(miri))]
const FIXED_LENGTH: SealFlag =
    SealFlag::F_SEAL_SHRINK.union(SealFlag::F_SEAL_GROW).union(SealFlag::F_SEAL_SEAL);

#[cfg(not(miri))]
fn create_memfd(name: &str, length: usize, flags: MFdFlags) -> io::Result<File> {
    let flags = flags | MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let file = File::from(memfd_create(name, flags)?);
    file.set_len(length as u64)?;
    Ok(file)
}

/// Miri has no memfd: anonymous memory stands in for it.
#[cfg(miri)]
pub(crate) fn map_memfd(
    _name: &str,
    length: usize,
    _flags: MFdFlags,
) -> io::Result<(MmapRaw, Option<OwnedFd>)> {
    Ok((MmapOptions::new().len(length).map_anon()?.into(), None))
}

/// Miri has no memfd: anonymous memory stands in for it.
#[cfg(miri)]
pub(crate) fn map_readable_memfd(
    name: &str,
    length: usize,
) -> io::Result<(MmapRaw, Option<OwnedFd>)> {
    map_memfd(name, length, MFdFlags::empty())
}
