//! What scenarios draw, all from their seed.

use ottla::runtime::RandomStream;

/// A stream of its own for each purpose of a scenario.
pub fn stream(seed: u64, purpose: u8) -> RandomStream {
    let mut bytes = [purpose; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    RandomStream::from_seed(bytes)
}
