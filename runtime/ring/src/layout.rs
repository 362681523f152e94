//! Where everything stands in the shared memory.
//!
//! The memory is a [`Header`], then the submission slots, then the completion slots, and is a whole
//! number of pages long. All of it follows from one number, how many submission entries there are;
//! the header repeats it, so that whoever attaches can refuse what it did not expect.

mod error;
mod header;
mod slot;

pub use error::LayoutError;
pub use header::Header;
pub use slot::{CompletionSlot, SubmissionSlot};

/// The header's first word: `dmaring` and a zero byte, in memory order.
pub const MAGIC: u64 = u64::from_le_bytes(*b"dmaring\0");
/// The version of everything that two processes must agree on.
pub const ABI_VERSION: u32 = 1;
/// The fewest submission entries of a ring.
pub const MIN_ENTRIES: u32 = 2;
/// The most submission entries of a ring.
pub const MAX_ENTRIES: u32 = 32768;

/// What the memory's length is a multiple of, in bytes.
const PAGE: u32 = 4096;
/// Bytes kept for the header; the submission slots begin behind them.
const HEADER_SIZE: u32 = 1024;
/// Bytes of a submission slot: one cache line.
const SUBMISSION_SLOT_SIZE: u32 = 64;
/// Bytes of a completion slot.
const COMPLETION_SLOT_SIZE: u32 = 16;
/// An operation posts at most this many completion entries.
const COMPLETIONS_PER_ENTRY: u32 = 2;

#[cfg(not(loom))]
const _: () = {
    assert!(size_of::<Header>() == 768 && align_of::<Header>() == 128);
    assert!(size_of::<Header>() <= HEADER_SIZE as usize);
    assert!(size_of::<SubmissionSlot>() == SUBMISSION_SLOT_SIZE as usize);
    assert!(align_of::<SubmissionSlot>() == 64);
    assert!(size_of::<CompletionSlot>() == COMPLETION_SLOT_SIZE as usize);
    assert!(align_of::<CompletionSlot>() == 16);
};

/// The sizes and offsets of one pair of rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    entries: u32,
}

impl Layout {
    /// The layout for this many submission entries.
    ///
    /// # Errors
    ///
    /// [`LayoutError::Entries`] unless it is a power of two from [`MIN_ENTRIES`] to [`MAX_ENTRIES`].
    pub const fn new(entries: u32) -> Result<Self, LayoutError> {
        if entries.is_power_of_two() && entries >= MIN_ENTRIES && entries <= MAX_ENTRIES {
            Ok(Self { entries })
        } else {
            Err(LayoutError::Entries { entries })
        }
    }

    /// How many submission slots there are.
    #[must_use]
    pub const fn entries(&self) -> u32 {
        self.entries
    }

    /// How many completion slots there are: two for each submission slot.
    #[must_use]
    pub const fn completion_entries(&self) -> u32 {
        self.entries * COMPLETIONS_PER_ENTRY
    }

    /// Where the submission slots begin, in bytes from the start of the memory.
    #[must_use]
    pub const fn submission_offset(&self) -> usize {
        HEADER_SIZE as usize
    }

    /// Where the completion slots begin, in bytes from the start of the memory.
    #[must_use]
    pub const fn completion_offset(&self) -> usize {
        self.submission_offset() + self.entries as usize * SUBMISSION_SLOT_SIZE as usize
    }

    /// How long the memory is, in bytes: a multiple of 4096.
    #[must_use]
    pub const fn size(&self) -> usize {
        let slots = self.completion_entries() as usize * COMPLETION_SLOT_SIZE as usize;
        (self.completion_offset() + slots).next_multiple_of(PAGE as usize)
    }
}

/// The slot of a position: positions count on forever, slots come round again.
///
/// In bounds whatever the position is, since it may come from a peer.
pub(crate) fn slot_at<T>(slots: &[T], position: u64) -> Option<&T> {
    let mask = (slots.len() as u64).wrapping_sub(1);
    usize::try_from(position & mask).ok().and_then(|index| slots.get(index))
}

#[cfg(test)]
mod tests {
    use super::{Layout, LayoutError, MAGIC, slot_at};

    #[test]
    fn the_layout_has_its_golden_numbers() {
        let offsets = |entries| {
            Layout::new(entries).map(|layout| {
                (layout.completion_entries(), layout.completion_offset(), layout.size())
            })
        };
        assert_eq!(offsets(2), Ok((4, 1152, 4096)));
        assert_eq!(offsets(32), Ok((64, 3072, 4096)));
        assert_eq!(offsets(64), Ok((128, 5120, 8192)));
        assert_eq!(offsets(1024), Ok((2048, 66560, 102_400)));
        assert_eq!(offsets(32768), Ok((65536, 2_098_176, 3_149_824)));
        assert_eq!(MAGIC, 0x0067_6e69_7261_6d64);
    }

    #[test]
    fn every_other_count_is_refused() {
        for entries in [0, 1, 3, 6, 1000, 32767, 32769, 65536, 1 << 31, u32::MAX] {
            assert_eq!(Layout::new(entries), Err(LayoutError::Entries { entries }));
        }
    }

    #[test]
    fn a_position_finds_its_slot_or_none() {
        let slots = [10, 11, 12, 13];
        assert_eq!(slot_at(&slots, 6), Some(&12));
        assert_eq!(slot_at(&slots, u64::MAX), Some(&13));
        assert_eq!(slot_at::<u8>(&[], 0), None);
        assert_eq!(slot_at::<u8>(&[], u64::MAX), None);
        assert!(slot_at(&slots[..3], u64::MAX).is_some());
    }
}
