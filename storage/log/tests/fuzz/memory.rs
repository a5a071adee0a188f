//! A body, and how much memory it may take.

#[path = "../../../../protocol/wire/tests/wire/counting.rs"]
mod counting;

/// What must hold of any bytes.
pub struct Fuzzed {
    pub name: &'static str,
    pub body: fn(&[u8]),
    /// Bytes that it may take at its peak, whatever it is given, the simulated disk's included.
    pub base: usize,
    /// And for each byte that it is given.
    pub per_byte: usize,
}

impl Fuzzed {
    /// # Panics
    /// The body does, or it takes more memory than it may.
    pub fn run(&self, data: &[u8]) {
        let ((), peak) = counting::peak_of(|| (self.body)(data));
        let allowed = self.base + self.per_byte * data.len();
        assert!(peak <= allowed, "{peak} bytes were taken for {}, {allowed} may be", data.len());
    }
}
