//! Settings that must fit together, as Kafka demands it, in a node's own configuration.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{ConnectionLimits, Endpoint, NodeConfig};
use crate::settings::{RACK_AWARE_SELECTOR, SettingError, Values};

/// Every listener name needs a protocol, and PLAINTEXT is the one there is.
pub(super) fn protocols(values: &Values, controllers: &[String]) -> Result<(), SettingError> {
    let setting = "listener.security.protocol.map";
    let mut map = Vec::new();
    for pair in values.text(setting).split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let refused =
            || SettingError::invalid(setting, pair, "NAME:PROTOCOL pairs are expected".to_owned());
        let (name, protocol) = pair.split_once(':').ok_or_else(refused)?;
        let protocol = protocol.trim().to_ascii_uppercase();
        if !PROTOCOLS.contains(&protocol.as_str()) {
            let reason = format!("the protocol must be one of: {}", PROTOCOLS.join(", "));
            return Err(SettingError::invalid(setting, pair, reason));
        }
        map.push((name.trim().to_ascii_uppercase(), protocol));
    }
    if !values.is_given(setting) {
        // As Kafka does, controllers' listeners are PLAINTEXT unless something else is said.
        map.extend(controllers.iter().map(|name| (name.clone(), "PLAINTEXT".to_owned())));
    }
    for listener in Endpoint::parse_list("listeners", values.list("listeners"))? {
        let protocol = map.iter().find(|(name, _)| *name == listener.name);
        let text = listener.to_string();
        match protocol.map(|(_, protocol)| protocol.as_str()) {
            Some("PLAINTEXT") => {}
            Some(protocol) => {
                let reason = format!("its protocol is {protocol}, and Ottla speaks PLAINTEXT only");
                return Err(SettingError::invalid("listeners", &text, reason));
            }
            None => {
                let reason = format!("{} has no protocol in {setting}", listener.name);
                return Err(SettingError::invalid("listeners", &text, reason));
            }
        }
    }
    Ok(())
}

/// A class of Java's own cannot run here; that of Kafka is built in.
pub(super) fn replica_selector(values: &Values) -> Result<(), SettingError> {
    let setting = "replica.selector.class";
    match values.opt_text(setting).filter(|class| !class.is_empty()) {
        Some(class) if class != RACK_AWARE_SELECTOR => {
            let reason = format!("the only one that is built in is {RACK_AWARE_SELECTOR}");
            Err(SettingError::invalid(setting, class, reason))
        }
        _ => Ok(()),
    }
}

/// Who spells out Kafka's default asks for protocols that are not served yet.
pub(super) fn group_protocols(values: &Values) -> Result<(), SettingError> {
    let setting = "group.coordinator.rebalance.protocols";
    let protocols = values.list(setting);
    if !values.is_given(setting) || protocols == ["classic"] {
        return Ok(());
    }
    let reason = match protocols.iter().any(|protocol| protocol == "classic") {
        true => "only classic is served yet; give that, or leave the setting out",
        false => "Disabling the 'classic' protocol is not supported.",
    };
    Err(SettingError::invalid(setting, &protocols.join(","), reason))
}

const PROTOCOLS: [&str; 4] = ["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"];

/// Everything that does not fit, at once.
pub(super) fn conflicts(config: &NodeConfig) -> Vec<SettingError> {
    let mut found = Vec::new();
    let mut require = |holds: bool, text: String| {
        if !holds {
            found.push(SettingError::conflict(text));
        }
    };
    listeners(config, &mut require);
    quorum(config, &mut require);
    numbers(config, &mut require);
    found.extend(times(config));
    found
}

/// What topics are given in one of several units, under the name that it was given by.
fn times(config: &NodeConfig) -> impl Iterator<Item = SettingError> {
    let topic = config.topic(&Default::default());
    let checks = [
        ("log.roll.ms", topic.segment_ms >= 1, "must be 1 or more"),
        ("log.roll.jitter.ms", topic.segment_jitter_ms >= 0, "must be 0 or more"),
        ("log.retention.ms", topic.retention_ms != 0, "must be -1 (for ever), or 1 or more"),
    ];
    checks.into_iter().filter(|(_, holds, _)| !holds).map(|(name, _, allowed)| {
        let (name, text) = config.values.in_its_unit(name);
        SettingError::invalid(name, text, allowed)
    })
}

fn joined<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(",")
}

fn listeners(config: &NodeConfig, require: &mut impl FnMut(bool, String)) {
    let names: BTreeSet<&str> = config.listeners.iter().map(|e| e.name.as_str()).collect();
    let all = joined(&config.listeners);
    require(!names.is_empty(), "listeners: at least one is needed".to_owned());
    require(
        names.len() == config.listeners.len(),
        format!("listeners={all}: each must have a name of its own"),
    );
    let addresses: BTreeSet<_> = config.listeners.iter().map(|e| &e.address).collect();
    let shared = config.listeners.iter().filter(|e| e.address.port != 0).count();
    let distinct = addresses.iter().filter(|address| address.port != 0).count();
    require(shared == distinct, format!("listeners={all}: each must have an address of its own"));

    let advertised: Vec<&Endpoint> =
        config.advertised.iter().chain(&config.advertised_controller).collect();
    for endpoint in &advertised {
        require(
            !endpoint.address.is_any(),
            format!(
                "advertised.listeners: {endpoint} is no address that others can connect to; give advertised.listeners"
            ),
        );
    }
    if config.roles.broker {
        let offered = joined(config.advertised.iter().map(|e| &e.name));
        require(
            !config.advertised.is_empty(),
            "listeners: a broker needs one that is not in controller.listener.names".to_owned(),
        );
        require(
            config.advertised.is_empty()
                || config.advertised.iter().any(|e| e.name == config.inter_broker_listener_name),
            format!(
                "inter.broker.listener.name={}: it must be one of advertised.listeners, which are {offered}",
                config.inter_broker_listener_name
            ),
        );
        require(
            config.advertised.iter().all(|e| names.contains(e.name.as_str())),
            format!("advertised.listeners: {offered}: each must be a name in listeners={all}"),
        );
    }
}

fn quorum(config: &NodeConfig, require: &mut impl FnMut(bool, String)) {
    let (id, voters) = (config.node_id, joined(&config.voters));
    let is_voter = config.voters.iter().any(|voter| voter.id == id);
    require(
        !config.voters.is_empty() || !config.bootstrap_servers.is_empty(),
        "controller.quorum.voters or controller.quorum.bootstrap.servers: one of them is needed"
            .to_owned(),
    );
    let names = &config.controller_listener_names;
    let listens = |name: &String| config.listeners.iter().any(|e| e.name == *name);
    if config.roles.controller {
        require(
            config.voters.is_empty() || is_voter,
            format!(
                "controller.quorum.voters={voters}: node {id} is a controller and must be in it"
            ),
        );
        require(
            names.iter().all(listens),
            format!(
                "controller.listener.names={}: a controller must have each of them in listeners={}",
                joined(names),
                joined(&config.listeners)
            ),
        );
    } else {
        require(
            !is_voter,
            format!(
                "controller.quorum.voters={voters}: node {id} is a broker only and must not be in it"
            ),
        );
        require(
            !names.iter().any(listens),
            format!(
                "listeners={}: a node that is a broker only must not listen as a controller ({})",
                joined(&config.listeners),
                joined(names)
            ),
        );
    }
    if !config.roles.broker {
        require(
            config.listeners.iter().all(|e| names.contains(&e.name)),
            format!(
                "listeners={}: of a node that is a controller only, each must be in controller.listener.names={}",
                joined(&config.listeners),
                joined(names)
            ),
        );
    }
}

/// Of a topic's `segment.bytes`.
const MIN_SEGMENT_BYTES: i32 = 1 << 20;

fn numbers(config: &NodeConfig, require: &mut impl FnMut(bool, String)) {
    let topic = config.topic(&Default::default());
    require(
        topic.min_compaction_lag_ms <= topic.max_compaction_lag_ms,
        "log.cleaner.min.compaction.lag.ms must not be more than log.cleaner.max.compaction.lag.ms"
            .to_owned(),
    );
    let network = &config.network;
    let limits = ConnectionLimits::new(&config.values);
    require(
        network.queued_max_request_bytes <= 0
            || network.queued_max_request_bytes >= i64::from(network.request_max_bytes),
        format!(
            "queued.max.request.bytes={} must be socket.request.max.bytes={} or more, or -1",
            network.queued_max_request_bytes, network.request_max_bytes
        ),
    );
    require(
        limits.per_ip > 0 || !limits.per_ip_overrides.is_empty(),
        "max.connections.per.ip: may be 0 only where max.connections.per.ip.overrides is given"
            .to_owned(),
    );
    let groups = &config.groups;
    require(
        groups.min_session_timeout_ms <= groups.max_session_timeout_ms,
        format!(
            "group.min.session.timeout.ms={} must not be more than group.max.session.timeout.ms={}",
            groups.min_session_timeout_ms, groups.max_session_timeout_ms
        ),
    );
    let codec = groups.compression_codec;
    require(
        (0..=4).contains(&codec),
        format!(
            "offsets.topic.compression.codec={codec} must be 0 (none), 1 (gzip), 2 (snappy), 3 (lz4) or 4 (zstd)"
        ),
    );
    // Kafka starts, and is then refused the topic again and again by its own controller.
    let segment_bytes = config.values.int("offsets.topic.segment.bytes");
    require(
        segment_bytes >= MIN_SEGMENT_BYTES,
        format!(
            "offsets.topic.segment.bytes={segment_bytes} must be {MIN_SEGMENT_BYTES} or more, as segment.bytes of every topic"
        ),
    );
    replication(config, require);
    let dirs: BTreeSet<_> = config.log_dirs.iter().collect();
    require(dirs.len() == config.log_dirs.len(), "log.dirs: a directory is given twice".to_owned());
    let cordoned = cordoned_log_dirs(config.values.list("cordoned.log.dirs"), &config.log_dirs);
    if let Err(why) = cordoned {
        require(false, why);
    }
}

/// As Kafka's `KafkaConfig.validateValues`.
fn replication(config: &NodeConfig, require: &mut impl FnMut(bool, String)) {
    let wait = config.values.int("replica.fetch.wait.max.ms");
    for (name, limit) in [
        ("replica.socket.timeout.ms", i64::from(config.values.int("replica.socket.timeout.ms"))),
        ("replica.lag.time.max.ms", config.values.long("replica.lag.time.max.ms")),
    ] {
        require(
            i64::from(wait) <= limit,
            format!("replica.fetch.wait.max.ms={wait} must not be more than {name}={limit}"),
        );
    }
}

/// Which of the log directories `cordoned.log.dirs` names; `*` is all of them.
///
/// # Errors
/// It names others, in Kafka's words.
pub fn cordoned_log_dirs<'a>(
    cordoned: &[String],
    log_dirs: &'a [PathBuf],
) -> Result<Vec<&'a Path>, String> {
    if cordoned.iter().any(|dir| dir == "*") {
        return match cordoned.len() {
            1 => Ok(log_dirs.iter().map(PathBuf::as_path).collect()),
            _ => Err("When cordoned.log.dirs is set to *, it must not contain other values".into()),
        };
    }
    let known = |dir: &&String| log_dirs.iter().any(|known| known == Path::new(dir));
    let missing: Vec<&str> =
        cordoned.iter().filter(|dir| !known(dir)).map(String::as_str).collect();
    if !missing.is_empty() {
        return Err(format!(
            "All entries in cordoned.log.dirs must be present in log.dirs or log.dir. Missing entries : {}",
            missing.join(", ")
        ));
    }
    let named = |dir: &&PathBuf| cordoned.iter().any(|named| **dir == *Path::new(named));
    Ok(log_dirs.iter().filter(named).map(PathBuf::as_path).collect())
}
