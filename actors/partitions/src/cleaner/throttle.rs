//! What several together may read, write or send in a second.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::NodeId;
use model::node_config::replication_quota_window;
use model::settings::Values;

#[derive(Debug)]
pub struct Throttle {
    /// Bits of bytes per second.
    rate: AtomicU64,
    /// When what was used so far is paid for.
    paid_at: Mutex<Duration>,
    /// No debt is remembered for longer.
    memory: Duration,
}

impl Throttle {
    pub fn new(bytes_per_second: f64) -> Throttle {
        Throttle {
            rate: AtomicU64::new(bytes_per_second.to_bits()),
            paid_at: Mutex::new(Duration::ZERO),
            memory: Duration::MAX,
        }
    }

    /// Of replication: some of those whose use counts are never held back, and the others would have to pay for all of it. Kafka forgets
    /// what its samples no longer hold (`ReplicationQuotaManager`, `SimpleRate`).
    pub fn of_replication(settings: &Values) -> Throttle {
        Throttle { memory: replication_quota_window(settings), ..Throttle::new(f64::MAX) }
    }

    /// The rate is this one, whatever it was.
    pub fn hold_to(&self, bytes_per_second: f64) {
        if self.rate.load(Ordering::Relaxed) != bytes_per_second.to_bits() {
            self.set_rate(bytes_per_second);
        }
    }

    /// Debts made at the old rate are forgiven.
    pub fn set_rate(&self, bytes_per_second: f64) {
        // Whoever counts at the old rate is before this.
        let mut paid_at = self.paid_at();
        self.rate.store(bytes_per_second.to_bits(), Ordering::Relaxed);
        *paid_at = Duration::ZERO;
    }

    /// At least one byte a second: less would be never.
    fn rate(&self) -> f64 {
        f64::from_bits(self.rate.load(Ordering::Relaxed)).max(1.0)
    }

    /// What may be used before one asks again: a tenth of a second's worth.
    pub fn piece(&self) -> u64 {
        (self.rate() / 10.0) as u64
    }

    pub fn used(&self, bytes: u64, now: Duration) {
        let mut paid_at = self.paid_at();
        let cost = Duration::try_from_secs_f64(bytes as f64 / self.rate()).unwrap_or(Duration::MAX);
        let paid = (*paid_at).max(now).saturating_add(cost);
        *paid_at = paid.min(now.saturating_add(self.memory));
    }

    /// How long to wait before more is used.
    pub fn wait(&self, now: Duration) -> Duration {
        self.paid_at().saturating_sub(now)
    }

    fn paid_at(&self) -> MutexGuard<'_, Duration> {
        self.paid_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether settings such as `leader.replication.throttled.replicas` name this broker's replica.
pub fn names_replica(named: &[String], partition: i32, broker: NodeId) -> bool {
    named.iter().any(|name| match name.split_once(':') {
        Some((of, on)) => of.parse() == Ok(partition) && on.parse() == Ok(broker.0),
        None => name == "*",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_replication_used_is_forgotten_after_a_while() {
        let throttle = Throttle::of_replication(&Values::default());
        let seconds = Duration::from_secs;
        throttle.hold_to(1000.0);
        for second in 0..3600 {
            throttle.used(1 << 20, seconds(second));
        }
        assert_eq!(throttle.wait(seconds(3599)), seconds(11));
        assert_eq!(throttle.wait(seconds(3610)), Duration::ZERO);
    }

    #[test]
    fn all_users_together_keep_to_the_rate() {
        let throttle = Throttle::new(1000.0);
        let seconds = |n: u64| Duration::from_secs(n);
        assert_eq!(throttle.piece(), 100);
        throttle.used(2000, seconds(5));
        assert_eq!(throttle.wait(seconds(5)), seconds(2));
        throttle.used(1000, seconds(6));
        assert_eq!(throttle.wait(seconds(6)), seconds(2));
        throttle.used(1000, seconds(20));
        assert_eq!(throttle.wait(seconds(20)), seconds(1), "what was not used is lost");
        throttle.used(1 << 60, seconds(20));
        throttle.set_rate(f64::MAX);
        assert_eq!(throttle.wait(seconds(20)), Duration::ZERO);
        throttle.used(1 << 40, seconds(20));
        assert_eq!(throttle.wait(seconds(20)), Duration::ZERO);
        assert!(throttle.piece() > 1 << 40);
    }
}
