//! The ring memory of the one runtime of this process, found as another process would be given it.
#![allow(unsafe_code, reason = "island: reaches the runtime's ring memory as words")]

use std::{
    fs, slice,
    sync::atomic::{AtomicU64, Ordering::SeqCst},
};

/// The words of the ring memory. Not used after the runtime is gone.
#[derive(Debug)]
pub(super) struct RingWords {
    start: *const AtomicU64,
    count: usize,
}

impl RingWords {
    /// Looks for the mapping of the rings' memfd.
    pub(super) fn find() -> Self {
        let maps = fs::read_to_string("/proc/self/maps").expect("a process has mappings");
        let line = maps.lines().find(|line| line.contains("memfd:dmaring-rings"));
        let range = line.and_then(|line| line.split(' ').next()).expect("a runtime has rings");
        let (start, end) = range.split_once('-').expect("a range");
        let [start, end] = [start, end]
            .map(|address| usize::from_str_radix(address, 16).expect("a hexadecimal address"));
        Self { start: std::ptr::with_exposed_provenance(start), count: (end - start) / 8 }
    }

    pub(super) fn load(&self, word: usize) -> u64 {
        self.words()[word].load(SeqCst)
    }

    pub(super) fn store(&self, word: usize, value: u64) {
        self.words()[word].store(value, SeqCst);
    }

    fn words(&self) -> &[AtomicU64] {
        // SAFETY: (1) the kernel said that the range is mapped, and the runtime, which outlives this, keeps it so;
        // (2) it is reached by atomics alone, here and by the runtime; flags of 4 bytes share their word with
        // 4 unused ones, which the processor tells apart.
        unsafe { slice::from_raw_parts(self.start, self.count) }
    }
}
