//! Since when the metadata is as it is: read from the metadata log, whose batches have their times, beside the actors.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use disk::Disk;
use log::LogView;
use machines::consensus::OffsetAndEpoch;
use machines::metadata::PartitionRegistration;
use model::Uuid;
use runtime::{Failure, Outcome};
use wire::{
    BrokerRegistrationChangeRecord, MetadataRecord, PartitionChangeRecord, PartitionRecord,
};

use crate::raft::records_of;
use crate::snapshot;

/// Where the log is, as raft knows it.
pub struct LogPlace {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) log: LogView,
    pub(crate) snapshot: Option<OffsetAndEpoch>,
    pub(crate) committed: i64,
}

/// By topic id and number.
pub type PartitionKey = (Uuid, i32);

/// Unix milliseconds of the changes that brought about what is now; `None` where it is not so.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BrokerSince {
    pub registered: Option<i64>,
    pub fenced: Option<i64>,
    pub stopping: Option<i64>,
    pub unregistered: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionSince {
    pub leader: i64,
    pub reassigning: Option<i64>,
    /// Replicas that are not in the ISR.
    pub out: BTreeMap<i32, OutOfSync>,
    registration: PartitionRegistration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfSync {
    pub since: i64,
    /// The leader that put it out; none where the controller did.
    pub by_leader: Option<i32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct History {
    /// What was so at this time may have been so before.
    pub from: Option<i64>,
    pub brokers: BTreeMap<i32, BrokerSince>,
    /// Those that were asked for, and are there.
    pub partitions: BTreeMap<PartitionKey, PartitionSince>,
}

impl LogPlace {
    /// Of all brokers and these partitions. May take long: the newest snapshot and all that follows it is read.
    ///
    /// # Errors
    /// The log cannot be read, or not be understood.
    pub fn history(&self, of: &BTreeSet<PartitionKey>) -> Result<History, Failure> {
        let mut reading = Reading { history: History::default(), of };
        let mut next_offset = self.log.log_start_offset();
        if let Some(id) = self.snapshot.filter(|id| *id != OffsetAndEpoch::EMPTY) {
            let path = snapshot::path(&self.dir, id);
            let mut failed: Outcome = Ok(());
            // There may be millions of them.
            snapshot::for_each(&*self.disk, &path, snapshot::MAX_SNAPSHOT, |at, record| {
                if failed.is_ok() {
                    failed = reading.batch(&[record], at);
                }
            })?;
            failed?;
            next_offset = id.offset;
        }
        let mut failed: Outcome = Ok(());
        self.log.batches_from(next_offset).for_each(|batch| {
            let header = *batch.header();
            if header.next_offset() > self.committed {
                return false;
            }
            let records = records_of(&batch);
            failed = records.and_then(|records| reading.batch(&records, header.max_timestamp));
            failed.is_ok()
        })?;
        failed.map(|()| reading.history)
    }
}

struct Reading<'a> {
    history: History,
    of: &'a BTreeSet<PartitionKey>,
}

impl Reading<'_> {
    fn batch(&mut self, records: &[MetadataRecord], at: i64) -> Outcome {
        if records.is_empty() {
            return Ok(());
        }
        self.history.from.get_or_insert(at);
        // A broker's fence stands behind the changes of partitions that it led to.
        records.iter().for_each(|record| self.broker(record, at));
        records.iter().try_for_each(|record| self.of_topics(record, at))
    }

    fn broker(&mut self, record: &MetadataRecord, at: i64) {
        match record {
            MetadataRecord::RegisterBroker(r) => {
                let broker = self.history.brokers.entry(r.broker_id).or_default();
                let fenced = r.fenced.then(|| broker.fenced.unwrap_or(at));
                let stopping = r.in_controlled_shutdown.then_some(at);
                let registered = Some(at);
                *broker = BrokerSince { registered, fenced, stopping, unregistered: None };
            }
            MetadataRecord::UnregisterBroker(r) => {
                let unregistered = Some(at);
                let gone = BrokerSince { unregistered, ..BrokerSince::default() };
                self.history.brokers.insert(r.broker_id, gone);
            }
            MetadataRecord::FenceBroker(r) => self.fence(r.id, true, at),
            MetadataRecord::UnfenceBroker(r) => self.fence(r.id, false, at),
            MetadataRecord::BrokerRegistrationChange(r) => self.broker_changed(r, at),
            _ => {}
        }
    }

    fn of_topics(&mut self, record: &MetadataRecord, at: i64) -> Outcome {
        match record {
            MetadataRecord::Partition(r) => self.partition(r, at)?,
            MetadataRecord::PartitionChange(r) => self.partition_changed(r, at)?,
            MetadataRecord::RemoveTopic(r) => {
                self.history.partitions.retain(|(topic, _), _| *topic != r.topic_id);
            }
            _ => {}
        }
        Ok(())
    }

    fn fence(&mut self, id: i32, fenced: bool, at: i64) {
        let broker = self.history.brokers.entry(id).or_default();
        broker.fenced = fenced.then(|| broker.fenced.unwrap_or(at));
    }

    fn broker_changed(&mut self, r: &BrokerRegistrationChangeRecord, at: i64) {
        if r.fenced != 0 {
            self.fence(r.broker_id, r.fenced > 0, at);
        }
        if r.in_controlled_shutdown > 0 {
            let broker = self.history.brokers.entry(r.broker_id).or_default();
            broker.stopping.get_or_insert(at);
        }
    }

    fn partition(&mut self, r: &PartitionRecord, at: i64) -> Outcome {
        let key = (r.topic_id, r.partition_id);
        if self.of.contains(&key) {
            let registration = PartitionRegistration::from_record(r)?;
            let mut since = PartitionSince {
                leader: at,
                reassigning: None,
                out: BTreeMap::new(),
                registration: registration.clone(),
            };
            since.become_now(registration, at, None);
            self.history.partitions.insert(key, since);
        }
        Ok(())
    }

    fn partition_changed(&mut self, r: &PartitionChangeRecord, at: i64) -> Outcome {
        let Some(since) = self.history.partitions.get_mut(&(r.topic_id, r.partition_id)) else {
            return Ok(());
        };
        let before = &since.registration;
        let now = before.merge(r)?;
        let brokers = &self.history.brokers;
        let is_out = |id: &i32| {
            let gone =
                |broker: &BrokerSince| broker.fenced.or(broker.stopping).or(broker.unregistered);
            brokers.get(id).is_none_or(|broker| gone(broker).is_some())
        };
        let left = || before.isr.iter().filter(|id| !now.isr.contains(id));
        // Where a directory is lost, or replicas come and go, it is the controller.
        let led = before.has_leader() && before.leader == now.leader && r.directories.is_none();
        let by_leader = led && before.replicas == now.replicas && !left().any(is_out);
        let by_leader = by_leader.then_some(before.leader);
        since.become_now(now, at, by_leader);
        Ok(())
    }
}

impl PartitionSince {
    fn become_now(&mut self, now: PartitionRegistration, at: i64, by_leader: Option<i32>) {
        if now.leader != self.registration.leader {
            self.leader = at;
        }
        self.reassigning = now.reassigning().then(|| self.reassigning.unwrap_or(at));
        self.out.retain(|id, _| now.replicas.contains(id) && !now.isr.contains(id));
        for id in now.replicas.iter().filter(|id| !now.isr.contains(id)) {
            self.out.entry(*id).or_insert(OutOfSync { since: at, by_leader });
        }
        self.registration = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOPIC: Uuid = Uuid([7; 16]);

    fn created() -> MetadataRecord {
        MetadataRecord::Partition(PartitionRecord {
            partition_id: 0,
            topic_id: TOPIC,
            replicas: vec![1, 2, 3],
            isr: vec![1, 2, 3],
            leader: 1,
            leader_epoch: 0,
            partition_epoch: 0,
            ..Default::default()
        })
    }

    fn changed(isr: &[i32], leader: i32) -> MetadataRecord {
        MetadataRecord::PartitionChange(PartitionChangeRecord {
            partition_id: 0,
            topic_id: TOPIC,
            isr: Some(isr.to_vec()),
            leader,
            ..Default::default()
        })
    }

    fn registered(broker_id: i32) -> MetadataRecord {
        MetadataRecord::RegisterBroker(wire::RegisterBrokerRecord {
            broker_id,
            fenced: false,
            ..Default::default()
        })
    }

    fn fenced(id: i32, fenced: i8) -> MetadataRecord {
        MetadataRecord::BrokerRegistrationChange(BrokerRegistrationChangeRecord {
            broker_id: id,
            fenced,
            ..Default::default()
        })
    }

    fn read(batches: &[(i64, Vec<MetadataRecord>)]) -> History {
        let of = BTreeSet::from([(TOPIC, 0)]);
        let mut reading = Reading { history: History::default(), of: &of };
        for (at, records) in batches {
            reading.batch(records, *at).unwrap();
        }
        reading.history
    }

    #[test]
    fn what_is_now_dates_from_the_change_that_brought_it_about() {
        let brokers = || (1..=3).map(registered).collect();
        let history = read(&[
            (10, brokers()),
            (20, vec![created()]),
            (30, vec![changed(&[1, 2], -2)]),
            (40, vec![changed(&[1], -2), fenced(2, 1)]),
            (50, vec![changed(&[1], 1)]),
        ]);
        let since = &history.partitions[&(TOPIC, 0)];
        assert_eq!(since.leader, 20);
        assert_eq!(since.out[&3], OutOfSync { since: 30, by_leader: Some(1) });
        assert_eq!(since.out[&2], OutOfSync { since: 40, by_leader: None });
        assert_eq!((history.from, history.brokers[&2].fenced), (Some(10), Some(40)));

        let unregistered = wire::UnregisterBrokerRecord { broker_id: 2, ..Default::default() };
        let added = PartitionChangeRecord {
            topic_id: TOPIC,
            partition_id: 0,
            replicas: Some(vec![1, 2, 3, 4]),
            adding_replicas: Some(vec![4]),
            ..Default::default()
        };
        let offline = PartitionChangeRecord {
            topic_id: TOPIC,
            partition_id: 0,
            isr: Some(vec![1]),
            directories: Some(vec![Uuid::ZERO; 4]),
            ..Default::default()
        };
        let gone = MetadataRecord::UnregisterBroker(unregistered);
        let history = read(&[
            (10, brokers()),
            (20, vec![created()]),
            (30, vec![changed(&[1, 3], -2), gone]),
            (40, vec![MetadataRecord::PartitionChange(added)]),
            (50, vec![MetadataRecord::PartitionChange(offline)]),
        ]);
        for (id, since) in [(2, 30), (4, 40), (3, 50)] {
            let out = history.partitions[&(TOPIC, 0)].out.get(&id);
            assert_eq!(
                out,
                Some(&OutOfSync { since, by_leader: None }),
                "{id}: the controller did it"
            );
        }

        let history = read(&[
            (10, brokers()),
            (20, vec![created()]),
            (30, vec![fenced(2, 1), fenced(1, 1), changed(&[3], -1)]),
            (40, vec![fenced(2, -1), changed(&[3, 2], 3)]),
        ]);
        let since = &history.partitions[&(TOPIC, 0)];
        assert_eq!((since.leader, since.out.keys().copied().collect()), (40, vec![1]));
        assert_eq!((history.brokers[&1].fenced, history.brokers[&2].fenced), (Some(30), None));
    }
}
