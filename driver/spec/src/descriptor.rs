//! The descriptor: 64 bytes, little endian, at a multiple of 64.
//!
//! | bytes | field |
//! | --- | --- |
//! | 0..4 | size of the transfer, in bytes |
//! | 4..8 | control word, [`Control`] |
//! | 8..16 | source address, or the pattern of a fill |
//! | 16..24 | destination address |
//! | 24..32 | address of the next descriptor |
//! | 32..64 | four words for the operation; unused by copy and null |
//!
//! `next` must be right before the doorbell covers the descriptor, so drivers link a whole ring once.
//! Source: Linux, SPDK, DPDK, FreeBSD.

use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout,
    little_endian::{U32, U64},
};

mod control;

pub use control::{Control, ControlFlags, Opcode};

/// Bytes of a descriptor.
pub const DESCRIPTOR_BYTES: usize = 64;

/// What a descriptor's address must be a multiple of, in bytes.
pub const DESCRIPTOR_ALIGN: u64 = 64;

/// The size that [`Descriptor::null`] gives, in bytes. Version 3.0 wants one other than 0: Linux has
/// 1, SPDK 8.
pub const NULL_BYTES: u32 = 1;

/// One descriptor, as it lies in memory.
///
/// Every 64 bytes are a descriptor. The type has the alignment of a byte, so that one can be read
/// from anywhere; whoever places it for a channel keeps to [`DESCRIPTOR_ALIGN`]. Copy one out of
/// shared memory before looking at it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Descriptor {
    size: U32,
    control: U32,
    source: U64,
    destination: U64,
    next: U64,
    operands: [U64; 4],
}

const _: () = assert!(size_of::<Descriptor>() == DESCRIPTOR_BYTES);
const _: () = assert!(align_of::<Descriptor>() == 1);

impl Descriptor {
    /// A copy of `size` bytes, with no flags and no next descriptor.
    #[must_use]
    pub const fn copy(source: u64, destination: u64, size: u32) -> Self {
        Self::of(Opcode::Copy, source, destination, size)
    }

    /// A fill of `size` bytes, with no flags and no next descriptor.
    ///
    /// The pattern's eight bytes, the lowest first, repeat from the destination's first byte,
    /// whatever its alignment; `size` need be no multiple of 8. Source: DPDK, by its tests. The
    /// channel must have [`FILL_BLOCK`](crate::registers::DmaCapability::FILL_BLOCK).
    #[must_use]
    pub const fn fill(pattern: u64, destination: u64, size: u32) -> Self {
        Self::of(Opcode::Fill, pattern, destination, size)
    }

    /// A descriptor that moves nothing, of [`NULL_BYTES`], with [`ControlFlags::NULL`] and no next
    /// descriptor.
    #[must_use]
    pub const fn null() -> Self {
        let mut null = Self::of(Opcode::Copy, 0, 0, NULL_BYTES);
        null.control = U32::new(Control::new(Opcode::Copy, ControlFlags::NULL).bits());
        null
    }

    const fn of(opcode: Opcode, source: u64, destination: u64, size: u32) -> Self {
        Self {
            size: U32::new(size),
            control: U32::new(Control::new(opcode, ControlFlags::empty()).bits()),
            source: U64::new(source),
            destination: U64::new(destination),
            next: U64::ZERO,
            operands: [U64::ZERO; 4],
        }
    }

    /// The same with these flags added.
    #[must_use]
    pub const fn with_flags(self, flags: ControlFlags) -> Self {
        let control = self.control().bits() | flags.bits();
        self.with_control(Control::from_bits(control))
    }

    /// The same with this control word.
    #[must_use]
    pub const fn with_control(mut self, control: Control) -> Self {
        self.control = U32::new(control.bits());
        self
    }

    /// The same with the next descriptor at this address.
    #[must_use]
    pub const fn with_next(mut self, next: u64) -> Self {
        self.next = U64::new(next);
        self
    }

    /// How many bytes to move.
    #[must_use]
    pub const fn size(&self) -> u32 {
        self.size.get()
    }

    /// What to do and how.
    #[must_use]
    pub const fn control(&self) -> Control {
        Control::from_bits(self.control.get())
    }

    /// The address of the first byte read; the pattern, of a fill.
    #[must_use]
    pub const fn source(&self) -> u64 {
        self.source.get()
    }

    /// The address of the first byte written.
    #[must_use]
    pub const fn destination(&self) -> u64 {
        self.destination.get()
    }

    /// The address of the next descriptor.
    #[must_use]
    pub const fn next(&self) -> u64 {
        self.next.get()
    }

    /// The last four words: further addresses of an XOR or PQ; in a fill, the second is the address
    /// of the next page of the destination, when pages break. Source: Linux, SPDK.
    #[must_use]
    pub const fn operands(&self) -> [u64; 4] {
        let [a, b, c, d] = self.operands;
        [a.get(), b.get(), c.get(), d.get()]
    }

    /// The descriptor as eight little-endian words, in order: what to store where memory is written
    /// word by word on a little-endian machine.
    #[must_use]
    pub const fn to_words(&self) -> [u64; 8] {
        let [a, b, c, d] = self.operands();
        let first = (self.control.get() as u64) << 32 | self.size.get() as u64;
        [first, self.source(), self.destination(), self.next(), a, b, c, d]
    }

    /// The descriptor of these eight little-endian words.
    #[must_use]
    pub const fn from_words(words: [u64; 8]) -> Self {
        let [first, source, destination, next, a, b, c, d] = words;
        Self {
            size: U32::new(first as u32),
            control: U32::new((first >> 32) as u32),
            source: U64::new(source),
            destination: U64::new(destination),
            next: U64::new(next),
            operands: [U64::new(a), U64::new(b), U64::new(c), U64::new(d)],
        }
    }
}

#[cfg(test)]
mod tests;
