#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| netsim_fuzz::read_words(bytes));
