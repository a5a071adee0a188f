//! When to write the next snapshot of the metadata log.

use std::time::Duration;

use model::Now;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotPolicy {
    /// metadata.log.max.record.bytes.between.snapshots
    pub max_record_bytes: u64,
    /// metadata.log.max.snapshot.interval.ms; none switches it off.
    pub max_interval: Option<Duration>,
}

impl Default for SnapshotPolicy {
    fn default() -> Self {
        SnapshotPolicy { max_record_bytes: 20 << 20, max_interval: Some(Duration::from_secs(3600)) }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotReason {
    RecordBytes { bytes: u64 },
    Interval { elapsed: Duration },
}

/// Counts what was committed since the last snapshot.
#[derive(Debug, Clone)]
pub struct SnapshotClock {
    policy: SnapshotPolicy,
    bytes: u64,
    since: Duration,
}

impl SnapshotClock {
    pub fn new(policy: SnapshotPolicy, now: Now) -> SnapshotClock {
        SnapshotClock { policy, bytes: 0, since: now.mono }
    }

    /// A batch of committed metadata records was taken into the image.
    pub fn committed(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// None while nothing was committed since: a snapshot would say what the last one says.
    pub fn due(&self, now: Now) -> Option<SnapshotReason> {
        if self.bytes == 0 {
            return None;
        }
        if self.bytes >= self.policy.max_record_bytes {
            return Some(SnapshotReason::RecordBytes { bytes: self.bytes });
        }
        let elapsed = now.mono.saturating_sub(self.since);
        let interval = self.policy.max_interval?;
        (elapsed >= interval).then_some(SnapshotReason::Interval { elapsed })
    }

    pub fn written(&mut self, now: Now) {
        self.bytes = 0;
        self.since = now.mono;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Now {
        Now::new(Duration::from_secs(secs), 0)
    }

    #[test]
    fn bytes_or_time_but_never_without_news() {
        let policy =
            SnapshotPolicy { max_record_bytes: 100, max_interval: Some(Duration::from_secs(10)) };
        let mut clock = SnapshotClock::new(policy, at(0));
        assert_eq!(clock.due(at(50)), None);
        clock.committed(99);
        assert_eq!(clock.due(at(9)), None);
        assert_eq!(
            clock.due(at(10)),
            Some(SnapshotReason::Interval { elapsed: Duration::from_secs(10) })
        );
        clock.committed(1);
        assert_eq!(clock.due(at(1)), Some(SnapshotReason::RecordBytes { bytes: 100 }));
        clock.written(at(20));
        assert_eq!(clock.due(at(40)), None);
        clock.committed(1);
        assert!(clock.due(at(30)).is_some());
    }
}
