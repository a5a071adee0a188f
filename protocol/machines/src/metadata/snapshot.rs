//! An image as the records of a snapshot, in Kafka's order, and the version in which each record is written.

use wire::client_quota_record::EntityData;
use wire::{
    ClientQuotaRecord, ConfigRecord, FeatureLevelRecord, MetadataRecord, ProducerIdsRecord,
    TopicRecord,
};

use super::features::{METADATA_VERSION, MetadataVersion};
use super::image::MetadataImage;

/// The version a record has in a log of this metadata.version: the lowest that holds all it says.
pub fn record_version(record: &MetadataRecord, metadata_version: MetadataVersion) -> i16 {
    match record {
        MetadataRecord::RegisterBroker(_) => metadata_version.register_broker_record(),
        MetadataRecord::Partition(_) | MetadataRecord::PartitionChange(_) => {
            metadata_version.partition_record()
        }
        MetadataRecord::BrokerRegistrationChange(r) => {
            if r.cordoned_log_dirs.is_some() {
                3
            } else if !r.log_dirs.is_empty() {
                2
            } else {
                i16::from(r.in_controlled_shutdown != 0)
            }
        }
        _ => 0,
    }
}

impl MetadataImage {
    /// Replayed onto an empty image, they make this one again, but for what this metadata.version cannot say and where the
    /// brokers' registrations stood in the log.
    pub fn to_records(&self) -> Vec<MetadataRecord> {
        let version = self.metadata_version();
        let mut out = Vec::new();
        self.write_features(&mut out);
        out.extend(
            self.brokers.values().map(|b| MetadataRecord::RegisterBroker(b.to_record(version))),
        );
        if version.controller_registration() {
            out.extend(
                self.controllers
                    .values()
                    .map(|c| MetadataRecord::RegisterController(c.to_record())),
            );
        }
        for topic in self.topics.iter() {
            let record =
                TopicRecord { name: topic.name.clone(), topic_id: topic.id, ..Default::default() };
            out.push(MetadataRecord::Topic(record));
            let partitions = topic.partitions.iter();
            out.extend(
                partitions
                    .map(|(id, p)| MetadataRecord::Partition(p.to_record(topic.id, *id, version))),
            );
        }
        self.write_configs(&mut out);
        self.write_quotas(&mut out);
        if self.next_producer_id >= 0 {
            out.push(MetadataRecord::ProducerIds(ProducerIdsRecord {
                broker_id: -1,
                broker_epoch: -1,
                next_producer_id: self.next_producer_id,
                ..Default::default()
            }));
        }
        out.extend(
            self.acls.values().map(|r| MetadataRecord::AccessControlEntry(r.as_ref().clone())),
        );
        if version.scram() {
            let credentials = self.scram_credentials.values();
            out.extend(
                credentials.map(|r| MetadataRecord::UserScramCredential(r.as_ref().clone())),
            );
        }
        if version.delegation_tokens() {
            let tokens = self.delegation_tokens.values();
            out.extend(tokens.map(|r| MetadataRecord::DelegationToken(r.as_ref().clone())));
        }
        out
    }

    fn write_features(&self, out: &mut Vec<MetadataRecord>) {
        let Some(version) = self.metadata_version else { return };
        out.push(feature_level(METADATA_VERSION, version.0));
        out.extend(self.features.iter().map(|(name, level)| feature_level(name, *level)));
    }

    fn write_configs(&self, out: &mut Vec<MetadataRecord>) {
        for (resource, configs) in self.configs.iter() {
            out.extend(configs.iter().map(|(name, value)| {
                MetadataRecord::Config(ConfigRecord {
                    resource_type: resource.kind.code(),
                    resource_name: resource.name.clone(),
                    name: name.clone(),
                    value: Some(value.clone()),
                    ..Default::default()
                })
            }));
        }
    }

    fn write_quotas(&self, out: &mut Vec<MetadataRecord>) {
        for (entity, quotas) in self.client_quotas.iter() {
            let entity: Vec<EntityData> = entity
                .iter()
                .map(|(entity_type, entity_name)| EntityData {
                    entity_type: entity_type.clone(),
                    entity_name: entity_name.clone(),
                    ..Default::default()
                })
                .collect();
            out.extend(quotas.iter().map(|(key, value)| {
                MetadataRecord::ClientQuota(ClientQuotaRecord {
                    entity: entity.clone(),
                    key: key.clone(),
                    value: *value,
                    remove: false,
                    ..Default::default()
                })
            }));
        }
    }
}

pub fn feature_level(name: &str, level: i16) -> MetadataRecord {
    MetadataRecord::FeatureLevel(FeatureLevelRecord {
        name: name.to_owned(),
        feature_level: level,
        ..Default::default()
    })
}
