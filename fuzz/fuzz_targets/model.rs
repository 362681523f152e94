//! Any accesses to the emulated device, and any descriptors.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dmaring_fuzz::model::run(input));
