//! Batches that were refused for the time being, and what their producers had sent behind them, which is refused alike where it cannot be
//! written without them.
//!
//! Kafka's leaders call that out of order, at which librdkafka before 2.3 ends its producer where the leader before had died with the batch
//! under way (its issue 4438); and of a producer that they do not know they take any sequence: what was sent behind its first batch
//! overtakes that, which cannot be written any more then. What was refused may have come to be written elsewhere: so the leader decides
//! whether what comes next is in order.

use std::sync::{Mutex, MutexGuard, PoisonError};

use machines::partition::Origin;
use model::Uuid;
use wire::batch::BatchHeader;

/// That a connection remembers; then the oldest is forgotten.
const MOST: usize = 64;
const MAX_TOPIC_NAME: usize = 249;
/// So many are under way behind another at the most (`max.in.flight.requests.per.connection` of idempotent producers is 5). What else
/// comes does not wait for the one that was refused.
const MOST_BEHIND: u8 = 4;

/// A partition, as its producer names it.
#[derive(Clone, Copy)]
pub(super) struct Named<'a> {
    pub(super) topic: &'a str,
    pub(super) topic_id: Uuid,
    pub(super) partition: i32,
}

/// A producer's id and epoch.
pub(super) type Producer = (i64, i16);

#[derive(Debug)]
struct Refused {
    topic: String,
    topic_id: Uuid,
    partition: i32,
    producer: Producer,
    /// The first that is yet to come again.
    sequence: i32,
    /// How many were refused behind it.
    behind: u8,
}

impl Refused {
    fn is_of(&self, named: Named<'_>, producer: Producer) -> bool {
        self.producer == producer
            && self.partition == named.partition
            && self.topic_id == named.topic_id
            && self.topic == named.topic
    }
}

/// What one connection has heard and refused.
#[derive(Debug, Default)]
pub(crate) struct RefusedBatches(Mutex<Vec<Refused>>);

impl RefusedBatches {
    pub(super) fn note(&self, named: Named<'_>, header: &BatchHeader) {
        if !header.has_producer_id() || named.topic.len() > MAX_TOPIC_NAME {
            return;
        }
        let (mut all, producer) = (self.all(), producer_of(header));
        let sequence = header.base_sequence;
        if let Some(known) = all.iter_mut().find(|refused| refused.is_of(named, producer)) {
            known.sequence = known.sequence.min(sequence);
            return;
        }
        if all.len() == MOST {
            all.remove(0);
        }
        let Named { topic, topic_id, partition } = named;
        let topic = topic.to_owned();
        all.push(Refused { topic, topic_id, partition, producer, sequence, behind: 0 });
    }

    /// How the leader is to look at a batch. One that comes again is not waited for any more.
    pub(super) fn origin(&self, named: Named<'_>, header: &BatchHeader) -> Origin {
        let mut all = self.all();
        let of = |refused: &Refused| refused.is_of(named, producer_of(header));
        let Some(at) = all.iter().position(of) else {
            return Origin::Client;
        };
        let refused = all[at].sequence;
        if header.base_sequence > refused {
            return Origin::ClientBehind(refused);
        }
        all.remove(at);
        Origin::Client
    }

    /// What came behind was in order, and is written.
    pub(super) fn forget(&self, named: Named<'_>, producer: Producer) {
        self.all().retain(|refused| !refused.is_of(named, producer));
    }

    /// Whether what came behind, and was out of order, may have been under way already.
    pub(super) fn was_under_way(&self, named: Named<'_>, producer: Producer) -> bool {
        let mut all = self.all();
        let known = all.iter_mut().find(|refused| refused.is_of(named, producer));
        known.is_some_and(|refused| {
            refused.behind = refused.behind.saturating_add(1);
            refused.behind <= MOST_BEHIND
        })
    }

    fn all(&self) -> MutexGuard<'_, Vec<Refused>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn producer_of(header: &BatchHeader) -> Producer {
    (header.producer_id, header.producer_epoch)
}
