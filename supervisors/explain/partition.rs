//! Why a partition has no leader, or lacks replicas.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use wire::describe_causes_request::CausesTopic;
use wire::describe_causes_response::{CausesReplica, PartitionHistory};
use wire::describe_topic_partitions_response::DescribeTopicPartitionsResponsePartition as Partition;
use wire::list_partition_reassignments_request::ListPartitionReassignmentsTopics;
use wire::{DescribeCausesRequest, ListPartitionReassignmentsRequest};

use super::cluster::{Causes, Cluster, refusal};
use super::replica::uncleanable;
use super::settings::{Throttles, TopicSettings};
use super::topic::Described;
use super::{ExplainError, Explanation, Finding, Silent, Told, brokers, ids, kafkas, retention};

/// What is known of some partitions of a topic.
pub(super) struct Facts<'a> {
    pub(super) cluster: &'a Cluster,
    topic: &'a Described,
    settings: TopicSettings,
    pub(super) throttles: Throttles,
    pub(super) entry: Causes,
    pub(super) nodes: Told<Causes>,
    /// Replicas to come, and to go.
    moves: BTreeMap<i32, (Vec<i32>, Vec<i32>)>,
}

impl<'a> Facts<'a> {
    /// Asks the nodes that have to do with these, those first that have most, and some of those that lead the others.
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
        let nodes = cluster.causes_of(who(topic, partitions), &request).await;
        let settings = TopicSettings::of(cluster, &topic.name).await?;
        let throttles = Throttles::of(cluster, &settings, &who(topic, partitions)).await;
        let moves = match entry.0.leader_id {
            -1 if !entry.is_nobodys() => BTreeMap::new(),
            _ => moves(cluster, topic).await,
        };
        Ok(Facts { cluster, topic, settings, throttles, entry, nodes, moves })
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

    /// What may be wrong with one whose replicas are all in sync.
    pub(super) fn others<'p>(
        &self,
        partitions: impl Iterator<Item = &'p Partition>,
    ) -> Vec<Finding> {
        partitions.flat_map(|p| self.held_leader(p).into_iter().chain(self.moving(p))).collect()
    }

    /// Those of them whose logs cannot be compacted, wherever that is known.
    pub(super) fn uncleanable(&self, partitions: &[&Partition]) -> Vec<Finding> {
        let known = self.nodes.iter().filter_map(|(id, told)| Some((*id, told.as_ref().ok()?)));
        let all = known
            .flat_map(|(id, causes)| causes.0.uncleanable.iter().map(move |log| (id, causes, log)));
        let of_topic = all.filter(|(_, _, log)| log.topic == self.topic.name);
        let named = of_topic.filter(|(.., log)| {
            partitions.iter().any(|p| p.partition_index == log.partition_index)
        });
        named.map(|(id, causes, log)| uncleanable(id, causes, log)).collect()
    }

    pub(super) fn name(&self, p: &Partition) -> String {
        format!("{}-{}", self.topic.name, p.partition_index)
    }

    pub(super) fn history(&self, p: &Partition) -> Option<&PartitionHistory> {
        let mut known = self.entry.0.partitions.iter();
        known.find(|known| {
            (known.topic_id, known.partition_index) == (self.topic.id, p.partition_index)
        })
    }

    pub(super) fn replica(&self, id: i32, p: &Partition) -> Option<&CausesReplica> {
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
            of: vec![self.name(p)],
            what: "no leader, so that nothing is written or read".to_owned(),
            since: self.history(p).and_then(|history| self.entry.since(history.leader_ms)),
            by: Some(self.controller()),
            ..Default::default()
        };
        finding.why.push(match may.as_slice() {
            [] => "no broker is known to hold all that was acknowledged".to_owned(),
            may => format!(
                "only {} may lead: the last in sync (ISR {}, ELR {})",
                brokers(may),
                ids(&p.isr_nodes),
                ids(elr)
            ),
        });
        for id in &may {
            self.absent(*id, p).add_to(&mut finding);
        }
        let others: Vec<i32> =
            p.replica_nodes.iter().copied().filter(|id| !may.contains(id)).collect();
        if others.is_empty() {
            return finding;
        }
        let lack = format!("{} may lack records that were acknowledged", brokers(&others));
        finding.why.push(match self.settings.unclean {
            true => format!("unclean.leader.election.enable=true, but {lack}, and cannot lead now"),
            false => format!("unclean.leader.election.enable=false: {lack}"),
        });
        let name = &self.topic.name;
        finding.unblocks.push(format!(
            "or lose those records: kafka-leader-election --election-type unclean --topic {name} --partition NUMBER"
        ));
        finding
    }

    pub(super) fn below_min_isr(&self, p: &Partition) -> Option<Finding> {
        let (in_sync, required) =
            (p.isr_nodes.len(), self.settings.min_isr.min(p.replica_nodes.len()));
        (in_sync < required).then(|| Finding {
            of: vec![self.name(p)],
            what: format!(
                "refuses writes with acks=all: {in_sync} in sync, min.insync.replicas={}",
                self.settings.min_isr
            ),
            unblocks: vec![format!("bring {} more into sync, as below", required - in_sync)],
            ..Default::default()
        })
    }

    pub(super) fn controller(&self) -> String {
        match self.entry.0.leader_id {
            -1 => "the controller".to_owned(),
            id => format!("the controller (node {id} now)"),
        }
    }

    /// A leader that is there, and does nothing.
    fn held_leader(&self, p: &Partition) -> Option<Finding> {
        let (told, id) = (self.nodes.get(&p.leader_id)?, p.leader_id);
        let of = vec![self.name(p)];
        let Ok(causes) = told else {
            let (why, unblocks) = self.cluster.broker_trouble(id, Some(told), &self.entry)?;
            let what = match told.as_ref().is_err_and(Silent::lives) {
                true => format!("its leader, broker {id}, cannot be reached from here"),
                false => format!("its leader, broker {id}, does not answer"),
            };
            return Some(Finding { of, what, why, unblocks: vec![unblocks], ..Default::default() });
        };
        let why = causes.actors(&format!("partitions/{}", self.name(p)));
        let unblocks =
            "ottla tree shows the actor; ottla fault resume ends a fault that was set".to_owned();
        (!why.is_empty()).then(|| Finding {
            of,
            what: format!("its leader on broker {id} does not work as it should"),
            why,
            unblocks: vec![unblocks],
            ..Default::default()
        })
    }

    fn moving(&self, p: &Partition) -> Option<Finding> {
        let (adding, removing) = self.moves.get(&p.partition_index)?;
        let behind: Vec<i32> =
            adding.iter().copied().filter(|id| !p.isr_nodes.contains(id)).collect();
        let since = self.history(p).and_then(|history| self.entry.since(history.reassigning_ms));
        Some(Finding {
            of: vec![self.name(p)],
            what: format!(
                "it is being reassigned: to come {}, to go {}",
                ids(adding),
                ids(removing)
            ),
            since,
            by: Some("who asked for it (AlterPartitionReassignments)".to_owned()),
            why: match behind.as_slice() {
                [] => Vec::new(),
                behind => vec![format!("{} not in sync yet, as above", brokers(behind))],
            },
            unblocks: vec!["wait, or give it up: kafka-reassign-partitions --cancel".to_owned()],
            ..Default::default()
        })
    }
}

/// Where the controller does not say, none is known of.
async fn moves(cluster: &Cluster, topic: &Described) -> BTreeMap<i32, (Vec<i32>, Vec<i32>)> {
    let asked = ListPartitionReassignmentsTopics {
        name: topic.name.clone(),
        partition_indexes: topic.partitions.iter().map(|p| p.partition_index).collect(),
        ..Default::default()
    };
    let request = ListPartitionReassignmentsRequest {
        timeout_ms: 3_000,
        topics: Some(vec![asked]),
        ..Default::default()
    };
    let Ok(answer) = cluster.ask_controller(&request).await else { return BTreeMap::new() };
    if refusal(answer.error_code).is_some() {
        return BTreeMap::new();
    }
    let of_topic = answer.topics.into_iter().filter(|found| found.name == topic.name);
    let moves = of_topic.flat_map(|found| found.partitions);
    moves.map(|m| (m.partition_index, (m.adding_replicas, m.removing_replicas))).collect()
}

/// Each broker once: those that hold most of these first, then the leaders of all.
fn who(topic: &Described, partitions: &[&Partition]) -> Vec<i32> {
    let mut often = BTreeMap::<i32, usize>::new();
    for id in partitions.iter().flat_map(|p| &p.replica_nodes) {
        *often.entry(*id).or_default() += 1;
    }
    let mut of_these: Vec<(usize, i32)> = often.iter().map(|(id, often)| (*often, *id)).collect();
    of_these.sort_by_key(|(often, id)| (Reverse(*often), *id));
    let leaders: BTreeSet<i32> = topic.partitions.iter().map(|p| p.leader_id).collect();
    let leaders = leaders.into_iter().filter(|id| *id >= 0 && !often.contains_key(id));
    of_these.iter().map(|(_, id)| *id).chain(leaders).collect()
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
            ids(&p.isr_nodes)
        ),
        format!("min.insync.replicas={}", facts.settings.min_isr),
    ];
    told.extend(facts.followers(p));
    let mut findings = facts.findings(p);
    let (kept, old) = kept(&facts, p).await;
    told.extend(kept);
    let of_it = |finding| Finding { of: vec![name.clone()], ..finding };
    findings.extend(old.into_iter().map(of_it));
    findings.extend(facts.uncleanable(&[p]));
    told.extend(facts.entry.caveats());
    let well = format!("{name} has a leader and all its replicas are in sync");
    Ok(Explanation::of(format!("partition {name}"), told, findings, &well))
}

/// Why its leader keeps what it keeps.
async fn kept(facts: &Facts<'_>, p: &Partition) -> (Vec<String>, Vec<Finding>) {
    if facts.nodes.get(&p.leader_id).is_none_or(Result::is_err) {
        return Default::default();
    }
    let (cluster, partitions) = (facts.cluster, vec![p.partition_index]);
    let named = CausesTopic { topic_id: facts.topic.id, partitions, ..Default::default() };
    let request = DescribeCausesRequest { topics: vec![named], logs: true, ..Default::default() };
    let told = cluster.causes_of([p.leader_id], &request).await;
    let Some(Ok(causes)) = told.get(&p.leader_id) else { return Default::default() };
    let log = causes.0.replicas.first().and_then(|replica| replica.logs.first());
    let Some(log) = log else { return Default::default() };
    let (young, held) = kafkas::held_by(cluster, log, causes.0.now_ms).await;
    let (mut facts, old) = retention::kept(log, causes.0.now_ms);
    facts.extend(young);
    (facts, held.into_iter().chain(old).collect())
}
