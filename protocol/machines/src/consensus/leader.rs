//! What a leader knows of its replicas, and what follows for the high watermark.

use std::collections::BTreeMap;
use std::time::Duration;

use model::Now;

use super::{Consensus, Effect, ReplicaKey, Role, VoterSet};

/// An observer that was not heard of for so long is forgotten.
const OBSERVER_SESSION: Duration = Duration::from_secs(300);
/// What nobody asks for is not kept: brokers of a cluster are fewer.
const MAX_OBSERVERS: usize = 10_000;

#[derive(Debug, Clone, PartialEq)]
pub struct LeaderState {
    /// The offset of the epoch's first record.
    pub epoch_start: i64,
    /// Where the voters are fixed: what each has said of itself, for the day when they are to be written down.
    pub(super) named: VoterSet,
    replicas: BTreeMap<ReplicaKey, ReplicaProgress>,
    timers: Option<Timers>,
}

/// None where there is nobody else to hear of.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Timers {
    fetch_timeout: Duration,
    check_quorum_at: Duration,
    announce_at: Duration,
}

/// How far a replica is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplicaProgress {
    /// It has everything before; -1 where it is not known yet.
    pub end_offset: i64,
    /// Unix milliseconds; -1 for never.
    pub last_fetch_ms: i64,
    /// When it last had all that the leader had, unix milliseconds; -1 for never.
    pub last_caught_up_ms: i64,
    fetched_at: Duration,
    leader_end_then: i64,
}

impl ReplicaProgress {
    /// Not too long ago for an observer, of which nobody else knows that there is one.
    pub fn is_heard_of(&self, now: Now) -> bool {
        now.mono < self.fetched_at + OBSERVER_SESSION
    }
}

impl LeaderState {
    /// It waits for nobody, unless told to [`watch`](Self::watch).
    pub(super) fn new(epoch_start: i64, named: VoterSet) -> LeaderState {
        LeaderState { epoch_start, named, replicas: BTreeMap::new(), timers: None }
    }

    /// There are others to hear of.
    pub(super) fn watch(&mut self, now: Now, fetch_timeout: Duration) {
        self.timers.get_or_insert(Timers {
            fetch_timeout,
            check_quorum_at: now.mono + fetch_timeout * 3 / 2,
            announce_at: now.mono + fetch_timeout / 2,
        });
    }

    pub(super) fn watch_nobody(&mut self) {
        self.timers = None;
    }

    /// When to resign unless a majority fetches before, or to look who does not fetch.
    pub(super) fn wakes_at(&self) -> Option<Duration> {
        self.timers.map(|timers| timers.check_quorum_at.min(timers.announce_at))
    }

    pub(super) fn lost_quorum(&self, now: Now) -> bool {
        self.timers.is_some_and(|timers| now.mono >= timers.check_quorum_at)
    }

    /// How far each replica that fetched is.
    pub fn replicas(&self) -> impl Iterator<Item = (ReplicaKey, ReplicaProgress)> {
        self.replicas.iter().map(|(key, progress)| (*key, *progress))
    }

    pub(super) fn end_of(&self, id: i32) -> i64 {
        let of_id = self.replicas.iter().filter(|(key, _)| key.id == id);
        of_id.map(|(_, progress)| progress.end_offset).max().unwrap_or(-1)
    }

    /// Makes sure that a majority is heard of: the oldest of its newest signs of life counts.
    fn defer_check(&mut self, voters: &VoterSet, local: ReplicaKey) {
        let Some(timers) = &mut self.timers else { return };
        let heard = self.replicas.iter().filter(|(key, _)| voters.is_voter(**key));
        let mut times: Vec<Duration> = heard.map(|(_, progress)| progress.fetched_at).collect();
        times.sort_by(|a, b| b.cmp(a));
        // The leader is one of the majority, unless it leads only until it is removed.
        let others = voters.majority() - usize::from(voters.is_voter(local));
        if let Some(oldest) = others.checked_sub(1).and_then(|at| times.get(at)) {
            timers.check_quorum_at = *oldest + timers.fetch_timeout * 3 / 2;
        }
    }

    /// What was known of voters by their ids alone is nobody's, now that their directories are known.
    pub(super) fn forget_unnamed(&mut self, voters: &VoterSet) {
        self.replicas.retain(|key, _| !key.directory_id.is_zero() || voters.is_voter(*key));
    }

    fn forget_observers(&mut self, now: Now, voters: &VoterSet) {
        self.replicas.retain(|key, progress| voters.is_voter(*key) || progress.is_heard_of(now));
    }

    /// Of a voter there is one, whichever directory it comes from: what another one of its had is gone with that. None for one
    /// observer too many.
    fn progress(
        &mut self,
        now: Now,
        replica: ReplicaKey,
        voters: &VoterSet,
    ) -> Option<&mut ReplicaProgress> {
        let voter = voters.get(replica.id).filter(|_| voters.is_voter(replica));
        let replica = voter.map_or(replica, |voter| voter.key);
        if !self.replicas.contains_key(&replica) {
            self.forget_observers(now, voters);
            if self.replicas.len() >= MAX_OBSERVERS && !voters.is_voter(replica) {
                return None;
            }
        }
        let unknown = ReplicaProgress {
            end_offset: -1,
            last_fetch_ms: -1,
            last_caught_up_ms: -1,
            fetched_at: now.mono,
            leader_end_then: -1,
        };
        Some(self.replicas.entry(replica).or_insert(unknown))
    }
}

impl Consensus {
    /// As a leader: what is known to be committed, once a record of its own epoch is. Before that it may know of less than one that
    /// it leads, which must not be told so: a replica of Kafka's ends where a high watermark goes back.
    pub fn led_high_watermark(&self) -> Option<i64> {
        let Role::Leader(leader) = &self.role else { return None };
        self.high_watermark.filter(|offset| *offset > leader.epoch_start)
    }

    pub(super) fn fetched(
        &mut self,
        now: Now,
        replica: ReplicaKey,
        offset: i64,
        effects: &mut Vec<Effect>,
    ) {
        let (voters, log_end, local) = (&self.voters, self.log_end.offset, self.local());
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(progress) = leader.progress(now, replica, voters) else { return };
        if offset >= log_end {
            progress.last_caught_up_ms = progress.last_caught_up_ms.max(now.wall_ms);
        } else if progress.leader_end_then > 0 && offset >= progress.leader_end_then {
            progress.last_caught_up_ms = progress.last_caught_up_ms.max(progress.last_fetch_ms);
        }
        progress.leader_end_then = log_end;
        progress.last_fetch_ms = progress.last_fetch_ms.max(now.wall_ms);
        progress.end_offset = offset;
        progress.fetched_at = now.mono;
        leader.defer_check(voters, local);
        self.update_high_watermark(now, effects);
    }

    pub(super) fn heard_of(&mut self, now: Now, replica: ReplicaKey) {
        let (voters, local) = (&self.voters, self.local());
        let Role::Leader(leader) = &mut self.role else { return };
        if let Some(progress) = leader.progress(now, replica, voters) {
            progress.fetched_at = now.mono;
        }
        leader.defer_check(voters, local);
    }

    /// Tells those voters again who leads that do not fetch: what they were told may be lost.
    pub(super) fn announce_to_silent(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let (epoch, others) = (self.state.epoch, self.others());
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(timers) = &mut leader.timers else { return };
        if now.mono < timers.announce_at {
            return;
        }
        let interval = timers.fetch_timeout / 2;
        timers.announce_at = now.mono + interval;
        let silent = |to: &ReplicaKey| {
            let of_id = leader.replicas.iter().filter(|(key, _)| key.id == to.id);
            let last = of_id.map(|(_, progress)| progress.fetched_at).max();
            last.is_none_or(|at| now.mono >= at + interval)
        };
        let told = others.into_iter().filter(silent);
        effects.extend(told.map(|to| Effect::AnnounceLeader { to, epoch }));
    }

    /// The offset that a majority of the voters holds, this leader with what it has on disk. It says nothing of commitment before a
    /// record of this epoch is in it, and never goes back.
    pub(super) fn update_high_watermark(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let Role::Leader(leader) = &self.role else { return };
        let local = self.config.local.key;
        let mut ends: Vec<i64> = self
            .voters
            .iter()
            .map(|voter| {
                if voter.key.id == local.id && self.voters.is_voter(local) {
                    return self.flushed;
                }
                let of_id = leader.replicas.iter().filter(|(key, _)| key.id == voter.key.id);
                of_id
                    .filter(|(key, _)| self.voters.is_voter(**key))
                    .map(|(_, p)| p.end_offset)
                    .max()
                    .unwrap_or(-1)
            })
            .collect();
        ends.sort_by(|a, b| b.cmp(a));
        let Some(offset) = ends.get(self.voters.len() / 2).copied() else { return };
        if offset > leader.epoch_start && self.high_watermark.is_none_or(|known| offset > known) {
            self.high_watermark = Some(offset);
            effects.push(Effect::AdvanceHighWatermark { offset });
            self.change_committed(now, effects);
        }
    }
}
