//! Reads records: each partition from a position of its own, fetched ahead while the caller works on what it has.

mod epochs;
mod fetch;
mod lookups;
mod mending;
mod positions;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use model::{ErrorCode, TopicPartition};
use runtime::{Bulkhead, Map};
use tokio::sync::mpsc;
use wire::batch::Record;

use crate::client::{Client, Connections};
use crate::error::{Refused, RequestError};
use crate::metadata::MetadataError;
use crate::offsets::GroupOffsets;
use epochs::Epochs;
use fetch::{Answer, Fetched, Outcome, Plan, Wanted};

#[derive(Debug, Clone)]
pub struct ConsumerConfig {
    /// The group under which offsets are kept, if they are.
    pub group: Option<String>,
    /// What to do where the position is outside of the log.
    pub reset: Reset,
    /// Only records of committed transactions, and those of none.
    pub read_committed: bool,
    /// How long a broker may wait for more records before it answers.
    pub max_wait: Duration,
    pub min_bytes: i32,
    /// Per answer; one batch may exceed it. Bytes.
    pub max_bytes: i32,
    /// Per answer and partition; one batch may exceed it. Bytes.
    pub max_partition_bytes: i32,
    /// No batch may be larger when decompressed. Bytes.
    pub max_decompressed_bytes: usize,
}

impl Default for ConsumerConfig {
    fn default() -> Self {
        ConsumerConfig {
            group: None,
            reset: Reset::Latest,
            read_committed: false,
            max_wait: Duration::from_millis(500),
            min_bytes: 1,
            max_bytes: 50 << 20,
            max_partition_bytes: 1 << 20,
            max_decompressed_bytes: 64 << 20,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reset {
    Earliest,
    Latest,
    /// Say so.
    Fail,
}

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    Earliest,
    /// Only what is written from now on.
    Latest,
    Offset(i64),
    /// Where the group committed; where it never did, as the reset says.
    Committed,
}

/// Records of one partition, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct PartitionRecords {
    pub partition: TopicPartition,
    /// Keys and values are slices of the answer they came in: copy what is kept for long.
    pub records: Vec<Record>,
    /// The offset to read next, which is what to commit once these are dealt with.
    pub next_offset: i64,
    pub high_watermark: i64,
}

/// Why nothing could be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConsumeError {
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    #[error("{partition}: {refused}")]
    Refused { partition: TopicPartition, refused: Refused },
    #[error("group {group}: {refused}")]
    Group { group: String, refused: Refused },
    #[error("{partition}: {reason}")]
    Corrupt { partition: TopicPartition, reason: String },
    #[error("{partition}: offset {offset} is outside of the log")]
    OutOfRange { partition: TopicPartition, offset: i64 },
    /// Of one that asks by the epoch of what it has read.
    #[error("{partition}: the log has parted from what was read, at {end} or before it")]
    Parted { partition: TopicPartition, epoch: i32, end: i64 },
    #[error("{0} is not assigned")]
    NotAssigned(TopicPartition),
    #[error("the consumer has no group")]
    NoGroup,
}

/// Where a partition is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Position {
    Unknown(Start),
    At(i64),
}

/// Reads the partitions that are assigned to it.
pub struct Consumer {
    client: Client,
    config: Arc<ConsumerConfig>,
    connections: Arc<Connections>,
    positions: Map<TopicPartition, Position>,
    /// Not fetched before this time, after an error.
    paused_until: Map<TopicPartition, Duration>,
    tries: u32,
    /// Since when a partition could not be read, and why, up to now.
    trouble: Map<TopicPartition, (Duration, ConsumeError)>,
    /// Where it is to notice that a log was cut.
    epochs: Option<Map<TopicPartition, Epochs>>,
    /// One fetch at a time per broker: what it asked for, and where.
    under_way: Map<i32, Plan>,
    /// Whose offsets are being looked up.
    sought: BTreeSet<TopicPartition>,
    /// Topics that are being asked for.
    asked: BTreeSet<String>,
    events: (mpsc::UnboundedSender<Event>, mpsc::UnboundedReceiver<Event>),
    offsets: Option<Arc<GroupOffsets>>,
}

/// What a task found out that was started in some poll and may end in a later one.
enum Event {
    Fetched(Answer),
    Found {
        wanted: Vec<(TopicPartition, Start)>,
        found: Result<Map<TopicPartition, i64>, ConsumeError>,
    },
    Topic {
        name: String,
        found: Result<(), MetadataError>,
    },
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("positions", &self.positions).finish_non_exhaustive()
    }
}

impl Consumer {
    pub(crate) fn new(client: &Client, config: ConsumerConfig) -> Consumer {
        Consumer {
            offsets: config
                .group
                .as_deref()
                .map(|group| Arc::new(GroupOffsets::new(client, group))),
            client: client.clone(),
            config: Arc::new(config),
            connections: Arc::new(Connections::default()),
            positions: Map::new(),
            paused_until: Map::new(),
            tries: 0,
            trouble: Map::new(),
            epochs: None,
            under_way: Map::new(),
            sought: BTreeSet::new(),
            asked: BTreeSet::new(),
            events: mpsc::unbounded_channel(),
        }
    }

    pub(crate) fn has_group(&self) -> bool {
        self.offsets.is_some()
    }

    /// Reads this partition too; one that is assigned already is moved.
    pub fn assign(&mut self, partition: TopicPartition, start: Start) {
        let position = match start {
            Start::Offset(offset) => Position::At(offset),
            start => Position::Unknown(start),
        };
        self.paused_until.remove(&partition);
        self.trouble.remove(&partition);
        self.positions.insert(partition, position);
    }

    /// Reads all partitions that a topic has now.
    ///
    /// # Errors
    /// The topic does not exist, or no broker answers.
    pub async fn assign_topic(&mut self, topic: &str, start: Start) -> Result<(), ConsumeError> {
        let found = self.client.topic(topic).await?;
        for partition in &found.partitions {
            let partition =
                TopicPartition { topic: topic.to_owned(), partition: partition.partition };
            self.assign(partition, start);
        }
        Ok(())
    }

    /// Reads this partition no longer.
    pub fn unassign(&mut self, partition: &TopicPartition) {
        self.positions.remove(partition);
        self.paused_until.remove(partition);
        self.trouble.remove(partition);
    }

    pub fn assigned(&self) -> Vec<TopicPartition> {
        self.positions.keys().cloned().collect()
    }

    /// Goes on from elsewhere.
    ///
    /// # Errors
    /// The partition is not assigned.
    pub fn seek(&mut self, partition: &TopicPartition, to: Start) -> Result<(), ConsumeError> {
        if !self.positions.contains_key(partition) {
            return Err(ConsumeError::NotAssigned(partition.clone()));
        }
        self.assign(partition.clone(), to);
        Ok(())
    }

    /// The offset that is read next, once it is known.
    pub fn position(&self, partition: &TopicPartition) -> Option<i64> {
        match self.positions.get(partition)? {
            Position::At(offset) => Some(*offset),
            Position::Unknown(_) => None,
        }
    }

    /// What the log of a partition begins or ends with.
    ///
    /// # Errors
    /// See [`ConsumeError`].
    pub async fn offset_of(
        &self,
        partition: &TopicPartition,
        at: Reset,
    ) -> Result<i64, ConsumeError> {
        let mut tries = self.client.tries();
        loop {
            let error = match positions::look_up(
                &self.sources(),
                std::slice::from_ref(partition),
                at,
            )
            .await
            {
                Ok(found) => match found.get(partition) {
                    Some(offset) => return Ok(*offset),
                    None => ConsumeError::NotAssigned(partition.clone()),
                },
                Err(error) => error,
            };
            if !positions::retriable(&error) || !tries.again().await {
                return Err(error);
            }
            self.client.0.metadata.mark_stale(&partition.topic);
        }
    }

    /// The records that come next, of all partitions; none where none come within `limit`. Dropping the future loses none.
    ///
    /// # Errors
    /// What cannot be mended by trying again; the position stays where it is.
    pub async fn poll(&mut self, limit: Duration) -> Result<Vec<PartitionRecords>, ConsumeError> {
        let deadline = self.client.world().mono() + limit;
        loop {
            self.find_positions();
            self.start_fetches();
            let now = self.client.world().mono();
            let wait = self.next_try(now, deadline).saturating_sub(now);
            let event = match self.events.1.try_recv() {
                Ok(event) => Some(event),
                Err(_) => {
                    let world = self.client.world().clone();
                    world.timeout(wait, self.events.1.recv()).await.ok().flatten()
                }
            };
            match event {
                Some(Event::Fetched(answer)) => {
                    let records = self.take_in(answer)?;
                    if !records.is_empty() {
                        return Ok(records);
                    }
                }
                Some(Event::Found { wanted, found }) => self.begin_at(wanted, found)?,
                Some(Event::Topic { name, found }) => self.learn(&name, found)?,
                None => {}
            }
            if self.client.world().mono() >= deadline {
                return Ok(Vec::new());
            }
        }
    }

    /// The earliest of the end of a pause and the caller's deadline.
    fn next_try(&self, now: Duration, deadline: Duration) -> Duration {
        let pauses = self.paused_until.values().filter(|until| **until > now);
        pauses.min().map_or(deadline, |until| deadline.min(*until))
    }

    fn start_fetches(&mut self) {
        let now = self.client.world().mono();
        self.paused_until.retain(|_, until| *until > now);
        let mut plans: Map<i32, Plan> = Map::new();
        let mut leaderless = Vec::new();
        let positions: Vec<_> = self.positions.iter().map(|(p, at)| (p.clone(), *at)).collect();
        for (partition, position) in positions {
            let Position::At(offset) = position else { continue };
            let asked = self.under_way.values().any(|plan| plan.contains_key(&partition));
            if asked || self.paused_until.contains_key(&partition) {
                continue;
            }
            let Some(topic) = self.client.0.metadata.cached(&self.client, &partition.topic) else {
                self.ask_for(&partition.topic);
                continue;
            };
            match topic.leader(partition.partition) {
                Some(leader) if self.under_way.contains_key(&leader) => {}
                Some(leader) => {
                    let last_epoch = self.last_epoch(&partition);
                    let plan = plans.entry(leader).or_default();
                    plan.insert(partition, Wanted { offset, last_epoch });
                }
                None => leaderless.push(partition),
            }
        }
        for partition in leaderless {
            let refused = Refused::of(ErrorCode::LeaderNotAvailable);
            self.pause(&partition, ConsumeError::Refused { partition: partition.clone(), refused });
        }
        for (leader, plan) in plans {
            self.under_way.insert(leader, plan.clone());
            let task = fetch::run(
                self.client.clone(),
                self.connections.clone(),
                self.config.clone(),
                leader,
                plan,
                self.events.0.clone(),
            );
            drop(self.client.world().spawn(Bulkhead::Network, task));
        }
    }

    /// Takes what is still wanted out of an answer, and moves the positions past it.
    fn take_in(&mut self, answer: Answer) -> Result<Vec<PartitionRecords>, ConsumeError> {
        let plan = self.under_way.remove(&answer.leader).unwrap_or_default();
        let fetched = match answer.outcome {
            Ok(fetched) => fetched,
            Err(error) if error.retriable() => {
                let why = ConsumeError::from(error);
                plan.keys().for_each(|partition| self.pause(partition, why.clone()));
                return Ok(Vec::new());
            }
            Err(error) => return Err(error.into()),
        };
        let mut all = Vec::new();
        let mut failed = None;
        for Fetched { partition, outcome } in fetched {
            let asked = plan.get(&partition).map(|wanted| wanted.offset);
            if asked.is_none() || asked != self.position(&partition) {
                continue;
            }
            match outcome {
                Outcome::Records(records, epochs) => {
                    self.tries = 0;
                    self.was_read(&partition, &epochs);
                    self.positions.insert(partition, Position::At(records.next_offset));
                    if !records.records.is_empty() {
                        all.push(records);
                    }
                }
                Outcome::Failed(error) => {
                    if let Err(error) = self.mend(&partition, asked.unwrap_or(0), error) {
                        failed = failed.or(Some(error));
                    }
                }
            }
        }
        match failed {
            // What was read is handed out first: the failed fetch is made again and fails again.
            Some(error) if all.is_empty() => Err(error),
            _ => Ok(all),
        }
    }

    /// Commits what was handed out so far.
    ///
    /// # Errors
    /// There is no group, or its coordinator refuses.
    pub async fn commit(&self) -> Result<(), ConsumeError> {
        let known = self.positions.iter().filter_map(|(partition, position)| match position {
            Position::At(offset) => Some((partition.clone(), *offset)),
            Position::Unknown(_) => None,
        });
        self.commit_offsets(&known.collect()).await
    }

    /// Commits these: for each partition the offset to read next.
    ///
    /// # Errors
    /// As [`Consumer::commit`].
    pub async fn commit_offsets(
        &self,
        offsets: &Map<TopicPartition, i64>,
    ) -> Result<(), ConsumeError> {
        self.offsets.as_ref().ok_or(ConsumeError::NoGroup)?.commit(offsets).await
    }

    /// What the group committed; partitions for which it never did are absent.
    ///
    /// # Errors
    /// As [`Consumer::commit`].
    pub async fn committed(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<Map<TopicPartition, i64>, ConsumeError> {
        self.offsets.as_ref().ok_or(ConsumeError::NoGroup)?.committed(partitions).await
    }
}
