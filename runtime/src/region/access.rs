//! Reading and writing a region from the CPU.
//!
//! Engines and other handles may access the same bytes at the same time. Every access here is a relaxed
//! atomic one, of eight bytes where the region's address allows and of one byte at the ends, so that what is
//! read under a running copy is unspecified but never undefined. Memory of a device has accesses of its own.
#![allow(unsafe_code, reason = "island: atomic accesses to mapped memory")]

use std::{
    ptr::NonNull,
    sync::atomic::{AtomicU8, AtomicU64, Ordering},
};

use super::{Region, mmio};
use crate::error::Error;

const WORD: usize = 8;

impl Region {
    /// Copies the bytes at `offset` into `buffer`.
    ///
    /// Of a file that is served through staging buffers it reads the file, and blocks as that does.
    ///
    /// # Errors
    ///
    /// [`OutOfBounds`](crate::ErrorKind::OutOfBounds); for a staged file [`Io`](crate::ErrorKind::Io), with the offset
    /// at which the file ended or failed; [`Closed`](crate::ErrorKind::Closed) for a region that was
    /// [closed](Region::close), and in a child after fork.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        self.check_access(offset, buffer.len())?;
        let Some(_held) = self.0.life.reading() else { return Err(self.ended()) };
        if let Some(file) = self.staged_file() {
            return file.read_at(offset, buffer);
        }
        let Some(mut at) = self.address(offset) else { return Ok(()) };
        if self.manner().is_some() {
            // SAFETY: (1) `check_access` found the range within the region; (2) the region's life, which `_held` holds, keeps it
            // mapped; (3) it is a device's.
            unsafe { mmio::read(at, buffer) };
            return Ok(());
        }
        let (head, words, tail) = split(at, buffer);
        for byte in head {
            *byte = load_byte(&mut at);
        }
        for word in words.chunks_exact_mut(WORD) {
            word.copy_from_slice(&load_word(&mut at).to_ne_bytes());
        }
        for byte in tail {
            *byte = load_byte(&mut at);
        }
        Ok(())
    }

    /// Copies `bytes` to `offset`.
    ///
    /// Of a file that is served through staging buffers it writes the file, and blocks as that does.
    ///
    /// # Errors
    ///
    /// As [`read_at`](Region::read_at), and [`Permission`](crate::ErrorKind::Permission) for a region opened
    /// for reading only; [`Closed`](crate::ErrorKind::Closed) for one that was
    /// [replaced](Region::replace_with_zeroes), too.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        self.check_access(offset, bytes.len())?;
        self.check_writable()?;
        let Some(_held) = self.0.life.writing() else { return Err(self.ended()) };
        if let Some(file) = self.staged_file() {
            return file.write_at(offset, bytes);
        }
        let Some(mut at) = self.address(offset) else { return Ok(()) };
        if self.manner().is_some() {
            // SAFETY: as in `read_at`; the region is writable.
            unsafe { mmio::write(at, bytes) };
            return Ok(());
        }
        let head = head_length(at, bytes.len());
        let (head, rest) = bytes.split_at(head);
        let words = rest.chunks_exact(WORD);
        let tail = words.remainder();
        for &byte in head {
            store_byte(&mut at, byte);
        }
        for word in words {
            let mut value = [0; WORD];
            value.copy_from_slice(word);
            store_word(&mut at, u64::from_ne_bytes(value));
        }
        for &byte in tail {
            store_byte(&mut at, byte);
        }
        Ok(())
    }

    fn check_access(&self, offset: u64, length: usize) -> Result<(), Error> {
        self.0.shared.check_process()?;
        self.check_within("access", offset, length as u64)
    }

    /// The address of a byte that `check_range` let pass.
    fn address(&self, offset: u64) -> Option<NonNull<u8>> {
        let (base, length) = self.0.span()?;
        let offset = usize::try_from(offset).ok().filter(|&offset| offset <= length)?;
        // SAFETY: the region's mapping, which callers hold in place, has `length` bytes and `offset` is not beyond its end.
        Some(unsafe { base.add(offset) })
    }
}

/// How many bytes come before the first whole word. Miri wants racing accesses to be of one size: all bytes.
fn head_length(at: NonNull<u8>, length: usize) -> usize {
    if cfg!(miri) { length } else { at.align_offset(WORD).min(length) }
}

fn split(at: NonNull<u8>, buffer: &mut [u8]) -> (&mut [u8], &mut [u8], &mut [u8]) {
    let head = head_length(at, buffer.len());
    let (head, rest) = buffer.split_at_mut(head);
    let (words, tail) = rest.split_at_mut(rest.len() / WORD * WORD);
    (head, words, tail)
}

fn load_byte(at: &mut NonNull<u8>) -> u8 {
    // SAFETY: (1) callers checked the whole range against the region, so this byte is mapped; (2) the region's life, which
    // callers hold, keeps it so; (3) Rust code touches it by atomics only.
    let value = unsafe { AtomicU8::from_ptr(at.as_ptr()) }.load(Ordering::Relaxed);
    step(at, 1);
    value
}

fn store_byte(at: &mut NonNull<u8>, value: u8) {
    // SAFETY: as in `load_byte`; the region is writable, which callers checked.
    unsafe { AtomicU8::from_ptr(at.as_ptr()) }.store(value, Ordering::Relaxed);
    step(at, 1);
}

fn load_word(at: &mut NonNull<u8>) -> u64 {
    // SAFETY: as in `load_byte`, for eight bytes; the head was chosen so that `at` is aligned to them.
    let value = unsafe { AtomicU64::from_ptr(at.as_ptr().cast()) }.load(Ordering::Relaxed);
    step(at, WORD);
    value
}

fn store_word(at: &mut NonNull<u8>, value: u64) {
    // SAFETY: as in `load_word`; the region is writable, which callers checked.
    unsafe { AtomicU64::from_ptr(at.as_ptr().cast()) }.store(value, Ordering::Relaxed);
    step(at, WORD);
}

fn step(at: &mut NonNull<u8>, by: usize) {
    // SAFETY: at most one past the end of the checked range.
    *at = unsafe { at.add(by) };
}
