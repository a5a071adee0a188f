#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ottla_fuzz::run("wire_requests", data));
