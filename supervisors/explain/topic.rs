//! Why partitions of a topic are not as they should be: counted, and the worst of them in full.

use model::{ErrorCode, Uuid};
use wire::describe_topic_partitions_request::{Cursor, TopicRequest};
use wire::describe_topic_partitions_response::DescribeTopicPartitionsResponsePartition as Partition;
use wire::{DescribeTopicPartitionsRequest, MetadataRequest};

use super::cluster::{Cluster, refusal};
use super::partition::{Facts, stale, verdict};
use super::{ExplainError, Explanation, brokers};

/// So many partitions are explained in full.
const SHOWN: usize = 5;
/// So many are asked for at a time.
const PAGE: i32 = 2_000;

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
                found.partitions.extend(topic.partitions);
            }
            let Some(next) = answer.next_cursor.filter(|next| next.topic_name == name) else {
                return Ok(found);
            };
            cursor = Some(Cursor {
                topic_name: next.topic_name,
                partition_index: next.partition_index,
                ..Default::default()
            });
        }
    }
}

async fn unknown(cluster: &Cluster, name: &str) -> ExplainError {
    let request = MetadataRequest { topics: None, ..Default::default() };
    match cluster.ask(&request).await {
        Ok(all) => {
            let names = all.topics.iter().filter_map(|topic| topic.name.as_deref());
            ExplainError::unknown("topic", name, names)
        }
        Err(error) => error,
    }
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
    let min_isr = super::partition::configs(cluster, name).await?.0;
    let graded = topic.partitions.iter().filter_map(|p| Some((Grade::of(p, min_isr)?, p)));
    let mut bad: Vec<(Grade, &Partition)> = graded.collect();
    bad.sort_by_key(|(grade, p)| (*grade, p.isr_nodes.len(), p.partition_index));
    let shown: Vec<&Partition> = bad.iter().take(SHOWN).map(|(_, p)| *p).collect();
    let facts = Facts::of(cluster, &topic, &shown).await?;
    let mut findings: Vec<_> = shown.iter().flat_map(|p| facts.findings(p)).collect();
    findings.extend(facts.all_moving(topic.partitions.iter().filter(|p| !shown.contains(p))));
    let count = topic.partitions.len();
    let mut told = vec![format!("{count} partitions; min.insync.replicas={min_isr}")];
    told.extend(stale(facts.entry()));
    let of = |grade: Grade| bad.iter().filter(|(other, _)| *other == grade).count();
    let graded: Vec<String> = Grade::ALL
        .iter()
        .filter(|(grade, _)| of(*grade) > 0)
        .map(|(grade, what)| format!("{} {what}", of(*grade)))
        .collect();
    told.extend(missing(&bad));
    if bad.len() > SHOWN {
        told.push(format!(
            "the worst {SHOWN} of {} are explained; the others: ottla explain partition",
            bad.len()
        ));
    }
    let verdict = match (graded.as_slice(), findings.first()) {
        ([], None) => format!(
            "all is well: each of {count} partitions has a leader and all its replicas in sync"
        ),
        ([], Some(worst)) => verdict(&worst.what, worst),
        (graded, worst) => {
            let what = format!("of {count} partitions, {}", graded.join(", "));
            worst.map_or(what.clone(), |worst| verdict(&what, worst))
        }
    };
    Ok(Explanation { subject: format!("topic {name}"), facts: told, findings, verdict })
}

/// Which brokers are out of sync how often, the worst first.
fn missing(bad: &[(Grade, &Partition)]) -> Vec<String> {
    let mut often = std::collections::BTreeMap::<i32, usize>::new();
    for (_, p) in bad {
        for id in p.replica_nodes.iter().filter(|id| !p.isr_nodes.contains(id) || p.leader_id < 0) {
            *often.entry(*id).or_default() += 1;
        }
    }
    let mut often: Vec<(i32, usize)> = often.into_iter().collect();
    often.sort_by_key(|(id, often)| (std::cmp::Reverse(*often), *id));
    let told = often.iter().take(SHOWN);
    told.map(|(id, often)| format!("{} lacks in {often} of them", brokers(&[*id]))).collect()
}
