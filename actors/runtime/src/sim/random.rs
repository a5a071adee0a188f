//! Random numbers by purpose, all from one seed: a draw more for one purpose changes nothing for another.

use std::sync::{Mutex, PoisonError};

use crate::map::Map;
use crate::world::{Random, RandomStream};

/// A place in the tree of seeds.
#[derive(Debug, Clone)]
pub(super) struct Seeds(u64);

impl Seeds {
    pub(super) fn new(seed: u64) -> Seeds {
        Seeds(mix(seed))
    }

    /// The seeds of a part.
    pub(super) fn below(&self, part: &str) -> Seeds {
        Seeds(mix(self.0 ^ hash(part.as_bytes())))
    }

    pub(super) fn stream(&self, purpose: &str) -> RandomStream {
        RandomStream::from_seed(self.below(purpose).bytes())
    }

    fn bytes(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        let mut state = self.0;
        for part in bytes.chunks_mut(8) {
            state = mix(state);
            part.copy_from_slice(&state.to_le_bytes());
        }
        bytes
    }
}

pub(super) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(HASH_START, |hash, byte| add_to_hash(hash, *byte))
}

/// FNV-1a.
pub(super) const HASH_START: u64 = 0xcbf2_9ce4_8422_2325;

pub(super) fn add_to_hash(hash: u64, byte: u8) -> u64 {
    (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
}

fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// What one life of a node asks its world for seeds.
pub(super) struct SimRandom {
    seeds: Seeds,
    asked: Mutex<Map<String, u64>>,
}

impl SimRandom {
    pub(super) fn new(seeds: Seeds) -> SimRandom {
        SimRandom { seeds, asked: Mutex::default() }
    }
}

impl Random for SimRandom {
    fn seed(&self, purpose: &str) -> [u8; 32] {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let count = asked.entry(purpose.to_owned()).or_default();
        *count += 1;
        self.seeds.below(&format!("{purpose} {count}")).bytes()
    }
}
