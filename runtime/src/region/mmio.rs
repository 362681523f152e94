//! Reading and writing memory of a device from the CPU.
//!
//! A device sees each access as a transaction: every one here is volatile, aligned, and of eight bytes, or of 4, 2 and 1
//! where a range begins or ends within a word. None is made twice, or outside the range; none is what `memcpy` would do.
#![allow(unsafe_code, reason = "island: volatile accesses to memory of a device")]

use std::ptr::NonNull;

const WORD: usize = 8;

/// Copies from `at`, memory of a device, to `buffer`.
///
/// # Safety
///
/// The caller swears that as many bytes as the buffer has are mapped at `at`, and are memory of a device, which is no
/// object of this program.
pub(super) unsafe fn read(at: NonNull<u8>, buffer: &mut [u8]) {
    let mut at = at.as_ptr();
    let mut rest = buffer;
    while !rest.is_empty() {
        let width = width(at.addr(), rest.len());
        let value = match width {
            // SAFETY: (1) the bytes are mapped (caller); (2) `width` gives an access that is aligned and ends with the
            // range; (3) a device answers every read, and any bits are an integer.
            8 => unsafe { at.cast::<u64>().read_volatile() }.to_le(),
            // SAFETY: as above.
            4 => u64::from(unsafe { at.cast::<u32>().read_volatile() }.to_le()),
            // SAFETY: as above.
            2 => u64::from(unsafe { at.cast::<u16>().read_volatile() }.to_le()),
            // SAFETY: as above.
            _ => u64::from(unsafe { at.read_volatile() }),
        };
        let (part, after) = rest.split_at_mut(width);
        part.copy_from_slice(&value.to_le_bytes()[..width]);
        (at, rest) = (at.wrapping_add(width), after);
    }
}

/// Copies `bytes` to `at`, memory of a device.
///
/// # Safety
///
/// As for [`read`], for writing.
pub(super) unsafe fn write(at: NonNull<u8>, bytes: &[u8]) {
    let mut at = at.as_ptr();
    let mut rest = bytes;
    while !rest.is_empty() {
        let width = width(at.addr(), rest.len());
        let (part, after) = rest.split_at(width);
        let mut value = [0; WORD];
        value[..width].copy_from_slice(part);
        let [a, b, c, d, ..] = value;
        match width {
            // SAFETY: (1) the bytes are mapped for writing (caller); (2) `width` gives an access that is aligned and
            // ends with the range; (3) what it changes is no object of this program.
            8 => unsafe { at.cast::<u64>().write_volatile(u64::from_ne_bytes(value)) },
            // SAFETY: as above.
            4 => unsafe { at.cast::<u32>().write_volatile(u32::from_ne_bytes([a, b, c, d])) },
            // SAFETY: as above.
            2 => unsafe { at.cast::<u16>().write_volatile(u16::from_ne_bytes([a, b])) },
            // SAFETY: as above.
            _ => unsafe { at.write_volatile(a) },
        }
        (at, rest) = (at.wrapping_add(width), after);
    }
}

/// The widest access at an address that is aligned and no longer than `left`: 8, 4, 2 or 1 bytes.
fn width(address: usize, left: usize) -> usize {
    let aligned = address.trailing_zeros().min(WORD.ilog2());
    1 << aligned.min(left.max(1).ilog2())
}

#[cfg(test)]
mod tests {
    use std::ptr::NonNull;

    use super::{read, width, write};

    #[test]
    fn every_range_is_read_and_written_whole_and_alone() {
        let mut words = [0_u64; 8];
        let base = NonNull::from(&mut words).cast::<u8>();
        for offset in 0..10 {
            for length in 0..=40 {
                let bytes: Vec<u8> = (1..=length).collect();
                let mut whole = [0xee; 64];
                // SAFETY: the range lies within the words, which nobody else has.
                unsafe { write(base, &whole) };
                // SAFETY: no further than the words' end.
                let at = unsafe { base.add(offset) };
                // SAFETY: as above.
                unsafe { write(at, &bytes) };
                // SAFETY: as above.
                unsafe { read(base, &mut whole) };
                let mut expected = [0xee; 64];
                expected[offset..offset + bytes.len()].copy_from_slice(&bytes);
                assert_eq!(whole, expected, "{offset} {length}");
                let mut part = vec![0; bytes.len()];
                // SAFETY: as above.
                unsafe { read(at, &mut part) };
                assert_eq!(part, bytes, "{offset} {length}");
            }
        }
    }

    #[test]
    fn doublewords_are_never_split() {
        for address in (0..64).step_by(4) {
            for length in (4..64).step_by(4) {
                assert!(width(address, length) >= 4, "{address} {length}");
            }
        }
        assert_eq!([width(1, 8), width(2, 8), width(4, 8), width(8, 8)], [1, 2, 4, 8]);
        assert_eq!([width(8, 7), width(8, 3), width(8, 1)], [4, 2, 1]);
    }
}
