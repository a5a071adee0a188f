//! What the targets run; the crate ottla-log has it as a test.

#[path = "../../storage/log/tests/fuzz/bodies.rs"]
mod bodies;
#[path = "../../storage/log/tests/fuzz/crcs.rs"]
mod crcs;
#[path = "../../storage/log/tests/fuzz/memory.rs"]
mod memory;
#[path = "../../storage/log/tests/fuzz/use_all.rs"]
mod use_all;
#[path = "../../storage/log/tests/fuzz/valid.rs"]
mod valid;

use ottla_log::Log;

/// Runs the body of this name.
pub fn run(name: &str, data: &[u8]) {
    let fuzzed = bodies::ALL.iter().find(|fuzzed| fuzzed.name == name);
    fuzzed.expect("a body of the target's name").run(data);
}
