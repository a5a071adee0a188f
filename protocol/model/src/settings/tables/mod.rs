//! Everything Kafka 4.4 can be told, by area. A row that is not `honoured` is known, so that it can be refused by name.

mod client_metrics;
mod group;
mod groups;
mod log;
mod network;
mod node;
mod own;
mod quorum;
mod quotas;
mod remote;
mod replication;
mod security;
mod shares;
mod telemetry;
mod topic;
mod transactions;

use super::setting::Area;

/// What is set in a node's own configuration; some of it can be altered while the node runs.
pub const BROKER: &[Area] = &[
    node::NODE,
    network::NETWORK,
    log::LOG,
    replication::REPLICATION,
    quorum::QUORUM,
    groups::GROUPS,
    transactions::TRANSACTIONS,
    shares::SHARES,
    security::SECURITY,
    telemetry::TELEMETRY,
    quotas::QUOTAS,
    remote::REMOTE,
    own::OWN,
];

/// What is set for one topic.
pub const TOPIC: &[Area] = &[topic::TOPIC];

/// What is set for one group.
pub const GROUP: &[Area] = &[group::GROUP];

/// What is set for one client metrics subscription.
pub const CLIENT_METRICS: &[Area] = &[client_metrics::CLIENT_METRICS];

/// Settings of releases before 4.0, with what took their place.
pub const REMOVED: &[(&str, &str)] = &[
    ("zookeeper.connect", "Clusters run on KRaft: set process.roles and controller.quorum.voters."),
    ("zookeeper.connection.timeout.ms", "Clusters run on KRaft."),
    ("zookeeper.session.timeout.ms", "Clusters run on KRaft."),
    ("broker.id.generation.enable", "Set node.id."),
    ("reserved.broker.max.id", "Set node.id."),
    ("inter.broker.protocol.version", "The metadata.version feature took its place."),
    ("log.message.format.version", "Record batches have one format, version 2."),
    ("log.message.downconversion.enable", "Record batches have one format, version 2."),
    (
        "log.message.timestamp.difference.max.ms",
        "Set log.message.timestamp.before.max.ms and log.message.timestamp.after.max.ms.",
    ),
    ("host.name", "Set listeners."),
    ("port", "Set listeners."),
    ("advertised.host.name", "Set advertised.listeners."),
    ("advertised.port", "Set advertised.listeners."),
    ("controlled.shutdown.max.retries", "The controller is asked until it agrees."),
    ("controlled.shutdown.retry.backoff.ms", "The controller is asked until it agrees."),
    ("password.encoder.secret", "Dynamic settings are kept in the metadata log."),
    ("offsets.commit.required.acks", "Commits wait for all in-sync replicas."),
    ("auto.include.jmx.reporter", "Set metric.reporters."),
    ("delegation.token.master.key", "Set delegation.token.secret.key."),
    ("group.coordinator.new.enable", "There is one group coordinator."),
];
