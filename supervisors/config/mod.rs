//! From what the user wrote to the configurations of nodes. Nothing has been started when this refuses.

mod cluster;
mod error;
mod given;
mod properties;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use model::NodeConfig;
use model::node_config::{ClusterId, HostPort};

pub use cluster::{Cluster, ClusterNode, parse_cluster};
pub use error::{ConfigError, ConfigErrors, Place, Reason};
pub use given::Given;
pub use properties::{PropertiesError, Property, parse_properties};

/// Where a configuration comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// Nothing: one node, that is broker and controller.
    Nothing { data: PathBuf, listen: HostPort },
    /// Kafka's server.properties, for one node.
    Properties(PathBuf),
    /// A cluster's file; all its nodes, or one.
    Cluster { file: PathBuf, node: Option<i32> },
}

/// Reads the file, if there is one, and makes the configurations. `set` overrides what the source says, `machine` is the
/// name to advertise where a listener has no host.
pub fn load(
    source: &Source,
    set: &[(String, String)],
    machine: &str,
) -> Result<Vec<NodeConfig>, ConfigErrors> {
    match source {
        Source::Nothing { data, listen } => {
            from_nothing(data, listen, set, machine).map(|node| vec![node])
        }
        Source::Properties(file) => {
            let text = read(file)?;
            from_properties(&shown(file), &text, set, machine).map(|node| vec![node])
        }
        Source::Cluster { file, node } => {
            let text = read(file)?;
            from_cluster(&shown(file), &text, *node, set, machine)
        }
    }
}

/// The name of this machine, which is advertised where a listener has no host.
pub fn machine_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// More than any configuration needs; what is larger was meant to be something else.
const MAX_FILE_BYTES: usize = 4 << 20;

fn read(file: &Path) -> Result<String, ConfigErrors> {
    use std::io::Read;
    let place = || Place::File(shown(file));
    let unreadable =
        |error: std::io::Error| ConfigErrors::one(place(), Reason::Unreadable(error.to_string()));
    let open = std::fs::OpenOptions::new().read(true).open(file).map_err(unreadable)?;
    let mut bytes = Vec::new();
    open.take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > MAX_FILE_BYTES {
        return Err(ConfigErrors::one(place(), Reason::TooLarge(MAX_FILE_BYTES)));
    }
    String::from_utf8(bytes)
        .map_err(|_| ConfigErrors::one(place(), Reason::Malformed("it is not UTF-8".to_owned())))
}

fn shown(file: &Path) -> String {
    file.display().to_string()
}

/// One node with nothing configured but what `set` says.
pub fn from_nothing(
    data: &Path,
    listen: &HostPort,
    set: &[(String, String)],
    machine: &str,
) -> Result<NodeConfig, ConfigErrors> {
    let mut given = Given::default();
    given.set_all(set);
    let broker = cluster::everywhere(listen);
    let controller = HostPort::new(broker.host.as_str(), controller_port(broker.port));
    given.set_default("node.id", "1");
    given.set_default("process.roles", "broker,controller");
    given.set_default("listeners", format!("PLAINTEXT://{broker},CONTROLLER://{controller}"));
    given.set_default("controller.listener.names", "CONTROLLER");
    if given.text("log.dir").is_none() {
        given.set_default("log.dirs", shown(data));
    }
    if given.text("controller.quorum.bootstrap.servers").is_none() {
        let id = given.text("node.id").unwrap_or_default();
        let voter = format!("{}@{}", id.trim(), own_controller(&given).unwrap_or(controller));
        given.set_default("controller.quorum.voters", voter);
    }
    cluster::internal_topics(&mut given, 1);
    given.into_node(ClusterId::FromDirectories, machine)
}

/// Next to the listener's; any where the listener's is any.
fn controller_port(listen: u16) -> u16 {
    match listen {
        0 => 0,
        u16::MAX => u16::MAX - 1,
        port => port + 1,
    }
}

/// The address of the first of the listeners that is a controller's, as the node itself reaches it.
fn own_controller(given: &Given) -> Option<HostPort> {
    let names = given.text("controller.listener.names")?;
    let is_controller = |name: &str| names.split(',').any(|n| n.trim().eq_ignore_ascii_case(name));
    let mut address = given
        .text("listeners")?
        .split(',')
        .filter_map(|listener| listener.trim().split_once("://"))
        .find(|(name, _)| is_controller(name))
        .and_then(|(_, address)| HostPort::parse(address).ok())?;
    if address.is_any() {
        address.host = "localhost".to_owned();
    }
    Some(address)
}

/// One node from Kafka's server.properties. `file` is the name for messages.
pub fn from_properties(
    file: &str,
    text: &str,
    set: &[(String, String)],
    machine: &str,
) -> Result<NodeConfig, ConfigErrors> {
    let line = |line| Place::Line { file: file.to_owned(), line };
    let properties = parse_properties(text).map_err(|error| {
        ConfigErrors::one(line(error.line), Reason::Malformed(error.to_string()))
    })?;
    let mut given = Given::default();
    for property in properties {
        given.set(property.key, property.value, Some(line(property.line)));
    }
    given.set_all(set);
    given.into_node(ClusterId::FromDirectories, machine)
}

/// The nodes of a cluster's file, or the one asked for.
pub fn from_cluster(
    file: &str,
    text: &str,
    node: Option<i32>,
    set: &[(String, String)],
    machine: &str,
) -> Result<Vec<NodeConfig>, ConfigErrors> {
    for (name, _) in set {
        if let Some(instead) = cluster::derived_from(name.trim()) {
            let (key, instead) = (name.clone(), format!("{instead} in {file}"));
            return Err(ConfigErrors::one(Place::Flag("--set"), Reason::NotHere { key, instead }));
        }
    }
    let cluster = parse_cluster(file, text)?;
    let known: Vec<String> = cluster.nodes.iter().map(|node| node.id.to_string()).collect();
    let wanted = |id: i32| node.is_none_or(|node| node == id);
    let mut nodes = Vec::new();
    let mut errors = Vec::new();
    // Every node's part is checked, also those that run elsewhere: the file is the same on each machine.
    for ClusterNode { id, mut settings } in cluster.nodes {
        settings.set_all(set);
        match settings.into_node(cluster.id.clone(), machine) {
            Ok(config) if wanted(id) => nodes.push(config),
            Ok(_) => {}
            Err(found) => errors.extend(found.0),
        }
    }
    errors.dedup();
    if !errors.is_empty() {
        return Err(ConfigErrors(errors));
    }
    match node {
        Some(id) if nodes.is_empty() => {
            let reason = Reason::NoSuchNode { id, known: known.join(", ") };
            Err(ConfigErrors::one(Place::File(file.to_owned()), reason))
        }
        _ => Ok(nodes),
    }
}
