//! Why a replica is not in sync: how far it is behind, and what keeps its fetcher.

use wire::describe_causes_response::{CausesFollower, CausesReplica, UncleanableLog};
use wire::describe_topic_partitions_response::DescribeTopicPartitionsResponsePartition as Partition;

use super::cluster::Causes;
use super::partition::Facts;
use super::{Finding, Silent};

/// Why a replica is not where it should be, and what would bring it there.
#[derive(Debug, Default)]
pub(super) struct Reason {
    why: Vec<String>,
    /// What is so of this partition alone.
    own: Vec<String>,
    unblocks: String,
}

impl Reason {
    pub(super) fn add_to(self, finding: &mut Finding) {
        finding.why.extend(self.why);
        finding.own.extend(self.own);
        if !self.unblocks.is_empty() && !finding.unblocks.contains(&self.unblocks) {
            finding.unblocks.push(self.unblocks);
        }
    }
}

impl Facts<'_> {
    pub(super) fn out_of_sync(&self, p: &Partition, id: i32) -> Finding {
        let known = self
            .history(p)
            .and_then(|history| history.out_of_sync.iter().find(|out| out.broker_id == id));
        let mut finding = Finding {
            of: vec![self.name(p)],
            what: format!("broker {id} is not in sync"),
            since: known.and_then(|out| self.entry.since(out.since_ms)),
            by: known.map(|out| match out.by_leader {
                -1 => self.controller(),
                leader => format!("broker {leader}, the leader, which saw it behind for longer than replica.lag.time.max.ms"),
            }),
            ..Default::default()
        };
        if let Some((leader, known)) = self.followed(p, id) {
            finding.own.push(lag(leader, known, p.leader_id, self.nodes.get(&p.leader_id)));
        }
        self.absent(id, p).add_to(&mut finding);
        let throttled = self.throttles.of_replica(p, id);
        if !throttled.is_empty() {
            finding.unblocks.insert(0, "raise the throttle: kafka-configs; kafka-reassign-partitions --verify lifts that of a reassignment that is over".to_owned());
        }
        finding.why.extend(throttled);
        finding
    }

    /// How each follower in sync comes along.
    pub(super) fn followers(&self, p: &Partition) -> Vec<String> {
        let others = p.isr_nodes.iter().filter(|id| **id != p.leader_id);
        let told = others.filter_map(|id| {
            let (leader, known) = self.followed(p, *id)?;
            let lag = lag(leader, known, p.leader_id, self.nodes.get(&p.leader_id));
            Some(format!("broker {id} is in sync: {lag}"))
        });
        told.collect()
    }

    /// The leader, and what it knows of the follower.
    fn followed(&self, p: &Partition, id: i32) -> Option<(&CausesReplica, &CausesFollower)> {
        let leader = self.replica(p.leader_id, p)?;
        let known = leader.followers.iter().find(|follower| follower.broker_id == id)?;
        Some((leader, known))
    }

    /// Why a replica is not served or not fetched.
    pub(super) fn absent(&self, id: i32, p: &Partition) -> Reason {
        let told = self.nodes.get(&id);
        if let Some((why, unblocks)) = self.cluster.broker_trouble(id, told, &self.entry) {
            return Reason { why, unblocks, ..Default::default() };
        }
        let causes = match told {
            Some(Ok(causes)) => causes,
            Some(Err(silent)) => {
                let why = vec![format!("broker {id} lives, and does not say why: {silent}")];
                let unblocks = format!("look at the log of broker {id}");
                return Reason { why, unblocks, ..Default::default() };
            }
            None => return Reason::default(),
        };
        let mut why = causes.actors(&format!("partitions/{}", self.name(p)));
        why.extend(causes.actors(&format!("replication/leader-{}-0", p.leader_id)));
        let of_actors = why.first().map(|_| format!("look at these actors of broker {id}: ottla tree; ottla fault resume where one was set"));
        let mut reason = Reason { why, ..Default::default() };
        reason.unblocks = match self.replica(id, p) {
            None => reason.no_replica(id, causes),
            Some(replica) => {
                let unblocks = reason.of_replica(id, p.leader_id, replica, causes);
                of_actors.filter(|_| replica.state != "offline").unwrap_or(unblocks)
            }
        };
        reason
    }
}

impl Reason {
    fn no_replica(&mut self, id: i32, causes: &Causes) -> String {
        let dirs = causes.0.log_dirs.iter().filter_map(|dir| {
            let failure = dir.failure.as_ref()?;
            Some(format!("log directory {} of broker {id} is offline: {failure}", dir.path))
        });
        self.why.extend(dirs);
        if self.why.is_empty() {
            self.why.push(format!("broker {id} has no such replica yet"));
        }
        repair(id)
    }

    fn of_replica(
        &mut self,
        id: i32,
        leader: i32,
        replica: &CausesReplica,
        causes: &Causes,
    ) -> String {
        match (replica.state.as_str(), &replica.reason, &replica.trouble) {
            ("offline", reason, _) => {
                let reason = reason.as_deref().unwrap_or("for no reason that is known");
                self.why.push(format!("its replica in {} is offline: {reason}", replica.log_dir));
                repair(id)
            }
            ("starting", ..) => {
                self.why.push(format!("its actor on broker {id} starts, or recovers the log"));
                "wait: it fetches once it has recovered".to_owned()
            }
            ("follower", _, Some(trouble)) => {
                self.why.push(format!("broker {id} does not fetch it: {trouble}"));
                self.own.push(format!("that began {}", causes.ago(replica.trouble_ms)));
                format!("put that right on broker {id} or its way to broker {leader}")
            }
            _ => {
                self.why.push(format!("broker {id} lives"));
                self.own.push(format!("its log ends at {}", replica.end_offset));
                "wait: it joins the ISR once it has all".to_owned()
            }
        }
    }
}

pub(super) fn uncleanable(id: i32, causes: &Causes, log: &UncleanableLog) -> Finding {
    Finding {
        of: vec![format!("{}-{}", log.topic, log.partition_index)],
        what: format!("its log on broker {id} cannot be compacted, and grows"),
        since: causes.since(log.since_ms),
        by: Some(format!("the log cleaner of {}", log.log_dir)),
        why: vec![log.reason.clone()],
        unblocks: vec![format!(
            "repair that; the log cleaner tries it again when broker {id} starts. Another replica may be whole: move this one away and back (kafka-reassign-partitions)"
        )],
        ..Default::default()
    }
}

fn repair(id: i32) -> String {
    format!("repair it and restart broker {id}, or move the replica elsewhere")
}

/// How far a follower is behind, as its leader knows it.
fn lag(
    leader: &CausesReplica,
    known: &CausesFollower,
    leader_id: i32,
    told: Option<&Result<Causes, Silent>>,
) -> String {
    let end = leader.end_offset;
    let when = |ms: i64| match (ms, told) {
        (0.., Some(Ok(causes))) => causes.ago(ms),
        _ => "never under this leader".to_owned(),
    };
    let (fetched, level) = (when(known.fetched_ms), when(known.caught_up_ms));
    match known.end_offset {
        -1 => format!("it has not fetched from broker {leader_id}, whose log ends at {end}"),
        at => format!(
            "it lacks {} records of the leader's up to {end}; it last fetched {fetched}, and had all {level}",
            end.saturating_sub(at).max(0)
        ),
    }
}
