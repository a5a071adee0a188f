#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ottla_fuzz::run("log_dir", data));
