#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kilochat_tests::fuzz::head(
    kilochat::web::answer,
    bytes
));
