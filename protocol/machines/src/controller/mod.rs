//! The controller: decides what is written to the metadata log. Requests and replies are Kafka's messages; events are metadata
//! records, and what the active controller knows of brokers beyond them, which a failover forgets.

mod alter_partition;
mod brokers;
mod configs;
mod create_partitions;
mod create_topics;
mod delete_topics;
mod directories;
mod elections;
mod features;
mod heartbeats;
mod partition_change;
mod placement;
mod producer_ids;
mod random;
mod reassignments;
mod registration;
mod request;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::settings::{Resource, Value, Values};
use model::{Decision, Now, Replicated, Ticket, TimerOp, topic};
use wire::{AbortTransactionRecord, MetadataRecord, NoOpRecord};

use crate::metadata::{
    ConfigResource, MetadataImage, MetadataLoader, ReplayError, TopicImage, activation_records,
};
pub use features::{QuorumAnswer, QuorumVersion};
use heartbeats::Heartbeats;
pub use request::{ControllerReply, ControllerRequest, Permitted};

/// More partitions than this are created by no single request.
const MAX_PARTITIONS_PER_REQUEST: i64 = 10_000;
/// More records than this are written for no single request.
const MAX_RECORDS_PER_REQUEST: usize = 10_000;
/// What is said of a request that would need more.
const EXCESSIVE: &str = "Unable to perform excessively large batch operation.";
/// More elections than this are not written at once.
const MAX_ELECTIONS: usize = 1_000;

#[derive(Debug, Clone)]
pub struct ControllerConfig {
    pub node_id: i32,
    pub cluster_id: String,
    /// The voters' ids: resources of that name exist, registered or not.
    pub quorum_ids: Vec<i32>,
    /// The node's own settings, as it was started with them.
    pub settings: Values,
    /// What an empty log starts with.
    pub bootstrap: Vec<MetadataRecord>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum ControllerEvent {
    /// Appended to the metadata log, at the offset that follows the one before.
    Record(MetadataRecord),
    /// This node leads the log from here on, and appends next at this offset.
    Claimed {
        epoch: i32,
        next_offset: i64,
        at: Duration,
    },
    /// Raft appended so many records of its own, which say nothing of the metadata.
    Passed {
        records: i64,
    },
    /// A broker was heard of.
    Contact {
        broker_id: i32,
        broker_epoch: i64,
        metadata_offset: i64,
        at: Duration,
    },
    /// A broker may stop once the others have read this far.
    ShuttingDown {
        broker_id: i32,
        offset: i64,
    },
    SessionEnded {
        broker_id: i32,
    },
}

/// What the controller does unasked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ControllerTimer {
    FenceStaleBrokers,
    ElectUncleanLeaders,
    BalanceLeaders,
    WriteNoOp,
}

pub type ControllerDecision = Decision<ControllerEvent, ControllerReply, ControllerTimer>;

#[derive(Debug, Clone)]
pub struct Controller {
    config: ControllerConfig,
    loader: MetadataLoader,
    epoch: i32,
    next_offset: i64,
    /// The settings with what the log says for all brokers and for this node.
    values: Values,
    heartbeats: Heartbeats,
    /// Topic names by what they look like once '.' and '_' are the same.
    colliding: BTreeMap<String, BTreeSet<String>>,
    fault: Option<ReplayError>,
}

impl Controller {
    pub fn new(config: ControllerConfig) -> Controller {
        Controller::from_image(config, MetadataImage::default())
    }

    /// Continues after a snapshot.
    pub fn from_image(config: ControllerConfig, image: MetadataImage) -> Controller {
        Controller::from_loader(config, MetadataLoader::from_image(image))
    }

    /// Continues where the loader is: what it has read is committed, and what a leader had decided beyond is void.
    pub fn from_loader(config: ControllerConfig, loader: MetadataLoader) -> Controller {
        let provenance = loader.newest().provenance;
        let mut controller = Controller {
            values: config.settings.clone(),
            epoch: provenance.epoch,
            next_offset: provenance.offset + 1,
            loader,
            heartbeats: Heartbeats::default(),
            colliding: BTreeMap::new(),
            fault: None,
            config,
        };
        controller.derive_all();
        controller
    }

    /// A record that was read from the log.
    pub fn load(
        &mut self,
        record: &MetadataRecord,
        offset: i64,
        epoch: i32,
    ) -> Result<(), ReplayError> {
        let removed = match record {
            MetadataRecord::RemoveTopic(r) => {
                self.image().topics.by_id(r.topic_id).map(|t| t.name.clone())
            }
            _ => None,
        };
        self.loader.replay(record, offset, epoch)?;
        self.next_offset = offset + 1;
        self.derive(record, removed.as_deref());
        Ok(())
    }

    /// What decisions are made upon.
    pub fn image(&self) -> &MetadataImage {
        self.loader.newest()
    }

    /// All that it has read and decided, for who holds the same.
    pub fn loader(&self) -> &MetadataLoader {
        &self.loader
    }

    pub fn config(&self) -> &ControllerConfig {
        &self.config
    }

    /// Where the next record will stand.
    pub fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// A decision of its own that it could not take in. It must not go on leading.
    pub fn fault(&self) -> Option<&ReplayError> {
        self.fault.as_ref()
    }

    /// What else follows from a record.
    fn derive(&mut self, record: &MetadataRecord, removed: Option<&str>) {
        match record {
            MetadataRecord::Topic(r) => self.note_name(&r.name),
            MetadataRecord::RemoveTopic(_) => {
                if let Some(name) = removed {
                    self.forget_name(name);
                }
            }
            MetadataRecord::Config(r) if r.resource_type == Resource::Broker.code() => {
                self.derive_values()
            }
            MetadataRecord::AbortTransaction(_) => self.derive_all(),
            MetadataRecord::RegisterBroker(r) => {
                self.heartbeats.registered(r.broker_id, r.broker_epoch)
            }
            MetadataRecord::UnregisterBroker(r) => self.heartbeats.remove(r.broker_id),
            MetadataRecord::BrokerRegistrationChange(r) if r.fenced == 1 => {
                self.heartbeats.fenced(r.broker_id)
            }
            _ => {}
        }
    }

    fn derive_all(&mut self) {
        self.colliding.clear();
        let names: Vec<String> = self.image().topics.iter().map(|t| t.name.clone()).collect();
        for name in &names {
            self.note_name(name);
        }
        self.derive_values();
    }

    fn derive_values(&mut self) {
        let configs = &self.loader.newest().configs;
        let all = configs.of(&ConfigResource::broker_default());
        let own = configs.of(&ConfigResource::broker(self.config.node_id));
        // What cannot be used here counts as not set: it was accepted by another release.
        (self.values, _) = self.config.settings.with_dynamic(all, own);
    }

    fn note_name(&mut self, name: &str) {
        if name.contains(['.', '_']) {
            self.colliding.entry(topic::collision_key(name)).or_default().insert(name.to_owned());
        }
    }

    fn forget_name(&mut self, name: &str) {
        let key = topic::collision_key(name);
        if let Some(names) = self.colliding.get_mut(&key) {
            names.remove(name);
            if names.is_empty() {
                self.colliding.remove(&key);
            }
        }
    }

    /// What is set for the topic itself. A value that this release cannot read counts as not set.
    fn topic_setting(&self, topic: &str, key: &str) -> Option<Value> {
        let text = self.image().configs.get(&ConfigResource::topic(topic), key)?;
        Resource::Topic.setting(key)?.parse(text).ok()
    }

    /// min.insync.replicas, but never more than the topic's replicas.
    fn min_isr(&self, topic: &TopicImage) -> usize {
        let min = match self.topic_setting(&topic.name, crate::metadata::MIN_INSYNC_REPLICAS) {
            Some(Value::Int(min)) => min,
            _ => self.values.int(crate::metadata::MIN_INSYNC_REPLICAS),
        };
        let replicas = topic.partitions.values().next().map_or(1, |p| p.replicas.len());
        replicas.min(usize::try_from(min).unwrap_or(0))
    }

    fn unclean_election_enabled(&self, topic: &str) -> bool {
        let key = "unclean.leader.election.enable";
        match self.topic_setting(topic, key) {
            Some(Value::Boolean(enabled)) => enabled,
            _ => self.values.boolean(key),
        }
    }

    fn timer_period(&self, timer: ControllerTimer) -> Option<Duration> {
        let ms =
            |name: &str| Duration::from_millis(u64::try_from(self.values.long(name)).unwrap_or(0));
        let period = match timer {
            ControllerTimer::FenceStaleBrokers => {
                (self.session_timeout() / 8).max(Duration::from_millis(1))
            }
            ControllerTimer::ElectUncleanLeaders => ms("unclean.leader.election.interval.ms"),
            ControllerTimer::BalanceLeaders
                if !self.values.boolean("auto.leader.rebalance.enable") =>
            {
                return None;
            }
            ControllerTimer::BalanceLeaders => ms("leader.imbalance.check.interval.seconds") * 1000,
            ControllerTimer::WriteNoOp => ms("metadata.max.idle.interval.ms"),
        };
        (!period.is_zero()).then_some(period)
    }

    fn session_timeout(&self) -> Duration {
        Duration::from_millis(
            u64::try_from(self.values.long("broker.session.timeout.ms")).unwrap_or(0),
        )
    }

    fn set(&self, timer: ControllerTimer) -> Option<TimerOp<ControllerTimer>> {
        self.timer_period(timer).map(|after| TimerOp::Set { timer, after })
    }
}

fn of_records(records: impl IntoIterator<Item = MetadataRecord>) -> Vec<ControllerEvent> {
    records.into_iter().map(ControllerEvent::Record).collect()
}

impl Replicated for Controller {
    type Request = ControllerRequest;
    type Reply = ControllerReply;
    type Event = ControllerEvent;
    type Timer = ControllerTimer;

    fn decide(&self, now: Now, ticket: Ticket, request: ControllerRequest) -> ControllerDecision {
        let (events, reply) = self.answer(now, request);
        Decision { events, replies: vec![(ticket, reply)], timers: Vec::new() }
    }

    /// A log without records gets those of the bootstrap; what an earlier leader left unfinished is undone.
    fn on_loaded(&self, _now: Now) -> ControllerDecision {
        let mut records = Vec::new();
        if self.loader.transaction_start().is_some() {
            let reason = Some("Controller failover".to_owned());
            records.push(MetadataRecord::AbortTransaction(AbortTransactionRecord {
                reason,
                ..Default::default()
            }));
        }
        if self.loader.image().metadata_version.is_none() {
            let min_isr = self.config.settings.int(crate::metadata::MIN_INSYNC_REPLICAS);
            records.extend(activation_records(&self.config.bootstrap, min_isr));
        }
        use ControllerTimer::{BalanceLeaders, ElectUncleanLeaders, FenceStaleBrokers, WriteNoOp};
        let timers = [FenceStaleBrokers, ElectUncleanLeaders, BalanceLeaders, WriteNoOp];
        Decision {
            events: of_records(records),
            timers: timers.into_iter().filter_map(|timer| self.set(timer)).collect(),
            ..Decision::nothing()
        }
    }

    fn on_timer(&self, now: Now, timer: ControllerTimer) -> ControllerDecision {
        let events = match timer {
            ControllerTimer::FenceStaleBrokers => self.fence_stale_brokers(now),
            ControllerTimer::ElectUncleanLeaders => of_records(self.elect_unclean_leaders()),
            ControllerTimer::BalanceLeaders => of_records(self.balance_leaders()),
            ControllerTimer::WriteNoOp => of_records([MetadataRecord::NoOp(NoOpRecord::default())]),
        };
        let more = match timer {
            ControllerTimer::FenceStaleBrokers => {
                self.heartbeats.expired(now, self.session_timeout()).nth(1).is_some()
            }
            ControllerTimer::ElectUncleanLeaders | ControllerTimer::BalanceLeaders => {
                events.len() >= MAX_ELECTIONS
            }
            ControllerTimer::WriteNoOp => false,
        };
        let next = if more {
            Some(TimerOp::Set { timer, after: Duration::ZERO })
        } else {
            self.set(timer)
        };
        Decision { events, timers: next.into_iter().collect(), ..Decision::nothing() }
    }

    fn replay(&mut self, event: &ControllerEvent) {
        match event {
            ControllerEvent::Record(record) => {
                if let Err(error) = self.load(record, self.next_offset, self.epoch) {
                    self.fault.get_or_insert(error);
                }
            }
            ControllerEvent::Claimed { epoch, next_offset, at } => {
                self.epoch = *epoch;
                self.next_offset = *next_offset;
                self.heartbeats = Heartbeats::default();
                let brokers = self.loader.newest().brokers.values();
                for broker in brokers {
                    self.heartbeats.registered(broker.id, broker.epoch);
                    if !broker.fenced {
                        self.heartbeats.contact(broker.id, broker.epoch, -1, *at);
                    }
                }
            }
            ControllerEvent::Passed { records } => self.next_offset += records,
            ControllerEvent::Contact { broker_id, broker_epoch, metadata_offset, at } => {
                self.heartbeats.contact(*broker_id, *broker_epoch, *metadata_offset, *at);
            }
            ControllerEvent::ShuttingDown { broker_id, offset } => {
                self.heartbeats.shutting_down(*broker_id, *offset);
            }
            ControllerEvent::SessionEnded { broker_id } => self.heartbeats.fenced(*broker_id),
        }
    }
}
