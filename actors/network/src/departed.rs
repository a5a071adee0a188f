//! Leaders that were fenced without taking leave: clients are told of them for a second more.
//!
//! Kafka's clients hear of a dead broker until its session ends, and of new leaders then; here the leaders are others at once. A client
//! that hears of both at once may forget the broker before it has taken its partitions elsewhere: librdkafka 2.12 then looks for their
//! leaders but once a second. So it hears of the leaders first; and soon of the broker, which it tries to reach in ever longer pauses.
//! A broker that led nothing is gone at once: the log does not say whether it took leave, and no client has to look elsewhere.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use machines::metadata::{BrokerRegistration, MetadataImage};

/// Long enough for a client whose connection was reset to ask again.
const TOLD: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(crate) struct Departed(Mutex<State>);

/// Bounded by the registrations.
#[derive(Debug, Default)]
struct State {
    /// The newest that was looked at.
    before: Arc<MetadataImage>,
    /// Broker epochs, and when they were found fenced.
    gone: BTreeMap<i32, (i64, Duration)>,
}

impl Departed {
    /// Looks who was alive in the image before and is not in this one; one that is not newer changes nothing.
    pub(crate) fn see(&self, image: &Arc<MetadataImage>, now: Duration) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if image.provenance.offset <= state.before.provenance.offset {
            return;
        }
        let fenced = |id: i32, epoch: i64| {
            let broker = image.broker(id).filter(|broker| broker.epoch == epoch);
            broker.is_some_and(|broker| broker.fenced && !broker.in_controlled_shutdown)
        };
        let mut gone = std::mem::take(&mut state.gone);
        gone.retain(|id, (epoch, _)| fenced(*id, *epoch));
        let before = std::mem::replace(&mut state.before, image.clone());
        let departed = before.alive_brokers().filter(|broker| fenced(broker.id, broker.epoch));
        let leaders = departed.filter(|broker| leads_any(&before, broker.id));
        gone.extend(leaders.map(|broker| (broker.id, (broker.epoch, now))));
        state.gone = gone;
    }

    /// Whether clients are told of this broker still, or again.
    pub(crate) fn tells(&self, broker: &BrokerRegistration, now: Duration) -> bool {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = |(epoch, since): &(i64, Duration)| (*epoch == broker.epoch).then_some(*since);
        let departed = state.gone.get(&broker.id).and_then(since);
        !broker.fenced || departed.is_some_and(|since| now < since + TOLD)
    }
}

fn leads_any(image: &MetadataImage, broker: i32) -> bool {
    image.topics.iter().any(|t| t.partitions.values().any(|p| p.leader == broker))
}

#[cfg(test)]
mod tests {
    use model::Uuid;
    use wire::{MetadataRecord, PartitionRecord, RegisterBrokerRecord, TopicRecord};

    use super::*;

    fn registered(epoch: i64, fenced: bool, leaves: bool) -> BrokerRegistration {
        let record = RegisterBrokerRecord {
            broker_id: 2,
            broker_epoch: epoch,
            fenced,
            in_controlled_shutdown: leaves,
            ..Default::default()
        };
        BrokerRegistration::from_record(&record, epoch)
    }

    /// A topic of one partition that this broker leads.
    fn led_by(leader: i32) -> MetadataImage {
        let topic_id = Uuid([7; 16]);
        let topic = TopicRecord { name: "led".to_owned(), topic_id, ..Default::default() };
        let replicas = vec![leader];
        let partition = PartitionRecord {
            topic_id,
            leader,
            isr: replicas.clone(),
            replicas,
            ..Default::default()
        };
        let mut image = MetadataImage::default();
        for record in [MetadataRecord::Topic(topic), MetadataRecord::Partition(partition)] {
            image.replay(&record, 0, 0).unwrap();
        }
        image
    }

    fn told(images: &[BrokerRegistration]) -> impl Fn(u64) -> bool + use<> {
        told_of_leader(2, images)
    }

    fn told_of_leader(leader: i32, images: &[BrokerRegistration]) -> impl Fn(u64) -> bool + use<> {
        let departed = Departed::default();
        for (at, broker) in (1..).zip(images) {
            let mut image = led_by(leader);
            image.provenance.offset = at;
            image.brokers.insert_mut(2, Arc::new(broker.clone()));
            departed.see(&Arc::new(image), Duration::from_secs(at.unsigned_abs()));
        }
        let last = images.last().cloned();
        move |at| {
            let now = Duration::from_millis(at);
            last.as_ref().is_some_and(|broker| departed.tells(broker, now))
        }
    }

    #[test]
    fn who_is_fenced_without_leave_is_told_of_for_a_while() {
        let dead = told(&[registered(5, false, false), registered(5, true, false)]);
        assert!(dead(2_000) && dead(2_999) && !dead(3_000));
        let alive = told(&[registered(5, false, false)]);
        assert!(alive(1_000) && alive(100_000));
        let left = told(&[registered(5, false, true), registered(5, true, true)]);
        assert!(!left(2_000), "it has taken leave");
        let new = told(&[registered(5, false, false), registered(6, true, false)]);
        assert!(!new(2_000), "another process, which does not serve yet");
        let long_dead = told(&[registered(5, true, false)]);
        assert!(!long_dead(2_000), "it was not seen alive");
        let idle = told_of_leader(1, &[registered(5, false, false), registered(5, true, false)]);
        assert!(!idle(2_000), "it led nothing");
    }
}
