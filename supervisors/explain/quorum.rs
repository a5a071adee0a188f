//! Whether the metadata log has a leader, and its voters all there is of it.

use model::topic::CLUSTER_METADATA;
use wire::describe_quorum_request::{PartitionData, TopicData};
use wire::describe_quorum_response::{Node, PartitionData as Described, ReplicaState};
use wire::{DescribeCausesRequest, DescribeQuorumRequest, DescribeQuorumResponse};

use super::cluster::{Cluster, refusal};
use super::partition::verdict;
use super::text::ago;
use super::{ExplainError, Explanation, Finding, Since, list};

/// A voter that has not fetched for so long is looked at.
const SILENT_MS: i64 = 5_000;
/// So many brokers are asked what they know where no leader is known.
const MOST_ASKED: usize = 20;

pub(super) async fn explain(cluster: &Cluster) -> Result<Explanation, ExplainError> {
    let entry = cluster.causes(&DescribeCausesRequest::default()).await?;
    let told = &entry.0;
    if told.leader_id < 0 {
        let ids = cluster.brokers.keys().copied().take(MOST_ASKED);
        let others = cluster.causes_of(ids, &DescribeCausesRequest::default()).await;
        let why = others.iter().map(|(id, other)| match other {
            Ok(other) => finds_none(*id, &other.0.unfound),
            Err(reason) => format!("node {id} does not answer: {reason}"),
        });
        return Ok(leaderless(&cluster.id, why.collect(), told.voter_count));
    }
    let mut facts =
        vec![format!("the leader is node {} in epoch {}", told.leader_id, told.leader_epoch)];
    let answer = cluster.ask_controller(&request()).await;
    let described = match answer.and_then(described) {
        Ok(described) => described,
        Err(reason) => {
            let what =
                format!("the leader of the metadata log, node {}, does not answer", told.leader_id);
            let finding = Finding {
                what,
                why: vec![format!("broker {} counts on it, but: {reason}", told.node_id)],
                unblocks: vec![format!(
                    "bring node {} back; the other voters elect another once controller.quorum.fetch.timeout.ms is over",
                    told.leader_id
                )],
                ..Default::default()
            };
            return Ok(whole(&cluster.id, facts, vec![finding], String::new()));
        }
    };
    let (partition, nodes) = described;
    let voters = &partition.current_voters;
    let mut findings = Vec::new();
    for voter in voters.iter().filter(|voter| voter.replica_id != partition.leader_id) {
        facts.push(format!(
            "voter {}: {}",
            voter.replica_id,
            lag(voter, &partition, cluster.now_ms)
        ));
        if voter.last_fetch_timestamp < cluster.now_ms - SILENT_MS {
            findings.push(missing(cluster, voter, &partition, &nodes).await);
        }
    }
    let there = voters.len() - findings.len();
    let majority = voters.len() / 2 + 1;
    facts.push(format!("{there} of {} voters are there; {majority} are a majority", voters.len()));
    let observers = &partition.observers;
    facts.push(format!(
        "{} observers, of which the slowest lacks {} records",
        observers.len(),
        slowest(observers, &partition)
    ));
    let ids: Vec<i32> = voters.iter().map(|voter| voter.replica_id).collect();
    let well = format!(
        "all is well: node {} leads, and all voters ({}) follow",
        partition.leader_id,
        list(&ids)
    );
    let spare = there.saturating_sub(majority);
    for finding in &mut findings {
        finding.why.push(format!(
            "a majority is there: {spare} more may be lost before nothing is decided any more"
        ));
    }
    Ok(whole(&cluster.id, facts, findings, well))
}

fn whole(cluster: &str, facts: Vec<String>, findings: Vec<Finding>, well: String) -> Explanation {
    let verdict = findings.first().map_or(well, |worst| verdict(&worst.what, worst));
    Explanation { subject: format!("quorum of cluster {cluster}"), facts, findings, verdict }
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
    whole(
        cluster,
        vec![format!("{voters} voters, as this node knows")],
        vec![finding],
        String::new(),
    )
}

fn request() -> DescribeQuorumRequest {
    let partitions = vec![PartitionData { partition_index: 0, ..Default::default() }];
    let topic_name = CLUSTER_METADATA.to_owned();
    let topics = vec![TopicData { topic_name, partitions, ..Default::default() }];
    DescribeQuorumRequest { topics, ..Default::default() }
}

fn described(answer: DescribeQuorumResponse) -> Result<(Described, Vec<Node>), String> {
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
    partition: &Described,
    nodes: &[Node],
) -> Finding {
    let id = voter.replica_id;
    let mut why = vec![lag(voter, partition, cluster.now_ms)];
    let listeners = nodes.iter().filter(|node| node.node_id == id).flat_map(|node| &node.listeners);
    for listener in listeners {
        let (host, port) = (&listener.host, listener.port);
        let answer = cluster.ask_at(host, port, &DescribeCausesRequest::default()).await;
        why.push(match answer {
            Err(reason) => format!("it does not answer at {host}:{port}: {reason}"),
            Ok(told) if told.leader_id < 0 => {
                format!("it answers at {host}:{port}, and finds no leader: {}", told.unfound)
            }
            Ok(told) => format!("it answers at {host}:{port}, and follows node {}", told.leader_id),
        });
    }
    let since = (voter.last_fetch_timestamp >= 0)
        .then_some(Since { ms: voter.last_fetch_timestamp, or_before: false });
    Finding {
        what: format!("voter {id} does not follow the leader"),
        since,
        by: None,
        why,
        unblocks: vec![format!(
            "start node {id}, or bring it back within reach of node {}",
            partition.leader_id
        )],
    }
}
