//! The last offset of each key, in bounded memory (Kafka: `SkimpyOffsetMap`): a hash of the key stands for the key.

use super::sip::{HashKey, sip128};

/// Bytes that a key takes, as in Kafka: its hash and its offset.
pub(crate) const BYTES_PER_ENTRY: usize = 24;

/// Slots at first. Memory that nothing was written to yet is the kernel's to find, and appends beside the pass wait while it does.
const FIRST_SLOTS: usize = 1024;

/// Open addressing with linear probing. A slot is the hash and the offset plus one, 0 where the slot is free. While more than
/// half of the slots are in use they double, in place, up to the most that the memory holds.
#[derive(Debug, Default)]
pub(crate) struct OffsetMap {
    slots: Vec<[u64; 3]>,
    key: HashKey,
    used: usize,
    max_slots: usize,
    max_used: usize,
    latest: i64,
}

pub(crate) type KeyHash = [u64; 2];

impl OffsetMap {
    /// `None` where not even one key fits.
    pub fn new(bytes: usize, load_factor: f64, key: HashKey) -> Option<OffsetMap> {
        let max_slots = bytes / BYTES_PER_ENTRY;
        // One slot always stays free: a search ends there.
        let max_used = ((max_slots as f64 * load_factor) as usize).min(max_slots.saturating_sub(1));
        (max_used > 0).then(|| {
            let mut slots = Vec::with_capacity(max_slots);
            slots.resize(FIRST_SLOTS.min(max_slots), [0; 3]);
            OffsetMap { slots, key, used: 0, max_slots, max_used, latest: -1 }
        })
    }

    /// From the last slot on to the first: a key's place among more slots is not before its old one, but for those that were put
    /// off past it by others, or past the end.
    fn grow(&mut self) {
        let old = self.slots.len();
        self.slots.resize((2 * old).min(self.max_slots), [0; 3]);
        let mut put_off = Vec::new();
        for from in (0..old).rev() {
            let slot = std::mem::take(&mut self.slots[from]);
            if slot[2] == 0 {
                continue;
            }
            let home = self.home([slot[0], slot[1]]);
            // Below it lies what has not moved yet, and would leave a gap in a search that went over it.
            let free = (home >= from)
                .then(|| self.slots[home..].iter().position(|slot| slot[2] == 0))
                .flatten();
            match free {
                Some(free) => self.slots[home + free] = slot,
                None => put_off.push(slot),
            }
        }
        for slot in put_off {
            let at = self.find([slot[0], slot[1]]);
            self.slots[at] = slot;
        }
    }

    #[inline]
    fn home(&self, hash: KeyHash) -> usize {
        ((u128::from(hash[0]) * self.slots.len() as u128) >> 64) as usize
    }

    #[inline]
    pub fn hash(&self, key: &[u8]) -> KeyHash {
        sip128(self.key, key)
    }

    /// The slot that has the hash, or the free one where it would be.
    #[inline]
    fn find(&self, hash: KeyHash) -> usize {
        let mut at = self.home(hash);
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
        if self.used > self.slots.len() / 2 && self.slots.len() < self.max_slots {
            self.grow();
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

    /// Of the slots that its memory holds, the share in use.
    pub fn utilization(&self) -> f64 {
        self.used as f64 / self.max_slots as f64
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

    /// Also where searches go on at the first slot, and keys stand far behind their places.
    #[test]
    fn it_takes_memory_as_keys_come_and_finds_them_all() {
        let mut map = map(20_000, 0.9);
        let mut random = 1u64;
        let mut hashes = Vec::new();
        for n in 0..18_000 {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let crowded = match n % 8 {
                0 => random | 0xffc0_0000_0000_0000,
                1 => random >> 10,
                _ => random,
            };
            assert!(map.slots.len() <= 2 * FIRST_SLOTS.max(2 * hashes.len()), "{n}");
            hashes.push([crowded, n]);
            assert!(map.put([crowded, n], n as i64));
            if n.is_power_of_two() || n % 1000 == 0 || map.slots.len() / 2 == hashes.len() - 2 {
                for (offset, hash) in hashes.iter().enumerate() {
                    assert_eq!(map.get(*hash), offset as i64, "after {n}");
                }
            }
        }
        assert_eq!((map.slots.len(), map.slots.capacity()), (20_000, 20_000));
        assert!(!map.put([1, u64::MAX], 18_000), "as full as it may be");
        assert_eq!(map.utilization(), 0.9);
        assert!(hashes.iter().enumerate().all(|(offset, hash)| map.get(*hash) == offset as i64));
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
