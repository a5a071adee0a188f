//! How far a group is behind, and whether whoever has a partition commits anything.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use bytes::Bytes;
use wire::describe_groups_response::DescribedGroup;
use wire::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use wire::{
    ConsumerProtocolAssignment, DescribeGroupsRequest, ListOffsetsRequest, Message, Reader,
};

use super::Finding;
use super::cluster::Cluster;
use super::finding::grouped;
use super::group::Group;
use super::topic::Described;

const EARLIEST: i64 = -2;
const LATEST: i64 = -1;
/// Who has not read what was there for so long, and commits nothing meanwhile, is told of.
const SILENT_MS: i64 = 10_000;
/// So many topics and partitions are looked at.
const MOST_TOPICS: usize = 50;
const MOST_PARTITIONS: usize = 20_000;

/// What is known of a partition that a group reads.
#[derive(Debug, Default)]
struct At {
    /// And when.
    committed: Option<(i64, i64)>,
    owner: Option<String>,
    leader: Option<i32>,
    start: Option<i64>,
    /// Where the records of the last [`SILENT_MS`] begin.
    recent: Option<i64>,
    end: Option<i64>,
}

pub(super) struct Lags {
    /// By topic and number.
    at: BTreeMap<(String, i32), At>,
    /// What could not be asked.
    untold: Vec<String>,
}

impl At {
    fn next(&self) -> Option<i64> {
        self.committed.map(|(offset, _)| offset).or(self.start)
    }

    /// Where nothing is committed, all of it; none where its leader did not tell.
    fn lag(&self) -> Option<i64> {
        Some(self.end?.saturating_sub(self.next()?).max(0))
    }

    /// Whether the record that is next to be read has been there for [`SILENT_MS`].
    fn waits(&self) -> bool {
        self.recent.zip(self.next()).is_some_and(|(recent, next)| next < recent)
    }
}

impl Lags {
    pub(super) async fn of(
        cluster: &Cluster,
        id: &str,
        group: &Group<'_>,
        coordinator: i32,
    ) -> Lags {
        let mut lags = Lags { at: BTreeMap::new(), untold: Vec::new() };
        for topic in &group.told.commits {
            for commit in &topic.partitions {
                if let Some(at) = lags.at(&topic.topic, commit.partition_index) {
                    at.committed = Some((commit.offset, commit.commit_ms));
                }
            }
        }
        lags.owners(cluster, id, coordinator).await;
        let mut topics: Vec<String> = lags.at.keys().map(|(topic, _)| topic.clone()).collect();
        topics.dedup();
        if topics.len() > MOST_TOPICS {
            lags.untold.push(format!("{} topics; {MOST_TOPICS} are looked at", topics.len()));
        }
        for topic in topics.iter().take(MOST_TOPICS) {
            match Described::ask(cluster, topic).await {
                Ok(described) => {
                    let recent = group.coordinator.0.now_ms.saturating_sub(SILENT_MS);
                    lags.ends(cluster, &described, recent).await;
                }
                Err(error) => lags.untold.push(error.to_string()),
            }
        }
        lags
    }

    fn at(&mut self, topic: &str, partition: i32) -> Option<&mut At> {
        let key = (topic.to_owned(), partition);
        let is_there = self.at.contains_key(&key) || self.at.len() < MOST_PARTITIONS;
        is_there.then(|| self.at.entry(key).or_default())
    }

    async fn owners(&mut self, cluster: &Cluster, id: &str, coordinator: i32) {
        let Some(place) = cluster.brokers.get(&coordinator) else { return };
        let request = DescribeGroupsRequest { groups: vec![id.to_owned()], ..Default::default() };
        match cluster.ask_at(&place.host, place.port, &request).await {
            Ok(answer) => answer.groups.iter().for_each(|group| self.owned(group)),
            Err(silent) => self.untold.push(silent.to_string()),
        }
    }

    fn owned(&mut self, group: &DescribedGroup) {
        if group.protocol_type != "consumer" {
            return;
        }
        for member in &group.members {
            let name =
                format!("{} at {} ({})", member.client_id, member.client_host, member.member_id);
            for (topic, partitions) in assigned(&member.member_assignment) {
                for partition in partitions {
                    if let Some(at) = self.at(&topic, partition) {
                        at.owner = Some(name.clone());
                    }
                }
            }
        }
    }

    /// Where these logs begin and end, as their leaders know it.
    async fn ends(&mut self, cluster: &Cluster, topic: &Described, recent: i64) {
        let mut by_leader: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
        for p in &topic.partitions {
            if let Some(at) = self.at.get_mut(&(topic.name.clone(), p.partition_index)) {
                at.leader = Some(p.leader_id);
                by_leader.entry(p.leader_id).or_default().push(p.partition_index);
            }
        }
        for (leader, partitions) in by_leader {
            let Some(place) = cluster.brokers.get(&leader) else { continue };
            for timestamp in [EARLIEST, LATEST, recent] {
                let request = offsets(&topic.name, &partitions, timestamp);
                let answer = match cluster.ask_at(&place.host, place.port, &request).await {
                    Ok(answer) => answer,
                    Err(silent) => {
                        self.untold.push(silent.to_string());
                        break;
                    }
                };
                let told = answer.topics.iter().flat_map(|topic| &topic.partitions);
                for p in told.filter(|p| p.error_code == 0) {
                    let Some(at) = self.at.get_mut(&(topic.name.clone(), p.partition_index)) else {
                        continue;
                    };
                    match timestamp {
                        EARLIEST => at.start = Some(p.offset),
                        LATEST => at.end = Some(p.offset),
                        // None of them is so young.
                        _ if p.offset < 0 => at.recent = Some(i64::MAX),
                        _ => at.recent = Some(p.offset),
                    }
                }
            }
        }
    }

    /// In a few words.
    pub(super) fn sum(&self) -> String {
        let lag = self.at.values().filter_map(At::lag).fold(0, i64::saturating_add);
        let unknown = self.at.values().filter(|at| at.lag().is_none()).count();
        let told = format!("{lag} records behind in {} partitions", self.at.len() - unknown);
        match unknown {
            0 => told,
            unknown => format!("{told}, and nobody knows how far in {unknown} more"),
        }
    }

    pub(super) fn facts(&self, group: &Group<'_>) -> Vec<String> {
        let mut facts = vec![self.sum()];
        let told: usize = group.told.commits.iter().map(|topic| topic.partitions.len()).sum();
        let committed = usize::try_from(group.told.commit_count).unwrap_or(0);
        if committed > told {
            facts
                .push(format!("it has committed for {committed} partitions; {told} are looked at"));
        }
        facts.extend(self.untold.iter().cloned());
        facts
    }

    /// Those that are most behind first, and what is the same of several once.
    pub(super) fn findings(&self, group: &Group<'_>) -> Vec<Finding> {
        let mut behind: Vec<(&(String, i32), &At)> = self.at.iter().collect();
        behind.sort_by_key(|(key, at)| (Reverse(at.lag()), *key));
        let found = behind.into_iter().filter_map(|((topic, partition), at)| {
            let finding = at.finding(group)?;
            let of = vec![format!("{topic}-{partition}")];
            let unblocks = match at.leader {
                Some(_) if finding.unblocks.is_empty() => {
                    vec![format!("ottla explain topic {topic}")]
                }
                _ => finding.unblocks,
            };
            Some(Finding { of, unblocks, ..finding })
        });
        grouped(found)
    }
}

impl At {
    fn finding(&self, group: &Group<'_>) -> Option<Finding> {
        let now_ms = group.coordinator.0.now_ms;
        let silent = |since: i64| now_ms.saturating_sub(since) > SILENT_MS;
        let end = self.end.map_or_else(|| "unknown".to_owned(), |end| end.to_string());
        if self.leader == Some(-1) {
            let what = "it has no leader, so that nothing of it is read".to_owned();
            return Some(Finding { what, ..Default::default() });
        }
        if let Some((offset, _)) = self.committed.filter(|(offset, _)| self.start > Some(*offset)) {
            return Some(Finding {
                what: "the record that is next to be read is deleted".to_owned(),
                own: vec![format!("committed {offset}, the log begins at {}", self.start.unwrap_or(-1))],
                unblocks: vec!["the consumer goes on by its auto.offset.reset, or: kafka-consumer-groups --reset-offsets".to_owned()],
                ..Default::default()
            });
        }
        let Some(lag) = self.lag() else {
            let what = match self.leader {
                Some(leader) => format!(
                    "how far behind it is nobody knows: its leader, broker {leader}, does not tell where its log ends"
                ),
                None => "how far behind it is was not asked".to_owned(),
            };
            return Some(Finding { what, ..Default::default() });
        };
        let is_stable = group.told.state == "Stable";
        if lag == 0 || !self.waits() || !is_stable {
            return None;
        }
        let (what, since) = match (&self.owner, self.committed) {
            (None, _) => ("it is behind, and no member has it".to_owned(), None),
            (Some(owner), None) if silent(group.told.state_ms) => {
                (format!("{owner} has it, and has committed nothing"), None)
            }
            (Some(owner), Some((_, ms))) if silent(ms.max(group.told.state_ms)) => (
                format!("{owner} has it, is behind, and commits nothing any more"),
                group.coordinator.since(ms),
            ),
            _ => return None,
        };
        let unblocks = match self.owner {
            None => "the members' assignor gives it to nobody: is their subscription right?",
            Some(_) => {
                "look at what that member does: it does not poll, fails at a record, is slow, or does not commit"
            }
        };
        let own = match self.committed {
            Some((offset, ms)) => format!(
                "{lag} records behind: committed {offset} {}, the log ends at {end}",
                group.coordinator.ago(ms)
            ),
            None => format!("{lag} records, up to {end}"),
        };
        let (own, unblocks) = (vec![own], vec![unblocks.to_owned()]);
        Some(Finding { what, since, own, unblocks, ..Default::default() })
    }
}

fn offsets(topic: &str, partitions: &[i32], timestamp: i64) -> ListOffsetsRequest {
    let asked = partitions.iter().map(|index| ListOffsetsPartition {
        partition_index: *index,
        current_leader_epoch: -1,
        timestamp,
        ..Default::default()
    });
    let asked = ListOffsetsTopic {
        name: topic.to_owned(),
        partitions: asked.collect(),
        ..Default::default()
    };
    // As a client, who is told of what is committed.
    ListOffsetsRequest { replica_id: -1, topics: vec![asked], ..Default::default() }
}

/// None where it is not what Kafka's consumers write.
fn assigned(bytes: &Bytes) -> Vec<(String, Vec<i32>)> {
    // Every version begins with the first one.
    let Some(first) = bytes.get(2..).map(|_| bytes.slice(2..)) else { return Vec::new() };
    let decoded = ConsumerProtocolAssignment::decode(&mut Reader::new(first), 0);
    let topics = decoded.map(|assignment| assignment.assigned_partitions).unwrap_or_default();
    topics.into_iter().map(|of| (of.topic, of.partitions)).collect()
}
