//! Texts and words that somebody else wrote.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dmaring_fuzz::parsers::run(input));
