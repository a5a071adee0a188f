//! Metadata, API key 3.
//!
//! Versions: 0–13 (v0 an empty list is all, v1 null is, v4 topics need not be created, v6 LISTENER_NOT_FOUND, v8 authorized
//! operations, v12 topics by id, v13 an error of the whole).
//! Source: `KafkaApis.handleTopicMetadataRequest`, `KRaftMetadataCache`, `DefaultAutoTopicCreationManager`.
//! Departs: a topic that is created by the request is in its answer, if it is served within a second; Kafka answers
//! UNKNOWN_TOPIC_OR_PARTITION at first and has the client ask again. Where a leader has just died, the answer waits for others to
//! lead, and it is told of for a second after that.

use std::collections::BTreeSet;
use std::sync::Arc;

use machines::metadata::{MetadataImage, PartitionRegistration, TopicImage};
use model::topic::is_internal_topic;
use model::{ErrorCode, Uuid};
use wire::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use wire::{MetadataRequest, MetadataResponse};

use super::room::in_turns;
use super::topology::{CLUSTER_OPERATIONS, OPERATIONS_OMITTED, TOPIC_OPERATIONS, Topology};
use super::{Api, RequestContext, auto_create, topology};
use crate::{Broker, vigil};

const FIRST_WITH_TOPICS_BY_ID: i16 = 12;

pub(crate) struct Metadata;

impl Api for Metadata {
    type Request = MetadataRequest;

    fn named(request: &MetadataRequest) -> usize {
        request.topics.as_ref().map_or(0, Vec::len)
    }

    async fn handle(
        broker: Arc<Broker>,
        cx: RequestContext,
        request: MetadataRequest,
    ) -> MetadataResponse {
        let Some(asked) = Asked::of(&request, cx.version) else {
            return refuse(&request, ErrorCode::InvalidRequest);
        };
        if let Asked::Names(names) = &asked
            && request.allow_auto_topic_creation
            && broker.settings.get().boolean("auto.create.topics.enable")
        {
            let image = broker.metadata.get();
            let missing: Vec<&str> =
                names.iter().filter(|name| image.topics.id_of(name).is_none()).copied().collect();
            if !missing.is_empty() {
                drop(image);
                auto_create::create_topics(&broker, &cx, &missing).await;
            }
        }
        vigil::settled(&broker, |image| asked.leaders(image)).await;
        let image = broker.metadata.get();
        broker.departed.see(&image, broker.world.mono());
        let seen = Seen {
            topology: Topology { image: &image, listener: &cx.connection.listener.name },
            version: cx.version,
            operations: if request.include_topic_authorized_operations {
                TOPIC_OPERATIONS
            } else {
                OPERATIONS_OMITTED
            },
        };
        MetadataResponse {
            brokers: seen.brokers(&broker),
            cluster_id: Some(broker.cluster_id.clone()),
            controller_id: seen.topology.controller_id(broker.node.0),
            topics: seen.topics(&asked).await,
            cluster_authorized_operations: if request.include_cluster_authorized_operations {
                CLUSTER_OPERATIONS
            } else {
                OPERATIONS_OMITTED
            },
            ..Default::default()
        }
    }
}

/// Which topics are asked for, each once.
enum Asked<'a> {
    All,
    Names(Vec<&'a str>),
    Ids(Vec<Uuid>),
}

impl<'a> Asked<'a> {
    fn of(request: &'a MetadataRequest, version: i16) -> Option<Asked<'a>> {
        let Some(topics) = &request.topics else { return Some(Asked::All) };
        if topics.is_empty() && version == 0 {
            return Some(Asked::All);
        }
        let by_id = topics.iter().any(|topic| !topic.topic_id.is_zero());
        if by_id && version < FIRST_WITH_TOPICS_BY_ID {
            return None;
        }
        if by_id {
            let ids = topics.iter().map(|topic| topic.topic_id).filter(|id| !id.is_zero());
            return Some(Asked::Ids(once(ids)));
        }
        let names: Option<Vec<&str>> = topics.iter().map(|topic| topic.name.as_deref()).collect();
        Some(Asked::Names(once(names?)))
    }

    /// Who leads what is asked for.
    fn leaders(&self, image: &MetadataImage) -> BTreeSet<i32> {
        let topics = &image.topics;
        let named: Vec<_> = match self {
            Asked::All => return image.alive_brokers().map(|broker| broker.id).collect(),
            Asked::Names(names) => names.iter().filter_map(|name| topics.by_name(name)).collect(),
            Asked::Ids(ids) => ids.iter().filter_map(|id| topics.by_id(*id)).collect(),
        };
        let partitions = named.into_iter().flat_map(|topic| topic.partitions.iter());
        partitions.map(|(_, partition)| partition.leader).collect()
    }
}

/// In the order in which they are named first.
fn once<T: Copy + Ord>(named: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut seen = BTreeSet::new();
    named.into_iter().filter(|name| seen.insert(*name)).collect()
}

fn refuse(request: &MetadataRequest, error: ErrorCode) -> MetadataResponse {
    let topics = request.topics.iter().flatten();
    MetadataResponse {
        topics: topics
            .map(|topic| MetadataResponseTopic {
                error_code: error.code(),
                name: Some(topic.name.clone().unwrap_or_default()),
                topic_id: topic.topic_id,
                ..Default::default()
            })
            .collect(),
        error_code: error.code(),
        ..Default::default()
    }
}

/// What one request sees of the cluster.
struct Seen<'a> {
    topology: Topology<'a>,
    version: i16,
    operations: i32,
}

impl Seen<'_> {
    fn brokers(&self, broker: &Broker) -> Vec<MetadataResponseBroker> {
        let now = broker.world.mono();
        let known = self.topology.image.brokers.values();
        let nodes = known.filter(|known| broker.departed.tells(known, now));
        let nodes = nodes.filter_map(|known| self.topology.node(known));
        let told = |node: super::leaders::Node| MetadataResponseBroker {
            node_id: node.id,
            host: node.host,
            port: node.port,
            rack: node.rack,
            ..Default::default()
        };
        nodes.map(told).collect()
    }

    async fn topics(&self, asked: &Asked<'_>) -> Vec<MetadataResponseTopic> {
        let topics = &self.topology.image.topics;
        match asked {
            Asked::All => in_turns(topics.iter_by_name().map(|(_, topic)| self.topic(topic))).await,
            Asked::Names(names) => {
                let (known, unknown): (Vec<&str>, Vec<&str>) =
                    names.iter().partition(|name| topics.id_of(name).is_some());
                let known = known.into_iter().filter_map(|name| topics.by_name(name));
                let known = known.map(|topic| self.topic(topic));
                in_turns(known.chain(unknown.into_iter().map(|name| self.missing(name)))).await
            }
            Asked::Ids(ids) => {
                let (known, unknown): (Vec<Uuid>, Vec<Uuid>) =
                    ids.iter().partition(|id| topics.by_id(**id).is_some());
                let known = known.into_iter().filter_map(|id| topics.by_id(id));
                let known = known.map(|topic| self.topic(topic));
                in_turns(unknown.into_iter().map(missing_id).chain(known)).await
            }
        }
    }

    fn topic(&self, topic: &TopicImage) -> MetadataResponseTopic {
        MetadataResponseTopic {
            name: Some(topic.name.clone()),
            topic_id: topic.id,
            is_internal: is_internal_topic(&topic.name),
            partitions: topic.partitions.iter().map(|(id, p)| self.partition(*id, p)).collect(),
            topic_authorized_operations: self.operations,
            ..Default::default()
        }
    }

    fn missing(&self, name: &str) -> MetadataResponseTopic {
        MetadataResponseTopic {
            error_code: topology::missing(name).code(),
            name: Some(name.to_owned()),
            is_internal: is_internal_topic(name),
            topic_authorized_operations: self.operations,
            ..Default::default()
        }
    }

    fn partition(&self, id: i32, partition: &PartitionRegistration) -> MetadataResponsePartition {
        // Version 0 names reachable replicas alone, and says that there are others.
        let reachable = |ids: &[i32]| {
            if self.version == 0 { self.topology.reachable(ids) } else { ids.to_vec() }
        };
        let (replica_nodes, isr_nodes) =
            (reachable(&partition.replicas), reachable(&partition.isr));
        let leader = self.topology.leader(partition);
        let error = match leader {
            None if self.topology.image.broker(partition.leader).is_none() => {
                ErrorCode::LeaderNotAvailable
            }
            None if self.version >= 6 => ErrorCode::ListenerNotFound,
            None => ErrorCode::LeaderNotAvailable,
            Some(_)
                if replica_nodes.len() < partition.replicas.len()
                    || isr_nodes.len() < partition.isr.len() =>
            {
                ErrorCode::ReplicaNotAvailable
            }
            Some(_) => ErrorCode::None,
        };
        MetadataResponsePartition {
            error_code: error.code(),
            partition_index: id,
            leader_id: leader.unwrap_or(-1),
            leader_epoch: partition.leader_epoch,
            replica_nodes,
            isr_nodes,
            offline_replicas: self.topology.offline_replicas(partition),
            ..Default::default()
        }
    }
}

fn missing_id(topic_id: Uuid) -> MetadataResponseTopic {
    MetadataResponseTopic {
        error_code: ErrorCode::UnknownTopicId.code(),
        name: None,
        topic_id,
        ..Default::default()
    }
}
