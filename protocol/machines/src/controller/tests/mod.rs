//! A controller with its log beside it: every test asks, and what was decided is replayed as the actor would.

mod brokers;
mod configs;
mod delete;
mod directories;
mod elections;
mod features;
mod histories;
mod partitions;
mod reassignments;
mod topics;

use std::collections::BTreeMap;
use std::time::Duration;

use model::settings::Values;
use model::{ErrorCode, Now, Replicated, Ticket, TimerOp, Uuid};
use wire::broker_registration_request::{Feature, Listener};
use wire::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use wire::create_topics_response::CreatableTopicResult;
use wire::{
    BrokerHeartbeatRequest, BrokerHeartbeatResponse, BrokerRegistrationRequest,
    CreateTopicsRequest, MetadataRecord,
};

use super::{
    Controller, ControllerConfig, ControllerDecision, ControllerEvent, ControllerReply,
    ControllerRequest,
};
use super::{ControllerTimer, Permitted};
use crate::metadata::{
    MetadataImage, MetadataVersion, PartitionRegistration, bootstrap_records,
    initial_feature_levels, supported_features,
};

pub const CLUSTER: &str = "the-cluster";

pub struct Cluster {
    pub controller: Controller,
    pub now: Now,
    /// The log from its first offset.
    pub log: Vec<MetadataRecord>,
    pub timers: BTreeMap<ControllerTimer, Duration>,
    epoch: i32,
    seed: u64,
}

pub fn config(settings: &[(&str, &str)], features: &[(&str, i16)]) -> ControllerConfig {
    let asked: BTreeMap<String, i16> =
        features.iter().map(|(name, level)| ((*name).to_owned(), *level)).collect();
    let levels = initial_feature_levels(&asked, false, MetadataVersion::LATEST).unwrap();
    ControllerConfig {
        node_id: 1,
        cluster_id: CLUSTER.to_owned(),
        quorum_ids: vec![1],
        settings: Values::new(settings.iter().copied()).unwrap(),
        bootstrap: bootstrap_records(&levels),
    }
}

impl Cluster {
    pub fn with(settings: &[(&str, &str)], features: &[(&str, i16)]) -> Cluster {
        let mut cluster = Cluster {
            controller: Controller::new(config(settings, features)),
            now: Now::new(Duration::from_secs(1), 0),
            log: Vec::new(),
            timers: BTreeMap::new(),
            epoch: 0,
            seed: 0,
        };
        cluster.lead();
        cluster
    }

    /// So many brokers, all serving, and 4.4's features.
    pub fn of(brokers: i32) -> Cluster {
        let mut cluster = Cluster::with(&[], &[]);
        (0..brokers).for_each(|id| cluster.join(id));
        cluster
    }

    pub fn lead(&mut self) {
        self.epoch += 1;
        let next_offset = self.log.len() as i64;
        let claimed =
            ControllerEvent::Claimed { epoch: self.epoch, next_offset, at: self.now.mono };
        self.controller.replay(&claimed);
        let decision = self.controller.on_loaded(self.now);
        self.apply(decision);
    }

    pub fn apply(&mut self, decision: ControllerDecision) -> Vec<MetadataRecord> {
        let mut records = Vec::new();
        for event in &decision.events {
            self.controller.replay(event);
            if let ControllerEvent::Record(record) = event {
                records.push(record.clone());
            }
        }
        assert_eq!(self.controller.fault(), None);
        self.log.extend(records.iter().cloned());
        assert_eq!(self.controller.next_offset(), self.log.len() as i64);
        for op in decision.timers {
            match op {
                TimerOp::Set { timer, after } => {
                    self.timers.insert(timer, self.now.mono + after);
                }
                TimerOp::Cancel { timer } => {
                    self.timers.remove(&timer);
                }
            }
        }
        records
    }

    pub fn ask_for_records(
        &mut self,
        request: ControllerRequest,
    ) -> (Vec<MetadataRecord>, ControllerReply) {
        let mut decision = self.controller.decide(self.now, Ticket(7), request);
        let (ticket, reply) = decision.replies.pop().unwrap();
        assert_eq!((ticket, decision.replies.len()), (Ticket(7), 0));
        (self.apply(decision), reply)
    }

    pub fn ask(&mut self, request: ControllerRequest) -> ControllerReply {
        self.ask_for_records(request).1
    }

    pub fn fire(&mut self, timer: ControllerTimer) -> Vec<MetadataRecord> {
        let decision = self.controller.on_timer(self.now, timer);
        self.apply(decision)
    }

    pub fn pass(&mut self, ms: u64) {
        self.now = self.now.advanced(Duration::from_millis(ms));
    }

    pub fn image(&self) -> &MetadataImage {
        self.controller.image()
    }

    pub fn join(&mut self, id: i32) {
        let code = self.register(registration(id, 1));
        assert_eq!(code, ErrorCode::None);
        let beat = self.heartbeat(id, |_| {});
        assert!(!beat.is_fenced);
    }

    pub fn register(&mut self, request: BrokerRegistrationRequest) -> ErrorCode {
        self.register_at(request, 0)
    }

    /// While `kraft.version` is at this level.
    pub fn register_at(
        &mut self,
        request: BrokerRegistrationRequest,
        kraft_version: i16,
    ) -> ErrorCode {
        let id = request.broker_id;
        let request = ControllerRequest::RegisterBroker { request, version: 4, kraft_version };
        let reply = self.ask(request);
        let ControllerReply::RegisterBroker(response) = reply else { panic!("{reply:?}") };
        if response.error_code == 0 {
            assert_eq!(response.broker_epoch, self.image().broker(id).unwrap().epoch);
        }
        ErrorCode::from_code(response.error_code)
    }

    pub fn heartbeat(
        &mut self,
        id: i32,
        set: impl FnOnce(&mut BrokerHeartbeatRequest),
    ) -> BrokerHeartbeatResponse {
        let mut request = BrokerHeartbeatRequest {
            broker_id: id,
            broker_epoch: self.image().broker(id).map_or(-1, |b| b.epoch),
            current_metadata_offset: self.log.len() as i64,
            ..Default::default()
        };
        set(&mut request);
        match self.ask(ControllerRequest::BrokerHeartbeat(request)) {
            ControllerReply::BrokerHeartbeat(response) => response,
            other => panic!("{other:?}"),
        }
    }

    pub fn fence(&mut self, id: i32) {
        self.heartbeat(id, |r| r.want_fence = true);
        assert!(self.image().broker(id).unwrap().fenced);
    }

    pub fn create(&mut self, topic: CreatableTopic) -> CreatableTopicResult {
        self.create_all(vec![topic], false).remove(0)
    }

    pub fn create_all(
        &mut self,
        topics: Vec<CreatableTopic>,
        validate_only: bool,
    ) -> Vec<CreatableTopicResult> {
        self.seed += 1;
        let request = CreateTopicsRequest { topics, validate_only, ..Default::default() };
        let (may_create, may_describe_configs) = (Permitted::All, Permitted::All);
        let asked = ControllerRequest::CreateTopics {
            request,
            seed: self.seed,
            may_create,
            may_describe_configs,
        };
        match self.ask(asked) {
            ControllerReply::CreateTopics(response) => response.topics,
            other => panic!("{other:?}"),
        }
    }

    pub fn set_config(&mut self, topic: &str, name: &str, value: &str) {
        use wire::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
        let config = AlterableConfig {
            name: name.to_owned(),
            value: Some(value.to_owned()),
            ..Default::default()
        };
        let resources = vec![AlterConfigsResource {
            resource_type: 2,
            resource_name: topic.to_owned(),
            configs: vec![config],
            ..Default::default()
        }];
        let request = wire::IncrementalAlterConfigsRequest { resources, ..Default::default() };
        self.ask(ControllerRequest::IncrementalAlterConfigs { request, forwarded: true });
    }

    pub fn partition(&self, topic: &str, id: i32) -> &PartitionRegistration {
        self.image().topics.by_name(topic).unwrap().partition(id).unwrap()
    }
}

pub fn directory(broker: i32) -> Uuid {
    Uuid::from_u128(0xd000 + broker as u128)
}

pub fn registration(id: i32, incarnation: u128) -> BrokerRegistrationRequest {
    let features =
        supported_features(MetadataVersion::LATEST).into_iter().map(|(name, range)| Feature {
            name,
            min_supported_version: range.min,
            max_supported_version: range.max,
            ..Default::default()
        });
    let listener = Listener {
        name: "PLAINTEXT".into(),
        host: "localhost".into(),
        port: 9092,
        ..Default::default()
    };
    BrokerRegistrationRequest {
        broker_id: id,
        cluster_id: CLUSTER.to_owned(),
        incarnation_id: Uuid::from_u128(0xabc_0000 + incarnation * 1000 + id as u128),
        listeners: vec![listener],
        features: features.collect(),
        log_dirs: vec![directory(id)],
        previous_broker_epoch: -1,
        ..Default::default()
    }
}

pub fn topic(name: &str, partitions: i32, factor: i16) -> CreatableTopic {
    CreatableTopic {
        name: name.to_owned(),
        num_partitions: partitions,
        replication_factor: factor,
        ..Default::default()
    }
}

pub fn assigned(name: &str, replicas: &[&[i32]]) -> CreatableTopic {
    let assignment = |(index, ids): (usize, &&[i32])| CreatableReplicaAssignment {
        partition_index: index as i32,
        broker_ids: ids.to_vec(),
        ..Default::default()
    };
    CreatableTopic {
        assignments: replicas.iter().enumerate().map(assignment).collect(),
        ..topic(name, -1, -1)
    }
}

pub fn configured(topic: CreatableTopic, configs: &[(&str, Option<&str>)]) -> CreatableTopic {
    let config = |(name, value): &(&str, Option<&str>)| CreatableTopicConfig {
        name: (*name).to_owned(),
        value: value.map(str::to_owned),
        ..Default::default()
    };
    CreatableTopic { configs: configs.iter().map(config).collect(), ..topic }
}
