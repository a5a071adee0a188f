//! What a leader knows of another replica, by its fetches.
//!
//! Source: `Replica`, `ReplicaState` of Kafka's server module.

use std::time::Duration;

/// No offset: the replica has not fetched since this leader was elected.
const UNKNOWN: i64 = -1;

/// A fetch of a replica, as far as it could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplicaFetch {
    /// It has everything below.
    pub offset: i64,
    pub log_start_offset: i64,
    /// Where the leader's log ended before the read.
    pub leader_end: i64,
    /// -1 where it told none.
    pub broker_epoch: i64,
    pub at: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplicaState {
    /// -1 where it is not known.
    pub log_start_offset: i64,
    /// -1 where it is not known.
    pub log_end_offset: i64,
    /// Where the leader's log ended at the last fetch, which was at `last_fetch`.
    last_fetch_leader_end: i64,
    last_fetch: Option<Duration>,
    /// The last moment at which it had all that the leader had.
    last_caught_up: Option<Duration>,
    /// Of its last fetch; -1 where that told none, none before the first.
    pub broker_epoch: Option<i64>,
}

impl ReplicaState {
    /// Of a replica that a new leader has not heard of: one in the ISR counts as caught up until it could have fetched.
    pub(super) fn unheard(in_sync: bool, now: Duration) -> ReplicaState {
        ReplicaState {
            log_start_offset: UNKNOWN,
            log_end_offset: UNKNOWN,
            last_fetch_leader_end: UNKNOWN,
            last_fetch: None,
            last_caught_up: in_sync.then_some(now),
            broker_epoch: None,
        }
    }

    /// The leader goes on under another epoch.
    pub(super) fn reelected(&mut self, in_sync: bool, now: Duration, leader_end: i64) {
        self.last_fetch_leader_end = leader_end;
        self.last_fetch = in_sync.then_some(now);
        self.last_caught_up = in_sync.then_some(now);
    }

    pub fn fetched(&mut self, fetch: &ReplicaFetch) {
        if fetch.offset >= fetch.leader_end {
            self.last_caught_up = self.last_caught_up.max(Some(fetch.at));
        } else if fetch.offset >= self.last_fetch_leader_end {
            // It now has what the leader had then.
            self.last_caught_up = self.last_caught_up.max(self.last_fetch);
        }
        self.log_start_offset = fetch.log_start_offset;
        self.log_end_offset = fetch.offset;
        self.last_fetch_leader_end = self.last_fetch_leader_end.max(fetch.leader_end);
        self.last_fetch = Some(fetch.at);
        self.broker_epoch = Some(fetch.broker_epoch);
    }

    /// Whether it has all that the leader has, or had so at some moment of the last `max_lag`.
    pub fn is_caught_up(&self, leader_end: i64, now: Duration, max_lag: Duration) -> bool {
        let recently = |at: Duration| now.saturating_sub(at) <= max_lag;
        self.log_end_offset == leader_end || self.last_caught_up.is_some_and(recently)
    }

    /// How long ago it last fetched from this leader.
    pub fn since_fetched(&self, now: Duration) -> Option<Duration> {
        self.last_fetch.map(|at| now.saturating_sub(at))
    }

    /// How long ago it had all that the leader had.
    pub fn since_caught_up(&self, now: Duration) -> Duration {
        self.last_caught_up.map_or(Duration::MAX, |at| now.saturating_sub(at))
    }
}
