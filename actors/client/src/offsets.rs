//! What a group committed, asked of and told to its coordinator.

use std::sync::{Mutex, PoisonError};

use model::TopicPartition;
use runtime::Map;
use wire::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use wire::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use wire::{
    FindCoordinatorRequest, OffsetCommitRequest, OffsetFetchRequest, OffsetFetchResponse, Request,
};

use crate::client::{Client, Connections};
use crate::consumer::ConsumeError;
use crate::error::Refused;

pub(crate) struct GroupOffsets {
    client: Client,
    group: String,
    connections: Connections,
    coordinator: Mutex<Option<i32>>,
}

impl GroupOffsets {
    pub(crate) fn new(client: &Client, group: &str) -> GroupOffsets {
        GroupOffsets {
            client: client.clone(),
            group: group.to_owned(),
            connections: Connections::default(),
            coordinator: Mutex::new(None),
        }
    }

    /// Commits as a group without members does.
    pub(crate) async fn commit(
        &self,
        offsets: &Map<TopicPartition, i64>,
    ) -> Result<(), ConsumeError> {
        if offsets.is_empty() {
            return Ok(());
        }
        let mut topics: Vec<OffsetCommitRequestTopic> = Vec::new();
        for (partition, offset) in offsets {
            if topics.last().is_none_or(|topic| topic.name != partition.topic) {
                // The newest version names topics by id only.
                let id = self.client.topic(&partition.topic).await?.id;
                topics.push(OffsetCommitRequestTopic {
                    name: partition.topic.clone(),
                    topic_id: id,
                    ..OffsetCommitRequestTopic::default()
                });
            }
            if let Some(topic) = topics.last_mut() {
                topic.partitions.push(OffsetCommitRequestPartition {
                    partition_index: partition.partition,
                    committed_offset: *offset,
                    ..OffsetCommitRequestPartition::default()
                });
            }
        }
        let request = OffsetCommitRequest {
            group_id: self.group.clone(),
            generation_id_or_member_epoch: -1,
            topics,
            ..OffsetCommitRequest::default()
        };
        self.retry(&request, |answer| {
            let mut partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
            partitions.try_for_each(|partition| Refused::check(partition.error_code, None))
        })
        .await
        .map(drop)
    }

    pub(crate) async fn committed(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<Map<TopicPartition, i64>, ConsumeError> {
        let mut by_topic: Map<&str, Vec<i32>> = Map::new();
        for partition in partitions {
            by_topic.entry(&partition.topic).or_default().push(partition.partition);
        }
        let mut group = OffsetFetchRequestGroup {
            group_id: self.group.clone(),
            topics: Some(Vec::new()),
            ..OffsetFetchRequestGroup::default()
        };
        let mut before_groups = Vec::new();
        for (topic, indexes) in by_topic {
            let topic_id = self.client.topic(topic).await?.id;
            before_groups.push(OffsetFetchRequestTopic {
                name: topic.to_owned(),
                partition_indexes: indexes.clone(),
                ..OffsetFetchRequestTopic::default()
            });
            group.topics.get_or_insert_default().push(OffsetFetchRequestTopics {
                name: topic.to_owned(),
                topic_id,
                partition_indexes: indexes,
                ..OffsetFetchRequestTopics::default()
            });
        }
        self.fetch(group, before_groups).await
    }

    /// The request has two shapes; the version that is spoken decides which.
    async fn fetch(
        &self,
        group: OffsetFetchRequestGroup,
        before_groups: Vec<OffsetFetchRequestTopic>,
    ) -> Result<Map<TopicPartition, i64>, ConsumeError> {
        let answer = self
            .retry_with(
                |version| match version {
                    ..8 => OffsetFetchRequest {
                        group_id: self.group.clone(),
                        topics: Some(before_groups.clone()),
                        ..OffsetFetchRequest::default()
                    },
                    _ => OffsetFetchRequest {
                        groups: vec![group.clone()],
                        ..OffsetFetchRequest::default()
                    },
                },
                |answer: &OffsetFetchResponse| {
                    Refused::check(answer.error_code, None)?;
                    let mut groups = answer.groups.iter();
                    groups.try_for_each(|group| Refused::check(group.error_code, None))?;
                    let mut codes = self.offsets(answer).into_iter().map(|(_, _, code)| code);
                    codes.try_for_each(|code| Refused::check(code, None))
                },
            )
            .await?;
        let known = self.offsets(&answer).into_iter().filter(|(_, offset, _)| *offset >= 0);
        Ok(known.map(|(partition, offset, _)| (partition, offset)).collect())
    }

    /// Offset and error code of each partition in an answer of either shape.
    fn offsets(&self, answer: &OffsetFetchResponse) -> Vec<(TopicPartition, i64, i16)> {
        let mut all = Vec::new();
        for topic in &answer.topics {
            for found in &topic.partitions {
                let topic = topic.name.clone();
                let partition = TopicPartition { topic, partition: found.partition_index };
                all.push((partition, found.committed_offset, found.error_code));
            }
        }
        for topic in answer.groups.iter().flat_map(|group| &group.topics) {
            let name = match topic.name.is_empty() {
                true => self.client.0.metadata.name_of(topic.topic_id),
                false => Some(topic.name.clone()),
            };
            let Some(name) = name else { continue };
            for found in &topic.partitions {
                let topic = name.clone();
                let partition = TopicPartition { topic, partition: found.partition_index };
                all.push((partition, found.committed_offset, found.error_code));
            }
        }
        all
    }

    async fn retry<R: Request>(
        &self,
        request: &R,
        check: impl Fn(&R::Response) -> Result<(), Refused>,
    ) -> Result<R::Response, ConsumeError> {
        self.retry_with(|_| request.clone(), check).await
    }

    /// Asks the coordinator until it answers without an error that passes.
    async fn retry_with<R: Request>(
        &self,
        request: impl Fn(i16) -> R,
        check: impl Fn(&R::Response) -> Result<(), Refused>,
    ) -> Result<R::Response, ConsumeError> {
        let mut tries = self.client.tries();
        loop {
            let (error, again) = match self.once(&request).await {
                Ok(answer) => match check(&answer) {
                    Ok(()) => return Ok(answer),
                    Err(refused) => {
                        let again = refused.code.retriable();
                        (ConsumeError::Group { group: self.group.clone(), refused }, again)
                    }
                },
                Err(ConsumeError::Request(error)) => {
                    let again = error.retriable();
                    (ConsumeError::Request(error), again)
                }
                Err(ConsumeError::Group { group, refused }) => {
                    let again = refused.code.retriable();
                    (ConsumeError::Group { group, refused }, again)
                }
                Err(other) => (other, false),
            };
            *self.coordinator.lock().unwrap_or_else(PoisonError::into_inner) = None;
            if !again || !tries.again().await {
                return Err(error);
            }
        }
    }

    async fn once<R: Request>(
        &self,
        request: &impl Fn(i16) -> R,
    ) -> Result<R::Response, ConsumeError> {
        let known = *self.coordinator.lock().unwrap_or_else(PoisonError::into_inner);
        let coordinator = match known {
            Some(id) => id,
            None => self.find_coordinator().await?,
        };
        let connection = self.client.broker(&self.connections, coordinator).await?;
        let request = request(connection.version::<R>()?);
        Ok(connection.request(&request, self.client.config().request_timeout).await?)
    }

    async fn find_coordinator(&self) -> Result<i32, ConsumeError> {
        let connection = self.client.any().await?;
        let mut request = FindCoordinatorRequest { key_type: 0, ..Default::default() };
        match connection.version::<FindCoordinatorRequest>()? {
            ..4 => request.key = self.group.clone(),
            _ => request.coordinator_keys = vec![self.group.clone()],
        }
        let answer = connection.request(&request, self.client.config().request_timeout).await?;
        let refused = |refused| ConsumeError::Group { group: self.group.clone(), refused };
        let (id, host, port) = match answer.coordinators.first() {
            Some(found) => {
                Refused::check(found.error_code, found.error_message.clone()).map_err(refused)?;
                (found.node_id, found.host.as_str(), found.port)
            }
            None => {
                Refused::check(answer.error_code, answer.error_message.clone()).map_err(refused)?;
                (answer.node_id, answer.host.as_str(), answer.port)
            }
        };
        self.client.0.metadata.learn_broker(id, host, port);
        *self.coordinator.lock().unwrap_or_else(PoisonError::into_inner) = Some(id);
        Ok(id)
    }
}
