//! What a pass must not do to appends, for a control: it touches new memory at random, page by page, as our own cleaner did once through its
//! map of keys (docs/decisions/0007), but all the while.

const PAGE: usize = 4 << 10;
const MEMORY: usize = 128 << 20;
const PAGES: usize = MEMORY / PAGE;
/// After each piece of a pass: as many as the kernel finds in a few milliseconds.
const TOUCHED: usize = 4096;

#[derive(Default)]
pub struct Harm {
    memory: Vec<u8>,
    touched: usize,
    random: u64,
}

impl Harm {
    /// When as many were touched as there are, all is given back, and there is new memory.
    pub fn do_some(&mut self) {
        if self.touched == 0 {
            self.memory = Vec::new();
            self.memory = vec![0; MEMORY];
        }
        for _ in 0..TOUCHED {
            self.random =
                self.random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            self.memory[(self.random >> 33) as usize % PAGES * PAGE] = 1;
        }
        std::hint::black_box(&self.memory);
        self.touched = (self.touched + TOUCHED) % PAGES;
    }
}
