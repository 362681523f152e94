//! Memory that passes for a device's: shared, watched from outside, and gone when it is let go.
#![allow(unsafe_code, reason = "declares a mapping to be memory of a device, for tests")]

use std::{
    fs::File,
    os::unix::fs::FileExt,
    ptr::NonNull,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use dmaring::DeviceMemory;
use memmap2::{MmapOptions, MmapRaw};

/// What stands in for a BAR.
pub(crate) struct FakeBar {
    mapping: MmapRaw,
    pub(crate) prefetchable: bool,
    pub(crate) bus_address: Option<u64>,
    gone: Arc<AtomicBool>,
}

/// The other side of it.
pub(crate) struct Outside {
    file: File,
    gone: Arc<AtomicBool>,
}

impl FakeBar {
    pub(crate) fn new(length: usize) -> (Self, Outside) {
        let file = tempfile::tempfile_in("/dev/shm").unwrap();
        file.set_len(length as u64).unwrap();
        let mapping = MmapOptions::new().len(length).map_raw(&file).unwrap();
        let gone = Arc::new(AtomicBool::new(false));
        let outside = Outside { file, gone: gone.clone() };
        (Self { mapping, prefetchable: true, bus_address: None, gone }, outside)
    }

    /// Another handle to the same bytes, that far from their beginning.
    pub(crate) fn again(outside: &Outside, length: usize, bus_address: u64) -> Self {
        let mapping = MmapOptions::new().len(length).map_raw(&outside.file).unwrap();
        let gone = Arc::default();
        Self { mapping, prefetchable: true, bus_address: Some(bus_address), gone }
    }
}

impl Outside {
    pub(crate) fn read(&self, offset: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, offset).unwrap();
        bytes
    }

    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) {
        self.file.write_all_at(bytes, offset).unwrap();
    }

    /// Whether the handle was dropped.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::SeqCst)
    }
}

impl Drop for FakeBar {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::SeqCst);
    }
}

// SAFETY: (1) the mapping is whole pages and goes with the value; (2) and (3) it is memory of tmpfs, which is reached by
// atomics, by volatile accesses of one thread at a time, and through the file; (4) nothing of it changes.
unsafe impl DeviceMemory for FakeBar {
    fn base(&self) -> NonNull<u8> {
        NonNull::new(self.mapping.as_mut_ptr()).unwrap()
    }

    fn len(&self) -> usize {
        self.mapping.len()
    }

    fn name(&self) -> &'static str {
        "0000:00:0b.0 BAR 2"
    }

    fn prefetchable(&self) -> bool {
        self.prefetchable
    }

    fn bus_address(&self) -> Option<u64> {
        self.bus_address
    }

    fn numa_node(&self) -> Option<u32> {
        Some(1)
    }
}
