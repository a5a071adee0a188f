//! Batches that were refused for the time being, and what their producers had sent behind them, which is refused alike.
//!
//! Kafka's leaders call that out of order, at which librdkafka before 2.3 ends its producer where the leader before had died with the batch
//! under way (its issue 4438); and of a producer that they do not know they take any sequence: what was sent behind its first batch
//! overtakes that, which cannot be written any more then.

use std::sync::{Mutex, PoisonError};

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

#[derive(Debug)]
struct Refused {
    topic: String,
    topic_id: Uuid,
    partition: i32,
    producer: (i64, i16),
    /// The first that is yet to come again.
    sequence: i32,
    /// How many were refused behind it.
    behind: u8,
}

impl Refused {
    fn is_of(&self, named: Named<'_>, header: &BatchHeader) -> bool {
        self.producer == (header.producer_id, header.producer_epoch)
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
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sequence = header.base_sequence;
        if let Some(known) = all.iter_mut().find(|refused| refused.is_of(named, header)) {
            known.sequence = known.sequence.min(sequence);
            return;
        }
        if all.len() == MOST {
            all.remove(0);
        }
        let Named { topic, topic_id, partition } = named;
        let (topic, producer) = (topic.to_owned(), (header.producer_id, header.producer_epoch));
        all.push(Refused { topic, topic_id, partition, producer, sequence, behind: 0 });
    }

    /// How the leader is to look at a batch; none where it is refused as the one before it. One that comes again is not waited for any
    /// more.
    pub(super) fn origin(&self, named: Named<'_>, header: &BatchHeader) -> Option<Origin> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(at) = all.iter().position(|refused| refused.is_of(named, header)) else {
            return Some(Origin::Client);
        };
        let refused = &mut all[at];
        if header.base_sequence > refused.sequence {
            let under_way = refused.behind < MOST_BEHIND;
            refused.behind = refused.behind.saturating_add(1);
            return (!under_way).then_some(Origin::ClientBehind(refused.sequence));
        }
        all.remove(at);
        Some(Origin::Client)
    }
}
