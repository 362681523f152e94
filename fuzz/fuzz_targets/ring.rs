//! A peer that overwrites the rings' shared memory.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dmaring_fuzz::ring::run(input));
