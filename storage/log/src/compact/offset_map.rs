//! The last offset of each key, in bounded memory (Kafka: `SkimpyOffsetMap`): a hash of the key stands for the key.

use super::sip::{HashKey, sip128};

/// Bytes that a key takes, as in Kafka: its hash and its offset.
pub(crate) const BYTES_PER_ENTRY: usize = 24;

/// Open addressing with linear probing. A slot is the hash and the offset plus one, 0 where the slot is free.
#[derive(Debug, Default)]
pub(crate) struct OffsetMap {
    slots: Vec<[u64; 3]>,
    key: HashKey,
    used: usize,
    max_used: usize,
    latest: i64,
}

pub(crate) type KeyHash = [u64; 2];

impl OffsetMap {
    /// `None` where not even one key fits.
    pub fn new(bytes: usize, load_factor: f64, key: HashKey) -> Option<OffsetMap> {
        let slots = bytes / BYTES_PER_ENTRY;
        // One slot always stays free: a search ends there.
        let max_used = ((slots as f64 * load_factor) as usize).min(slots.saturating_sub(1));
        (max_used > 0).then(|| OffsetMap {
            slots: vec![[0; 3]; slots],
            key,
            used: 0,
            max_used,
            latest: -1,
        })
    }

    #[inline]
    pub fn hash(&self, key: &[u8]) -> KeyHash {
        sip128(self.key, key)
    }

    /// The slot that has the hash, or the free one where it would be.
    #[inline]
    fn find(&self, hash: KeyHash) -> usize {
        let mut at = ((u128::from(hash[0]) * self.slots.len() as u128) >> 64) as usize;
        loop {
            let slot = self.slots[at];
            if slot[2] == 0 || (slot[0] == hash[0] && slot[1] == hash[1]) {
                return at;
            }
            at += 1;
            if at == self.slots.len() {
                at = 0;
            }
        }
    }

    /// The last offset of a key, -1 if there is none.
    #[inline]
    pub fn get(&self, hash: KeyHash) -> i64 {
        self.slots[self.find(hash)][2] as i64 - 1
    }

    /// False if it is full: nothing was put then. Offsets come in ascending order.
    #[inline]
    pub fn put(&mut self, hash: KeyHash, offset: i64) -> bool {
        if self.used >= self.max_used {
            return false;
        }
        let at = self.find(hash);
        self.used += usize::from(self.slots[at][2] == 0);
        self.slots[at] = [hash[0], hash[1], offset as u64 + 1];
        self.latest = offset;
        true
    }

    /// All below and at this offset is in the map; -1 at first.
    pub fn latest_offset(&self) -> i64 {
        self.latest
    }

    pub fn set_latest_offset(&mut self, offset: i64) {
        self.latest = offset;
    }

    /// Of its slots, the share in use.
    pub fn utilization(&self) -> f64 {
        self.used as f64 / self.slots.len() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(slots: usize, load_factor: f64) -> OffsetMap {
        OffsetMap::new(slots * BYTES_PER_ENTRY, load_factor, [1, 2]).unwrap()
    }

    #[test]
    fn it_says_the_last_offset_of_each_key() {
        let mut map = map(1000, 0.9);
        let hash = |map: &OffsetMap, n: u32| map.hash(&n.to_be_bytes());
        for offset in 0..5000i64 {
            assert!(map.put(hash(&map, offset as u32 % 700), offset));
        }
        for n in 0..700 {
            let last = (0..5000).rfind(|offset| offset % 700 == n).unwrap();
            assert_eq!(map.get(hash(&map, n as u32)), last);
        }
        assert_eq!(map.get(hash(&map, 700)), -1);
        assert_eq!((map.latest_offset(), map.utilization()), (4999, 0.7));
    }

    #[test]
    fn full_is_full_and_one_slot_stays_free() {
        for (slots, load_factor, fitting) in [(10, 0.5, 5), (10, 1.0, 9), (2, 0.9, 1)] {
            let mut map = map(slots, load_factor);
            let taken = (0..20u8).take_while(|n| map.put(map.hash(&[*n]), i64::from(*n))).count();
            assert_eq!((taken, map.latest_offset()), (fitting, fitting as i64 - 1));
            // As in Kafka, not even a key that is there already.
            assert!(!map.put(map.hash(&[0]), 99));
            assert_eq!(map.get(map.hash(&[30])), -1);
        }
        assert!(OffsetMap::new(BYTES_PER_ENTRY, 0.9, [0; 2]).is_none());
    }
}
