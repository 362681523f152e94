//! A whole runtime, of whose rings a client overwrites what a client can.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dmaring_fuzz::peer::run(input));
