use std::hash::{BuildHasher, Hash};
use std::sync::{PoisonError, RwLock};

use crate::map::{FastMap, FixedHasher};

const SHARDS: usize = 16;

/// Who is where: handles by key, for many readers at once. A handle outlives the restarts of the actor behind it.
#[derive(Debug)]
pub struct Directory<K, V> {
    shards: [RwLock<FastMap<K, V>>; SHARDS],
    hasher: FixedHasher,
}

impl<K: Hash + Eq + Ord + Clone, V: Clone> Directory<K, V> {
    pub fn new() -> Self {
        Directory {
            shards: std::array::from_fn(|_| RwLock::new(FastMap::default())),
            hasher: FixedHasher::default(),
        }
    }

    fn shard<Q: Hash + ?Sized>(&self, key: &Q) -> &RwLock<FastMap<K, V>> {
        // The maps inside use the low bits of the same hash.
        &self.shards[(self.hasher.hash_one(key) >> 57) as usize % SHARDS]
    }

    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: std::borrow::Borrow<Q>,
    {
        self.shard(key).read().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// What was there before.
    pub fn insert(&self, key: K, value: V) -> Option<V> {
        self.shard(&key).write().unwrap_or_else(PoisonError::into_inner).insert(key, value)
    }

    pub fn remove<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: std::borrow::Borrow<Q>,
    {
        self.shard(key).write().unwrap_or_else(PoisonError::into_inner).remove(key)
    }

    /// All entries, sorted by key.
    pub fn entries(&self) -> Vec<(K, V)> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            all.extend(shard.iter().map(|(k, v)| (k.clone(), v.clone())));
        }
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        all
    }

    pub fn len(&self) -> usize {
        let len =
            |s: &RwLock<FastMap<K, V>>| s.read().unwrap_or_else(PoisonError::into_inner).len();
        self.shards.iter().map(len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K: Hash + Eq + Ord + Clone, V: Clone> Default for Directory<K, V> {
    fn default() -> Self {
        Self::new()
    }
}
