//! Maps whose order does not change from run to run.

use std::collections::BTreeMap;

/// The usual map. Also the one for keys that a peer chooses: nothing it sends makes a lookup slow.
pub type Map<K, V> = BTreeMap<K, V>;

/// For hot lookups by keys that nobody outside can choose.
#[expect(clippy::disallowed_types, reason = "its hasher is fixed")]
pub type FastMap<K, V> = std::collections::HashMap<K, V, FixedHasher>;

/// The hasher of [`FastMap`]: the same in every run.
pub type FixedHasher = foldhash::fast::FixedState;
