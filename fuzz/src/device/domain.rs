//! The address space that the channel's ring is mapped in, and the ring as the device sees it.
#![allow(
    unsafe_code,
    reason = "island: implements DmaMap, and reaches and frees what is mapped there"
)]

use std::{
    ptr::NonNull,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use dmaring_driver::IoatChannel;
use dmaring_engine::{DmaMap, Engine, EnqueueError, Iova, MapError, Rights, Token, Transfer};
use nix::sys::mman::munmap;

use super::hardware::Hardware;

/// Where the one mapping is, for the device.
const IOVA: u64 = 0x4000_0000;

/// Where the driver has the completion word, in words of 8 bytes from the start of the mapping.
const COMPLETION: usize = 8;

/// Enqueues a transfer of memory that nobody has.
pub(super) fn enqueue(
    channel: &mut IoatChannel<Hardware>,
    token: Token,
    transfer: &Transfer,
) -> Result<(), EnqueueError> {
    // SAFETY: no device reads the descriptors, so no memory is touched for them.
    unsafe { channel.enqueue(token, transfer) }
}

impl Hardware {
    /// The domain of the device.
    pub(super) fn domain(&self) -> Arc<dyn DmaMap> {
        Arc::new(self.clone())
    }

    /// Writes the completion word, and notes what it names.
    pub(super) fn write_completion(&self, word: u64) {
        self.with(|device| device.name(word));
        self.write_memory(COMPLETION, word);
    }

    /// Writes a word at an address, where that is mapped.
    pub(super) fn write_at(&self, address: u64, word: u64) {
        if let Some(offset) = address.checked_sub(IOVA) {
            self.write_memory(offset as usize / 8, word);
        }
    }

    /// Writes the word at this index of the mapping, from 0; past its end, nothing.
    pub(super) fn write_memory(&self, index: usize, word: u64) {
        let device = self.lock();
        let Some((start, length)) = device.mapping else { return };
        if index >= length / 8 {
            return;
        }
        let place = std::ptr::with_exposed_provenance_mut(start + index * 8);
        // SAFETY: (1) the word lies in a range that the driver keeps mapped until `unmap`, which takes the lock
        // held here, or for ever; (2) the driver too reaches it by atomics only.
        let place = unsafe { AtomicU64::from_ptr(place) };
        place.store(word, Relaxed);
    }

    /// Frees what the driver has left in place, once it is gone.
    pub(super) fn reclaim(&self) {
        let Some((start, length)) = self.with(|device| device.mapping.take()) else { return };
        let start = NonNull::new(std::ptr::with_exposed_provenance_mut(start));
        let start = start.expect("a mapping has an address");
        // SAFETY: (1) the driver mapped these pages and gave them up for ever, since it was dropped and did not
        // unmap them; (2) there is no device but this.
        unsafe { munmap(start, length) }.expect("it was mapped");
    }
}

// SAFETY: no device reaches the mapping but by `write_memory`, which takes the lock that `unmap` takes, too.
unsafe impl DmaMap for Hardware {
    fn granule(&self) -> usize {
        4096
    }

    unsafe fn map(
        &self,
        memory: NonNull<u8>,
        length: usize,
        rights: Rights,
    ) -> Result<Iova, MapError> {
        let mut device = self.lock();
        assert!(device.mapping.is_none() && rights == Rights::ReadWrite);
        device.mapping = Some((memory.as_ptr().expose_provenance(), length));
        Ok(Iova::new(IOVA))
    }

    unsafe fn unmap(&self, iova: Iova, length: usize) -> Result<(), MapError> {
        let mut device = self.lock();
        assert_eq!(device.mapping.map(|(_, length)| (IOVA, length)), Some((iova.get(), length)));
        assert!(device.is_stopped(), "unmapped under a device that may be running");
        if device.refuse_unmap {
            return Err(MapError::Os(22));
        }
        device.mapping = None;
        Ok(())
    }
}
