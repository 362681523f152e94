//! Registering memory the application already has.
#![allow(
    unsafe_code,
    reason = "island: declares what a registered buffer must promise, and vouches for three types"
)]

use std::{
    any::Any,
    collections::BTreeMap,
    ptr::NonNull,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use dmaring_engine::Rights;
use memmap2::MmapMut;

use super::{Backing, Draft, Identity, Region};
use crate::{
    error::{Error, ErrorKind},
    shared::Shared,
};

/// Memory that an application hands over to become a region.
///
/// # Safety
///
/// An implementor swears that the `len()` bytes at `as_mut_ptr()` are valid for reads and writes, that both
/// answers stay the same and the bytes stay where they are until the buffer is dropped, however it is moved, and that
/// nothing else reads or writes them through references meanwhile.
pub unsafe trait PinnedBuffer: Any + Send {
    /// The first byte.
    fn as_mut_ptr(&mut self) -> *mut u8;

    /// How many bytes there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

// SAFETY: a vector's heap block does not move with it, it is ours alone, and we never make it grow.
unsafe impl PinnedBuffer for Vec<u8> {
    fn as_mut_ptr(&mut self) -> *mut u8 {
        self.as_mut_slice().as_mut_ptr()
    }

    fn len(&self) -> usize {
        self.as_slice().len()
    }
}

// SAFETY: a boxed slice's heap block does not move with the box, and it is ours alone.
unsafe impl PinnedBuffer for Box<[u8]> {
    fn as_mut_ptr(&mut self) -> *mut u8 {
        self.as_mut().as_mut_ptr()
    }

    fn len(&self) -> usize {
        self.as_ref().len()
    }
}

// SAFETY: a mapping does not move with its handle. That nobody else changes the mapped bytes through
// references is what whoever made the `MmapMut` swore.
unsafe impl PinnedBuffer for MmapMut {
    fn as_mut_ptr(&mut self) -> *mut u8 {
        self.as_mut().as_mut_ptr()
    }

    fn len(&self) -> usize {
        self.as_ref().len()
    }
}

// SAFETY: the pointer in `Owned` is to the buffer's own bytes, which move between threads with it.
unsafe impl Send for Backing {}
// SAFETY: a shared `Backing` gives out addresses and lengths only, which it holds itself; no method of the buffer
// is called through it.
unsafe impl Sync for Backing {}

/// Where a region's memory is in this process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) base: NonNull<u8>,
    /// In bytes.
    pub(super) length: usize,
}

// SAFETY: an address and a length; whoever uses them holds the memory in place by other means.
unsafe impl Send for Span {}
// SAFETY: as for `Send`.
unsafe impl Sync for Span {}

impl From<(NonNull<u8>, usize)> for Span {
    fn from((base, length): (NonNull<u8>, usize)) -> Self {
        Self { base, length }
    }
}

/// Where registered buffers are: the first address of each, by that of its last byte. No two share a byte.
#[derive(Debug, Default)]
pub(crate) struct Registered(Mutex<BTreeMap<usize, usize>>);

/// A buffer's entry there; taken back when dropped.
#[derive(Debug)]
pub(crate) struct Entry {
    registered: Arc<Registered>,
    last: usize,
}

impl Registered {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<usize, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// Enters a buffer. Refuses one that shares bytes with another: its owners would not know of each other.
    fn new(registered: &Arc<Registered>, base: NonNull<u8>, length: usize) -> Result<Self, Error> {
        let first = base.addr().get();
        let last = first.saturating_add(length - 1);
        let mut entries = registered.lock();
        if let Some((&other_last, &other)) = entries.range(first..).next()
            && other <= last
        {
            let message = format!(
                "bytes {first:#x} to {last:#x} are registered already, within {other:#x} to {other_last:#x}: use that region, or close it first"
            );
            return Err(Error::new(ErrorKind::Busy, message));
        }
        entries.insert(last, first);
        drop(entries);
        Ok(Self { registered: registered.clone(), last })
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.registered.lock().remove(&self.last);
    }
}

pub(crate) fn register<B: PinnedBuffer>(shared: &Arc<Shared>, buffer: B) -> Result<Region, Error> {
    if buffer.is_empty() {
        return Err(Error::new(
            ErrorKind::OutOfBounds,
            "the buffer has 0 bytes: register at least 1",
        ));
    }
    // The pointer is taken where the buffer stays, so that no later move of it is between them.
    let mut buffer: Box<dyn PinnedBuffer> = Box::new(buffer);
    let base = NonNull::new(buffer.as_mut_ptr())
        .ok_or_else(|| Error::new(ErrorKind::Unmapped, "the buffer's address is null"))?;
    let length = buffer.len();
    let entry = Entry::new(&shared.registered, base, length)?;
    Region::establish(
        shared,
        Draft {
            backing: Backing::Owned { base, length, entry, buffer },
            length: length as u64,
            rights: Rights::ReadWrite,
            identity: Identity::private(),
            numa_node: None,
        },
    )
}
