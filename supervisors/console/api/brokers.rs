//! Brokers and the quorum.

use std::sync::Arc;

use axum::extract::State;
use client::ConfigsOf;
use model::Uuid;
use serde_json::{Value, json};
use wire::describe_quorum_request::{PartitionData, TopicData};
use wire::describe_quorum_response::ReplicaState;
use wire::{DescribeLogDirsRequest, DescribeQuorumRequest};

use super::query::Asked;
use super::topics::{described, error};
use super::{All, Answer, ApiError, Json, Seen, in_time};

pub(super) async fn list(State(all): State<Arc<All>>, asked: Asked) -> Answer {
    let (seen, page) = (all.meant(&asked)?, asked.page()?);
    let image = seen.image();
    let counts = seen.counted.of(&image);
    let brokers: Vec<Value> = page
        .of(image.brokers.values().collect())
        .map(|broker| {
            let of = counts.by_broker.get(&broker.id).copied().unwrap_or_default();
            let listeners = broker.listeners.iter();
            let listeners: Vec<String> =
                listeners.map(|l| format!("{}://{}:{}", l.name, l.host, l.port)).collect();
            let state = match broker.fenced {
                true => "fenced",
                false if broker.in_controlled_shutdown => "stopping",
                false => "serving",
            };
            json!({
                "broker": broker.id, "state": state, "rack": broker.rack, "epoch": broker.epoch,
                "listeners": listeners, "directories": broker.directories.len(),
                "replicas": of.replicas, "leaders": of.leaders, "behind": of.behind,
            })
        })
        .collect();
    let total = image.brokers.size();
    Ok(Json(json!({ "total": total, "offset": page.offset, "brokers": brokers })))
}

/// Its log directories, and what it is set to.
pub(super) async fn one(State(all): State<Arc<All>>, asked: Asked) -> Answer {
    let seen = all.meant(&asked)?;
    let id: i32 = asked.number("broker")?.ok_or_else(|| ApiError::wrong("broker is missing"))?;
    if seen.image().broker(id).is_none() {
        return Err(ApiError::missing("there is no such broker"));
    }
    in_time(seen, async {
        // Of no partition: there may be tens of thousands.
        let request = DescribeLogDirsRequest {
            topics: Some(Vec::new()),
            ..DescribeLogDirsRequest::default()
        };
        let answer = seen.cluster.ask(id, &request).await?;
        let dirs = answer.results.iter().map(|dir| {
            let failed = (dir.error_code != 0).then(|| error(dir.error_code));
            let known = |bytes: i64| (bytes >= 0).then_some(bytes);
            json!({
                "dir": dir.log_dir, "error": failed, "total_bytes": known(dir.total_bytes),
                "usable_bytes": known(dir.usable_bytes), "cordoned": dir.is_cordoned,
            })
        });
        let dirs: Vec<Value> = dirs.collect();
        let configs = described(seen, &ConfigsOf::Broker(id)).await?;
        Ok(Json(json!({ "broker": id, "dirs": dirs, "configs": configs })))
    })
    .await
}

pub(super) async fn quorum(State(all): State<Arc<All>>, asked: Asked) -> Answer {
    let seen = all.meant(&asked)?;
    in_time(seen, describe_quorum(seen)).await
}

async fn describe_quorum(seen: &Seen) -> Answer {
    let request = DescribeQuorumRequest {
        topics: vec![TopicData {
            topic_name: "__cluster_metadata".to_owned(),
            partitions: vec![PartitionData::default()],
            ..TopicData::default()
        }],
        ..DescribeQuorumRequest::default()
    };
    let answer = seen.cluster.ask_any(&request).await?;
    if answer.error_code != 0 {
        return Err(ApiError::elsewhere(error(answer.error_code)));
    }
    let log = answer.topics.into_iter().flat_map(|topic| topic.partitions).next();
    let log = log.ok_or_else(|| ApiError::elsewhere("nothing was told of the quorum"))?;
    if log.error_code != 0 {
        return Err(ApiError::elsewhere(error(log.error_code)));
    }
    let image = seen.image();
    let now = seen.world.now().wall_ms;
    let all = || log.current_voters.iter().chain(&log.observers);
    let leader = all().find(|replica| replica.replica_id == log.leader_id);
    let end = leader.map_or(log.high_watermark, |leader| leader.log_end_offset);
    let replica = |role: &'static str| {
        move |replica: &ReplicaState| {
            let ago = |at: i64| (at >= 0).then(|| (now - at).max(0));
            json!({
                "node": replica.replica_id, "role": if replica.replica_id == log.leader_id { "leader" } else { role },
                "directory": (replica.replica_directory_id != Uuid::ZERO).then(|| replica.replica_directory_id.to_string()),
                "end": replica.log_end_offset,
                "lag": (end - replica.log_end_offset).max(0),
                "fetched_ms_ago": ago(replica.last_fetch_timestamp),
                "caught_up_ms_ago": ago(replica.last_caught_up_timestamp),
            })
        }
    };
    let voters = log.current_voters.iter().map(replica("follower"));
    let replicas: Vec<Value> =
        voters.chain(log.observers.iter().map(replica("observer"))).collect();
    let features: Vec<Value> = image
        .features
        .iter()
        .map(|(name, level)| json!({ "feature": name, "level": level.to_string() }))
        .collect();
    Ok(Json(json!({
        "leader": log.leader_id, "epoch": log.leader_epoch, "high_watermark": log.high_watermark,
        "metadata_version": image.metadata_version().name(), "replicas": replicas, "features": features,
        "nodes": answer.nodes.iter().map(|node| json!({
            "node": node.node_id,
            "listeners": node.listeners.iter().map(|l| format!("{}://{}:{}", l.name, l.host, l.port)).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
    })))
}
