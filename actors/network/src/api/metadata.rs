//! Metadata, API key 3.
//!
//! Versions: 0–13 (v0 an empty list is all, v1 null is, v4 topics need not be created, v6 LISTENER_NOT_FOUND, v8 authorized
//! operations, v12 topics by id, v13 an error of the whole).
//! Source: `KafkaApis.handleTopicMetadataRequest`, `KRaftMetadataCache`, `DefaultAutoTopicCreationManager`.
//! Departs: a topic that is created by the request is in its answer, if it is served within a second; Kafka answers
//! UNKNOWN_TOPIC_OR_PARTITION at first and has the client ask again. Where a leader has just died, the answer waits for others to
//! lead, and it is told of for a second after that. The last broker of a cluster that stops closes the connection where Kafka names no
//! broker at all for a moment: librdkafka up to 2.13 forgets its bootstrap servers at that, and never connects again (its issue 5301).

use std::collections::BTreeSet;
use std::sync::Arc;

use machines::metadata::{
    BrokerRegistration, MetadataImage, PartitionRegistration, TopicImage, TopicsImage,
};
use model::topic::is_internal_topic;
use model::{ErrorCode, Uuid};
use wire::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use wire::{MetadataRequest, MetadataResponse};

use super::room::{Turns, memory_for};
use super::topology::{CLUSTER_OPERATIONS, OPERATIONS_OMITTED, TOPIC_OPERATIONS, Topology};
use super::{Answer, Answering, RequestContext, Staged, auto_create, forward, too_many, topology};
use crate::{Broker, vigil};

const FIRST_WITH_TOPICS_BY_ID: i16 = 12;

pub(crate) struct Metadata;

impl Staged for Metadata {
    type Request = MetadataRequest;

    async fn begin(
        broker: &Arc<Broker>,
        cx: RequestContext,
        request: MetadataRequest,
    ) -> Answering<MetadataResponse> {
        if let Some(why) = too_many(request.topics.as_ref().map_or(0, Vec::len)) {
            return Box::pin(std::future::ready(Answer::Close(why)));
        }
        Box::pin(answer(broker.clone(), cx, request))
    }
}

async fn answer(
    broker: Arc<Broker>,
    cx: RequestContext,
    request: MetadataRequest,
) -> Answer<MetadataResponse> {
    let Some(asked) = Asked::of(&request, cx.version) else {
        return Answer::Response(refuse(&request, ErrorCode::InvalidRequest));
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
            let origin = forward::origin(&broker, &cx);
            auto_create::create_topics(&broker, &cx, origin, &missing).await;
        }
    }
    vigil::settled(&broker, |image| asked.leaders(image)).await;
    let size = asked.size(&broker.metadata.get().topics);
    let memory = memory_for(&broker, size).await;
    let image = broker.metadata.get();
    broker.departed.see(&image, broker.world.mono());
    let operations = |told: bool, all: i32| if told { all } else { OPERATIONS_OMITTED };
    let seen = Seen {
        topology: Topology { image: &image, listener: &cx.connection.listener.name },
        version: cx.version,
        operations: operations(request.include_topic_authorized_operations, TOPIC_OPERATIONS),
    };
    let brokers = seen.brokers(&broker);
    if brokers.is_empty() && has_left(&image, broker.node.0) {
        return Answer::Close("the last broker stops: it knows of none to turn to".to_owned());
    }
    let response = MetadataResponse {
        brokers,
        cluster_id: Some(broker.cluster_id.clone()),
        controller_id: seen.topology.controller_id(broker.node.0),
        topics: seen.topics(&asked).await,
        cluster_authorized_operations: operations(
            request.include_cluster_authorized_operations,
            CLUSTER_OPERATIONS,
        ),
        ..Default::default()
    };
    Answer::Built(response, memory)
}

/// Whether the controller has let this broker go: it stops, and its listeners close in a moment.
fn has_left(image: &MetadataImage, node: i32) -> bool {
    image.broker(node).is_some_and(|broker| broker.fenced && broker.in_controlled_shutdown)
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

    /// What the answer comes to in memory, nearly.
    fn size(&self, topics: &TopicsImage) -> usize {
        let known = |topic: &TopicImage| {
            let replicas = topic.partitions.iter().next().map_or(0, |(_, p)| p.replicas.len());
            let partition =
                size_of::<MetadataResponsePartition>() + 3 * size_of::<i32>() * replicas;
            topic.name.len() + topic.partitions.size() * partition
        };
        let of = |topic: Option<&Arc<TopicImage>>| {
            size_of::<MetadataResponseTopic>() + topic.map_or(0, |topic| known(topic))
        };
        match self {
            Asked::All => topics.iter_by_name().map(|(_, topic)| of(Some(topic))).sum(),
            Asked::Names(names) => names.iter().map(|name| of(topics.by_name(name))).sum(),
            Asked::Ids(ids) => ids.iter().map(|id| of(topics.by_id(*id))).sum(),
        }
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
        let late = broker.settings.get().boolean("ottla.failover.fast");
        let tells = |known: &&BrokerRegistration| match late {
            true => broker.departed.tells(known, now),
            false => !known.fenced,
        };
        let nodes = known.map(|known| &**known).filter(tells);
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
        let (mut told, mut turns) = (Vec::new(), Turns::default());
        match asked {
            Asked::All => {
                for (_, topic) in topics.iter_by_name() {
                    told.push(self.topic(topic, &mut turns).await);
                }
            }
            Asked::Names(names) => {
                for topic in names.iter().filter_map(|name| topics.by_name(name)) {
                    told.push(self.topic(topic, &mut turns).await);
                }
                for name in names.iter().filter(|name| topics.by_name(name).is_none()) {
                    told.push(self.missing(name));
                    turns.made().await;
                }
            }
            Asked::Ids(ids) => {
                for id in ids.iter().filter(|id| topics.by_id(**id).is_none()) {
                    told.push(missing_id(*id));
                    turns.made().await;
                }
                for topic in ids.iter().filter_map(|id| topics.by_id(*id)) {
                    told.push(self.topic(topic, &mut turns).await);
                }
            }
        }
        told
    }

    async fn topic(&self, topic: &TopicImage, turns: &mut Turns) -> MetadataResponseTopic {
        let mut partitions = Vec::with_capacity(topic.partitions.size());
        for (id, partition) in &topic.partitions {
            partitions.push(self.partition(*id, partition));
            turns.made().await;
        }
        turns.made().await;
        MetadataResponseTopic {
            name: Some(topic.name.clone()),
            topic_id: topic.id,
            is_internal: is_internal_topic(&topic.name),
            partitions,
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
