//! The one file for a whole cluster, the same on each machine.

use std::ops::Range;

use model::Uuid;
use model::node_config::{ClusterId, HostPort};
use model::settings::nearest;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, ConfigErrors, Place, Reason};
use super::given::Given;

/// A cluster as its file describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    pub id: ClusterId,
    pub nodes: Vec<ClusterNode>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ClusterNode {
    pub id: i32,
    pub settings: Given,
}

/// What one `[[node]]` says.
#[derive(Debug, Default)]
struct NodeTable {
    id: i32,
    broker: bool,
    controller: bool,
    listen: Option<HostPort>,
    advertised: Option<HostPort>,
    controller_listen: Option<HostPort>,
    data: Vec<String>,
    rack: Option<String>,
    settings: Vec<(String, String, Place)>,
    place: Option<Place>,
}

const TOP_KEYS: &[&str] = &["cluster", "settings", "node"];
const CLUSTER_KEYS: &[&str] = &["name", "id"];
const NODE_KEYS: &[&str] =
    &["id", "roles", "listen", "controller", "advertised", "data", "rack", "settings"];

/// Settings that follow from the file's own keys, with the key that says them.
const DERIVED: &[(&str, &str)] = &[
    ("node.id", "give the node's id"),
    ("broker.id", "give the node's id"),
    ("process.roles", "give the node's roles"),
    ("listeners", "give the node's listen and controller"),
    ("advertised.listeners", "give the node's advertised"),
    ("controller.listener.names", "it follows from the node's controller"),
    ("controller.quorum.voters", "it follows from the nodes with the role controller"),
    ("controller.quorum.bootstrap.servers", "it follows from the nodes with the role controller"),
    ("log.dir", "give the node's data"),
    ("log.dirs", "give the node's data"),
    ("broker.rack", "give the node's rack"),
];

/// Why a setting cannot be given freely in a cluster's file, if so.
pub(super) fn derived_from(name: &str) -> Option<&'static str> {
    DERIVED.iter().find(|(derived, _)| *derived == name).map(|(_, instead)| *instead)
}

/// Reads a cluster's file. `file` is its name, for messages.
pub fn parse_cluster(file: &str, text: &str) -> Result<Cluster, ConfigErrors> {
    let mut reader = Reader { file, text, errors: Vec::new() };
    let root = match DeTable::parse(text) {
        Ok(root) => root,
        Err(error) => {
            let place = error.span().map(|span| reader.place(&span));
            let reason = Reason::Malformed(error.message().to_owned());
            return Err(ConfigErrors::one(place.or(Some(Place::File(file.to_owned()))), reason));
        }
    };
    let cluster = reader.cluster(root.get_ref());
    match cluster {
        Some(cluster) if reader.errors.is_empty() => Ok(cluster),
        _ => Err(ConfigErrors(reader.errors)),
    }
}

struct Reader<'a> {
    file: &'a str,
    text: &'a str,
    errors: Vec<ConfigError>,
}

impl Reader<'_> {
    fn place(&self, span: &Range<usize>) -> Place {
        let before = self.text.as_bytes().get(..span.start).unwrap_or_default();
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        Place::Line { file: self.file.to_owned(), line }
    }

    fn refuse(&mut self, place: Place, reason: Reason) {
        self.errors.push(ConfigError { place: Some(place), reason });
    }

    fn wrong(&mut self, key: &str, value: &Spanned<DeValue<'_>>, allowed: impl Into<String>) {
        let place = self.place(&value.span());
        let span = value.span();
        let shown: String = self.text.get(span).unwrap_or_default().chars().take(80).collect();
        let (key, allowed) = (key.to_owned(), allowed.into());
        self.refuse(place, Reason::WrongValue { key, value: shown, allowed });
    }

    /// Refuses each key that is not known.
    fn known_keys(&mut self, table: &DeTable<'_>, known: &'static [&'static str]) {
        for key in table.keys().filter(|key| !known.contains(&key.get_ref().as_ref())) {
            let place = self.place(&key.span());
            let name: String = key.get_ref().chars().take(80).collect();
            let nearest = nearest(&name, known.iter().copied());
            let reason = Reason::UnknownKey { key: name, nearest, known: known.join(", ") };
            self.refuse(place, reason);
        }
    }

    fn cluster(&mut self, root: &DeTable<'_>) -> Option<Cluster> {
        self.known_keys(root, TOP_KEYS);
        let shared = self.settings(root.get("settings"));
        let tables: Vec<NodeTable> = match root.get("node").map(|nodes| (nodes, nodes.get_ref())) {
            Some((_, DeValue::Array(nodes))) => {
                nodes.iter().filter_map(|node| self.node(node)).collect()
            }
            Some((nodes, _)) => {
                self.wrong("node", nodes, "each node is a table of its own, [[node]]");
                return None;
            }
            None => Vec::new(),
        };
        if tables.is_empty() {
            if self.errors.is_empty() {
                let reason = Reason::Missing { key: "[[node]]".to_owned() };
                self.refuse(Place::File(self.file.to_owned()), reason);
            }
            return None;
        }
        self.repeated_ids(&tables);
        let voters = tables.iter().filter(|node| node.controller).filter_map(voter);
        let voters: Vec<String> = voters.collect();
        if !tables.iter().any(|node| node.controller) {
            let key = "a [[node]] with the role controller".to_owned();
            self.refuse(Place::File(self.file.to_owned()), Reason::Missing { key });
        }
        let id = self.cluster_id(root.get("cluster"), &voters);
        let brokers = tables.iter().filter(|node| node.broker).count();
        let nodes = tables.into_iter();
        let nodes = nodes.map(|node| node.into_settings(&shared, &voters, brokers)).collect();
        Some(Cluster { id, nodes })
    }

    fn cluster_id(&mut self, table: Option<&Spanned<DeValue<'_>>>, voters: &[String]) -> ClusterId {
        let mut name = None;
        if let Some(value) = table {
            let DeValue::Table(table) = value.get_ref() else {
                self.wrong("cluster", value, "it is a table, [cluster]");
                return ClusterId::FromDirectories;
            };
            self.known_keys(table, CLUSTER_KEYS);
            if let (Some(_), Some(name)) = (table.get("id"), table.get("name")) {
                let instead = "an id is made of it, and cluster.id is given".to_owned();
                let (place, key) = (self.place(&name.span()), "cluster.name".to_owned());
                self.refuse(place, Reason::NotHere { key, instead });
            }
            if let Some(id) = table.get("id").and_then(|id| self.string("cluster.id", id)) {
                return ClusterId::Given(id);
            }
            name = table.get("name").and_then(|name| self.string("cluster.name", name));
        }
        ClusterId::Derived(match name {
            Some(name) => derived_id(&name),
            // Nothing else tells one nameless cluster from another.
            None => derived_id(&format!("\0{}", voters.join("\0"))),
        })
    }

    fn repeated_ids(&mut self, nodes: &[NodeTable]) {
        for (index, node) in nodes.iter().enumerate() {
            if nodes[..index].iter().any(|other| other.id == node.id) {
                let (key, value) = ("id".to_owned(), node.id.to_string());
                let allowed = "each node needs an id of its own".to_owned();
                let place = node.place.clone().unwrap_or(Place::File(self.file.to_owned()));
                self.refuse(place, Reason::WrongValue { key, value, allowed });
            }
        }
    }

    fn node(&mut self, value: &Spanned<DeValue<'_>>) -> Option<NodeTable> {
        let DeValue::Table(table) = value.get_ref() else {
            self.wrong("node", value, "each node is a table of its own, [[node]]");
            return None;
        };
        self.known_keys(table, NODE_KEYS);
        let place = self.place(&value.span());
        let mut node = NodeTable { place: Some(place.clone()), ..NodeTable::default() };
        node.id = self.node_id(table, &place)?;
        (node.broker, node.controller) = self.roles(table.get("roles"));
        node.listen = self.address("listen", table.get("listen"));
        node.controller_listen = self.address("controller", table.get("controller"));
        node.advertised = self.address("advertised", table.get("advertised"));
        node.data = self.strings("data", table.get("data"));
        node.rack = table.get("rack").and_then(|rack| self.string("rack", rack));
        node.settings = self.settings(table.get("settings"));
        for (role, has_role, key, is_needed) in [
            ("broker", node.broker, "listen", true),
            ("broker", node.broker, "advertised", false),
            ("controller", node.controller, "controller", true),
        ] {
            match table.get(key) {
                None if has_role && is_needed => {
                    let key = format!("node {}: {key} = \"HOST:PORT\"", node.id);
                    self.refuse(place.clone(), Reason::Missing { key });
                }
                Some(value) if !has_role => {
                    let (place, key) = (self.place(&value.span()), key.to_owned());
                    let instead =
                        format!("node {} has not the role {role}, which it is for", node.id);
                    self.refuse(place, Reason::NotHere { key, instead });
                }
                _ => {}
            }
        }
        Some(node)
    }

    fn node_id(&mut self, table: &DeTable<'_>, place: &Place) -> Option<i32> {
        let Some(value) = table.get("id") else {
            self.refuse(place.clone(), Reason::Missing { key: "id".to_owned() });
            return None;
        };
        let id = scalar(value.get_ref()).and_then(|text| text.parse().ok()).filter(|id| *id >= 0);
        if id.is_none() || value.get_ref().is_str() {
            self.wrong("id", value, "a whole number, 0 or more");
            return None;
        }
        id
    }

    fn roles(&mut self, value: Option<&Spanned<DeValue<'_>>>) -> (bool, bool) {
        let Some(value) = value else { return (true, true) };
        let roles = self.strings("roles", Some(value));
        let known = |role: &String| role == "broker" || role == "controller";
        if roles.is_empty() || !roles.iter().all(known) {
            self.wrong("roles", value, "broker, controller, or both");
        }
        let has = |role: &str| roles.iter().any(|given| given == role);
        (has("broker"), has("controller"))
    }

    fn string(&mut self, key: &str, value: &Spanned<DeValue<'_>>) -> Option<String> {
        match value.get_ref().as_str() {
            Some(text) if !text.is_empty() => Some(text.to_owned()),
            _ => {
                self.wrong(key, value, "a string that is not empty");
                None
            }
        }
    }

    /// One string, or an array of them.
    fn strings(&mut self, key: &str, value: Option<&Spanned<DeValue<'_>>>) -> Vec<String> {
        let Some(value) = value else { return Vec::new() };
        match value.get_ref() {
            DeValue::Array(items) => {
                items.iter().filter_map(|item| self.string(key, item)).collect()
            }
            _ => self.string(key, value).into_iter().collect(),
        }
    }

    fn address(&mut self, key: &str, value: Option<&Spanned<DeValue<'_>>>) -> Option<HostPort> {
        let value = value?;
        let text = self.string(key, value)?;
        HostPort::parse(&text).map_err(|reason| self.wrong(key, value, reason)).ok()
    }

    /// Kafka's settings. A dotted name without quotes, which TOML takes for nested tables, means the same.
    fn settings(&mut self, value: Option<&Spanned<DeValue<'_>>>) -> Vec<(String, String, Place)> {
        let mut found = Vec::new();
        match value.map(|value| (value, value.get_ref())) {
            Some((_, DeValue::Table(table))) => self.flatten("", table, &mut found),
            Some((value, _)) => self.wrong("settings", value, "it is a table of Kafka's settings"),
            None => {}
        }
        found
    }

    fn flatten(
        &mut self,
        prefix: &str,
        table: &DeTable<'_>,
        found: &mut Vec<(String, String, Place)>,
    ) {
        for (key, value) in table {
            let name = format!("{prefix}{}", key.get_ref());
            let place = self.place(&key.span());
            if let DeValue::Table(inner) = value.get_ref() {
                self.flatten(&format!("{name}."), inner, found);
            } else if let Some(instead) = derived_from(&name) {
                self.refuse(place, Reason::NotHere { key: name, instead: instead.to_owned() });
            } else if found.iter().any(|(other, ..)| *other == name) {
                let instead = "it is given twice in this table".to_owned();
                self.refuse(place, Reason::NotHere { key: name, instead });
            } else if let Some(text) = scalar_or_list(value.get_ref()) {
                found.push((name, text, place));
            } else {
                self.wrong(&name, value, "a string, a number, true, false, or an array of them");
            }
        }
    }
}

fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .ok()
            .map(|number| number.to_string()),
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(flag) => Some(flag.to_string()),
        _ => None,
    }
}

fn scalar_or_list(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::Array(items) => {
            let items: Option<Vec<String>> =
                items.iter().map(|item| scalar(item.get_ref())).collect();
            items.map(|items| items.join(","))
        }
        other => scalar(other),
    }
}

/// Where others find this controller.
fn voter(node: &NodeTable) -> Option<String> {
    let mut address = node.controller_listen.clone()?;
    if address.is_any() {
        address.host = "localhost".to_owned();
    }
    Some(format!("{}@{address}", node.id))
}

/// The same on every machine that reads the same file, and for a node that comes when others have long moved.
fn derived_id(text: &str) -> String {
    // FNV-1a over 128 bits.
    let hash = text.bytes().fold(0x6c62272e07bb014262b821756295c58d_u128, |hash, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(0x0000000001000000000000000000013b)
    });
    Uuid::random(hash.to_be_bytes()).to_string()
}

impl NodeTable {
    fn into_settings(
        self,
        shared: &[(String, String, Place)],
        voters: &[String],
        brokers: usize,
    ) -> ClusterNode {
        let mut given = Given::default();
        for (name, text, place) in shared.iter().chain(&self.settings) {
            given.set(name.as_str(), text.as_str(), Some(place.clone()));
        }
        let place = || self.place.clone();
        let roles = [(self.broker, "broker"), (self.controller, "controller")];
        let roles: Vec<&str> =
            roles.iter().filter(|(has, _)| *has).map(|(_, role)| *role).collect();
        given.set("node.id", self.id.to_string(), place());
        given.set("process.roles", roles.join(","), place());
        let broker = self.listen.as_ref().filter(|_| self.broker);
        let controller = self.controller_listen.as_ref().filter(|_| self.controller);
        let listeners: Vec<String> = [("PLAINTEXT", broker), ("CONTROLLER", controller)]
            .iter()
            .filter_map(|(name, address)| Some(format!("{name}://{}", everywhere((*address)?))))
            .collect();
        given.set("listeners", listeners.join(","), place());
        if let Some(advertised) = self.advertised.as_ref().filter(|_| self.broker) {
            given.set("advertised.listeners", format!("PLAINTEXT://{advertised}"), place());
        }
        given.set("controller.listener.names", "CONTROLLER", place());
        given.set("controller.quorum.voters", voters.join(","), place());
        let dirs = match self.data.is_empty() {
            true => format!("ottla-data/{}", self.id),
            false => self.data.join(","),
        };
        given.set("log.dirs", dirs, place());
        if let Some(rack) = &self.rack {
            given.set("broker.rack", rack.as_str(), place());
        }
        internal_topics(&mut given, brokers);
        ClusterNode { id: self.id, settings: given }
    }
}

/// Any address is written without a host, so that the machine's own name is advertised.
pub(super) fn everywhere(address: &HostPort) -> HostPort {
    let host = if address.is_any() { "" } else { address.host.as_str() };
    HostPort::new(host, address.port)
}

/// Kafka's defaults want three brokers; where there are fewer, its internal topics could never be created.
pub(super) fn internal_topics(given: &mut Given, brokers: usize) {
    if brokers >= 3 {
        return;
    }
    for topic in ["offsets.topic", "transaction.state.log", "share.coordinator.state.topic"] {
        given.set_default(&format!("{topic}.replication.factor"), brokers.max(1).to_string());
    }
    for topic in ["transaction.state.log", "share.coordinator.state.topic"] {
        given.set_default(&format!("{topic}.min.isr"), "1");
    }
}
