//! What is handed over and not yet delivered, by partition. Pure: the sender holds it under a lock and never waits with it.

use std::collections::VecDeque;
use std::time::Duration;

use model::TopicPartition;
use runtime::Map;
use wire::batch::increment_sequence;

use super::batch::{Batch, Stamp};
use super::{ProduceError, ProducerConfig, ProducerRecord, Teller};
use model::partition_for_key;

#[derive(Default)]
pub(super) struct Accumulator {
    queues: Map<TopicPartition, Queue>,
    /// Records whose topic is not known yet, in order.
    unrouted: Map<String, Unrouted>,
    sticky: Map<String, Sticky>,
    /// Given once; counts on per partition.
    producer: Option<(i64, i16)>,
    /// Records and batches in here, whatever their state.
    pub(super) batches: usize,
    pub(super) flushing: usize,
    pub(super) closed: bool,
}

#[derive(Default)]
struct Unrouted {
    /// With the time at which each was handed over.
    records: VecDeque<(ProducerRecord, Teller, Duration)>,
    asked: bool,
}

/// Where records without a key go until a batch's worth of them went there.
struct Sticky {
    partition: i32,
    bytes: usize,
}

#[derive(Default)]
struct Queue {
    batches: VecDeque<Batch>,
    under_way: bool,
    not_before: Duration,
    producer: Option<(i64, i16)>,
    next_sequence: i32,
}

/// What became of a batch that was under way.
pub(super) enum Fate {
    Delivered(Option<i64>),
    /// Try again after a while.
    Again {
        not_before: Duration,
        in_doubt: bool,
        error: ProduceError,
    },
    /// Not written; under a new epoch it may be.
    Anew {
        error: ProduceError,
    },
    Failed {
        in_doubt: bool,
        error: ProduceError,
    },
}

/// What the sender is to do now, and when it is to look again at the latest.
#[derive(Default)]
pub(super) struct Due {
    pub(super) batches: Vec<(TopicPartition, Batch)>,
    pub(super) topics: Vec<String>,
    pub(super) look_again: Option<Duration>,
}

impl Accumulator {
    /// True where the sender has something new to look at.
    pub(super) fn append(
        &mut self,
        config: &ProducerConfig,
        partitions: Option<u32>,
        record: ProducerRecord,
        teller: Teller,
        (now, now_ms): (Duration, i64),
        chance: impl FnOnce(u32) -> u32,
    ) -> bool {
        if self.closed {
            teller.tell(Err(ProduceError::Closed));
            return false;
        }
        let queued_before = self.unrouted.contains_key(&record.topic);
        match partitions.filter(|count| *count > 0 && !queued_before) {
            Some(count) => self.route(config, count, record, teller, (now, now_ms), chance),
            None => {
                let unrouted = self.unrouted.entry(record.topic.clone()).or_default();
                unrouted.records.push_back((record, teller, now));
                self.batches += 1;
                true
            }
        }
    }

    fn route(
        &mut self,
        config: &ProducerConfig,
        count: u32,
        record: ProducerRecord,
        teller: Teller,
        (now, now_ms): (Duration, i64),
        chance: impl FnOnce(u32) -> u32,
    ) -> bool {
        let size = record.size();
        let partition = match (record.partition, &record.key) {
            (Some(partition), _) if u32::try_from(partition).is_ok_and(|n| n < count) => partition,
            (Some(partition), _) => {
                let topic = record.topic;
                teller.tell(Err(ProduceError::NoPartition { topic, partition }));
                return false;
            }
            (None, Some(key)) => partition_for_key(key, count),
            (None, None) => self.sticky(config, &record.topic, size, count, chance),
        };
        let key = TopicPartition { topic: record.topic.clone(), partition };
        let queue = self.queues.entry(key).or_default();
        let full = config.max_batch_bytes;
        let fits = queue.batches.back().is_some_and(|batch| batch.has_room(size, full));
        if !fits {
            queue.batches.push_back(Batch::new(config.compression, now));
            self.batches += 1;
        }
        if let Some(batch) = queue.batches.back_mut() {
            batch.append(&record, now_ms, teller);
        }
        !fits && !queue.under_way
    }

    fn sticky(
        &mut self,
        config: &ProducerConfig,
        topic: &str,
        bytes: usize,
        count: u32,
        chance: impl FnOnce(u32) -> u32,
    ) -> i32 {
        let draw = |chance: u32| i32::try_from(chance % count).unwrap_or(0);
        let Some(sticky) = self.sticky.get_mut(topic) else {
            let partition = draw(chance(count));
            self.sticky.insert(topic.to_owned(), Sticky { partition, bytes });
            return partition;
        };
        let gone = u32::try_from(sticky.partition).is_ok_and(|partition| partition >= count);
        if gone || sticky.bytes >= config.max_batch_bytes {
            *sticky = Sticky { partition: draw(chance(count)), bytes: 0 };
        }
        sticky.bytes += bytes;
        sticky.partition
    }

    /// The topic is known now: its records go where they belong.
    pub(super) fn resolved(
        &mut self,
        config: &ProducerConfig,
        topic: &str,
        partitions: Result<u32, ProduceError>,
        now_ms: i64,
        mut chance: impl FnMut(u32) -> u32,
    ) {
        let Some(unrouted) = self.unrouted.remove(topic) else { return };
        self.batches -= unrouted.records.len();
        for (record, teller, since) in unrouted.records {
            let at = (since, now_ms);
            match &partitions {
                Ok(count) => {
                    self.route(config, (*count).max(1), record, teller, at, &mut chance);
                }
                Err(error) => teller.tell(Err(error.clone())),
            }
        }
    }

    /// Takes out what is to be sent now.
    pub(super) fn due(&mut self, config: &ProducerConfig, now: Duration) -> Due {
        let mut due = Due::default();
        for (topic, unrouted) in self.unrouted.iter_mut().filter(|(_, topic)| !topic.asked) {
            unrouted.asked = true;
            due.topics.push(topic.clone());
        }
        let hurry = self.flushing > 0;
        for (partition, queue) in &mut self.queues {
            if queue.under_way {
                continue;
            }
            let Some(at) = queue.sendable_at(config, now, hurry) else { continue };
            if at > now {
                due.look_again = Some(due.look_again.map_or(at, |earliest| earliest.min(at)));
            } else if let Some(batch) = queue.take(self.producer) {
                due.batches.push((partition.clone(), batch));
            }
        }
        due
    }

    /// Gives up what was handed over so long ago and is not under way; when the next will have been, of all that is not.
    pub(super) fn expire(&mut self, config: &ProducerConfig, now: Duration) -> Option<Duration> {
        let timeout = config.delivery_timeout;
        let mut next: Option<Duration> = None;
        let mut later = |since: Duration| {
            let at = since + timeout;
            next = Some(next.map_or(at, |earliest| earliest.min(at)));
        };
        for (topic, unrouted) in &mut self.unrouted {
            let old = |(_, _, since): &mut (_, _, Duration)| *since + timeout <= now;
            while let Some((_, teller, _)) = unrouted.records.pop_front_if(old) {
                self.batches -= 1;
                teller.tell(Err(ProduceError::TimedOut(format!("{topic} is not known"))));
            }
            unrouted.records.front().into_iter().for_each(|(_, _, since)| later(*since));
        }
        for queue in self.queues.values_mut() {
            let old = |batch: &mut Batch| batch.created + timeout <= now;
            while let Some(batch) = queue.batches.pop_front_if(old) {
                self.batches -= 1;
                let last = batch.last_error.as_ref();
                let last = last.map_or_else(|| "it was not sent".to_owned(), ToString::to_string);
                queue.give_up(batch, &mut self.producer, &ProduceError::TimedOut(last));
            }
            queue.batches.front().into_iter().for_each(|batch| later(batch.created));
        }
        next
    }

    /// Whether the sender must ask for a producer id before it takes anything.
    pub(super) fn lacks_producer_id(&self, config: &ProducerConfig) -> bool {
        config.idempotent
            && self.producer.is_none()
            && self.queues.values().any(|queue| !queue.batches.is_empty())
    }

    pub(super) fn set_producer_id(&mut self, id: i64, epoch: i16) {
        self.producer = Some((id, epoch));
    }

    /// What became of a batch that [`Accumulator::due`] gave out.
    pub(super) fn settle(
        &mut self,
        config: &ProducerConfig,
        partition: &TopicPartition,
        mut batch: Batch,
        fate: Fate,
        now: Duration,
    ) {
        let Some(queue) = self.queues.get_mut(partition) else { return };
        queue.under_way = false;
        let expired = batch.created + config.delivery_timeout <= now;
        let error = match fate {
            Fate::Delivered(offset) => {
                if batch.stamp.is_some() {
                    queue.next_sequence = increment_sequence(queue.next_sequence, batch.count());
                }
                self.batches -= 1;
                return batch.delivered(partition.partition, offset);
            }
            Fate::Again { not_before, in_doubt, error } => {
                batch.in_doubt |= in_doubt;
                if !expired && !self.closed {
                    queue.put_back(batch, not_before, error);
                    return;
                }
                ProduceError::TimedOut(error.to_string())
            }
            Fate::Anew { error } if !batch.in_doubt && batch.tries < 3 && !self.closed => {
                queue.begin_epoch(&mut self.producer);
                batch.stamp = None;
                queue.put_back(batch, now, error);
                return;
            }
            Fate::Anew { error } => {
                batch.in_doubt = true;
                error
            }
            Fate::Failed { in_doubt, error } => {
                batch.in_doubt |= in_doubt;
                error
            }
        };
        self.batches -= 1;
        queue.give_up(batch, &mut self.producer, &error);
    }

    /// Gives up all that is not under way.
    pub(super) fn close(&mut self) {
        self.closed = true;
        self.fail_waiting(&ProduceError::Closed);
    }

    /// Nothing that waits can be sent.
    pub(super) fn fail_waiting(&mut self, error: &ProduceError) {
        for (_, unrouted) in std::mem::take(&mut self.unrouted) {
            self.batches -= unrouted.records.len();
            unrouted.records.into_iter().for_each(|(_, teller, _)| teller.tell(Err(error.clone())));
        }
        for queue in self.queues.values_mut() {
            for batch in std::mem::take(&mut queue.batches) {
                self.batches -= 1;
                queue.give_up(batch, &mut self.producer, error);
            }
        }
    }
}

impl Queue {
    /// When its first batch may go; `None` where there is none.
    fn sendable_at(&self, config: &ProducerConfig, now: Duration, hurry: bool) -> Option<Duration> {
        let first = self.batches.front()?;
        let full = self.batches.len() > 1 || first.bytes() >= config.max_batch_bytes;
        let lingered = match full || hurry || first.tries > 0 {
            true => now,
            false => first.created + config.linger,
        };
        Some(lingered.max(self.not_before))
    }

    fn take(&mut self, producer: Option<(i64, i16)>) -> Option<Batch> {
        let mut batch = self.batches.pop_front()?;
        self.under_way = true;
        self.producer = self.producer.or(producer);
        if let (None, Some((producer_id, epoch))) = (batch.stamp, self.producer) {
            batch.stamp = Some(Stamp { producer_id, epoch, sequence: self.next_sequence });
        }
        batch.tries += 1;
        Some(batch)
    }

    fn put_back(&mut self, mut batch: Batch, not_before: Duration, error: ProduceError) {
        batch.last_error = Some(error);
        self.not_before = not_before;
        self.batches.push_front(batch);
    }

    /// What may have been written under its sequence would be taken for the next batch, and that be lost.
    fn give_up(&mut self, batch: Batch, current: &mut Option<(i64, i16)>, error: &ProduceError) {
        if batch.in_doubt && batch.stamp.is_some() {
            self.begin_epoch(current);
        }
        batch.failed(error);
    }

    /// What was sent under the old epoch no longer counts: sequences begin again. The epochs of one id are few; then a new
    /// id is asked for.
    fn begin_epoch(&mut self, current: &mut Option<(i64, i16)>) {
        self.next_sequence = 0;
        self.producer = match self.producer {
            Some((id, epoch)) if epoch < i16::MAX - 1 => Some((id, epoch + 1)),
            _ => {
                *current = None;
                None
            }
        };
    }
}
