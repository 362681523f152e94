//! Copies and fills where one side or both are memory of a device.
//!
//! A device sees each access as a transaction of its width, and need not take every width. So everything is read and
//! written by aligned accesses of eight bytes, and of 4, 2 and 1 where a range begins or ends within a word: a range whose
//! ends are multiples of 4 is reached by 4 and 8 bytes alone. Nothing is accessed twice, or outside of the range. Bytes go
//! by way of a short buffer, since both sides may be aligned differently and each must be accessed as it is aligned.
//!
//! Each access is one `mov` in assembly: the compiler can neither merge nor widen it, and the processor orders it as the
//! mapping's kind of memory says. Ordinary memory on the other side is reached in the same way.
#![allow(unsafe_code, reason = "loads and stores at addresses of mapped memory")]

/// Bytes on the way, a multiple of a word.
const BUFFER: usize = 256;
const WORD: usize = size_of::<u64>();

/// Copies `length` bytes.
///
/// # Safety
///
/// The caller swears that the ranges are mapped for these accesses, and that others access them atomically or
/// outside Rust's memory model. Where they overlap, what the destination holds afterwards is unspecified.
pub(crate) unsafe fn copy(destination: *mut u8, source: *const u8, length: usize) {
    let mut buffer = [0; BUFFER];
    let mut done = 0;
    while done < length {
        let from = source.wrapping_add(done);
        // Pieces end at words of the source.
        let piece = (BUFFER - from.addr() % WORD).min(length - done);
        let bytes = &mut buffer[..piece];
        // SAFETY: the piece lies within the source (caller).
        unsafe { read(from, bytes) };
        // SAFETY: the piece lies within the destination (caller).
        unsafe { write(destination.wrapping_add(done), bytes) };
        done += piece;
    }
}

/// Fills `length` bytes with the pattern's eight, the lowest first, again and again.
///
/// # Safety
///
/// As for [`copy`], of the destination.
pub(crate) unsafe fn fill(destination: *mut u8, pattern: u64, length: usize) {
    let mut buffer = [0; BUFFER];
    for word in buffer.chunks_exact_mut(WORD) {
        word.copy_from_slice(&pattern.to_le_bytes());
    }
    let mut done = 0;
    while done < length {
        let to = destination.wrapping_add(done);
        // The pattern's byte at this place is that of the buffer at the same offset modulo a word.
        let first = done % WORD;
        let piece = (BUFFER - WORD - to.addr() % WORD).min(length - done);
        // SAFETY: the piece lies within the destination (caller).
        unsafe { write(to, &buffer[first..first + piece]) };
        done += piece;
    }
}

/// # Safety
///
/// As for [`copy`], of the source.
unsafe fn read(mut source: *const u8, bytes: &mut [u8]) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let width = width(source.addr(), rest.len());
        // SAFETY: the access is aligned and within the source (caller).
        let value = unsafe { access::load(source, width) };
        let (part, after) = rest.split_at_mut(width);
        part.copy_from_slice(&value.to_le_bytes()[..width]);
        (source, rest) = (source.wrapping_add(width), after);
    }
}

/// # Safety
///
/// As for [`copy`], of the destination.
unsafe fn write(mut destination: *mut u8, bytes: &[u8]) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let width = width(destination.addr(), rest.len());
        let (part, after) = rest.split_at(width);
        let mut value = [0; WORD];
        value[..width].copy_from_slice(part);
        // SAFETY: the access is aligned and within the destination (caller).
        unsafe { access::store(destination, width, u64::from_le_bytes(value)) };
        (destination, rest) = (destination.wrapping_add(width), after);
    }
}

/// The widest access at an address that is aligned and no longer than `left`: 8, 4, 2 or 1 bytes.
fn width(address: usize, left: usize) -> usize {
    let aligned = address.trailing_zeros().min(3);
    let fitting = left.max(1).ilog2().min(3);
    1 << aligned.min(fitting)
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
mod access {
    use std::arch::asm;

    /// Reads 8, 4, 2 or 1 bytes.
    ///
    /// # Safety
    ///
    /// The caller swears that `at` is aligned to `width` and that so many bytes are mapped there.
    #[inline]
    pub(super) unsafe fn load(at: *const u8, width: usize) -> u64 {
        let value: u64;
        match width {
            8 => {
                // SAFETY: (1) the bytes are mapped (caller); (2) the block reads them and writes `value` alone.
                unsafe {
                    asm!("mov {}, qword ptr [{}]", lateout(reg) value, in(reg) at, options(nostack, preserves_flags));
                }
            }
            4 => {
                // SAFETY: as above; the upper half becomes 0.
                unsafe {
                    asm!("mov {:e}, dword ptr [{}]", lateout(reg) value, in(reg) at, options(nostack, preserves_flags));
                }
            }
            2 => {
                // SAFETY: as above; what lies above the two bytes becomes 0.
                unsafe {
                    asm!("movzx {:e}, word ptr [{}]", lateout(reg) value, in(reg) at, options(nostack, preserves_flags));
                }
            }
            _ => {
                // SAFETY: as above; what lies above the byte becomes 0.
                unsafe {
                    asm!("movzx {:e}, byte ptr [{}]", lateout(reg) value, in(reg) at, options(nostack, preserves_flags));
                }
            }
        }
        value
    }

    /// Writes 8, 4, 2 or 1 bytes: the low ones of `value`.
    ///
    /// # Safety
    ///
    /// As for [`load`], for writing.
    #[inline]
    pub(super) unsafe fn store(at: *mut u8, width: usize, value: u64) {
        match width {
            8 => {
                // SAFETY: (1) the bytes are mapped (caller); (2) the block writes them and nothing else.
                unsafe {
                    asm!("mov qword ptr [{}], {}", in(reg) at, in(reg) value, options(nostack, preserves_flags));
                }
            }
            4 => {
                // SAFETY: as above.
                unsafe {
                    asm!("mov dword ptr [{}], {:e}", in(reg) at, in(reg) value, options(nostack, preserves_flags));
                }
            }
            2 => {
                // SAFETY: as above.
                unsafe {
                    asm!("mov word ptr [{}], {:x}", in(reg) at, in(reg) value, options(nostack, preserves_flags));
                }
            }
            _ => {
                let value = value as u8;
                // SAFETY: as above.
                unsafe {
                    asm!("mov byte ptr [{}], {}", in(reg) at, in(reg_byte) value, options(nostack, preserves_flags));
                }
            }
        }
    }
}

/// Atomic accesses, for Miri and for processors whose accesses have no name here. Under Miri bytes alone: races of
/// different widths are none of its.
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
mod access {
    use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed};

    /// # Safety
    ///
    /// The caller swears that `at` is aligned to `width` and that so many bytes are mapped there.
    pub(super) unsafe fn load(at: *const u8, width: usize) -> u64 {
        let at = at.cast_mut();
        if cfg!(miri) {
            return (0..width).fold(0, |value, byte| {
                // SAFETY: the byte is mapped (caller).
                let place = unsafe { AtomicU8::from_ptr(at.wrapping_add(byte)) };
                value | u64::from(place.load(Relaxed)) << (8 * byte)
            });
        }
        match width {
            // SAFETY: aligned and mapped (caller).
            8 => u64::from_le(unsafe { AtomicU64::from_ptr(at.cast()) }.load(Relaxed)),
            // SAFETY: as above.
            4 => u32::from_le(unsafe { AtomicU32::from_ptr(at.cast()) }.load(Relaxed)).into(),
            // SAFETY: as above.
            2 => u16::from_le(unsafe { AtomicU16::from_ptr(at.cast()) }.load(Relaxed)).into(),
            // SAFETY: as above.
            _ => unsafe { AtomicU8::from_ptr(at) }.load(Relaxed).into(),
        }
    }

    /// # Safety
    ///
    /// As for [`load`], for writing.
    pub(super) unsafe fn store(at: *mut u8, width: usize, value: u64) {
        if cfg!(miri) {
            for byte in 0..width {
                // SAFETY: the byte is mapped (caller).
                let place = unsafe { AtomicU8::from_ptr(at.wrapping_add(byte)) };
                place.store((value >> (8 * byte)) as u8, Relaxed);
            }
            return;
        }
        match width {
            // SAFETY: aligned and mapped (caller).
            8 => unsafe { AtomicU64::from_ptr(at.cast()) }.store(value.to_le(), Relaxed),
            // SAFETY: as above.
            4 => unsafe { AtomicU32::from_ptr(at.cast()) }.store((value as u32).to_le(), Relaxed),
            // SAFETY: as above.
            2 => unsafe { AtomicU16::from_ptr(at.cast()) }.store((value as u16).to_le(), Relaxed),
            // SAFETY: as above.
            _ => unsafe { AtomicU8::from_ptr(at) }.store(value as u8, Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BUFFER, copy, fill, width};

    const LENGTH: usize = 3 * BUFFER;
    /// Miri takes long for each case.
    const STEP: usize = if cfg!(miri) { 5 } else { 1 };

    /// Bytes at an address that is a multiple of 8.
    #[repr(align(8))]
    #[derive(Clone)]
    struct Pool([u8; LENGTH]);

    fn pool(seed: u8) -> Pool {
        Pool(std::array::from_fn(|at| (at as u8).wrapping_mul(7) ^ (at >> 8) as u8 ^ seed))
    }

    #[test]
    fn accesses_are_aligned_and_as_wide_as_the_ends_allow() {
        let widths = |mut at: usize, mut left: usize| {
            let mut widths = Vec::new();
            while left > 0 {
                let next = width(at, left);
                assert!(at.is_multiple_of(next) && next <= left);
                widths.push(next);
                (at, left) = (at + next, left - next);
            }
            widths
        };
        assert_eq!(widths(0x1000, 16), [8, 8]);
        assert_eq!(widths(0x1004, 16), [4, 8, 4]);
        assert_eq!(widths(0x1001, 14), [1, 2, 4, 4, 2, 1]);
        assert_eq!(widths(0x1003, 2), [1, 1]);
    }

    #[test]
    fn copies_move_their_range_and_nothing_else_at_every_alignment() {
        for to in (0..9).step_by(STEP) {
            for from in (0..9).step_by(STEP) {
                for length in [1, 7, 8, 13, 64, BUFFER - 1, BUFFER, BUFFER + 9, 2 * BUFFER + 5] {
                    let (mut source, mut destination) = (pool(0), pool(0x5a));
                    let mut expected = destination.0;
                    expected[to..to + length].copy_from_slice(&source.0[from..from + length]);
                    // Under Miri they are atomics, which ask for a pointer that may write.
                    let (into, out) = (destination.0.as_mut_ptr(), source.0.as_mut_ptr());
                    // SAFETY: both ranges lie within the pools, which nobody else has.
                    unsafe { copy(into.wrapping_add(to), out.wrapping_add(from), length) };
                    assert!(destination.0 == expected, "{from} {to} {length}");
                }
            }
        }
    }

    #[test]
    fn fills_begin_with_the_lowest_byte_at_every_alignment() {
        let pattern = 0x0807_0605_0403_0201_u64;
        for to in (0..9).step_by(STEP) {
            for length in [1, 7, 8, 13, BUFFER - 8, BUFFER, 2 * BUFFER + 5] {
                let mut destination = pool(0x5a);
                let mut expected = destination.0;
                for (at, byte) in expected[to..to + length].iter_mut().enumerate() {
                    *byte = (at % 8) as u8 + 1;
                }
                let into = destination.0.as_mut_ptr();
                // SAFETY: the range lies within the pool, which nobody else has.
                unsafe { fill(into.wrapping_add(to), pattern, length) };
                assert!(destination.0 == expected, "{to} {length}");
            }
        }
    }
}
