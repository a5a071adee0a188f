//! What the console's pages ask: JSON of bounded size, a page of a list at a time, whatever the cluster has.

mod actors;
mod brokers;
mod cluster;
mod groups;
mod history;
mod overview;
mod query;
mod reading;
mod records;
mod topics;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, HeaderValue};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use client::{ProduceError, RequestError};
use machines::metadata::MetadataImage;
use runtime::{Publisher, World};
use serde_json::{Value, json};

use crate::node::Node;
use cluster::Cluster;
use query::Asked;

/// How long an answer may take that needs other nodes.
const LIMIT: Duration = Duration::from_secs(8);
/// A record to produce, in hexadecimal digits.
const MAX_BODY: usize = 2 << 20;

/// One node of this process.
struct Seen {
    node: i32,
    cluster_id: String,
    world: World,
    images: Arc<Publisher<MetadataImage>>,
    cluster: Cluster,
    looks: actors::Looks,
    history: history::History,
    counted: overview::Counted,
}

impl Seen {
    fn of(node: &Node) -> Seen {
        let shared = node.shared();
        Seen {
            node: node.config().node_id.0,
            cluster_id: node.cluster_id().to_owned(),
            world: node.world().clone(),
            images: shared.images.clone(),
            cluster: Cluster::of(node),
            looks: actors::Looks::default(),
            history: history::History::default(),
            counted: overview::Counted::default(),
        }
    }

    fn image(&self) -> Arc<MetadataImage> {
        self.images.get()
    }
}

/// The nodes of this process, the first one meant where none is named.
pub(super) struct All(Vec<Seen>);

impl All {
    pub(super) fn of(nodes: &[&Node]) -> Arc<All> {
        Arc::new(All(nodes.iter().map(|node| Seen::of(node)).collect()))
    }

    fn meant(&self, asked: &Asked) -> Result<&Seen, ApiError> {
        let id: Option<i32> = asked.number("node")?;
        let mut seen = self.0.iter();
        match id {
            Some(id) => seen.find(|seen| seen.node == id),
            None => seen.next(),
        }
        .ok_or_else(|| ApiError::missing("no such node in this process"))
    }

    /// Keeps the history of each node; it does not end.
    pub(super) async fn watch(&self) {
        let mut steps = tokio::time::interval(history::STEP);
        steps.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            steps.tick().await;
            let process = history::Process::now();
            for seen in &self.0 {
                seen.history.note(&seen.world, &process);
                seen.looks.forget_old(&seen.world);
            }
        }
    }
}

pub(super) fn router(all: Arc<All>) -> Router {
    Router::new()
        .route("/api/overview", get(overview::overview))
        .route("/api/actors", get(actors::children))
        .route("/api/actor", get(actors::one))
        .route("/api/topics", get(topics::list))
        .route("/api/topic", get(topics::one))
        .route("/api/topic/configs", get(topics::configs))
        .route("/api/records", get(records::read_records))
        .route("/api/produce", post(records::produce))
        .route("/api/groups", get(groups::list))
        .route("/api/group", get(groups::one))
        .route("/api/brokers", get(brokers::list))
        .route("/api/broker", get(brokers::one))
        .route("/api/quorum", get(brokers::quorum))
        .route("/api/history", get(history::history))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(all)
}

type Answer = Result<Json, ApiError>;

/// Never kept by a browser.
struct Json(Value);

impl IntoResponse for Json {
    fn into_response(self) -> Response {
        let mut response = axum::Json(self.0).into_response();
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

/// Why there is no answer, in words for who asked.
#[derive(Debug)]
struct ApiError(StatusCode, String);

impl ApiError {
    fn missing(what: impl Into<String>) -> ApiError {
        ApiError(StatusCode::NOT_FOUND, what.into())
    }

    fn wrong(what: impl Into<String>) -> ApiError {
        ApiError(StatusCode::BAD_REQUEST, what.into())
    }

    /// Somebody else did not answer, or refused.
    fn elsewhere(what: impl ToString) -> ApiError {
        ApiError(StatusCode::BAD_GATEWAY, what.to_string())
    }
}

impl From<RequestError> for ApiError {
    fn from(error: RequestError) -> ApiError {
        ApiError::elsewhere(error)
    }
}

impl From<ProduceError> for ApiError {
    fn from(error: ProduceError) -> ApiError {
        ApiError::elsewhere(error)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

/// Within the time that an answer may take.
async fn in_time(seen: &Seen, answer: impl Future<Output = Answer>) -> Answer {
    let late = |_| ApiError(StatusCode::GATEWAY_TIMEOUT, format!("no answer within {LIMIT:?}"));
    seen.world.timeout(LIMIT, answer).await.map_err(late)?
}
