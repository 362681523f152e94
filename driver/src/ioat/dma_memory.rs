//! The memory that a channel reads and writes on its own account.
//!
//! One anonymous mapping, made reachable through the engine's domain, in lines of 64 bytes:
//!
//! | line | what |
//! | --- | --- |
//! | 0 | nothing, so that no address given to the device is 0, which means none to it |
//! | 1 to 63 | completion words, each alone in its line, of which one is in use |
//! | 64 on | the descriptor ring |
//! | from the next page on | the pattern areas, where fills need them |
//!
//! # Completion words
//!
//! Each time the channel is armed it is given the next completion word, set to 0, and only that one is read from then
//! on. A reset begins a new *epoch* in this way: what the device still writes at the address of an earlier one, be
//! it late in a bridge or by a fault of its own, lands in a word that nobody looks at. It cannot be taken for a
//! completion, although it would be the address of a descriptor that the new epoch has, too. The words come
//! round after 63 resets. By then a late write would have been overtaken by as many register reads and more, whose answers
//! push writes ahead of them on PCI Express.
//!
//! The device may read and write all of it at any time while it is *lent*, so the CPU reaches it by atomics
//! alone, and no reference to its bytes exists. It is lent from the moment that a register holds one of its
//! addresses until the channel is shown to have stopped. Dropped while it is lent, it is left in place for
//! ever: reachable, never reused, and said so.
#![allow(unsafe_code, reason = "island: reaches memory that it shares with a device")]

use std::{
    mem,
    ptr::NonNull,
    sync::{
        Arc,
        atomic::{
            AtomicU64,
            Ordering::{Acquire, Relaxed},
            fence,
        },
    },
};

use dmaring_engine::{DmaMap, Iova, Rights};
use dmaring_ioat_spec::descriptor::Descriptor;
use memmap2::{MmapMut, MmapRaw};

use super::StartError;
use crate::fork::Origin;

const PAGE_BYTES: usize = 4096;
const LINE_BYTES: usize = 64;
const FIRST_COMPLETION_LINE: usize = 1;
const RING_LINE: usize = PAGE_BYTES / LINE_BYTES;

/// What a descriptor and a completion word lie in.
#[derive(Debug)]
#[repr(C, align(64))]
struct Line([AtomicU64; 8]);

const _: () = assert!(size_of::<Line>() == LINE_BYTES);

#[derive(Debug)]
pub(super) struct DmaMemory {
    /// `None` when it was given up.
    mapping: Option<MmapRaw>,
    /// All of it, within `mapping`.
    lines: NonNull<[Line]>,
    /// The ring, within `lines`.
    ring: NonNull<[Line]>,
    domain: Arc<dyn DmaMap>,
    iova: Iova,
    /// The line of the completion word in use.
    completion_line: usize,
    /// The first line of the pattern areas.
    pattern_line: usize,
    lent: bool,
    origin: Origin,
}

// SAFETY: the memory that `lines` and `ring` point to belongs to this value, is reached through it alone on
// the CPU's side, and is tied to no thread.
unsafe impl Send for DmaMemory {}

impl DmaMemory {
    /// Zeroed memory for a ring of that many descriptors, a power of two, and that many bytes of pattern
    /// areas, mapped in the domain, with every descriptor linked to the next and the last to the first.
    pub(super) fn new(
        domain: Arc<dyn DmaMap>,
        descriptors: usize,
        pattern_bytes: usize,
    ) -> Result<Self, StartError> {
        let granule = domain.granule().max(PAGE_BYTES);
        let ring_end = PAGE_BYTES + descriptors * LINE_BYTES;
        let pattern_start = ring_end.next_multiple_of(PAGE_BYTES);
        let bytes = (pattern_start + pattern_bytes).next_multiple_of(granule);

        // Pages are aligned by themselves; a larger granule takes room to move the start.
        let slack = if granule > PAGE_BYTES { granule } else { 0 };
        let mapping = MmapMut::map_anon(bytes + slack)
            .map(MmapRaw::from)
            .map_err(|source| StartError::Memory { bytes, source })?;
        keep_from_children(&mapping);
        let start = mapping.as_mut_ptr();
        let start = start.wrapping_add(start.align_offset(granule));
        let start = NonNull::new(start).ok_or_else(|| StartError::Memory {
            bytes,
            source: std::io::ErrorKind::OutOfMemory.into(),
        })?;

        // SAFETY: (1) the range lies in `mapping`, which has `bytes` and the slack for alignment, and is mapped
        // memory; (2) `drop` unmaps the range before it frees it, and where that fails never frees it.
        let iova = unsafe { domain.map(start, bytes, Rights::ReadWrite) }
            .map_err(|source| StartError::Map { bytes, source })?;
        // SAFETY: the mapping is longer than a page, where the ring starts.
        let ring = unsafe { start.add(PAGE_BYTES) };
        let memory = Self {
            mapping: Some(mapping),
            lines: NonNull::slice_from_raw_parts(start.cast(), bytes / LINE_BYTES),
            ring: NonNull::slice_from_raw_parts(ring.cast(), descriptors),
            domain,
            iova,
            completion_line: RING_LINE - 1,
            pattern_line: pattern_start / LINE_BYTES,
            lent: false,
            origin: Origin::here(),
        };
        for index in 0..descriptors {
            let next = memory.descriptor_address((index + 1) % descriptors);
            memory.write_link(index, next);
        }
        Ok(memory)
    }

    /// The address of the descriptor at this index, for the device.
    pub(super) fn descriptor_address(&self, index: usize) -> u64 {
        self.address(RING_LINE + index)
    }

    /// The address of the completion word in use, for the device.
    pub(super) fn completion_address(&self) -> u64 {
        self.address(self.completion_line)
    }

    /// The address of the first pattern area, for the device.
    pub(super) fn pattern_address(&self) -> u64 {
        self.address(self.pattern_line)
    }

    /// Writes size, control, source and destination of the descriptor at this index. Its link stays, and
    /// its operands are 0 for ever.
    #[inline]
    pub(super) fn write_descriptor(&self, index: usize, descriptor: &Descriptor) {
        let [head, source, destination, ..] = descriptor.to_words();
        if let Some(Line(words)) = self.ring().get(index) {
            words[0].store(head, Relaxed);
            words[1].store(source, Relaxed);
            words[2].store(destination, Relaxed);
        }
    }

    /// Writes the first word, size and control, of the descriptor at this index.
    #[inline]
    pub(super) fn write_descriptor_head(&self, index: usize, head: u64) {
        if let Some(Line(words)) = self.ring().get(index) {
            words[0].store(head, Relaxed);
        }
    }

    /// The completion word. What it guards is read after this.
    #[inline]
    pub(super) fn read_completion(&self) -> u64 {
        let word = match self.lines().get(self.completion_line) {
            Some(Line(words)) => words[0].load(Relaxed),
            None => 0,
        };
        fence(Acquire);
        word
    }

    /// Begins an epoch: the next completion word is in use, and 0. The channel has stopped.
    pub(super) fn next_completion(&mut self) {
        let next = self.completion_line + 1;
        self.completion_line = if next < RING_LINE { next } else { FIRST_COMPLETION_LINE };
        if let Some(Line(words)) = self.lines().get(self.completion_line) {
            words[0].store(0, Relaxed);
        }
    }

    /// Writes the pattern over and over into `bytes` of the pattern areas, `offset` bytes from their
    /// start; both are multiples of 64. Stays within the areas.
    pub(super) fn write_pattern(&self, offset: usize, bytes: usize, pattern: u64) {
        let first = self.pattern_line + offset / LINE_BYTES;
        let area = self.lines().get(first..).unwrap_or_default();
        for Line(words) in area.iter().take(bytes / LINE_BYTES) {
            for word in words {
                word.store(pattern.to_le(), Relaxed);
            }
        }
    }

    /// From here on the device may reach the memory.
    pub(super) fn lend(&mut self) {
        self.lent = true;
    }

    /// The device was shown to have stopped, and knows none of the addresses any more.
    pub(super) fn take_back(&mut self) {
        self.lent = false;
    }

    pub(super) fn is_lent(&self) -> bool {
        self.lent
    }

    /// Whether this process is a child of the one whose memory this is, and does not have it.
    pub(super) fn is_elsewhere(&self) -> bool {
        self.origin.is_elsewhere()
    }

    fn address(&self, line: usize) -> u64 {
        self.iova.get().wrapping_add((line * LINE_BYTES) as u64)
    }

    fn write_link(&self, index: usize, next: u64) {
        if let Some(Line(words)) = self.ring().get(index) {
            words[3].store(next, Relaxed);
        }
    }

    #[inline]
    fn lines(&self) -> &[Line] {
        // SAFETY: (1) `new` made the pointer of a range within `mapping`, aligned to a page and long enough for
        // these lines; (2) the mapping lives as long as this value; (3) zeroed memory is a valid `Line`, as is
        // any other content: it consists of atomics; (4) nothing on the CPU's side reaches it otherwise.
        unsafe { self.lines.as_ref() }
    }

    #[inline]
    fn ring(&self) -> &[Line] {
        // SAFETY: as in `lines`, of which `new` made this a part.
        unsafe { self.ring.as_ref() }
    }
}

impl Drop for DmaMemory {
    fn drop(&mut self) {
        if self.is_elsewhere() {
            // Whatever is at these addresses in a child is not this memory.
            mem::forget(self.mapping.take());
            return;
        }
        let bytes = self.lines.len() * LINE_BYTES;
        if self.lent {
            mem::forget(self.mapping.take());
            tracing::error!(
                bytes,
                "the channel was not shown to have stopped: its ring is left in place"
            );
            return;
        }
        // SAFETY: (1) `new` mapped exactly this range; (2) the memory is not lent: the channel has stopped or
        // never knew an address of it.
        if let Err(error) = unsafe { self.domain.unmap(self.iova, bytes) } {
            mem::forget(self.mapping.take());
            tracing::error!(bytes, %error, "the ring could not be unmapped: it is left in place");
        }
    }
}

/// A child process has no part in the memory: with a copy in it, the next write here would go to another
/// page than the one that the device reaches.
fn keep_from_children(mapping: &MmapRaw) {
    #[cfg(not(miri))]
    if let Err(error) = mapping.advise(memmap2::Advice::DontFork) {
        tracing::warn!(%error, "the ring's memory is inherited by child processes");
    }
    #[cfg(miri)]
    let _ = mapping;
}
