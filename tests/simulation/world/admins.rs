//! What admins do: topics come and go, under names that come again; replicas move; voters leave.

use std::collections::BTreeMap;

use model::settings::Op;
use model::topic::CONSUMER_OFFSETS;
use model::{ErrorCode, Uuid};
use ottla::client::{NewTopic, Producer, ProducerConfig, ProducerRecord};
use ottla::runtime::RandomStream;
use wire::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use wire::delete_topics_request::DeleteTopicState;
use wire::describe_quorum_response::{PartitionData as Quorum, ReplicaState};
use wire::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use wire::{
    AlterPartitionReassignmentsRequest, DeleteTopicsRequest, IncrementalAlterConfigsRequest,
    RemoveRaftVoterRequest,
};

use super::clients::Tools;
use super::reader::{read, records};
use super::{LIMIT, PARTITIONS, REPLICAS, TOPIC, ending};
use crate::chance::stream;

const NAMES: u64 = 8;
/// A resource's type.
const BROKER: i8 = 4;
const RATES: [&str; 2] =
    ["leader.replication.throttled.rate", "follower.replication.throttled.rate"];
/// Of a topic: which of its replicas these rates are for.
pub const THROTTLED: [&str; 2] =
    ["leader.replication.throttled.replicas", "follower.replication.throttled.replicas"];

/// Creates topics, writes to them and deletes them. A topic holds what was written to it, and not to one of the same name before.
pub async fn topics(tools: Tools) {
    let mut random = stream(tools.seed, 21);
    let config = ProducerConfig { delivery_timeout: 2 * LIMIT, ..ProducerConfig::default() };
    let producer = tools.client.producer(config);
    let mut there: BTreeMap<String, Uuid> = BTreeMap::new();
    while !tools.story.is_calm() {
        let name = format!("t{}", random.below(NAMES));
        match there.get(&name).copied() {
            None => {
                if let Some(id) = create(&tools, &mut random, &name).await {
                    there.insert(name, id);
                }
            }
            Some(id) if random.below(2) == 0 => {
                delete(&tools, &name, id).await;
                there.remove(&name);
            }
            Some(id) => write(&tools, &producer, &name, id).await,
        }
        tools.sleep_ms(100 + random.below(500)).await;
    }
}

async fn create(tools: &Tools, random: &mut RandomStream, name: &str) -> Option<Uuid> {
    let admin = tools.client.admin();
    let retention = (1_000_000 + random.below(1000)).to_string();
    let replicas = 1 + random.below(REPLICAS as u64) as i16;
    let topic = NewTopic::new(name).partitions(1).replication_factor(replicas);
    let id = match admin.create_topic(topic.config("retention.ms", &retention)).await {
        Ok(topic) => topic.id,
        Err(error) => {
            tools.life.trace.note(format_args!("{name}: {error}"));
            // An attempt that was not heard of may have succeeded, also one before the last deletion.
            admin.describe_topic(name).await.ok()?.id
        }
    };
    tools.story.created(name, id).then_some(id)
}

/// Asks until it is gone, or nobody asks any more.
async fn delete(tools: &Tools, name: &str, id: Uuid) {
    tools.story.deleting(name);
    let topics = vec![DeleteTopicState { topic_id: id, ..Default::default() }];
    let timeout_ms = LIMIT.as_millis() as i32;
    let request = DeleteTopicsRequest { topics, timeout_ms, ..Default::default() };
    while !tools.story.is_calm() {
        match tools.client.ask_any(&request).await {
            Ok(answer) => {
                let code = answer.responses.first().map_or(0, |found| found.error_code);
                match ErrorCode::from_code(code) {
                    // Whom it was handed on to may have done it without being heard.
                    ErrorCode::None | ErrorCode::UnknownTopicId => return tools.story.deleted(id),
                    code => tools.life.trace.note(format_args!("{name} is not deleted: {code}")),
                }
            }
            Err(error) => tools.life.trace.note(format_args!("{name} is not deleted: {error}")),
        }
        tools.sleep_ms(100).await;
    }
}

async fn write(tools: &Tools, producer: &Producer, name: &str, id: Uuid) {
    let record = ProducerRecord::to(name).value(id.to_string());
    if let Err(error) = producer.send(record).await.await {
        return tools.life.trace.note(format_args!("{name}: {error}"));
    }
    let Ok(topic) = tools.client.admin().describe_topic(name).await else { return };
    let Some(leader) = topic.leader(0) else { return };
    let Ok(connection) = tools.connect(&format!("n{leader}")).await else { return };
    let Ok(Some(found)) = read(&connection, (id, 0), 0).await else { return };
    match records(&found.bytes, 0) {
        Ok(found) => {
            if let Some((offset, other)) = found.iter().find(|(_, of)| *of != id.to_string()) {
                tools.story.wrong(
                    "another topic's records",
                    format_args!("{name}, {id}, has {other} at {offset}"),
                );
            }
        }
        Err(what) => tools.story.wrong("a gap", format_args!("read of {name}: {what}")),
    }
}

/// Moves replicas, and calls some of the moves off.
pub async fn moves(tools: Tools) {
    let mut random = stream(tools.seed, 25);
    while !tools.story.is_calm() {
        tools.sleep_ms(1000 + random.below(6000)).await;
        let mut nodes: Vec<i32> = (1..=tools.shape.nodes as i32).collect();
        for i in (1..nodes.len()).rev() {
            nodes.swap(i, random.below(i as u64 + 1) as usize);
        }
        nodes.truncate(REPLICAS as usize);
        let replicas = (random.below(4) > 0).then_some(nodes);
        let name = if random.below(3) == 0 { CONSUMER_OFFSETS } else { TOPIC };
        let partition = random.below(PARTITIONS as u64) as i32;
        move_to(&tools, name, partition, replicas).await;
    }
}

/// Throttles replication on one node or another; at the end on none.
pub async fn throttles(tools: Tools) {
    let mut random = stream(tools.seed, 27);
    let nodes = tools.shape.nodes as u64;
    while !tools.story.is_calm() {
        tools.sleep_ms(1000 + random.below(4000)).await;
        let rate = [None, Some(1), Some(700), Some(5000)][random.below(4) as usize];
        if let Err(why) = throttle(&tools, 1 + random.below(nodes), rate).await {
            tools.life.trace.note(format_args!("not throttled: {why}"));
        }
    }
    // Again and again: what was not answered may be done yet.
    while !tools.story.is_done() {
        for node in 1..=nodes {
            while let Err(why) = throttle(&tools, node, None).await {
                tools.life.trace.note(format_args!("still throttled: {why}"));
                tools.sleep_ms(100).await;
            }
        }
        tools.sleep_ms(5000).await;
    }
}

/// In bytes per second.
async fn throttle(tools: &Tools, node: u64, rate: Option<u64>) -> Result<(), String> {
    let connection = tools.connect(&format!("n{node}")).await.map_err(|e| e.to_string())?;
    let config = |name: &str| AlterableConfig {
        name: name.to_owned(),
        config_operation: if rate.is_some() { Op::Set } else { Op::Delete } as i8,
        value: rate.map(|rate| rate.to_string()),
        ..Default::default()
    };
    let resource = AlterConfigsResource {
        resource_type: BROKER,
        resource_name: node.to_string(),
        configs: RATES.map(config).into(),
        ..Default::default()
    };
    let request =
        IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() };
    let answer = connection.request(&request, LIMIT).await.map_err(|error| error.to_string())?;
    match answer.responses.first().map(|found| ErrorCode::from_code(found.error_code)) {
        Some(ErrorCode::None) => Ok(()),
        refused => Err(format!("{refused:?}")),
    }
}

/// Without replicas the move under way is called off.
pub async fn move_to(tools: &Tools, name: &str, partition: i32, replicas: Option<Vec<i32>>) {
    let partition_index = partition;
    let partitions =
        vec![ReassignablePartition { partition_index, replicas, ..Default::default() }];
    let topics =
        vec![ReassignableTopic { name: name.to_owned(), partitions, ..Default::default() }];
    let request = AlterPartitionReassignmentsRequest { topics, ..Default::default() };
    if let Err(error) = tools.client.ask_any(&request).await {
        tools.life.trace.note(format_args!("not moved: {error}"));
    }
}

/// Takes voters out of the quorum, which they join again by themselves.
pub async fn voters(tools: Tools) {
    let mut random = stream(tools.seed, 26);
    while !tools.story.is_calm() {
        tools.sleep_ms(2000 + random.below(6000)).await;
        let Ok(Quorum { current_voters, .. }) = ending::quorum(&tools).await else { continue };
        // The first of all would not join again.
        let others: Vec<&ReplicaState> =
            current_voters.iter().filter(|voter| voter.replica_id != 1).collect();
        let one = random.below(others.len().max(1) as u64) as usize;
        let Some(ReplicaState { replica_id, replica_directory_id, .. }) = others.get(one) else {
            continue;
        };
        let request = RemoveRaftVoterRequest {
            voter_id: *replica_id,
            voter_directory_id: *replica_directory_id,
            ..Default::default()
        };
        match tools.client.ask_any(&request).await {
            Ok(answer) => {
                let code = ErrorCode::from_code(answer.error_code);
                tools.life.trace.note(format_args!("voter {replica_id} is removed: {code}"));
            }
            Err(error) => tools.life.trace.note(format_args!("voter {replica_id}: {error}")),
        }
    }
}
