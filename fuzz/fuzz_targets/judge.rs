#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| qcc_fuzz::judge::run(bytes));
