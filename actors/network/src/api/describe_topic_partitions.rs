//! DescribeTopicPartitions, API key 75.
//!
//! Versions: 0. Answers in pages of at most `max.request.partition.size.limit` partitions, each with where the next begins.
//! Source: `DescribeTopicPartitionsRequestHandler`, `KRaftMetadataCache.describeTopicResponse`.

use std::collections::BTreeSet;
use std::sync::Arc;

use machines::metadata::{PartitionRegistration, TopicImage};
use model::ErrorCode;
use model::topic::is_internal_topic;
use wire::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use wire::{DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse};

use super::topology::{TOPIC_OPERATIONS, Topology};
use super::{Api, RequestContext, topology};
use crate::Broker;

pub(crate) struct DescribeTopicPartitions;

impl Api for DescribeTopicPartitions {
    type Request = DescribeTopicPartitionsRequest;

    fn named(request: &DescribeTopicPartitionsRequest) -> usize {
        request.topics.len()
    }

    async fn handle(
        broker: Arc<Broker>,
        cx: RequestContext,
        request: DescribeTopicPartitionsRequest,
    ) -> DescribeTopicPartitionsResponse {
        if !is_valid(&request) {
            return refuse(&request);
        }
        let most = broker.settings.get().int("max.request.partition.size.limit");
        let most = most.min(request.response_partition_limit).max(1);
        let image = broker.metadata.get();
        let page = Page {
            topology: Topology { image: &image, listener: &cx.connection.listener.name },
            from: request.cursor.as_ref().map_or(("", 0), |c| (&c.topic_name, c.partition_index)),
            left: usize::try_from(most).unwrap_or(1),
            response: DescribeTopicPartitionsResponse::default(),
        };
        if request.topics.is_empty() {
            page.of_all()
        } else {
            page.of(request.topics.iter().map(|topic| topic.name.as_str()).collect())
        }
    }
}

/// A cursor must be on one of the topics asked for.
fn is_valid(request: &DescribeTopicPartitionsRequest) -> bool {
    let Some(cursor) = &request.cursor else { return true };
    let mut named = request.topics.iter();
    let is_named = request.topics.is_empty() || named.any(|topic| topic.name == cursor.topic_name);
    is_named && cursor.partition_index >= 0
}

fn refuse(request: &DescribeTopicPartitionsRequest) -> DescribeTopicPartitionsResponse {
    let refused = |name: &String| DescribeTopicPartitionsResponseTopic {
        error_code: ErrorCode::InvalidRequest.code(),
        name: Some(name.clone()),
        ..Default::default()
    };
    DescribeTopicPartitionsResponse {
        topics: request.topics.iter().map(|topic| refused(&topic.name)).collect(),
        ..Default::default()
    }
}

struct Page<'a> {
    topology: Topology<'a>,
    from: (&'a str, i32),
    /// Partitions that the page still has room for.
    left: usize,
    response: DescribeTopicPartitionsResponse,
}

impl<'a> Page<'a> {
    fn of_all(mut self) -> DescribeTopicPartitionsResponse {
        let image = self.topology.image;
        for (name, topic) in image.topics.iter_names_from(self.from.0) {
            if !self.add(name, Some(topic)) {
                break;
            }
        }
        self.response
    }

    fn of(mut self, names: BTreeSet<&'a str>) -> DescribeTopicPartitionsResponse {
        let image = self.topology.image;
        for name in names.range(self.from.0..) {
            if !self.add(name, image.topics.by_name(name)) {
                break;
            }
        }
        self.response
    }

    /// False when the page is full.
    fn add(&mut self, name: &str, topic: Option<&Arc<TopicImage>>) -> bool {
        if self.left == 0 {
            self.end_at(name, 0);
            return false;
        }
        let Some(topic) = topic else {
            self.response.topics.push(DescribeTopicPartitionsResponseTopic {
                error_code: topology::missing(name).code(),
                ..described(name)
            });
            return true;
        };
        let start = if name == self.from.0 { self.from.1 } else { 0 };
        let mut partitions = Vec::new();
        let mut next = None;
        for (id, partition) in topic.partitions.range(start..) {
            if partitions.len() == self.left {
                next = Some(*id);
                break;
            }
            partitions.push(self.partition(*id, partition));
        }
        self.left -= partitions.len();
        self.response.topics.push(DescribeTopicPartitionsResponseTopic {
            topic_id: topic.id,
            partitions,
            ..described(name)
        });
        match next {
            Some(partition) => {
                self.end_at(name, partition);
                false
            }
            None => true,
        }
    }

    fn end_at(&mut self, topic: &str, partition_index: i32) {
        self.response.next_cursor =
            Some(Cursor { topic_name: topic.to_owned(), partition_index, ..Default::default() });
    }

    fn partition(
        &self,
        partition_index: i32,
        partition: &PartitionRegistration,
    ) -> DescribeTopicPartitionsResponsePartition {
        DescribeTopicPartitionsResponsePartition {
            partition_index,
            leader_id: self.topology.leader(partition).unwrap_or(-1),
            leader_epoch: partition.leader_epoch,
            replica_nodes: partition.replicas.clone(),
            isr_nodes: partition.isr.clone(),
            eligible_leader_replicas: Some(partition.elr.clone()),
            last_known_elr: Some(partition.last_known_elr.clone()),
            offline_replicas: self.topology.offline_replicas(partition),
            ..Default::default()
        }
    }
}

fn described(name: &str) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic {
        name: Some(name.to_owned()),
        is_internal: is_internal_topic(name),
        topic_authorized_operations: TOPIC_OPERATIONS,
        ..Default::default()
    }
}
