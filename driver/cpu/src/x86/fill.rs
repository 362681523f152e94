//! Fills of any length: line by line, with ordinary or with non-temporal stores.
//!
//! A line is 64 bytes, a multiple of the pattern's eight: within a run of lines the pattern stays
//! the same, at a line boundary it is turned by the bytes before it.
#![allow(unsafe_code, reason = "assembly loops on shared memory")]

use std::arch::asm;

use super::small::{self, turned};

const LINE: usize = 64;

/// The routines for one register width: how the pattern gets into the register, the ordinary and
/// the non-temporal store of a line, what ends a loop, and the register.
macro_rules! routines {
    (
        $name:ident, $feature:literal, $load:literal, $store:literal, $stream:literal, $end:literal,
        $($used:tt),+
    ) => {
        pub(super) mod $name {
            use super::*;

            /// Fills with ordinary stores.
            ///
            /// # Safety
            ///
            /// As [`FillRoutine`](crate::routines::FillRoutine) says.
            #[target_feature(enable = $feature)]
            pub(in crate::x86) unsafe fn plain(
                destination: *mut u8,
                pattern: u64,
                length: usize,
            ) {
                if length <= LINE {
                    // SAFETY: (1) the range is the caller's; (2) the length was tested.
                    return unsafe { small::fill(destination, pattern, length) };
                }
                // SAFETY: (1) whole lines below `length` (caller), at least one; (2) the processor
                // has the instructions (caller); (3) registers written are declared, the stack is
                // not used.
                unsafe {
                    asm!(
                        $load,
                        "2:",
                        $store,
                        "add {d}, 64",
                        "dec {n}",
                        "jnz 2b",
                        $end,
                        p = in(reg) pattern, d = inout(reg) destination => _,
                        n = inout(reg) (length - 1) / LINE => _,
                        $(out($used) _),+,
                        options(nostack)
                    )
                };
                let last = length - LINE;
                // SAFETY: the last line lies within the range (caller).
                unsafe { small::fill(destination.wrapping_add(last), turned(pattern, last), LINE) };
            }

            /// Fills with non-temporal stores, for a fence to follow.
            ///
            /// # Safety
            ///
            /// As [`FillRoutine`](crate::routines::FillRoutine) says.
            #[target_feature(enable = $feature)]
            pub(in crate::x86) unsafe fn streaming(
                destination: *mut u8,
                pattern: u64,
                length: usize,
            ) {
                let head = length.min(destination.addr().wrapping_neg() % LINE);
                // SAFETY: the head is part of the range (caller), and below 64 bytes.
                unsafe { small::fill(destination, pattern, head) };
                let pattern = turned(pattern, head);
                let lines = (length - head) / LINE;
                if lines > 0 {
                    // SAFETY: (1) so many lines lie within the range (caller), at least one; (2)
                    // they begin at a line boundary, which the stores need; (3) the processor has
                    // the instructions (caller); (4) registers written are declared, the stack is
                    // not used.
                    unsafe {
                        asm!(
                            $load,
                            "2:",
                            $stream,
                            "add {d}, 64",
                            "dec {n}",
                            "jnz 2b",
                            $end,
                            p = in(reg) pattern, d = inout(reg) destination.wrapping_add(head) => _,
                            n = inout(reg) lines => _,
                            $(out($used) _),+,
                            options(nostack)
                        )
                    };
                }
                let done = head + lines * LINE;
                // SAFETY: the tail is part of the range (caller), and below 64 bytes.
                unsafe { small::fill(destination.wrapping_add(done), pattern, length - done) };
            }
        }
    };
}

routines!(
    avx512,
    "avx512f",
    "vpbroadcastq zmm16, {p}",
    "vmovdqu64 [{d}], zmm16",
    "vmovntdq [{d}], zmm16",
    "",
    "zmm16"
);
with_ymm!(routines!(
    avx2,
    "avx2",
    "vmovq xmm0, {p}\n vpbroadcastq ymm0, xmm0",
    "vmovdqu [{d}], ymm0\n vmovdqu [{d} + 32], ymm0",
    "vmovntdq [{d}], ymm0\n vmovntdq [{d} + 32], ymm0",
    "vzeroupper",
));
routines!(
    sse2,
    "sse2",
    "movq xmm0, {p}\n punpcklqdq xmm0, xmm0",
    "movdqu [{d}], xmm0\n movdqu [{d} + 16], xmm0\n \
     movdqu [{d} + 32], xmm0\n movdqu [{d} + 48], xmm0",
    "movntdq [{d}], xmm0\n movntdq [{d} + 16], xmm0\n \
     movntdq [{d} + 32], xmm0\n movntdq [{d} + 48], xmm0",
    "",
    "xmm0"
);
