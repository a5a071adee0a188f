//! A list of words that one thread appends to while others read, without locks: the index of the segment in use.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Words in the first chunk; each further one is twice as large.
const FIRST: usize = 32;
const CHUNKS: usize = 20;

type Chunks = [OnceLock<Box<[AtomicU64]>>; CHUNKS];

#[derive(Debug, Default)]
pub(crate) struct Words {
    /// Made with the first word: most partitions of a node are idle.
    chunks: OnceLock<Box<Chunks>>,
    len: AtomicUsize,
}

impl Words {
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    /// For the one writer only. Words beyond the room (33 million) are dropped, which an index bears.
    pub fn push<const N: usize>(&self, words: [u64; N]) {
        let len = self.len.load(Ordering::Relaxed);
        let chunks = self.chunks.get_or_init(Box::default);
        for (index, word) in words.into_iter().enumerate() {
            let (chunk, at) = locate(len + index);
            let Some(slot) = chunks.get(chunk) else { return };
            let chunk =
                slot.get_or_init(|| (0..FIRST << chunk).map(|_| AtomicU64::new(0)).collect());
            chunk[at].store(word, Ordering::Relaxed);
        }
        // Readers that see the length see the words below it.
        self.len.store(len + N, Ordering::Release);
    }

    /// The word at an index below a length that was read before.
    pub fn get(&self, index: usize) -> u64 {
        let (chunk, at) = locate(index);
        self.chunks
            .get()
            .and_then(|chunks| chunks.get(chunk)?.get())
            .map_or(0, |chunk| chunk[at].load(Ordering::Relaxed))
    }
}

fn locate(index: usize) -> (usize, usize) {
    let chunk = (index / FIRST + 1).ilog2() as usize;
    (chunk, index - FIRST * ((1 << chunk) - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_where_they_were_put() {
        let words = Words::default();
        for word in 0..5000 {
            words.push([word * 2, word * 2 + 1]);
        }
        assert_eq!(words.len(), 10_000);
        assert!((0..10_000).all(|index| words.get(index) == index as u64));
    }
}
