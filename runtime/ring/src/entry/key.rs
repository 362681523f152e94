//! Identity across threads and processes.

/// Names something in a table: an operation in flight, or a region.
///
/// The index says where it is, the generation which of the things that were ever there it is; a table
/// refuses a key whose generation has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Key {
    /// The place in the table.
    pub index: u32,
    /// Which use of that place.
    pub generation: u32,
}

impl Key {
    /// The key as a word of the rings: the index in bits 31:0, the generation in bits 63:32.
    #[must_use]
    pub const fn to_word(self) -> u64 {
        self.index as u64 | (self.generation as u64) << 32
    }

    /// The key that a word holds.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "each half of the word is taken by itself")]
    pub const fn from_word(word: u64) -> Self {
        Self { index: word as u32, generation: (word >> 32) as u32 }
    }
}

#[cfg(test)]
mod tests {
    use super::Key;

    #[test]
    fn a_key_is_its_golden_word() {
        let key = Key { index: 0x1122_3344, generation: 0x5566_7788 };
        assert_eq!(key.to_word(), 0x5566_7788_1122_3344);
        assert_eq!(Key::from_word(0x5566_7788_1122_3344), key);
        assert_eq!(Key::from_word(u64::MAX), Key { index: u32::MAX, generation: u32::MAX });
        assert_eq!(Key::default().to_word(), 0);
    }
}
