//! Streaming copies that go straight on and read ahead, on into the copy that comes next.
//!
//! Line after line, with non-temporal stores. The last lines of a copy read the first
//! ones of the next into the caches, whose first bytes are then near when it begins: between two cold blocks no time passes in which no read is
//! under way. Within a copy [`avx512`] reads as far ahead, too, and [`avx2`] leaves that to the processor. A prefetch of an address that may
//! not be read does nothing.
#![allow(unsafe_code, reason = "assembly loops on shared memory")]

use std::{arch::asm, ptr};

use super::{copy, small};
use crate::routines::{READ_AHEAD_FROM, ReadsAhead};

const LINE: usize = 64;
/// How far ahead of a line its source is read by [`avx512`], in bytes, and how much of the next copy's.
const FAR: usize = 20 << 10;
/// How many bytes of the next copy [`avx2`] reads.
const NEAR: usize = 2 << 10;

const _: () = assert!(NEAR as u64 >= READ_AHEAD_FROM, "less is never read ahead");

pub(super) const AVX512: ReadsAhead = ReadsAhead { bytes: FAR as u64, copy: avx512 };
pub(super) const AVX2: ReadsAhead = ReadsAhead { bytes: NEAR as u64, copy: avx2 };

/// Copies by 64-byte registers, for a fence to follow: each line reads the one that is [`FAR`] bytes further.
///
/// # Safety
///
/// As [`AheadRoutine`](crate::routines::AheadRoutine) says.
#[target_feature(enable = "avx512f")]
unsafe fn avx512(
    destination: *mut u8,
    source: *const u8,
    length: usize,
    ahead: *const u8,
    bytes: usize,
) {
    let last = if bytes == 0 { alone_ahead(length) } else { bytes.min(FAR) } / LINE;
    let first = |to, from: *const u8, lines| {
        // SAFETY: (1) the lines are part of the ranges (caller), and the destination begins one (`by_lines`); (2) the processor has the
        // instructions (caller).
        unsafe { reading::avx512(to, from, from.wrapping_add(last * LINE), lines) };
    };
    let rest = |to, from, lines| {
        // Where nothing is known of the next the line that is copied takes its place.
        let ahead = if bytes == 0 { from } else { ahead };
        // SAFETY: as above.
        unsafe { reading::avx512(to, from, ahead, lines) };
    };
    // SAFETY: as the caller swears.
    unsafe { by_lines(destination, source, length, last, first, rest) };
}

/// Copies by 32-byte registers, for a fence to follow: the last lines read the next source.
///
/// # Safety
///
/// As [`AheadRoutine`](crate::routines::AheadRoutine) says.
#[target_feature(enable = "avx2")]
unsafe fn avx2(
    destination: *mut u8,
    source: *const u8,
    length: usize,
    ahead: *const u8,
    bytes: usize,
) {
    let first = |to, from, lines| {
        // SAFETY: (1) the lines are part of the ranges (caller), and the destination begins one (`by_lines`); (2) the processor has the
        // instructions (caller).
        unsafe { copy::avx2::straight(to, from, lines) };
    };
    let rest = |to, from, lines| {
        // SAFETY: as above.
        unsafe { reading::avx2(to, from, ahead, lines) };
    };
    // SAFETY: as the caller swears.
    unsafe { by_lines(destination, source, length, bytes.min(NEAR) / LINE, first, rest) };
}

/// [`avx512`] where nothing is known of the next.
///
/// # Safety
///
/// As [`CopyRoutine`](crate::routines::CopyRoutine) says.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn avx512_alone(destination: *mut u8, source: *const u8, length: usize) {
    // SAFETY: as the caller swears.
    unsafe { avx512(destination, source, length, ptr::null(), 0) };
}

/// [`avx2`] where nothing is known of the next.
///
/// # Safety
///
/// As [`CopyRoutine`](crate::routines::CopyRoutine) says.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn avx2_alone(destination: *mut u8, source: *const u8, length: usize) {
    // SAFETY: as the caller swears.
    unsafe { avx2(destination, source, length, ptr::null(), 0) };
}

/// How far ahead a copy is read where nothing is known of the next: the last lines, so many, read nothing, and are few of it.
fn alone_ahead(length: usize) -> usize {
    (length / 8).clamp(2 << 10, FAR)
}

/// Gives the last lines of a copy to `rest`, `last` of them or all that there are, and those before them to `first`: a destination
/// that begins a line, a source, and how many lines. What is before the first line and behind the last is moved here.
///
/// # Safety
///
/// As [`CopyRoutine`](crate::routines::CopyRoutine) says.
#[inline]
unsafe fn by_lines(
    destination: *mut u8,
    source: *const u8,
    length: usize,
    last: usize,
    first: impl FnOnce(*mut u8, *const u8, usize),
    rest: impl FnOnce(*mut u8, *const u8, usize),
) {
    let head = length.min(destination.addr().wrapping_neg() % LINE);
    // SAFETY: the head is part of the ranges (caller), and below 64 bytes.
    unsafe { small::copy(destination, source, head) };
    let lines = (length - head) / LINE;
    let last = lines.min(last);
    let at = |done| (destination.wrapping_add(done), source.wrapping_add(done));
    let (to, from) = at(head);
    first(to, from, lines - last);
    let (to, from) = at(head + (lines - last) * LINE);
    rest(to, from, last);
    let done = head + lines * LINE;
    let (to, from) = at(done);
    // SAFETY: the tail is part of the ranges (caller), and below 64 bytes.
    unsafe { small::copy(to, from, length - done) };
}

/// Lines that read as many others into the caches.
mod reading {
    use super::{
        asm,
        copy::{line_avx2, line_avx512},
    };

    macro_rules! reading {
        ($name:ident, $feature:literal, $line:ident, $end:literal, $($used:tt),+) => {
            /// Copies so many lines with non-temporal stores, and reads as many from `ahead` on.
            ///
            /// # Safety
            ///
            /// As [`CopyRoutine`](crate::routines::CopyRoutine) says of that many bytes, and the destination begins a line.
            #[target_feature(enable = $feature)]
            pub(super) unsafe fn $name(
                destination: *mut u8,
                source: *const u8,
                ahead: *const u8,
                lines: usize,
            ) {
                if lines == 0 {
                    return;
                }
                // SAFETY: (1) so many lines, at least one (caller); a prefetch reads nothing that the program sees, and never
                // fails; (2) the destination is at a line boundary (caller), which the stores need; (3) the processor has the
                // instructions (caller); (4) registers written are declared, the stack is not used.
                unsafe {
                    asm!(
                        "2:",
                        "prefetcht0 [{a}]",
                        $line!("vmovntdq", "0"),
                        "add {a}, 64",
                        "add {s}, 64",
                        "add {d}, 64",
                        "dec {n}",
                        "jnz 2b",
                        $end,
                        a = inout(reg) ahead => _, s = inout(reg) source => _, d = inout(reg) destination => _,
                        n = inout(reg) lines => _,
                        $(out($used) _),+,
                        options(nostack)
                    )
                };
            }
        };
    }

    reading!(avx512, "avx512f", line_avx512, "", "zmm16");
    with_ymm!(reading!(avx2, "avx2", line_avx2, "vzeroupper",));
}
