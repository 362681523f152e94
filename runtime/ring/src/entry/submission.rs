//! What an application asks for.

use bitflags::bitflags;

use super::Key;

/// What an entry asks for. An open set: a number that is none of the constants stays representable,
/// and the reader refuses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[repr(transparent)]
pub struct Opcode(pub u8);

impl Opcode {
    /// Moves nothing and succeeds.
    pub const NOP: Self = Self(0);
    /// Copies `length` bytes from the source to the destination.
    pub const COPY: Self = Self(1);
    /// Writes the eight bytes of the pattern, again and again, to the destination.
    pub const FILL: Self = Self(2);
    /// Writes nothing: makes durable what the destination holds.
    pub const PERSIST: Self = Self(3);
    /// Copies what a list of segments says, which the source names. Lists are the reader's own process's: from
    /// elsewhere the entry is refused.
    pub const COPY_VECTORED: Self = Self(4);
    /// Makes several short copies from the source to the destination, as many as the source offset says. Where each is stands in the
    /// reader's own process, by the index of the key: from elsewhere the entry is refused.
    pub const COPY_BUNDLE: Self = Self(5);
}

bitflags! {
    /// How an entry stands to its neighbours and to failures. Unknown bits are kept, so that the
    /// reader can refuse them.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
    pub struct EntryFlags: u8 {
        /// Starts only after every operation submitted before it has ended, failed or not.
        const FENCE = 1;
        /// The next entry of the ring starts only if this one succeeded. Entries that are linked are
        /// pushed together, since only then are they neighbours.
        const LINK = 2;
        /// What an engine fails to do is told as a failure. Not together with `RETRY_ON_CPU`; with
        /// neither of them the reader's own policy holds.
        const FAIL_ON_ERROR = 4;
        /// What an engine fails to do is done again by the CPU. A reader without such an engine refuses
        /// the entry.
        const RETRY_ON_CPU = 8;
        /// Ends only when the destination's bytes are durable. A reader refuses the entry where they cannot be.
        const DURABLE = 16;
    }
}

/// One operation, 56 bytes in the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct SubmissionEntry {
    /// What to do.
    pub opcode: Opcode,
    /// How the operation stands to its neighbours and to failures.
    pub flags: EntryFlags,
    /// By when the operation is to have ended, in microseconds since the runtime was built; 0: it may take
    /// as long as it takes. At most [`MAX_DEADLINE`](Self::MAX_DEADLINE); bits above its 48 are dropped.
    pub deadline: u64,
    /// Names the operation; its completion carries the same key.
    pub key: Key,
    /// The region copied from; all zero for an operation without a source.
    pub source: Key,
    /// The region written to.
    pub destination: Key,
    /// Where in the source the first byte is read, in bytes. For a fill: the pattern.
    pub source_offset: u64,
    /// Where in the destination the first byte is written, in bytes.
    pub destination_offset: u64,
    /// How many bytes are written.
    pub length: u64,
}

impl SubmissionEntry {
    /// The latest deadline that an entry can carry, in microseconds: close to nine years.
    pub const MAX_DEADLINE: u64 = u64::MAX >> 16;

    /// The entry as words 0 to 6 of a slot.
    #[must_use]
    pub const fn to_words(self) -> [u64; 7] {
        [
            self.opcode.0 as u64 | (self.flags.bits() as u64) << 8 | self.deadline << 16,
            self.key.to_word(),
            self.source.to_word(),
            self.destination.to_word(),
            self.source_offset,
            self.destination_offset,
            self.length,
        ]
    }

    /// The entry that these words hold, whatever they hold: see
    /// [`has_unknown_bits`](Self::has_unknown_bits).
    #[must_use]
    pub const fn from_words(words: [u64; 7]) -> Self {
        let [first, key, source, destination, source_offset, destination_offset, length] = words;
        let [opcode, flags, ..] = first.to_le_bytes();
        Self {
            opcode: Opcode(opcode),
            flags: EntryFlags::from_bits_retain(flags),
            deadline: first >> 16,
            key: Key::from_word(key),
            source: Key::from_word(source),
            destination: Key::from_word(destination),
            source_offset,
            destination_offset,
            length,
        }
    }

    /// Whether a flag is set that this version does not know. Such an entry asks for something that its
    /// reader cannot do, and is refused.
    #[must_use]
    pub const fn has_unknown_bits(&self) -> bool {
        self.flags.bits() & !EntryFlags::all().bits() != 0
    }
}

#[cfg(test)]
mod tests {
    use super::{EntryFlags, Key, Opcode, SubmissionEntry};

    const COPY: SubmissionEntry = SubmissionEntry {
        opcode: Opcode::COPY,
        flags: EntryFlags::LINK,
        deadline: 0,
        key: Key { index: 5, generation: 6 },
        source: Key { index: 7, generation: 8 },
        destination: Key { index: 9, generation: 10 },
        source_offset: 0x1000,
        destination_offset: 0x2000,
        length: 0x40,
    };
    const COPY_WORDS: [u64; 7] = [
        0x0000_0000_0000_0201,
        0x0000_0006_0000_0005,
        0x0000_0008_0000_0007,
        0x0000_000a_0000_0009,
        0x0000_0000_0000_1000,
        0x0000_0000_0000_2000,
        0x0000_0000_0000_0040,
    ];

    #[test]
    fn a_copy_is_its_golden_words() {
        assert_eq!(COPY.to_words(), COPY_WORDS);
        assert_eq!(SubmissionEntry::from_words(COPY_WORDS), COPY);
        assert!(!COPY.has_unknown_bits());
    }

    #[test]
    fn a_fenced_fill_is_its_golden_words() {
        let fill = SubmissionEntry {
            opcode: Opcode::FILL,
            flags: EntryFlags::FENCE,
            key: Key { index: 1, generation: 0 },
            destination: Key { index: 2, generation: 3 },
            source_offset: 0xa5a5_5a5a_0f0f_f0f0,
            destination_offset: 8,
            length: 9,
            ..SubmissionEntry::default()
        };
        let words = [0x102, 1, 0, 0x0000_0003_0000_0002, 0xa5a5_5a5a_0f0f_f0f0, 8, 9];
        assert_eq!(fill.to_words(), words);
        assert_eq!(SubmissionEntry::from_words(words), fill);
    }

    #[test]
    fn a_policy_and_a_deadline_are_their_golden_words() {
        let words = |flags, deadline| SubmissionEntry { flags, deadline, ..COPY }.to_words()[0];
        assert_eq!(words(EntryFlags::FAIL_ON_ERROR, 0), 0x0401);
        assert_eq!(words(EntryFlags::RETRY_ON_CPU | EntryFlags::FENCE, 1), 0x0001_0901);
        let (deadline, last) = (0x1234_5678_9abc, SubmissionEntry::MAX_DEADLINE);
        assert_eq!(words(EntryFlags::empty(), deadline), 0x1234_5678_9abc_0001);
        assert_eq!(words(EntryFlags::empty(), last), 0xffff_ffff_ffff_0001);
        let entry = SubmissionEntry { deadline, flags: EntryFlags::RETRY_ON_CPU, ..COPY };
        assert_eq!(SubmissionEntry::from_words(entry.to_words()), entry);
        assert!(!entry.has_unknown_bits());
    }

    #[test]
    fn what_is_durable_is_its_golden_words() {
        let copy = SubmissionEntry { flags: EntryFlags::DURABLE, ..COPY };
        assert_eq!(copy.to_words()[0], 0x1001);
        let persist = SubmissionEntry { opcode: Opcode::PERSIST, ..SubmissionEntry::default() };
        assert_eq!(persist.to_words()[0], 3);
        assert_eq!(SubmissionEntry::from_words(persist.to_words()), persist);
    }

    #[test]
    fn a_zero_slot_is_a_nop() {
        let nop = SubmissionEntry::from_words([0; 7]);
        assert_eq!(nop, SubmissionEntry::default());
        assert_eq!(nop.opcode, Opcode::NOP);
    }

    #[test]
    fn what_is_unknown_is_kept_and_shown() {
        let words = [u64::MAX; 7];
        let entry = SubmissionEntry::from_words(words);
        assert_eq!(entry.to_words(), words);
        assert_eq!(entry.opcode, Opcode(0xff));
        assert_eq!(entry.flags.bits(), 0xff);
        assert_eq!(entry.deadline, SubmissionEntry::MAX_DEADLINE);

        for bit in 0..64 {
            let mut words = COPY_WORDS;
            words[0] = 1 << bit;
            let entry = SubmissionEntry::from_words(words);
            assert_eq!(entry.to_words(), words, "bit {bit}");
            // The opcode's eight bits, the five flags and the deadline are known; the opcode is judged by its
            // number.
            assert_eq!(entry.has_unknown_bits(), (13..16).contains(&bit), "bit {bit}");
        }
    }
}
