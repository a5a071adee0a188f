//! Why partitions of a topic are not as they should be: counted, and the worst of them in full.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use model::{ErrorCode, Uuid};
use wire::describe_topic_partitions_request::{Cursor, TopicRequest};
use wire::describe_topic_partitions_response::DescribeTopicPartitionsResponsePartition as Partition;
use wire::{DescribeTopicPartitionsRequest, MetadataRequest};

use super::cluster::{Cluster, refusal};
use super::finding::grouped;
use super::partition::Facts;
use super::settings::TopicSettings;
use super::{ExplainError, Explanation, brokers};

/// Of so many partitions all is asked: as many as a node tells of at once.
const LOOKED_AT: usize = 1_000;
/// So many are asked for at a time, and so many in all.
const PAGE: i32 = 2_000;
const MOST_PARTITIONS: usize = 200_000;
const MOST_REPLICAS: usize = 100;
/// So many brokers are counted out.
const SHOWN: usize = 5;

/// A topic, as all brokers know it.
pub(super) struct Described {
    pub(super) name: String,
    pub(super) id: Uuid,
    /// In order of their numbers.
    pub(super) partitions: Vec<Partition>,
}

impl Described {
    pub(super) async fn ask(cluster: &Cluster, name: &str) -> Result<Described, ExplainError> {
        let mut found = Described { name: name.to_owned(), id: Uuid::ZERO, partitions: Vec::new() };
        let mut cursor = None;
        loop {
            let request = DescribeTopicPartitionsRequest {
                topics: vec![TopicRequest { name: name.to_owned(), ..Default::default() }],
                response_partition_limit: PAGE,
                cursor: cursor.take(),
                ..Default::default()
            };
            let answer = cluster.ask(&request).await?;
            for topic in answer.topics {
                match ErrorCode::from_code(topic.error_code) {
                    ErrorCode::None => {}
                    ErrorCode::UnknownTopicOrPartition | ErrorCode::InvalidTopicException => {
                        return Err(unknown(cluster, name).await);
                    }
                    _ => {
                        let refusal = refusal(topic.error_code).unwrap_or_default();
                        let what = format!("topic {name}");
                        return Err(ExplainError::Refused { what, refusal });
                    }
                }
                found.id = topic.topic_id;
                found.partitions.extend(topic.partitions.into_iter().map(few_replicas));
            }
            let next = answer.next_cursor.filter(|next| next.topic_name == name);
            let Some(next) = next.filter(|_| found.partitions.len() < MOST_PARTITIONS) else {
                return Ok(found);
            };
            let told = found.partitions.last().map_or(-1, |p| p.partition_index);
            if next.partition_index <= told {
                let refusal = format!("it goes on at {} behind {told}", next.partition_index);
                return Err(ExplainError::Refused { what: format!("topic {name}"), refusal });
            }
            cursor = Some(Cursor {
                topic_name: next.topic_name,
                partition_index: next.partition_index,
                ..Default::default()
            });
        }
    }
}

/// Each is looked for in the others, again and again.
fn few_replicas(mut p: Partition) -> Partition {
    let some = p.eligible_leader_replicas.iter_mut().chain(&mut p.last_known_elr);
    let all = some.chain([&mut p.replica_nodes, &mut p.isr_nodes]);
    all.for_each(|ids| ids.truncate(MOST_REPLICAS));
    p
}

/// Where there are too many to be told of, none is meant.
async fn unknown(cluster: &Cluster, name: &str) -> ExplainError {
    let request = MetadataRequest { topics: None, ..Default::default() };
    let all = cluster.ask(&request).await.map(|all| all.topics).unwrap_or_default();
    let names = all.iter().filter_map(|topic| topic.name.as_deref());
    ExplainError::unknown("topic", name, names)
}

/// How bad it is, the worst first, and what is said of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Grade {
    NoLeader,
    BelowMinIsr,
    UnderReplicated,
}

impl Grade {
    const ALL: [(Grade, &str); 3] = [
        (Grade::NoLeader, "without a leader"),
        (Grade::BelowMinIsr, "below min.insync.replicas"),
        (Grade::UnderReplicated, "under-replicated"),
    ];

    fn of(p: &Partition, min_isr: usize) -> Option<Grade> {
        let (in_sync, replicas) = (p.isr_nodes.len(), p.replica_nodes.len());
        match () {
            () if p.leader_id < 0 => Some(Grade::NoLeader),
            () if in_sync < min_isr.min(replicas) => Some(Grade::BelowMinIsr),
            () if in_sync < replicas => Some(Grade::UnderReplicated),
            () => None,
        }
    }
}

pub(super) async fn explain(cluster: &Cluster, name: &str) -> Result<Explanation, ExplainError> {
    let topic = Described::ask(cluster, name).await?;
    let min_isr = TopicSettings::of(cluster, name).await?.min_isr;
    let graded = topic.partitions.iter().filter_map(|p| Some((Grade::of(p, min_isr)?, p)));
    let mut bad: Vec<(Grade, &Partition)> = graded.collect();
    bad.sort_by_key(|(grade, p)| (*grade, p.isr_nodes.len(), p.partition_index));
    let looked_at: Vec<&Partition> = bad.iter().take(LOOKED_AT).map(|(_, p)| *p).collect();
    let facts = Facts::of(cluster, &topic, &looked_at).await?;
    let is_bad: BTreeSet<i32> = bad.iter().map(|(_, p)| p.partition_index).collect();
    let others = topic.partitions.iter().filter(|p| !is_bad.contains(&p.partition_index));
    let all: Vec<&Partition> = topic.partitions.iter().collect();
    let findings = looked_at.iter().flat_map(|p| facts.findings(p)).chain(facts.others(others));
    let findings = grouped(findings.chain(facts.uncleanable(&all)));
    let count = topic.partitions.len();
    let mut told = vec![format!("{count} partitions; min.insync.replicas={min_isr}")];
    told.extend(facts.entry.caveats());
    told.extend(missing(&bad));
    if bad.len() > LOOKED_AT {
        told.push(format!(
            "the worst {LOOKED_AT} of {} are explained; the others: ottla explain partition",
            bad.len()
        ));
    }
    let well = format!("each of {count} partitions has a leader and all its replicas in sync");
    let mut explained = Explanation::of(format!("topic {name}"), told, findings, &well);
    let of = |grade: Grade| bad.iter().filter(|(other, _)| *other == grade).count();
    let grades = Grade::ALL.iter().map(|(grade, what)| (of(*grade), what));
    let graded = grades.filter(|(of, _)| *of > 0).map(|(of, what)| format!("{of} {what}"));
    let graded: Vec<String> = graded.collect();
    if let (false, Some(worst)) = (graded.is_empty(), explained.findings.first()) {
        let what = format!("of {count} partitions, {}", graded.join(", "));
        explained.verdict = worst.verdict_of(&what);
    }
    Ok(explained)
}

/// Which brokers are out of sync how often, the worst first.
fn missing(bad: &[(Grade, &Partition)]) -> Vec<String> {
    let mut often = BTreeMap::<i32, usize>::new();
    for (_, p) in bad {
        for id in p.replica_nodes.iter().filter(|id| !p.isr_nodes.contains(id) || p.leader_id < 0) {
            *often.entry(*id).or_default() += 1;
        }
    }
    let mut often: Vec<(i32, usize)> = often.into_iter().collect();
    often.sort_by_key(|(id, often)| (Reverse(*often), *id));
    let told = often.iter().take(SHOWN);
    told.map(|(id, often)| format!("{} lacks in {often} of them", brokers(&[*id]))).collect()
}
