//! How a register is described, and how one is found by its offset in BAR 0.

use super::{CHANNEL_BYTES, MAX_CHANNELS, REGISTERS};

/// One register: where it is and what an access to it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegisterSpec {
    /// The datasheet's name; Linux's where the public datasheet is silent.
    pub name: &'static str,
    /// What `offset` counts from.
    pub place: Place,
    /// Bytes from the beginning of `place`.
    pub offset: u32,
    /// How wide the register is.
    pub width: Width,
    /// What a read and a write do.
    pub access: Access,
    /// What it holds after a reset of the function.
    pub reset: Reset,
    /// What it is for, in one line.
    pub meaning: &'static str,
    /// Where this was read.
    pub source: &'static str,
}

impl RegisterSpec {
    /// The register's offset in BAR 0, in bytes, for this channel, which a general register ignores.
    ///
    /// Never panics; a channel that no device can have ([`MAX_CHANNELS`] or above) gives an offset
    /// that is no register's.
    #[must_use]
    pub const fn bar_offset(&self, channel: u8) -> u32 {
        match self.place {
            Place::General => self.offset,
            Place::Channel | Place::PastChannel => channel_base(channel) + self.offset,
        }
    }
}

/// Where channel `channel`'s registers begin in BAR 0, in bytes: 0x80 · (channel + 1). Source: Linux.
#[must_use]
pub const fn channel_base(channel: u8) -> u32 {
    CHANNEL_BYTES * (channel as u32 + 1)
}

/// What a register's offset counts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// The beginning of BAR 0: one register for the whole function.
    General,
    /// The beginning of a channel's block: one register for each channel.
    Channel,
    /// The beginning of a channel's block, and past the block's end.
    ///
    /// Linux adds these offsets to the channel's base, which for channel n lands in what would be the
    /// block of channel n + 1. Whether silicon decodes them there is settled by no source; functions
    /// that have these registers have one channel, so nothing else is in the way.
    PastChannel,
}

/// How wide a register is. An access of another width is settled by no source, except that Linux
/// writes CHAINADDR and CHANCMP as two halves, the low one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Width {
    /// One byte.
    Bits8 = 1,
    /// Two bytes.
    Bits16 = 2,
    /// Four bytes.
    Bits32 = 4,
    /// Eight bytes.
    Bits64 = 8,
}

impl Width {
    /// The width in bytes.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        self as u32
    }

    /// The width in bits.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.bytes() * 8
    }
}

/// What a read and a write of a register do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// A write has no effect.
    ReadOnly,
    /// A read gives what was written.
    ReadWrite,
    /// As [`Access::ReadWrite`], but a read also changes something: no read for curiosity.
    ReadWriteWithReadEffect,
    /// A bit written as 1 is cleared, one written as 0 stays: writing back what was read clears it.
    WriteOneToClear,
    /// A bit written as 1 starts something, and reads as 1 until that has happened.
    Command,
    /// A write counts as a message to the channel; drivers never read it.
    Doorbell,
}

/// What a register holds after a reset of the function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reset {
    /// This value.
    Value(u64),
    /// What describes the part: it never changes.
    Fixed,
    /// Settled by no source: a driver writes before it relies on it, a model may start at 0.
    Unsettled,
}

/// A register, and where in it an offset points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// The register.
    pub register: &'static RegisterSpec,
    /// The channel it belongs to; `None` for a general register.
    pub channel: Option<u8>,
    /// Bytes from the register's beginning to the offset asked for.
    pub byte: u32,
}

/// The register that has the byte at this offset of BAR 0; `None` where no register is known.
///
/// Takes the function to have as many channels as fit ([`MAX_CHANNELS`]): compare
/// [`Location::channel`] with CHANCNT.
#[must_use]
pub fn at(bar_offset: u32) -> Option<Location> {
    if bar_offset < CHANNEL_BYTES {
        return find(Place::General, None, bar_offset);
    }
    let block = u8::try_from(bar_offset / CHANNEL_BYTES - 1).ok()?;
    let inside = bar_offset % CHANNEL_BYTES;
    if block < MAX_CHANNELS
        && let Some(location) = find(Place::Channel, Some(block), inside)
    {
        return Some(location);
    }
    let before = block.checked_sub(1).filter(|channel| *channel < MAX_CHANNELS)?;
    find(Place::PastChannel, Some(before), inside + CHANNEL_BYTES)
}

fn find(place: Place, channel: Option<u8>, offset: u32) -> Option<Location> {
    REGISTERS
        .iter()
        .filter(|register| register.place == place)
        .find(|register| {
            (register.offset..register.offset + register.width.bytes()).contains(&offset)
        })
        .map(|register| Location { register, channel, byte: offset - register.offset })
}

#[cfg(test)]
mod tests {
    use super::{Location, at};
    use crate::registers::{REGISTERS, table};

    #[test]
    fn every_byte_of_every_register_is_found_for_every_channel() {
        for channel in 0..31 {
            for register in REGISTERS {
                let base = register.bar_offset(channel);
                for byte in 0..register.width.bytes() {
                    let found = at(base + byte).unwrap();
                    assert_eq!((found.register, found.byte), (register, byte));
                    assert!(found.channel.is_none_or(|found| found == channel));
                }
            }
        }
    }

    #[test]
    fn offsets_typed_by_hand_find_their_registers() {
        let location = |register, channel, byte| Some(Location { register, channel, byte });
        assert_eq!(at(0x08), location(&table::CBVER, None, 0));
        assert_eq!(at(0x12), location(&table::DMACAPABILITY, None, 2));
        assert_eq!(at(0x80), location(&table::CHANCTRL, Some(0), 0));
        assert_eq!(at(0x86), location(&table::DMACOUNT, Some(0), 0));
        assert_eq!(at(0x94), location(&table::CHAINADDR, Some(0), 4));
        assert_eq!(at(0xa8), location(&table::CHANERR, Some(0), 0));
        assert_eq!(at(0x108), location(&table::CHANSTS, Some(1), 0));
        assert_eq!(at(0x136), location(&table::DRSCTL, Some(0), 0));
        assert_eq!(at(0xf98), location(&table::CHANCMP, Some(30), 0));
    }

    #[test]
    fn offsets_without_a_register_find_none() {
        for offset in [0x09, 0x16, 0x41, 0x7f, 0x85, 0xb4, 0xff, 0x1000, 0x2000, 0x3000, u32::MAX] {
            assert_eq!(at(offset), None, "{offset:#x}");
        }
    }

    #[test]
    fn a_channel_that_cannot_be_has_an_offset_that_is_no_registers() {
        assert_eq!(at(table::CHANSTS.bar_offset(31)), None);
        assert_eq!(at(table::CHANSTS.bar_offset(u8::MAX)), None);
    }
}
