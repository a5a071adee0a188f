//! `ottla explain`: why something of a cluster is as it is, since when, by whom, and what would unblock it. What Kafka's APIs tell
//! comes from them; the rest each node tells by a request of Ottla's own, so that any node will do to begin with.

mod broker;
mod cluster;
mod command;
mod finding;
mod group;
mod heard;
mod kafkas;
mod lag;
mod partition;
mod quorum;
mod replica;
mod retention;
mod settings;
mod text;
mod topic;

use std::collections::BTreeMap;
use std::fmt::Display;

use model::settings::nearest;
use runtime::World;

use crate::console::{FetchError, printable};
use cluster::{Cluster, Silent};
pub use command::run;
pub use finding::{Explanation, Finding, Since};
pub use text::draw;

/// What is to be explained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    Topic(String),
    Partition(String, i32),
    Group(String),
    Broker(i32),
    Quorum,
}

/// Of an error so many characters are told.
const MOST_SAID: usize = 2_000;

#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    #[error("{0:?} is no partition: TOPIC-NUMBER is expected, such as orders-0")]
    NoPartition(String),
    #[error(transparent)]
    Console(#[from] FetchError),
    #[error("threads cannot be started: {0}")]
    Threads(std::io::Error),
    #[error("no broker answers: {}", told(.0))]
    Unreachable(String),
    #[error("{} does not say: {}", told(.address), told(.reason))]
    Untold { address: String, reason: String },
    #[error("there is no {what} {name}{}", told(&meant(.nearest.as_deref())))]
    Unknown { what: &'static str, name: String, nearest: Option<String> },
    #[error("the broker does not tell of {what}: {}", told(.refusal))]
    Refused { what: String, refusal: String },
}

/// What others say, as a terminal may have it.
fn told(text: &str) -> String {
    let end = text.char_indices().nth(MOST_SAID).map_or(text.len(), |(end, _)| end);
    printable(text.get(..end).unwrap_or_default()).into_owned()
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
    let explained = match subject {
        Subject::Topic(name) => topic::explain(&cluster, name).await,
        Subject::Partition(topic, number) => partition::explain(&cluster, topic, *number).await,
        Subject::Group(id) => group::explain(&cluster, id).await,
        Subject::Broker(id) => broker::explain(&cluster, *id).await,
        Subject::Quorum => quorum::explain(&cluster).await,
    };
    explained.map(Explanation::bounded)
}

/// `1, 2 and 3`; of more than so many `1, 2 and 7 more`.
fn list<T: Display>(all: &[T], most: usize) -> String {
    let told = |some: &[T]| some.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match all {
        [] => "none".to_owned(),
        [one] => one.to_string(),
        all if all.len() > most => {
            format!("{} and {} more", told(&all[..most]), all.len() - most)
        }
        [first @ .., last] => format!("{} and {last}", told(first)),
    }
}

/// So many brokers are named.
const BROKERS_NAMED: usize = 20;

fn ids(ids: &[i32]) -> String {
    list(ids, BROKERS_NAMED)
}

/// `broker 1`, `brokers 1 and 2`.
fn brokers(of: &[i32]) -> String {
    format!("{} {}", if of.len() == 1 { "broker" } else { "brokers" }, ids(of))
}

/// What each of several nodes told, or why it did not.
type Told<T> = BTreeMap<i32, Result<T, Silent>>;
