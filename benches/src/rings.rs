//! Rings in memory of one's own, without a runtime.
#![allow(unsafe_code, reason = "island: makes rings in a mapping that the same value owns")]

use std::{io, ptr::NonNull};

use dmaring_ring::{Layout, Rings};
use memmap2::{MmapOptions, MmapRaw};

/// Fresh rings and the memory they are in.
#[derive(Debug)]
pub struct OwnRings {
    rings: Rings,
    _memory: MmapRaw,
}

impl OwnRings {
    /// Rings for `entries` submissions, a power of two.
    ///
    /// # Errors
    ///
    /// If that is no legal number of entries, or there is no memory.
    pub fn new(entries: u32) -> io::Result<Self> {
        let layout = Layout::new(entries).map_err(io::Error::other)?;
        let memory = MmapRaw::from(MmapOptions::new().len(layout.size()).map_anon()?);
        let base = NonNull::new(memory.as_mut_ptr()).ok_or(io::ErrorKind::OutOfMemory)?;
        // SAFETY: (1) the mapping is that long, zeroed, and is kept as long as the rings by the value that owns both;
        // (2) nothing else reaches it; (3) nobody else knows of it.
        let rings = unsafe { Rings::create(base, memory.len(), layout) };
        Ok(Self { rings: rings.map_err(io::Error::other)?, _memory: memory })
    }

    /// The rings.
    #[must_use]
    pub fn get(&self) -> &Rings {
        &self.rings
    }
}
