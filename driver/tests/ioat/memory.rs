//! The address space of the tests: where the channel's memory is, seen as its device would.
#![allow(unsafe_code, reason = "implements the DmaMap contract and reads the memory mapped")]

use std::{
    ptr::NonNull,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use dmaring_engine::{DmaMap, Iova, MapError, Rights};

/// Where the one mapping is, for the device.
pub(crate) const IOVA: u64 = 0x4000_0000;

#[derive(Clone, Debug, Default)]
pub(crate) struct Memory(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Address and length in bytes, while mapped.
    mapping: Option<(usize, usize)>,
    refuse: Option<MapError>,
    refuse_unmap: bool,
}

impl Memory {
    pub(crate) fn domain(&self) -> Arc<dyn DmaMap> {
        Arc::new(self.clone())
    }

    pub(crate) fn is_mapped(&self) -> bool {
        self.0.lock().unwrap().mapping.is_some()
    }

    pub(crate) fn refuse(&self, error: MapError) {
        self.0.lock().unwrap().refuse = Some(error);
    }

    pub(crate) fn refuse_unmap(&self) {
        self.0.lock().unwrap().refuse_unmap = true;
    }

    pub(crate) fn read(&self, iova: u64) -> u64 {
        self.with(iova, |word| word.load(Relaxed))
    }

    /// 64 bytes.
    pub(crate) fn read_line(&self, iova: u64) -> Vec<u8> {
        (0..8).flat_map(|word| self.read(iova + 8 * word).to_ne_bytes()).collect()
    }

    pub(crate) fn write(&self, iova: u64, value: u64) {
        self.with(iova, |word| word.store(value, Relaxed));
    }

    fn with<T>(&self, iova: u64, access: impl FnOnce(&AtomicU64) -> T) -> T {
        let state = self.0.lock().unwrap();
        let (start, length) = state.mapping.expect("nothing is mapped");
        let offset = iova.checked_sub(IOVA).expect("below the mapping") as usize;
        assert!(offset + 8 <= length && offset.is_multiple_of(8), "outside the mapping: {iova:#x}");
        let word = std::ptr::with_exposed_provenance_mut(start + offset);
        // SAFETY: the word lies in a range that `map`'s caller keeps mapped until `unmap`, which takes the
        // lock held here; the channel too reaches it by atomics only.
        access(unsafe { AtomicU64::from_ptr(word) })
    }
}

// SAFETY: only tests reach the mapping, under the lock that `unmap` takes.
unsafe impl DmaMap for Memory {
    fn granule(&self) -> usize {
        4096
    }

    unsafe fn map(
        &self,
        memory: NonNull<u8>,
        length: usize,
        rights: Rights,
    ) -> Result<Iova, MapError> {
        let mut state = self.0.lock().unwrap();
        assert!(state.mapping.is_none() && rights == Rights::ReadWrite);
        let start = memory.as_ptr().expose_provenance();
        assert!(start.is_multiple_of(4096) && length.is_multiple_of(4096));
        if let Some(error) = state.refuse {
            return Err(error);
        }
        state.mapping = Some((start, length));
        Ok(Iova::new(IOVA))
    }

    unsafe fn unmap(&self, iova: Iova, length: usize) -> Result<(), MapError> {
        let mut state = self.0.lock().unwrap();
        assert_eq!(state.mapping.map(|(_, length)| (IOVA, length)), Some((iova.get(), length)));
        if state.refuse_unmap {
            return Err(MapError::Os(22));
        }
        state.mapping = None;
        Ok(())
    }
}
