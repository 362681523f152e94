//! Entries at the ends of what they can carry, and what a refusal says.
#![cfg(not(loom))]

use dmaring_ring::{CompletionCode, CompletionEntry, Full, Key};
use proptest::prelude::*;

const KEY: Key = Key { index: 3, generation: 4 };

#[test]
fn an_offset_that_a_detail_cannot_carry_becomes_the_largest_and_never_a_smaller_one() {
    let largest = CompletionEntry::MAX_OFFSET;
    for offset in [largest, largest + 1, largest + 2, 1 << 63, u64::MAX - 255, u64::MAX] {
        assert_eq!(CompletionEntry::detail(KEY, offset).offset(), largest, "{offset:#x}");
    }
    assert_eq!(CompletionEntry::detail(KEY, largest - 1).offset(), largest - 1);
}

#[test]
fn a_refusal_says_what_is_full() {
    assert!(Full.to_string().contains("no room"), "{Full}");
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 1 } else { 256 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_result_is_the_word_that_the_slot_holds(word in any::<u64>(), code: u8, kind: u8, bits: u32) {
        let read = CompletionEntry::from_words([KEY.to_word(), word]);
        prop_assert_eq!(read.result_word(), word);
        let end = CompletionEntry::new(KEY, CompletionCode(code), kind, bits);
        let [_, word] = end.to_words();
        prop_assert_eq!(end.result_word(), word);
    }
}
