//! Bare loops: what the processor can do without anybody else.
//!
//! `memcpy` is the C library's; the others are one assembly loop each: `rep movsb`, and 64 bytes a turn through AVX2
//! or AVX-512 registers with non-temporal stores: straight on, or four pages side by side for as long as there are four.
//! Which of these keeps more reads under way is the processor's matter. They end with `sfence`.
#![allow(unsafe_code, reason = "island: assembly loops, each within two slices of one length")]

use std::arch::asm;

/// Four pages of 4 KiB, gone through side by side.
const BLOCK: usize = 4 * 4096;

/// A way to copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loop {
    /// The C library's.
    Memcpy,
    /// The processor's string instruction.
    RepMovsb,
    /// Non-temporal stores from 32-byte registers, four pages side by side.
    Avx2,
    /// The same straight on.
    Avx2Straight,
    /// Non-temporal stores from 64-byte registers, four pages side by side.
    Avx512,
    /// The same straight on.
    Avx512Straight,
}

impl Loop {
    /// Those that this processor has.
    pub fn available() -> impl Iterator<Item = Self> {
        let avx2 = is_x86_feature_detected!("avx2").then_some([Self::Avx2, Self::Avx2Straight]);
        let avx512 =
            is_x86_feature_detected!("avx512f").then_some([Self::Avx512, Self::Avx512Straight]);
        let streaming = [avx2, avx512].into_iter().flatten().flatten();
        [Self::Memcpy, Self::RepMovsb].into_iter().chain(streaming)
    }

    /// Its name in results.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Memcpy => "memcpy",
            Self::RepMovsb => "rep_movsb",
            Self::Avx2 => "avx2_nt",
            Self::Avx2Straight => "avx2_nt_straight",
            Self::Avx512 => "avx512_nt",
            Self::Avx512Straight => "avx512_nt_straight",
        }
    }

    /// Copies all bytes.
    ///
    /// # Panics
    ///
    /// If the slices are not equally long, and for a non-temporal loop if the length is no multiple of 64, the
    /// destination not at a multiple of 64, or the processor without the instructions.
    pub fn copy(self, destination: &mut [u8], source: &[u8]) {
        assert_eq!(destination.len(), source.len(), "a copy has one length");
        match self {
            Self::Memcpy => destination.copy_from_slice(source),
            Self::RepMovsb => rep_movsb(destination, source),
            Self::Avx2 | Self::Avx2Straight => {
                assert!(is_x86_feature_detected!("avx2"), "the processor has no AVX2");
                streamed(destination, source, avx2, self == Self::Avx2);
            }
            Self::Avx512 | Self::Avx512Straight => {
                assert!(is_x86_feature_detected!("avx512f"), "the processor has no AVX-512");
                streamed(destination, source, avx512, self == Self::Avx512);
            }
        }
    }
}

fn rep_movsb(destination: &mut [u8], source: &[u8]) {
    // SAFETY: (1) reads the source and writes the destination, both of this length (`copy`); (2) the direction flag
    // is clear at every function's entry (the ABI); (3) the stack is not used.
    unsafe {
        asm!(
            "rep movsb",
            inout("rcx") source.len() => _,
            inout("rdi") destination.as_mut_ptr() => _,
            inout("rsi") source.as_ptr() => _,
            options(nostack, preserves_flags)
        )
    };
}

/// Copies so many lines of 64 bytes, and as many again at each of the three following pages if they go side by side.
///
/// # Safety
///
/// The caller has the source to read and the destination to write for so many lines, at least one, the destination at
/// a multiple of 64, and the processor has the instructions.
type Lines = unsafe fn(destination: *mut u8, source: *const u8, lines: usize, side_by_side: bool);

fn streamed(destination: &mut [u8], source: &[u8], lines: Lines, side_by_side: bool) {
    assert!(destination.len().is_multiple_of(64), "{} is no multiple of 64", destination.len());
    let at = destination.as_ptr().addr();
    assert!(at.is_multiple_of(64), "the destination is not at a multiple of 64");
    let blocks = if side_by_side { source.len() / BLOCK } else { 0 };
    let pages = destination.chunks_exact_mut(BLOCK).zip(source.chunks_exact(BLOCK));
    for (to, from) in pages.take(blocks) {
        // SAFETY: (1) both sides are four pages, borrowed; (2) the destination is aligned: a multiple of BLOCK behind
        // what was just checked; (3) the caller saw that the processor has the instructions.
        unsafe { lines(to.as_mut_ptr(), from.as_ptr(), BLOCK / 4 / 64, true) };
    }
    let whole = blocks * BLOCK;
    let (to, from) = (&mut destination[whole..], &source[whole..]);
    if !from.is_empty() {
        // SAFETY: (1) both sides are so many lines, at least one, borrowed; (2) and (3) as above.
        unsafe { lines(to.as_mut_ptr(), from.as_ptr(), from.len() / 64, false) };
    }
    fence();
}

/// Waits until streaming stores are seen by all.
pub(crate) fn fence() {
    // SAFETY: a fence has no operands and touches nothing.
    unsafe { asm!("sfence", options(nostack, preserves_flags)) };
}

macro_rules! lines {
    ($name:ident, $feature:literal, $line:ident, $end:literal, $($register:tt),+) => {
        /// # Safety
        ///
        /// As [`Lines`] says.
        #[target_feature(enable = $feature)]
        unsafe fn $name(destination: *mut u8, source: *const u8, lines: usize, side_by_side: bool) {
            if side_by_side {
                // SAFETY: (1) four pages of each side (caller); (2) the destination is aligned (caller); (3) the
                // processor has the instructions (caller); (4) registers written are declared, no stack is used.
                unsafe {
                    asm!(
                        "2:", $line!("0"), $line!("4096"), $line!("8192"), $line!("12288"),
                        "add {s}, 64", "add {d}, 64", "dec {n}", "jnz 2b", $end,
                        s = inout(reg) source => _, d = inout(reg) destination => _,
                        n = inout(reg) lines => _, $(out($register) _),+, options(nostack)
                    )
                };
            } else {
                // SAFETY: (1) so many lines of each side, at least one (caller); (2) to (4) as above.
                unsafe {
                    asm!(
                        "2:", $line!("0"),
                        "add {s}, 64", "add {d}, 64", "dec {n}", "jnz 2b", $end,
                        s = inout(reg) source => _, d = inout(reg) destination => _,
                        n = inout(reg) lines => _, $(out($register) _),+, options(nostack)
                    )
                };
            }
        }
    };
}

macro_rules! line_of_32 {
    ($at:literal) => {
        concat!(
            "vmovdqu ymm0, [{s} + ",
            $at,
            "]\n",
            "vmovdqu ymm1, [{s} + ",
            $at,
            " + 32]\n",
            "vmovntdq [{d} + ",
            $at,
            "], ymm0\n",
            "vmovntdq [{d} + ",
            $at,
            " + 32], ymm1"
        )
    };
}

macro_rules! line_of_64 {
    ($at:literal) => {
        concat!("vmovdqu64 zmm16, [{s} + ", $at, "]\n", "vmovntdq [{d} + ", $at, "], zmm16")
    };
}

with_ymm!(lines!(avx2, "avx2", line_of_32, "vzeroupper",));
lines!(avx512, "avx512f", line_of_64, "", "zmm16");

#[cfg(test)]
mod tests {
    use super::{BLOCK, Loop};

    #[repr(align(64))]
    struct Aligned([u8; 2 * BLOCK + 256]);

    #[test]
    fn each_loop_copies_every_byte_and_none_more() {
        let source: Vec<u8> = (0..2 * BLOCK + 64).map(|index| (index % 251) as u8).collect();
        for copy in Loop::available() {
            for length in [64, 4096, BLOCK, 2 * BLOCK + 64] {
                let mut buffer = Aligned([0xee; 2 * BLOCK + 256]);
                let (to, rest) = buffer.0.split_at_mut(length);
                copy.copy(to, &source[..length]);
                assert!(to == &source[..length], "{copy:?} of {length}");
                assert!(rest.iter().all(|&byte| byte == 0xee), "{copy:?} of {length}");
            }
        }
    }
}
