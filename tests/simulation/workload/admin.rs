//! Creates and deletes topics: what was acknowledged is there, or gone, for good.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{ErrorCode, Uuid};
use wire::delete_topics_request::DeleteTopicState;
use wire::{DeleteTopicsRequest, MetadataRequest};

use super::Client;
use crate::chance::stream;
use crate::requests::create_topic;
use crate::wire_client::{BACKOFF, WireClient};

const CREATE_VERSION: i16 = 7;
const DELETE_VERSION: i16 = 6;
const METADATA_VERSION: i16 = 12;
const NAMES: u64 = 4;

pub async fn run(client: Client) {
    let mut random = stream(client.seed, 2);
    let mut made: Vec<(String, Uuid)> = Vec::new();
    loop {
        client.world.sleep(Duration::from_millis(200 + random.below(1500))).await;
        if client.is_over() {
            return;
        }
        match random.below(4) {
            0 => look(&client).await,
            1 if !made.is_empty() => {
                let (name, id) = made.swap_remove(random.below(made.len() as u64) as usize);
                delete(&client, &name, id).await;
            }
            _ => {
                // Names come again: nothing of a topic may be taken for what is known of the next one of its name.
                let name = format!("extra-{}", random.below(NAMES));
                if made.iter().any(|(known, _)| *known == name) {
                    continue;
                }
                let id = create(&client, &name, 1).await;
                client.trace.note(format_args!("{name} is {id}"));
                made.push((name, id));
            }
        }
    }
}

/// Creates a topic, however often it takes; where an attempt succeeded unheard, finds out its id.
pub async fn create(client: &Client, name: &str, partitions: i32) -> Uuid {
    let mut wire = WireClient::new(&client.world, "admin");
    let synced = [("flush.messages", "1")];
    let configs = if client.history.synced() { &synced[..] } else { &[] };
    let request = create_topic(name, partitions, configs);
    loop {
        let response = wire.ask_until_answered(&request, CREATE_VERSION).await;
        let result = &response.topics[0];
        match ErrorCode::from_code(result.error_code) {
            ErrorCode::None => {
                client.history.created(name, result.topic_id);
                return result.topic_id;
            }
            ErrorCode::TopicAlreadyExists => {
                if let Some(id) = topics(&mut wire).await.get(name) {
                    client.history.created(name, *id);
                    return *id;
                }
            }
            // The only broker is fenced: Kafka answers this, and so it is no lasting refusal.
            ErrorCode::InvalidReplicationFactor => {}
            error if error.retriable() => {}
            error => client.history.violation(format!("creating {name}: {error:?}")),
        }
        client.world.sleep(BACKOFF).await;
    }
}

async fn delete(client: &Client, name: &str, id: Uuid) {
    let mut wire = WireClient::new(&client.world, "admin");
    let topic = DeleteTopicState { name: None, topic_id: id, ..Default::default() };
    let request =
        DeleteTopicsRequest { topics: vec![topic], timeout_ms: 3000, ..Default::default() };
    for attempt in 0.. {
        let response = wire.ask_until_answered(&request, DELETE_VERSION).await;
        match ErrorCode::from_code(response.responses[0].error_code) {
            ErrorCode::None => break,
            // The answer to an earlier attempt was not heard.
            ErrorCode::UnknownTopicId if attempt > 0 || wire.has_failed() => break,
            error if error.retriable() => {}
            error => client.history.violation(format!("deleting {name}: {error:?}")),
        }
        client.world.sleep(BACKOFF).await;
    }
    client.trace.note(format_args!("{name} is deleted"));
    client.history.deleted(name);
}

/// Compares what the broker shows with what it acknowledged.
pub async fn look(client: &Client) {
    let mut wire = WireClient::new(&client.world, "admin");
    client.history.shows(&topics(&mut wire).await);
}

async fn topics(wire: &mut WireClient) -> BTreeMap<String, Uuid> {
    let request = MetadataRequest { topics: None, ..Default::default() };
    let response = wire.ask_until_answered(&request, METADATA_VERSION).await;
    let topics = response.topics.into_iter();
    topics.filter_map(|topic| Some((topic.name?, topic.topic_id))).collect()
}
