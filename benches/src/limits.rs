//! What bounds a copy of cold memory: reads alone, stores past the caches alone, and loops that know which block comes next.
//!
//! The latter copy line by line with non-temporal stores, as the bare [loops](crate::loops), and prefetch: so many bytes ahead, and
//! at the end of a block the beginning of the next. So does who reads alone. They take AVX2, and those with registers of 64 bytes AVX-512.
#![allow(
    unsafe_code,
    reason = "island: assembly loops, each within slices whose lengths are checked"
)]

use std::arch::asm;

use crate::loops::fence;

const LINE: usize = 64;

/// Where what is read ahead goes, and by which registers lines are copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// To all caches, `prefetcht0`, by registers of 64 bytes.
    T0,
    /// The same by registers of 32 bytes.
    T0Narrow,
    /// Not to the nearest: `prefetcht1`.
    T1,
    /// Past the others, `prefetchnta`.
    Nta,
    /// The same by registers of 32 bytes.
    NtaNarrow,
    /// As `T0Narrow`, but only what comes next is read ahead.
    NextNarrow,
}

impl Hint {
    /// Whether this processor has the instructions.
    #[must_use]
    pub fn is_available(self) -> bool {
        match self {
            Self::T0 | Self::T1 | Self::Nta => is_x86_feature_detected!("avx512f"),
            Self::T0Narrow | Self::NtaNarrow | Self::NextNarrow => is_available(),
        }
    }
}

/// Whether this processor has the instructions that all need.
#[must_use]
pub fn is_available() -> bool {
    is_x86_feature_detected!("avx2")
}

/// Copies all bytes and reads `distance` bytes ahead, at the end of the source those that `next` begins with.
///
/// # Panics
///
/// If the slices are not equally long, shorter than `distance` or no multiples of 64 long, `distance` is no multiple of 64, the
/// destination not at one, or the processor has not the instructions.
pub fn ahead((hint, distance): (Hint, usize), destination: &mut [u8], source: &[u8], next: &[u8]) {
    assert!(hint.is_available(), "the processor has no such instructions");
    assert!(destination.len() == source.len() && next.len() == source.len(), "one length");
    let whole = |bytes: usize| bytes.is_multiple_of(LINE);
    assert!(whole(source.len()) && whole(distance) && distance <= source.len(), "whole lines");
    assert!(whole(destination.as_ptr().addr()), "the destination begins a line");
    let (distant, last) = ((source.len() - distance) / LINE, distance / LINE);
    let lines = match hint {
        Hint::T0 => t0,
        Hint::T0Narrow => t0_narrow,
        Hint::T1 => t1,
        Hint::Nta => nta,
        Hint::NtaNarrow => nta_narrow,
        Hint::NextNarrow => t0_narrow,
    };
    // Where nothing is to be read ahead within the block, the line that is copied is, which is there then.
    let far = if hint == Hint::NextNarrow { 0 } else { distance };
    let (to, from) = (destination.as_mut_ptr(), source.as_ptr());
    let behind = source.len() - distance;
    // SAFETY: (1) so many lines lie within both slices, which are borrowed; (2) the destination begins a line, as was just
    // checked; (3) the processor has the instructions.
    unsafe { lines(to, from, from.wrapping_add(far), distant) };
    let (to, from) = (to.wrapping_add(behind), from.wrapping_add(behind));
    // SAFETY: (1) the last lines of both slices, which are borrowed; (2) a multiple of 64 behind it, too; (3) as above.
    unsafe { lines(to, from, next.as_ptr(), last) };
    fence();
}

macro_rules! prefetching {
    ($name:ident, $feature:literal, $prefetch:literal, $line:ident, $end:literal, $($register:tt),+) => {
        /// Copies so many lines and prefetches as many from `ahead` on.
        ///
        /// # Safety
        ///
        /// The caller has so many lines of both to read and to write, and the destination begins a line.
        #[target_feature(enable = $feature)]
        unsafe fn $name(destination: *mut u8, source: *const u8, ahead: *const u8, lines: usize) {
            if lines == 0 {
                return;
            }
            // SAFETY: (1) so many lines of each side, at least one (caller); a prefetch never fails and changes nothing; (2) the
            // destination is aligned (caller); (3) registers written are declared, no stack is used.
            unsafe {
                asm!(
                    "2:",
                    concat!($prefetch, " [{a}]"),
                    $line!(),
                    "add {a}, 64", "add {s}, 64", "add {d}, 64", "dec {n}", "jnz 2b",
                    $end,
                    a = inout(reg) ahead => _, s = inout(reg) source => _,
                    d = inout(reg) destination => _, n = inout(reg) lines => _,
                    $(out($register) _),+, options(nostack)
                )
            };
        }
    };
}

macro_rules! wide {
    () => {
        "vmovdqu64 zmm16, [{s}]\nvmovntdq [{d}], zmm16"
    };
}

macro_rules! narrow {
    () => {
        "vmovdqu ymm0, [{s}]\nvmovdqu ymm1, [{s} + 32]\nvmovntdq [{d}], ymm0\nvmovntdq [{d} + 32], ymm1"
    };
}

prefetching!(t0, "avx512f", "prefetcht0", wide, "", "zmm16");
prefetching!(t1, "avx512f", "prefetcht1", wide, "", "zmm16");
prefetching!(nta, "avx512f", "prefetchnta", wide, "", "zmm16");
with_ymm!(prefetching!(t0_narrow, "avx2", "prefetcht0", narrow, "vzeroupper",));
with_ymm!(prefetching!(nta_narrow, "avx2", "prefetchnta", narrow, "vzeroupper",));

/// Reads all bytes, and ahead as [`ahead`] does: the exclusive or of their words.
///
/// # Panics
///
/// If `next` is not as long, `distance` is longer, either is no multiple of 64, or the processor has no AVX2.
#[must_use]
pub fn read(distance: usize, source: &[u8], next: &[u8]) -> u64 {
    assert!(is_available(), "the processor has no AVX2");
    let whole = |bytes: usize| bytes.is_multiple_of(LINE);
    assert!(whole(source.len()) && whole(distance) && distance <= source.len(), "whole lines");
    assert!(next.len() == source.len(), "one length");
    let (first, last) = source.split_at(source.len() - distance);
    read_lines(first, first.as_ptr().wrapping_add(distance)) ^ read_lines(last, next.as_ptr())
}

macro_rules! halves {
    ($($register:tt),+) => {
        /// Reads whole lines, and prefetches as many from `ahead` on.
        fn read_lines(source: &[u8], ahead: *const u8) -> u64 {
            let mut words = [0u64; 4];
            if source.len() < LINE {
                return 0;
            }
            // SAFETY: (1) so many lines, at least one, borrowed; a prefetch never fails and changes nothing; the four words are
            // written whole; (2) `read` saw that the processor has the instructions; (3) registers written are declared, no stack is used.
            unsafe {
                asm!(
                    "vpxor ymm0, ymm0, ymm0",
                    "vpxor ymm1, ymm1, ymm1",
                    "2:",
                    "prefetchnta [{a}]",
                    "vpxor ymm0, ymm0, [{s}]",
                    "vpxor ymm1, ymm1, [{s} + 32]",
                    "add {a}, 64", "add {s}, 64", "dec {n}", "jnz 2b",
                    "vpxor ymm0, ymm0, ymm1",
                    "vmovdqu [{w}], ymm0",
                    "vzeroupper",
                    a = inout(reg) ahead => _, s = inout(reg) source.as_ptr() => _,
                    n = inout(reg) source.len() / LINE => _, w = in(reg) words.as_mut_ptr(),
                    $(out($register) _),+, options(nostack)
                )
            };
            words.into_iter().fold(0, |all, word| all ^ word)
        }

        /// Writes `word` everywhere, past the caches.
        ///
        /// # Panics
        ///
        /// If there is no byte, they are no multiple of 64 or not at one, or the processor has no AVX2.
        pub fn store(destination: &mut [u8], word: u64) {
            assert!(is_available(), "the processor has no AVX2");
            assert!(!destination.is_empty() && destination.len().is_multiple_of(LINE), "whole lines");
            assert!(destination.as_ptr().addr().is_multiple_of(LINE), "the destination begins a line");
            // SAFETY: (1) so many lines, at least one, borrowed, and aligned; (2) the processor has the instructions; (3) registers
            // written are declared, no stack is used.
            unsafe {
                asm!(
                    "vmovq xmm0, {w}",
                    "vpbroadcastq ymm0, xmm0",
                    "2:",
                    "vmovntdq [{d}], ymm0",
                    "vmovntdq [{d} + 32], ymm0",
                    "add {d}, 64", "dec {n}", "jnz 2b",
                    "vzeroupper",
                    d = inout(reg) destination.as_mut_ptr() => _, n = inout(reg) destination.len() / LINE => _,
                    w = in(reg) word, $(out($register) _),+, options(nostack)
                )
            };
            fence();
        }
    };
}

with_ymm!(halves!());

#[cfg(test)]
mod tests {
    use super::{Hint, ahead, is_available, read, store};

    #[repr(align(64))]
    struct Aligned([u8; 4096 + 64]);

    #[test]
    fn every_byte_is_copied_read_and_written_and_none_more() {
        if !is_available() {
            return;
        }
        let source: Vec<u8> = (0..4096).map(|index| (index % 251) as u8).collect();
        let next = vec![0xdd; 4096];
        let hints =
            [Hint::T0, Hint::T0Narrow, Hint::T1, Hint::Nta, Hint::NtaNarrow, Hint::NextNarrow];
        for hint in hints.into_iter().filter(|hint| hint.is_available()) {
            for distance in [0, 64, 1024, 4096] {
                let mut buffer = Aligned([0xee; 4096 + 64]);
                let (to, rest) = buffer.0.split_at_mut(4096);
                ahead((hint, distance), to, &source, &next);
                assert!(to == source && rest == [0xee; 64], "{hint:?}, {distance} ahead");
            }
        }
        let words = source.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap()));
        let folded = words.fold(0, |all, word| all ^ word);
        assert!([0, 64, 4096].iter().all(|&distance| read(distance, &source, &next) == folded));
        let mut buffer = Aligned([0xee; 4096 + 64]);
        let (to, rest) = buffer.0.split_at_mut(4096);
        store(to, 0x0102_0304_0506_0708);
        assert!(to.chunks_exact(8).all(|word| word == [8, 7, 6, 5, 4, 3, 2, 1]));
        assert_eq!(rest, [0xee; 64]);
    }
}
