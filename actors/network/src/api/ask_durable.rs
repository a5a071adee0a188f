//! AskDurable, API key 20000: Ottla's own, which no client is told of.
//!
//! Versions: 0.
//! Source: none; durable actors (`runtime::durable`).
//! Where the topic is not there yet, it is created, and the answer says that there is no leader yet.

use std::sync::Arc;
use std::time::Duration;

use model::ErrorCode;
use runtime::durable::{Ask, AskId, AskRefused, MAX_COMMAND_BYTES, Owners};
use wire::{AskDurableRequest, AskDurableResponse};

use super::auto_create::create_topics;
use super::{Api, RequestContext};
use crate::Broker;

/// Longer than this a request does not wait for its command to be committed; who asks, asks again.
const LONGEST: Duration = Duration::from_secs(60);

pub(crate) struct AskDurable;

impl Api for AskDurable {
    type Request = AskDurableRequest;

    async fn handle(
        broker: Arc<Broker>,
        cx: RequestContext,
        request: AskDurableRequest,
    ) -> AskDurableResponse {
        let answered = match ready(&broker, &cx, &request).await {
            Ok(()) => {
                let limit = u64::try_from(request.timeout_ms).unwrap_or(0);
                let limit = Duration::from_millis(limit).min(LONGEST);
                broker.durables.ask(ask(request), limit, Some(cx.credit)).await
            }
            Err(refused) => Err(refused),
        };
        match answered {
            Ok(reply) => AskDurableResponse { reply, ..Default::default() },
            Err(AskRefused { code, message }) => AskDurableResponse {
                error_code: code.code(),
                error_message: Some(message),
                ..Default::default()
            },
        }
    }
}

/// Whether there is somebody to be asked.
async fn ready(
    broker: &Broker,
    cx: &RequestContext,
    request: &AskDurableRequest,
) -> Result<(), AskRefused> {
    let topic = request.topic.as_str();
    if broker.durables.topic(topic).is_none() {
        // Its own refusal says so.
        return Ok(());
    }
    if request.command.len() > MAX_COMMAND_BYTES {
        let message = format!("a command has at most {MAX_COMMAND_BYTES} bytes");
        return Err(AskRefused::new(ErrorCode::MessageTooLarge, message));
    }
    let there = || broker.metadata.get().topics.by_name(topic).is_some();
    if !there() {
        create_topics(broker, cx, None, &[topic]).await;
    }
    match there() {
        true if request.partition_index >= 0 => Ok(()),
        true => Err(AskRefused::new(ErrorCode::LeaderNotAvailable, "the topic is there now")),
        false => {
            let message = format!("the topic {topic} could not be created yet");
            Err(AskRefused::new(ErrorCode::LeaderNotAvailable, message))
        }
    }
}

fn ask(request: AskDurableRequest) -> Ask {
    Ask {
        topic: request.topic,
        partition: request.partition_index,
        key: request.key,
        id: AskId { asker: request.asker_id, sequence: request.sequence.cast_unsigned() },
        version: request.actor_version.cast_unsigned(),
        command: request.command,
    }
}
