//! How many connections there may be, over the listeners that count together. Source: `ConnectionQuotas` of Kafka's `SocketServer`.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::node_config::ConnectionLimits;
use model::settings::Values;
use runtime::{Map, Pulse, Waiter, Watch};

/// Of what the process can hold open, this part is for the listener of brokers alone, so that others can close for it.
const BROKERS_SHARE: usize = 16;

/// Counts the connections of several listeners against `max.connections`, `max.connections.per.ip` and its overrides, as they
/// are set at the moment, and against what the process can hold open.
#[derive(Debug)]
pub struct ConnectionQuotas {
    settings: Watch<Values>,
    /// Whatever is set. A part of it is for the listener of brokers alone.
    most: usize,
    counts: Mutex<Counts>,
    /// There may be room for one more.
    freed: Pulse,
    /// There may be more than are allowed.
    beyond: Pulse,
}

#[derive(Debug, Default)]
struct Counts {
    open: usize,
    /// Of those, they were told to close.
    closing: usize,
    by_ip: Map<IpAddr, usize>,
}

/// A connection's place among those allowed; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Slot {
    quotas: Arc<ConnectionQuotas>,
    ip: IpAddr,
    closing: bool,
}

/// Its address has as many connections as it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooMany;

impl ConnectionQuotas {
    /// Of connections that are not more than `most` at any time, whatever the settings allow.
    pub fn new(settings: Watch<Values>, most: usize) -> Arc<ConnectionQuotas> {
        let (counts, freed, beyond) = (Mutex::default(), Pulse::new(), Pulse::new());
        Arc::new(ConnectionQuotas { settings, most: most.max(1), counts, freed, beyond })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn limits(&self) -> ConnectionLimits {
        ConnectionLimits::new(&self.settings.get()).at_most(self.most - self.most / BROKERS_SHARE)
    }

    /// Waits while there are `max.connections`, or more cannot be held open. A connection that is `protected` does not wait for
    /// the former: another closes for it.
    pub(crate) async fn take(
        self: &Arc<Self>,
        ip: IpAddr,
        protected: bool,
    ) -> Result<Slot, TooMany> {
        let ip = ip.to_canonical();
        let mut waiter = Waiter::new();
        loop {
            waiter.on(&self.freed);
            waiter.on(self.settings.pulse());
            if let Some(taken) = self.try_take(ip, protected) {
                return taken;
            }
            waiter.wait().await;
        }
    }

    fn try_take(self: &Arc<Self>, ip: IpAddr, protected: bool) -> Option<Result<Slot, TooMany>> {
        let limits = self.limits();
        let mut counts = self.counts();
        if counts.open >= self.most || (counts.open >= limits.in_all && !protected) {
            return None;
        }
        if counts.by_ip.get(&ip).copied().unwrap_or(0) >= limits.of(ip) {
            return Some(Err(TooMany));
        }
        counts.open += 1;
        *counts.by_ip.entry(ip).or_default() += 1;
        let exceeded = counts.exceeds(&limits);
        drop(counts);
        if exceeded {
            self.beyond.publish();
        }
        Some(Ok(Slot { quotas: self.clone(), ip, closing: false }))
    }

    /// Whether more connections are open than are allowed, beside those that close already.
    pub(crate) fn exceeded(&self) -> bool {
        self.counts().exceeds(&self.limits())
    }

    /// One of them is published where that may have become so.
    pub(crate) fn pulses(&self) -> [&Pulse; 2] {
        [&self.beyond, self.settings.pulse()]
    }
}

impl Counts {
    fn exceeds(&self, limits: &ConnectionLimits) -> bool {
        self.open - self.closing > limits.in_all
    }
}

impl Slot {
    /// Whether its connection must close, because there are too many.
    pub(crate) fn must_close(&mut self) -> bool {
        let limits = self.quotas.limits();
        let mut counts = self.quotas.counts();
        let closes = !self.closing && counts.exceeds(&limits);
        if closes {
            counts.closing += 1;
            self.closing = true;
        }
        closes
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut counts = self.quotas.counts();
        counts.open -= 1;
        counts.closing -= usize::from(self.closing);
        if let Some(count) = counts.by_ip.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                counts.by_ip.remove(&self.ip);
            }
        }
        drop(counts);
        self.quotas.freed.publish();
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use runtime::watch;

    use super::*;

    const A: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    const B: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));

    fn values(given: &[(&str, &str)]) -> Values {
        Values::new(given.iter().copied()).unwrap()
    }

    #[tokio::test]
    async fn the_listener_of_brokers_goes_beyond_and_others_make_room() {
        let (_settings, watch) = watch(values(&[("max.connections", "1")]));
        let quotas = ConnectionQuotas::new(watch, usize::MAX);
        let mut client = quotas.take(A, false).await.unwrap();
        assert!(!quotas.exceeded() && !client.must_close());
        assert!(quotas.try_take(A, false).is_none());
        let broker = quotas.take(A, true).await.unwrap();
        assert!(quotas.exceeded() && client.must_close());
        assert!(!quotas.exceeded() && !client.must_close(), "one is enough, and told once");
        drop(client);
        assert!(quotas.try_take(A, false).is_none());
        drop(broker);
        assert!(quotas.try_take(A, false).is_some());
    }

    #[tokio::test]
    async fn no_more_are_taken_than_can_be_held_open() {
        let (_settings, watch) = watch(Values::default());
        let quotas = ConnectionQuotas::new(watch, 32);
        let mut clients = Vec::new();
        while let Some(client) = quotas.try_take(A, false) {
            clients.push(client.unwrap());
        }
        assert_eq!(clients.len(), 30);
        let brokers = [quotas.take(A, true).await.unwrap(), quotas.take(A, true).await.unwrap()];
        assert!(quotas.try_take(A, true).is_none(), "also the brokers' wait");
        assert!(clients.iter_mut().filter_map(|c| c.must_close().then_some(())).count() == 2);
        drop(clients.pop());
        assert!(quotas.try_take(A, false).is_none());
        let _third = quotas.take(A, true).await.unwrap();
        drop(brokers);
    }

    #[tokio::test]
    async fn addresses_are_counted_apart_whatever_they_are_written_as() {
        let overrides = ("max.connections.per.ip.overrides", "10.0.0.1:9,10.0.0.1:2, [::1]:0");
        let (settings, watch) = watch(values(&[("max.connections.per.ip", "1"), overrides]));
        let quotas = ConnectionQuotas::new(watch, usize::MAX);
        let mapped = "::ffff:10.0.0.1".parse().unwrap();
        let _two = [quotas.take(A, false).await, quotas.take(mapped, false).await];
        assert_eq!(quotas.take(A, false).await.err(), Some(TooMany));
        assert_eq!(quotas.take("::1".parse().unwrap(), false).await.err(), Some(TooMany));
        let other = quotas.take(B, false).await.unwrap();
        assert_eq!(quotas.take(B, true).await.err(), Some(TooMany));
        drop(other);
        settings.publish(values(&[("max.connections.per.ip", "3")]));
        let _three = quotas.take(A, false).await.unwrap();
        assert_eq!(quotas.take(A, false).await.err(), Some(TooMany));
    }
}
