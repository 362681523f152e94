//! Any messages to the function that QEMU's proxy has, and any guest behind it.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dmaring_fuzz::proxy::run(input));
