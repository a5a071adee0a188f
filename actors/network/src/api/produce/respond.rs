//! The second stage: waits until `acks` hold everywhere, and says so.

use std::sync::Arc;
use std::time::Duration;

use machines::partition::{Acks, AppendError};
use model::ErrorCode;
use partitions::{PartitionHandle, Room};
use wire::ProduceResponse;
use wire::produce_response::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse,
    TopicProduceResponse,
};

use super::overtaking::{Named, Producer, RefusedBatches};
use super::{Params, Refusal, Stage, Topic};
use crate::Broker;
use crate::api::leaders::{Leaders, TopicRef};
use crate::api::{Answer, ConnectionInfo};

pub(super) async fn respond(
    broker: Arc<Broker>,
    version: i16,
    connection: Arc<ConnectionInfo>,
    params: Params,
    topics: Vec<Topic>,
) -> Answer<ProduceResponse> {
    let deadline = broker.world.mono() + params.timeout;
    let mut response = ProduceResponse::default();
    for topic in topics {
        let mut answered = TopicProduceResponse {
            name: topic.name,
            topic_id: topic.id,
            partition_responses: Vec::with_capacity(topic.partitions.len()),
            ..Default::default()
        };
        for (index, stage) in topic.partitions {
            let behind = stage.as_ref().ok().and_then(Stage::behind);
            let mut settled = settle(&broker, params.acks, deadline, stage).await;
            if let Some(producer) = behind {
                let (topic, topic_id) = (answered.name.as_str(), answered.topic_id);
                let named = Named { topic, topic_id, partition: index };
                excuse(&connection.refused, named, producer, &mut settled);
            }
            let partition = match settled {
                Ok(partition) => PartitionProduceResponse { index, ..partition },
                Err(refusal) => refused(index, &refusal),
            };
            answered.partition_responses.push(partition);
        }
        response.responses.push(answered);
    }
    if params.acks == Some(Acks::None) {
        return unanswered(&response);
    }
    if version >= 10 {
        name_leaders(&broker, &connection.listener.name, &mut response, version);
    }
    Answer::Response(response)
}

/// With acks=0 an error can be told only by closing the connection.
fn unanswered(response: &ProduceResponse) -> Answer<ProduceResponse> {
    for topic in &response.responses {
        for partition in &topic.partition_responses {
            if partition.error_code != ErrorCode::None.code() {
                let (topic, index) = (&topic.name, partition.index);
                let code = partition.error_code;
                return Answer::Close(format!("acks=0, and {topic}-{index} has error {code}"));
            }
        }
    }
    Answer::Nothing
}

async fn settle(
    broker: &Broker,
    acks: Option<Acks>,
    deadline: Duration,
    stage: Result<Stage, Refusal>,
) -> Result<PartitionProduceResponse, Refusal> {
    let Stage::Sent { handle, answer, time_ms, .. } = stage? else { return Err(Refusal::Gone) };
    let answer = if acks == Some(Acks::All) {
        let left = deadline.saturating_sub(broker.world.mono());
        broker.world.timeout(left, answer.get()).await.map_err(|_| Refusal::TimedOut)?
    } else {
        answer.get().await
    };
    let appended = answer
        .map_err(|_| lost(&handle))?
        .map_err(|error| Refusal::Append { error, log_start: handle.log_start_offset() })?;
    Ok(PartitionProduceResponse {
        base_offset: appended.base_offset,
        log_append_time_ms: appended.duplicate_timestamp.unwrap_or(time_ms),
        log_start_offset: appended.log_start_offset,
        ..Default::default()
    })
}

/// Of a batch that came behind one that was refused.
fn excuse(
    refused: &RefusedBatches,
    named: Named<'_>,
    producer: Producer,
    settled: &mut Result<PartitionProduceResponse, Refusal>,
) {
    match settled {
        Ok(_) => refused.forget(named, producer),
        Err(Refusal::Append { error: AppendError::OutOfOrderSequence { .. }, .. })
            if refused.was_under_way(named, producer) =>
        {
            *settled = Err(Refusal::NotLeader);
        }
        Err(_) => {}
    }
}

/// A partition that found no room says so of its directory before it ends.
fn lost(handle: &PartitionHandle) -> Refusal {
    match handle.log_dir().room() {
        Room::Full => Refusal::NoRoom,
        _ => Refusal::Gone,
    }
}

fn refused(index: i32, refusal: &Refusal) -> PartitionProduceResponse {
    PartitionProduceResponse {
        index,
        error_code: refusal.code().code(),
        base_offset: -1,
        log_append_time_ms: -1,
        log_start_offset: refusal.log_start(),
        record_errors: refusal
            .records_at_fault()
            .into_iter()
            .map(|(batch_index, why)| BatchIndexAndErrorMessage {
                batch_index,
                batch_index_error_message: Some(why),
                ..Default::default()
            })
            .collect(),
        error_message: refusal.message(),
        ..Default::default()
    }
}

fn name_leaders(broker: &Broker, listener: &str, response: &mut ProduceResponse, version: i16) {
    let not_leader = ErrorCode::NotLeaderOrFollower.code();
    let mut partitions = response.responses.iter().flat_map(|topic| &topic.partition_responses);
    if partitions.all(|partition| partition.error_code != not_leader) {
        return;
    }
    let mut leaders = Leaders::new(broker, listener);
    for topic in &mut response.responses {
        for partition in &mut topic.partition_responses {
            if partition.error_code != not_leader {
                continue;
            }
            let named = match version {
                13.. => TopicRef::Id(topic.topic_id),
                _ => TopicRef::Name(&topic.name),
            };
            let (leader_id, leader_epoch) = leaders.of(named, partition.index);
            partition.current_leader =
                LeaderIdAndEpoch { leader_id, leader_epoch, ..Default::default() };
        }
    }
    response.node_endpoints = leaders
        .nodes()
        .map(|node| NodeEndpoint {
            node_id: node.id,
            host: node.host,
            port: node.port,
            rack: node.rack,
            ..Default::default()
        })
        .collect();
}
