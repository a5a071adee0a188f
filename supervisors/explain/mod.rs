//! `ottla explain`: why something of a cluster is as it is, since when, by whom, and what would unblock it. What Kafka's APIs tell
//! comes from them; the rest each node tells by a request of Ottla's own, so that any node will do to begin with.

mod broker;
mod cluster;
mod command;
mod partition;
mod quorum;
mod text;
mod topic;

use std::collections::BTreeMap;

use model::settings::nearest;
use runtime::World;
use serde_json::{Value, json};

use crate::console::FetchError;
use cluster::Cluster;
pub use command::run;
pub use text::draw;

/// What is to be explained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    Topic(String),
    Partition(String, i32),
    Broker(i32),
    Quorum,
}

/// What is so, from when on, and why.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Finding {
    pub what: String,
    pub since: Option<Since>,
    pub by: Option<String>,
    pub why: Vec<String>,
    pub unblocks: Vec<String>,
}

/// Unix milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Since {
    pub ms: i64,
    /// Nobody knows what was before.
    pub or_before: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    pub subject: String,
    pub facts: Vec<String>,
    /// The worst first; none where all is well.
    pub findings: Vec<Finding>,
    pub verdict: String,
}

#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    #[error("{0:?} is no partition: TOPIC-NUMBER is expected, such as orders-0")]
    NoPartition(String),
    #[error(transparent)]
    Console(#[from] FetchError),
    #[error("threads cannot be started: {0}")]
    Threads(std::io::Error),
    #[error("no broker answers: {0}")]
    Unreachable(String),
    #[error("{address} does not say: {reason}")]
    Untold { address: String, reason: String },
    #[error("there is no {what} {name}{}", meant(.nearest.as_deref()))]
    Unknown { what: &'static str, name: String, nearest: Option<String> },
    #[error("the broker does not tell of {what}: {refusal}")]
    Refused { what: String, refusal: String },
}

fn meant(nearest: Option<&str>) -> String {
    nearest.map(|nearest| format!(", did you mean {nearest}?")).unwrap_or_default()
}

impl ExplainError {
    fn unknown<'a>(
        what: &'static str,
        name: &str,
        there: impl IntoIterator<Item = &'a str>,
    ) -> ExplainError {
        let nearest = nearest(name, there).map(str::to_owned);
        ExplainError::Unknown { what, name: name.to_owned(), nearest }
    }
}

/// Explains it, as the cluster is seen from the first of these addresses that answers.
///
/// # Errors
/// None of them answers, or there is no such thing.
pub async fn explain(
    world: &World,
    addresses: &[String],
    subject: &Subject,
) -> Result<Explanation, ExplainError> {
    let cluster = Cluster::connect(world, addresses).await?;
    match subject {
        Subject::Topic(name) => topic::explain(&cluster, name).await,
        Subject::Partition(topic, number) => partition::explain(&cluster, topic, *number).await,
        Subject::Broker(id) => broker::explain(&cluster, *id).await,
        Subject::Quorum => quorum::explain(&cluster).await,
    }
}

impl Explanation {
    /// For machines.
    pub fn json(&self) -> Value {
        let finding = |finding: &Finding| {
            json!({
                "what": finding.what,
                "since_ms": finding.since.map(|since| since.ms),
                "since_or_before": finding.since.is_some_and(|since| since.or_before),
                "by": finding.by,
                "why": finding.why,
                "unblocks": finding.unblocks,
            })
        };
        json!({
            "subject": self.subject,
            "well": self.findings.is_empty(),
            "verdict": self.verdict,
            "facts": self.facts,
            "findings": self.findings.iter().map(finding).collect::<Vec<_>>(),
        })
    }
}

/// `1, 2 and 3`.
fn list(ids: &[i32]) -> String {
    match ids {
        [] => "none".to_owned(),
        [one] => one.to_string(),
        [first @ .., last] => {
            let first: Vec<String> = first.iter().map(ToString::to_string).collect();
            format!("{} and {last}", first.join(", "))
        }
    }
}

/// `broker 1`, `brokers 1 and 2`.
fn brokers(ids: &[i32]) -> String {
    format!("{} {}", if ids.len() == 1 { "broker" } else { "brokers" }, list(ids))
}

/// What each of several nodes told, or why it did not.
type Told<T> = BTreeMap<i32, Result<T, String>>;
