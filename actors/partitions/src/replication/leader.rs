//! The way to the leader: one connection, made when it is needed, and what is asked over it.
//!
//! Source: `RemoteLeaderEndPoint`, `BrokerBlockingSender`.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use client::{ClientConfig, Connection, RequestError};
use machines::fetch_session::{FetchKey, SessionRequest, TopicKey};
use machines::metadata::MetadataImage;
use model::node_config::ReplicationConfig;
use model::{ErrorCode, LeaderEpoch, NodeId, TopicPartition, Uuid};
use runtime::{Watch, World};
use wire::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use wire::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use wire::{FetchRequest, FetchResponse, ListOffsetsRequest};

use super::throttle::FollowerThrottle;

pub(super) const EARLIEST: i64 = -2;
pub(super) const LATEST: i64 = -1;

#[derive(Clone)]
pub(super) struct FetcherArgs {
    pub(super) node: NodeId,
    pub(super) leader: i32,
    pub(super) number: u32,
    pub(super) metadata: Watch<MetadataImage>,
    pub(super) listener: String,
    pub(super) config: ReplicationConfig,
    pub(super) broker_epoch: Arc<AtomicI64>,
    pub(super) throttle: FollowerThrottle,
}

/// Why the leader was not asked, or did not answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("broker {0} is not registered with the listener {1}")]
    NoEndpoint(i32, String),
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error("{}", .0.name())]
    Refused(ErrorCode),
    #[error("the answer lacks the partition")]
    Missing,
}

pub(super) struct Leader {
    pub(super) args: FetcherArgs,
    pub(super) world: World,
    pub(super) connection: Option<Connection>,
}

impl Leader {
    /// The connection there is, or a new one to where the metadata has the leader now.
    async fn connected(&mut self) -> Result<&Connection, AskError> {
        let open = self.connection.take().filter(|connection| !connection.is_closed());
        let connection = match open {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        Ok(self.connection.insert(connection))
    }

    async fn connect(&self) -> Result<Connection, AskError> {
        let FetcherArgs { node, leader, number, listener, config, .. } = &self.args;
        let image = self.args.metadata.get();
        let broker = image.broker(*leader);
        let endpoint =
            broker.and_then(|broker| broker.listeners.iter().find(|e| e.name == *listener));
        let endpoint = endpoint.ok_or_else(|| AskError::NoEndpoint(*leader, listener.clone()))?;
        let config = ClientConfig {
            client_id: format!("broker-{node}-fetcher-{number}"),
            connect_timeout: config.socket_timeout,
            request_timeout: config.socket_timeout,
            receive_buffer: config.socket_receive_buffer,
            // A batch may be as large as its topic allowed once; memory is taken as its bytes arrive.
            max_response_bytes: i32::MAX as u32,
            ..ClientConfig::default()
        };
        Ok(Connection::open(&self.world, &endpoint.host, endpoint.port, &config).await?)
    }

    pub(super) async fn fetch(
        &mut self,
        session: SessionRequest,
    ) -> Result<FetchResponse, AskError> {
        let config = self.args.config;
        let mut request = FetchRequest {
            max_wait_ms: config.fetch_wait_max_ms,
            min_bytes: config.fetch_min_bytes,
            max_bytes: config.fetch_response_max_bytes,
            session_id: session.session_id,
            session_epoch: session.epoch,
            ..FetchRequest::default()
        };
        request.replica_state.replica_id = self.args.node.0;
        request.replica_state.replica_epoch = self.args.broker_epoch.load(Ordering::Acquire);
        for partition in session.partitions {
            let topic_id = id_of(&partition.key);
            if request.topics.last().is_none_or(|topic| topic.topic_id != topic_id) {
                request.topics.push(FetchTopic { topic_id, ..FetchTopic::default() });
            }
            let wanted = FetchPartition {
                partition: partition.key.partition,
                current_leader_epoch: partition.current_leader_epoch,
                fetch_offset: partition.fetch_offset,
                last_fetched_epoch: partition.last_fetched_epoch,
                log_start_offset: partition.log_start_offset,
                partition_max_bytes: partition.max_bytes,
                ..FetchPartition::default()
            };
            if let Some(topic) = request.topics.last_mut() {
                topic.partitions.push(wanted);
            }
        }
        let forgotten = &mut request.forgotten_topics_data;
        for key in session.forgotten {
            let topic_id = id_of(&key);
            if forgotten.last().is_none_or(|topic| topic.topic_id != topic_id) {
                forgotten.push(ForgottenTopic { topic_id, ..ForgottenTopic::default() });
            }
            if let Some(topic) = forgotten.last_mut() {
                topic.partitions.push(key.partition);
            }
        }
        let limit = config.socket_timeout;
        Ok(self.connected().await?.request(&request, limit).await?)
    }

    /// Where the leader's log begins or ends.
    pub(super) async fn offset(
        &mut self,
        of: &TopicPartition,
        epoch: LeaderEpoch,
        timestamp: i64,
    ) -> Result<i64, AskError> {
        let partition = ListOffsetsPartition {
            partition_index: of.partition,
            current_leader_epoch: epoch.0,
            timestamp,
            ..ListOffsetsPartition::default()
        };
        let topic = ListOffsetsTopic {
            name: of.topic.clone(),
            partitions: vec![partition],
            ..ListOffsetsTopic::default()
        };
        let request = ListOffsetsRequest {
            replica_id: self.args.node.0,
            topics: vec![topic],
            ..ListOffsetsRequest::default()
        };
        let limit = self.args.config.socket_timeout;
        let response = self.connected().await?.request(&request, limit).await?;
        let partition =
            response.topics.into_iter().next().and_then(|t| t.partitions.into_iter().next());
        let partition = partition.ok_or(AskError::Missing)?;
        match ErrorCode::from_code(partition.error_code) {
            ErrorCode::None => Ok(partition.offset),
            error => Err(AskError::Refused(error)),
        }
    }
}

fn id_of(key: &FetchKey) -> Uuid {
    match &key.topic {
        TopicKey::Id(id) => *id,
        TopicKey::Name(_) => Uuid::ZERO,
    }
}
