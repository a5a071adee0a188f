//! The way to the owner of a durable actor's key.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use model::{ErrorCode, Uuid, partition_for_key};
use runtime::World;
use runtime::durable::{
    Ask, AskId, AskRefused, CodecError, Durable, MAX_COMMAND_BYTES, Owners, decode, encode,
};
use wire::{AskDurableRequest, AskDurableResponse};

use crate::client::{Client, ClientConfig};
use crate::error::{Refused, RequestError};
use crate::metadata::{MetadataError, TopicMetadata};

/// One try takes no longer; a command that is not answered by then is asked again, under its id.
const TRY: Duration = Duration::from_secs(5);
/// What an answer may take on its way.
const ON_THE_WAY: Duration = Duration::from_secs(1);

/// On one connection: many callers ask many keys, of which some wait long.
const MAX_IN_FLIGHT: usize = 64;
const STALLED_AFTER: Duration = Duration::from_secs(10);

pub(crate) fn to_owners(config: &ClientConfig) -> ClientConfig {
    let (max_in_flight, stalled_after) = (MAX_IN_FLIGHT, STALLED_AFTER);
    ClientConfig { max_in_flight, stalled_after, ..config.clone() }
}

/// Why there is no reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurableError {
    /// Nothing was changed.
    #[error(transparent)]
    Refused(Refused),
    /// This refusal changed nothing, but an earlier try, whose answer was lost, may have been decided.
    #[error("it may have been decided; asked again: {0}")]
    Uncertain(Refused),
    /// It was decided, without a reply.
    #[error("it was decided without a reply")]
    NoReply,
    /// It may have been decided, and may still be.
    #[error("no answer within {limit:?}; the last try: {last}")]
    TimedOut { limit: Duration, last: String },
    /// Nothing was asked.
    #[error("the command {0}")]
    Command(CodecError),
    /// It was decided; the reply is of another type than is expected here.
    #[error("the reply {0}")]
    Reply(CodecError),
}

/// Names the commands of one client.
pub(crate) struct Asks {
    asker: Uuid,
    next: AtomicU64,
}

impl Asks {
    pub(crate) fn new(world: &World) -> Asks {
        Asks { asker: world.random("asker").uuid(), next: AtomicU64::new(0) }
    }

    fn next(&self) -> AskId {
        AskId { asker: self.asker, sequence: self.next.fetch_add(1, Ordering::Relaxed) }
    }
}

/// The shards of the node that this client is part of: they are asked without the network.
#[derive(Clone)]
pub struct LocalOwners {
    pub node: i32,
    pub owners: Arc<dyn Owners>,
}

/// The durable actors on a topic. Cheap to clone.
pub struct DurableRef<D> {
    asker: Asker,
    actor: PhantomData<fn() -> D>,
}

impl<D> Clone for DurableRef<D> {
    fn clone(&self) -> Self {
        DurableRef { asker: self.asker.clone(), actor: PhantomData }
    }
}

impl<D: Durable> DurableRef<D> {
    pub(crate) fn new(client: &Client, topic: &str) -> Self {
        DurableRef { asker: Asker::new(client, topic), actor: PhantomData }
    }

    /// Asks these without the network.
    #[must_use]
    pub fn beside(mut self, local: LocalOwners) -> Self {
        self.asker.local = Some(local);
        self
    }

    /// How long a command may take, with all tries; by default the client's operation timeout.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        self.asker.limit = limit;
        self
    }

    /// Lets the owner of the key decide a command, and waits until what it decided is committed. The command is tried until there is an
    /// answer or the time is over, and decided at most once, as long as its owner remembers it: ten minutes, 65,536 further commands
    /// of its partition, or 16 MiB of their answers, whichever comes first. Where the time is over, it may have been decided or not; asked again it would be another command.
    ///
    /// # Errors
    /// See [`DurableError`].
    pub async fn ask(&self, key: &str, command: D::Command) -> Result<D::Reply, DurableError> {
        let command = encode(&command).map_err(DurableError::Command)?;
        let reply = self.asker.ask(key, D::VERSION, command.into()).await?;
        let reply = reply.ok_or(DurableError::NoReply)?;
        decode(&reply).map_err(DurableError::Reply)
    }
}

/// As [`DurableRef`], of commands that are encoded already.
#[derive(Clone)]
pub struct Asker {
    client: Client,
    topic: Arc<str>,
    limit: Duration,
    local: Option<LocalOwners>,
}

/// Why one try brought no reply.
enum Tried {
    Refused(AskRefused),
    /// It was not sent.
    Unsent(RequestError),
    /// It was sent, and nothing came back.
    Lost(RequestError),
    Metadata(MetadataError),
}

impl Tried {
    fn may_be_decided(&self) -> bool {
        match self {
            Tried::Refused(refused) => refused.code == ErrorCode::RequestTimedOut,
            Tried::Lost(_) => true,
            Tried::Unsent(_) | Tried::Metadata(_) => false,
        }
    }
}

impl Asker {
    pub fn new(client: &Client, topic: &str) -> Asker {
        let limit = client.config().operation_timeout;
        Asker { client: client.clone(), topic: topic.into(), limit, local: None }
    }

    #[must_use]
    pub fn beside(mut self, local: LocalOwners) -> Self {
        self.local = Some(local);
        self
    }

    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// The reply, where there is one. See [`DurableRef::ask`].
    ///
    /// # Errors
    /// As there.
    pub async fn ask(
        &self,
        key: &str,
        version: u32,
        command: Bytes,
    ) -> Result<Option<Bytes>, DurableError> {
        if command.len() > MAX_COMMAND_BYTES {
            let message = format!("a command has at most {MAX_COMMAND_BYTES} bytes");
            let code = ErrorCode::MessageTooLarge;
            return Err(DurableError::Refused(Refused { code, message }));
        }
        let (topic, key) = (self.topic.to_string(), key.to_owned());
        let id = self.client.0.asks.next();
        let mut ask = Ask { topic, partition: -1, key, id, version, command };
        let world = self.client.world();
        let deadline = world.mono() + self.limit;
        let (mut tries, mut uncertain) = (0, false);
        loop {
            let left = deadline.saturating_sub(world.mono());
            let tried = match world.timeout(left, self.once(&mut ask, left)).await {
                Ok(Ok(reply)) => return Ok(reply),
                Ok(Err(tried)) => tried,
                Err(_) => {
                    let last = "it did not end".to_owned();
                    return Err(DurableError::TimedOut { limit: self.limit, last });
                }
            };
            uncertain |= tried.may_be_decided();
            let last = self.again(tried, uncertain)?;
            let wait = self.client.backoff(tries);
            tries += 1;
            if world.mono() + wait >= deadline {
                return Err(DurableError::TimedOut { limit: self.limit, last });
            }
            world.sleep(wait).await;
        }
    }

    /// What to say of a try that another may follow.
    fn again(&self, tried: Tried, uncertain: bool) -> Result<String, DurableError> {
        self.client.0.metadata.mark_stale(&self.topic);
        let refused = |code: ErrorCode, message: String| Refused { code, message };
        match tried {
            Tried::Refused(AskRefused { code, message }) if code.retriable() => {
                Ok(refused(code, message).to_string())
            }
            Tried::Refused(AskRefused { code, message }) => match uncertain {
                true => Err(DurableError::Uncertain(refused(code, message))),
                false => Err(DurableError::Refused(refused(code, message))),
            },
            // A node that knows nothing of durable actors closes the connection.
            Tried::Unsent(error) | Tried::Lost(error) => Ok(error.to_string()),
            Tried::Metadata(error) => Ok(error.to_string()),
        }
    }

    async fn once(&self, ask: &mut Ask, left: Duration) -> Result<Option<Bytes>, Tried> {
        let leader = match self.topic().await? {
            Some(topic) => {
                let count = u32::try_from(topic.partitions.len()).unwrap_or(1);
                ask.partition = partition_for_key(ask.key.as_bytes(), count);
                topic.leader(ask.partition)
            }
            None => {
                ask.partition = -1;
                return self.by_network(None, ask, left).await;
            }
        };
        match (leader, &self.local) {
            (Some(leader), Some(local)) if leader == local.node => {
                let asked = local.owners.ask(ask.clone(), left.min(TRY), None);
                asked.await.map_err(Tried::Refused)
            }
            (Some(leader), _) => self.by_network(Some(leader), ask, left).await,
            (None, _) => {
                let message = format!("partition {} has no leader", ask.partition);
                Err(Tried::Refused(AskRefused::new(ErrorCode::LeaderNotAvailable, message)))
            }
        }
    }

    /// None where it is yet to be created.
    async fn topic(&self) -> Result<Option<Arc<TopicMetadata>>, Tried> {
        match self.client.0.metadata.topic_once(&self.client, &self.topic, false).await {
            Ok(topic) => Ok(Some(topic)),
            Err(MetadataError::Topic { refused, .. })
                if refused.code == ErrorCode::UnknownTopicOrPartition =>
            {
                Ok(None)
            }
            Err(error) => Err(Tried::Metadata(error)),
        }
    }

    /// Without an owner, any broker is asked, which creates the topic.
    async fn by_network(
        &self,
        owner: Option<i32>,
        ask: &Ask,
        left: Duration,
    ) -> Result<Option<Bytes>, Tried> {
        let limit = left.min(TRY);
        let request = AskDurableRequest {
            topic: ask.topic.clone(),
            partition_index: ask.partition,
            key: ask.key.clone(),
            asker_id: ask.id.asker,
            sequence: ask.id.sequence.cast_signed(),
            timeout_ms: i32::try_from(limit.as_millis()).unwrap_or(i32::MAX),
            actor_version: ask.version.cast_signed(),
            command: ask.command.clone(),
            ..Default::default()
        };
        let connection = match owner {
            Some(owner) => self.client.broker(&self.client.0.owners, owner).await,
            None => self.client.any().await,
        };
        let connection = connection.map_err(Tried::Unsent)?;
        let answered = connection.request(&request, limit + ON_THE_WAY).await;
        let AskDurableResponse { error_code, error_message, reply, .. } =
            answered.map_err(Tried::Lost)?;
        match (ErrorCode::from_code(error_code), reply) {
            (ErrorCode::None, reply) => Ok(reply),
            (code, _) => {
                let message = error_message.unwrap_or_else(|| code.message().to_owned());
                Err(Tried::Refused(AskRefused { code, message }))
            }
        }
    }
}
