//! One record onto an image.

use std::sync::Arc;

use bytes::Bytes;
use model::Uuid;
use model::settings::Resource;
use wire::{
    BrokerRegistrationChangeRecord, ClearElrRecord, ClientQuotaRecord, ConfigRecord,
    FeatureLevelRecord, MetadataRecord, PartitionChangeRecord, PartitionRecord, ProducerIdsRecord,
    TopicRecord, UnregisterBrokerRecord, UserScramCredentialRecord,
};

use super::brokers::{BrokerRegistration, ControllerRegistration};
use super::configs::ConfigResource;
use super::features::{KRAFT_VERSION, METADATA_VERSION, MetadataVersion};
use super::image::{MetadataImage, Provenance, QuotaEntity};
use super::topics::{PartitionRecordError, PartitionRegistration, TopicImage};

/// A record that contradicts what the log said before it. The log is then not to be trusted, and nothing is built upon it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    #[error("offset {offset}: no topic with id {topic_id}")]
    UnknownTopic { offset: i64, topic_id: Uuid },
    #[error("offset {offset}: no topic named {name}")]
    UnknownTopicName { offset: i64, name: String },
    #[error("offset {offset}: topic {topic_id} has no partition {partition}")]
    UnknownPartition { offset: i64, topic_id: Uuid, partition: i32 },
    #[error("offset {offset}: partition {partition} of topic {topic_id}: {cause}")]
    Partition { offset: i64, topic_id: Uuid, partition: i32, cause: PartitionRecordError },
    #[error("offset {offset}: the topic {name} exists with id {existing}")]
    TopicExists { offset: i64, name: String, existing: Uuid },
    #[error("offset {offset}: broker {broker} is not registered with epoch {epoch}")]
    UnknownBroker { offset: i64, broker: i32, epoch: i64 },
    #[error("offset {offset}: metadata.version {level} is not known to this release")]
    MetadataVersion { offset: i64, level: i16 },
    #[error("offset {offset}: unknown config resource type {kind}")]
    ConfigResourceType { offset: i64, kind: i8 },
    #[error("offset {offset}: the next producer id {next} is not above {current}")]
    ProducerIds { offset: i64, next: i64, current: i64 },
    #[error("offset {offset}: {what} is unknown")]
    Unknown { offset: i64, what: String },
    #[error("offset {offset}: a metadata transaction begins within another")]
    NestedTransaction { offset: i64 },
    #[error("offset {offset}: a metadata transaction ends that never began")]
    NoTransaction { offset: i64 },
}

impl MetadataImage {
    /// Takes the record in. Transactions are the loader's: here their marks change nothing but the offset.
    pub fn replay(
        &mut self,
        record: &MetadataRecord,
        offset: i64,
        epoch: i32,
    ) -> Result<(), ReplayError> {
        match record {
            MetadataRecord::FeatureLevel(r) => self.replay_feature(r, offset)?,
            MetadataRecord::Topic(r) => self.replay_topic(r, offset)?,
            MetadataRecord::RemoveTopic(r) => self.replay_remove_topic(r.topic_id, offset)?,
            MetadataRecord::Partition(r) => self.replay_partition(r, offset)?,
            MetadataRecord::PartitionChange(r) => self.replay_partition_change(r, offset)?,
            MetadataRecord::ClearElr(r) => self.replay_clear_elr(r, offset)?,
            MetadataRecord::Config(r) => self.replay_config(r, offset)?,
            MetadataRecord::ProducerIds(r) => self.replay_producer_ids(r, offset)?,
            MetadataRecord::ClientQuota(r) => self.replay_client_quota(r),
            MetadataRecord::NoOp(_)
            | MetadataRecord::ZkMigrationState(_)
            | MetadataRecord::BeginTransaction(_)
            | MetadataRecord::EndTransaction(_)
            | MetadataRecord::AbortTransaction(_) => {}
            other => self.replay_node_or_security(other, offset)?,
        }
        self.provenance = Provenance { offset, epoch };
        Ok(())
    }

    fn replay_node_or_security(
        &mut self,
        record: &MetadataRecord,
        offset: i64,
    ) -> Result<(), ReplayError> {
        match record {
            MetadataRecord::RegisterBroker(r) => {
                let registration = BrokerRegistration::from_record(r, offset);
                self.brokers.insert_mut(r.broker_id, Arc::new(registration));
            }
            MetadataRecord::UnregisterBroker(r) => self.replay_unregister_broker(r, offset)?,
            MetadataRecord::FenceBroker(r) => {
                self.change_broker(r.id, r.epoch, offset, |b| b.fenced = true)?
            }
            MetadataRecord::UnfenceBroker(r) => {
                self.change_broker(r.id, r.epoch, offset, |b| b.fenced = false)?
            }
            MetadataRecord::BrokerRegistrationChange(r) => self.replay_broker_change(r, offset)?,
            MetadataRecord::RegisterController(r) => {
                let registration = ControllerRegistration::from_record(r);
                self.controllers.insert_mut(r.controller_id, Arc::new(registration));
            }
            MetadataRecord::UnregisterController(r) => {
                let known = self.controllers.remove_mut(&r.controller_id);
                unknown_unless(known, offset, || format!("controller {}", r.controller_id))?;
            }
            MetadataRecord::AccessControlEntry(r) => {
                self.acls.insert_mut(r.id, Arc::new(r.clone()))
            }
            MetadataRecord::RemoveAccessControlEntry(r) => {
                let known = self.acls.remove_mut(&r.id);
                unknown_unless(known, offset, || format!("ACL {}", r.id))?;
            }
            MetadataRecord::UserScramCredential(r) => {
                self.scram_credentials
                    .insert_mut((r.mechanism, r.name.clone()), Arc::new(owned(r)));
            }
            MetadataRecord::RemoveUserScramCredential(r) => {
                let known = self.scram_credentials.remove_mut(&(r.mechanism, r.name.clone()));
                unknown_unless(known, offset, || format!("SCRAM credential of {}", r.name))?;
            }
            MetadataRecord::DelegationToken(r) => {
                self.delegation_tokens.insert_mut(r.token_id.clone(), Arc::new(r.clone()));
            }
            MetadataRecord::RemoveDelegationToken(r) => {
                self.delegation_tokens.remove_mut(&r.token_id);
            }
            _ => {}
        }
        Ok(())
    }

    fn replay_feature(&mut self, r: &FeatureLevelRecord, offset: i64) -> Result<(), ReplayError> {
        if r.name == METADATA_VERSION {
            let version = MetadataVersion::from_level(r.feature_level)
                .ok_or(ReplayError::MetadataVersion { offset, level: r.feature_level })?;
            self.metadata_version = Some(version);
        } else if r.feature_level == 0 {
            self.features.remove_mut(&r.name);
        } else if r.name != KRAFT_VERSION {
            self.features.insert_mut(r.name.clone(), r.feature_level);
        }
        Ok(())
    }

    fn replay_topic(&mut self, r: &TopicRecord, offset: i64) -> Result<(), ReplayError> {
        if let Some(existing) = self.topics.id_of(&r.name) {
            return Err(ReplayError::TopicExists { offset, name: r.name.clone(), existing });
        }
        self.topics.insert(TopicImage::new(r.topic_id, r.name.clone()));
        Ok(())
    }

    fn replay_remove_topic(&mut self, topic_id: Uuid, offset: i64) -> Result<(), ReplayError> {
        let topic =
            self.topics.remove(topic_id).ok_or(ReplayError::UnknownTopic { offset, topic_id })?;
        self.configs.remove(&ConfigResource::topic(topic.name.as_str()));
        Ok(())
    }

    fn replay_partition(&mut self, r: &PartitionRecord, offset: i64) -> Result<(), ReplayError> {
        let (topic_id, partition) = (r.topic_id, r.partition_id);
        let registration = PartitionRegistration::from_record(r)
            .map_err(|cause| ReplayError::Partition { offset, topic_id, partition, cause })?;
        if self.topics.put_partition(topic_id, partition, registration) {
            Ok(())
        } else {
            Err(ReplayError::UnknownTopic { offset, topic_id })
        }
    }

    fn replay_partition_change(
        &mut self,
        r: &PartitionChangeRecord,
        offset: i64,
    ) -> Result<(), ReplayError> {
        let (topic_id, partition) = (r.topic_id, r.partition_id);
        let before = self
            .topics
            .partition(topic_id, partition)
            .ok_or(ReplayError::UnknownPartition { offset, topic_id, partition })?;
        let after = before.merge(r).map_err(|cause| ReplayError::Partition {
            offset,
            topic_id,
            partition,
            cause,
        })?;
        self.topics.put_partition(topic_id, partition, after);
        Ok(())
    }

    /// Of one topic, or of all where it names none. Counts as a change of each partition that had any.
    fn replay_clear_elr(&mut self, r: &ClearElrRecord, offset: i64) -> Result<(), ReplayError> {
        let ids: Vec<Uuid> = if r.topic_name.is_empty() {
            self.topics.iter().map(|t| t.id).collect()
        } else {
            let id = self.topics.id_of(&r.topic_name);
            vec![id.ok_or_else(|| ReplayError::UnknownTopicName {
                offset,
                name: r.topic_name.clone(),
            })?]
        };
        for id in ids {
            let Some(topic) = self.topics.by_id(id).cloned() else { continue };
            for (partition, p) in topic.partitions.iter() {
                if p.elr.is_empty() && p.last_known_elr.is_empty() {
                    continue;
                }
                let cleared = PartitionRegistration {
                    elr: Vec::new(),
                    last_known_elr: Vec::new(),
                    partition_epoch: p.partition_epoch.wrapping_add(1),
                    ..PartitionRegistration::clone(p)
                };
                self.topics.put_partition(id, *partition, cleared);
            }
        }
        Ok(())
    }

    fn replay_config(&mut self, r: &ConfigRecord, offset: i64) -> Result<(), ReplayError> {
        let kind = Resource::from_code(r.resource_type)
            .ok_or(ReplayError::ConfigResourceType { offset, kind: r.resource_type })?;
        let resource = ConfigResource { kind, name: r.resource_name.clone() };
        self.configs.put(resource, r.name.clone(), r.value.clone());
        Ok(())
    }

    fn replay_producer_ids(
        &mut self,
        r: &ProducerIdsRecord,
        offset: i64,
    ) -> Result<(), ReplayError> {
        if self.next_producer_id > 0 && r.next_producer_id <= self.next_producer_id {
            let (next, current) = (r.next_producer_id, self.next_producer_id);
            return Err(ReplayError::ProducerIds { offset, next, current });
        }
        self.next_producer_id = r.next_producer_id;
        Ok(())
    }

    fn replay_client_quota(&mut self, r: &ClientQuotaRecord) {
        let entity: QuotaEntity =
            r.entity.iter().map(|e| (e.entity_type.clone(), e.entity_name.clone())).collect();
        let mut quotas = self.client_quotas.get(&entity).cloned().unwrap_or_default();
        let map = Arc::make_mut(&mut quotas);
        if r.remove {
            map.remove(&r.key);
        } else {
            map.insert(r.key.clone(), r.value);
        }
        if map.is_empty() {
            self.client_quotas.remove_mut(&entity);
        } else {
            self.client_quotas.insert_mut(entity, quotas);
        }
    }

    fn replay_unregister_broker(
        &mut self,
        r: &UnregisterBrokerRecord,
        offset: i64,
    ) -> Result<(), ReplayError> {
        match self.broker(r.broker_id) {
            Some(b) if b.epoch == r.broker_epoch => {
                self.brokers.remove_mut(&r.broker_id);
                Ok(())
            }
            _ => Err(ReplayError::UnknownBroker {
                offset,
                broker: r.broker_id,
                epoch: r.broker_epoch,
            }),
        }
    }

    fn replay_broker_change(
        &mut self,
        r: &BrokerRegistrationChangeRecord,
        offset: i64,
    ) -> Result<(), ReplayError> {
        let odd = |field: &str, value: i8| ReplayError::Unknown {
            offset,
            what: format!("{field} change {value}"),
        };
        if !(-1..=1).contains(&r.fenced) {
            return Err(odd("fenced", r.fenced));
        }
        if !(0..=1).contains(&r.in_controlled_shutdown) {
            return Err(odd("in-controlled-shutdown", r.in_controlled_shutdown));
        }
        self.change_broker(r.broker_id, r.broker_epoch, offset, |b| {
            match r.fenced {
                1 => b.fenced = true,
                -1 => b.fenced = false,
                _ => {}
            }
            if r.in_controlled_shutdown == 1 {
                b.in_controlled_shutdown = true;
            }
            if !r.log_dirs.is_empty() {
                b.directories.clone_from(&r.log_dirs);
                b.directories.sort();
            }
            if let Some(cordoned) = &r.cordoned_log_dirs {
                b.cordoned_directories = Some(cordoned.clone());
            }
        })
    }

    fn change_broker(
        &mut self,
        id: i32,
        epoch: i64,
        offset: i64,
        change: impl FnOnce(&mut BrokerRegistration),
    ) -> Result<(), ReplayError> {
        match self.brokers.get_mut(&id) {
            Some(broker) if broker.epoch == epoch => {
                change(Arc::make_mut(broker));
                Ok(())
            }
            _ => Err(ReplayError::UnknownBroker { offset, broker: id, epoch }),
        }
    }
}

/// Apart from the batch that it was read from, which would otherwise be kept for its sake.
fn owned(r: &UserScramCredentialRecord) -> UserScramCredentialRecord {
    UserScramCredentialRecord {
        salt: Bytes::copy_from_slice(&r.salt),
        stored_key: Bytes::copy_from_slice(&r.stored_key),
        server_key: Bytes::copy_from_slice(&r.server_key),
        ..r.clone()
    }
}

fn unknown_unless(
    known: bool,
    offset: i64,
    what: impl FnOnce() -> String,
) -> Result<(), ReplayError> {
    if known { Ok(()) } else { Err(ReplayError::Unknown { offset, what: what() }) }
}
