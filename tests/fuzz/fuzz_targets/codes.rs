#![no_main]

libfuzzer_sys::fuzz_target!(|script: &[u8]| kilochat_tests::fuzz::codes(script));
