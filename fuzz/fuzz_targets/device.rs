//! A device that answers the I/OAT driver with anything.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dmaring_fuzz::device::run(input));
