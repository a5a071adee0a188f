use rand::rngs::{StdRng, SysRng};
use rand::{Rng, SeedableRng, TryRng};

/// Where seeds come from: the operating system, or the run's seed.
pub trait Random: Send + Sync + 'static {
    /// A fresh seed for a stream of this purpose.
    fn seed(&self, purpose: &str) -> [u8; 32];
}

#[derive(Debug)]
pub struct RealRandom;

impl Random for RealRandom {
    fn seed(&self, _purpose: &str) -> [u8; 32] {
        let mut seed = [0; 32];
        SysRng.try_fill_bytes(&mut seed).expect("the operating system gives random bytes");
        seed
    }
}

/// Random numbers fit for ids, salts and keys: ChaCha from a seed nobody knows.
pub struct RandomStream(StdRng);

impl RandomStream {
    pub fn from_seed(seed: [u8; 32]) -> RandomStream {
        RandomStream(StdRng::from_seed(seed))
    }

    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    pub fn fill(&mut self, out: &mut [u8]) {
        self.0.fill_bytes(out);
    }

    /// Less than `bound`; 0 where the bound is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// From 0 up to but not including 1.
    pub fn fraction(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// As Kafka draws cluster, topic, directory and member ids.
    pub fn uuid(&mut self) -> model::Uuid {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        model::Uuid::random(bytes)
    }
}
