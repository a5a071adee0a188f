//! What the controller is asked, and what it answers.

use std::collections::BTreeSet;

use model::Now;
use wire::MetadataRecord;

use super::{Controller, ControllerEvent, QuorumVersion, of_records};

/// What the requester's rights cover.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Permitted {
    All,
    Only(BTreeSet<String>),
}

impl Permitted {
    pub fn allows(&self, name: &str) -> bool {
        match self {
            Permitted::All => true,
            Permitted::Only(names) => names.contains(name),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum ControllerRequest {
    RegisterBroker {
        request: wire::BrokerRegistrationRequest,
        version: i16,
        /// The level of `kraft.version`, which the quorum keeps.
        kraft_version: i16,
    },
    BrokerHeartbeat(wire::BrokerHeartbeatRequest),
    /// The broker's process was seen to be gone, so its session ends before its time.
    BrokerGone {
        broker_id: i32,
        broker_epoch: i64,
    },
    UnregisterBroker(wire::UnregisterBrokerRequest),
    RegisterController(wire::ControllerRegistrationRequest),
    UnregisterController(wire::UnregisterControllerRequest),
    CreateTopics {
        request: wire::CreateTopicsRequest,
        /// For topic ids and the placement of replicas.
        seed: u64,
        may_create: Permitted,
        may_describe_configs: Permitted,
    },
    DeleteTopics {
        request: wire::DeleteTopicsRequest,
        version: i16,
        may_describe: Permitted,
        may_delete: Permitted,
    },
    CreatePartitions {
        request: wire::CreatePartitionsRequest,
        seed: u64,
        may_alter: Permitted,
    },
    /// Resources that the requester may not alter are answered before they come here.
    IncrementalAlterConfigs {
        request: wire::IncrementalAlterConfigsRequest,
        /// By the broker concerned, which has checked it.
        forwarded: bool,
    },
    AlterConfigs {
        request: wire::AlterConfigsRequest,
        forwarded: bool,
    },
    AllocateProducerIds(wire::AllocateProducerIdsRequest),
    AlterPartition {
        request: wire::AlterPartitionRequest,
        version: i16,
    },
    AlterPartitionReassignments(wire::AlterPartitionReassignmentsRequest),
    ListPartitionReassignments(wire::ListPartitionReassignmentsRequest),
    ElectLeaders(wire::ElectLeadersRequest),
    UpdateFeatures {
        request: wire::UpdateFeaturesRequest,
        version: i16,
        quorum: QuorumVersion,
    },
    AssignReplicasToDirs(wire::AssignReplicasToDirsRequest),
}

/// The response of the request's kind. Throttle times are for whoever sends it to fill in.
#[derive(Debug, Clone, PartialEq)]
pub enum ControllerReply {
    RegisterBroker(wire::BrokerRegistrationResponse),
    BrokerHeartbeat(wire::BrokerHeartbeatResponse),
    BrokerGone,
    UnregisterBroker(wire::UnregisterBrokerResponse),
    RegisterController(wire::ControllerRegistrationResponse),
    UnregisterController(wire::UnregisterControllerResponse),
    CreateTopics(wire::CreateTopicsResponse),
    DeleteTopics(wire::DeleteTopicsResponse),
    CreatePartitions(wire::CreatePartitionsResponse),
    IncrementalAlterConfigs(wire::IncrementalAlterConfigsResponse),
    AlterConfigs(wire::AlterConfigsResponse),
    AllocateProducerIds(wire::AllocateProducerIdsResponse),
    AlterPartition(wire::AlterPartitionResponse),
    AlterPartitionReassignments(wire::AlterPartitionReassignmentsResponse),
    ListPartitionReassignments(wire::ListPartitionReassignmentsResponse),
    ElectLeaders(wire::ElectLeadersResponse),
    UpdateFeatures(wire::UpdateFeaturesResponse),
    AssignReplicasToDirs(wire::AssignReplicasToDirsResponse),
}

impl Controller {
    pub(super) fn answer(
        &self,
        now: Now,
        request: ControllerRequest,
    ) -> (Vec<ControllerEvent>, ControllerReply) {
        use {ControllerReply as Reply, ControllerRequest as Ask};
        match request {
            Ask::RegisterBroker { request, version, kraft_version } => with(
                self.register_broker(now, &request, version, kraft_version),
                Reply::RegisterBroker,
            ),
            Ask::BrokerHeartbeat(request) => {
                let (events, response) = self.broker_heartbeat(now, &request);
                (events, Reply::BrokerHeartbeat(response))
            }
            Ask::BrokerGone { broker_id, broker_epoch } => {
                (self.broker_gone(broker_id, broker_epoch), Reply::BrokerGone)
            }
            Ask::UnregisterBroker(request) => {
                with(self.unregister_broker(&request), Reply::UnregisterBroker)
            }
            Ask::RegisterController(request) => {
                with(self.register_controller(&request), Reply::RegisterController)
            }
            Ask::UnregisterController(request) => {
                with(self.unregister_controller(&request), Reply::UnregisterController)
            }
            Ask::CreateTopics { request, seed, may_create, may_describe_configs } => {
                let created =
                    self.create_topics(&request, seed, &may_create, &may_describe_configs);
                with(created, Reply::CreateTopics)
            }
            Ask::DeleteTopics { request, version, may_describe, may_delete } => with(
                self.delete_topics(&request, version, &may_describe, &may_delete),
                Reply::DeleteTopics,
            ),
            Ask::CreatePartitions { request, seed, may_alter } => {
                with(self.create_partitions(&request, seed, &may_alter), Reply::CreatePartitions)
            }
            Ask::IncrementalAlterConfigs { request, forwarded } => with(
                self.incremental_alter_configs(&request, forwarded),
                Reply::IncrementalAlterConfigs,
            ),
            Ask::AlterConfigs { request, forwarded } => {
                with(self.alter_configs(&request, forwarded), Reply::AlterConfigs)
            }
            Ask::AllocateProducerIds(request) => {
                with(self.allocate_producer_ids(&request), Reply::AllocateProducerIds)
            }
            Ask::AlterPartition { request, version } => {
                with(self.alter_partition(&request, version), Reply::AlterPartition)
            }
            Ask::AlterPartitionReassignments(request) => with(
                self.alter_partition_reassignments(&request),
                Reply::AlterPartitionReassignments,
            ),
            Ask::ListPartitionReassignments(request) => {
                let response = self.list_partition_reassignments(&request);
                (Vec::new(), Reply::ListPartitionReassignments(response))
            }
            Ask::ElectLeaders(request) => with(self.elect_leaders(&request), Reply::ElectLeaders),
            Ask::UpdateFeatures { request, version, quorum } => {
                with(self.update_features(&request, version, &quorum), Reply::UpdateFeatures)
            }
            Ask::AssignReplicasToDirs(request) => {
                with(self.assign_replicas_to_dirs(&request), Reply::AssignReplicasToDirs)
            }
        }
    }
}

fn with<R>(
    (records, response): (Vec<MetadataRecord>, R),
    reply: fn(R) -> ControllerReply,
) -> (Vec<ControllerEvent>, ControllerReply) {
    (of_records(records), reply(response))
}
