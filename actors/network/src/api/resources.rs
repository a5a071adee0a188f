//! What a broker checks of altered configurations before the controller is asked, and its own settings as the metadata has them.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use machines::metadata::{ConfigResource, MetadataImage};
use model::ErrorCode;
use model::node_config::cordoned_log_dirs;
use model::settings::{
    AlterError, Op, Resource, Values, alter, refuse_unhonoured, validate_broker,
    validate_broker_change,
};
use runtime::{LogLevel, Loggers};
use wire::ListenerKind;

use crate::Broker;

/// Why a resource is refused by this broker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ResourceError {
    #[error("Each resource must appear at most once.")]
    Twice,
    #[error("Unknown resource type {0}")]
    Unknown(i8),
    #[error("Error due to duplicate config keys")]
    DuplicateKeys,
    #[error("Null value not supported for : {0}")]
    NullValue(String),
    #[error("Node id must be an integer, but it is: {0}")]
    NotANode(String),
    #[error("Unexpected broker id, expected {here}, but received {name}")]
    OtherBroker { here: i32, name: String },
    #[error("Unexpected node id. Expected {here}, but received {id}")]
    OtherNode { here: i32, id: i32 },
    #[error("Unknown operation type {0} is not allowed for the BROKER_LOGGER resource")]
    LoggerOpUnknown(i8),
    #[error("{0} operation is not allowed for the BROKER_LOGGER resource")]
    LoggerOp(&'static str),
    #[error("Logger {0} does not exist!")]
    NoLogger(String),
    #[error(
        "Cannot set the log level of {logger} to {level} as it is not a supported log level. Valid log levels are DEBUG, ERROR, FATAL, INFO, TRACE, WARN"
    )]
    NoLogLevel { logger: String, level: String },
    #[error("Removing the log level of the root logger is not allowed")]
    RootLogger,
    #[error("{0}")]
    CordonedLogDirs(String),
    #[error("{0}")]
    DurableTopic(String),
    #[error(transparent)]
    Alter(#[from] AlterError),
}

impl ResourceError {
    pub(super) fn code(&self) -> ErrorCode {
        match self {
            ResourceError::NoLogger(_) | ResourceError::NoLogLevel { .. } => {
                ErrorCode::InvalidConfig
            }
            ResourceError::Alter(error) => error.code(),
            _ => ErrorCode::InvalidRequest,
        }
    }
}

/// What is to become of one resource.
pub(super) struct Alteration<'a> {
    pub(super) kind: i8,
    pub(super) name: &'a str,
    /// Name, code of the operation, value.
    pub(super) ops: Vec<(&'a str, i8, Option<&'a str>)>,
}

/// Whose names come more than once.
pub(super) fn named_twice<'a>(
    named: impl Iterator<Item = (i8, &'a str)>,
) -> BTreeSet<(i8, &'a str)> {
    let mut counts: BTreeMap<(i8, &str), usize> = BTreeMap::new();
    for key in named {
        *counts.entry(key).or_default() += 1;
    }
    counts.into_iter().filter(|(_, count)| *count > 1).map(|(key, _)| key).collect()
}

/// What the alterations of one request are checked against.
pub(super) struct Present<'a> {
    broker: &'a Broker,
    image: Arc<MetadataImage>,
    /// This broker's own: worked out only where they are altered, and then once.
    settings: OnceCell<Values>,
}

impl Present<'_> {
    pub(super) fn of(broker: &Broker) -> Present<'_> {
        Present { broker, image: broker.metadata.get(), settings: OnceCell::new() }
    }

    fn settings(&self) -> &Values {
        self.settings.get_or_init(|| settings(self.broker, &self.image))
    }
}

impl<'a> Alteration<'a> {
    /// What every resource must satisfy.
    fn check_keys(&self) -> Result<(), ResourceError> {
        let mut seen = BTreeSet::new();
        if !self.ops.iter().all(|(name, ..)| seen.insert(*name)) {
            return Err(ResourceError::DuplicateKeys);
        }
        let is_null =
            |(_, op, value): &&(&str, i8, Option<&str>)| *op != Op::Delete as i8 && value.is_none();
        let nulls: Vec<&str> = self.ops.iter().filter(is_null).map(|(name, ..)| *name).collect();
        if nulls.is_empty() { Ok(()) } else { Err(ResourceError::NullValue(nulls.join(", "))) }
    }

    /// The checks of `ConfigAdminManager`: what is left is the controller's to decide.
    pub(super) fn check(&self, present: &Present<'_>, legacy: bool) -> Result<(), ResourceError> {
        self.check_keys()?;
        match Resource::from_code(self.kind) {
            Some(Resource::Broker) => self.check_broker(present, legacy),
            Some(Resource::Topic | Resource::ClientMetrics | Resource::Group) => Ok(()),
            Some(Resource::BrokerLogger) if !legacy => self.check_loggers(present.broker),
            Some(Resource::BrokerLogger) | None => Err(ResourceError::Unknown(self.kind)),
        }
    }

    /// Brokers answer for themselves and for all; what another has is asked of that one, which sends it on to the controller.
    fn check_broker(&self, present: &Present<'_>, legacy: bool) -> Result<(), ResourceError> {
        let broker = present.broker;
        let all_brokers = self.name.is_empty();
        let mut of_this_node = true;
        if !all_brokers {
            let id: Option<i32> = self.name.parse().ok();
            let id = id.ok_or_else(|| ResourceError::NotANode(self.name.to_owned()))?;
            of_this_node = id == broker.node.0;
            if !of_this_node && broker.role == ListenerKind::Broker {
                let (here, name) = (broker.node.0, self.name.to_owned());
                return Err(ResourceError::OtherBroker { here, name });
            }
        }
        let mut ops = Vec::with_capacity(self.ops.len());
        for (name, op, value) in &self.ops {
            let op = Op::from_code(*op).ok_or(AlterError::UnknownOp(*op))?;
            ops.push((*name, op, *value));
        }
        let resource = ConfigResource { kind: Resource::Broker, name: self.name.to_owned() };
        let none = BTreeMap::new();
        let current = if legacy { &none } else { present.image.configs.of(&resource) };
        let altered = alter(Resource::Broker, current, &ops)?;
        validate_broker(all_brokers, &altered)?;
        if of_this_node {
            if let Some(Some(cordoned)) = altered.get("cordoned.log.dirs")
                && broker.role == ListenerKind::Broker
            {
                check_cordoned(broker, cordoned)?;
            }
            validate_broker_change(present.settings(), &altered)?;
        }
        let set = altered.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        Ok(refuse_unhonoured(Resource::Broker, set)?)
    }

    fn check_loggers(&self, broker: &Broker) -> Result<(), ResourceError> {
        let id: Option<i32> = self.name.parse().ok();
        let id = id.ok_or_else(|| ResourceError::NotANode(self.name.to_owned()))?;
        if id != broker.node.0 {
            return Err(ResourceError::OtherNode { here: broker.node.0, id });
        }
        self.logger_changes(broker.world.loggers()).map(drop)
    }

    /// What the loggers' levels are to become; none is a level taken away. As `RuntimeLoggerManager` checks it.
    pub(super) fn logger_changes(
        &self,
        loggers: &Loggers,
    ) -> Result<Vec<(&'a str, Option<LogLevel>)>, ResourceError> {
        let change = |(name, op, value): &(&'a str, i8, Option<&str>)| {
            let exists = || match loggers.exists(name) {
                true => Ok(()),
                false => Err(ResourceError::NoLogger((*name).to_owned())),
            };
            match Op::from_code(*op) {
                Some(Op::Set) => {
                    exists()?;
                    let level = value.unwrap_or_default();
                    // `OFF` cannot be set.
                    let mut known = LogLevel::ALL.into_iter().filter(|l| *l != LogLevel::Off);
                    let found = known.find(|known| known.to_string() == level);
                    let (logger, level) = ((*name).to_owned(), level.to_owned());
                    let found = found.ok_or(ResourceError::NoLogLevel { logger, level })?;
                    Ok((*name, Some(found)))
                }
                Some(Op::Delete) => {
                    exists()?;
                    let is_root = *name == Loggers::ROOT;
                    if is_root { Err(ResourceError::RootLogger) } else { Ok((*name, None)) }
                }
                Some(Op::Append) => Err(ResourceError::LoggerOp("APPEND")),
                Some(Op::Subtract) => Err(ResourceError::LoggerOp("SUBTRACT")),
                None => Err(ResourceError::LoggerOpUnknown(*op)),
            }
        };
        self.ops.iter().map(change).collect()
    }
}

/// They are paths, of which the controller knows nothing.
fn check_cordoned(broker: &Broker, text: &str) -> Result<(), ResourceError> {
    let named = text.split(',').map(str::trim).filter(|dir| !dir.is_empty());
    let named: Vec<String> = named.map(str::to_owned).collect();
    let known: Vec<_> = broker.log_dirs.0.iter().map(|dir| dir.path.clone()).collect();
    let checked = cordoned_log_dirs(&named, &known).map(|_| ());
    checked.map_err(|why| ResourceError::CordonedLogDirs(format!("requirement failed: {why}")))
}

/// This broker's settings with what the image says of them, which may be newer than what the node runs on yet.
pub(super) fn settings(broker: &Broker, image: &MetadataImage) -> Values {
    let all = image.configs.of(&ConfigResource::broker_default());
    let own = image.configs.of(&ConfigResource::broker(broker.node.0));
    // What cannot be used here was reported when the node took it in.
    let (values, _) = broker.settings.get().with_dynamic(all, own);
    values
}
