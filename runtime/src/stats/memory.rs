//! The memory that statistics live in, seen as blocks of words.
//!
//! The runtime creates it and writes; whoever observes it maps the same file for reading. Either way it is made of
//! 64-bit words that are read and written by atomics, whatever the other side does, and it is sealed, so
//! that no page of it can vanish.
#![allow(unsafe_code, reason = "island: makes references to words from mapped memory")]

use std::{fs::File, io, ops::Deref, os::fd::OwnedFd, ptr::NonNull, sync::Arc};

use memmap2::{MmapOptions, MmapRaw};

use crate::memory::map_readable_memfd;

/// What the memory's link in `/proc/PID/fd` says, without `/memfd:` before it.
pub(crate) const NAME: &str = "dmaring-stats";

/// What mapped memory may be seen as.
///
/// # Safety
///
/// The implementor swears that the type is made of `AtomicU64`s alone, in the order and at the places that it is
/// declared in, so that any bytes are a legal value and any concurrent write is legal.
pub(super) unsafe trait Block {}

// SAFETY: `repr(C)`, of `AtomicU64`s and transparent ones.
unsafe impl Block for super::header::Header {}
// SAFETY: `repr(C)`, of `Counter`s, which are transparent `AtomicU64`s, and of arrays of them.
unsafe impl Block for super::RuntimeCounters {}
// SAFETY: as above, names included.
unsafe impl Block for super::EngineCounters {}

/// Mapped memory.
#[derive(Debug)]
pub(super) struct Memory {
    mapping: MmapRaw,
    /// By which others find it, where this process made it.
    _memfd: Option<OwnedFd>,
}

impl Memory {
    /// Fresh memory, zeroed, that other processes can map for reading and no more. Where the process may have no such file,
    /// memory that no other sees: a runtime that cannot be observed works all the same.
    pub(super) fn create(length: usize) -> io::Result<Arc<Self>> {
        let (mapping, memfd) = match map_readable_memfd(NAME, length) {
            Ok(made) => made,
            Err(error) => {
                tracing::warn!(%error, "statistics cannot be shared: the runtime cannot be observed");
                (MmapOptions::new().len(length).map_anon()?.into(), None)
            }
        };
        Ok(Arc::new(Self { mapping, _memfd: memfd }))
    }

    /// Maps what another process made, for reading. The caller has checked that the file is as long and cannot shrink.
    pub(super) fn open(file: &File, length: usize) -> io::Result<Arc<Self>> {
        let mapping = MmapOptions::new().len(length).map_raw_read_only(file)?;
        Ok(Arc::new(Self { mapping, _memfd: None }))
    }

    /// The block at an offset in bytes; `None` where it does not lie within the memory, or not aligned.
    pub(super) fn block<T: Block>(self: &Arc<Self>, offset: usize) -> Option<Mapped<T>> {
        Some(Mapped { block: self.first(offset, 1)?, _memory: self.clone() })
    }

    /// So many blocks from an offset on; `None` as for [`block`](Self::block).
    pub(super) fn blocks<T: Block>(
        self: &Arc<Self>,
        offset: usize,
        count: usize,
    ) -> Option<Mapped<[T]>> {
        let block = NonNull::slice_from_raw_parts(self.first(offset, count)?, count);
        Some(Mapped { block, _memory: self.clone() })
    }

    fn first<T: Block>(&self, offset: usize, count: usize) -> Option<NonNull<T>> {
        let end = size_of::<T>().checked_mul(count)?.checked_add(offset)?;
        let first = self.mapping.as_mut_ptr().wrapping_add(offset).cast::<T>();
        (end <= self.mapping.len() && first.is_aligned()).then(|| NonNull::new(first)).flatten()
    }
}

/// A block of mapped memory, or several, that keeps its memory mapped.
#[derive(Debug)]
pub(crate) struct Mapped<T: ?Sized> {
    /// Lies within the memory, aligned.
    block: NonNull<T>,
    _memory: Arc<Memory>,
}

impl<T: ?Sized> Deref for Mapped<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: (1) `Memory` found the block within its mapping and aligned when it made this; (2) the mapping lives
        // as long as `self`, and its file is sealed against shrinking, which the maker did or checked; (3) a
        // `Block` is atomics alone, so any bytes and any concurrent write are legal.
        unsafe { self.block.as_ref() }
    }
}

// SAFETY: the memory belongs to no thread, and all that is given out is a shared reference to what is `Sync`.
unsafe impl<T: ?Sized + Sync> Send for Mapped<T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized + Sync> Sync for Mapped<T> {}
