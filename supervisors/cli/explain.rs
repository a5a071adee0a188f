//! `ottla explain`: what is to be explained, and who is asked.

use clap::{Args, Subcommand};
use model::node_config::HostPort;

use super::DEFAULT_CONSOLE;
use crate::explain::{ExplainError, Subject};

#[derive(Debug, Clone, PartialEq, Args)]
pub struct Explain {
    #[command(subcommand)]
    what: Explained,
    /// Any broker of the cluster, instead of a console
    #[arg(long, global = true, value_name = "HOST:PORT", value_parser = HostPort::parse)]
    pub bootstrap: Option<HostPort>,
    /// The console of any node of the cluster
    #[arg(long, global = true, value_name = "HOST:PORT", value_parser = HostPort::parse, default_value = DEFAULT_CONSOLE)]
    pub console: HostPort,
    /// For machines
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Debug, Clone, PartialEq, Subcommand)]
enum Explained {
    /// Its partitions that have no leader or lack replicas, the worst first
    Topic { name: String },
    /// Its leader and its replicas
    Partition {
        #[arg(value_name = "TOPIC-PARTITION")]
        name: String,
    },
    /// Whom its rebalance waits for, how far it is behind, and whether it commits
    Group { name: String },
    /// Whether it is fenced, on its way out, or not there
    Broker { id: i32 },
    /// The leader of the metadata log, and its voters
    Quorum,
}

impl Explain {
    /// # Errors
    /// A partition's name ends with no number.
    pub fn subject(&self) -> Result<Subject, ExplainError> {
        Ok(match &self.what {
            Explained::Topic { name } => Subject::Topic(name.clone()),
            Explained::Partition { name } => {
                let parts = name.rsplit_once('-');
                let parts = parts.and_then(|(topic, number)| Some((topic, number.parse().ok()?)));
                let (topic, number) =
                    parts.ok_or_else(|| ExplainError::NoPartition(name.clone()))?;
                Subject::Partition(topic.to_owned(), number)
            }
            Explained::Group { name } => Subject::Group(name.clone()),
            Explained::Broker { id } => Subject::Broker(*id),
            Explained::Quorum => Subject::Quorum,
        })
    }
}
