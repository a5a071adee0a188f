//! When all faults are over: everybody is in sync, all replicas hold the same, what anybody was told is there, and once.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Bytes, BytesMut};
use model::Uuid;
use ottla::client::Connection;
use wire::batch::batches;
use wire::describe_quorum_request::{PartitionData, TopicData};
use wire::describe_quorum_response::PartitionData as Quorum;
use wire::list_partition_reassignments_request::ListPartitionReassignmentsTopics;
use wire::{DescribeQuorumRequest, ListPartitionReassignmentsRequest, MetadataRequest};

use super::admins::move_to;
use super::clients::Tools;
use super::reader::{read, records};
use super::{LIMIT, PARTITIONS, REPLICAS, TOPIC};

/// Ends the story.
pub async fn until_well(tools: &Tools, id: Uuid) {
    while let Err(why) = well(tools, id).await {
        tools.life.trace.note(format_args!("{why}"));
        tools.story.wait_for(why);
        tools.sleep_ms(200).await;
    }
    tools.story.done();
}

async fn well(tools: &Tools, id: Uuid) -> Result<(), String> {
    for partition in 0..PARTITIONS {
        let topic = tools.client.admin().describe_topic(TOPIC).await.map_err(|e| e.to_string())?;
        let found = topic.partitions.iter().find(|found| found.partition == partition);
        let found = found.ok_or("a partition is not known")?;
        if found.replicas.len() > REPLICAS as usize {
            take_away(tools, partition, &found.replicas).await?;
        }
        if found.isr.len() != REPLICAS as usize || found.replicas.len() != REPLICAS as usize {
            let (isr, replicas) = (&found.isr, &found.replicas);
            return Err(format!("the ISR of {partition} is {isr:?}, its replicas {replicas:?}"));
        }
        let mut held: Vec<Bytes> = Vec::new();
        for node in &found.isr {
            held.push(held_by(tools, &format!("n{node}"), (id, partition)).await?);
        }
        if held.iter().any(|bytes| *bytes != held[0]) {
            let sizes: Vec<usize> = held.iter().map(Bytes::len).collect();
            return Err(format!("the replicas of {partition} differ, and have {sizes:?} bytes"));
        }
        judge(tools, partition, &held[0])?;
    }
    for partition in 0..PARTITIONS {
        tools.story.group_has_all(partition)?;
    }
    for name in tools.shape.names() {
        knows_all(tools, &name).await?;
    }
    describes_quorum(tools).await
}

/// Who calls off a move that had replaced another keeps all replicas that the two named, as with Kafka. What is still under way comes
/// to its end by itself.
async fn take_away(tools: &Tools, partition: i32, replicas: &[i32]) -> Result<(), String> {
    let (name, partition_indexes) = (TOPIC.to_owned(), vec![partition]);
    let topic = ListPartitionReassignmentsTopics { name, partition_indexes, ..Default::default() };
    let under_way =
        ListPartitionReassignmentsRequest { topics: Some(vec![topic]), ..Default::default() };
    let answer = tools.client.ask_any(&under_way).await.map_err(|error| error.to_string())?;
    if answer.error_code == 0 && answer.topics.is_empty() {
        let fewer = replicas.iter().take(REPLICAS as usize).copied().collect();
        move_to(tools, TOPIC, partition, Some(fewer)).await;
    }
    Ok(())
}

/// All that is committed, as this replica has it.
async fn held_by(tools: &Tools, name: &str, replica: (Uuid, i32)) -> Result<Bytes, String> {
    let connection = connect(tools, name).await?;
    let (mut bytes, mut offset) = (BytesMut::new(), 0);
    loop {
        let answer = read(&connection, replica, offset).await.map_err(|error| error.to_string())?;
        let read = answer.ok_or_else(|| format!("{name} cannot be read at {offset}"))?;
        offset = batches(read.bytes.clone())
            .filter_map(Result::ok)
            .last()
            .map_or(offset, |batch| batch.header().next_offset());
        bytes.extend_from_slice(&read.bytes);
        if offset >= read.high_watermark {
            return Ok(bytes.freeze());
        }
        if read.bytes.is_empty() {
            return Err(format!("{name} shows nothing at {offset}"));
        }
    }
}

fn judge(tools: &Tools, partition: i32, held: &Bytes) -> Result<(), String> {
    let story = &tools.story;
    let found: BTreeMap<i64, String> = match records(held, 0) {
        Ok(found) => found.into_iter().collect(),
        Err(what) => {
            story.wrong("a gap", format_args!("partition {partition}: {what}"));
            return Err(what);
        }
    };
    if story.shows_not_yet_all(partition, found.len() as i64) {
        return Err(format!("of {partition} {} records are shown, not yet all", found.len()));
    }
    let told = story.told();
    let lost = told
        .iter()
        .filter(|((of, offset), value)| *of == partition && found.get(offset) != Some(*value));
    let lost: Vec<_> = lost.collect();
    if let Some((at, value)) = lost.first() {
        let (there, count, end) = (found.get(&at.1), lost.len(), found.len());
        story.wrong("PA-1", format_args!(
            "{count} records are lost or changed, of {end} left: at {at:?} is {there:?}, not {value:?}, as was told"
        ));
    }
    let once: BTreeSet<&String> = found.values().collect();
    if once.len() < found.len() {
        story.wrong("PA-4", format_args!("partition {partition} has records twice"));
    }
    let mut last: BTreeMap<&str, u64> = BTreeMap::new();
    for (offset, value) in &found {
        let Some((producer, number)) = value.split_once('-') else { continue };
        let number = number.parse().unwrap_or_default();
        if last.insert(producer, number).is_some_and(|before| before >= number) {
            story.wrong("PA-4", format_args!("{value} at {partition}@{offset} is out of order"));
        }
    }
    sequences(tools, partition, held);
    Ok(())
}

/// Each producer's batches follow one another without a gap.
fn sequences(tools: &Tools, partition: i32, held: &Bytes) {
    let mut next: BTreeMap<(i64, i16), i32> = BTreeMap::new();
    for batch in batches(held.clone()).filter_map(Result::ok) {
        let header = batch.header();
        let producer = (header.producer_id, header.producer_epoch);
        let expected = next.get(&producer).copied().unwrap_or_default();
        if header.producer_id >= 0 && header.base_sequence != expected {
            tools.story.wrong("PA-4", format_args!(
                "partition {partition} has sequence {} of {producer:?} at {}, where {expected} comes next",
                header.base_sequence, header.base_offset
            ));
        }
        let count = header.next_offset() - header.base_offset;
        next.insert(producer, header.base_sequence.wrapping_add(count as i32));
    }
}

async fn connect(tools: &Tools, name: &str) -> Result<Connection, String> {
    tools.connect(name).await.map_err(|error| error.to_string())
}

/// A topic whose creation was acknowledged is there, with the one id.
async fn knows_all(tools: &Tools, name: &str) -> Result<(), String> {
    let connection = connect(tools, name).await?;
    let all = MetadataRequest { topics: None, ..Default::default() };
    let answer = connection.request(&all, LIMIT).await.map_err(|error| error.to_string())?;
    let topics = answer.topics.into_iter();
    let found: BTreeMap<_, _> =
        topics.map(|topic| (topic.name.unwrap_or_default(), topic.topic_id)).collect();
    if let Some((topic, id)) = found.iter().find(|(_, id)| tools.story.is_deleted(**id)) {
        return Err(format!("{name} still knows {topic}, {id}"));
    }
    for (topic, id) in tools.story.topics() {
        match found.get(&topic) {
            Some(known) if *known != id => {
                tools.story.wrong("QU-2", format_args!("{topic} is {id}, and {known} on {name}"));
            }
            Some(_) => {}
            None => return Err(format!("{name} does not know {topic}")),
        }
    }
    Ok(())
}

/// Also how far the voters and the broker that only observes are.
async fn describes_quorum(tools: &Tools) -> Result<(), String> {
    let found = quorum(tools).await?;
    let mut voters: Vec<i32> = found.current_voters.iter().map(|state| state.replica_id).collect();
    voters.sort_unstable();
    let observers: Vec<i32> = found.observers.iter().map(|state| state.replica_id).collect();
    let committed = found.high_watermark;
    let have = found.current_voters.iter().filter(|state| state.log_end_offset >= committed);
    let enough = have.count() > voters.len() / 2;
    if voters != tools.shape.controllers()
        || !enough
        || observers.len() + voters.len() != tools.shape.nodes
    {
        return Err(format!("the quorum is {voters:?} with {observers:?}"));
    }
    Ok(())
}

/// As the leader of the quorum describes it.
pub async fn quorum(tools: &Tools) -> Result<Quorum, String> {
    let topic_name = "__cluster_metadata".to_owned();
    let partitions = vec![PartitionData::default()];
    let topics = vec![TopicData { topic_name, partitions, ..Default::default() }];
    let request = DescribeQuorumRequest { topics, ..Default::default() };
    let answer = tools.client.ask_any(&request).await.map_err(|error| error.to_string())?;
    let found = answer.topics.into_iter().flat_map(|topic| topic.partitions).next();
    found.filter(|found| found.error_code == 0).ok_or("no quorum is described".to_owned())
}
