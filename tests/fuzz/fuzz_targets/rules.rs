#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kilochat_tests::fuzz::rules(
    kilochat::relay::read_rules,
    bytes
));
