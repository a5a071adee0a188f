//! What is valid, changed at random, always in the same way.
#![allow(clippy::disallowed_methods, reason = "reads a variable of the test's own")]

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::memory::Fuzzed;

/// Of each body, in a run that is not told how many.
const CASES: u64 = 1500;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % bound.max(1)
    }
}

fn changed(seed: &[u8], random: &mut Random) -> Vec<u8> {
    let mut data = seed.to_vec();
    for _ in 0..random.below(6) {
        let len = data.len();
        let at = random.below(len);
        match random.below(7) {
            _ if len == 0 => data.push(random.below(256) as u8),
            0 => data.truncate(at),
            1 => data[at] ^= 1 << random.below(8),
            2 => data[at] = random.below(256) as u8,
            3 => data.insert(at, random.below(256) as u8),
            4 => data[at] = [0, 0x7f, 0x80, 0xff][random.below(4)],
            5 => {
                let (from, count) = (random.below(len), random.below(40));
                let count = count.min(len - from).min(len - at);
                data.copy_within(from..from + count, at);
            }
            _ => data.extend((0..random.below(64)).map(|_| random.below(256) as u8)),
        }
    }
    data
}

/// Runs a body with the seeds, and then as often as `OTTLA_FUZZ_CASES` says with what they are changed to.
pub fn fuzz(fuzzed: &Fuzzed, seeds: &[Vec<u8>]) {
    let cases = std::env::var("OTTLA_FUZZ_CASES").ok().and_then(|text| text.parse().ok());
    let (name, mut random) = (fuzzed.name, Random(7));
    for case in 0..seeds.len() as u64 + cases.unwrap_or(CASES) {
        let data = match seeds.get(case as usize) {
            Some(seed) => seed.clone(),
            None => changed(&seeds[random.below(seeds.len())], &mut random),
        };
        let ran = catch_unwind(AssertUnwindSafe(|| fuzzed.run(&data)));
        assert!(ran.is_ok(), "{name}, case {case}: {data:?}");
    }
}
