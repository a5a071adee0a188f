//! What differs between two images: what the publisher tells the broker's actors.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use rpds::RedBlackTreeMapSync;

use super::configs::ConfigResource;
use super::image::MetadataImage;
use super::topics::{PartitionRegistration, TopicImage};

#[derive(Debug, Clone, PartialEq)]
pub struct PartitionDelta {
    pub topic: Arc<TopicImage>,
    pub partition: i32,
    /// None where the partition is new.
    pub before: Option<Arc<PartitionRegistration>>,
    pub after: Arc<PartitionRegistration>,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct MetadataDelta {
    pub created_topics: Vec<Arc<TopicImage>>,
    /// As they were. A topic that was deleted and made anew is in both lists, under two ids.
    pub deleted_topics: Vec<Arc<TopicImage>>,
    /// Every partition of the created topics, and those of the others that were added or changed.
    pub partitions: Vec<PartitionDelta>,
    pub configs: Vec<ConfigResource>,
    /// Registered, changed or gone.
    pub brokers: Vec<i32>,
    pub controllers: Vec<i32>,
    /// With the level they have now; 0 where they are gone.
    pub features: BTreeMap<String, i16>,
    pub client_quotas: bool,
    pub acls: bool,
    pub scram_credentials: bool,
    pub delegation_tokens: bool,
}

impl MetadataDelta {
    /// What both images share is passed over by its address: the cost is that of walking the topics, not of comparing them.
    pub fn between(before: &MetadataImage, after: &MetadataImage) -> MetadataDelta {
        let mut delta = MetadataDelta::default();
        for change in changes(before.topics.map(), after.topics.map()) {
            match change {
                (Some(old), None) => delta.deleted_topics.push(old.clone()),
                (None, Some(new)) => {
                    delta.created_topics.push(new.clone());
                    delta.compare_partitions(&RedBlackTreeMapSync::default(), new);
                }
                (Some(old), Some(new)) => delta.compare_partitions(&old.partitions, new),
                (None, None) => {}
            }
        }
        delta.configs = changed_keys(&before.configs.by_resource, &after.configs.by_resource);
        delta.brokers = changed_keys(&before.brokers, &after.brokers);
        delta.controllers = changed_keys(&before.controllers, &after.controllers);
        delta.compare_features(before, after);
        delta.client_quotas = differ(&before.client_quotas, &after.client_quotas);
        delta.acls = differ(&before.acls, &after.acls);
        delta.scram_credentials = differ(&before.scram_credentials, &after.scram_credentials);
        delta.delegation_tokens = differ(&before.delegation_tokens, &after.delegation_tokens);
        delta
    }

    pub fn is_empty(&self) -> bool {
        *self == MetadataDelta::default()
    }

    fn compare_partitions(&mut self, old: &Partitions, topic: &Arc<TopicImage>) {
        for (partition, before, after) in keyed_changes(old, &topic.partitions) {
            let Some(after) = after else { continue };
            self.partitions.push(PartitionDelta {
                topic: topic.clone(),
                partition: *partition,
                before: before.cloned(),
                after: after.clone(),
            });
        }
    }

    fn compare_features(&mut self, before: &MetadataImage, after: &MetadataImage) {
        if before.metadata_version != after.metadata_version {
            let name = super::features::METADATA_VERSION;
            self.features.insert(name.to_owned(), after.feature_level(name));
        }
        for name in before.features.keys().chain(after.features.keys()) {
            let level = after.feature_level(name);
            if before.feature_level(name) != level {
                self.features.insert(name.clone(), level);
            }
        }
    }
}

type Partitions = RedBlackTreeMapSync<i32, Arc<PartitionRegistration>>;
type Tree<K, V> = RedBlackTreeMapSync<K, Arc<V>>;
/// The key, what it had before, what it has after.
type KeyedChange<'a, K, V> = (&'a K, Option<&'a Arc<V>>, Option<&'a Arc<V>>);

fn keyed_changes<'a, K: Ord, V: PartialEq>(
    before: &'a Tree<K, V>,
    after: &'a Tree<K, V>,
) -> Vec<KeyedChange<'a, K, V>> {
    let (mut old, mut new) = (before.iter().peekable(), after.iter().peekable());
    let mut out = Vec::new();
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return out,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((a, _)), Some((b, _))) => a.cmp(b),
        };
        let left = if order.is_le() { old.next() } else { None };
        let right = if order.is_ge() { new.next() } else { None };
        match (left, right) {
            (Some((_, a)), Some((_, b))) if Arc::ptr_eq(a, b) || a == b => {}
            (left, right) => {
                if let Some(key) = left.or(right).map(|(key, _)| key) {
                    out.push((key, left.map(|(_, v)| v), right.map(|(_, v)| v)));
                }
            }
        }
    }
}

fn changes<'a, K: Ord, V: PartialEq>(
    before: &'a Tree<K, V>,
    after: &'a Tree<K, V>,
) -> impl Iterator<Item = (Option<&'a Arc<V>>, Option<&'a Arc<V>>)> {
    keyed_changes(before, after).into_iter().map(|(_, old, new)| (old, new))
}

fn changed_keys<K: Ord + Clone, V: PartialEq>(before: &Tree<K, V>, after: &Tree<K, V>) -> Vec<K> {
    keyed_changes(before, after).into_iter().map(|(key, _, _)| key.clone()).collect()
}

fn differ<K: Ord, V: PartialEq>(before: &Tree<K, V>, after: &Tree<K, V>) -> bool {
    !keyed_changes(before, after).is_empty()
}
