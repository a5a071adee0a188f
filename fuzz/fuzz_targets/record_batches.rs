#![no_main]

#[allow(dead_code)]
#[path = "../../storage/log/tests/fuzz/bodies.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::record_batches(data));
