//! What the poller answers.

use super::Key;

/// How an operation ended. An open set: a number that is none of the constants stays representable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct CompletionCode(pub u8);

impl CompletionCode {
    /// Every byte is written.
    pub const DONE: Self = Self(0);
    /// The device failed: the kind is that of the failure, the bits are the device's error bits.
    pub const DEVICE: Self = Self(1);
    /// The entry was refused before anything started: the kind is the reason.
    pub const REFUSED: Self = Self(2);
    /// The operation never started, because the one it was linked to did not succeed.
    pub const ABORTED: Self = Self(3);
    /// The runtime was shut down before the operation ended.
    pub const SHUTDOWN: Self = Self(4);
    /// The engine was lost and nothing could stand in for it.
    pub const ENGINE_LOST: Self = Self(5);
    /// The kernel refused a read or write of a file: the bits are its error number.
    pub const IO: Self = Self(6);
    /// Not an end: the operation's deadline passed, or its engine does not let go of it. Whoever waits is told so now, and
    /// the end follows once no engine touches the operation's memory any more; what it says then is of no interest. The kind
    /// says which: 0 the deadline, 1 the engine.
    pub const EARLY: Self = Self(7);
    /// Some copies of a [bundle](super::Opcode::COPY_BUNDLE) failed: the bits say how many. How each of them ended stands where
    /// the copies stood.
    pub const MIXED: Self = Self(8);
    /// Not an end: the offset at which the operation failed, posted before the end itself.
    pub const DETAIL: Self = Self(0xff);
}

/// How an operation ended, in one word: the code in bits 7:0, the kind in bits 15:8, the retry in bits 23:16 and the
/// bits in 63:32; or, where the code is [`CompletionCode::DETAIL`], an offset in bits 63:8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct ResultWord(pub u64);

/// The poller's answer to one entry, 16 bytes in the ring.
///
/// An operation posts at most two: an optional detail ([`CompletionEntry::detail`]) or
/// [early word](CompletionCode::EARLY), then its end ([`CompletionEntry::new`]). This is why the completion ring has twice the slots of the submission
/// ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CompletionEntry {
    /// The key that the submission entry carried.
    pub key: Key,
    /// How the operation ended.
    pub result: ResultWord,
}

impl CompletionEntry {
    /// The largest offset, in bytes, that a detail can carry.
    pub const MAX_OFFSET: u64 = u64::MAX >> 8;

    /// The end of an operation. What `kind` and `bits` mean depends on the code; 0 where nothing.
    #[must_use]
    pub const fn new(key: Key, code: CompletionCode, kind: u8, bits: u32) -> Self {
        let result = code.0 as u64 | (kind as u64) << 8 | (bits as u64) << 32;
        Self { key, result: ResultWord(result) }
    }

    /// The same, for a failed part that was tried again, elsewhere, and failed there too, with this kind of failure.
    #[must_use]
    pub const fn with_retry(self, kind: u8) -> Self {
        let retry = (kind as u64 + 1) & 0xff;
        Self { result: ResultWord(self.result.0 & !(0xff << 16) | retry << 16), ..self }
    }

    /// Where an operation failed: the offset, in bytes, of the part that did. Offsets above
    /// [`MAX_OFFSET`](Self::MAX_OFFSET) become that one.
    #[must_use]
    pub const fn detail(key: Key, offset: u64) -> Self {
        let offset = if offset > Self::MAX_OFFSET { Self::MAX_OFFSET } else { offset };
        Self { key, result: ResultWord(CompletionCode::DETAIL.0 as u64 | offset << 8) }
    }

    /// The result as a plain word.
    #[must_use]
    pub const fn result_word(&self) -> u64 {
        self.result.0
    }

    /// How the operation ended, or [`CompletionCode::DETAIL`].
    #[must_use]
    pub const fn code(&self) -> CompletionCode {
        let [code, ..] = self.result.0.to_le_bytes();
        CompletionCode(code)
    }

    /// The kind of failure, or the reason for a refusal. Without meaning in a detail.
    #[must_use]
    pub const fn kind(&self) -> u8 {
        let [_, kind, ..] = self.result.0.to_le_bytes();
        kind
    }

    /// The kind of failure of the second attempt, if there was one that failed, too. Without meaning in a detail.
    #[must_use]
    pub const fn retry(&self) -> Option<u8> {
        let [_, _, retry, ..] = self.result.0.to_le_bytes();
        retry.checked_sub(1)
    }

    /// The device's error bits, or the kernel's error number. Without meaning in a detail.
    #[must_use]
    pub const fn bits(&self) -> u32 {
        let [.., a, b, c, d] = self.result.0.to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }

    /// The offset that a detail carries, in bytes. Without meaning in an end.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.result.0 >> 8
    }

    /// The entry as the two words of a slot.
    #[must_use]
    pub const fn to_words(self) -> [u64; 2] {
        [self.key.to_word(), self.result.0]
    }

    /// The entry that these words hold, whatever they hold.
    #[must_use]
    pub const fn from_words(words: [u64; 2]) -> Self {
        let [key, result] = words;
        Self { key: Key::from_word(key), result: ResultWord(result) }
    }
}

#[cfg(test)]
mod tests {
    use super::{CompletionCode, CompletionEntry, Key};

    const KEY: Key = Key { index: 0x11, generation: 0x22 };

    #[test]
    fn ends_are_their_golden_words() {
        let cases = [
            (CompletionCode::DONE, 0, 0, 0x0000_0000_0000_0000),
            (CompletionCode::DEVICE, 0x04, 0xdead_beef, 0xdead_beef_0000_0401),
            (CompletionCode::REFUSED, 0x09, 0, 0x0000_0000_0000_0902),
            (CompletionCode::ABORTED, 0, 0, 0x0000_0000_0000_0003),
            (CompletionCode::SHUTDOWN, 0, 0, 0x0000_0000_0000_0004),
            (CompletionCode::ENGINE_LOST, 0, 0, 0x0000_0000_0000_0005),
            (CompletionCode::IO, 0, 5, 0x0000_0005_0000_0006),
            (CompletionCode::EARLY, 1, 0, 0x0000_0000_0000_0107),
            (CompletionCode::MIXED, 0, 3, 0x0000_0003_0000_0008),
            (CompletionCode(0x7e), 0xff, u32::MAX, 0xffff_ffff_0000_ff7e),
        ];
        for (code, kind, bits, word) in cases {
            let entry = CompletionEntry::new(KEY, code, kind, bits);
            assert_eq!(entry.to_words(), [0x0000_0022_0000_0011, word]);
            let read = CompletionEntry::from_words([0x0000_0022_0000_0011, word]);
            assert_eq!((read.key, read.code(), read.kind(), read.bits()), (KEY, code, kind, bits));
        }
    }

    #[test]
    fn a_second_failure_is_its_golden_word() {
        let once = CompletionEntry::new(KEY, CompletionCode::DEVICE, 0x03, 0x100);
        assert_eq!(once.retry(), None);
        let twice = once.with_retry(4);
        assert_eq!(twice.result_word(), 0x0000_0100_0005_0301);
        assert_eq!((twice.retry(), twice.kind(), twice.bits()), (Some(4), 0x03, 0x100));
        assert_eq!(once.with_retry(0).retry(), Some(0));
    }

    #[test]
    fn a_detail_is_its_golden_word_and_carries_56_bits() {
        let cases = [
            (0, 0, 0x0000_0000_0000_00ff),
            (0x12_3456_789a, 0x12_3456_789a, 0x0000_1234_5678_9aff),
            (0x00ff_ffff_ffff_ffff, 0x00ff_ffff_ffff_ffff, u64::MAX),
            (u64::MAX, 0x00ff_ffff_ffff_ffff, u64::MAX),
        ];
        for (given, kept, word) in cases {
            let entry = CompletionEntry::detail(KEY, given);
            assert_eq!(entry.to_words(), [0x0000_0022_0000_0011, word]);
            assert_eq!((entry.code(), entry.offset()), (CompletionCode::DETAIL, kept));
        }
    }
}
