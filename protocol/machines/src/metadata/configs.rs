//! Dynamic configuration, by resource.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::settings::Resource;
use rpds::RedBlackTreeMapSync;

/// A broker resource with an empty name is the default of all brokers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfigResource {
    pub kind: Resource,
    pub name: String,
}

impl ConfigResource {
    pub fn topic(name: impl Into<String>) -> ConfigResource {
        ConfigResource { kind: Resource::Topic, name: name.into() }
    }

    pub fn broker(id: i32) -> ConfigResource {
        ConfigResource { kind: Resource::Broker, name: id.to_string() }
    }

    pub fn broker_default() -> ConfigResource {
        ConfigResource { kind: Resource::Broker, name: String::new() }
    }
}

pub type Configs = BTreeMap<String, String>;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConfigsImage {
    pub(super) by_resource: RedBlackTreeMapSync<ConfigResource, Arc<Configs>>,
}

static NONE: Configs = BTreeMap::new();

impl ConfigsImage {
    /// What is set on the resource itself; what it inherits is the caller's to add.
    pub fn of(&self, resource: &ConfigResource) -> &Configs {
        self.by_resource.get(resource).map_or(&NONE, Arc::as_ref)
    }

    pub fn get(&self, resource: &ConfigResource, key: &str) -> Option<&str> {
        self.of(resource).get(key).map(String::as_str)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&ConfigResource, &Configs)> {
        self.by_resource.iter().map(|(resource, configs)| (resource, configs.as_ref()))
    }

    pub(super) fn put(&mut self, resource: ConfigResource, key: String, value: Option<String>) {
        let mut configs = self.by_resource.get(&resource).cloned().unwrap_or_default();
        let map = Arc::make_mut(&mut configs);
        match value {
            Some(value) => map.insert(key, value),
            None => map.remove(&key),
        };
        if map.is_empty() {
            self.by_resource.remove_mut(&resource);
        } else {
            self.by_resource.insert_mut(resource, configs);
        }
    }

    pub(super) fn remove(&mut self, resource: &ConfigResource) {
        self.by_resource.remove_mut(resource);
    }
}
