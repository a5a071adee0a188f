//! Whether the metadata log has a leader, and its voters all there is of it.

use model::topic::CLUSTER_METADATA;
use wire::describe_quorum_request::{PartitionData, TopicData};
use wire::describe_quorum_response::{Node, PartitionData as Described, ReplicaState};
use wire::{DescribeCausesRequest, DescribeQuorumRequest, DescribeQuorumResponse};

use super::cluster::{Causes, Cluster, all, refusal};
use super::text::ago;
use super::{ExplainError, Explanation, Finding, Silent, Since, Told, brokers, ids};

/// A voter that has not fetched for so long is looked at.
const SILENT_MS: i64 = 5_000;
/// So many of those are asked.
const MOST_ASKED: usize = 10;

pub(super) async fn explain(cluster: &Cluster) -> Result<Explanation, ExplainError> {
    let entry = cluster.causes(&DescribeCausesRequest::default()).await?;
    let told = &entry.0;
    if !entry.finds_leader() && !entry.is_nobodys() {
        let others = cluster.brokers.keys().copied();
        let others = cluster.causes_of(others, &DescribeCausesRequest::default()).await;
        return Ok(unfound(cluster, &entry, &others));
    }
    let mut facts = entry.caveats();
    let answer = cluster.ask_controller(&request()).await;
    let described = match answer.map_err(|silent| silent.to_string()).and_then(described) {
        Ok(described) => described,
        Err(refusal) if entry.is_nobodys() => {
            return Err(ExplainError::Refused { what: "the quorum".to_owned(), refusal });
        }
        Err(reason) => {
            facts.push(led_by(told.leader_id, told.leader_epoch));
            let findings = vec![silent_leader(&entry, &reason)];
            return Ok(Explanation::of(subject(&cluster.id), facts, findings, ""));
        }
    };
    let (partition, nodes) = described;
    facts.push(led_by(partition.leader_id, partition.leader_epoch));
    let voters = &partition.current_voters;
    let now_ms = leaders_clock(cluster, &partition);
    let is_silent = |voter: &ReplicaState| voter.last_fetch_timestamp < now_ms - SILENT_MS;
    let (mut silent, mut silent_voters) = (Vec::new(), 0);
    for voter in voters.iter().filter(|voter| voter.replica_id != partition.leader_id) {
        facts.push(format!("voter {}: {}", voter.replica_id, lag(voter, &partition, now_ms)));
        silent_voters += usize::from(is_silent(voter));
        if is_silent(voter) && silent.len() < MOST_ASKED {
            silent.push(missing(cluster, voter, (&partition, now_ms), &nodes));
        }
    }
    let mut findings = all(silent).await;
    let there = voters.len() - silent_voters;
    let majority = voters.len() / 2 + 1;
    facts.push(format!("{there} of {} voters are there; {majority} are a majority", voters.len()));
    let observers = &partition.observers;
    facts.push(format!(
        "{} observers, of which the slowest lacks {} records",
        observers.len(),
        slowest(observers, &partition)
    ));
    let voters: Vec<i32> = voters.iter().map(|voter| voter.replica_id).collect();
    let well =
        format!("node {} leads, and all voters ({}) follow", partition.leader_id, ids(&voters));
    let spare = there.saturating_sub(majority);
    for finding in &mut findings {
        finding.why.push(match spare {
            0 => {
                "a majority is there, and none of it may be lost: nothing would be decided any more"
                    .to_owned()
            }
            spare => format!(
                "a majority is there: {spare} more may be lost before nothing is decided any more"
            ),
        });
    }
    Ok(Explanation::of(subject(&cluster.id), facts, findings, &well))
}

fn led_by(leader: i32, epoch: i32) -> String {
    format!("the leader is node {leader} in epoch {epoch}")
}

/// When the leader of the metadata log told all that it tells.
pub(super) fn leaders_clock(cluster: &Cluster, partition: &Described) -> i64 {
    let mut voters = partition.current_voters.iter();
    let leader = voters.find(|voter| voter.replica_id == partition.leader_id);
    let now_ms = leader.map_or(-1, |leader| leader.last_fetch_timestamp);
    if now_ms > 0 { now_ms } else { cluster.now_ms }
}

fn silent_leader(entry: &Causes, reason: &str) -> Finding {
    let (leader, node) = (entry.0.leader_id, entry.0.node_id);
    Finding {
        what: format!("the leader of the metadata log, node {leader}, does not answer"),
        why: vec![format!("broker {node} counts on it, but: {reason}")],
        unblocks: vec![format!(
            "bring node {leader} back; the other voters elect another once controller.quorum.fetch.timeout.ms is over"
        )],
        ..Default::default()
    }
}

fn subject(cluster: &str) -> String {
    format!("quorum of cluster {cluster}")
}

/// The node that is asked knows of no leader; others may.
fn unfound(cluster: &Cluster, entry: &Causes, others: &Told<Causes>) -> Explanation {
    let told = &entry.0;
    let known = others.iter().filter_map(|(id, other)| Some((*id, other.as_ref().ok()?)));
    let known = known.filter(|(_, other)| other.finds_leader());
    let known: Vec<_> = known.map(|(id, Causes(other))| (id, other)).collect();
    let Some((_, newest)) = known.iter().max_by_key(|(_, other)| other.leader_epoch) else {
        let why = others.iter().map(|(id, other)| match other {
            Ok(other) => finds_none(*id, &other.0.unfound),
            Err(reason) => format!("node {id} does not answer: {reason}"),
        });
        return leaderless(&cluster.id, why.collect(), told.voter_count);
    };
    let who: Vec<i32> = known.iter().map(|(id, _)| *id).collect();
    let (leader, epoch) = (newest.leader_id, newest.leader_epoch);
    let finding = Finding {
        what: format!("node {} does not find the leader of the metadata log", told.node_id),
        why: vec![
            finds_none(told.node_id, &told.unfound),
            format!("node {leader} leads in epoch {epoch}, as {} know", brokers(&who)),
        ],
        unblocks: vec![format!(
            "bring node {} back within reach of the voters; of the quorum itself ask another node",
            told.node_id
        )],
        ..Default::default()
    };
    Explanation::of(subject(&cluster.id), Vec::new(), vec![finding], "")
}

/// What a node says that knows of no leader.
pub(super) fn finds_none(node: i32, unfound: &str) -> String {
    match unfound {
        "" => format!("node {node} has found none yet"),
        unfound => format!("node {node} finds none: {unfound}"),
    }
}

/// As nodes tell that find no leader, each with whom it asked.
pub(super) fn leaderless(cluster: &str, why: Vec<String>, voters: i32) -> Explanation {
    let majority = voters / 2 + 1;
    let finding = Finding {
        what: "the metadata log has no leader: nothing of the cluster can be altered".to_owned(),
        why,
        unblocks: vec![format!(
            "bring voters back until {majority} of {voters} are there, which is a majority"
        )],
        ..Default::default()
    };
    let facts = vec![format!("{voters} voters, as this node knows")];
    Explanation::of(subject(cluster), facts, vec![finding], "")
}

pub(super) fn request() -> DescribeQuorumRequest {
    let partitions = vec![PartitionData { partition_index: 0, ..Default::default() }];
    let topic_name = CLUSTER_METADATA.to_owned();
    let topics = vec![TopicData { topic_name, partitions, ..Default::default() }];
    DescribeQuorumRequest { topics, ..Default::default() }
}

pub(super) fn described(answer: DescribeQuorumResponse) -> Result<(Described, Vec<Node>), String> {
    let refused = |code: i16, message: Option<String>| Some(message.unwrap_or(refusal(code)?));
    if let Some(refusal) =
        refused(answer.error_code, answer.error_message).filter(|_| answer.error_code != 0)
    {
        return Err(refusal);
    }
    let partition = answer.topics.into_iter().flat_map(|topic| topic.partitions).next();
    let partition = partition.ok_or("it describes no quorum")?;
    match refusal(partition.error_code) {
        Some(refusal) => Err(refusal),
        None => Ok((partition, answer.nodes)),
    }
}

fn behind(replica: &ReplicaState, partition: &Described) -> i64 {
    partition.high_watermark.saturating_sub(replica.log_end_offset).max(0)
}

fn slowest(observers: &[ReplicaState], partition: &Described) -> i64 {
    observers.iter().map(|observer| behind(observer, partition)).max().unwrap_or(0)
}

fn lag(voter: &ReplicaState, partition: &Described, now_ms: i64) -> String {
    let when = |ms: i64| if ms < 0 { "never".to_owned() } else { ago(ms, now_ms) };
    let (fetched, level) = (when(voter.last_fetch_timestamp), when(voter.last_caught_up_timestamp));
    format!("lacks {} records, last fetched {fetched}, had all {level}", behind(voter, partition))
}

async fn missing(
    cluster: &Cluster,
    voter: &ReplicaState,
    (partition, now_ms): (&Described, i64),
    nodes: &[Node],
) -> Finding {
    let id = voter.replica_id;
    let mut why = vec![lag(voter, partition, now_ms)];
    let listeners = nodes.iter().filter(|node| node.node_id == id).flat_map(|node| &node.listeners);
    // A node has one, rarely two.
    for listener in listeners.take(2) {
        let (host, port) = (&listener.host, listener.port);
        let answer = cluster.causes_at(host, port, &DescribeCausesRequest::default()).await;
        why.push(match answer {
            Err(Silent::Unreached { why, .. }) => {
                format!("it does not answer at {host}:{port}: {why}")
            }
            Err(silent) => {
                format!("it answers at {host}:{port}, and does not tell more: {silent}")
            }
            Ok(told) if !told.finds_leader() => {
                format!("it answers at {host}:{port}, and finds no leader: {}", told.0.unfound)
            }
            Ok(told) => {
                format!("it answers at {host}:{port}, and follows node {}", told.0.leader_id)
            }
        });
    }
    let since = (voter.last_fetch_timestamp >= 0)
        .then_some(Since { ms: voter.last_fetch_timestamp, or_before: false });
    Finding {
        what: format!("voter {id} does not follow the leader"),
        since,
        why,
        unblocks: vec![format!(
            "start node {id}, or bring it back within reach of node {}",
            partition.leader_id
        )],
        ..Default::default()
    }
}
