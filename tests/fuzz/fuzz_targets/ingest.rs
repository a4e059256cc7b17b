#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| netsim_fuzz::ingest_anything(bytes));
