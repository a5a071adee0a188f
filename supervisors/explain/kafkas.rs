//! What brokers of Kafka's are asked, who know no causes: of a group as much as its clients are told, and of transactions, which they
//! alone coordinate.

use std::collections::BTreeMap;

use model::ErrorCode;
use wire::describe_causes_response::{
    CausesCommit, CausesCommits, CausesGroup, CausesLog, CausesMember,
};
use wire::describe_groups_response::DescribedGroup;
use wire::describe_producers_request::TopicRequest;
use wire::offset_fetch_request::OffsetFetchRequestGroup;
use wire::{
    DescribeCausesResponse, DescribeGroupsRequest, DescribeProducersRequest,
    ListTransactionsRequest, OffsetFetchRequest,
};

use super::cluster::{Causes, Cluster, Silent, all, ask_in, ask_on, refusal};
use super::finding::cut_text;
use super::retention::held;
use super::{Finding, brokers};

/// So many brokers are asked.
const MOST_ASKED: usize = 30;
/// So much is told of one group.
const MOST_MEMBERS: usize = 100;
const MOST_COMMITS: usize = 10_000;
/// The newest that names topics, and not by their ids alone.
const BY_NAME: i16 = 9;

/// What holds the last stable offset of a log, with what the coordinators of transactions know of it: a fact, or a finding.
pub(super) async fn held_by(
    cluster: &Cluster,
    log: &CausesLog,
    now_ms: i64,
) -> (Option<String>, Option<Finding>) {
    let (young, mut held) = held(log, now_ms);
    if let Some(held) = &mut held {
        held.why.extend(transaction_of(cluster, log.producer_id).await);
    }
    (young, held)
}

/// What the coordinators of transactions know of the one that this producer has open; none of no producer's.
async fn transaction_of(cluster: &Cluster, producer_id: i64) -> Option<String> {
    if producer_id < 0 {
        return None;
    }
    let producer_id_filters = vec![producer_id];
    let request = ListTransactionsRequest { producer_id_filters, ..Default::default() };
    let live = cluster.brokers.iter().filter(|(_, place)| !place.fenced).take(MOST_ASKED);
    let asked = live.map(|(id, place)| {
        let request = &request;
        async move { (*id, cluster.ask_at(&place.host, place.port, request).await) }
    });
    let (mut coordinators, mut known) = (Vec::new(), None);
    for (id, answer) in all(asked.collect::<Vec<_>>()).await {
        let Ok(answer) = answer else { continue };
        coordinators.push(id);
        let mut states = answer.transaction_states.into_iter();
        known = known.or(states.find(|of| of.producer_id == producer_id).map(|of| (id, of)));
    }
    let mut told = match (known, coordinators.as_slice()) {
        (Some((id, of)), _) => format!(
            "its transactional.id is {:?}, and it is {} as broker {id} knows, which coordinates it",
            of.transactional_id, of.transaction_state
        ),
        (None, []) => {
            "what its transactional.id is nobody tells: no broker of this cluster coordinates transactions"
                .to_owned()
        }
        (None, asked) => format!(
            "its transactional.id is not known to {}, which coordinate transactions: it hangs, unless others do",
            brokers(asked)
        ),
    };
    cut_text(&mut told);
    Some(told)
}

/// The first transaction that is open in a partition which a broker of Kafka's leads.
pub(super) async fn open_transaction(
    cluster: &Cluster,
    leader: i32,
    (topic, partition): (&str, i32),
) -> Option<CausesLog> {
    let place = cluster.brokers.get(&leader)?;
    let asked = TopicRequest {
        name: topic.to_owned(),
        partition_indexes: vec![partition],
        ..Default::default()
    };
    let request = DescribeProducersRequest { topics: vec![asked], ..Default::default() };
    let answer = cluster.ask_at(&place.host, place.port, &request).await.ok()?;
    let partitions = answer.topics.into_iter().flat_map(|topic| topic.partitions);
    let producers = partitions.flat_map(|partition| partition.active_producers);
    let open = producers.filter(|producer| producer.current_txn_start_offset >= 0);
    let first = open.min_by_key(|producer| producer.current_txn_start_offset)?;
    Some(CausesLog {
        last_stable_offset: first.current_txn_start_offset,
        producer_id: first.producer_id,
        producer_epoch: i16::try_from(first.producer_epoch).unwrap_or(-1),
        first_offset: first.current_txn_start_offset,
        last_timestamp_ms: first.last_timestamp,
        begun_ms: -1,
        ..Default::default()
    })
}

/// A group, as far as its coordinator, a broker of Kafka's, tells: neither since when it is as it is, nor whom it waits for.
pub(super) async fn group(cluster: &Cluster, coordinator: i32, id: &str) -> Result<Causes, Silent> {
    let place = cluster.brokers.get(&coordinator);
    let place = place.ok_or_else(|| Silent::Mute("it is not registered".to_owned()))?;
    let connection = cluster.open(&place.host, place.port).await?;
    let groups = vec![id.to_owned()];
    let request = DescribeGroupsRequest { groups, ..Default::default() };
    let described = ask_on(&connection, &request).await?.groups.into_iter().next();
    let described = described.ok_or_else(|| Silent::Mute("it describes no group".to_owned()))?;
    let mut group = classic(described);
    let asked = OffsetFetchRequestGroup { group_id: id.to_owned(), ..Default::default() };
    let request = OffsetFetchRequest { groups: vec![asked], ..Default::default() };
    let fetched = ask_in(&connection, &request, BY_NAME).await?.groups.into_iter().next();
    let fetched = fetched.ok_or_else(|| Silent::Mute("it tells no commits".to_owned()))?;
    if let Some(refusal) = refusal(fetched.error_code) {
        return Err(Silent::Mute(refusal));
    }
    let mut commits: BTreeMap<String, Vec<CausesCommit>> = BTreeMap::new();
    let found = fetched.topics.into_iter().flat_map(|topic| {
        topic.partitions.into_iter().map(move |partition| (topic.name.clone(), partition))
    });
    for (topic, partition) in found.filter(|(_, p)| p.committed_offset >= 0).take(MOST_COMMITS) {
        commits.entry(topic).or_default().push(CausesCommit {
            partition_index: partition.partition_index,
            offset: partition.committed_offset,
            commit_ms: -1,
            ..Default::default()
        });
    }
    let commits = commits.into_iter().map(|(topic, partitions)| CausesCommits {
        topic,
        partitions,
        ..Default::default()
    });
    group.commits = commits.collect();
    Ok(Causes(DescribeCausesResponse {
        node_id: coordinator,
        groups: vec![group],
        ..Causes::nobodys(cluster.now_ms).0
    }))
}

fn classic(described: DescribedGroup) -> CausesGroup {
    let member = |member: &wire::describe_groups_response::DescribedGroupMember| {
        let mut member = CausesMember {
            member_id: member.member_id.clone(),
            instance_id: member.group_instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            ..Default::default()
        };
        let texts = [&mut member.member_id, &mut member.client_id, &mut member.client_host];
        texts.into_iter().chain(&mut member.instance_id).for_each(cut_text);
        member
    };
    let is_unknown = ErrorCode::from_code(described.error_code) == ErrorCode::GroupIdNotFound;
    let mut state = described.group_state;
    cut_text(&mut state);
    CausesGroup {
        error_code: if is_unknown { 0 } else { described.error_code },
        state,
        state_ms: -1,
        generation: -1,
        member_count: i32::try_from(described.members.len()).unwrap_or(i32::MAX),
        members: described.members.iter().take(MOST_MEMBERS).map(member).collect(),
        ..Default::default()
    }
}
