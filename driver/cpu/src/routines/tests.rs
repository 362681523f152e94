//! Every routine of every instruction set that this machine has, against a model.
#![allow(unsafe_code, reason = "calls the routines on buffers of its own")]

use super::{CopyRoutine, FillRoutine, Routines, available};
use crate::portable;

/// Bytes around the destination that must stay as they are.
const MARGIN: usize = 128;
const UNTOUCHED: [u8; 2 * MARGIN] = [0xa5; 2 * MARGIN];

fn tables() -> impl Iterator<Item = &'static Routines> {
    let native = available().filter(|table| !table.name.starts_with("portable"));
    native.chain([&portable::BYTES, &portable::WORDS])
}

/// A byte for each place that repeats with no distance a routine works in.
fn noise(place: usize) -> u8 {
    ((place as u32).wrapping_mul(0x9e37_79b1) >> 24) as u8
}

/// A buffer whose first byte has a chosen distance from a page boundary.
struct Buffer {
    memory: Vec<u8>,
    first: usize,
}

impl Buffer {
    fn new(length: usize) -> Self {
        let memory = vec![0; length + 2 * MARGIN + 2 * 4096];
        let first = memory.as_ptr().addr().wrapping_neg() % 4096 + 4096;
        Self { memory, first }
    }

    /// The buffer from `MARGIN` bytes before the place with this alignment on.
    fn at(&mut self, align: usize, length: usize) -> &mut [u8] {
        let start = self.first + align - MARGIN;
        &mut self.memory[start..start + length + 2 * MARGIN]
    }
}

struct Case {
    destination_align: usize,
    source_align: usize,
    length: usize,
}

fn check_copy(name: &str, copy: CopyRoutine, buffers: &mut (Buffer, Buffer), case: &Case) {
    let Case { destination_align, source_align, length } = *case;
    let (from, to) = buffers;
    let from = from.at(source_align, length);
    let to = to.at(destination_align, length);
    to.fill(UNTOUCHED[0]);
    let (source, destination) = (from.as_mut_ptr(), to.as_mut_ptr());
    // SAFETY: (1) both buffers hold `length` bytes behind the margin; (2) they are two allocations;
    // (3) the table is one the machine has.
    unsafe { copy(destination.wrapping_add(MARGIN), source.wrapping_add(MARGIN), length) };
    fence();
    let what = || format!("{name}: {length} bytes, {source_align} to {destination_align}");
    assert!(to[MARGIN..MARGIN + length] == from[MARGIN..MARGIN + length], "{}", what());
    assert_margins(to, length, what);
}

fn check_fill(name: &str, fill: FillRoutine, to: &mut Buffer, align: usize, length: usize) {
    const PATTERN: u64 = 0x8877_6655_4433_2211;
    let to = to.at(align, length);
    to.fill(UNTOUCHED[0]);
    let destination = to.as_mut_ptr();
    // SAFETY: (1) the buffer holds `length` bytes behind the margin; (2) the table is one the
    // machine has.
    unsafe { fill(destination.wrapping_add(MARGIN), PATTERN, length) };
    fence();
    let what = || format!("{name}: fill of {length} bytes at {align}");
    let expected = PATTERN.to_le_bytes().repeat(length.div_ceil(8));
    assert!(to[MARGIN..MARGIN + length] == expected[..length], "{}", what());
    assert_margins(to, length, what);
}

fn assert_margins(to: &[u8], length: usize, what: impl Fn() -> String) {
    let (before, after) = (&to[..MARGIN], &to[MARGIN + length..]);
    assert!(before == &UNTOUCHED[..MARGIN], "{}: before the range", what());
    assert!(after == &UNTOUCHED[..MARGIN], "{}: behind the range", what());
}

fn fence() {
    for table in available() {
        (table.fence)();
    }
}

fn each_copy(mut check: impl FnMut(&str, CopyRoutine)) {
    for table in tables() {
        check(&format!("{} plain", table.name), table.copy);
        if !std::ptr::fn_addr_eq(table.copy, table.copy_streaming) {
            check(&format!("{} streaming", table.name), table.copy_streaming);
        }
    }
}

/// Where what is said to be ahead begins: nowhere, at the end of all addresses, or at the destination.
#[test]
fn what_is_ahead_changes_nothing_wherever_it_is() {
    let mut buffers = copy_buffers(LONGEST + 128);
    for table in tables() {
        let Some(routine) = table.copy_ahead else { continue };
        let most = routine.bytes as usize;
        assert!(BORDERS.contains(&most), "{}: {most} is a border", table.name);
        for length in [1, 64, 2047, 2048, 2049, 4096, most - 1, most + 65, LONGEST] {
            for (destination_align, source_align) in [(0, 0), (9, 9), (63, 32)] {
                let (from, to) = &mut buffers;
                let from = from.at(source_align, length);
                let to = to.at(destination_align, length);
                let source = from.as_ptr().wrapping_add(MARGIN);
                let destination = to.as_mut_ptr().wrapping_add(MARGIN);
                let end = std::ptr::without_provenance(usize::MAX - 63);
                for ahead in [std::ptr::null(), end, destination.cast_const()] {
                    for bytes in [0, 1, 2048, most, usize::MAX] {
                        to.fill(UNTOUCHED[0]);
                        // SAFETY: (1) both buffers hold `length` bytes behind the margin; (2) they are two allocations;
                        // (3) the table is one the machine has.
                        unsafe { (routine.copy)(destination, source, length, ahead, bytes) };
                        fence();
                        let what =
                            || format!("{}: {length} bytes, then {bytes} at {ahead:?}", table.name);
                        let (copied, read) = (&to[MARGIN..][..length], &from[MARGIN..][..length]);
                        assert!(copied == read, "{}", what());
                        assert_margins(to, length, what);
                    }
                }
            }
        }
    }
}

fn each_fill(mut check: impl FnMut(&str, FillRoutine)) {
    for table in tables() {
        check(&format!("{} plain", table.name), table.fill);
        if !std::ptr::fn_addr_eq(table.fill, table.fill_streaming) {
            check(&format!("{} streaming", table.name), table.fill_streaming);
        }
    }
}

fn copy_buffers(length: usize) -> (Buffer, Buffer) {
    let mut from = Buffer::new(length);
    for (place, byte) in from.memory.iter_mut().enumerate() {
        *byte = noise(place);
    }
    (from, Buffer::new(length))
}

/// Lengths from which a routine does otherwise, and the longest; Miri's routines have none.
const BORDERS: &[usize] =
    if cfg!(miri) { &[96] } else { &[512, 2048, 4096, 16384, 20 << 10, 32768, 65536, LONGEST] };
const LONGEST: usize = if cfg!(miri) { 96 } else { 256 << 10 };

/// Lengths that end before, at and after every border of the routines.
fn long_lengths() -> Vec<usize> {
    BORDERS.iter().flat_map(|&length| [length - 65, length - 1, length, length + 1]).collect()
}

#[test]
fn short_copies_at_every_alignment() {
    let (lengths, step) = if cfg!(miri) { (19, 11) } else { (270, 1) };
    let sources: &[usize] =
        if cfg!(miri) { &[0, 5] } else { &[0, 1, 2, 3, 7, 8, 15, 16, 31, 32, 33, 48, 63] };
    let mut buffers = copy_buffers(lengths + 64);
    each_copy(|name, copy| {
        for length in 0..=lengths {
            for destination_align in (0..64).step_by(step) {
                for &source_align in sources {
                    let case = Case { destination_align, source_align, length };
                    check_copy(name, copy, &mut buffers, &case);
                }
            }
        }
    });
}

#[test]
fn long_copies() {
    let mut buffers = copy_buffers(LONGEST + 128);
    each_copy(|name, copy| {
        for length in long_lengths() {
            for (destination_align, source_align) in [(0, 0), (0, 1), (1, 0), (9, 9), (63, 32)] {
                let case = Case { destination_align, source_align, length };
                check_copy(name, copy, &mut buffers, &case);
            }
        }
    });
}

#[test]
fn short_fills_in_every_phase() {
    let (lengths, step) = if cfg!(miri) { (19, 11) } else { (270, 1) };
    let mut buffer = Buffer::new(lengths + 64);
    each_fill(|name, fill| {
        for length in 0..=lengths {
            for align in (0..64).step_by(step) {
                check_fill(name, fill, &mut buffer, align, length);
            }
        }
    });
}

#[test]
fn long_fills() {
    let mut buffer = Buffer::new(LONGEST + 128);
    each_fill(|name, fill| {
        for length in long_lengths() {
            for align in [0, 1, 8, 63] {
                check_fill(name, fill, &mut buffer, align, length);
            }
        }
    });
}

/// Ranges that begin or end at a page that cannot be touched: an access outside the range ends the
/// process.
#[cfg(not(miri))]
#[test]
fn no_access_leaves_the_ranges() {
    const ROOM: usize = 5 * 4096;
    let map = || {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let nowhere = std::ptr::null_mut();
        // SAFETY: a new anonymous mapping at an address of the kernel's choice.
        let all = unsafe { libc::mmap(nowhere, ROOM + 8192, protection, flags, -1, 0) };
        assert_ne!(all, libc::MAP_FAILED);
        let first = all.cast::<u8>().wrapping_add(4096);
        for guard in [all, first.wrapping_add(ROOM).cast()] {
            // SAFETY: the first and the last page of the mapping made above.
            let refused = unsafe { libc::mprotect(guard, 4096, libc::PROT_NONE) };
            assert_eq!(refused, 0);
        }
        first
    };
    let (source, destination) = (map(), map());
    for length in (1..=270).chain([4095, 4096, 16383, 16385, ROOM]) {
        for offset in [0, ROOM - length] {
            let (to, from) = (destination.wrapping_add(offset), source.wrapping_add(offset));
            // SAFETY: (1) both ranges lie within the mappings; (2) the tables are ones the machine
            // has.
            each_copy(|_, copy| unsafe { copy(to, from, length) });
            // SAFETY: as above.
            each_fill(|_, fill| unsafe { fill(to, 1, length) });
        }
    }
}
