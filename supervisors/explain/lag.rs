//! How far a group is behind, and whether whoever has a partition commits anything.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use bytes::Bytes;
use model::Uuid;
use wire::describe_causes_request::CausesTopic;
use wire::describe_causes_response::CausesLog;
use wire::describe_groups_response::DescribedGroup;
use wire::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use wire::{
    ConsumerProtocolAssignment, DescribeCausesRequest, DescribeGroupsRequest, ListOffsetsRequest,
    ListOffsetsResponse, Message, Reader,
};

use super::cluster::{Causes, Cluster, Place, all, ask_on};
use super::finding::grouped;
use super::group::Group;
use super::topic::Described;
use super::{Finding, Silent, kafkas};

const EARLIEST: i64 = -2;
const LATEST: i64 = -1;
const READ_COMMITTED: i8 = 1;
/// Who has not read what was there for so long, and commits nothing meanwhile, is told of.
const SILENT_MS: i64 = 10_000;
/// So many topics and partitions are looked at.
const MOST_TOPICS: usize = 50;
const MOST_PARTITIONS: usize = 20_000;
/// So many leaders are asked at once, and of so many partitions what holds them.
const AT_ONCE: usize = 30;
const MOST_HELD: usize = 20;

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
    /// The last stable offset, and what holds it: a fact where that is young, else a finding.
    stable: Option<i64>,
    holder: Option<Holder>,
}

#[derive(Default)]
pub(super) struct Lags {
    /// By topic and number.
    at: BTreeMap<(String, i32), At>,
    /// What could not be asked.
    untold: Vec<String>,
}

/// By the name of their topic.
type Partitions = BTreeMap<String, Vec<i32>>;

/// A fact, or a finding.
type Holder = (Option<String>, Option<Finding>);

/// What a leader is asked for.
#[derive(Debug, Clone, Copy)]
enum Asked {
    Start,
    End,
    /// Where read_committed consumers see the end.
    Stable,
    Recent,
}

impl At {
    fn next(&self) -> Option<i64> {
        self.committed.map(|(offset, _)| offset).or(self.start)
    }

    /// Where nothing is committed, all of it; none where its leader did not tell.
    fn lag(&self) -> Option<i64> {
        Some(self.end?.saturating_sub(self.next()?).max(0))
    }

    /// Where it stands at the last stable offset, how many records are behind that.
    fn held(&self) -> Option<i64> {
        let (next, stable, end) = (self.committed?.0, self.stable?, self.end?);
        (next == stable && stable < end).then(|| end - stable)
    }

    /// Who reads committed records alone gets no further.
    fn held_up(&self, behind: i64) -> Option<Finding> {
        let (young, holder) = self.holder.clone().unwrap_or_default();
        if young.is_some() {
            return None;
        }
        let untold = || vec!["its leader does not tell which".to_owned()];
        Some(Finding {
            what: "consumers that read_committed get no further: an open transaction holds the last stable offset".to_owned(),
            since: holder.as_ref().and_then(|holder| holder.since),
            own: vec![format!("{behind} records are behind it")],
            unblocks: holder.as_ref().map(|holder| holder.unblocks.clone()).unwrap_or_default(),
            why: holder.map_or_else(untold, |holder| holder.why),
            ..Default::default()
        })
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
        let mut lags = Lags::default();
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
        let described = topics.iter().take(MOST_TOPICS).map(|topic| Described::ask(cluster, topic));
        let mut known = Vec::new();
        for described in all(described).await {
            match described {
                Ok(described) => known.push(described),
                Err(error) => lags.untold.push(error.to_string()),
            }
        }
        let recent = group.coordinator.0.now_ms.saturating_sub(SILENT_MS);
        lags.ends(cluster, &known, recent).await;
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

    /// Where these logs begin and end, as their leaders know it, of whom none waits for another.
    async fn ends(&mut self, cluster: &Cluster, topics: &[Described], recent: i64) {
        let mut by_leader: BTreeMap<i32, Partitions> = BTreeMap::new();
        for (topic, p) in
            topics.iter().flat_map(|topic| topic.partitions.iter().map(move |p| (topic, p)))
        {
            if let Some(at) = self.at.get_mut(&(topic.name.clone(), p.partition_index)) {
                at.leader = Some(p.leader_id);
                let of = by_leader.entry(p.leader_id).or_default();
                of.entry(topic.name.clone()).or_default().push(p.partition_index);
            }
        }
        let leaders: Vec<_> = by_leader.iter().collect();
        for some in leaders.chunks(AT_ONCE) {
            let asked = some.iter().filter_map(|&(leader, of)| {
                let place = cluster.brokers.get(leader)?;
                Some(async move { ends_of(cluster, place, of, recent).await })
            });
            for told in all(asked.collect::<Vec<_>>()).await {
                match told {
                    Ok(told) => {
                        told.into_iter().for_each(|(asked, answer)| self.take(asked, answer))
                    }
                    Err(silent) => self.untold.push(silent.to_string()),
                }
            }
        }
        self.holders(cluster, topics).await;
    }

    fn take(&mut self, asked: Asked, answer: ListOffsetsResponse) {
        for topic in answer.topics {
            for p in topic.partitions.iter().filter(|p| p.error_code == 0) {
                let at = self.at.get_mut(&(topic.name.clone(), p.partition_index));
                let Some(at) = at else { continue };
                match asked {
                    Asked::Start => at.start = Some(p.offset),
                    Asked::End => at.end = Some(p.offset),
                    Asked::Stable => at.stable = Some(p.offset),
                    // None of them is so young.
                    Asked::Recent if p.offset < 0 => at.recent = Some(i64::MAX),
                    Asked::Recent => at.recent = Some(p.offset),
                }
            }
        }
    }

    /// Whose transactions hold the first few that stand at the last stable offset.
    async fn holders(&mut self, cluster: &Cluster, topics: &[Described]) {
        let partitions =
            topics.iter().flat_map(|topic| topic.partitions.iter().map(move |p| (topic, p)));
        let stands = partitions.filter_map(|(topic, p)| {
            let key = (topic.name.clone(), p.partition_index);
            let behind = self.at.get(&key)?.held()?;
            Some((key, topic.id, p.leader_id, behind))
        });
        let asked = stands.take(MOST_HELD).map(|(key, topic_id, leader, behind)| async move {
            Some((key.clone(), holder(cluster, (&key.0, topic_id, key.1), leader, behind).await?))
        });
        for (key, holder) in all(asked.collect::<Vec<_>>()).await.into_iter().flatten() {
            if let Some(at) = self.at.get_mut(&key) {
                at.holder = Some(holder);
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
        let young = self.at.iter().filter_map(|((topic, partition), at)| {
            let (young, _) = at.holder.as_ref()?;
            Some(format!("{topic}-{partition}: {}", young.as_ref()?))
        });
        facts.extend(young);
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
        // A coordinator of Kafka's does not say when.
        let silent = |since: i64| since >= 0 && now_ms.saturating_sub(since) > SILENT_MS;
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
        if let Some(behind) = self.held().filter(|_| self.waits()) {
            return self.held_up(behind);
        }
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

/// What holds the last stable offset of a partition, as its leader knows.
async fn holder(
    cluster: &Cluster,
    (topic, topic_id, partition): (&str, Uuid, i32),
    leader: i32,
    behind: i64,
) -> Option<Holder> {
    let named = CausesTopic { topic_id, partitions: vec![partition], ..Default::default() };
    let request = DescribeCausesRequest { topics: vec![named], logs: true, ..Default::default() };
    match cluster.causes_of([leader], &request).await.remove(&leader)? {
        Ok(Causes(told)) => {
            let log = told.replicas.first()?.logs.first()?;
            Some(kafkas::held_by(cluster, log, told.now_ms).await)
        }
        Err(Silent::Kafkas) => {
            let log = kafkas::open_transaction(cluster, leader, (topic, partition)).await?;
            let high_watermark = log.last_stable_offset.saturating_add(behind);
            let log = CausesLog { high_watermark, ..log };
            Some(kafkas::held_by(cluster, &log, cluster.now_ms).await)
        }
        Err(_) => None,
    }
}

/// What a leader tells of these, all of it on one connection.
async fn ends_of(
    cluster: &Cluster,
    place: &Place,
    of: &Partitions,
    recent: i64,
) -> Result<Vec<(Asked, ListOffsetsResponse)>, Silent> {
    let connection = cluster.open(&place.host, place.port).await?;
    let mut told = Vec::new();
    for (asked, timestamp, isolation_level) in [
        (Asked::Start, EARLIEST, 0),
        (Asked::End, LATEST, 0),
        (Asked::Stable, LATEST, READ_COMMITTED),
        (Asked::Recent, recent, 0),
    ] {
        let request = ListOffsetsRequest { isolation_level, ..offsets(of, timestamp) };
        told.push((asked, ask_on(&connection, &request).await?));
    }
    Ok(told)
}

fn offsets(of: &Partitions, timestamp: i64) -> ListOffsetsRequest {
    let partition = |index: &i32| ListOffsetsPartition {
        partition_index: *index,
        current_leader_epoch: -1,
        timestamp,
        ..Default::default()
    };
    let topics = of.iter().map(|(name, partitions)| ListOffsetsTopic {
        name: name.clone(),
        partitions: partitions.iter().map(partition).collect(),
        ..Default::default()
    });
    // As a client, who is told of what is committed.
    ListOffsetsRequest { replica_id: -1, topics: topics.collect(), ..Default::default() }
}

/// None where it is not what Kafka's consumers write.
fn assigned(bytes: &Bytes) -> Vec<(String, Vec<i32>)> {
    // Every version begins with the first one.
    let Some(first) = bytes.get(2..).map(|_| bytes.slice(2..)) else { return Vec::new() };
    let decoded = ConsumerProtocolAssignment::decode(&mut Reader::new(first), 0);
    let topics = decoded.map(|assignment| assignment.assigned_partitions).unwrap_or_default();
    topics.into_iter().map(|of| (of.topic, of.partitions)).collect()
}

#[cfg(test)]
mod tests {
    use wire::describe_causes_response::CausesGroup;

    use super::*;

    const NOW: i64 = 1_700_000_000_000;

    fn at(committed: i64) -> At {
        At {
            committed: Some((committed, NOW - 20_000)),
            owner: Some("a member".to_owned()),
            leader: Some(1),
            start: Some(0),
            recent: Some(9),
            end: Some(9),
            stable: Some(5),
            holder: None,
        }
    }

    fn found(at: &At, state_ms: i64) -> Option<String> {
        let coordinator = Causes::nobodys(NOW);
        let told = CausesGroup { state: "Stable".to_owned(), state_ms, ..Default::default() };
        at.finding(&Group::of(&told, &coordinator)).map(|found| found.what)
    }

    #[test]
    fn who_stands_at_an_open_transaction_is_told_of_it_and_not_of_members() {
        let held = "consumers that read_committed get no further";
        let says = |at: &At, part: &str| found(at, 0).is_some_and(|what| what.contains(part));
        assert!(says(&at(5), held));
        assert!(
            says(&at(4), "commits nothing any more") && says(&at(6), "commits nothing any more")
        );
        let stable = At { stable: Some(9), ..at(5) };
        assert!(says(&stable, "commits nothing any more"));
        let holder = |young: bool| {
            let why = vec!["producer 4".to_owned()];
            let finding = Finding { why, ..Default::default() };
            let of = if young { (Some("young".to_owned()), None) } else { (None, Some(finding)) };
            At { holder: Some(of), ..at(5) }
        };
        assert_eq!(found(&holder(true), 0), None, "it is young");
        let coordinator = Causes::nobodys(NOW);
        let told = CausesGroup { state: "Stable".to_owned(), ..Default::default() };
        let told = holder(false).finding(&Group::of(&told, &coordinator)).expect("it is held");
        assert_eq!(told.why, ["producer 4"]);
        assert_eq!(told.own, ["4 records are behind it"]);
    }

    #[test]
    fn nobody_is_accused_where_the_coordinator_does_not_say_when() {
        let unknown = At { committed: Some((4, -1)), ..at(4) };
        assert_eq!(found(&unknown, -1), None);
        let never = At { committed: None, ..at(0) };
        assert_eq!(found(&never, -1), None);
        assert!(found(&never, 0).is_some_and(|what| what.contains("has committed nothing")));
    }
}
