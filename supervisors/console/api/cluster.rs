//! The brokers of the cluster, asked as any client asks them; which there are, and which leads what, the node's own metadata says.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use client::{Client, ClientConfig, Connection, Producer, ProducerConfig, RequestError};
use machines::metadata::MetadataImage;
use model::node_config::HostPort;
use runtime::{BoxFuture, Publisher, World};
use tokio::sync::Semaphore;
use wire::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use wire::{ListOffsetsRequest, Request};

use super::ApiError;
use crate::node::Node;

const CONNECT: Duration = Duration::from_secs(3);
pub(super) const REQUEST: Duration = Duration::from_secs(6);
/// One of several that are asked at once: what it would have told is left open.
const ONE_OF_ALL: Duration = Duration::from_secs(2);
/// An answer, whatever it is about.
const MAX_RESPONSE: u32 = 32 << 20;

/// Times that stand for the beginning of a log, and for its end.
pub(super) const EARLIEST: i64 = -2;
pub(super) const LATEST: i64 = -1;

/// A partition, by name.
pub(super) type Partition = (String, i32);
pub(super) type Offsets = BTreeMap<Partition, i64>;

pub(super) struct Cluster {
    world: World,
    node: i32,
    /// Where this node itself is reached, and by which of its listeners; none where it serves no clients.
    own: Option<(HostPort, String)>,
    images: Arc<Publisher<MetadataImage>>,
    config: ClientConfig,
    /// By address.
    open: Mutex<BTreeMap<String, Connection>>,
    producer: Mutex<Option<Arc<Producer>>>,
    /// Records are read one by one: each may be large.
    pub(super) reading: Semaphore,
}

impl Cluster {
    pub(super) fn of(node: &Node) -> Cluster {
        let shared = node.shared();
        let own = shared.for_clients().map(|bound| {
            let address = bound.address();
            (HostPort::new(address.ip().to_string(), address.port()), bound.name().to_owned())
        });
        let config = ClientConfig {
            client_id: "ottla-console".to_owned(),
            connect_timeout: CONNECT,
            request_timeout: REQUEST,
            // Who has little time leaves it open for the others.
            stalled_after: REQUEST,
            operation_timeout: REQUEST,
            max_response_bytes: MAX_RESPONSE,
            create_topics: false,
            ..ClientConfig::default()
        };
        Cluster {
            world: node.world().clone(),
            node: node.config().node_id.0,
            own,
            images: shared.images.clone(),
            config,
            open: Mutex::default(),
            producer: Mutex::default(),
            reading: Semaphore::new(1),
        }
    }

    /// Where a broker listens to clients such as this.
    fn address(&self, broker: i32) -> Result<HostPort, ApiError> {
        if let Some((address, _)) = self.own.as_ref().filter(|_| broker == self.node) {
            return Ok(address.clone());
        }
        let image = self.images.get();
        let unknown = || ApiError::elsewhere(format!("broker {broker} is not registered"));
        let registered = image.broker(broker).ok_or_else(unknown)?;
        let name = self.own.as_ref().map(|(_, name)| name);
        let listeners = &registered.listeners;
        let same = listeners.iter().find(|listener| Some(&listener.name) == name);
        let listener = same.or(listeners.first()).ok_or_else(unknown)?;
        Ok(HostPort::new(&*listener.host, listener.port))
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<String, Connection>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connection(&self, broker: i32) -> Result<Connection, ApiError> {
        let address = self.address(broker)?;
        let key = address.to_string();
        let known = {
            let mut open = self.open();
            open.retain(|_, connection| !connection.is_closed());
            open.get(&key).cloned()
        };
        if let Some(connection) = known {
            return Ok(connection);
        }
        let opened =
            Connection::open(&self.world, &address.host, address.port, &self.config).await?;
        self.open().insert(key, opened.clone());
        Ok(opened)
    }

    /// Asks a broker; once more where the connection had been closed meanwhile. Of requests that only ask.
    pub(super) async fn ask<R: Request>(
        &self,
        broker: i32,
        request: &R,
    ) -> Result<R::Response, ApiError> {
        self.ask_within(REQUEST, broker, request).await
    }

    async fn ask_within<R: Request>(
        &self,
        limit: Duration,
        broker: i32,
        request: &R,
    ) -> Result<R::Response, ApiError> {
        let deadline = self.world.mono() + limit;
        let left = || deadline.saturating_sub(self.world.mono());
        let connection = self.connection_within(left(), broker).await?;
        match connection.request(request, left()).await {
            Err(RequestError::Closed { .. }) => {
                let connection = self.connection_within(left(), broker).await?;
                Ok(connection.request(request, left()).await?)
            }
            answer => Ok(answer?),
        }
    }

    async fn connection_within(
        &self,
        limit: Duration,
        broker: i32,
    ) -> Result<Connection, ApiError> {
        let late = |_| ApiError::elsewhere(format!("broker {broker} lets nobody in"));
        let connection = Box::pin(self.connection(broker));
        self.world.timeout(limit, connection).await.map_err(late)?
    }

    /// Asks brokers at once, each what is for it: who is slow holds up nobody else's answer, nor the page for long.
    pub(super) async fn ask_each<R: Request<Response: Send> + Send + Sync>(
        &self,
        requests: Vec<(i32, R)>,
    ) -> Vec<(i32, Result<R::Response, ApiError>)> {
        self.ask_each_within(ONE_OF_ALL, requests).await
    }

    async fn ask_each_within<R: Request<Response: Send> + Send + Sync>(
        &self,
        limit: Duration,
        requests: Vec<(i32, R)>,
    ) -> Vec<(i32, Result<R::Response, ApiError>)> {
        let mut asking: Vec<BoxFuture<'_, _>> = Vec::with_capacity(requests.len());
        for (broker, request) in requests {
            asking.push(Box::pin(async move {
                (broker, self.ask_within(limit, broker, &request).await)
            }));
        }
        all(asking).await
    }

    /// Asks this node; where it serves no clients, the first broker that is alive.
    pub(super) async fn ask_any<R: Request>(&self, request: &R) -> Result<R::Response, ApiError> {
        let image = self.images.get();
        let first = image.alive_brokers().next().map(|broker| broker.id);
        let broker = self.own.as_ref().map(|_| self.node).or(first);
        self.ask(broker.ok_or_else(|| ApiError::elsewhere("no broker is alive"))?, request).await
    }

    /// All brokers that may be asked.
    pub(super) fn alive(&self) -> Vec<i32> {
        self.images.get().alive_brokers().map(|broker| broker.id).collect()
    }

    /// Where logs begin, and where they end.
    pub(super) async fn ends(&self, partitions: &[Partition]) -> (Offsets, Offsets) {
        let at = |timestamp| self.offsets(partitions, timestamp, ONE_OF_ALL);
        tokio::join!(at(EARLIEST), at(LATEST))
    }

    /// Of each partition the offset for a time. Whose leader does not tell is left out.
    pub(super) async fn offsets(
        &self,
        partitions: &[Partition],
        timestamp: i64,
        limit: Duration,
    ) -> Offsets {
        let image = self.images.get();
        let mut by_leader: BTreeMap<i32, BTreeMap<&str, Vec<i32>>> = BTreeMap::new();
        for (topic, partition) in partitions {
            let found = image.topics.by_name(topic).and_then(|found| found.partition(*partition));
            if let Some(found) = found.filter(|found| found.has_leader()) {
                let of_leader = by_leader.entry(found.leader).or_default();
                of_leader.entry(topic).or_default().push(*partition);
            }
        }
        let requests = by_leader
            .iter()
            .map(|(leader, topics)| (*leader, offsets_request(topics, timestamp)))
            .collect();
        let mut offsets = Offsets::new();
        for (leader, answer) in self.ask_each_within(limit, requests).await {
            match answer {
                Ok(answer) => {
                    for topic in answer.topics {
                        let known = topic.partitions.iter().filter(|p| p.error_code == 0);
                        offsets.extend(
                            known.map(|p| ((topic.name.clone(), p.partition_index), p.offset)),
                        );
                    }
                }
                Err(error) => tracing::debug!(leader, why = error.1, "no offsets"),
            }
        }
        offsets
    }

    /// Made when it is first needed, and kept: it has an id of its own.
    pub(super) fn producer(&self) -> Result<Arc<Producer>, ApiError> {
        let mut producer = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(producer) = &*producer {
            return Ok(producer.clone());
        }
        let bootstrap: Vec<String> = match &self.own {
            Some((address, _)) => vec![address.to_string()],
            None => {
                let alive = self.alive();
                alive.iter().filter_map(|id| Some(self.address(*id).ok()?.to_string())).collect()
            }
        };
        // Its connections are its own.
        let config = ClientConfig { stalled_after: Duration::ZERO, ..self.config.clone() };
        let client = Client::with_config(&self.world, bootstrap, config);
        let config = ProducerConfig { delivery_timeout: REQUEST, ..ProducerConfig::default() };
        let made = Arc::new(client.map_err(ApiError::elsewhere)?.producer(config));
        Ok(producer.insert(made).clone())
    }
}

/// What comes of all of them, which go on at once, in their order.
async fn all<T>(futures: Vec<BoxFuture<'_, T>>) -> Vec<T> {
    let mut all: Vec<_> = futures.into_iter().map(|future| (future, None)).collect();
    poll_fn(|cx| {
        for (future, came) in all.iter_mut().filter(|(_, came)| came.is_none()) {
            if let Poll::Ready(what) = future.as_mut().poll(cx) {
                *came = Some(what);
            }
        }
        match all.iter().all(|(_, came)| came.is_some()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
    all.into_iter().filter_map(|(_, came)| came).collect()
}

fn offsets_request(topics: &BTreeMap<&str, Vec<i32>>, timestamp: i64) -> ListOffsetsRequest {
    let partition = |id: &i32| ListOffsetsPartition {
        partition_index: *id,
        timestamp,
        ..ListOffsetsPartition::default()
    };
    let topics = topics.iter().map(|(name, partitions)| ListOffsetsTopic {
        name: (*name).to_owned(),
        partitions: partitions.iter().map(partition).collect(),
        ..ListOffsetsTopic::default()
    });
    ListOffsetsRequest {
        replica_id: -1,
        topics: topics.collect(),
        timeout_ms: i32::try_from(REQUEST.as_millis()).unwrap_or(i32::MAX),
        ..ListOffsetsRequest::default()
    }
}
