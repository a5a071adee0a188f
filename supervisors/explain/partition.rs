//! Why a partition has no leader, or lacks replicas.

use std::collections::{BTreeMap, BTreeSet};

use wire::describe_causes_request::CausesTopic;
use wire::describe_causes_response::{CausesReplica, PartitionHistory};
use wire::describe_configs_request::DescribeConfigsResource;
use wire::describe_topic_partitions_response::DescribeTopicPartitionsResponsePartition as Partition;
use wire::{DescribeCausesRequest, DescribeConfigsRequest, ListPartitionReassignmentsRequest};

use super::cluster::{Causes, Cluster, refusal};
use super::text::ago;
use super::topic::Described;
use super::{ExplainError, Explanation, Finding, Told, brokers, list};

const TOPIC_RESOURCE: i8 = 2;
/// So many reassignments that keep no replica out of sync are told of.
const MOVES_SHOWN: usize = 5;

/// Why a replica is not where it should be, and what would bring it there.
#[derive(Debug, Default)]
struct Reason {
    why: Vec<String>,
    unblocks: String,
}

/// What is known of some partitions of a topic.
pub(super) struct Facts<'a> {
    cluster: &'a Cluster,
    topic: &'a Described,
    pub(super) min_isr: usize,
    unclean: bool,
    entry: Causes,
    nodes: Told<Causes>,
    /// Replicas to come, and to go.
    moves: BTreeMap<i32, (Vec<i32>, Vec<i32>)>,
}

impl<'a> Facts<'a> {
    /// Asks all nodes that have to do with these.
    pub(super) async fn of(
        cluster: &'a Cluster,
        topic: &'a Described,
        partitions: &[&Partition],
    ) -> Result<Facts<'a>, ExplainError> {
        let numbers = partitions.iter().map(|p| p.partition_index).collect();
        let named = CausesTopic { topic_id: topic.id, partitions: numbers, ..Default::default() };
        let request = DescribeCausesRequest { topics: vec![named], ..Default::default() };
        let with_history = DescribeCausesRequest { history: true, ..request.clone() };
        let entry = cluster.causes(&with_history).await?;
        let replicas = partitions.iter().flat_map(|p| &p.replica_nodes).copied();
        let nodes = cluster.causes_of(replicas.collect::<BTreeSet<i32>>(), &request).await;
        let (min_isr, unclean) = configs(cluster, &topic.name).await?;
        let moves = match entry.0.leader_id {
            -1 => BTreeMap::new(),
            _ => moves(cluster, &topic.name).await,
        };
        Ok(Facts { cluster, topic, min_isr, unclean, entry, nodes, moves })
    }

    /// All that is wrong with it, the worst first.
    pub(super) fn findings(&self, p: &Partition) -> Vec<Finding> {
        let mut findings = Vec::new();
        if p.leader_id < 0 {
            findings.push(self.leaderless(p));
        } else {
            findings.extend(self.below_min_isr(p));
            let missing = p.replica_nodes.iter().filter(|id| !p.isr_nodes.contains(id));
            findings.extend(missing.map(|id| self.out_of_sync(p, *id)));
            findings.extend(self.held_leader(p));
        }
        findings.extend(self.moving(p));
        findings
    }

    /// Those of them that are being reassigned.
    pub(super) fn all_moving<'p>(
        &self,
        partitions: impl Iterator<Item = &'p Partition>,
    ) -> Vec<Finding> {
        partitions.filter_map(|p| self.moving(p)).take(MOVES_SHOWN).collect()
    }

    pub(super) fn entry(&self) -> &Causes {
        &self.entry
    }

    fn name(&self, p: &Partition) -> String {
        format!("{}-{}", self.topic.name, p.partition_index)
    }

    fn history(&self, p: &Partition) -> Option<&PartitionHistory> {
        let mut known = self.entry.0.partitions.iter();
        known.find(|known| {
            (known.topic_id, known.partition_index) == (self.topic.id, p.partition_index)
        })
    }

    fn replica(&self, id: i32, p: &Partition) -> Option<&CausesReplica> {
        let causes = self.nodes.get(&id)?.as_ref().ok()?;
        causes.0.replicas.iter().find(|known| known.partition_index == p.partition_index)
    }

    fn leaderless(&self, p: &Partition) -> Finding {
        let elr = p.eligible_leader_replicas.as_deref().unwrap_or_default();
        let mut may: Vec<i32> = p.isr_nodes.iter().chain(elr).copied().collect();
        if may.is_empty() {
            may.extend(p.last_known_elr.as_deref().unwrap_or_default());
        }
        let mut finding = Finding {
            what: format!("{} has no leader: nothing is written or read", self.name(p)),
            since: self.history(p).and_then(|history| self.entry.since(history.leader_ms)),
            by: Some(self.controller()),
            ..Default::default()
        };
        finding.why.push(format!(
            "only {} may lead: the last in sync (ISR {}, ELR {})",
            brokers(&may),
            list(&p.isr_nodes),
            list(elr)
        ));
        for id in &may {
            self.absent(*id, p).add_to(&mut finding);
        }
        let others: Vec<i32> =
            p.replica_nodes.iter().copied().filter(|id| !may.contains(id)).collect();
        if others.is_empty() {
            return finding;
        }
        let lack = format!("{} may lack records that were acknowledged", brokers(&others));
        finding.why.push(match self.unclean {
            true => format!("unclean.leader.election.enable=true, but {lack}, and cannot lead now"),
            false => format!("unclean.leader.election.enable=false: {lack}"),
        });
        let name = &self.topic.name;
        finding.unblocks.push(format!(
            "or lose those records: kafka-leader-election --election-type unclean --topic {name} --partition {}",
            p.partition_index
        ));
        finding
    }

    fn below_min_isr(&self, p: &Partition) -> Option<Finding> {
        let (in_sync, required) = (p.isr_nodes.len(), self.min_isr.min(p.replica_nodes.len()));
        (in_sync < required).then(|| Finding {
            what: format!(
                "{} refuses writes with acks=all: {in_sync} in sync, min.insync.replicas={}",
                self.name(p),
                self.min_isr
            ),
            unblocks: vec![format!("bring {} more into sync, as below", required - in_sync)],
            ..Default::default()
        })
    }

    fn out_of_sync(&self, p: &Partition, id: i32) -> Finding {
        let known = self
            .history(p)
            .and_then(|history| history.out_of_sync.iter().find(|out| out.broker_id == id));
        let mut finding = Finding {
            what: format!("{}: broker {id} is not in sync", self.name(p)),
            since: known.and_then(|out| self.entry.since(out.since_ms)),
            by: known.map(|out| match out.by_leader {
                -1 => self.controller(),
                leader => format!("broker {leader}, the leader, which saw it behind for longer than replica.lag.time.max.ms"),
            }),
            ..Default::default()
        };
        finding.why.extend(self.lag(p, id));
        self.absent(id, p).add_to(&mut finding);
        finding
    }

    fn controller(&self) -> String {
        match self.entry.0.leader_id {
            -1 => "the controller".to_owned(),
            id => format!("the controller (node {id} now)"),
        }
    }

    /// How far it is behind, as its leader knows it.
    fn lag(&self, p: &Partition, id: i32) -> Option<String> {
        let leader = self.replica(p.leader_id, p)?;
        let known = leader.followers.iter().find(|follower| follower.broker_id == id)?;
        let end = leader.end_offset;
        let when = |ms: i64| match ms {
            -1 => "never under this leader".to_owned(),
            ms => ago(ms, self.cluster.now_ms),
        };
        let (fetched, level) = (when(known.fetched_ms), when(known.caught_up_ms));
        Some(match known.end_offset {
            -1 => {
                format!("it has not fetched from broker {}, whose log ends at {end}", p.leader_id)
            }
            at => format!(
                "it lacks {} records of the leader's up to {end}; it last fetched {fetched}, and had all {level}",
                end.saturating_sub(at).max(0)
            ),
        })
    }

    /// Why a replica is not served or not fetched.
    fn absent(&self, id: i32, p: &Partition) -> Reason {
        let entry = &self.entry;
        if let Some((why, unblocks)) = self.cluster.broker_trouble(id, self.nodes.get(&id), entry) {
            return Reason { why, unblocks };
        }
        let Some(Ok(causes)) = self.nodes.get(&id) else { return Reason::default() };
        let name = self.name(p);
        let mut why = causes.actors(&format!("partitions/{name}"));
        why.extend(causes.actors(&format!("replication/leader-{}-0", p.leader_id)));
        let repair = format!("repair it and restart broker {id}, or move the replica elsewhere");
        let of_actors = why.first().map(|_| format!("look at these actors of broker {id}: ottla tree; ottla fault resume where one was set"));
        let Some(replica) = self.replica(id, p) else {
            let dirs = causes.0.log_dirs.iter().filter_map(|dir| {
                Some(format!(
                    "log directory {} of broker {id} is offline: {}",
                    dir.path,
                    dir.failure.as_ref()?
                ))
            });
            why.extend(dirs);
            if why.is_empty() {
                why.push(format!("broker {id} has no such replica yet"));
            }
            return Reason { why, unblocks: repair };
        };
        let unblocks = match (replica.state.as_str(), &replica.reason, &replica.trouble) {
            ("offline", reason, _) => {
                let reason = reason.as_deref().unwrap_or("for no reason that is known");
                why.push(format!("its replica in {} is offline: {reason}", replica.log_dir));
                repair
            }
            ("starting", ..) => {
                why.push(format!("its actor on broker {id} starts, or recovers the log"));
                of_actors.unwrap_or_else(|| "wait: it fetches once it has recovered".to_owned())
            }
            ("follower", _, Some(trouble)) => {
                let since = ago(replica.trouble_ms, self.cluster.now_ms);
                why.push(format!("broker {id} does not fetch it (it began {since}): {trouble}"));
                of_actors.unwrap_or_else(|| {
                    format!("put that right on broker {id} or its way to broker {}", p.leader_id)
                })
            }
            _ => {
                why.push(format!("broker {id} lives; its log ends at {}", replica.end_offset));
                of_actors.unwrap_or_else(|| "wait: it joins the ISR once it has all".to_owned())
            }
        };
        Reason { why, unblocks }
    }

    /// A leader that is there, and does nothing.
    fn held_leader(&self, p: &Partition) -> Option<Finding> {
        let told = self.nodes.get(&p.leader_id)?;
        let causes = match told {
            Ok(causes) => causes,
            Err(_) => {
                let trouble = self.cluster.broker_trouble(p.leader_id, Some(told), &self.entry);
                let (why, unblocks) = trouble?;
                let what = format!(
                    "{}: its leader, broker {}, does not answer",
                    self.name(p),
                    p.leader_id
                );
                return Some(Finding { what, why, unblocks: vec![unblocks], ..Default::default() });
            }
        };
        let actors = causes.actors(&format!("partitions/{}", self.name(p)));
        (!actors.is_empty()).then(|| Finding {
            what: format!(
                "{}: its leader on broker {} does not work as it should",
                self.name(p),
                p.leader_id
            ),
            why: actors,
            unblocks: vec![
                "ottla tree shows the actor; ottla fault resume ends a fault that was set"
                    .to_owned(),
            ],
            ..Default::default()
        })
    }

    fn moving(&self, p: &Partition) -> Option<Finding> {
        let (adding, removing) = self.moves.get(&p.partition_index)?;
        let behind: Vec<i32> =
            adding.iter().copied().filter(|id| !p.isr_nodes.contains(id)).collect();
        let since = self.history(p).and_then(|history| self.entry.since(history.reassigning_ms));
        Some(Finding {
            what: format!(
                "{} is being reassigned: to come {}, to go {}",
                self.name(p),
                list(adding),
                list(removing)
            ),
            since,
            by: Some("who asked for it (AlterPartitionReassignments)".to_owned()),
            why: match behind.as_slice() {
                [] => Vec::new(),
                behind => vec![format!("{} not in sync yet, as above", brokers(behind))],
            },
            unblocks: vec!["wait, or give it up: kafka-reassign-partitions --cancel".to_owned()],
        })
    }
}

impl Reason {
    fn add_to(self, finding: &mut Finding) {
        finding.why.extend(self.why);
        if !self.unblocks.is_empty() && !finding.unblocks.contains(&self.unblocks) {
            finding.unblocks.push(self.unblocks);
        }
    }
}

/// `min.insync.replicas` and `unclean.leader.election.enable`.
pub(super) async fn configs(cluster: &Cluster, topic: &str) -> Result<(usize, bool), ExplainError> {
    const MIN_ISR: &str = "min.insync.replicas";
    const UNCLEAN: &str = "unclean.leader.election.enable";
    let resource = DescribeConfigsResource {
        resource_type: TOPIC_RESOURCE,
        resource_name: topic.to_owned(),
        configuration_keys: Some(vec![MIN_ISR.to_owned(), UNCLEAN.to_owned()]),
        ..Default::default()
    };
    let request = DescribeConfigsRequest { resources: vec![resource], ..Default::default() };
    let answer = cluster.ask(&request).await?;
    let configs = || answer.results.iter().flat_map(|result| &result.configs);
    let value = |name: &str| configs().find(|config| config.name == name)?.value.as_deref();
    let min_isr = value(MIN_ISR).and_then(|value| value.parse().ok()).unwrap_or(1);
    Ok((min_isr, value(UNCLEAN) == Some("true")))
}

/// Where the controller does not say, none is known of.
async fn moves(cluster: &Cluster, topic: &str) -> BTreeMap<i32, (Vec<i32>, Vec<i32>)> {
    let request = ListPartitionReassignmentsRequest { timeout_ms: 3_000, ..Default::default() };
    let Ok(answer) = cluster.ask_controller(&request).await else { return BTreeMap::new() };
    if refusal(answer.error_code).is_some() {
        return BTreeMap::new();
    }
    let of_topic = answer.topics.into_iter().filter(|found| found.name == topic);
    let moves = of_topic.flat_map(|found| found.partitions);
    moves.map(|m| (m.partition_index, (m.adding_replicas, m.removing_replicas))).collect()
}

pub(super) async fn explain(
    cluster: &Cluster,
    topic: &str,
    number: i32,
) -> Result<Explanation, ExplainError> {
    let topic = Described::ask(cluster, topic).await?;
    let found = topic.partitions.iter().find(|p| p.partition_index == number);
    let Some(p) = found else {
        let last = topic.partitions.len().saturating_sub(1);
        let (name, nearest) =
            (format!("{}-{number}", topic.name), format!("{}-{last}", topic.name));
        return Err(ExplainError::Unknown { what: "partition", name, nearest: Some(nearest) });
    };
    let facts = Facts::of(cluster, &topic, &[p]).await?;
    let name = facts.name(p);
    let leader = match p.leader_id {
        -1 => "no leader".to_owned(),
        id => format!("led by broker {id} in epoch {}", p.leader_epoch),
    };
    let mut told = vec![
        format!(
            "{leader}; replicas on {}; in sync: {}",
            brokers(&p.replica_nodes),
            list(&p.isr_nodes)
        ),
        format!("min.insync.replicas={}", facts.min_isr),
    ];
    told.extend(stale(&facts.entry));
    let findings = facts.findings(p);
    let verdict = match findings.first() {
        None => format!("all is well: {name} has a leader and all its replicas are in sync"),
        Some(worst) => verdict(&worst.what, worst),
    };
    Ok(Explanation { subject: format!("partition {name}"), facts: told, findings, verdict })
}

/// What is wrong, and the first that would put it right.
pub(super) fn verdict(what: &str, worst: &Finding) -> String {
    match worst.unblocks.first() {
        Some(unblocks) => format!("{what}. To unblock it: {unblocks}"),
        None => what.to_owned(),
    }
}

/// A broker that finds no leader of the quorum knows what was, maybe not what is.
pub(super) fn stale(entry: &Causes) -> Option<String> {
    let told = &entry.0;
    (told.leader_id < 0).then(|| {
        format!(
            "broker {}, which tells this, finds no leader of the quorum: it may be old (ottla explain quorum)",
            told.node_id
        )
    })
}
