//! The durable actors that are registered on a node: a shard of each for every partition of its topic that is led here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use machines::metadata::MetadataImage;
use model::{ErrorCode, NodeId};
use partitions::{Hosted, PartitionHandle};
use runtime::durable::{
    Ask, AskRefused, Durable, DurableMachine, DurableRequest, DurableSettings, KEPT_MS, Leaving,
    Left, Owners, decode,
};
use runtime::{
    Answer, BoxFuture, ChildSpec, Held, Outside, Refused, Reply, Seed, ShardMsg, Watch, World,
};
use wire::batch::HEADER_LEN;
use wire::compression::Compression;

use crate::hosting::{Host, Hosting, HostingArgs, Shards};
use crate::partition_log::PartitionLog;

/// Of one read while loading.
const READ_BYTES: usize = 5 << 20;

/// How the topic of a durable actor is made and used. All nodes of a cluster register it alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DurableTopic {
    /// A key keeps its partition: the number cannot be changed once the topic is there.
    pub partitions: u16,
    /// After so many decisions of a key its state is written, and what was written before may go: 1 to [`DurableTopic::MOST_DECISIONS`].
    pub snapshot_every: u64,
}

impl Default for DurableTopic {
    fn default() -> Self {
        DurableTopic { partitions: 8, snapshot_every: 100 }
    }
}

impl DurableTopic {
    /// The tombstones of more would not come with the snapshot that they belong to, where a batch has Kafka's default size.
    pub const MOST_DECISIONS: u64 = 10_000;

    /// What is set for the topic beside the cluster's defaults. What was answered in the last ten minutes is known by the entries, which
    /// therefore stay for so long.
    pub const CONFIGS: &[(&str, &str)] = &[
        ("cleanup.policy", "compact"),
        ("min.compaction.lag.ms", "600000"),
        ("segment.bytes", "104857600"),
        ("compression.type", "producer"),
    ];
}

/// A command from a decision to a key of the same topic.
#[derive(Debug)]
pub struct Tell {
    pub topic: Arc<str>,
    pub key: String,
    pub version: u32,
    pub command: Bytes,
}

/// Without the first of these settings a journal is lost.
const KEPT: usize = 2;

/// What the durable actors of a node share.
#[derive(Clone)]
pub struct DurablesParts {
    pub world: World,
    pub node: NodeId,
    pub metadata: Watch<MetadataImage>,
    /// Takes what decisions tell; it must not wait.
    pub tell: Arc<dyn Fn(Tell) + Send + Sync>,
}

/// A durable actor before its node starts.
pub trait Registration: Send + Sync {
    fn topic(&self) -> &str;

    fn settings(&self) -> &DurableTopic;

    fn serve(&self, parts: &DurablesParts) -> Arc<dyn Served>;
}

/// One registered durable actor on a node.
pub trait Served: Send + Sync {
    fn topic(&self) -> &DurableTopic;

    fn ask(
        &self,
        ask: Ask,
        limit: Duration,
        held: Option<Held>,
    ) -> BoxFuture<'static, Result<Option<Bytes>, AskRefused>>;

    /// The parent of its shards. How it, and how they are supervised, is given.
    fn seed(&self, hosted: Arc<Hosted>, applied: Watch<i64>, specs: (ChildSpec, ChildSpec))
    -> Seed;
}

/// All that are registered on a node. Cheap to clone.
#[derive(Clone, Default)]
pub struct Durables(Arc<BTreeMap<String, Arc<dyn Served>>>);

impl Durables {
    pub fn new(parts: &DurablesParts, registered: &[Arc<dyn Registration>]) -> Durables {
        let served = registered.iter().map(|one| (one.topic().to_owned(), one.serve(parts)));
        Durables(Arc::new(served.collect()))
    }

    pub fn topic(&self, name: &str) -> Option<&DurableTopic> {
        self.0.get(name).map(|served| served.topic())
    }

    /// Why a topic's setting may not become this: its journal would not be kept.
    pub fn refuses(&self, topic: &str, name: &str, value: Option<&str>) -> Option<String> {
        self.topic(topic)?;
        let (_, wanted) = DurableTopic::CONFIGS[..KEPT].iter().find(|(of, _)| *of == name)?;
        let message = format!("{topic} is a durable actor's, whose {name} must be {wanted}");
        (value != Some(wanted)).then_some(message)
    }

    pub fn all(&self) -> impl Iterator<Item = &Arc<dyn Served>> {
        self.0.values()
    }
}

impl Owners for Durables {
    fn ask(
        &self,
        ask: Ask,
        limit: Duration,
        held: Option<Held>,
    ) -> BoxFuture<'static, Result<Option<Bytes>, AskRefused>> {
        match self.0.get(&ask.topic) {
            Some(served) => served.ask(ask, limit, held),
            None => {
                let message = format!("no durable actor is registered for {}", ask.topic);
                let refused = AskRefused::new(ErrorCode::InvalidTopicException, message);
                Box::pin(std::future::ready(Err(refused)))
            }
        }
    }
}

/// A durable actor on a topic.
pub fn register<D: Durable>(
    topic: &str,
    durable: D,
    settings: DurableTopic,
) -> Arc<dyn Registration> {
    Arc::new(Registered { topic: topic.into(), durable: Arc::new(durable), settings })
}

struct Registered<D> {
    topic: Arc<str>,
    durable: Arc<D>,
    settings: DurableTopic,
}

impl<D: Durable> Registration for Registered<D> {
    fn topic(&self) -> &str {
        &self.topic
    }

    fn settings(&self) -> &DurableTopic {
        &self.settings
    }

    fn serve(&self, parts: &DurablesParts) -> Arc<dyn Served> {
        Arc::new(DurableHost {
            topic: self.topic.clone(),
            durable: self.durable.clone(),
            settings: self.settings.clone(),
            shards: Arc::default(),
            parts: parts.clone(),
        })
    }
}

struct DurableHost<D: Durable> {
    topic: Arc<str>,
    durable: Arc<D>,
    settings: DurableTopic,
    shards: Arc<Shards<DurableMachine<D>>>,
    parts: DurablesParts,
}

impl<D: Durable> Clone for DurableHost<D> {
    fn clone(&self) -> Self {
        DurableHost {
            topic: self.topic.clone(),
            durable: self.durable.clone(),
            settings: self.settings.clone(),
            shards: self.shards.clone(),
            parts: self.parts.clone(),
        }
    }
}

impl<D: Durable> Host for DurableHost<D> {
    type Machine = DurableMachine<D>;
    const KIND: &'static str = "durables";

    fn topic(&self) -> &str {
        &self.topic
    }

    fn prefix(&self) -> &str {
        &self.topic
    }

    fn log(&self, handle: Arc<PartitionHandle>, world: World) -> PartitionLog {
        PartitionLog::new(handle, world, READ_BYTES, Compression::NONE)
    }

    fn machine(&self, log: &Arc<PartitionLog>) -> Arc<dyn Fn() -> DurableMachine<D> + Send + Sync> {
        let (host, log) = (self.clone(), log.clone());
        Arc::new(move || {
            let config = log.handle().config();
            let max = usize::try_from(config.max_message_bytes).unwrap_or(0);
            let settings = DurableSettings {
                partition: log.handle().topic_partition.partition,
                partitions: u32::from(host.settings.partitions),
                snapshot_every: host.settings.snapshot_every,
                max_batch_bytes: max.saturating_sub(HEADER_LEN),
                unfit: host.unfit(log.handle()),
            };
            DurableMachine::new(host.durable.clone(), settings)
        })
    }

    fn shards(&self) -> &Shards<DurableMachine<D>> {
        &self.shards
    }

    fn outside(&self) -> Outside<DurableMachine<D>> {
        let (tell, topic) = (self.parts.tell.clone(), self.topic.clone());
        Arc::new(move |leaving: Leaving| {
            if let Left::Tell { key, command } = leaving.what {
                tell(Tell { topic: topic.clone(), key, version: D::VERSION, command });
            }
        })
    }
}

impl<D: Durable> DurableHost<D> {
    /// Why the topic cannot hold the journal: it was made by somebody else, or changed.
    fn unfit(&self, handle: &PartitionHandle) -> Option<String> {
        let config = handle.config();
        let policy = config.cleanup_policy;
        if policy.delete || !policy.compact {
            return Some("the topic's cleanup.policy must be compact, and nothing else".to_owned());
        }
        if config.min_compaction_lag_ms < KEPT_MS {
            return Some(format!("the topic's min.compaction.lag.ms must be {KEPT_MS} at least"));
        }
        let image = self.parts.metadata.get();
        let there = image.topics.by_name(&self.topic).map(|topic| topic.partitions.size());
        let wanted = usize::from(self.settings.partitions);
        there.filter(|there| *there != wanted).map(|there| {
            format!("the topic has {there} partitions, and the durable actor is registered with {wanted}")
        })
    }

    fn request(&self, ask: Ask) -> Result<DurableRequest<D>, AskRefused> {
        if ask.version != D::VERSION {
            let message = format!(
                "asked in version {} of the durable actor; version {} is registered",
                ask.version,
                D::VERSION
            );
            return Err(AskRefused::new(ErrorCode::UnsupportedVersion, message));
        }
        let refused = |error: runtime::durable::CodecError| {
            AskRefused::new(ErrorCode::InvalidRequest, format!("the command {error}"))
        };
        let command = decode(&ask.command).map_err(refused)?;
        Ok(DurableRequest { key: ask.key, id: ask.id, command })
    }

    /// An owner that the metadata puts here is about to load, unless it cannot.
    fn not_here(&self, partition: i32) -> AskRefused {
        if let Some(cause) = self.shards.failure(partition) {
            let message = format!("the shard {}-{partition} is offline: {cause}", self.topic);
            return AskRefused::new(ErrorCode::UnknownServerError, message);
        }
        let image = self.parts.metadata.get();
        let topic = image.topics.by_name(&self.topic);
        match topic.and_then(|topic| topic.partition(partition)) {
            Some(partition) if partition.leader == self.parts.node.0 => loading(),
            _ => not_owner(),
        }
    }

    async fn send(
        &self,
        ask: Ask,
        held: Option<Held>,
    ) -> Result<Answer<Result<Leaving, Refused>>, AskRefused> {
        let partition = ask.partition;
        let shard = self.shards.get(partition).ok_or_else(|| self.not_here(partition))?;
        let (request, (reply, answer)) = (self.request(ask)?, Reply::new());
        let sent = shard.send(ShardMsg::Request { request, reply, held }).await;
        // It is being restarted, and loads then.
        sent.map_err(|_| loading())?;
        Ok(answer)
    }
}

impl<D: Durable> Served for DurableHost<D> {
    fn topic(&self) -> &DurableTopic {
        &self.settings
    }

    fn ask(
        &self,
        ask: Ask,
        limit: Duration,
        held: Option<Held>,
    ) -> BoxFuture<'static, Result<Option<Bytes>, AskRefused>> {
        let host = self.clone();
        Box::pin(async move {
            let owed = host.send(ask, held).await?;
            match host.parts.world.timeout(limit, owed.get()).await {
                Ok(Ok(Ok(Leaving { what: Left::Answer(answer), .. }))) => answer,
                Ok(Ok(Err(refused))) => Err(refused_by(refused)),
                Ok(Ok(Ok(_)) | Err(_)) => Err(open("the owner was restarted")),
                Err(_) => Err(open("it is not committed yet")),
            }
        })
    }

    fn seed(
        &self,
        hosted: Arc<Hosted>,
        applied: Watch<i64>,
        (parent, shard): (ChildSpec, ChildSpec),
    ) -> Seed {
        let metadata = self.parts.metadata.clone();
        let args = HostingArgs { hosted, metadata, applied, host: self.clone(), shard };
        Seed::of::<Hosting<DurableHost<D>>>(format!("durable:{}", self.topic), parent, args).0
    }
}

fn loading() -> AskRefused {
    AskRefused::new(ErrorCode::CoordinatorLoadInProgress, "the owner loads, or was restarted")
}

/// Of a command that may have been decided.
fn open(why: impl std::fmt::Display) -> AskRefused {
    AskRefused::new(ErrorCode::RequestTimedOut, format!("{why}; it may have been decided"))
}

fn not_owner() -> AskRefused {
    AskRefused::new(ErrorCode::NotLeaderOrFollower, "this node does not own the key")
}

fn refused_by(refused: Refused) -> AskRefused {
    match refused {
        Refused::Loading => loading(),
        // Also of those that were decided and waited to be committed.
        Refused::NotLeader | Refused::Write(_) => open(refused),
        Refused::Overloaded => {
            AskRefused::new(ErrorCode::CoordinatorNotAvailable, refused.to_string())
        }
        Refused::Failed => AskRefused::new(ErrorCode::UnknownServerError, refused.to_string()),
    }
}
