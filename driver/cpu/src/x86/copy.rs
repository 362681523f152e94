//! Copies of any length: line by line, with ordinary or with non-temporal stores.
//!
//! A *line* is 64 bytes, a cache line. Plain copies go line by line from the first byte, wherever
//! it is, and end with a line that ends at the last byte. Streaming copies first bring the
//! destination to a line boundary, so that each non-temporal store fills its line whole; they go
//! through four pages side by side for as long as there are four, which keeps more reads under way
//! on cold memory, then line by line.
#![allow(unsafe_code, reason = "assembly loops on shared memory")]

use std::arch::asm;

use super::small;

const LINE: usize = 64;
/// Four pages of 4 KiB, gone through side by side.
const BLOCK: usize = 4 * 4096;

/// One line at a displacement, through a 64-byte register. Registers above 15 need no `vzeroupper`.
macro_rules! line_avx512 {
    ($store:literal, $at:literal) => {
        concat!("vmovdqu64 zmm16, [{s} + ", $at, "]\n", $store, " [{d} + ", $at, "], zmm16")
    };
}

/// One line at a displacement, through 32-byte registers.
macro_rules! line_avx2 {
    ($store:literal, $at:literal) => {
        concat!(
            "vmovdqu ymm0, [{s} + ",
            $at,
            "]\n",
            "vmovdqu ymm1, [{s} + ",
            $at,
            " + 32]\n",
            $store,
            " [{d} + ",
            $at,
            "], ymm0\n",
            $store,
            " [{d} + ",
            $at,
            " + 32], ymm1"
        )
    };
}

/// One line at a displacement, through 16-byte registers.
macro_rules! line_sse2 {
    ($store:literal, $at:literal) => {
        concat!(
            "movdqu xmm0, [{s} + ",
            $at,
            "]\n",
            "movdqu xmm1, [{s} + ",
            $at,
            " + 16]\n",
            "movdqu xmm2, [{s} + ",
            $at,
            " + 32]\n",
            "movdqu xmm3, [{s} + ",
            $at,
            " + 48]\n",
            $store,
            " [{d} + ",
            $at,
            "], xmm0\n",
            $store,
            " [{d} + ",
            $at,
            " + 16], xmm1\n",
            $store,
            " [{d} + ",
            $at,
            " + 32], xmm2\n",
            $store,
            " [{d} + ",
            $at,
            " + 48], xmm3"
        )
    };
}

/// The routines for one register width: the line, the ordinary and the non-temporal store, what
/// ends a loop, and the registers the line uses.
macro_rules! routines {
    (
        $name:ident, $feature:literal, $line:ident, $store:literal, $stream:literal, $end:literal,
        $($used:tt),+
    ) => {
        pub(super) mod $name {
            use super::*;

            /// Copies with ordinary stores.
            ///
            /// # Safety
            ///
            /// As [`CopyRoutine`](crate::routines::CopyRoutine) says.
            #[target_feature(enable = $feature)]
            pub(in crate::x86) unsafe fn plain(
                destination: *mut u8,
                source: *const u8,
                length: usize,
            ) {
                if length <= LINE {
                    // SAFETY: (1) the ranges are the caller's; (2) the length was tested.
                    return unsafe { small::copy(destination, source, length) };
                }
                // SAFETY: (1) whole lines below `length` (caller), at least one; (2) the processor
                // has the instructions (caller); (3) registers written are declared, the stack is
                // not used.
                unsafe {
                    asm!(
                        "2:",
                        $line!($store, "0"),
                        "add {s}, 64",
                        "add {d}, 64",
                        "dec {n}",
                        "jnz 2b",
                        $end,
                        s = inout(reg) source => _, d = inout(reg) destination => _,
                        n = inout(reg) (length - 1) / LINE => _,
                        $(out($used) _),+,
                        options(nostack)
                    )
                };
                let last = length - LINE;
                let (to, from) = (destination.wrapping_add(last), source.wrapping_add(last));
                // SAFETY: the last line lies within the ranges (caller).
                unsafe { small::copy(to, from, LINE) };
            }

            /// Copies with non-temporal stores, for a fence to follow.
            ///
            /// # Safety
            ///
            /// As [`CopyRoutine`](crate::routines::CopyRoutine) says.
            #[target_feature(enable = $feature)]
            pub(in crate::x86) unsafe fn streaming(
                destination: *mut u8,
                source: *const u8,
                length: usize,
            ) {
                let head = length.min(destination.addr().wrapping_neg() % LINE);
                // SAFETY: the head is part of the ranges (caller), and below 64 bytes.
                unsafe { small::copy(destination, source, head) };
                let mut done = head;
                while length - done >= BLOCK {
                    let (to, from) = (destination.wrapping_add(done), source.wrapping_add(done));
                    // SAFETY: (1) four whole pages lie within the ranges (loop condition, caller);
                    // (2) the destination is at a line boundary, which the stores need: `head`
                    // leads to one and BLOCK is a multiple; (3) the processor has the instructions
                    // (caller); (4) registers written are declared, the stack is not used.
                    unsafe {
                        asm!(
                            "2:",
                            $line!($stream, "0"),
                            $line!($stream, "4096"),
                            $line!($stream, "8192"),
                            $line!($stream, "12288"),
                            "add {s}, 64",
                            "add {d}, 64",
                            "dec {n}",
                            "jnz 2b",
                            $end,
                            s = inout(reg) from => _, d = inout(reg) to => _,
                            n = inout(reg) BLOCK / 4 / LINE => _,
                            $(out($used) _),+,
                            options(nostack)
                        )
                    };
                    done += BLOCK;
                }
                let lines = (length - done) / LINE;
                let (to, from) = (destination.wrapping_add(done), source.wrapping_add(done));
                // SAFETY: (1) so many lines lie within the ranges (caller); (2) and (3) as above.
                unsafe { straight(to, from, lines) };
                done += lines * LINE;
                let (to, from) = (destination.wrapping_add(done), source.wrapping_add(done));
                // SAFETY: the tail is part of the ranges (caller), and below 64 bytes.
                unsafe { small::copy(to, from, length - done) };
            }

            /// Copies so many lines with non-temporal stores, one after the other, for a fence to follow.
            ///
            /// # Safety
            ///
            /// As [`CopyRoutine`](crate::routines::CopyRoutine) says of that many bytes, and the destination begins a line.
            #[target_feature(enable = $feature)]
            pub(in crate::x86) unsafe fn straight(
                destination: *mut u8,
                source: *const u8,
                lines: usize,
            ) {
                if lines == 0 {
                    return;
                }
                // SAFETY: (1) so many lines, at least one (caller); (2) the destination is at a line boundary (caller); (3)
                // the processor has the instructions (caller); (4) registers written are declared, the stack is not used.
                unsafe {
                    asm!(
                        "2:",
                        $line!($stream, "0"),
                        "add {s}, 64",
                        "add {d}, 64",
                        "dec {n}",
                        "jnz 2b",
                        $end,
                        s = inout(reg) source => _, d = inout(reg) destination => _,
                        n = inout(reg) lines => _,
                        $(out($used) _),+,
                        options(nostack)
                    )
                };
            }
        }
    };
}

pub(super) use {line_avx2, line_avx512};

routines!(avx512, "avx512f", line_avx512, "vmovdqu64", "vmovntdq", "", "zmm16");
with_ymm!(routines!(avx2, "avx2", line_avx2, "vmovdqu", "vmovntdq", "vzeroupper",));
routines!(sse2, "sse2", line_sse2, "movdqu", "movntdq", "", "xmm0", "xmm1", "xmm2", "xmm3");
