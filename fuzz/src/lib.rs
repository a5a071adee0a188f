//! What the targets run; the crate ottla-log has it as a test.

#[path = "../../storage/log/tests/fuzz/bodies.rs"]
pub mod bodies;
