//! Streaming copies that read ahead, on into the copy that comes next.
//!
//! Line after line, with non-temporal stores, while the source is read into the caches
//! [`READ_AHEAD`] bytes ahead, or as many as the next copy has. The last lines of a copy read the first
//! ones of the next, whose first bytes are then near when it begins: between two cold blocks no time passes in which no read is
//! under way. A prefetch of an address that may not be read does nothing.
#![allow(unsafe_code, reason = "assembly loops on shared memory")]

use std::{arch::asm, ptr};

use super::small;
use crate::routines;

const LINE: usize = 64;
const READ_AHEAD: usize = routines::READ_AHEAD as usize;

/// Copies with non-temporal stores, for a fence to follow, and reads the next source ahead.
///
/// # Safety
///
/// As [`AheadRoutine`](crate::routines::AheadRoutine) says.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn streaming(
    destination: *mut u8,
    source: *const u8,
    length: usize,
    ahead: *const u8,
    bytes: usize,
) {
    let head = length.min(destination.addr().wrapping_neg() % LINE);
    // SAFETY: the head is part of the ranges (caller), and below 64 bytes.
    unsafe { small::copy(destination, source, head) };
    let lines = (length - head) / LINE;
    let distance = if bytes == 0 { alone_ahead(length) } else { bytes.min(READ_AHEAD) };
    // So many lines at the end read the next source, and those before them the line so far ahead.
    let last = lines.min(distance / LINE);
    let (mut to, mut from) = (destination.wrapping_add(head), source.wrapping_add(head));
    if lines > last {
        // SAFETY: (1) so many lines lie within the ranges (caller), at least one, and what is prefetched last is the
        // first byte of the last line; (2) the destination is at a line boundary, which the stores need: `head` leads to
        // one; (3) the processor has the instructions (caller); (4) registers written are declared, the stack is not used.
        unsafe {
            asm!(
                "2:",
                "prefetcht0 [{s} + {distance}]",
                "vmovdqu64 zmm16, [{s}]",
                "vmovntdq [{d}], zmm16",
                "add {s}, 64",
                "add {d}, 64",
                "dec {n}",
                "jnz 2b",
                s = inout(reg) from, d = inout(reg) to,
                n = inout(reg) lines - last => _, distance = in(reg) last * LINE,
                out("zmm16") _,
                options(nostack)
            )
        };
    }
    if last > 0 {
        // Where nothing is known of the next the line that is copied takes its place.
        let ahead = if bytes == 0 { from } else { ahead };
        // SAFETY: (1) so many lines are left of the ranges (caller), at least one; a prefetch reads nothing that the
        // program sees, and never fails; (2) to (4) as above.
        unsafe {
            asm!(
                "2:",
                "prefetcht0 [{a}]",
                "vmovdqu64 zmm16, [{s}]",
                "vmovntdq [{d}], zmm16",
                "add {a}, 64",
                "add {s}, 64",
                "add {d}, 64",
                "dec {n}",
                "jnz 2b",
                s = inout(reg) from, d = inout(reg) to,
                a = inout(reg) ahead => _, n = inout(reg) last => _,
                out("zmm16") _,
                options(nostack)
            )
        };
    }
    // SAFETY: the tail is part of the ranges (caller), and below 64 bytes.
    unsafe { small::copy(to, from, length - head - lines * LINE) };
}

/// How far ahead a copy is read where nothing is known of the next: the last lines, so many, read nothing, and are few of it.
fn alone_ahead(length: usize) -> usize {
    (length / 8).clamp(2 << 10, READ_AHEAD)
}

/// The same where nothing is known of the next.
///
/// # Safety
///
/// As [`CopyRoutine`](crate::routines::CopyRoutine) says.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn alone(destination: *mut u8, source: *const u8, length: usize) {
    // SAFETY: as the caller swears.
    unsafe { streaming(destination, source, length, ptr::null(), 0) };
}
