//! Topics: which there are, what their partitions hold, how they are set.

use std::sync::Arc;

use axum::extract::State;
use client::{ConfigEntry, ConfigsOf};
use machines::metadata::{PartitionRegistration, TopicImage};
use model::topic::is_internal_topic;
use serde_json::{Value, json};

use super::cluster::Partition;
use super::overview::is_under_replicated;
use super::query::Asked;
use super::{All, Answer, ApiError, Json, Seen, in_time};

/// Of more partitions at once it is not asked where their logs begin and end.
pub(super) const MOST_COUNTED: usize = 2000;

pub(super) async fn list(State(all): State<Arc<All>>, asked: Asked) -> Answer {
    let (seen, page, wanted) = (all.meant(&asked)?, asked.page()?, asked.search()?);
    let (image, hides) = (seen.image(), asked.text("internal") == Some("no"));
    let mut found: Vec<&Arc<TopicImage>> = Vec::new();
    for (name, topic) in image.topics.iter_by_name() {
        let is_wanted = wanted.is_empty() || name.to_lowercase().contains(&wanted);
        if is_wanted && !(hides && is_internal_topic(name)) {
            found.push(topic);
        }
    }
    if asked.text("only") == Some("trouble") {
        found.retain(|topic| topic.partitions.values().any(|p| is_troubled(p)));
    }
    let total = found.len();
    let shown: Vec<&Arc<TopicImage>> = page.of(found).collect();
    let partitions: Vec<Partition> = shown.iter().flat_map(|topic| partitions_of(topic)).collect();
    let (start, end) = match partitions.len() <= MOST_COUNTED {
        true => seen.cluster.ends(&partitions).await,
        false => Default::default(),
    };
    let topics: Vec<Value> = shown
        .iter()
        .map(|topic| {
            let all = || topic.partitions.values();
            let between = |at: Partition| Some((end.get(&at)? - start.get(&at)?).max(0));
            let records: Option<i64> = partitions_of(topic).map(between).sum();
            json!({
                "name": topic.name, "id": topic.id.to_string(), "internal": is_internal_topic(&topic.name),
                "partitions": topic.partitions.size(),
                "replicas": all().map(|p| p.replicas.len()).max(),
                "under_replicated": all().filter(|p| is_under_replicated(p)).count(),
                "without_leader": all().filter(|p| !p.has_leader()).count(),
                "records": records,
            })
        })
        .collect();
    Ok(Json(json!({ "total": total, "offset": page.offset, "topics": topics })))
}

fn is_troubled(partition: &PartitionRegistration) -> bool {
    !partition.has_leader() || is_under_replicated(partition)
}

fn partitions_of(topic: &TopicImage) -> impl Iterator<Item = Partition> {
    topic.partitions.keys().map(|partition| (topic.name.clone(), *partition))
}

pub(super) async fn one(State(all): State<Arc<All>>, asked: Asked) -> Answer {
    let (seen, page, name) = (all.meant(&asked)?, asked.page()?, asked.needed("name")?);
    let image = seen.image();
    let topic = image.topics.by_name(name);
    let topic = topic.ok_or_else(|| ApiError::missing("there is no such topic"))?;
    let shown: Vec<(&i32, &Arc<PartitionRegistration>)> =
        page.of(topic.partitions.iter().collect()).collect();
    let wanted: Vec<Partition> = shown.iter().map(|(id, _)| (name.to_owned(), **id)).collect();
    let (start, end) = seen.cluster.ends(&wanted).await;
    let partitions: Vec<Value> = shown
        .iter()
        .map(|(id, partition)| {
            let at = (name.to_owned(), **id);
            json!({
                "partition": id, "leader": partition.leader, "leader_epoch": partition.leader_epoch,
                "replicas": partition.replicas, "isr": partition.isr, "elr": partition.elr,
                "reassigning": partition.reassigning(), "without_leader": !partition.has_leader(),
                "under_replicated": is_under_replicated(partition),
                "start": start.get(&at), "end": end.get(&at),
            })
        })
        .collect();
    Ok(Json(json!({
        "name": topic.name, "id": topic.id.to_string(), "internal": is_internal_topic(name),
        "total": topic.partitions.size(), "offset": page.offset, "partitions": partitions,
    })))
}

pub(super) async fn configs(State(all): State<Arc<All>>, asked: Asked) -> Answer {
    let (seen, name) = (all.meant(&asked)?, asked.needed("name")?);
    let of = ConfigsOf::Topic(name.to_owned());
    in_time(seen, async { Ok(Json(json!({ "configs": described(seen, &of).await? }))) }).await
}

/// What it is set to, what somebody set before the rest.
pub(super) async fn described(seen: &Seen, of: &ConfigsOf) -> Result<Vec<Value>, ApiError> {
    let request = of.request();
    let answer = match of {
        ConfigsOf::Broker(id) => seen.cluster.ask(*id, &request).await?,
        ConfigsOf::Topic(_) => seen.cluster.ask_any(&request).await?,
    };
    let told = ConfigsOf::told(answer).map_err(ApiError::elsewhere)?;
    let mut configs: Vec<(String, ConfigEntry)> = told.into_iter().collect();
    configs.sort_by(|(a, one), (b, other)| (one.source, a).cmp(&(other.source, b)));
    let told = configs.iter().map(|(name, config)| {
        json!({
            "name": name, "value": config.value, "source": config.source.name(),
            "is_default": config.is_default(), "secret": config.is_secret, "read_only": config.read_only,
        })
    });
    Ok(told.collect())
}

/// An error code of Kafka's, in words.
pub(super) fn error(code: i16) -> String {
    let code = model::ErrorCode::from_code(code);
    format!("{}: {}", code.name(), code.message())
}
