//! What a node runs on: its settings, read, checked against one another, and typed.

mod checks;
mod endpoints;
mod parts;
mod replication;
mod telemetry;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::NodeId;
use crate::settings::{SettingError, TopicConfig, Values};

pub use checks::cordoned_log_dirs;
pub use endpoints::{Endpoint, HostPort, Voter};
pub use parts::{
    CleanerConfig, ConnectionLimits, GroupsConfig, LogsConfig, NetworkConfig, QuorumConfig,
    RoomConfig, alter_log_dirs_rate,
};
pub use replication::{
    ReplicationConfig, controller_socket_timeout, replica_fetchers, replication_quota_window,
};
pub use telemetry::TelemetryConfig;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    pub broker: bool,
    pub controller: bool,
}

/// Which cluster the node belongs to, before its directories have been looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClusterId {
    /// Its directories must hold this one.
    Given(String),
    /// For directories that are formatted now; those that hold another keep theirs.
    Derived(String),
    /// Whatever its directories hold.
    FromDirectories,
}

/// One node's configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeConfig {
    pub node_id: NodeId,
    pub roles: Roles,
    pub cluster_id: ClusterId,
    pub rack: Option<String>,
    /// Where this node listens, controller listeners included.
    pub listeners: Vec<Endpoint>,
    /// Where clients and brokers are told to connect.
    pub advertised: Vec<Endpoint>,
    /// Where controllers and brokers find this controller.
    pub advertised_controller: Vec<Endpoint>,
    /// The names of the listeners that controllers use; the first is the one brokers connect to.
    pub controller_listener_names: Vec<String>,
    pub inter_broker_listener_name: String,
    /// Of a fixed quorum; empty where the voters are kept in the metadata log.
    pub voters: Vec<Voter>,
    pub bootstrap_servers: Vec<HostPort>,
    pub log_dirs: Vec<PathBuf>,
    pub metadata_log_dir: PathBuf,
    /// Also levels of features that are not released yet may be used.
    pub unstable_feature_versions: bool,
    pub network: NetworkConfig,
    pub logs: LogsConfig,
    pub groups: GroupsConfig,
    pub quorum: QuorumConfig,
    pub telemetry: Option<TelemetryConfig>,
    /// Everything else, by name.
    pub values: Values,
}

impl NodeConfig {
    /// Reads what the node was given. `machine` is the name to advertise where a listener has no host.
    pub fn new(
        values: Values,
        cluster_id: ClusterId,
        machine: &str,
    ) -> Result<NodeConfig, Vec<SettingError>> {
        let config = NodeConfig::read(values, cluster_id, machine).map_err(|error| vec![error])?;
        let conflicts = checks::conflicts(&config);
        if conflicts.is_empty() { Ok(config) } else { Err(conflicts) }
    }

    fn read(values: Values, cluster_id: ClusterId, machine: &str) -> Result<Self, SettingError> {
        let node_id = values.opt_int("node.id").ok_or(SettingError::Missing { name: "node.id" })?;
        let roles = read_roles(&values)?;
        let controller_listener_names = upper(values.list("controller.listener.names"));
        if controller_listener_names.is_empty() {
            return Err(SettingError::Missing { name: "controller.listener.names" });
        }
        checks::protocols(&values, &controller_listener_names)?;
        checks::replica_selector(&values)?;
        checks::group_protocols(&values)?;
        let listeners = Endpoint::parse_list("listeners", values.list("listeners"))?;
        let advertised = advertise(&values, &listeners, machine)?;
        let (advertised_controller, advertised) = advertised
            .into_iter()
            .partition(|endpoint| controller_listener_names.contains(&endpoint.name));
        let log_dirs = read_log_dirs(&values)?;
        Ok(NodeConfig {
            node_id: NodeId(node_id),
            roles,
            cluster_id,
            rack: values.opt_text("broker.rack").map(str::to_owned),
            listeners,
            advertised,
            advertised_controller,
            controller_listener_names,
            inter_broker_listener_name: values
                .opt_text("inter.broker.listener.name")
                .unwrap_or_else(|| values.text("security.inter.broker.protocol"))
                .to_ascii_uppercase(),
            voters: Voter::parse_list(values.list("controller.quorum.voters"))?,
            bootstrap_servers: read_bootstrap_servers(&values)?,
            metadata_log_dir: match values.opt_text("metadata.log.dir") {
                Some(dir) => PathBuf::from(dir),
                None => log_dirs[0].clone(),
            },
            log_dirs,
            unstable_feature_versions: values.boolean("unstable.feature.versions.enable"),
            network: NetworkConfig::new(&values),
            logs: LogsConfig::new(&values),
            groups: GroupsConfig::new(&values),
            quorum: QuorumConfig::new(&values),
            telemetry: TelemetryConfig::read(&values)?,
            values,
        })
    }

    /// What a topic with these settings of its own runs on.
    pub fn topic(&self, overrides: &BTreeMap<String, String>) -> TopicConfig {
        TopicConfig::resolve(&self.values, overrides)
    }

    pub fn is_controller_listener(&self, name: &str) -> bool {
        self.controller_listener_names.iter().any(|controller| controller == name)
    }
}

fn upper(names: &[String]) -> Vec<String> {
    names.iter().map(|name| name.to_ascii_uppercase()).collect()
}

fn read_roles(values: &Values) -> Result<Roles, SettingError> {
    let roles = values.list("process.roles");
    let has = |role: &str| roles.iter().any(|given| given == role);
    let roles = Roles { broker: has("broker"), controller: has("controller") };
    if !roles.broker && !roles.controller {
        return Err(SettingError::Missing { name: "process.roles" });
    }
    Ok(roles)
}

/// What was advertised, and of the controller's listeners those that were not.
fn advertise(
    values: &Values,
    listeners: &[Endpoint],
    machine: &str,
) -> Result<Vec<Endpoint>, SettingError> {
    let controllers = upper(values.list("controller.listener.names"));
    let is_controller = |endpoint: &Endpoint| controllers.contains(&endpoint.name);
    let given = Endpoint::parse_list("advertised.listeners", values.list("advertised.listeners"))?;
    let none_for = |controller: bool| !given.iter().any(|e| is_controller(e) == controller);
    let (fill_brokers, fill_controllers) = (given.is_empty(), none_for(true));
    let filled = listeners
        .iter()
        .filter(|endpoint| if is_controller(endpoint) { fill_controllers } else { fill_brokers });
    let mut advertised: Vec<Endpoint> = given.iter().chain(filled).cloned().collect();
    for endpoint in advertised.iter_mut().filter(|endpoint| endpoint.address.host.is_empty()) {
        endpoint.address.host = machine.to_owned();
    }
    Ok(advertised)
}

fn read_log_dirs(values: &Values) -> Result<Vec<PathBuf>, SettingError> {
    let given = values.list("log.dirs");
    let dirs = if given.is_empty() { values.list("log.dir") } else { given };
    if dirs.is_empty() {
        return Err(SettingError::Missing { name: "log.dirs" });
    }
    Ok(dirs.iter().map(PathBuf::from).collect())
}

fn read_bootstrap_servers(values: &Values) -> Result<Vec<HostPort>, SettingError> {
    let name = "controller.quorum.bootstrap.servers";
    let read = |text: &String| {
        HostPort::parse(text).map_err(|reason| SettingError::invalid(name, text, reason))
    };
    values.list(name).iter().map(read).collect()
}
