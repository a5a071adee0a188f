//! What all parts of a client share: its settings, the brokers it knows, and how it tries again.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::node_config::HostPort;
use runtime::durable::Durable;
use runtime::{Map, RandomStream, World};
use wire::Request;

use crate::admin::Admin;
use crate::connection::Connection;
use crate::consumer::{Consumer, ConsumerConfig};
use crate::durable::{self, Asks, DurableRef};
use crate::error::RequestError;
use crate::metadata::{MetadataCache, MetadataError, TopicMetadata};
use crate::producer::{Producer, ProducerConfig};

/// How a client behaves; the defaults are those of Kafka's own.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Shown in the broker's log and quotas.
    pub client_id: String,
    pub connect_timeout: Duration,
    /// How long one request may take; a connection on which one took longer is closed.
    pub request_timeout: Duration,
    /// Where a request took longer, its connection stays open unless one has waited for its answer for so long: of a connection that
    /// many share, some of whom have little time. By default it stays open in no case.
    pub stalled_after: Duration,
    /// How long an operation may take with all its retries.
    pub operation_timeout: Duration,
    /// Waits between tries grow from here...
    pub retry_backoff: Duration,
    /// ...up to here.
    pub retry_backoff_max: Duration,
    /// Requests on one connection that wait for their answers.
    pub max_in_flight: usize,
    /// Metadata older than this is asked for anew.
    pub metadata_max_age: Duration,
    /// A longer answer ends the connection. Bytes.
    pub max_response_bytes: u32,
    /// Of each socket; `None` leaves it to the operating system. Bytes.
    pub receive_buffer: Option<u32>,
    /// Whether asking for a topic may create it, where the broker allows it too.
    pub create_topics: bool,
}

impl Default for ClientConfig {
    fn default() -> Self {
        ClientConfig {
            client_id: "ottla".to_owned(),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            stalled_after: Duration::ZERO,
            operation_timeout: Duration::from_secs(60),
            retry_backoff: Duration::from_millis(100),
            retry_backoff_max: Duration::from_secs(1),
            max_in_flight: 5,
            metadata_max_age: Duration::from_secs(300),
            max_response_bytes: 128 << 20,
            receive_buffer: None,
            create_topics: true,
        }
    }
}

/// An address in a bootstrap list that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BootstrapError {
    #[error("{address}: {reason}")]
    Address { address: String, reason: &'static str },
    #[error("the list of bootstrap addresses is empty")]
    Empty,
}

/// A cluster as a client sees it. Cheap to clone; clones share what they know.
#[derive(Clone)]
pub struct Client(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) world: World,
    pub(crate) config: ClientConfig,
    pub(crate) bootstrap: Vec<HostPort>,
    pub(crate) metadata: MetadataCache,
    connections: Connections,
    /// To the owners of durable actors.
    pub(crate) owners: Connections,
    /// Names the commands of this client.
    pub(crate) asks: Asks,
    random: Mutex<RandomStream>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("bootstrap", &self.0.bootstrap).finish_non_exhaustive()
    }
}

impl Client {
    /// A client of the cluster to which these `host:port` belong. Nothing is connected yet.
    ///
    /// # Errors
    /// An address cannot be read, or there is none.
    pub fn new(
        world: &World,
        bootstrap: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<Client, BootstrapError> {
        Self::with_config(world, bootstrap, ClientConfig::default())
    }

    /// As [`Client::new`], with settings of one's own.
    ///
    /// # Errors
    /// As there.
    pub fn with_config(
        world: &World,
        bootstrap: impl IntoIterator<Item = impl AsRef<str>>,
        config: ClientConfig,
    ) -> Result<Client, BootstrapError> {
        let parse = |address: &str| {
            HostPort::parse(address)
                .map_err(|reason| BootstrapError::Address { address: address.to_owned(), reason })
        };
        let bootstrap: Vec<HostPort> = bootstrap
            .into_iter()
            .map(|address| parse(address.as_ref()))
            .collect::<Result<_, _>>()?;
        if bootstrap.is_empty() {
            return Err(BootstrapError::Empty);
        }
        Ok(Client(Arc::new(Shared {
            world: world.clone(),
            connections: Connections::default(),
            owners: Connections::of(durable::to_owners(&config)),
            asks: Asks::new(world),
            random: Mutex::new(world.random("client")),
            metadata: MetadataCache::default(),
            config,
            bootstrap,
        })))
    }

    /// Writes records.
    pub fn producer(&self, config: ProducerConfig) -> Producer {
        Producer::new(self, config)
    }

    /// Reads records.
    pub fn consumer(&self, config: ConsumerConfig) -> Consumer {
        Consumer::new(self, config)
    }

    /// Creates, deletes and describes.
    pub fn admin(&self) -> Admin {
        Admin::new(self)
    }

    /// The durable actors on a topic, whichever nodes own them.
    pub fn durable<D: Durable>(&self, topic: &str) -> DurableRef<D> {
        DurableRef::new(self, topic)
    }

    pub fn config(&self) -> &ClientConfig {
        &self.0.config
    }

    pub fn world(&self) -> &World {
        &self.0.world
    }

    /// What is known of a topic, asked for where it is not known or too old.
    ///
    /// # Errors
    /// The topic does not exist (within the operation timeout: it may be coming), or no broker answers.
    pub async fn topic(&self, name: &str) -> Result<Arc<TopicMetadata>, MetadataError> {
        self.0.metadata.topic(self, name).await
    }

    /// Sends a request to any broker, on connections that all of this client shares: it must not wait for records.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn ask_any<R: Request>(&self, request: &R) -> Result<R::Response, RequestError> {
        let connection = self.any().await?;
        connection.request(request, self.0.config.request_timeout).await
    }

    /// A connection to any broker that can be reached: those known first, then the bootstrap list.
    pub(crate) async fn any(&self) -> Result<Connection, RequestError> {
        let mut addresses = self.0.metadata.addresses();
        if !addresses.is_empty() {
            let first = self.below(addresses.len() as u64) as usize;
            addresses.rotate_left(first);
        }
        addresses.extend(
            self.0.bootstrap.iter().filter(|a| !addresses.contains(a)).cloned().collect::<Vec<_>>(),
        );
        let mut last = String::new();
        for address in addresses {
            match self.0.connections.get(self, &address).await {
                Ok(connection) => return Ok(connection),
                Err(error) => last = error.to_string(),
            }
        }
        Err(RequestError::NoBroker(last))
    }

    /// A connection to one broker out of `connections`.
    pub(crate) async fn broker(
        &self,
        connections: &Connections,
        id: i32,
    ) -> Result<Connection, RequestError> {
        let address = self.0.metadata.address(id).ok_or(RequestError::UnknownBroker(id))?;
        connections.get(self, &address).await
    }

    pub(crate) fn below(&self, bound: u64) -> u64 {
        self.0.random.lock().unwrap_or_else(PoisonError::into_inner).below(bound)
    }

    /// How long to wait before try number `tries` + 1: doubling, a fifth of it by chance.
    pub(crate) fn backoff(&self, tries: u32) -> Duration {
        let config = &self.0.config;
        let doubled = config.retry_backoff.saturating_mul(1 << tries.min(16));
        let wait = doubled.min(config.retry_backoff_max);
        let jitter = self.0.random.lock().unwrap_or_else(PoisonError::into_inner).fraction();
        wait.mul_f64(0.8 + 0.4 * jitter)
    }

    /// Tries of one operation, within the operation timeout.
    pub(crate) fn tries(&self) -> Tries<'_> {
        let deadline = self.0.world.mono() + self.0.config.operation_timeout;
        Tries { client: self, deadline, made: 0 }
    }
}

/// Counts the tries of one operation and waits between them.
pub(crate) struct Tries<'a> {
    client: &'a Client,
    deadline: Duration,
    made: u32,
}

impl Tries<'_> {
    /// Waits before the next try; false where there is no time for one.
    pub(crate) async fn again(&mut self) -> bool {
        let wait = self.client.backoff(self.made);
        self.made = self.made.saturating_add(1);
        if self.client.0.world.mono() + wait >= self.deadline {
            return false;
        }
        self.client.0.world.sleep(wait).await;
        true
    }
}

type Slot = Arc<tokio::sync::Mutex<Option<Connection>>>;

/// At most one connection to each broker, made when it is needed. They end with this.
#[derive(Default)]
pub(crate) struct Connections {
    slots: Mutex<Map<String, Slot>>,
    /// Where it is not the client's.
    config: Option<ClientConfig>,
}

impl Connections {
    pub(crate) fn of(config: ClientConfig) -> Connections {
        Connections { slots: Mutex::default(), config: Some(config) }
    }

    /// The connection to an address; made anew where it ended. Those who want the same one wait for it together.
    pub(crate) async fn get(
        &self,
        client: &Client,
        address: &HostPort,
    ) -> Result<Connection, RequestError> {
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            slots.entry(address.to_string()).or_default().clone()
        };
        let mut slot = slot.lock().await;
        if let Some(connection) = slot.as_ref().filter(|connection| !connection.is_closed()) {
            return Ok(connection.clone());
        }
        *slot = None;
        let shared = &client.0;
        let config = self.config.as_ref().unwrap_or(&shared.config);
        let opened = Connection::open(&shared.world, &address.host, address.port, config).await?;
        Ok(slot.insert(opened).clone())
    }
}
