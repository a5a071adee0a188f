//! What the metadata log says, up to some offset. Cheap to clone: a clone shares everything that does not change after it.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::Uuid;
use rpds::RedBlackTreeMapSync;
use wire::{AccessControlEntryRecord, DelegationTokenRecord, UserScramCredentialRecord};

use super::brokers::{BrokerRegistration, ControllerRegistration};
use super::configs::ConfigsImage;
use super::features::{ELIGIBLE_LEADER_REPLICAS_VERSION, MetadataVersion};
use super::topics::TopicsImage;

/// The last record that an image contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Provenance {
    pub offset: i64,
    pub epoch: i32,
}

impl Provenance {
    pub const EMPTY: Provenance = Provenance { offset: -1, epoch: -1 };
}

/// User, client id or ip, by entity type; no name is the default of the type.
pub type QuotaEntity = BTreeMap<String, Option<String>>;

#[derive(Debug, Clone, PartialEq)]
pub struct MetadataImage {
    pub provenance: Provenance,
    /// Unset in a log that has no records yet.
    pub metadata_version: Option<MetadataVersion>,
    /// Finalized levels above 0, without metadata.version.
    pub features: RedBlackTreeMapSync<String, i16>,
    pub brokers: RedBlackTreeMapSync<i32, Arc<BrokerRegistration>>,
    pub controllers: RedBlackTreeMapSync<i32, Arc<ControllerRegistration>>,
    pub topics: TopicsImage,
    pub configs: ConfigsImage,
    pub client_quotas: RedBlackTreeMapSync<QuotaEntity, Arc<BTreeMap<String, f64>>>,
    /// The first id of the next block; none was given out while it is 0 or less.
    pub next_producer_id: i64,
    pub acls: RedBlackTreeMapSync<Uuid, Arc<AccessControlEntryRecord>>,
    /// By mechanism, then user.
    pub scram_credentials: RedBlackTreeMapSync<(i8, String), Arc<UserScramCredentialRecord>>,
    pub delegation_tokens: RedBlackTreeMapSync<String, Arc<DelegationTokenRecord>>,
}

impl Default for MetadataImage {
    fn default() -> Self {
        MetadataImage {
            provenance: Provenance::EMPTY,
            metadata_version: None,
            features: RedBlackTreeMapSync::default(),
            brokers: RedBlackTreeMapSync::default(),
            controllers: RedBlackTreeMapSync::default(),
            topics: TopicsImage::default(),
            configs: ConfigsImage::default(),
            client_quotas: RedBlackTreeMapSync::default(),
            next_producer_id: -1,
            acls: RedBlackTreeMapSync::default(),
            scram_credentials: RedBlackTreeMapSync::default(),
            delegation_tokens: RedBlackTreeMapSync::default(),
        }
    }
}

impl MetadataImage {
    /// The log's metadata.version; before it is known, the oldest one, which promises least.
    pub fn metadata_version(&self) -> MetadataVersion {
        self.metadata_version.unwrap_or(MetadataVersion::MINIMUM)
    }

    pub fn feature_level(&self, name: &str) -> i16 {
        if name == super::features::METADATA_VERSION {
            return self.metadata_version.map_or(0, |v| v.0);
        }
        self.features.get(name).copied().unwrap_or(0)
    }

    pub fn elr_enabled(&self) -> bool {
        self.feature_level(ELIGIBLE_LEADER_REPLICAS_VERSION) >= 1
    }

    pub fn broker(&self, id: i32) -> Option<&BrokerRegistration> {
        self.brokers.get(&id).map(Arc::as_ref)
    }

    /// Registered, unfenced and not on its way out.
    pub fn broker_active(&self, id: i32) -> bool {
        self.broker(id).is_some_and(BrokerRegistration::active)
    }

    /// Brokers that clients may be told of, in the order of their ids.
    pub fn alive_brokers(&self) -> impl Iterator<Item = &BrokerRegistration> {
        self.brokers.values().map(Arc::as_ref).filter(|b| !b.fenced)
    }

    /// Whether two images say the same, whatever offset each was read to.
    pub fn same_content(&self, other: &MetadataImage) -> bool {
        self.differs_in(other).is_empty()
    }

    /// What two images do not say alike; but for the offsets of registrations, as a snapshot has them where it ends.
    pub fn differs_in(&self, other: &MetadataImage) -> Vec<&'static str> {
        let same_broker = |one: &BrokerRegistration, other: &BrokerRegistration| {
            let record_offset = other.record_offset;
            one == other || BrokerRegistration { record_offset, ..one.clone() } == *other
        };
        let mut brokers = self.brokers.values().zip(other.brokers.values());
        let same_brokers = self.brokers.size() == other.brokers.size()
            && brokers.all(|(one, other)| same_broker(one, other));
        let features = (self.metadata_version, &self.features);
        let parts = [
            ("features", features == (other.metadata_version, &other.features)),
            ("brokers", same_brokers),
            ("controllers", self.controllers == other.controllers),
            ("topics", self.topics == other.topics),
            ("configurations", self.configs == other.configs),
            ("quotas", self.client_quotas == other.client_quotas),
            ("producer ids", self.next_producer_id == other.next_producer_id),
            ("ACLs", self.acls == other.acls),
            ("SCRAM credentials", self.scram_credentials == other.scram_credentials),
            ("delegation tokens", self.delegation_tokens == other.delegation_tokens),
        ];
        parts.into_iter().filter(|(_, same)| !same).map(|(part, _)| part).collect()
    }
}
