//! Brokers that were fenced without taking leave: clients are told of them for a second more.
//!
//! Kafka's clients hear of a dead broker until its session ends, and of new leaders then; here the leaders are others at once. A client
//! that hears of both at once may forget the broker before it has taken its partitions elsewhere: librdkafka 2.12 then looks for their
//! leaders but once a second. So it hears of the leaders first; and soon of the broker, which it tries to reach in ever longer pauses.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use machines::metadata::{BrokerRegistration, MetadataImage};

/// Long enough for a client whose connection was reset to ask again.
const TOLD: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(crate) struct Departed(Mutex<State>);

/// Bounded by the registrations.
#[derive(Debug, Default)]
struct State {
    /// Of the newest image that was looked at.
    offset: i64,
    /// Broker epochs.
    alive: BTreeMap<i32, i64>,
    /// When they were found fenced.
    gone: BTreeMap<i32, (i64, Duration)>,
}

impl Departed {
    /// Looks who was alive in the image before and is not in this one; one that is not newer changes nothing.
    pub(crate) fn see(&self, image: &MetadataImage, now: Duration) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if image.provenance.offset <= state.offset {
            return;
        }
        state.offset = image.provenance.offset;
        let fenced = |id: i32, epoch: i64| {
            let broker = image.broker(id).filter(|broker| broker.epoch == epoch);
            broker.is_some_and(|broker| broker.fenced && !broker.in_controlled_shutdown)
        };
        let mut gone = std::mem::take(&mut state.gone);
        gone.retain(|id, (epoch, _)| fenced(*id, *epoch));
        let departed = state.alive.iter().filter(|(id, epoch)| fenced(**id, **epoch));
        gone.extend(departed.map(|(id, epoch)| (*id, (*epoch, now))));
        state.gone = gone;
        state.alive = image.alive_brokers().map(|broker| (broker.id, broker.epoch)).collect();
    }

    /// Whether clients are told of this broker still, or again.
    pub(crate) fn tells(&self, broker: &BrokerRegistration, now: Duration) -> bool {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = |(epoch, since): &(i64, Duration)| (*epoch == broker.epoch).then_some(*since);
        let departed = state.gone.get(&broker.id).and_then(since);
        !broker.fenced || departed.is_some_and(|since| now < since + TOLD)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use wire::RegisterBrokerRecord;

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

    fn told(images: &[BrokerRegistration]) -> impl Fn(u64) -> bool + use<> {
        let departed = Departed::default();
        for (at, broker) in (1..).zip(images) {
            let mut image = MetadataImage::default();
            image.provenance.offset = at;
            image.brokers.insert_mut(2, Arc::new(broker.clone()));
            departed.see(&image, Duration::from_secs(at.unsigned_abs()));
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
    }
}
