//! Batches that were refused for the time being, and what their producers had sent behind them. A leader takes any sequence of a producer
//! that it does not know, as Kafka's does: what was sent behind a producer's first batch would overtake it where that came too early,
//! and could not be written any more.

use std::sync::{Mutex, PoisonError};

use machines::partition::Origin;
use model::Uuid;
use wire::batch::BatchHeader;

/// That a connection remembers; then the oldest is forgotten.
const MOST: usize = 64;
const MAX_TOPIC_NAME: usize = 249;

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
        all.push(Refused { topic, topic_id, partition, producer, sequence });
    }

    /// How the leader is to look at a batch. One that comes again is not waited for any more.
    pub(super) fn origin(&self, named: Named<'_>, header: &BatchHeader) -> Origin {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(at) = all.iter().position(|refused| refused.is_of(named, header)) else {
            return Origin::Client;
        };
        let refused = all[at].sequence;
        if header.base_sequence > refused {
            return Origin::ClientBehind(refused);
        }
        all.remove(at);
        Origin::Client
    }
}
