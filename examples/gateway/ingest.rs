use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Path, State};
use axum::{Json, Router, body::Bytes, http::StatusCode, routing::post};
use ottla::NodeHandle;
use ottla::client::{ProduceError, Producer, ProducerConfig, ProducerRecord};
use ottla::runtime::{Actor, Cx, Failure, Outcome, messages};
use serde_json::{Value, json};

pub struct Gateway;
pub enum GatewayMsg {
    Ended(std::io::Result<()>),
}
messages!(GatewayMsg { Ended });

impl Actor for Gateway {
    const KIND: &'static str = "gateway";
    type Msg = GatewayMsg;
    /// The node, and where to listen.
    type Args = (NodeHandle, String);

    #[expect(clippy::disallowed_types, reason = "what Ottla itself listens by can be simulated")]
    async fn start(cx: &mut Cx<Self>, (node, listen): Self::Args) -> Result<Self, Failure> {
        let topics = Router::new().route("/topics/{topic}", post(ingest));
        let topics = topics.layer(DefaultBodyLimit::max(512 << 10));
        let topics = topics.with_state(Arc::new(node.producer(ProducerConfig::default())));
        let (listener, me) = (tokio::net::TcpListener::bind(&listen).await?, cx.me().clone());
        cx.spawn_task(async move {
            let ended = axum::serve(listener, topics).await;
            let _ = me.send(GatewayMsg::Ended(ended)).await;
        });
        Ok(Gateway)
    }

    async fn handle(&mut self, _cx: &mut Cx<Self>, GatewayMsg::Ended(how): GatewayMsg) -> Outcome {
        Ok(how?)
    }
}

type Answer = Result<Json<Value>, (StatusCode, String)>;

async fn ingest(to: State<Arc<Producer>>, Path(topic): Path<String>, body: Bytes) -> Answer {
    match to.send(ProducerRecord::to(topic).value(body)).await.await {
        Ok(at) => Ok(Json(json!({ "partition": at.partition, "offset": at.offset }))),
        Err(ProduceError::Refused(why)) => Err((StatusCode::UNPROCESSABLE_ENTITY, why.to_string())),
        Err(error) => Err((StatusCode::SERVICE_UNAVAILABLE, error.to_string())),
    }
}
