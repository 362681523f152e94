//! Texts that a user wrote, and words that a device or a peer wrote: each is refused or understood, and what
//! was understood survives being written again.

use std::{fmt::Display, str::FromStr};

use arbitrary::Unstructured;
use dmaring_driver::{ioat::Causes, pci::Address};
use dmaring_emulated::{FaultPlan, PlannedFault, Preset};
use dmaring_ioat_spec::{
    chanerr::ChannelError,
    descriptor::{Control, ControlFlags, Descriptor},
    device::Platform,
    registers::{ChannelCount, ChannelState, ChannelStatus, Version, XferCap},
};
use dmaring_ring::{CompletionEntry, Key, SubmissionEntry};
use zerocopy::{FromBytes, IntoBytes};

use crate::numbers::{byte, number};

/// Does what the bytes say: the first chooses, the others are what is parsed.
pub fn run(input: &[u8]) {
    let mut input = Unstructured::new(input);
    match byte(&mut input) % 6 {
        0 => again::<FaultPlan>(&text(input)),
        1 => again::<PlannedFault>(&text(input)),
        2 => again::<Preset>(&text(input)),
        3 => again::<Address>(&text(input)),
        4 => descriptor(number(&mut input)),
        _ => words(number(&mut input)),
    }
}

fn text(input: Unstructured<'_>) -> String {
    String::from_utf8_lossy(input.take_rest()).into_owned()
}

/// A refusal says why; what is taken is the same after a second reading.
fn again<T: FromStr<Err: Display> + Display + PartialEq>(text: &str) {
    match text.parse::<T>() {
        Err(error) => assert!(!error.to_string().is_empty()),
        Ok(value) => {
            let written = value.to_string();
            assert!(written.parse::<T>().is_ok_and(|read| read == value), "{text}: {written}");
        }
    }
}

fn descriptor(words: [u64; 8]) {
    let descriptor = Descriptor::from_words(words);
    assert_eq!(descriptor.to_words(), words);
    let bytes = words.map(u64::to_le_bytes);
    assert_eq!(descriptor.as_bytes(), bytes.as_flattened());
    assert!(Descriptor::read_from_bytes(bytes.as_flattened()).is_ok_and(|read| read == descriptor));
    let control = descriptor.control();
    let _ = (control.coefficient(), control.opcode().needs());
    assert_eq!(u32::from(control.opcode().number()), control.bits() >> 24);
    assert_eq!(control.flags().bits(), control.bits() & 0x00ff_ffff);
    assert_eq!(control.reserved_bits() & !control.bits(), 0);
    let flagged = descriptor.with_flags(ControlFlags::COMPLETION_WRITE).control();
    assert_eq!(flagged, Control::from_bits(control.bits() | 0x08));
}

fn words(words: [u64; 7]) {
    assert_eq!(SubmissionEntry::from_words(words).to_words(), words);
    let [word, other, ..] = words;
    let completion = CompletionEntry::from_words([word, other]);
    assert_eq!(completion.to_words(), [word, other]);
    assert!(completion.offset() <= CompletionEntry::MAX_OFFSET);
    assert_eq!(Key::from_word(word).to_word(), word);

    let status = ChannelStatus::from_bits(word);
    assert_eq!((status.bits(), status.completed() % 64), (word, 0));
    assert_eq!(u64::from(status.state().number()), word & 7);
    let state = ChannelState::from_number(other as u8);
    assert_eq!(ChannelStatus::new(status.completed(), state).completed(), status.completed());
    let [a, b, c, d, ..] = word.to_le_bytes();
    assert!(XferCap::from_bits(a).max_bytes().is_none_or(|bytes| bytes < 1 << 32));
    assert!(ChannelCount::from_bits(b).channels() < 32);
    assert!(!Version::from_bits(c).to_string().is_empty());
    let errors = ChannelError::from_bits_retain(u32::from_le_bytes([a, b, c, d]));
    assert!(!Causes(errors).to_string().is_empty());
    let _ = dmaring_driver::ioat::status_kind(errors);
    let platform = Platform::of(u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]));
    assert!(!platform.name().is_empty());
}
