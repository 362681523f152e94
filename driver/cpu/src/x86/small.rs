//! Copies and fills of up to 64 bytes: a few moves that overlap in the middle.
//!
//! A length between n and 2n is covered by one move of n bytes at the front and one that ends at
//! the last byte. Every load comes before the first store.
#![allow(unsafe_code, reason = "assembly moves on shared memory")]

use std::arch::asm;

/// The longest, in bytes.
pub(super) const LONGEST: u64 = 64;

/// Copies up to 64 bytes.
///
/// # Safety
///
/// As [`CopyRoutine`](crate::routines::CopyRoutine) says, and `length` is at most 64.
#[inline]
pub(crate) unsafe fn copy(destination: *mut u8, source: *const u8, length: usize) {
    /// Two moves through general registers of the given width.
    macro_rules! pair {
        ($width:literal, $size:literal, $class:ident, $modifier:literal) => {
            // SAFETY: (1) the length is at least one move and at most two, so that both lie within
            // the ranges (caller); (2) registers written are declared, flags and stack are not
            // used.
            unsafe {
                asm!(
                    concat!("mov {a", $modifier, "}, ", $width, " ptr [{s}]"),
                    concat!("mov {b", $modifier, "}, ", $width, " ptr [{s} + {n} - ", $size, "]"),
                    concat!("mov ", $width, " ptr [{d}], {a", $modifier, "}"),
                    concat!("mov ", $width, " ptr [{d} + {n} - ", $size, "], {b", $modifier, "}"),
                    s = in(reg) source, d = in(reg) destination, n = in(reg) length,
                    a = out($class) _, b = out($class) _,
                    options(nostack, preserves_flags)
                )
            }
        };
    }
    // The longest are asked for first: they are the most frequent.
    if length > 32 {
        // SAFETY: (1) 33 to 64 bytes hold 32 at either end (caller); (2) SSE2 is part of x86-64; (3) registers written are
        // declared, flags and stack are not used.
        return unsafe {
            asm!(
                "movdqu xmm0, [{s}]",
                "movdqu xmm1, [{s} + 16]",
                "movdqu xmm2, [{s} + {n} - 32]",
                "movdqu xmm3, [{s} + {n} - 16]",
                "movdqu [{d}], xmm0",
                "movdqu [{d} + 16], xmm1",
                "movdqu [{d} + {n} - 32], xmm2",
                "movdqu [{d} + {n} - 16], xmm3",
                s = in(reg) source, d = in(reg) destination, n = in(reg) length,
                out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _,
                options(nostack, preserves_flags)
            )
        };
    }
    match length {
        0 => {}
        1 => pair!("byte", 1, reg_byte, ""),
        2..=3 => pair!("word", 2, reg, ":x"),
        4..=7 => pair!("dword", 4, reg, ":e"),
        8..=16 => pair!("qword", 8, reg, ":r"),
        // SAFETY: (1) 17 to 32 bytes hold 16 at either end (caller); (2) and (3) as above.
        _ => unsafe {
            asm!(
                "movdqu xmm0, [{s}]",
                "movdqu xmm1, [{s} + {n} - 16]",
                "movdqu [{d}], xmm0",
                "movdqu [{d} + {n} - 16], xmm1",
                s = in(reg) source, d = in(reg) destination, n = in(reg) length,
                out("xmm0") _, out("xmm1") _,
                options(nostack, preserves_flags)
            )
        },
    }
}

/// Fills up to 64 bytes.
///
/// # Safety
///
/// As [`FillRoutine`](crate::routines::FillRoutine) says, and `length` is at most 64.
#[inline]
pub(super) unsafe fn fill(destination: *mut u8, pattern: u64, length: usize) {
    /// Two stores from general registers of the given width. The second begins `length` - size
    /// bytes on, so its pattern is turned by as many.
    macro_rules! pair {
        ($width:literal, $size:literal, $class:ident, $modifier:literal, $type:ty) => {{
            let front = pattern as $type;
            let back = turned(pattern, length - $size) as $type;
            // SAFETY: (1) the length is at least one store and at most two, so that both lie within
            // the range (caller); (2) no register is written, flags and stack are not used.
            unsafe {
                asm!(
                    concat!("mov ", $width, " ptr [{d}], {a", $modifier, "}"),
                    concat!("mov ", $width, " ptr [{d} + {n} - ", $size, "], {b", $modifier, "}"),
                    d = in(reg) destination, n = in(reg) length,
                    a = in($class) front, b = in($class) back,
                    options(nostack, preserves_flags)
                )
            }
        }};
    }
    match length {
        0 => {}
        1 => pair!("byte", 1, reg_byte, "", u8),
        2..=3 => pair!("word", 2, reg, ":x", u16),
        4..=7 => pair!("dword", 4, reg, ":e", u32),
        8..=16 => pair!("qword", 8, reg, ":r", u64),
        // SAFETY: (1) 17 to 32 bytes hold 16 at either end (caller); (2) SSE2 is part of x86-64;
        // (3) registers written are declared, flags and stack are not used.
        17..=32 => unsafe {
            asm!(
                "movq xmm0, {a}",
                "punpcklqdq xmm0, xmm0",
                "movq xmm1, {b}",
                "punpcklqdq xmm1, xmm1",
                "movdqu [{d}], xmm0",
                "movdqu [{d} + {n} - 16], xmm1",
                d = in(reg) destination, n = in(reg) length,
                a = in(reg) pattern, b = in(reg) turned(pattern, length),
                out("xmm0") _, out("xmm1") _,
                options(nostack, preserves_flags)
            )
        },
        // SAFETY: (1) 33 to 64 bytes hold 32 at either end (caller); (2) and (3) as above.
        _ => unsafe {
            asm!(
                "movq xmm0, {a}",
                "punpcklqdq xmm0, xmm0",
                "movq xmm1, {b}",
                "punpcklqdq xmm1, xmm1",
                "movdqu [{d}], xmm0",
                "movdqu [{d} + 16], xmm0",
                "movdqu [{d} + {n} - 32], xmm1",
                "movdqu [{d} + {n} - 16], xmm1",
                d = in(reg) destination, n = in(reg) length,
                a = in(reg) pattern, b = in(reg) turned(pattern, length),
                out("xmm0") _, out("xmm1") _,
                options(nostack, preserves_flags)
            )
        },
    }
}

/// The pattern as a place `offset` bytes further on sees it.
pub(super) fn turned(pattern: u64, offset: usize) -> u64 {
    pattern.rotate_right(8 * (offset % 8) as u32)
}
