//! The visible image: pages of a memfd, mapped here and, by its path, by whoever plays the program.
#![allow(unsafe_code, reason = "turns a mapping of its own into a span")]

use std::{fs::File, io, os::fd::AsRawFd, path::PathBuf, ptr::NonNull};

use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{MemfdFlags, memfd_create};

use crate::memory::Span;

const PAGE: usize = 4096;
const WORD: usize = 8;

#[derive(Debug)]
pub(super) struct Pages {
    /// Of `_mapping`, and dropped with it. Whoever holds the lock reads it: every access is atomic.
    span: Span,
    _mapping: MmapRaw,
    file: File,
}

// SAFETY: every method of a span is an atomic access of memory that stays mapped while `self` lives.
unsafe impl Sync for Pages {}

impl Pages {
    pub(super) fn new(length: usize) -> io::Result<Self> {
        let length = length.max(1).next_multiple_of(PAGE);
        let file = File::from(memfd_create("dmaring-persistent", MemfdFlags::CLOEXEC)?);
        file.set_len(length as u64)?;
        let mapping = MmapOptions::new().len(length).map_raw(&file)?;
        let start = NonNull::new(mapping.as_mut_ptr())
            .ok_or_else(|| io::Error::other("mapped at address zero"))?;
        // SAFETY: (1) the mapping has so many bytes, readable and writable, and lives as long as the span, which is
        // dropped first; (2) it begins at a page; (3) others, in this process, map the file and use atomics
        // or instructions that Rust's memory model has no word on. Nobody makes it shorter: it is ours.
        let span = unsafe { Span::new(start, length) };
        Ok(Self { span, _mapping: mapping, file })
    }

    pub(super) fn length(&self) -> usize {
        self.span.length()
    }

    pub(super) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }

    /// The eight words of a line.
    pub(super) fn read_line(&self, line: usize) -> [u64; 8] {
        std::array::from_fn(|word| self.span.read_word((line * 8 + word) * WORD))
    }

    pub(super) fn write_line(&self, line: usize, words: &[u64; 8]) {
        for (word, &value) in words.iter().enumerate() {
            self.span.publish((line * 8 + word) * WORD, value);
        }
    }
}
